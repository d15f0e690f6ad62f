//! Tests the rules of the declared network, each as a sentence.

use std::sync::Arc;
use std::time::SystemTime;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::address::AddressOrPrefix;
use crate::model::interface::{
    AddressRequest, AttachInterface, CreateInterface, DeleteInterface, DetachInterface, ModifyInterface,
};
use crate::model::mapping::{EditFailed, EditMappings, MappingChange, MappingEdit, MappingFilter};
use crate::model::profile::Profile;
use crate::model::subnet::{CreateSubnet, DeleteSubnet};
use crate::model::vpc::{CreateVpc, DeleteVpc, ModifyVpc};
use crate::model::{CidrError, InterfaceError, MappingError};

/// A network, and another that follows it by its changes alone.
pub(in crate::model) struct World {
    pub(in crate::model) network: Network,
    follower: Network,
    pub(in crate::model) rng: ChaCha8Rng,
}

pub(super) fn block(text: &str) -> AddressOrPrefix {
    text.parse().unwrap()
}

pub(super) fn exactly(texts: &[&str]) -> Vec<AddressRequest> {
    texts.iter().map(|text| AddressRequest::Exactly(block(text))).collect()
}

impl World {
    pub(in crate::model) fn with_limits(limits: Limits) -> Self {
        Self {
            network: Network::new(limits),
            follower: Network::new(limits),
            rng: ChaCha8Rng::seed_from_u64(7),
        }
    }

    pub(in crate::model) fn in_region(region: &str) -> Self {
        Self {
            network: Network::in_region(Limits::UNBOUNDED, region),
            follower: Network::in_region(Limits::UNBOUNDED, region),
            rng: ChaCha8Rng::seed_from_u64(7),
        }
    }

    pub(in crate::model) fn new() -> Self {
        Self::with_limits(Limits::UNBOUNDED)
    }

    /// Executes a command. A network that only applies the changes must be the same afterwards.
    pub(in crate::model) fn execute<C: Command>(&mut self, command: C) -> Result<C::Outcome, C::Error> {
        Ok(self.changes(command)?.0)
    }

    /// The same, with the changes.
    pub(in crate::model) fn changes<C: Command>(&mut self, command: C) -> Result<(C::Outcome, Vec<Change>), C::Error> {
        let done = self.network.execute(command, &mut self.rng);
        for change in done.iter().flat_map(|(_, changes)| changes) {
            // As read back from a journal.
            let text = serde_json::to_string(change).unwrap();
            self.follower.apply(&serde_json::from_str(&text).unwrap());
        }
        assert_eq!(self.network, self.follower);
        done
    }

    pub(in crate::model) fn vpc(&mut self, ipv4: &[&str], ipv6: &[&str]) -> Result<VpcId, ModelError> {
        let spec = CreateVpc {
            attributes: Default::default(),
            name: None,
            cidr_blocks: ipv4.iter().map(|t| t.parse().unwrap()).collect(),
            ipv6_cidr_blocks: ipv6.iter().map(|t| t.parse().unwrap()).collect(),
            profile: Arc::new(Profile::aws()),
            dhcp_options: None,
            tags: Default::default(),
        };
        self.execute(spec).map(|vpc| vpc.id)
    }

    pub(in crate::model) fn subnet(
        &mut self,
        vpc: VpcId,
        ipv4: Option<&str>,
        ipv6: Option<&str>,
    ) -> Result<SubnetId, ModelError> {
        let spec = CreateSubnet {
            cidr_block: ipv4.map(|t| t.parse().unwrap()),
            ipv6_cidr_block: ipv6.map(|t| t.parse().unwrap()),
            ..CreateSubnet::new(vpc)
        };
        self.execute(spec).map(|subnet| subnet.id)
    }

    pub(in crate::model) fn interface(
        &mut self,
        subnet: SubnetId,
        addresses: &[&str],
    ) -> Result<InterfaceId, ModelError> {
        let spec = CreateInterface {
            addresses: exactly(addresses),
            ..CreateInterface::new(subnet)
        };
        self.execute(spec).map(|interface| interface.id)
    }

    /// A dual-stack subnet with two interfaces.
    pub(in crate::model) fn pair() -> (Self, SubnetId, InterfaceId, InterfaceId) {
        let mut world = Self::new();
        let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
        let subnet = world
            .subnet(vpc, Some("10.0.1.0/24"), Some("2001:db8:0:1::/64"))
            .unwrap();
        let a = world.interface(subnet, &["10.0.1.10"]).unwrap();
        let b = world.interface(subnet, &["10.0.1.11"]).unwrap();
        (world, subnet, a, b)
    }

    pub(super) fn edit(&mut self, edits: &[MappingEdit]) -> Result<Vec<MappingChange>, EditFailed> {
        let (_, changes) = self.changes(EditMappings(edits.to_vec()))?;
        Ok(changes.into_iter().flat_map(mappings).collect())
    }

    pub(super) fn owner(&self, subnet: SubnetId, address: &str) -> Option<InterfaceId> {
        self.network
            .mapping(&subnet.into(), block(address))
            .ok()
            .map(|mapping| mapping.interface_id)
    }

    pub(super) fn addresses(&self, id: InterfaceId) -> Vec<String> {
        let filter = MappingFilter {
            interface: Some(id.into()),
            ..Default::default()
        };
        let page = self.network.mappings(&filter, None, usize::MAX - 1).unwrap();
        page.mappings
            .iter()
            .map(|mapping| mapping.address.to_string())
            .collect()
    }
}

pub(super) fn mappings(change: Change) -> Vec<MappingChange> {
    match change {
        Change::Mappings(changes) => changes,
        other => panic!("{other:?}"),
    }
}

/// The moves among the changes.
pub(super) fn moves(
    changes: &[MappingChange],
) -> Vec<(SubnetId, AddressOrPrefix, Option<InterfaceId>, Option<InterfaceId>)> {
    let moved = |change: &MappingChange| (change.subnet, change.address, change.from(), change.to());
    changes.iter().map(moved).collect()
}

pub(super) fn assign(interface: InterfaceId, address: &str) -> MappingEdit {
    MappingEdit::Assign {
        interface: interface.into(),
        address: block(address),
        move_allowed: false,
    }
}

pub(super) fn take(interface: InterfaceId, address: &str) -> MappingEdit {
    MappingEdit::Assign {
        interface: interface.into(),
        address: block(address),
        move_allowed: true,
    }
}

pub(super) fn unassign(interface: InterfaceId, address: &str) -> MappingEdit {
    MappingEdit::Unassign {
        interface: interface.into(),
        address: block(address),
    }
}

#[test]
fn the_same_seed_declares_the_same_network() {
    let (first, _, a, _) = World::pair();
    let (second, _, b, _) = World::pair();
    assert_eq!(a, b);
    assert_eq!(first.network.place(a), second.network.place(b));
}

#[test]
fn a_made_up_mac_is_one_that_ec2_could_have_given() {
    let (mut world, subnet, ..) = World::pair();
    for _ in 0..50 {
        let id = world.interface(subnet, &[]).unwrap();
        let (mac, ..) = world.network.place(id).unwrap();
        assert!(EC2_FIRST_OCTETS.contains(&mac.0[0]), "{mac}");
    }
}

#[test]
fn a_mac_is_unique_in_its_vpc_and_the_routers_count() {
    let (mut world, subnet, a, _) = World::pair();
    let (mac, ..) = world.network.place(a).unwrap();
    let router = world.network.subnet(&subnet.into()).unwrap().router_mac;
    for taken in [mac, router] {
        let spec = CreateInterface {
            mac_address: Some(taken),
            ..CreateInterface::new(subnet)
        };
        let error = world.execute(spec).unwrap_err();
        assert_eq!(
            error,
            ModelError::Interface(InterfaceError::MacTaken {
                mac: taken,
                field: "mac_address"
            })
        );
    }
    let spec = CreateInterface {
        mac_address: Some(MacAddr::BROADCAST),
        ..CreateInterface::new(subnet)
    };
    assert!(matches!(
        world.execute(spec),
        Err(ModelError::Interface(InterfaceError::BadMac { .. }))
    ));
    // Another VPC may use it again.
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    let other = world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let spec = CreateInterface {
        mac_address: Some(mac),
        ..CreateInterface::new(other)
    };
    world.execute(spec).unwrap();
}

#[test]
fn a_subnet_lies_in_its_vpc_and_clear_of_its_siblings() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    world
        .subnet(vpc, Some("10.0.1.0/24"), Some("2001:db8:0:1::/64"))
        .unwrap();
    for (ipv4, ipv6, code) in [
        (Some("10.1.0.0/24"), None, "InvalidSubnet.Range"),
        (Some("10.0.0.0/15"), None, "InvalidSubnet.Range"),
        (None, Some("2001:db8:1::/64"), "InvalidSubnet.Range"),
        (None, Some("2001:db8::/60"), "InvalidSubnet.Range"),
        (Some("10.0.1.128/25"), None, "InvalidSubnet.Conflict"),
        (Some("10.0.0.0/20"), None, "InvalidSubnet.Conflict"),
        (Some("10.0.2.0/24"), Some("2001:db8:0:1::/64"), "InvalidSubnet.Conflict"),
        (None, None, "MissingParameter"),
    ] {
        let error = world.subnet(vpc, ipv4, ipv6).unwrap_err();
        assert_eq!(error.code(), code, "{ipv4:?} {ipv6:?}: {error}");
    }
    assert_eq!(world.network.subnets().count(), 1);
}

#[test]
fn the_first_four_addresses_of_a_subnet_and_the_last_belong_to_no_interface() {
    let (mut world, subnet, a, _) = World::pair();
    for reserved in [
        "10.0.1.0",
        "10.0.1.1",
        "10.0.1.2",
        "10.0.1.3",
        "10.0.1.255",
        "10.0.1.0/28",
        "10.0.1.240/28",
    ] {
        let error = world.edit(&[assign(a, reserved)]).unwrap_err().error;
        assert_eq!(
            error,
            ModelError::Mapping(MappingError::Reserved {
                address: block(reserved)
            })
        );
    }
    for reserved in [
        "2001:db8:0:1::",
        "2001:db8:0:1::1",
        "2001:db8:0:1:ffff:ffff:ffff:ffff",
        "2001:db8:0:1::/80",
    ] {
        assert!(matches!(
            world.edit(&[assign(a, reserved)]).unwrap_err().error,
            ModelError::Mapping(MappingError::Reserved { .. })
        ));
    }
    for outside in ["10.0.2.10", "2001:db8:0:2::10", "10.0.2.16/28"] {
        let address = block(outside);
        let error = world.edit(&[assign(a, outside)]).unwrap_err().error;
        assert_eq!(
            error,
            ModelError::Mapping(MappingError::OutsideSubnet { address, subnet })
        );
    }
}

#[test]
fn an_interface_in_an_ipv4_subnet_always_has_a_primary_address() {
    let (mut world, subnet, ..) = World::pair();
    let id = world.interface(subnet, &["2001:db8:0:1::a"]).unwrap();
    let view = world.network.interface(&id.into()).unwrap();
    assert!(view.primary_ipv4().is_some());
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let only_ipv6 = world.subnet(vpc, None, Some("2001:db8::/64")).unwrap();
    let id = world.interface(only_ipv6, &[]).unwrap();
    let view = world.network.interface(&id.into()).unwrap();
    assert_eq!((view.primary_ipv4(), view.ipv6_addresses.len()), (None, 1));
}

#[test]
fn the_primary_address_lasts_as_long_as_its_interface() {
    let (mut world, subnet, a, b) = World::pair();
    let refused = ModelError::Mapping(MappingError::PrimaryAddress {
        interface: a,
        address: "10.0.1.10".parse().unwrap(),
    });
    assert_eq!(world.edit(&[unassign(a, "10.0.1.10")]).unwrap_err().error, refused);
    assert_eq!(world.edit(&[take(b, "10.0.1.10")]).unwrap_err().error, refused);
    let remove = MappingEdit::Remove {
        subnet: subnet.into(),
        address: block("10.0.1.10"),
    };
    assert_eq!(world.edit(&[remove]).unwrap_err().error, refused);
    let (_, changes) = world.changes(DeleteInterface(a.into())).unwrap();
    assert!(matches!(&changes[..], [Change::Mappings(freed), Change::Interface(_)] if freed.len() == 1));
    world.edit(&[assign(b, "10.0.1.10")]).unwrap();
}

#[test]
fn nothing_is_deleted_under_its_dependents() {
    let (mut world, subnet, a, b) = World::pair();
    let vpc = world.network.subnet(&subnet.into()).unwrap().vpc_id;
    assert_eq!(
        world.execute(DeleteVpc(vpc.into())).unwrap_err().code(),
        "DependencyViolation"
    );
    assert_eq!(
        world.execute(DeleteSubnet(subnet.into())).unwrap_err().code(),
        "DependencyViolation"
    );
    let attach = || AttachInterface {
        interface: a.into(),
        place: None,
        at: SystemTime::UNIX_EPOCH,
    };
    world.execute(attach()).unwrap();
    let error = world.execute(attach()).unwrap_err();
    assert_eq!(error, ModelError::Interface(InterfaceError::InUse { interface: a }));
    assert_eq!(
        world.execute(DeleteInterface(a.into())).unwrap_err().code(),
        "InvalidParameterValue"
    );
    world.execute(DetachInterface(a.into())).unwrap();
    assert!(world.execute(DetachInterface(a.into())).is_err());
    for id in [a, b] {
        world.execute(DeleteInterface(id.into())).unwrap();
    }
    world.execute(DeleteSubnet(subnet.into())).unwrap();
    world.execute(DeleteVpc(vpc.into())).unwrap();
    let error = world.network.interface(&a.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("The networkInterface ID '{a}' does not exist")
    );
    assert_eq!(error.code(), "InvalidNetworkInterfaceID.NotFound");
}

#[test]
fn a_name_stands_for_the_identifier_and_is_borne_once() {
    let (mut world, subnet, a, b) = World::pair();
    let rename = |id: InterfaceId, name: Option<&str>| ModifyInterface {
        name: Some(name.map(str::to_owned)),
        ..ModifyInterface::new(id)
    };
    world.execute(rename(a, Some("left"))).unwrap();
    let left = ResourceRef::new("left");
    assert_eq!(world.network.interface_id(&left).unwrap(), a);
    let error = world.execute(rename(b, Some("left"))).unwrap_err();
    assert!(matches!(error, ModelError::NameTaken { .. }));
    world.execute(rename(a, Some("left"))).unwrap();
    for bad in ["", "a/b", "eni-0a1b2c3d4e5f60718"] {
        let error = world.execute(rename(b, Some(bad))).unwrap_err();
        assert!(matches!(error, ModelError::BadName { .. }), "{bad}");
    }
    let edit = MappingEdit::Assign {
        interface: left.clone(),
        address: block("10.0.1.20"),
        move_allowed: false,
    };
    world.edit(&[edit]).unwrap();
    assert_eq!(world.owner(subnet, "10.0.1.20"), Some(a));
    world.execute(DeleteInterface(left)).unwrap();
    world.execute(rename(b, Some("left"))).unwrap();
}

#[test]
fn a_vpc_gains_and_loses_blocks_but_keeps_the_primary_and_those_in_use() {
    let mut world = World::new();
    let vpc = world.vpc(&["10.0.0.0/16"], &["2001:db8::/56"]).unwrap();
    let blocks = |texts: &[&str]| ModifyVpc {
        cidr_blocks: Some(texts.iter().map(|t| t.parse().unwrap()).collect()),
        ..ModifyVpc::new(vpc)
    };
    world.execute(blocks(&["10.0.0.0/16", "10.1.0.0/16"])).unwrap();
    let subnet = world.subnet(vpc, Some("10.1.0.0/24"), None).unwrap();
    let error = world.execute(blocks(&["10.0.0.0/16"])).unwrap_err();
    assert_eq!(error.code(), "DependencyViolation");
    let error = world.execute(blocks(&["10.1.0.0/16"])).unwrap_err();
    assert_eq!(
        error,
        ModelError::Cidr(CidrError::Primary {
            net: "10.0.0.0/16".parse().unwrap()
        })
    );
    world.execute(DeleteSubnet(subnet.into())).unwrap();
    world.execute(blocks(&["10.0.0.0/16"])).unwrap();
}

#[test]
fn a_limit_is_a_number_in_the_configuration() {
    let limits = Limits {
        vpcs: Some(1),
        subnets_per_vpc: Some(1),
        ipv4_per_interface: Some(2),
        ..Limits::UNBOUNDED
    };
    let mut world = World::with_limits(limits);
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    assert_eq!(world.vpc(&["10.0.0.0/16"], &[]).unwrap_err().code(), "VpcLimitExceeded");
    let subnet = world.subnet(vpc, Some("10.0.0.0/24"), None).unwrap();
    assert_eq!(
        world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap_err().code(),
        "SubnetLimitExceeded"
    );
    // A prefix counts as one address.
    let a = world.interface(subnet, &["10.0.0.4", "10.0.0.16/28"]).unwrap();
    let error = world.edit(&[assign(a, "10.0.0.5")]).unwrap_err().error;
    assert_eq!(
        error.to_string(),
        format!("{a}: Number of private addresses will exceed limit.")
    );
    assert_eq!(error.code(), "PrivateIpAddressLimitExceeded");
}

#[test]
fn the_router_s_mac_is_the_profile_s_to_choose() {
    let mut world = World::new();
    let mut create = |profile: Profile| {
        let spec = CreateVpc {
            profile: Arc::new(profile),
            ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
        };
        let vpc = world.execute(spec).unwrap().id;
        let subnets = ["10.0.1.0/24", "10.0.2.0/24"].map(|block| world.subnet(vpc, Some(block), None).unwrap());
        let macs = subnets.map(|subnet| world.network.subnet(&subnet.into()).unwrap().router_mac.to_string());
        (subnets, macs)
    };
    let (_, [first, second]) = create(Profile::aws());
    assert_ne!(first, second);
    let (_, macs) = create(Profile::gcp());
    assert_eq!(macs, ["42:01:0a:00:01:01", "42:01:0a:00:02:01"]);
    let ([first, second], macs) = create(Profile::azure());
    assert_eq!(macs, ["12:34:56:78:9a:bc"; 2]);
    // While one subnet has it, no interface can.
    world.execute(DeleteSubnet(first.into())).unwrap();
    let spec = CreateInterface {
        mac_address: Some("12:34:56:78:9a:bc".parse().unwrap()),
        ..CreateInterface::new(second)
    };
    let error = world.execute(spec).unwrap_err();
    assert!(
        matches!(error, ModelError::Interface(InterfaceError::MacTaken { .. })),
        "{error}"
    );
}

#[test]
fn the_blocks_of_a_deleted_subnet_are_free_again_also_where_another_shares_its_router_s_mac() {
    let mut world = World::new();
    let spec = CreateVpc {
        ipv6_cidr_blocks: vec!["2001:db8::/56".parse().unwrap()],
        profile: Arc::new(Profile::azure()),
        ..CreateVpc::new("10.0.0.0/16".parse().unwrap())
    };
    let vpc = world.execute(spec).unwrap().id;
    world.subnet(vpc, Some("10.0.1.0/24"), None).unwrap();
    let block = (Some("10.0.2.0/24"), Some("2001:db8:0:2::/64"));
    for _ in 0..2 {
        let subnet = world.subnet(vpc, block.0, block.1).unwrap();
        assert!(world.subnet(vpc, Some("10.0.2.0/28"), None).is_err());
        world.execute(DeleteSubnet(subnet.into())).unwrap();
    }
}
