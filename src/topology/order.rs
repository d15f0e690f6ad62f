//! Orders the steps of a plan: delete dependents first, create dependencies first, and move addresses atomically, so
//! that a moving address always has an owner.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::ranges;
use super::diff::{Fate, Judged};
use super::layout::{Interface, Kind, Label, Layout, OptionsChoice, RouteTable, Target};
use super::plan::{AnyAddress, Edit, Extras, Plan, Step};
use super::running::{Running, unnamed};
use crate::model::AddressOrPrefix;

impl Plan {
    /// The plan from the running to the desired network.
    pub fn new(desired: &Layout, running: Running, extras: Extras) -> Self {
        let judged = Judged::new(desired, running, extras);
        let mut steps = match judged.refusal {
            Some(_) => Steps::default(),
            None => Steps::of(&judged),
        };
        Self {
            changes: judged.changes,
            kept: judged.kept,
            refusal: judged.refusal,
            aliases: judged.running.aliases,
            made_with: judged.desired.made_with.clone(),
            steps: std::mem::take(&mut steps.0),
        }
    }
}

#[derive(Default)]
pub(super) struct Steps(Vec<(Vec<usize>, Step)>);

/// The labels of a kind with a fate, in order.
pub(super) fn with<'m, T>(
    judged: &'m Judged<'_>,
    kind: Kind,
    of: &'m std::collections::BTreeMap<Label, T>,
    fate: impl Fn(Fate) -> bool + 'm,
) -> impl Iterator<Item = (&'m Label, &'m T)> {
    of.iter().filter(move |(label, _)| fate(judged.fate(kind, label)))
}

impl Steps {
    fn of(judged: &Judged<'_>) -> Self {
        let mut steps = Self::default();
        steps.take_away(judged);
        steps.renew_options_and_vpcs(judged);
        steps.make_filters(judged);
        steps.make_interfaces(judged);
        steps.make_edge(judged);
        steps.make_flow_logs(judged);
        steps.make_nats(judged);
        steps.make_links(judged);
        steps.make_tables(judged);
        steps.make_endpoints(judged);
        steps.set_block(judged);
        steps.end_filters(judged);
        for (label, instance) in with(judged, Kind::Instance, &judged.desired.instances, Fate::begins) {
            steps.push(
                judged,
                Kind::Instance,
                label,
                Step::CreateInstance(label.clone(), instance.clone()),
            );
        }
        steps.attach(judged);
        steps
    }

    /// Whether an interface keeps its device index in a host that both keep.
    fn stays_attached(judged: &Judged<'_>, label: &str, host: &str) -> bool {
        let attached_to = |interfaces: &std::collections::BTreeMap<Label, Interface>| {
            interfaces
                .get(label)
                .and_then(|interface| interface.attached_to.clone())
        };
        let now = attached_to(&judged.running.layout.interfaces);
        let then = match judged.fate(Kind::Interface, label) {
            Fate::Keep => now.clone(),
            _ => attached_to(&judged.desired.interfaces),
        };
        let lives = |fate: Fate| !fate.ends() && !fate.begins();
        now == then
            && now.as_deref() == Some(host)
            && lives(judged.fate(Kind::Interface, label))
            && lives(judged.fate(Kind::Instance, host))
    }

    fn detach(&mut self, judged: &Judged<'_>) {
        self.place(judged, &judged.running.layout, |interface, _| Step::Detach(interface));
    }

    fn attach(&mut self, judged: &Judged<'_>) {
        self.place(judged, judged.desired, Step::Attach);
    }

    /// A step for each interface that is attached in this layout and does not stay so. It is a part of the change of
    /// the interface, or else of the host.
    fn place(&mut self, judged: &Judged<'_>, layout: &Layout, step: impl Fn(Label, Label) -> Step) {
        for (label, interface) in &layout.interfaces {
            let Some(host) = &interface.attached_to else { continue };
            if Self::stays_attached(judged, label, host) {
                continue;
            }
            let (kind, of) = match judged.number(Kind::Interface, label) {
                Some(_) => (Kind::Interface, label),
                None => (Kind::Instance, host),
            };
            self.push(judged, kind, of, step(label.clone(), host.clone()));
        }
    }

    pub(super) fn push(&mut self, judged: &Judged<'_>, kind: Kind, label: &str, step: Step) {
        self.0.push((judged.number(kind, label).into_iter().collect(), step));
    }

    fn take_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        self.take_flow_logs_away(judged);
        self.take_nats_away(judged);
        self.take_addresses_away(judged);
        self.detach(judged);
        for (label, _) in with(judged, Kind::Instance, &now.instances, Fate::ends) {
            self.push(judged, Kind::Instance, label, Step::RemoveInstance(label.clone()));
        }
        for (label, _) in with(judged, Kind::Interface, &now.interfaces, Fate::ends) {
            if judged.running.devices.contains_key(label) {
                self.push(judged, Kind::Interface, label, Step::Detach(label.clone()));
            }
        }
        self.take_routes_away(judged);
        self.edit(Mappings::of(judged).release);
        for (label, _) in with(judged, Kind::Interface, &now.interfaces, Fate::ends) {
            self.push(judged, Kind::Interface, label, Step::DeleteInterface(label.clone()));
        }
        for (label, table) in with(judged, Kind::RouteTable, &now.route_tables, Fate::ends) {
            self.take_table_away(judged, label, table);
        }
        for (label, _) in with(judged, Kind::Subnet, &now.subnets, Fate::ends) {
            self.push(judged, Kind::Subnet, label, Step::DeleteSubnet(label.clone()));
        }
        self.take_filters_away(judged);
        self.take_gateways_away(judged);
        self.take_links_away(judged);
        self.take_endpoints_away(judged);
        for (label, _) in with(judged, Kind::Vpc, &now.vpcs, Fate::ends) {
            self.push(judged, Kind::Vpc, label, Step::DeleteVpc(label.clone()));
        }
    }

    fn take_routes_away(&mut self, judged: &Judged<'_>) {
        let now = &judged.running.layout;
        for (label, old) in with(judged, Kind::RouteTable, &now.route_tables, |fate| fate == Fate::Alter) {
            let new = &judged.desired.route_tables[label];
            let gone: Vec<IpNet> = old
                .routes
                .keys()
                .filter(|to| !new.routes.contains_key(to))
                .copied()
                .collect();
            self.take_away_routes(judged, label, old, gone);
            for gateway in old.gateways.difference(&new.gateways) {
                // Another table that it is associated with takes its place.
                let mut others = judged.desired.route_tables.values();
                let stays = !judged.fate(Kind::InternetGateway, gateway).ends();
                if stays && !others.any(|other| other.gateways.contains(gateway)) {
                    let step = Step::DisassociateGateway(label.clone(), gateway.clone());
                    self.push(judged, Kind::RouteTable, label, step);
                }
            }
            for subnet in old.subnets.difference(&new.subnets) {
                let mut others = judged.desired.route_tables.values();
                let stays = !judged.fate(Kind::Subnet, subnet).ends();
                // Associating another table removes this association.
                if stays && !others.any(|other| other.subnets.contains(subnet)) {
                    let step = Step::Disassociate(label.clone(), subnet.clone());
                    self.push(judged, Kind::RouteTable, label, step);
                }
            }
        }
    }

    /// A range of the VPC always has a route: it becomes local again.
    fn take_away_routes(&mut self, judged: &Judged<'_>, label: &str, table: &RouteTable, gone: Vec<IpNet>) {
        let ranges = judged
            .running
            .layout
            .vpcs
            .get(&table.vpc)
            .map(ranges)
            .unwrap_or_default();
        for to in gone {
            let step = match ranges.contains(&to) {
                true => Step::PutRoute(label.to_owned(), to, Target::Local),
                false => Step::DeleteRoute(label.to_owned(), to),
            };
            self.push(judged, Kind::RouteTable, label, step);
        }
    }

    fn take_table_away(&mut self, judged: &Judged<'_>, label: &str, table: &RouteTable) {
        if table.main && judged.fate(Kind::Vpc, &table.vpc).ends() {
            // It is deleted with its VPC.
            return;
        }
        for subnet in judged.led.get(label).into_iter().flatten() {
            let step = Step::Disassociate(label.to_owned(), subnet.clone());
            self.push(judged, Kind::RouteTable, label, step);
        }
        for gateway in &table.gateways {
            let step = Step::DisassociateGateway(label.to_owned(), gateway.clone());
            self.push(judged, Kind::RouteTable, label, step);
        }
        if table.main {
            self.take_away_routes(judged, label, table, table.routes.keys().copied().collect());
            self.push(judged, Kind::RouteTable, label, Step::ResetTable(label.to_owned()));
        } else {
            self.push(judged, Kind::RouteTable, label, Step::DeleteTable(label.to_owned()));
        }
    }

    fn renew_options_and_vpcs(&mut self, judged: &Judged<'_>) {
        let (now, desired) = (&judged.running.layout, judged.desired);
        let mut without = BTreeSet::new();
        for (set, _) in with(judged, Kind::DhcpOptions, &now.dhcp_options, |fate| {
            fate == Fate::Replace
        }) {
            let having = now.vpcs.iter().filter(|(label, vpc)| {
                vpc.dhcp_options == OptionsChoice::Set(set.clone()) && !judged.fate(Kind::Vpc, label).ends()
            });
            for (vpc, _) in having {
                without.insert(vpc.clone());
                let step = Step::SetOptions(vpc.clone(), OptionsChoice::None);
                self.push(judged, Kind::DhcpOptions, set, step);
            }
            self.push(judged, Kind::DhcpOptions, set, Step::DeleteOptions(set.clone()));
        }
        for (label, set) in with(judged, Kind::DhcpOptions, &desired.dhcp_options, Fate::begins) {
            let step = Step::CreateOptions(label.clone(), set.clone());
            self.push(judged, Kind::DhcpOptions, label, step);
        }
        for (label, vpc) in &desired.vpcs {
            match judged.fate(Kind::Vpc, label) {
                fate if fate.begins() => {
                    self.push(judged, Kind::Vpc, label, Step::CreateVpc(label.clone(), vpc.clone()));
                }
                Fate::Alter => {
                    without.remove(label);
                    self.push(judged, Kind::Vpc, label, Step::ModifyVpc(label.clone(), vpc.clone()));
                }
                _ => {}
            }
        }
        for label in without {
            let OptionsChoice::Set(set) = &now.vpcs[&label].dhcp_options else {
                continue;
            };
            let step = Step::SetOptions(label, OptionsChoice::Set(set.clone()));
            self.push(judged, Kind::DhcpOptions, set, step);
        }
        for (label, _) in with(judged, Kind::DhcpOptions, &now.dhcp_options, |fate| {
            fate == Fate::Remove
        }) {
            self.push(judged, Kind::DhcpOptions, label, Step::DeleteOptions(label.clone()));
        }
        for (label, subnet) in &desired.subnets {
            match judged.fate(Kind::Subnet, label) {
                fate if fate.begins() => {
                    let step = Step::CreateSubnet(label.clone(), subnet.clone());
                    self.push(judged, Kind::Subnet, label, step);
                }
                Fate::Alter => {
                    let step = Step::ModifySubnet(label.clone(), subnet.clone());
                    self.push(judged, Kind::Subnet, label, step);
                }
                _ => {}
            }
        }
    }

    fn make_interfaces(&mut self, judged: &Judged<'_>) {
        let interfaces = &judged.desired.interfaces;
        for (label, interface) in with(judged, Kind::Interface, interfaces, |fate| fate == Fate::Alter) {
            let step = Step::ModifyInterface(label.clone(), interface.clone());
            self.push(judged, Kind::Interface, label, step);
        }
        // Interfaces with chosen addresses come last, so that they cannot get an address that the file gives to
        // another.
        let (named, chosen): (Vec<_>, Vec<_>) =
            with(judged, Kind::Interface, interfaces, Fate::begins).partition(|(_, interface)| is_named(interface));
        self.create(judged, &named);
        self.edit(Mappings::of(judged).assign);
        self.create(judged, &chosen);
        let now = &judged.running.layout.interfaces;
        for (label, interface) in with(judged, Kind::Interface, interfaces, |fate| fate == Fate::Alter) {
            let without = now[label].ipv6.as_ref().is_some_and(Vec::is_empty);
            if without && judged.gets_any_ipv6(interface) {
                self.push(judged, Kind::Interface, label, Step::ChooseIpv6(label.clone()));
            }
        }
    }

    fn create(&mut self, judged: &Judged<'_>, interfaces: &[(&Label, &Interface)]) {
        for (label, interface) in interfaces {
            let any = match judged.gets_any_ipv6(interface) {
                true => AnyAddress::Ipv6,
                false => AnyAddress::None,
            };
            let step = Step::CreateInterface((*label).clone(), (*interface).clone(), any);
            self.push(judged, Kind::Interface, label, step);
        }
    }

    fn edit(&mut self, edits: Vec<(usize, Edit)>) {
        if edits.is_empty() {
            return;
        }
        let mut numbers: Vec<usize> = edits.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let edits = edits.into_iter().map(|(_, edit)| edit).collect();
        self.0.push((numbers, Step::EditMappings(edits)));
    }

    fn make_tables(&mut self, judged: &Judged<'_>) {
        let (now, desired) = (&judged.running.layout, judged.desired);
        for (label, new) in &desired.route_tables {
            let fate = judged.fate(Kind::RouteTable, label);
            let old = now.route_tables.get(label).filter(|_| !fate.begins());
            let mut push = |step| self.push(judged, Kind::RouteTable, label, step);
            match old {
                None => push(Step::CreateTable {
                    table: label.clone(),
                    vpc: new.vpc.clone(),
                    main: new.main,
                    tags: new.tags.clone(),
                }),
                Some(old) => {
                    let adopted = judged.running.aliases.contains_key(&(Kind::RouteTable, label.clone()));
                    let name = (adopted && !unnamed(Kind::RouteTable, label)).then(|| label.clone());
                    let main = new.main && !old.main;
                    if name.is_some() || main || new.tags != old.tags {
                        push(Step::ModifyTable {
                            table: label.clone(),
                            name,
                            main,
                            tags: new.tags.clone(),
                        });
                    }
                    let before = now
                        .route_tables
                        .iter()
                        .find(|(other, table)| *other != label && table.vpc == new.vpc && table.is_untouched(other));
                    if let Some((before, _)) = before.filter(|_| main) {
                        // The table that the VPC was created with is no longer needed.
                        push(Step::DeleteTable(before.clone()));
                    }
                }
            }
            for (to, target) in &new.routes {
                if old.and_then(|old| old.routes.get(to)) != Some(target) {
                    push(Step::PutRoute(label.clone(), *to, target.clone()));
                }
            }
            for subnet in &new.subnets {
                if old.is_none_or(|old| !old.subnets.contains(subnet)) {
                    push(Step::Associate(label.clone(), subnet.clone()));
                }
            }
            for gateway in &new.gateways {
                let fate = judged.fate(Kind::InternetGateway, gateway);
                let renewed = !matches!(fate, Fate::Same | Fate::Keep);
                if old.is_none_or(|old| !old.gateways.contains(gateway)) || renewed {
                    push(Step::AssociateGateway(label.clone(), gateway.clone()));
                }
            }
            if let Some(old) = old {
                self.restore(judged, label, new, Some(old));
            }
        }
        for (label, table) in with(judged, Kind::RouteTable, &now.route_tables, |fate| fate == Fate::Keep) {
            self.restore(judged, label, table, None);
        }
        let untouched = now
            .route_tables
            .iter()
            .filter(|(label, table)| table.is_untouched(label) && !desired.route_tables.contains_key(*label));
        for (label, table) in untouched {
            self.restore(judged, label, table, None);
        }
    }

    /// Restores routes of a kept table to replaced targets, and its associations with replaced subnets.
    fn restore(&mut self, judged: &Judged<'_>, label: &str, table: &RouteTable, old: Option<&RouteTable>) {
        for (to, target) in &table.routes {
            let there = old.is_none_or(|old| old.routes.get(to) == Some(target));
            let (kind, gone) = match target {
                Target::Interface(interface) => (Kind::Interface, interface),
                Target::Gateway(kind, gateway) => (*kind, gateway),
                Target::Local | Target::Blackhole => continue,
            };
            if judged.fate(kind, gone) == Fate::Replace && there {
                let step = Step::PutRoute(label.to_owned(), *to, target.clone());
                self.push(judged, kind, gone, step);
            }
        }
        for subnet in &table.subnets {
            let there = old.is_none_or(|old| old.subnets.contains(subnet));
            let mut tables = judged.desired.route_tables.iter();
            let led_elsewhere = tables.any(|(other, table)| other != label && table.subnets.contains(subnet));
            if judged.fate(Kind::Subnet, subnet) == Fate::Replace && there && !led_elsewhere {
                let step = Step::Associate(label.to_owned(), subnet.clone());
                self.push(judged, Kind::Subnet, subnet, step);
            }
        }
    }
}

/// Whether all addresses of a new interface are given.
fn is_named(interface: &Interface) -> bool {
    interface.ipv4.as_ref().is_some_and(|list| !list.is_empty()) && interface.ipv6.is_some()
}

/// Edits of the mappings of kept interfaces, each with the number of its change.
struct Mappings {
    release: Vec<(usize, Edit)>,
    assign: Vec<(usize, Edit)>,
}

impl Mappings {
    fn of(judged: &Judged<'_>) -> Self {
        let (now, desired) = (&judged.running.layout.interfaces, &judged.desired.interfaces);
        let altered = || with(judged, Kind::Interface, desired, |fate| fate == Fate::Alter);
        // Moves between two kept interfaces in one subnet.
        let mut moved: BTreeSet<(Label, AddressOrPrefix)> = BTreeSet::new();
        let mut found = Self {
            release: Vec::new(),
            assign: Vec::new(),
        };
        for (label, new) in altered() {
            let Some(number) = judged.number(Kind::Interface, label) else {
                continue;
            };
            for address in changes(&now[label], new).assign {
                let owner = altered().find(|(other, _)| {
                    let old = &now[*other];
                    *other != label && old.subnet == new.subnet && addresses(old).any(|own| own == address)
                });
                let edit = match owner {
                    Some((owner, _)) => {
                        moved.insert((owner.clone(), address));
                        Edit::Move(label.clone(), address)
                    }
                    None => Edit::Assign(label.clone(), address),
                };
                found.assign.push((number, edit));
            }
        }
        for (label, new) in altered() {
            let Some(number) = judged.number(Kind::Interface, label) else {
                continue;
            };
            for address in changes(&now[label], new).release {
                if !moved.contains(&(label.clone(), address)) {
                    found.release.push((number, Edit::Unassign(label.clone(), address)));
                }
            }
        }
        found
    }
}

#[derive(Default)]
struct AddressChanges {
    release: Vec<AddressOrPrefix>,
    assign: Vec<AddressOrPrefix>,
}

fn addresses(interface: &Interface) -> impl Iterator<Item = AddressOrPrefix> + '_ {
    let ipv4 = interface
        .ipv4
        .iter()
        .flatten()
        .map(|address| IpAddr::from(*address).into());
    let ipv6 = interface
        .ipv6
        .iter()
        .flatten()
        .map(|address| IpAddr::from(*address).into());
    ipv4.chain(ipv6).chain(interface.prefixes.iter().copied())
}

/// The addresses that an interface loses and gets, the first of each kind first.
fn changes(old: &Interface, new: &Interface) -> AddressChanges {
    let of = |interface: &Interface, ipv6: bool, prefix: bool| -> Vec<AddressOrPrefix> {
        let all = addresses(interface);
        all.filter(|block| block.is_ipv6() == ipv6 && block.is_prefix() == prefix)
            .collect()
    };
    let mut changes = AddressChanges::default();
    let said = [(false, false, new.ipv4.is_some()), (true, false, new.ipv6.is_some())];
    let prefixes = [(false, true, true), (true, true, true)];
    for (ipv6, prefix, _) in said.into_iter().chain(prefixes).filter(|(.., said)| *said) {
        let (old, new) = (of(old, ipv6, prefix), of(new, ipv6, prefix));
        let Some(first) = new.first() else {
            changes.release.extend(old);
            continue;
        };
        // Addresses before the new first one are removed and added again after it.
        let place = old.iter().position(|address| address == first).unwrap_or(old.len());
        let stays = |address: &AddressOrPrefix| {
            let own = old.iter().position(|other| other == address);
            own.is_some_and(|own| own >= place)
        };
        changes
            .release
            .extend(old.iter().filter(|address| !(new.contains(address) && stays(address))));
        changes.assign.extend(new.iter().filter(|address| !stays(address)));
    }
    changes
}
