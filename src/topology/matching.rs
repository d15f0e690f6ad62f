//! Matches running resources to those of the file: by name, else by identifier, else by what makes them unique (CIDR,
//! MAC), because a resource without a name has another identifier on another server.

use super::filters::{NetworkAcl, Peer, PrefixList, SecurityGroup, default_of};
use super::layout::{Interface, Kind, Label, Layout, OptionsChoice, RouteTable, Target};
use super::running::{Running, unnamed};

/// The running network, under the labels of the file.
pub(super) fn align(mut running: Running, desired: &Layout) -> Running {
    for (label, set) in &desired.dhcp_options {
        let same = |_: &Label, other: &_| set == other;
        let found = stand_in(
            Kind::DhcpOptions,
            label,
            &running.layout.dhcp_options,
            &desired.dhcp_options,
            same,
        );
        running.rename(Kind::DhcpOptions, found, label);
    }
    for (label, list) in &desired.prefix_lists {
        let same = |_: &Label, other: &PrefixList| (&list.list_name, list.family) == (&other.list_name, other.family);
        let lists = (&running.layout.prefix_lists, &desired.prefix_lists);
        let found = stand_in(Kind::PrefixList, label, lists.0, lists.1, same);
        running.rename(Kind::PrefixList, found, label);
    }
    for (label, vpc) in &desired.vpcs {
        let same = |_: &Label, other: &super::layout::Vpc| vpc.cidr_blocks == other.cidr_blocks;
        let found = stand_in(Kind::Vpc, label, &running.layout.vpcs, &desired.vpcs, same);
        running.rename(Kind::Vpc, found, label);
    }
    for (label, subnet) in &desired.subnets {
        // Subnets of a VPC do not overlap.
        let same = |_: &Label, other: &super::layout::Subnet| {
            (&subnet.vpc, subnet.cidr_block, subnet.ipv6_cidr_block)
                == (&other.vpc, other.cidr_block, other.ipv6_cidr_block)
        };
        let found = stand_in(Kind::Subnet, label, &running.layout.subnets, &desired.subnets, same);
        running.rename(Kind::Subnet, found, label);
    }
    for (label, group) in &desired.security_groups {
        let same =
            |_: &Label, other: &SecurityGroup| (&group.vpc, &group.group_name) == (&other.vpc, &other.group_name);
        let groups = (&running.layout.security_groups, &desired.security_groups);
        let found = stand_in(Kind::SecurityGroup, label, groups.0, groups.1, same);
        running.rename(Kind::SecurityGroup, found, label);
    }
    for (label, acl) in &desired.network_acls {
        let same = |_: &Label, other: &NetworkAcl| acl == other;
        let acls = (&running.layout.network_acls, &desired.network_acls);
        let found = stand_in(Kind::NetworkAcl, label, acls.0, acls.1, same);
        running.rename(Kind::NetworkAcl, found, label);
    }
    for (label, interface) in &desired.interfaces {
        // A MAC is unique within the VPC.
        let same = |_: &Label, other: &Interface| {
            interface.mac.is_some() && (&interface.subnet, interface.mac) == (&other.subnet, other.mac)
        };
        let found = stand_in(
            Kind::Interface,
            label,
            &running.layout.interfaces,
            &desired.interfaces,
            same,
        );
        running.rename(Kind::Interface, found, label);
    }
    running.align_edge(desired);
    running.align_flow_logs(desired);
    running.align_nats(desired);
    running.align_links(desired);
    running.align_endpoints(desired);
    for (label, table) in &desired.route_tables {
        let same = |_: &Label, other: &RouteTable| {
            let content = |table: &RouteTable| (table.subnets.clone(), table.routes.clone());
            table.vpc == other.vpc && table.main == other.main && (table.main || content(table) == content(other))
        };
        // A VPC is created with an unnamed main table: a main table named in the file means this one.
        let found = if table.main && !running.layout.route_tables.contains_key(label) {
            free(
                Kind::RouteTable,
                &running.layout.route_tables,
                &desired.route_tables,
                same,
            )
        } else {
            stand_in(
                Kind::RouteTable,
                label,
                &running.layout.route_tables,
                &desired.route_tables,
                same,
            )
        };
        running.rename(Kind::RouteTable, found, label);
    }
    running
}

type ByLabel<T> = std::collections::BTreeMap<Label, T>;

/// What runs in the place of something without name that the file has from elsewhere.
pub(super) fn stand_in<T>(
    kind: Kind,
    label: &str,
    running: &ByLabel<T>,
    desired: &ByLabel<T>,
    same: impl Fn(&Label, &T) -> bool,
) -> Option<Label> {
    if !unnamed(kind, label) || running.contains_key(label) {
        return None;
    }
    free(kind, running, desired, same)
}

/// A running resource without a name that is the same and that the file does not name.
fn free<T>(kind: Kind, running: &ByLabel<T>, desired: &ByLabel<T>, same: impl Fn(&Label, &T) -> bool) -> Option<Label> {
    let mut found = running
        .iter()
        .filter(|(label, _)| unnamed(kind, label) && !desired.contains_key(*label));
    found
        .find(|(label, other)| same(label, other))
        .map(|(label, _)| label.clone())
}

impl Running {
    /// Calls something otherwise, everywhere.
    pub(super) fn rename(&mut self, kind: Kind, old: Option<Label>, new: &str) {
        fn key<T>(map: &mut ByLabel<T>, old: &str, new: &str) {
            if let Some(value) = map.remove(old) {
                map.insert(new.to_owned(), value);
            }
        }
        let Some(old) = old else { return };
        let layout = &mut self.layout;
        layout.rename_logged(kind, &old, new);
        layout.rename_excluded(kind, &old, new);
        let own = |label: &mut Label| {
            if *label == old {
                new.clone_into(label);
            }
        };
        match kind {
            Kind::DhcpOptions => {
                key(&mut layout.dhcp_options, &old, new);
                for vpc in layout.vpcs.values_mut() {
                    if let OptionsChoice::Set(label) = &mut vpc.dhcp_options {
                        own(label);
                    }
                }
            }
            Kind::Vpc => {
                key(&mut layout.vpcs, &old, new);
                layout.subnets.values_mut().for_each(|subnet| own(&mut subnet.vpc));
                layout.route_tables.values_mut().for_each(|table| own(&mut table.vpc));
                let gateways = layout.internet_gateways.values_mut();
                gateways.filter_map(|gateway| gateway.vpc.as_mut()).for_each(own);
                let egress_only = layout.egress_only_gateways.values_mut();
                egress_only.for_each(|gateway| own(&mut gateway.vpc));
                layout
                    .endpoints
                    .values_mut()
                    .for_each(|endpoint| own(&mut endpoint.vpc));
                for peering in layout.peerings.values_mut() {
                    own(&mut peering.requester);
                    own(&mut peering.accepter);
                }
                layout
                    .security_groups
                    .values_mut()
                    .for_each(|group| own(&mut group.vpc));
                layout.network_acls.values_mut().for_each(|acl| own(&mut acl.vpc));
                let (before, after) = (default_of(&old), default_of(new));
                key(&mut layout.network_acls, &before, &after);
                layout.rename_group(&before, &after);
            }
            Kind::Subnet => {
                key(&mut layout.subnets, &old, new);
                layout
                    .interfaces
                    .values_mut()
                    .for_each(|interface| own(&mut interface.subnet));
                layout
                    .nat_gateways
                    .values_mut()
                    .for_each(|gateway| own(&mut gateway.subnet));
                let tables = layout.route_tables.values_mut().map(|table| &mut table.subnets);
                let acls = layout.network_acls.values_mut().map(|acl| &mut acl.subnets);
                for subnets in tables.chain(acls) {
                    if subnets.remove(&old) {
                        subnets.insert(new.to_owned());
                    }
                }
            }
            Kind::PrefixList => {
                key(&mut layout.prefix_lists, &old, new);
                layout.rename_peers(|peer| match peer {
                    Peer::PrefixList(label) => own(label),
                    Peer::Cidr(_) | Peer::Group(_) => {}
                });
            }
            Kind::SecurityGroup => layout.rename_group(&old, new),
            Kind::NetworkAcl => key(&mut layout.network_acls, &old, new),
            Kind::Interface => {
                key(&mut layout.interfaces, &old, new);
                key(&mut self.devices, &old, new);
                layout
                    .instances
                    .values_mut()
                    .for_each(|instance| own(&mut instance.interface));
                let addresses = layout.elastic_ips.values_mut();
                addresses.filter_map(|address| address.to.as_mut()).for_each(own);
                let routes = layout
                    .route_tables
                    .values_mut()
                    .flat_map(|table| table.routes.values_mut());
                for target in routes {
                    if let Target::Interface(label) = target {
                        own(label);
                    }
                }
            }
            Kind::InternetGateway | Kind::NatGateway | Kind::EgressOnlyGateway | Kind::Peering => {
                match kind {
                    Kind::NatGateway => key(&mut layout.nat_gateways, &old, new),
                    Kind::EgressOnlyGateway => key(&mut layout.egress_only_gateways, &old, new),
                    Kind::Peering => key(&mut layout.peerings, &old, new),
                    _ => key(&mut layout.internet_gateways, &old, new),
                }
                if kind == Kind::InternetGateway {
                    for table in layout.route_tables.values_mut() {
                        if table.gateways.remove(&old) {
                            table.gateways.insert(new.to_owned());
                        }
                    }
                }
                let tables = layout.route_tables.values_mut();
                for target in tables.flat_map(|table| table.routes.values_mut()) {
                    if let Target::Gateway(of, label) = target
                        && *of == kind
                    {
                        own(label);
                    }
                }
            }
            Kind::ElasticIp => {
                key(&mut layout.elastic_ips, &old, new);
                let gateways = layout.nat_gateways.values_mut();
                gateways.flat_map(|gateway| &mut gateway.elastic_ips).for_each(own);
            }
            Kind::RouteTable => {
                key(&mut layout.route_tables, &old, new);
                for endpoint in layout.endpoints.values_mut() {
                    if endpoint.route_tables.remove(&old) {
                        endpoint.route_tables.insert(new.to_owned());
                    }
                }
            }
            Kind::Endpoint => key(&mut layout.endpoints, &old, new),
            Kind::BlockPublicAccess => key(&mut layout.blocked, &old, new),
            Kind::FlowLog => key(&mut layout.flow_logs, &old, new),
            Kind::Instance => key(&mut layout.instances, &old, new),
        }
        self.aliases.insert((kind, new.to_owned()), old);
    }
}

impl Layout {
    /// Calls a security group otherwise, everywhere.
    fn rename_group(&mut self, old: &str, new: &str) {
        if let Some(group) = self.security_groups.remove(old) {
            self.security_groups.insert(new.to_owned(), group);
        }
        let own = |label: &mut Label| {
            if label == old {
                new.clone_into(label);
            }
        };
        for interface in self.interfaces.values_mut() {
            interface.groups.iter_mut().for_each(own);
        }
        self.rename_peers(|peer| match peer {
            Peer::Group(label) => own(label),
            Peer::Cidr(_) | Peer::PrefixList(_) => {}
        });
    }

    fn rename_peers(&mut self, rename: impl Fn(&mut Peer)) {
        for group in self.security_groups.values_mut() {
            for rules in [&mut group.ingress, &mut group.egress] {
                let renamed = std::mem::take(rules).into_iter().map(|(mut rule, description)| {
                    rename(&mut rule.peer);
                    (rule, description)
                });
                *rules = renamed.collect();
            }
        }
    }
}
