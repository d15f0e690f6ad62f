//! Tests plans of gateways, public addresses, endpoints, tables of gateways and what is blocked.

use super::*;

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
