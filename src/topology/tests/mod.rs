//! Tests plans between arbitrary networks: each is carried out on a copy, by the model's own rules.

mod firewall;
mod gateways;
mod random;

use serde_json::{Value, json};

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
