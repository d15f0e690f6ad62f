//! Tests plans of security groups, network ACLs and prefix lists.

use super::*;

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
