//! Tests plans between arbitrary networks: each is carried out on a copy, by the model's own rules.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::*;
use crate::control::{Controller, ControllerConfig};
use crate::file::template::Scope;
use crate::model::naming::Tags;
use crate::topology::format::read_topology;

fn empty() -> Rehearsed {
    let controller = Controller::new(ControllerConfig {
        seed: Some(7),
        ..ControllerConfig::default()
    });
    Rehearsed::of(Live {
        controller: &controller,
        runtime: None,
    })
    .with_lab()
}

fn desired(text: &str) -> Layout {
    let topology = read_topology("t", text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    Layout::desired(&topology, &Scope::default()).unwrap()
}

fn made(text: &str) -> Rehearsed {
    let mut stage = empty();
    change(&mut stage, text, Extras::Keep);
    stage
}

/// Carries out the plan, and returns its changes as lines.
#[track_caller]
fn change(stage: &mut Rehearsed, text: &str, extras: Extras) -> Vec<String> {
    let plan = Plan::new(&desired(text), stage.running(), extras);
    assert_eq!(plan.refusal, None);
    plan.carry_out(stage).unwrap();
    let again = Plan::new(&desired(text), stage.running(), extras);
    assert_eq!(
        shown(&again),
        Vec::<String>::new(),
        "the second time nothing is left to do"
    );
    shown(&plan)
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

const BASE: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: '2001:db8::/64' } }
interfaces: { x: { subnet: s, ipv4: [10.0.1.30], ipv6: [] } }
instances:
  a: { subnet: s, ipv4: [10.0.1.10, 10.0.1.50], ipv6: ['2001:db8::a', '2001:db8::c'] }
  b: { subnet: s, ipv4: [10.0.1.11], ipv6: [] }
route_tables: { t: { vpc: v, subnets: [s], routes: [{ to: 192.0.2.0/24, via: a }] } }
";

#[test]
fn a_field_that_differs_is_a_line_with_the_old_and_the_new_value() {
    let mut stage = made(BASE);
    let text = BASE
        .replace(
            "ipv4: [10.0.1.11]",
            "ipv4: [10.0.1.11], source_dest_check: false, mtu: 1500",
        )
        .replace("via: a", "via: b")
        .replace("vpcs: { v: { ", "vpcs: { v: { profile: lan, ");
    assert_eq!(
        change(&mut stage, &text, Extras::Keep),
        [
            "~ VPC v  profile: aws -> lan",
            "~ network interface b  source_dest_check: true -> false, mtu: the profile's -> 1500",
            "~ route table t  routes.192.0.2.0/24: a -> b",
        ]
    );
}

#[test]
fn an_address_that_another_interface_shall_have_moves_in_one_step() {
    let mut stage = made(BASE);
    let text = BASE
        .replace("[10.0.1.10, 10.0.1.50]", "[10.0.1.10]")
        .replace("[10.0.1.11]", "[10.0.1.11, 10.0.1.50]");
    let plan = Plan::new(&desired(&text), stage.running(), Extras::Keep);
    let edits: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|(_, step)| match step {
            Step::EditMappings(edits) => Some(edits.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(edits, [vec![Edit::Move("b".into(), "10.0.1.50".parse().unwrap())]]);
    change(&mut stage, &text, Extras::Keep);
}

#[test]
fn another_first_ipv6_address_is_given_by_taking_away_what_stands_before_it() {
    let mut stage = made(BASE);
    let text = BASE.replace("['2001:db8::a', '2001:db8::c']", "['2001:db8::c', '2001:db8::a']");
    change(&mut stage, &text, Extras::Keep);
    let addresses = stage.running().layout.interfaces["a"].ipv6.clone().unwrap();
    assert_eq!(addresses[0].to_string(), "2001:db8::c");
}

#[test]
fn what_cannot_change_is_replaced_with_all_that_stands_on_it() {
    let mut stage = made(BASE);
    let text = BASE.replace("10.0.1.", "10.0.2.");
    assert_eq!(
        change(&mut stage, &text, Extras::Keep),
        [
            "-/+ subnet s  cidr_block: 10.0.1.0/24 -> 10.0.2.0/24",
            "-/+ network interface a  ipv4: 10.0.1.10 10.0.1.50 -> 10.0.2.10 10.0.2.50, its subnet is replaced",
            "-/+ network interface b  ipv4: 10.0.1.11 -> 10.0.2.11, its subnet is replaced",
            "-/+ network interface x  ipv4: 10.0.1.30 -> 10.0.2.30, its subnet is replaced",
            "-/+ instance a  its network interface is replaced",
            "-/+ instance b  its network interface is replaced",
        ]
    );
    // The table is associated with the new subnet, and its route has the new interface as its target.
    let table = &stage.running().layout.route_tables["t"];
    assert!(table.subnets.contains("s"));
    assert_eq!(table.routes.values().next(), Some(&Target::Interface("a".into())));
}

#[test]
fn what_the_file_does_not_name_stays_unless_it_is_pruned() {
    let mut stage = made(BASE);
    let text = BASE.replace("interfaces: { x: { subnet: s, ipv4: [10.0.1.30], ipv6: [] } }", "");
    let plan = Plan::new(&desired(&text), stage.running(), Extras::Keep);
    assert!(plan.is_empty());
    assert_eq!((plan.kept[0].kind, plan.kept[0].name.as_str()), (Kind::Interface, "x"));
    assert_eq!(change(&mut stage, &text, Extras::Remove), ["- network interface x"]);
}

#[test]
fn a_subnet_is_not_replaced_under_an_interface_that_the_file_does_not_name() {
    let stage = made(BASE);
    let text = BASE
        .replace("interfaces: { x: { subnet: s, ipv4: [10.0.1.30], ipv6: [] } }", "")
        .replace("10.0.1.", "10.0.2.");
    let refusal = Plan::new(&desired(&text), stage.running(), Extras::Keep)
        .refusal
        .unwrap();
    assert_eq!(
        (refusal.kind, refusal.name.as_str(), &*refusal.code),
        (Kind::Interface, "x", "DependencyViolation")
    );
    assert_eq!(
        Plan::new(&desired(&text), stage.running(), Extras::Remove).refusal,
        None
    );
}

#[test]
fn a_subnet_that_is_replaced_goes_to_the_table_that_the_file_gives_it_not_back_to_the_one_that_led_it() {
    let network = |block: &str, tables: &str| {
        format!(
            "vpcs: {{ v: {{ cidr_blocks: [10.0.0.0/16] }} }}\n\
             subnets: {{ s: {{ vpc: v, cidr_block: {block} }} }}\n\
             route_tables: {tables}"
        )
    };
    let mut stage = made(&network("10.0.1.0/24", "{ old: { vpc: v, subnets: [s] } }"));
    let text = network("10.0.2.0/24", "{ new: { vpc: v, main: true, subnets: [s] } }");
    change(&mut stage, &text, Extras::Keep);
    let again = Plan::new(&desired(&text), stage.running(), Extras::Keep);
    assert!(again.is_empty(), "{:?}", shown(&again));
}

#[test]
fn the_main_table_is_the_one_that_the_vpc_was_made_with_until_another_is() {
    let mut stage = made(BASE);
    let main = BASE.replace(
        "route_tables: {",
        "route_tables: { m: { vpc: v, main: true, routes: [{ to: 198.51.100.0/24, via: blackhole }] },",
    );
    change(&mut stage, &main, Extras::Keep);
    assert_eq!(stage.running().layout.route_tables.len(), 2, "none was made");
    // Removed from the file and pruned, it is in its initial state again.
    let lines = change(&mut stage, BASE, Extras::Remove);
    assert_eq!(lines, ["- route table m"]);
    // Another table becomes the main one: the initial one has no associations left.
    let other = BASE.replace("t: { vpc: v,", "t: { vpc: v, main: true,");
    change(&mut stage, &other, Extras::Remove);
    assert_eq!(stage.running().layout.route_tables.len(), 1);
    let refusal = Plan::new(&desired(BASE), stage.running(), Extras::Keep)
        .refusal
        .unwrap();
    assert_eq!(
        (refusal.field.as_deref(), &*refusal.code),
        (Some("main"), "DependencyViolation")
    );
}

#[test]
fn a_dhcp_option_set_that_says_something_else_is_made_anew_and_its_vpcs_have_it_again() {
    let text = |domain: &str| {
        format!(
            "dhcp_options: {{ o: {{ domain_name: {domain} }} }}\n{}",
            BASE.replace("vpcs: { v: { ", "vpcs: { v: { dhcp_options: o, ")
        )
    };
    let mut stage = made(&text("a.internal"));
    assert_eq!(
        change(&mut stage, &text("b.internal"), Extras::Keep),
        ["-/+ DHCP option set o  domain_name: a.internal -> b.internal, v without options for a moment"]
    );
    assert_eq!(
        stage.running().layout.vpcs["v"].dhcp_options,
        OptionsChoice::Set("o".into())
    );
}

#[test]
fn a_plan_that_is_refused_midway_says_what_was_done_and_what_was_not() {
    let mut stage = made(BASE);
    let text = BASE
        .replace("vpcs: { v: { ", "vpcs: { v: { profile: lan, ")
        .replace("ipv4: [10.0.1.11]", "ipv4: [10.0.1.11], mtu: 100")
        .replace("via: a", "via: b");
    let plan = Plan::new(&desired(&text), stage.running(), Extras::Keep);
    let stopped = plan.carry_out(&mut stage).unwrap_err();
    let names = |changes: &[Change]| changes.iter().map(|change| change.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&stopped.applied), ["v"]);
    assert_eq!(names(&stopped.not_applied), ["b", "t"]);
    assert_eq!(
        stopped.refusal.to_string(),
        "network interface b: mtu: 'mtu' cannot be 100 (InvalidParameterValue). Give 576 to 9001, or null for the profile's."
    );
}

#[test]
fn what_has_no_name_is_written_under_its_identifier_and_found_again_elsewhere() {
    use crate::model::dhcp_options::{CreateDhcpOptions, DhcpOptions};
    let mut stage = made(BASE);
    let anonymous = |stage: &mut Rehearsed| {
        let vpc = crate::model::vpc::CreateVpc {
            profile: std::sync::Arc::new(crate::model::Profile::lan()),
            tags: [("stage".to_owned(), "no".to_owned())].into(),
            ..crate::model::vpc::CreateVpc::new("10.7.0.0/16".parse().unwrap())
        };
        let vpc = stage.execute(vpc).unwrap();
        let subnet = crate::model::subnet::CreateSubnet {
            cidr_block: Some("10.7.1.0/24".parse().unwrap()),
            ..crate::model::subnet::CreateSubnet::new(vpc.id)
        };
        let subnet = stage.execute(subnet).unwrap();
        let interface = crate::model::interface::CreateInterface::new(subnet.id);
        let made = stage.execute(interface).unwrap();
        let interface = made;
        let route = crate::model::route_table::RouteEdit::Put("192.0.2.0/24".parse().unwrap(), interface.id.into());
        let route = crate::model::route_table::EditRoute {
            table: vpc.main_route_table_id.into(),
            edit: route,
        };
        stage.execute(route).unwrap();
        let set = CreateDhcpOptions {
            options: DhcpOptions::for_region("eu-central-1"),
            ..CreateDhcpOptions::default()
        };
        stage.execute(set).unwrap();
    };
    anonymous(&mut stage);
    let text = yaml(&export(&stage.running().layout));
    assert!(
        Plan::new(&desired(&text), stage.running(), Extras::Remove).is_empty(),
        "{text}"
    );
    let mut elsewhere = empty();
    change(&mut elsewhere, &text, Extras::Remove);
    let there = elsewhere.running().layout;
    assert_eq!(
        (there.vpcs.len(), there.interfaces.len(), there.route_tables.len()),
        (2, 4, 3)
    );
}

#[test]
fn words_that_yaml_reads_otherwise_survive_being_written() {
    let mut file: Value = json!({ "vpcs": { "v": { "cidr_blocks": ["10.0.0.0/16"], "tags": {} } }, "subnets": {} });
    for (number, word) in [
        "no",
        "true",
        "~",
        "",
        "1e3",
        "0x10",
        "12:30:45",
        " a ",
        "- x",
        "a: b",
        "#c",
        "line\nline\n",
        "'",
        "\"",
        "{x}",
        "&a",
        "2001-01-01",
        "null",
        "%d",
        "@",
        "`",
        "|",
        "ü\u{7f}",
        "tab\there",
    ]
    .into_iter()
    .enumerate()
    {
        file["vpcs"]["v"]["tags"][format!("k{number}")] = json!(word);
        file["vpcs"]["v"]["tags"][word] = json!("key");
    }
    let text = yaml(&file);
    let tags: Tags = serde_json::from_value(file["vpcs"]["v"]["tags"].clone()).unwrap();
    assert_eq!(desired(&text).vpcs["v"].tags, tags, "{text}");
}

/// A network with few names, so that two of them have much in common.
struct Draw(ChaCha8Rng);

impl Draw {
    fn below(&mut self, count: u64) -> usize {
        usize::try_from(self.0.next_u64() % count).unwrap()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len() as u64)]
    }

    fn network(&mut self) -> Value {
        let mut file = json!({ "vpcs": {}, "subnets": {}, "interfaces": {}, "instances": {}, "route_tables": {},
            "dhcp_options": {} });
        for set in ["o", "p"] {
            if self.one_in(2) {
                file["dhcp_options"][set] =
                    json!({ "domain_name": self.of(&["a.internal", "b.internal"]), "tags": self.tags() });
            }
        }
        let mut subnets: Vec<(String, String, bool, Value)> = Vec::new();
        for (number, vpc) in ["v", "w"].into_iter().enumerate() {
            if self.one_in(5) {
                continue;
            }
            let first = 10 * (number + 1) + self.below(5).saturating_sub(3);
            let mut fields = json!({ "cidr_blocks": [format!("10.{first}.0.0/16")],
                "ipv6_cidr_blocks": ["2001:db8::/56"], "profile": self.profile() });
            if self.one_in(3) {
                fields["cidr_blocks"] = json!([format!("10.{first}.0.0/16"), "10.99.0.0/16"]);
            }
            let set = *self.of(&["o", "p", "default"]);
            if set == "default" || file["dhcp_options"].get(set).is_some() {
                fields["dhcp_options"] = json!(set);
            }
            fields["tags"] = self.tags();
            file["vpcs"][vpc] = fields;
            for index in 0..3 {
                if self.one_in(4) {
                    continue;
                }
                let name = format!("{vpc}{index}");
                let block = format!("10.{first}.{}.0/20", index * 16);
                let ipv6 = !self.one_in(4);
                let mut fields = json!({ "vpc": vpc, "cidr_block": block, "tags": self.tags() });
                if ipv6 {
                    fields["ipv6_cidr_block"] = json!(format!("2001:db8:0:{index}::/64"));
                }
                file["subnets"][&name] = fields;
                subnets.push((name, format!("10.{first}.{}", index * 16), ipv6, json!(vpc)));
            }
        }
        let mut places = Map::new();
        for (number, name) in ["a", "b", "c", "d", "e"].into_iter().enumerate() {
            if subnets.is_empty() || self.one_in(4) {
                continue;
            }
            let (subnet, net, ipv6, vpc) = self.of(&subnets).clone();
            let index: usize = subnet[1..].parse().unwrap();
            let mut fields = json!({ "subnet": subnet, "source_dest_check": self.one_in(2), "tags": self.tags() });
            if self.one_in(2) {
                fields["mac"] = json!(format!("0a:00:00:00:00:{:02x}", number * 2 + self.below(2)));
            }
            if !self.one_in(4) {
                // Other addresses are left to the network. The shared ones are given below.
                fields["ipv4"] = json!([format!("{net}.{}", 10 + number * 2 + self.below(4) / 3)]);
            }
            match self.below(3) {
                0 if ipv6 => fields["ipv6"] = json!([format!("2001:db8:0:{index}::a{number}")]),
                1 => fields["ipv6"] = json!([]),
                _ => {}
            }
            fields["metadata"] = json!({ "instance_type": self.of(&["t3.micro", "m5.large"]) });
            places.insert(name.to_owned(), json!([subnet, vpc]));
            let host = self.one_in(2);
            if host && self.one_in(2) {
                fields["configure"] = json!("none");
            }
            if host && self.one_in(4) {
                fields["interface"] = json!(format!("eth-{name}"));
            }
            file[if host { "instances" } else { "interfaces" }][name] = fields;
        }
        self.share_addresses(&mut file, &places, &subnets);
        self.route(&mut file, &places, &subnets);
        file
    }

    /// Secondary addresses and prefixes, each of one interface of its subnet.
    fn share_addresses(
        &mut self,
        file: &mut Value,
        places: &Map<String, Value>,
        subnets: &[(String, String, bool, Value)],
    ) {
        for (subnet, net, ipv6, _) in subnets {
            let inside: Vec<&String> = places
                .iter()
                .filter(|(_, place)| place[0] == *subnet)
                .map(|(n, _)| n)
                .collect();
            let index: usize = subnet[1..].parse().unwrap();
            let shared = (0..3).map(|n| ("ipv4", format!("{net}.{}", 50 + n)));
            let shared = shared.chain((0..2).map(|n| ("prefixes", format!("{net}.{}/28", 64 + 16 * n))));
            let shared = shared.chain((0..4).map(|n| ("ipv6", format!("2001:db8:0:{index}::f{n}"))));
            let shared = shared.chain((0..2).map(|n| ("prefixes", format!("2001:db8:0:{index}:{}::/80", n + 1))));
            for (list, address) in shared.collect::<Vec<_>>() {
                if inside.is_empty() || self.one_in(3) || (address.contains(':') && !ipv6) {
                    continue;
                }
                let owner = *self.of(&inside);
                let kind = if file["instances"].get(owner).is_some() {
                    "instances"
                } else {
                    "interfaces"
                };
                let fields = &mut file[kind][owner];
                if list == "prefixes" && fields.get(list).is_none() {
                    fields[list] = json!([]);
                }
                // A list left to the network has no further addresses either.
                if let Some(Value::Array(addresses)) = fields.get_mut(list) {
                    let place = self.below(addresses.len() as u64 + 1);
                    let place = if list == "ipv4" { addresses.len() } else { place };
                    addresses.insert(place, json!(address));
                }
            }
        }
    }

    fn route(&mut self, file: &mut Value, places: &Map<String, Value>, subnets: &[(String, String, bool, Value)]) {
        let vpcs: Vec<String> = file["vpcs"].as_object().unwrap().keys().cloned().collect();
        let (mut led, mut mains) = (Vec::new(), Vec::new());
        for table in ["t", "u", "m"] {
            if vpcs.is_empty() || self.one_in(3) {
                continue;
            }
            let vpc = self.of(&vpcs).clone();
            // A main table stays main, unless another one replaces it.
            let main = table == "m" && !mains.contains(&vpc);
            if main {
                mains.push(vpc.clone());
            }
            let mut fields = json!({ "vpc": vpc, "main": main, "subnets": [], "routes": [], "tags": self.tags() });
            for (subnet, _, _, of) in subnets {
                if *of == json!(vpc) && !led.contains(subnet) && self.one_in(3) {
                    led.push(subnet.clone());
                    fields["subnets"].as_array_mut().unwrap().push(json!(subnet));
                }
            }
            let inside: Vec<&String> = places
                .iter()
                .filter(|(_, place)| place[1] == json!(vpc))
                .map(|(n, _)| n)
                .collect();
            let blocks: Vec<Value> = subnets
                .iter()
                .filter(|(.., of)| *of == json!(vpc))
                .map(|(name, ..)| file["subnets"][name]["cidr_block"].clone())
                .collect();
            let ranges = file["vpcs"][&vpc]["cidr_blocks"].as_array().unwrap().clone();
            for to in blocks.into_iter().chain(ranges) {
                if !inside.is_empty() && self.one_in(4) {
                    let route = json!({ "to": to, "via": self.of(&inside) });
                    fields["routes"].as_array_mut().unwrap().push(route);
                }
            }
            for to in ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:f::/48"] {
                let via = match inside.is_empty() || self.one_in(4) {
                    true => "blackhole",
                    false => self.of(&inside).as_str(),
                };
                if self.one_in(2) {
                    fields["routes"]
                        .as_array_mut()
                        .unwrap()
                        .push(json!({ "to": to, "via": via }));
                }
            }
            file["route_tables"][table] = fields;
        }
    }

    fn profile(&mut self) -> Value {
        match self.below(4) {
            0 => json!({ "base": "aws", "overrides": { "mtu": 1500 } }),
            1 => json!("lan"),
            _ => json!("aws"),
        }
    }

    fn tags(&mut self) -> Value {
        match self.below(3) {
            0 => json!({ "stage": self.of(&["test", "no", "12:30"]) }),
            _ => json!({}),
        }
    }
}

fn drawn(seed: u64) -> String {
    Draw(ChaCha8Rng::seed_from_u64(seed)).network().to_string()
}

/// Whether an address chosen by the network is the one that the file gives to another interface.
fn unlucky(refusal: &Refusal) -> bool {
    refusal.field.as_deref() == Some("address")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_plan_that_is_carried_out_leads_to_what_is_wanted(before: u64, after: u64, prune: bool) {
        let (before, after) = (drawn(before), drawn(after));
        let mut stage = made(&before);
        let wanted = desired(&after);
        prop_assert!(Plan::new(&desired(&before), stage.running(), Extras::Remove).is_empty());
        let extras = if prune { Extras::Remove } else { Extras::Keep };
        let plan = Plan::new(&wanted, stage.running(), extras);
        if let Some(refusal) = &plan.refusal {
            // A resource that stays is in the way, or the VPC would lose its main table.
            prop_assert!(!prune || refusal.field.as_deref() == Some("main"), "{refusal}");
            return Ok(());
        }
        let lines = shown(&plan);
        if let Err(stopped) = plan.carry_out(&mut stage) {
            // A resource that stays may own a desired address; with prune, none stays.
            let excused = unlucky(&stopped.refusal) || !prune;
            prop_assert!(excused, "{stopped}\nfrom {before}\nto {after}\n{lines:#?}");
            return Ok(());
        }
        let again = Plan::new(&wanted, stage.running(), extras);
        prop_assert!(again.is_empty(), "{:#?}\nfrom {before}\nto {after}\n{lines:#?}", shown(&again));
        prop_assert!(!prune || again.kept.is_empty(), "{:?}", again.kept);

        // The running network is exported, and is the same here and on an empty server.
        let file = export(&stage.running().layout);
        let text = yaml(&file);
        let wanted = desired(&text);
        let none = Plan::new(&wanted, stage.running(), Extras::Remove);
        prop_assert!(none.is_empty(), "{:#?}\n{text}", shown(&none));
        let mut elsewhere = empty();
        Plan::new(&wanted, elsewhere.running(), Extras::Remove).carry_out(&mut elsewhere).unwrap();
        prop_assert_eq!(yaml(&export(&elsewhere.running().layout)), text);
    }
}

const ONLINE: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24, map_public_ip_on_launch: true } }
internet_gateways: { door: { vpc: v } }
route_tables: { main: { vpc: v, main: true, routes: [{ to: 0.0.0.0/0, via: door }] } }
instances: { a: { subnet: s, ipv4: [10.0.1.10, 10.0.1.50] }, b: { subnet: s, ipv4: [10.0.1.11] } }
elastic_ips: { service: { public: 203.0.113.10, to: a, private: 10.0.1.50 }, spare: { public: 203.0.113.11 } }
outside: { client: { ipv4: [198.51.100.7], ipv6: ['3fff:198::7'] } }
";

#[test]
fn gateways_public_addresses_and_the_outside_are_made_moved_exported_and_taken_away() {
    let mut stage = made(ONLINE);
    assert!(Plan::new(&desired(ONLINE), stage.running(), Extras::Remove).is_empty());
    let text = yaml(&export(&stage.running().layout));
    for written in [
        "door:",
        "private: \"10.0.1.50\"",
        "outside:",
        "198.51.100.7",
        "map_public_ip_on_launch: true",
    ] {
        assert!(text.contains(written), "{written}\n{text}");
    }
    assert!(!text.contains("subnet-0"), "{text}");
    assert!(Plan::new(&desired(&text), stage.running(), Extras::Remove).is_empty());
    let moved = ONLINE.replace("to: a, private: 10.0.1.50", "to: b");
    let plan = Plan::new(&desired(&moved), stage.running(), Extras::Remove);
    assert_eq!(shown(&plan).len(), 1, "{:#?}", shown(&plan));
    plan.carry_out(&mut stage).unwrap();
    assert!(Plan::new(&desired(&moved), stage.running(), Extras::Remove).is_empty());
    let plan = Plan::new(&desired("vpcs: {}\nsubnets: {}"), stage.running(), Extras::Remove);
    plan.carry_out(&mut stage).unwrap();
    let left = stage.running().layout;
    assert!(left.vpcs.is_empty() && left.interfaces.is_empty() && left.elastic_ips.is_empty());
}

const FILTERED: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
subnets:
  s: { vpc: v, cidr_block: 10.0.1.0/24 }
  t: { vpc: v, cidr_block: 10.0.2.0/24 }
interfaces:
  x: { subnet: s, ipv4: [10.0.1.30], groups: [app, default] }
  y: { subnet: t, ipv4: [10.0.2.30], groups: [db] }
  z: { subnet: t, ipv4: [10.0.2.31] }
prefix_lists: { offices: { entries: [{ cidr: 203.0.113.0/24, description: hq }], max_entries: 5 } }
security_groups:
  app: { vpc: v, ingress: [{ protocol: tcp, ports: 443, prefix_list: offices }, { protocol: 112, group: app }] }
  db: { vpc: v, description: 'data', ingress: [{ protocol: tcp, ports: 3306, group: app, description: sql }], egress: [] }
  v/default: { ingress: [{ protocol: icmp, icmp_type: 8, cidr: 10.0.0.0/16 }, { protocol: all, group: default }] }
network_acls:
  edge:
    vpc: v
    subnets: [t]
    ingress: [{ number: 100, action: allow, protocol: tcp, ports: 1024-65535, cidr: 0.0.0.0/0 }]
    egress: [{ number: 100, action: allow, protocol: all, cidr: 0.0.0.0/0 }]
";

#[test]
fn groups_acls_and_lists_are_made_changed_and_taken_away() {
    let mut stage = made(FILTERED);
    let group = |stage: &Rehearsed, label: &str| stage.running().layout.security_groups[label].clone();
    assert_eq!(group(&stage, "app").ingress.len(), 2);
    assert_eq!(stage.running().layout.interfaces["x"].groups, ["app", "v/default"]);
    assert!(stage.running().layout.interfaces["z"].groups.is_empty());
    assert!(stage.running().layout.network_acls["edge"].subnets.contains("t"));

    let text = FILTERED
        .replace("3306", "5432")
        .replace("groups: [app, default]", "groups: [app]")
        .replace("subnets: [t]", "subnets: [s]")
        .replace("203.0.113.0/24", "198.51.100.0/24");
    assert_eq!(
        change(&mut stage, &text, Extras::Keep),
        [
            "~ prefix list offices  entries.198.51.100.0/24: + hq, entries.203.0.113.0/24: - hq",
            "~ security group db  ingress.tcp 5432 app: + sql, ingress.tcp 3306 app: - sql",
            "~ network ACL edge  subnets: t -> s",
            "~ network interface x  groups: app v/default -> app",
        ]
    );
    assert_eq!(stage.running().layout.prefix_lists["offices"].entries.len(), 1);

    // What the file names no more stays, or goes; what the VPC was made with becomes as it was.
    let plain = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
subnets:
  s: { vpc: v, cidr_block: 10.0.1.0/24 }
  t: { vpc: v, cidr_block: 10.0.2.0/24 }
interfaces:
  x: { subnet: s, ipv4: [10.0.1.30] }
  y: { subnet: t, ipv4: [10.0.2.30] }
  z: { subnet: t, ipv4: [10.0.2.31] }
";
    let plan = Plan::new(&desired(plain), stage.running(), Extras::Keep);
    let kept: Vec<&str> = plan.kept.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(kept, ["offices", "app", "db", "v/default", "edge"]);
    assert_eq!(
        change(&mut stage, plain, Extras::Remove),
        [
            "- prefix list offices",
            "- security group app",
            "- security group db",
            "- security group v/default",
            "- network ACL edge",
            "~ network interface x  groups: app -> default",
            "~ network interface y  groups: db -> default",
        ]
    );
    let left: Vec<String> = stage.running().layout.security_groups.into_keys().collect();
    assert_eq!(left, ["v/default"]);
}

#[test]
fn an_exported_file_makes_the_same_groups_acls_and_lists() {
    let stage = made(FILTERED);
    let text = yaml(&export(&stage.running().layout));
    let mut other = empty();
    change(&mut other, &text, Extras::Keep);
    let layout = |stage: &Rehearsed| {
        let layout = stage.running().layout;
        (layout.security_groups, layout.network_acls, layout.prefix_lists)
    };
    assert_eq!(layout(&stage), layout(&other), "{text}");
}

#[test]
fn all_of_a_network_with_groups_is_replaced_and_removed() {
    let mut stage = made(FILTERED);
    let moved = FILTERED.replace("10.0.", "10.7.");
    change(&mut stage, &moved, Extras::Keep);
    let running = stage.running();
    assert_eq!(running.layout.interfaces["y"].groups, ["db"]);
    assert!(running.layout.network_acls["edge"].subnets.contains("t"));
    let nothing = "vpcs: {}\nsubnets: {}\n";
    change(&mut stage, nothing, Extras::Remove);
    assert!(stage.running().layout.security_groups.is_empty());
}

#[test]
fn what_stays_for_life_of_a_group_is_not_changed_by_making_it_anew() {
    let stage = made(FILTERED);
    for (from, to, name) in [
        ("description: 'data'", "description: 'other'", "db"),
        (
            "entries: [{ cidr: 203.0.113.0/24, description: hq }]",
            "family: IPv6",
            "offices",
        ),
    ] {
        let plan = Plan::new(&desired(&FILTERED.replace(from, to)), stage.running(), Extras::Keep);
        let refusal = plan.refusal.unwrap_or_else(|| panic!("{to}"));
        assert_eq!((refusal.name.as_str(), &*refusal.code), (name, "InvalidParameterValue"));
    }
}

#[test]
fn a_file_with_wrong_groups_acls_or_lists_is_refused_at_its_place() {
    for (from, to, message) in [
        ("groups: [db]", "groups: [dp]", "no security group is called `dp`"),
        ("groups: [db]", "groups: []", "at least one security group"),
        (
            "group: app, description",
            "group: ap, description",
            "no security group is called `ap`",
        ),
        (
            "prefix_list: offices",
            "prefix_list: office",
            "no prefix list is called `office`",
        ),
        ("protocol: tcp, ports: 443", "protocol: vrrp", "Unknown protocol"),
        (
            "{ protocol: 112, group: app }",
            "{ protocol: 112 }",
            "exactly one of cidr, prefix_list and group",
        ),
        ("v/default:", "w/default:", "no VPC is called `w`"),
        ("app: { vpc: v, ", "app: { ", "`vpc` is missing"),
        ("subnets: [t]", "subnets: [u]", "no subnet is called `u`"),
        (
            "{ cidr: 203.0.113.0/24,",
            "{ cidr: 10.0.0.0/8 }, { cidr: '::/0',",
            "not an address block of IPv4",
        ),
    ] {
        let text = FILTERED.replacen(from, to, 1);
        assert_ne!(text, FILTERED, "{from}");
        let error = read_topology("t", &text).unwrap_err();
        let found = error.mistakes.iter().any(|mistake| mistake.message.contains(message));
        assert!(found, "{to}: {:?}", error.mistakes);
    }
}

const EDGE: &str = "
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24 } }
interfaces: { box: { subnet: s, ipv4: [10.0.1.30], ipv6: [], source_dest_check: false } }
internet_gateways: { igw: { vpc: v } }
vpc_endpoints: { s3: { vpc: v, service: s3, route_tables: [t] } }
block_public_access: { mode: block-ingress, exclude: [{ subnet: s, mode: allow-egress }] }
route_tables:
  t: { vpc: v, subnets: [s] }
  inbound: { vpc: v, gateways: [igw], routes: [{ to: 10.0.1.0/24, via: box }] }
";

#[test]
fn endpoints_inbound_tables_and_what_is_blocked_follow_the_file() {
    let mut stage = made(EDGE);
    let exported = yaml(&export(&stage.running().layout));
    let again = Plan::new(&desired(&exported), stage.running(), Extras::Remove);
    assert_eq!(shown(&again), Vec::<String>::new(), "{exported}");
    let text = EDGE
        .replace("route_tables: [t] }", "route_tables: [] }")
        .replace("gateways: [igw], ", "")
        .replace(
            "exclude: [{ subnet: s, mode: allow-egress }]",
            "exclude: [{ vpc: v, mode: allow-egress }]",
        );
    let lines = change(&mut stage, &text, Extras::Keep);
    for line in [
        "~ gateway endpoint s3  route_tables: t -> none",
        "~ route table inbound  gateways: igw -> none",
    ] {
        assert!(lines.iter().any(|shown| shown == line), "{lines:?}");
    }
    assert_eq!(lines.len(), 3, "{lines:?}");
    change(&mut stage, EDGE, Extras::Keep);
    change(&mut stage, "{ vpcs: {}, subnets: {} }", Extras::Remove);
    let network = stage.network();
    assert_eq!((network.endpoints().count(), network.exclusions().count()), (0, 0));
    assert_eq!(network.block_public_access().unwrap().mode.name(), "off");
}

#[test]
fn what_is_not_in_the_file_is_a_mistake_of_endpoints_inbound_tables_and_exclusions() {
    for (from, to, message) in [
        (
            "route_tables: [t] }",
            "route_tables: [u] }",
            "no route table is called `u`",
        ),
        (
            "gateways: [igw]",
            "gateways: [gwi]",
            "no internet gateway is called `gwi`",
        ),
        ("{ subnet: s, mode", "{ subnet: r, mode", "no subnet is called `r`"),
        (
            "{ subnet: s, mode",
            "{ subnet: s, vpc: v, mode",
            "an exclusion is of a VPC or of a subnet",
        ),
        ("service: s3,", "service: sqs,", "sqs"),
    ] {
        let text = EDGE.replace(from, to);
        assert_ne!(text, EDGE);
        let error = read_topology("t", &text).unwrap_err();
        let found = error.mistakes.iter().any(|mistake| mistake.message.contains(message));
        assert!(found, "{message}: {error:?}");
    }
}
