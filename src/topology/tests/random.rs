//! Tests that a plan between two random networks leads to the second.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

use super::*;

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
