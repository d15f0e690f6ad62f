//! Checks a topology before anything is created: every name exists, every address lies in its subnet and is given once.
//!
//! The Controller checks what only it knows (limits, reserved addresses); its refusal names the resource.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde_saphyr::{Location, Spanned};

use super::{InterfaceTopology, ProfileForm, SubnetTopology, Topology};
use crate::file::diagnostic::Mistake;
use crate::file::template::{Facts, Scope, Template};
use crate::model::dhcp_options::DhcpOptionsChoice;
use crate::model::profile::{ProfileError, ProfileSpec};
use crate::model::route_table::TargetRef;
use crate::model::subnet::plan;
use crate::wire::MacAddr;

/// Names with another meaning in expressions.
const TAKEN: [&str; 2] = ["saved", "parameters"];

/// All mistakes of a topology.
pub(crate) fn check_topology(topology: &Topology, scope: &Scope) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for vpc in topology.vpcs.values() {
        if vpc.value.cidr_blocks.is_empty() {
            mistakes.push(
                Mistake::at(vpc.referenced, "a VPC needs a block of IPv4 addresses")
                    .help("write `cidr_blocks: [10.0.0.0/16]`"),
            );
        }
        if let Some(set) = &vpc.value.dhcp_options
            && set.value != DhcpOptionsChoice::NONE
            && !topology.dhcp_options.contains_key(&set.value)
        {
            let message = format!("no DHCP option set is called `{}`", set.value);
            let known = topology.dhcp_options.keys().map(String::as_str);
            mistakes.push(Mistake::at(set.referenced, message).nearest(&set.value, known));
        }
        if let Some(form) = &vpc.value.profile
            && let Err(problem) = resolve_profile(form, scope)
        {
            mistakes.push(match &problem {
                ProfileError::Unknown { name } => Mistake::at(form.place, format!("there is no profile `{name}`"))
                    .nearest(name, crate::model::profile::Profile::NAMES),
                ProfileError::Override { .. } => Mistake::at(form.place, problem.to_string()),
            });
        }
    }
    for subnet in topology.subnets.values() {
        check_subnet(topology, subnet, &mut mistakes);
    }
    for set in topology.dhcp_options.values() {
        if let Err(problem) = set.value.options().validate() {
            mistakes.push(Mistake::at(set.referenced, problem.to_string()));
        }
    }
    check_route_tables(topology, &mut mistakes);
    super::edge::check_edge(topology, &mut mistakes);
    super::flow_logs::check_flow_logs(topology, &mut mistakes);
    super::nat::check_nats(topology, &mut mistakes);
    super::links::check_links(topology, &mut mistakes);
    super::endpoints::check_endpoints(topology, &mut mistakes);
    super::block::check_block(topology, &mut mistakes);
    crate::topology::filters::check(topology, &mut mistakes);
    for (name, instance) in &topology.instances {
        check_name(name, instance.referenced, &mut mistakes);
    }
    let mut names = Given::new("network interface");
    let mut macs = Given::new("MAC address");
    let mut addresses = Given::new("address");
    for (name, place, interface) in topology.network_interfaces() {
        names.give(name.to_owned(), name, place, &mut mistakes);
        if is_word(name) {
            let message = format!("a network interface cannot be called `{name}`, which is where a route may lead");
            mistakes.push(Mistake::at(place, message).help("choose another name"));
        }
        if let Some(mac) = &interface.mac {
            let vpc = topology
                .subnets
                .get(&interface.subnet.value)
                .map(|subnet| subnet.value.vpc.value.clone());
            if mac.value.0[0] & 1 == 1 {
                mistakes.push(Mistake::at(
                    mac.referenced,
                    format!("{} is a group address, not one of a host", mac.value),
                ));
            }
            macs.give((vpc, mac.value), mac.value, mac.referenced, &mut mistakes);
        }
        check_interface(topology, &interface, place, &mut addresses, &mut mistakes);
    }
    for interface in topology.interfaces.values() {
        if let Some(to) = &interface.value.attached_to
            && !topology.instances.contains_key(&to.value)
        {
            let message = format!("no instance is called `{}`", to.value);
            let known = topology.instances.keys().map(String::as_str);
            mistakes.push(Mistake::at(to.referenced, message).nearest(&to.value, known));
        }
    }
    mistakes
}

/// The profile of a file, with `{{ parameters.… }}` in its name replaced.
pub fn resolve_profile(form: &ProfileForm, scope: &Scope) -> Result<crate::model::profile::Profile, ProfileError> {
    match &form.spec {
        ProfileSpec::Name(name) => {
            let filled = Template::parse(name).and_then(|template| template.fill(scope));
            ProfileSpec::Name(filled.unwrap_or_else(|_| name.clone())).resolve()
        }
        changed @ ProfileSpec::Changed(_) => changed.resolve(),
    }
}

fn check_name(name: &str, place: Location, mistakes: &mut Vec<Mistake>) {
    let fits = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !fits {
        mistakes.push(
            Mistake::at(place, format!("`{name}` cannot be the name of a host"))
                .help("use up to 63 letters, digits and `-`, a letter or digit first"),
        );
    }
}

/// Names that steps could not use, or would use with another meaning than the topology.
pub(crate) fn check_for_steps(topology: &Topology) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (name, instance) in &topology.instances {
        if TAKEN.contains(&name.as_str()) {
            mistakes.push(Mistake::at(
                instance.referenced,
                format!("`{name}` means something else in expressions: choose another name"),
            ));
        }
        if let Some(own) = instance.value.interface.as_ref().filter(|own| own.value != *name) {
            let message = format!("steps name the network interface of `{name}` by the instance's name");
            mistakes.push(Mistake::at(own.referenced, message).help("leave `interface` out of a scenario"));
        }
    }
    mistakes
}

fn check_subnet(topology: &Topology, subnet: &Spanned<SubnetTopology>, mistakes: &mut Vec<Mistake>) {
    let fields = &subnet.value;
    let Some(vpc) = topology.vpcs.get(&fields.vpc.value) else {
        let message = format!("no VPC is called `{}`", fields.vpc.value);
        mistakes.push(
            Mistake::at(fields.vpc.referenced, message)
                .nearest(&fields.vpc.value, topology.vpcs.keys().map(String::as_str)),
        );
        return;
    };
    if fields.cidr_block.is_none() && fields.ipv6_cidr_block.is_none() {
        mistakes.push(
            Mistake::at(
                subnet.referenced,
                "a subnet needs `cidr_block`, `ipv6_cidr_block` or both",
            )
            .help("take a part of the VPC's block"),
        );
    }
    if let Some(block) = &fields.cidr_block
        && !vpc
            .value
            .cidr_blocks
            .iter()
            .any(|outer| outer.value.contains(&block.value))
    {
        mistakes.push(outside_vpc(block.value, block.referenced, &vpc.value.cidr_blocks));
    }
    if let Some(block) = &fields.ipv6_cidr_block {
        if !vpc
            .value
            .ipv6_cidr_blocks
            .iter()
            .any(|outer| outer.value.contains(&block.value))
        {
            mistakes.push(outside_vpc(block.value, block.referenced, &vpc.value.ipv6_cidr_blocks));
        }
        if block.value.prefix_len() != 64 {
            mistakes.push(
                Mistake::at(
                    block.referenced,
                    format!("an IPv6 subnet is a /64, not a /{}", block.value.prefix_len()),
                )
                .help("end the block with `/64`"),
            );
        }
    }
}

/// True for the words that are route targets and not instances.
pub(crate) fn is_word(via: &str) -> bool {
    ["local", "blackhole"].contains(&via)
}

/// A route target by its name in a file: interfaces have the names of their instances.
pub fn route_target(via: &str) -> TargetRef {
    TargetRef::new(via)
}

fn check_route_tables(topology: &Topology, mistakes: &mut Vec<Mistake>) {
    let mut led = Given::new("route table of");
    let mut mains = Given::new("main route table of");
    let mut inbound = Given::new("route table of internet gateway");
    for table in topology.route_tables.values() {
        let fields = &table.value;
        let vpc = &fields.vpc;
        if !topology.vpcs.contains_key(&vpc.value) {
            let message = format!("no VPC is called `{}`", vpc.value);
            let known = topology.vpcs.keys().map(String::as_str);
            mistakes.push(Mistake::at(vpc.referenced, message).nearest(&vpc.value, known));
        }
        if fields.main {
            mains.give(vpc.value.clone(), &vpc.value, vpc.referenced, mistakes);
        }
        for subnet in &fields.subnets {
            match topology.subnets.get(&subnet.value) {
                Some(found) if found.value.vpc.value == vpc.value => {
                    led.give(subnet.value.clone(), &subnet.value, subnet.referenced, mistakes);
                }
                Some(_) => mistakes.push(Mistake::at(
                    subnet.referenced,
                    format!("subnet `{}` is not in VPC `{}`", subnet.value, vpc.value),
                )),
                None => {
                    let message = format!("no subnet is called `{}`", subnet.value);
                    let known = topology.subnets.keys().map(String::as_str);
                    mistakes.push(Mistake::at(subnet.referenced, message).nearest(&subnet.value, known));
                }
            }
        }
        for gateway in &fields.gateways {
            match topology.internet_gateways.get(&gateway.value) {
                Some(found) if found.value.vpc.as_ref().is_some_and(|of| of.value == vpc.value) => {
                    inbound.give(gateway.value.clone(), &gateway.value, gateway.referenced, mistakes);
                }
                Some(_) => mistakes.push(Mistake::at(
                    gateway.referenced,
                    format!(
                        "internet gateway `{}` is not attached to VPC `{}`",
                        gateway.value, vpc.value
                    ),
                )),
                None => {
                    let message = format!("no internet gateway is called `{}`", gateway.value);
                    let known = topology.internet_gateways.keys().map(String::as_str);
                    mistakes.push(Mistake::at(gateway.referenced, message).nearest(&gateway.value, known));
                }
            }
        }
        let mut destinations = Given::new("route to");
        for route in &fields.routes {
            let to = route.to.value.trunc();
            destinations.give(to, to, route.to.referenced, mistakes);
            let via = &route.via;
            let gateway = topology.gateway_kind(&via.value).is_some();
            if !is_word(&via.value) && !gateway && topology.interface_behind(&via.value).is_none() {
                let message = format!("no instance is called `{}`", via.value);
                let known = topology.instances.keys().chain(topology.interfaces.keys());
                let known = known.chain(topology.gateway_names());
                let known = known.map(String::as_str);
                mistakes.push(Mistake::at(via.referenced, message).nearest(&via.value, known));
            }
        }
    }
}

fn outside_vpc<N: Display>(block: N, place: Location, blocks: &[Spanned<N>]) -> Mistake {
    let blocks: Vec<String> = blocks.iter().map(|block| block.value.to_string()).collect();
    let mistake = Mistake::at(place, format!("{block} is not inside a block of the VPC"));
    match blocks.is_empty() {
        true => mistake.help("give the VPC a block of this family first"),
        false => mistake.help(format!("the VPC has {}", blocks.join(", "))),
    }
}

fn check_interface(
    topology: &Topology,
    fields: &InterfaceTopology,
    place: Location,
    given: &mut Given<(String, IpAddr)>,
    mistakes: &mut Vec<Mistake>,
) {
    let Some(subnet) = topology.subnets.get(&fields.subnet.value) else {
        let message = format!("no subnet is called `{}`", fields.subnet.value);
        mistakes.push(
            Mistake::at(fields.subnet.referenced, message)
                .nearest(&fields.subnet.value, topology.subnets.keys().map(String::as_str)),
        );
        return;
    };
    let blocks: Vec<IpNet> = subnet
        .value
        .cidr_block
        .iter()
        .map(|block| block.value.into())
        .chain(subnet.value.ipv6_cidr_block.iter().map(|block| block.value.into()))
        .collect();
    let inside = |net: IpNet| blocks.iter().any(|block| block.contains(&net));
    let known = blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let mut check = |address: IpNet, place: Location, mistakes: &mut Vec<Mistake>| {
        if !inside(address) {
            let written = if address.prefix_len() == address.max_prefix_len() {
                address.addr().to_string()
            } else {
                address.to_string()
            };
            mistakes.push(
                Mistake::at(place, format!("{written} is not in subnet `{}`", fields.subnet.value))
                    .help(format!("the subnet is {known}")),
            );
        }
        given.give(
            (subnet.value.vpc.value.clone(), address.addr()),
            address.addr(),
            place,
            mistakes,
        );
    };
    if fields.ipv4.as_ref().is_some_and(Vec::is_empty) && subnet.value.cidr_block.is_some() {
        mistakes.push(
            Mistake::at(place, "an interface in a subnet with IPv4 always has an IPv4 address")
                .help("leave `ipv4` out to have one chosen"),
        );
    }
    for address in fields.ipv4.iter().flatten() {
        check(IpNet::from(IpAddr::from(address.value)), address.referenced, mistakes);
    }
    for address in fields.ipv6.iter().flatten() {
        check(IpNet::from(IpAddr::from(address.value)), address.referenced, mistakes);
    }
    for prefix in &fields.prefixes {
        check(prefix.value.net(), prefix.referenced, mistakes);
        if !prefix.value.is_prefix() {
            mistakes.push(
                Mistake::at(prefix.referenced, format!("{} cannot be delegated", prefix.value))
                    .help("a delegated prefix is a /28 of IPv4 or a /80 of IPv6"),
            );
        }
    }
}

/// What has been given out, and where.
pub(super) struct Given<K> {
    what: &'static str,
    lines: HashMap<K, u64>,
}

impl<K: Eq + Hash> Given<K> {
    pub(super) fn new(what: &'static str) -> Self {
        Self {
            what,
            lines: HashMap::new(),
        }
    }

    pub(super) fn give(&mut self, key: K, shown: impl Display, place: Location, mistakes: &mut Vec<Mistake>) {
        if let Some(line) = self.lines.insert(key, place.line()) {
            mistakes.push(Mistake::at(
                place,
                format!("the {} {shown} is given already in line {line}", self.what),
            ));
        }
    }
}

/// The names that expressions can use once the topology is up. Values that are not in the file have placeholders of the
/// right kind.
pub fn expected_scope(topology: &Topology, parameters: BTreeMap<String, String>) -> Scope {
    let mut scope = Scope {
        parameters,
        ..Scope::default()
    };
    for (name, vpc) in &topology.vpcs {
        let facts = Facts::default()
            .with("id", "vpc-00000000000000000")
            .with_all("cidr_block", vpc.value.cidr_blocks.iter().map(|block| block.value))
            .with_all(
                "ipv6_cidr_block",
                vpc.value.ipv6_cidr_blocks.iter().map(|block| block.value),
            );
        scope.vpcs.insert(name.clone(), facts);
    }
    for (name, subnet) in &topology.subnets {
        let (v4, v6) = (subnet.value.cidr_block.as_ref(), subnet.value.ipv6_cidr_block.as_ref());
        let (v4, v6) = (v4.map(|block| block.value), v6.map(|block| block.value));
        let mac = MacAddr([0x02, 0, 0, 0, 0, 1]);
        scope
            .subnets
            .insert(name.clone(), subnet_facts("subnet-00000000000000000", v4, v6));
        let (v4, v6) = (v4.map(plan::router_ipv4), v6.map(plan::router_ipv6));
        scope.routers.insert(name.clone(), router_facts(mac, v4, v6));
    }
    let primary = topology.instances.iter();
    let primary = primary.map(|(name, instance)| (name, instance.value.network_interface()));
    let further = topology.interfaces.iter();
    let further = further.map(|(name, interface)| (name, interface.value.clone()));
    for (name, fields) in primary.chain(further) {
        let subnet = topology.subnets.get(&fields.subnet.value);
        let has_v4 = subnet.is_some_and(|subnet| subnet.value.cidr_block.is_some());
        let has_v6 = subnet.is_some_and(|subnet| subnet.value.ipv6_cidr_block.is_some());
        let ipv4 = match &fields.ipv4 {
            Some(given) => given.iter().map(|address| address.value.to_string()).collect(),
            None if has_v4 => vec!["192.0.2.1".to_owned()],
            None => Vec::new(),
        };
        let ipv6 = match &fields.ipv6 {
            Some(given) => given.iter().map(|address| address.value.to_string()).collect(),
            None if has_v6 => vec!["2001:db8::1".to_owned()],
            None => Vec::new(),
        };
        let mac = fields
            .mac
            .as_ref()
            .map_or(MacAddr([0x02, 0, 0, 0, 0, 2]), |mac| mac.value);
        let facts = interface_facts(name, &fields.subnet.value, "eni-00000000000000000", mac)
            .with_all("ipv4", ipv4)
            .with_all("ipv6", ipv6)
            .with_all("prefixes", fields.prefixes.iter().map(|prefix| prefix.value))
            .with_all("public_ipv4", expected_public(topology, name));
        match topology.instances.contains_key(name) {
            true => scope.instances.insert(name.clone(), facts.with("device", "eth0")),
            false => scope.interfaces.insert(name.clone(), facts),
        };
    }
    scope
}

/// The public addresses of an interface, or what stands for one that is drawn.
fn expected_public(topology: &Topology, name: &str) -> Vec<String> {
    let own = topology.elastic_ips.values().filter(|address| {
        let to = address
            .value
            .to
            .as_ref()
            .and_then(|to| topology.interface_behind(&to.value));
        to.is_some() && to == topology.interface_behind(name)
    });
    own.map(|address| {
        let public = address.value.public.as_ref();
        public.map_or_else(|| "203.0.113.1".to_owned(), |public| public.value.to_string())
    })
    .collect()
}

/// What can be said of a subnet.
pub fn subnet_facts(id: impl Display, ipv4: Option<ipnet::Ipv4Net>, ipv6: Option<ipnet::Ipv6Net>) -> Facts {
    Facts::default()
        .with("id", id)
        .with_all("cidr_block", ipv4)
        .with_all("ipv6_cidr_block", ipv6)
        .with_all("broadcast", ipv4.map(|block| block.broadcast()))
}

/// The fields of a subnet's router, with the gateway addresses of its hosts.
pub fn router_facts(mac: MacAddr, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) -> Facts {
    Facts::default()
        .with("mac", mac)
        .with("link_local", mac.link_local())
        .with_all("ipv4", ipv4)
        .with_all("ipv6", ipv6)
}

/// The fields of an interface, except for its device and its addresses, which may change during a run.
pub fn interface_facts(name: &str, subnet: &str, interface: impl Display, mac: MacAddr) -> Facts {
    Facts::default()
        .with("name", name)
        .with("subnet", subnet)
        .with("interface", interface)
        .with("mac", mac)
        .with("link_local", mac.link_local())
}
