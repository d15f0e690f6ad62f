//! Creates a network on a copy that no packet crosses, so that a file that would be refused is refused before it starts.

use std::sync::LazyLock;

use super::backend::{Live, Rehearsed};
use super::layout::Layout;
use super::plan::{Extras, Plan, Refusal};
use crate::control::{Controller, ControllerConfig};
use crate::file::diagnostic::{FileError, Mistake};
use crate::file::template::Scope;
use crate::topology::format::Topology;

/// An empty network with a lab. Its random numbers are always the same: a file is refused every time or never.
static EMPTY: LazyLock<Rehearsed> = LazyLock::new(|| {
    let controller = Controller::new(ControllerConfig {
        seed: Some(0),
        ..ControllerConfig::default()
    });
    let live = Live {
        controller: &controller,
        runtime: None,
    };
    Rehearsed::of(live).with_lab()
});

/// The network that a topology describes, or why the server would refuse it: reserved addresses, overlapping subnets,
/// limits, and whatever else the model checks.
pub fn rehearse(topology: &Topology, scope: &Scope) -> Result<Rehearsed, Box<Refusal>> {
    let desired = Layout::desired(topology, scope)?;
    let mut stage = EMPTY.clone();
    let plan = Plan::new(&desired, stage.running(), Extras::Keep);
    if let Some(refusal) = plan.refusal {
        return Err(Box::new(refusal));
    }
    plan.carry_out(&mut stage)
        .map_err(|stopped| Box::new(stopped.refusal))?;
    Ok(stage)
}

/// Refuses a file whose network the server would refuse, with the place of the resource.
pub fn check_alone(name: &str, text: &str, topology: &Topology) -> Result<(), FileError> {
    match rehearse(topology, &Scope::default()) {
        Ok(_) => Ok(()),
        Err(refusal) => {
            let mistake = Mistake::refused(topology.place_of(&refusal), &refusal);
            Err(FileError::new(name, text, vec![mistake]))
        }
    }
}

impl Mistake {
    /// What the server would refuse, at the place of the resource.
    pub(crate) fn refused(place: serde_saphyr::Location, refusal: &Refusal) -> Self {
        let field = refusal.field.as_ref().map(|field| format!("{field}: "));
        let (name, message, code) = (&refusal.name, &refusal.message, &refusal.code);
        let field = field.unwrap_or_default();
        let message = format!(
            "the {} `{name}` would be refused: {field}{message} ({code})",
            refusal.kind
        );
        Self::at(place, message).help(refusal.remedy.as_str())
    }
}

impl Topology {
    /// Where the resource that a refusal is about stands in the file.
    pub(crate) fn place_of(&self, refusal: &Refusal) -> serde_saphyr::Location {
        use super::layout::Kind;
        let name = refusal.name.as_str();
        let interface = || {
            let of_interface = self.network_interfaces().find(|(label, ..)| *label == name);
            of_interface.map(|(_, place, _)| place)
        };
        let place = match refusal.kind {
            Kind::Vpc => self.vpcs.get(name).map(|one| one.referenced),
            Kind::Subnet => self.subnets.get(name).map(|one| one.referenced),
            Kind::RouteTable => self.route_tables.get(name).map(|one| one.referenced),
            Kind::DhcpOptions => self.dhcp_options.get(name).map(|one| one.referenced),
            Kind::Interface => interface(),
            Kind::InternetGateway => self.internet_gateways.get(name).map(|one| one.referenced),
            Kind::PrefixList => self.prefix_lists.get(name).map(|one| one.referenced),
            Kind::SecurityGroup => self.security_groups.get(name).map(|one| one.referenced),
            Kind::NetworkAcl => self.network_acls.get(name).map(|one| one.referenced),
            Kind::FlowLog => self.flow_logs.get(name).map(|one| one.referenced),
            Kind::EgressOnlyGateway => self.egress_only_gateways.get(name).map(|one| one.referenced),
            Kind::Peering => self.peering_connections.get(name).map(|one| one.referenced),
            Kind::BlockPublicAccess => self.block_public_access.as_ref().map(|one| one.referenced),
            Kind::Endpoint => self.vpc_endpoints.get(name).map(|one| one.referenced),
            Kind::NatGateway => self.nat_gateways.get(name).map(|one| one.referenced),
            Kind::ElasticIp => self.elastic_ips.get(name).map(|one| one.referenced),
            Kind::Instance => self.instances.get(name).map(|one| one.referenced).or_else(interface),
        };
        place.unwrap_or(serde_saphyr::Location::UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::format::read_topology;

    #[test]
    fn what_the_server_would_refuse_is_a_mistake_of_the_file_at_its_line() {
        const FILE: &str = "\
vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
subnets:
  s: { vpc: v, cidr_block: 10.0.1.0/24 }
  t: { vpc: v, cidr_block: 10.0.2.0/24, availability_zone: local-1b }
interfaces:
  x: { subnet: s, ipv4: [10.0.1.30] }
instances:
  a: { subnet: s, ipv4: [10.0.1.10] }
route_tables:
  r: { vpc: v, subnets: [s], routes: [{ to: 192.0.2.0/24, via: a }] }
";
        let read = |text: &str| {
            let topology = read_topology("f", text)?;
            super::check_alone("f", text, &topology)
        };
        read(FILE).unwrap();
        for (from, to, line, message) in [
            ("[10.0.1.10]", "[10.0.1.2]", 8, "reserved"),
            ("10.0.2.0/24", "10.0.1.128/25", 4, "InvalidSubnet.Conflict"),
            ("[10.0.0.0/16]", "[10.0.0.0/16, 224.0.0.0/16]", 1, "224.0.0.0/4"),
            ("[10.0.1.30]", "[10.0.1.30], mtu: 100", 6, "mtu"),
            ("192.0.2.0/24", "10.0.9.0/24", 10, "10.0.9.0/24"),
            (
                "[10.0.1.30]",
                "[10.0.1.30], metadata: { http_put_response_hop_limit: 65 }",
                6,
                "hop",
            ),
            (
                "subnet: s, ipv4: [10.0.1.30]",
                "subnet: t, ipv4: [10.0.2.30], attached_to: a",
                6,
                "local-1b",
            ),
        ] {
            let error = read(&FILE.replacen(from, to, 1)).unwrap_err();
            let mistake = &error.mistakes[0];
            assert!(mistake.message.contains(message), "{to}: {mistake:?}");
            assert_eq!(mistake.line, line, "{to}: {mistake:?}");
            assert!(
                mistake.help.as_ref().is_some_and(|help| !help.is_empty()),
                "{mistake:?}"
            );
        }
    }
}
