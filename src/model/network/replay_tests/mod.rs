//! Tests that a network that applies changes equals the network that made them, for random sequences of every command,
//! refused ones included.

mod commands;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::World;
use super::*;
use crate::model::block_public_access::{
    BlockMode, ExcludeFromBlock, ExcludedRef, ExclusionMode, IncludeInBlock, SetBlockPublicAccess,
};
use crate::model::dhcp_options::{
    CreateDhcpOptions, DeleteDhcpOptions, DhcpOptions, DhcpOptionsChoice, ModifyDhcpOptions,
};
use crate::model::egress_only::{CreateEgressOnlyGateway, DeleteEgressOnlyGateway, ModifyEgressOnlyGateway};
use crate::model::elastic_ip::{
    AllocateAddress, AssociateAddress, AssociateWith, AssociationRef as AddressRef, DisassociateAddress, ReleaseAddress,
};
use crate::model::endpoint::{CreateEndpoint, DeleteEndpoint, ModifyEndpoint};
use crate::model::flow_log::{
    CreateFlowLog, DeleteFlowLog, Destination, FlowLogResourceRef, ModifyFlowLog, TrafficType,
};
use crate::model::instance::life::{
    InstanceState, LaunchInstance, LaunchInstances, LaunchInterface, NewOrExisting, SetInstanceState,
};
use crate::model::instance::{CreateInstance, DeleteInstance, ModifyInstance};
use crate::model::interface::{
    AddressRequest, AttachInterface, Attachment, AttachmentState, CreateInterface, DeleteInterface, DetachInterface,
    ModifyAttachment, ModifyInterface, SettingsChange,
};
use crate::model::internet_gateway::{
    AttachInternetGateway, CreateInternetGateway, DeleteInternetGateway, DetachInternetGateway, ModifyInternetGateway,
};
use crate::model::key_pair::{AddKeyPair, DeleteKeyPair, KeyType, TagKeyPair};
use crate::model::launch_template::{
    AddTemplateVersion, CreateLaunchTemplate, DeleteLaunchTemplate, DeleteTemplateVersion, ModifyLaunchTemplate,
    VersionRef,
};
use crate::model::mapping::{AssignAddresses, EditMappings, MappingEdit};
use crate::model::metadata::MetadataChange;
use crate::model::nat_gateway::{
    AddNatAddresses, Connectivity, CreateNatGateway, DeleteNatGateway, Deletion, DrainNatAddresses, ModifyNatGateway,
    RemoveNatAddresses,
};
use crate::model::network_acl::{
    AclAction, AclEntry, AssociateNetworkAcl, AssociationRef, CreateNetworkAcl, DeleteNetworkAcl, EditEntry, EntryEdit,
};
use crate::model::peering::{CreatePeering, ForgetPeering, ModifyPeering, PeeringState, SetPeeringState};
use crate::model::prefix_list::{
    CreatePrefixList, DeletePrefixList, EntriesChange, ModifyPrefixList, RestorePrefixList,
};
use crate::model::profile::Profile;
use crate::model::route_table::{
    AssociateGatewayTable, AssociateRouteTable, CreateRouteTable, DeleteRouteTable, DisassociateGatewayTable,
    DisassociateRouteTable, EditRoute, ModifyRouteTable, RouteEdit, TargetRef,
};
use crate::model::security_group::{
    AuthorizeRules, CreateSecurityGroup, DeleteSecurityGroup, ModifyRules, ModifySecurityGroup, PeerRef, RevokeRules,
    RuleChange, RuleRef, RuleSpec,
};
use crate::model::subnet::reservation::{ReleaseCidr, ReservationKind, ReserveCidr, TagReservation};
use crate::model::subnet::{CreateSubnet, DeleteSubnet, ModifySubnet};
use crate::model::traffic::{Direction, Traffic};
use crate::model::vpc::{CreateDefaultSubnet, CreateDefaultVpc, CreateVpc, DeleteVpc, ModifyVpc};

/// One random command: its kind, its target, and small numbers.
#[derive(Debug, Clone)]
struct Draw {
    kind: u8,
    on: [Index; 3],
    number: u8,
    flag: bool,
}

const KINDS: u8 = 40;

fn draw() -> impl Strategy<Value = Draw> {
    let indices = [any::<Index>(), any::<Index>(), any::<Index>()];
    (0..KINDS, indices, 0_u8..8, any::<bool>()).prop_map(|(kind, on, number, flag)| Draw { kind, on, number, flag })
}

impl Draw {
    /// An existing one; an unknown one, if there is none.
    fn pick<T: ResourceId>(&self, place: usize, all: impl Iterator<Item = T>) -> ResourceRef<T> {
        let all: Vec<T> = all.collect();
        match all.is_empty() {
            true => T::from_bits(1 << 40).into(),
            false => self.on[place].get(&all).to_owned().into(),
        }
    }

    /// A name that collides with other names.
    fn name(&self) -> Option<String> {
        self.flag.then(|| format!("n{}", self.number % 3))
    }

    fn vpc(&self, network: &Network) -> ResourceRef<VpcId> {
        self.pick(0, network.vpcs().map(|vpc| vpc.id))
    }

    fn subnet(&self, network: &Network) -> ResourceRef<SubnetId> {
        self.pick(0, network.subnets().map(|subnet| subnet.id))
    }

    fn interface(&self, place: usize, network: &Network) -> ResourceRef<InterfaceId> {
        self.pick(place, network.interface_order.keys().copied())
    }

    fn instance(&self, network: &Network) -> ResourceRef<InstanceId> {
        self.pick(1, network.instances().map(|instance| instance.id))
    }

    fn table(&self, network: &Network) -> ResourceRef<RouteTableId> {
        self.pick(1, network.route_tables.keys().copied())
    }

    fn set(&self, network: &Network) -> ResourceRef<DhcpOptionsId> {
        self.pick(1, network.dhcp_options.keys().copied())
    }

    /// An address or prefix within, next to or around a subnet.
    fn block(&self, network: &Network) -> crate::model::AddressOrPrefix {
        let all: Vec<_> = network.subnets().collect();
        let subnet = (!all.is_empty()).then(|| self.on[2].get(&all));
        let text = match (subnet.and_then(|subnet| subnet.cidr_block), self.flag) {
            (Some(block), false) => format!(
                "{}",
                Ipv4Addr::from_bits(block.addr().to_bits() + u32::from(self.number))
            ),
            (Some(block), true) => format!("{}/28", Ipv4Addr::from_bits(block.addr().to_bits() + 16)),
            (None, _) => format!("2001:db8::{}", self.number),
        };
        text.parse().unwrap()
    }
}

impl World {
    /// Executes a command, and checks that a refused one changes nothing, and that an accepted one can be reverted and
    /// applied again.
    fn accepts<C: Command>(&mut self, command: C) -> bool {
        let before = self.network.clone();
        let Ok((_, changes)) = self.changes(command) else {
            assert_eq!(self.network, before, "a refused command left something");
            return false;
        };
        let mut copy = self.network.clone();
        copy.revert(&changes);
        copy.next_sequence = before.next_sequence;
        assert_eq!(copy, before, "{changes:?} were not taken back");
        for change in &changes {
            copy.apply(change);
        }
        assert_eq!(copy, self.network);
        self.is_kept(&before, &changes);
        true
    }

    /// Checks that what a store keeps of changes is what there is: written as JSON and read again, as a whole, and taken
    /// back by changes as well.
    fn is_kept(&self, before: &Network, changes: &[Change]) {
        let read: Vec<Change> = serde_json::from_str(&serde_json::to_string(changes).unwrap()).unwrap();
        assert_eq!(read, changes);
        let mut made = Network::new(Limits::UNBOUNDED);
        for change in &self.network.creating() {
            made.apply(change);
        }
        made.next_sequence = self.network.next_sequence;
        assert_eq!(made, self.network);
        let mut back = self.network.clone();
        for change in changes.iter().rev() {
            back.apply(&Effect::inverse(change));
        }
        back.next_sequence = before.next_sequence;
        assert_eq!(back, *before);
        let all = self.network.creating();
        let paths: Vec<String> = self.network.entries(&all).into_iter().map(|entry| entry.path).collect();
        let last: BTreeMap<String, Option<Change>> = self
            .network
            .entries(changes)
            .into_iter()
            .map(|entry| (entry.path, entry.creating))
            .collect();
        for (path, creating) in last {
            match creating {
                Some(creating) => assert!(all.contains(&creating), "{creating:?} is not what there is"),
                None => assert!(!paths.contains(&path), "{path} is there"),
            }
        }
    }
}

proptest! {
    #[test]
    fn a_network_that_applies_the_changes_of_another_is_the_same(draws in prop::collection::vec(draw(), 1..80)) {
        let (mut world, ..) = World::pair();
        for draw in &draws {
            world.random(draw);
        }
    }
}

/// A sequence that accepts nothing, or everything, would prove nothing.
#[test]
fn random_commands_are_both_accepted_and_refused_and_reach_every_kind_of_change() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut counts = [[0_u32; 2]; KINDS as usize];
    for _ in 0..40 {
        let (mut world, ..) = World::pair();
        let draws = prop::collection::vec(draw(), 80)
            .new_tree(&mut runner)
            .unwrap()
            .current();
        for draw in &draws {
            let accepted = world.random(draw);
            counts[usize::from(draw.kind)][usize::from(accepted)] += 1;
        }
    }
    for (kind, [_, accepted]) in counts.iter().enumerate() {
        assert!(*accepted > 0, "no command of kind {kind} was ever accepted: {counts:?}");
    }
    assert!(
        counts.iter().map(|[refused, _]| refused).sum::<u32>() > 100,
        "{counts:?}"
    );
}
