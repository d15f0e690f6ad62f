//! Rehearses the steps of a scenario on a copy of its network: what the run would refuse in any case is a mistake of the
//! file. What depends on the programs of the scenario, such as who owns an address by then, is left to the run.

use ipnet::IpNet;
use serde_saphyr::{Location, Spanned};

use super::Checker;
use crate::control::{ControlError, faults};
use crate::file::diagnostic::Mistake;
use crate::file::template::Scope;
use crate::model::fault::FaultSpec;
use crate::model::interface::DetachInterface;
use crate::model::mapping::{EditMappings, MappingEdit};
use crate::model::route_table::{EditRoute, RouteEdit};
use crate::model::{AddressOrPrefix, ModelError, ResourceRef};
use crate::model::{InstanceError, MappingError, RouteTableError};
use crate::scenario::format::document::{Modify, RouteChange};
use crate::topology::format::{Topology, route_target};
use crate::topology::{Rehearsed, Stage, StepError, rehearse};

impl Checker<'_> {
    /// The network as the steps find it; none when the topology has a mistake.
    pub(super) fn rehearsed(topology: &Topology, scope: &Scope, mistakes: &mut Vec<Mistake>) -> Option<Rehearsed> {
        if !mistakes.is_empty() {
            return None;
        }
        match rehearse(topology, scope) {
            Ok(stage) => Some(stage),
            Err(refusal) => {
                mistakes.push(Mistake::refused(topology.place_of(&refusal), &refusal));
                None
            }
        }
    }

    /// An edit of the mapping table. `unassign` changes nothing here: whether it is refused depends on the run.
    pub(super) fn rehearse_edit(&mut self, place: Location, interface: &Spanned<String>, address: AddressOrPrefix) {
        let edit = MappingEdit::Assign {
            interface: ResourceRef::new(&interface.value),
            address,
            move_allowed: true,
        };
        let Some(stage) = &mut self.stage else { return };
        if let Err(StepError::Control(error)) = stage.execute(EditMappings(vec![edit])) {
            self.refused(place, &error);
        }
    }

    pub(super) fn rehearse_route(&mut self, route: &RouteChange, to: IpNet) {
        let (Some(stage), Some(via)) = (&mut self.stage, &route.via) else {
            return;
        };
        let command = EditRoute {
            table: ResourceRef::new(&route.table.value),
            edit: RouteEdit::Put(to, route_target(&via.value)),
        };
        if let Err(StepError::Control(error)) = stage.execute(command) {
            self.refused(route.to.place(), &error);
        }
    }

    pub(super) fn rehearse_modify(&mut self, modify: &Modify) {
        let Some(stage) = &mut self.stage else { return };
        let interface: ResourceRef<_> = ResourceRef::new(&modify.interface.value);
        let place = modify.interface.referenced;
        if modify.detach {
            // It may be detached already.
            let _ = stage.execute(DetachInterface(interface.clone()));
        }
        let attached = modify
            .attach_to
            .as_ref()
            .map(|host| (host, stage.attach(&interface, &host.value)));
        let modified = stage.execute(modify.command(interface));
        if let Some((host, Err(StepError::Place(error)))) = attached {
            self.would_be_refused(host.referenced, error.code(), &error.to_string(), error.remedy());
        }
        if let Err(StepError::Control(error)) = modified {
            self.refused(place, &error);
        }
    }

    pub(super) fn rehearse_fault(&mut self, place: Location, spec: &FaultSpec) {
        let Some(stage) = &self.stage else { return };
        if let Err(error) = faults::check_declared(stage.network(), spec) {
            self.would_be_refused(place, error.code(), &error.to_string(), &error.remedy());
        }
    }

    fn refused(&mut self, place: Location, error: &ControlError) {
        let cause = match error {
            ControlError::Model(error) => error,
            ControlError::Edit(failed) => &failed.error,
            _ => return,
        };
        // These hold whatever has happened before.
        let always = matches!(
            cause,
            ModelError::Mapping(MappingError::Reserved { .. })
                | ModelError::Mapping(MappingError::OutsideSubnet { .. })
                | ModelError::Mapping(MappingError::NoFamily { .. })
                | ModelError::OutOfRange { .. }
                | ModelError::Instance(InstanceError::TagKey { .. })
                | ModelError::RouteTable(RouteTableError::Route { .. })
        );
        if always {
            self.would_be_refused(place, error.code(), &cause.to_string(), &cause.remedy());
        }
    }

    fn would_be_refused(&mut self, place: Location, code: &str, message: &str, remedy: &str) {
        // A scenario may show a refusal.
        if !self.expects_error {
            self.wrong(Mistake::at(place, format!("this would be refused: {message} ({code})")).help(remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::scenario::format::read;

    const NETWORK: &str = "\
name: test
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: ['2001:db8::/56'] } }
  subnets:
    s: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: '2001:db8::/64' }
    t: { vpc: v, cidr_block: 10.0.2.0/24, availability_zone: local-1b }
  instances: { a: { subnet: s, ipv4: [10.0.1.10] }, b: { subnet: t, ipv4: [10.0.2.10] } }
  interfaces: { x: { subnet: s } }
  route_tables: { r: { vpc: v, subnets: [s] } }
steps:
";

    #[test]
    fn what_the_run_would_refuse_is_a_mistake_of_the_file() {
        for (step, message) in [
            (
                "fault: { link_down: { interfaces: [nothing] } }",
                "'nothing' does not exist",
            ),
            ("fault: { zone_cut: { availability_zone: local-1c } }", "local-1c"),
            ("fault: { link_down: {} }", "scope is empty"),
            ("fault: { impairment: { at: { interfaces: [a] } } }", "does nothing"),
            ("mapping: { assign: 10.0.1.3, to: a }", "reserved"),
            ("mapping: { assign: 10.0.2.30, to: a }", "10.0.2.30"),
            ("mapping: { move: '2001:db8::7', to: b }", "IPv6"),
            ("modify: { interface: a, mtu: 600 }", "mtu"),
            ("modify: { interface: x, attach_to: b }", "local-1b"),
            ("route: { table: r, to: 10.0.3.0/24, via: a }", "10.0.3.0/24"),
        ] {
            let error = read("x.yaml", &format!("{NETWORK}- {{ {step} }}\n")).unwrap_err();
            let mistake = &error.mistakes[0];
            assert!(mistake.message.contains(message), "{step}: {mistake:?}");
            assert!(mistake.message.contains("would be refused"), "{step}: {mistake:?}");
            assert_eq!(mistake.line, 11, "{step}: {mistake:?}");
            let shown = format!("{NETWORK}- {{ {step}, expect: {{ error: X }} }}\n");
            assert!(
                read("x.yaml", &shown).is_ok(),
                "a refusal that is expected is none: {step}"
            );
        }
    }

    #[test]
    fn what_depends_on_the_run_is_left_to_it() {
        for step in [
            "mapping: { assign: 10.0.1.10, to: x }",
            "mapping: { unassign: 10.0.1.77, from: a }",
            "route: { table: r, to: 192.0.2.0/24, delete: true }",
            "fault: { instance_freeze: { interfaces: [a] } }",
            "mapping: { assign: '{{ x.ipv4 }}', to: a }",
        ] {
            read("x.yaml", &format!("{NETWORK}- {{ {step} }}\n")).unwrap_or_else(|error| panic!("{step}: {error}"));
        }
    }
}
