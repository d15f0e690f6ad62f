//! Creates, changes and deletes subnets: inside a block of the VPC, and without overlap.

use super::{CreateSubnet, DeleteSubnet, ModifySubnet, Subnet, plan};
use crate::model::CidrError;
use crate::model::change::{Record, Stored};
use crate::model::cidr::{check_subnet_ipv4, check_subnet_ipv6, overlap};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::flow_log::FlowLogResource;
use crate::model::ids::{SubnetId, VpcId};
use crate::model::interface::IPV6_MTU;
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, SubnetState, fresh_id};
use crate::model::profile::RouterMac;
use crate::model::region::default_zone;
use crate::model::route_table::Association;
use ipnet::{IpNet, Ipv6Net};

impl Record for Subnet {
    type Id = SubnetId;

    fn id(&self) -> SubnetId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Subnet {
    /// Its blocks, one of each family at most.
    pub fn blocks(&self) -> impl Iterator<Item = IpNet> + use<> {
        let blocks = [self.cidr_block.map(IpNet::V4), self.ipv6_cidr_block.map(IpNet::V6)];
        blocks.into_iter().flatten()
    }
}

impl Stored for Subnet {
    fn names(network: &mut Network) -> &mut Names<SubnetId> {
        &mut network.subnet_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(before) = before {
            // Subnets may share the MAC address of their routers.
            let mut others = network.subnets().filter(|other| other.id != before.id);
            let shared = others.any(|other| other.vpc_id == before.vpc_id && other.router_mac == before.router_mac);
            drop(others);
            if let Some(vpc) = network.vpcs.get_mut(&before.vpc_id) {
                if !shared {
                    vpc.macs.remove(&before.router_mac);
                }
                vpc.subnets -= 1;
                for net in before.blocks() {
                    vpc.blocks.remove(&net.network());
                }
            }
        }
        let Some(after) = after else {
            if let Some(before) = before {
                network.subnets.remove(&before.id);
            }
            return;
        };
        if let Some(vpc) = network.vpcs.get_mut(&after.vpc_id) {
            vpc.macs.insert(after.router_mac, None);
            vpc.subnets += 1;
            vpc.blocks
                .extend(after.blocks().map(|net| (net.network(), (net, after.id))));
        }
        match network.subnets.get_mut(&after.id) {
            Some(state) => state.subnet = after.clone(),
            None => {
                let state = SubnetState {
                    subnet: after.clone(),
                    mappings: Default::default(),
                    interfaces: 0,
                    route_table: None,
                    network_acl: None,
                };
                network.subnets.insert(after.id, state);
            }
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.subnets().cloned().collect()
    }
}

impl Network {
    /// Checks that a block is in its VPC, and that no subnet has a part of it.
    fn check_subnet_block(&self, vpc: VpcId, net: IpNet, field: &'static str) -> Result<(), ModelError> {
        let siblings = &self.vpcs[&vpc];
        let vpc = &siblings.vpc;
        let inside = match net {
            IpNet::V4(net) => vpc.cidr_blocks.iter().any(|block| block.contains(&net)),
            IpNet::V6(net) => vpc.ipv6_cidr_blocks.iter().any(|block| block.contains(&net)),
        };
        if !inside {
            return Err(ModelError::Cidr(CidrError::OutsideVpc { net, field }));
        }
        // Blocks do not overlap, so only the last one that begins before the end of this one can overlap it.
        let before = siblings.blocks.range(..=net.broadcast()).next_back();
        match before.filter(|(_, (other, _))| overlap(net, *other)) {
            Some((_, (other, id))) => Err(ModelError::Cidr(CidrError::Conflict {
                net,
                with: format!("{other} of {id}"),
                code: "InvalidSubnet.Conflict",
                field,
            })),
            None => Ok(()),
        }
    }

    /// Checks that a subnet can have this IPv6 block, or none, in the place of what it has.
    fn other_ipv6_block(&self, subnet: &Subnet, wanted: Option<Ipv6Net>) -> Result<Option<Ipv6Net>, ModelError> {
        const FIELD: &str = "ipv6_cidr_block";
        let wanted = wanted.map(check_subnet_ipv6).transpose()?;
        let now = subnet.ipv6_cidr_block;
        let Some(net) = wanted.filter(|net| Some(*net) != now) else {
            if wanted.is_none() && now.is_some() {
                self.check_without_ipv6(subnet)?;
            }
            return Ok(wanted);
        };
        if let Some(now) = now {
            return Err(ModelError::Cidr(CidrError::Conflict {
                net: net.into(),
                with: format!("{now}, which {} has", subnet.id),
                code: "InvalidSubnet.Conflict",
                field: FIELD,
            }));
        }
        self.check_subnet_block(subnet.vpc_id, net.into(), FIELD)?;
        let mut here = self
            .interfaces(None)
            .filter(|interface| interface.subnet_id == subnet.id);
        if let Some(small) = here.find(|interface| interface.settings.mtu.is_some_and(|mtu| mtu < IPV6_MTU)) {
            return Err(ModelError::OutOfRange {
                field: FIELD,
                given: format!("a block for {}, whose MTU is below {IPV6_MTU}", small.id),
                remedy: "IPv6 needs 1280 octets (RFC 8200): raise the MTU of the interface.",
            });
        }
        Ok(wanted)
    }

    /// Checks that a subnet needs no IPv6 block.
    fn check_without_ipv6(&self, subnet: &Subnet) -> Result<(), ModelError> {
        if subnet.cidr_block.is_none() {
            return Err(ModelError::Cidr(CidrError::SubnetWithoutCidr));
        }
        let state = self.subnets.get(&subnet.id);
        let mappings = state.into_iter().flat_map(|state| state.mappings.iter(None));
        let used = mappings.filter(|(block, _)| block.is_ipv6()).count();
        if used > 0 {
            return Err(ModelError::Dependents {
                kind: "IPv6 block of subnet",
                id: subnet.id.to_string(),
                dependents: format!("{used} IPv6 address(es)"),
            });
        }
        Ok(())
    }
}

impl Command for CreateSubnet {
    type Outcome = Subnet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Subnet, ModelError> {
        let vpc = edit.vpc(&self.vpc)?;
        let vpc_id = vpc.id;
        let siblings = &edit.vpcs[&vpc_id];
        if Limits::reached(edit.limits.subnets_per_vpc, siblings.subnets) {
            let text = "The maximum number of subnets has been reached.".into();
            return Err(ModelError::Limit {
                code: "SubnetLimitExceeded",
                text,
            });
        }
        edit.subnet_names.check(self.name.as_deref(), None)?;
        let cidr_block = self.cidr_block.map(check_subnet_ipv4).transpose()?;
        let ipv6_cidr_block = self.ipv6_cidr_block.map(check_subnet_ipv6).transpose()?;
        let blocks = [
            (cidr_block.map(IpNet::V4), "cidr_block"),
            (ipv6_cidr_block.map(IpNet::V6), "ipv6_cidr_block"),
        ];
        if blocks.iter().all(|(net, _)| net.is_none()) {
            return Err(ModelError::Cidr(CidrError::SubnetWithoutCidr));
        }
        for (net, field) in blocks {
            if let Some(net) = net {
                edit.check_subnet_block(vpc_id, net, field)?;
            }
        }
        let id = fresh_id(edit.rng, |id| edit.network.subnets.contains_key(&id));
        let siblings = &edit.network.vpcs[&vpc_id];
        let policy = siblings.vpc.profile.router.mac;
        let gateway = cidr_block.map(plan::router_ipv4);
        let wanted = self.router_mac.or_else(|| policy.of(gateway));
        // With one MAC for the routers of all subnets, each of them uses it.
        let shared = wanted.filter(|mac| policy == RouterMac::Fixed(*mac) && siblings.macs.get(mac) == Some(&None));
        let router_mac = match shared {
            Some(mac) => mac,
            None => siblings.choose_mac(wanted, "router_mac", edit.rng)?,
        };
        let subnet = Subnet {
            id,
            name: self.name,
            vpc_id,
            cidr_block,
            ipv6_cidr_block,
            availability_zone: self.availability_zone.unwrap_or_else(|| default_zone(&edit.region)),
            router_mac,
            map_public_ip_on_launch: false,
            assign_ipv6_on_creation: false,
            enable_dns64: false,
            default_for_az: false,
            reservations: Vec::new(),
            tags: self.tags,
        };
        edit.create(subnet.clone());
        if let Some(acl) = edit.default_acl(vpc_id) {
            edit.associate_acl(id, acl);
        }
        Ok(subnet)
    }
}

impl Command for ModifySubnet {
    type Outcome = Subnet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Subnet, ModelError> {
        let before = edit.subnet(&self.subnet)?.clone();
        if let Some(name) = &self.name {
            edit.subnet_names.check(name.as_deref(), Some(before.id))?;
        }
        let ipv6_cidr_block = match self.ipv6_cidr_block {
            Some(wanted) => edit.other_ipv6_block(&before, wanted)?,
            None => before.ipv6_cidr_block,
        };
        let after = Subnet {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            ipv6_cidr_block,
            assign_ipv6_on_creation: self.assign_ipv6_on_creation.unwrap_or(before.assign_ipv6_on_creation)
                && ipv6_cidr_block.is_some(),
            map_public_ip_on_launch: self.map_public_ip_on_launch.unwrap_or(before.map_public_ip_on_launch),
            enable_dns64: self.enable_dns64.unwrap_or(before.enable_dns64),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before.clone()
        };
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteSubnet {
    type Outcome = Subnet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Subnet, ModelError> {
        let subnet = edit.subnet(&self.0)?.clone();
        let state = edit.subnets.get(&subnet.id);
        let (interfaces, route_table) = state.map_or((0, None), |state| (state.interfaces, state.route_table));
        if interfaces > 0 {
            return Err(ModelError::Dependents {
                kind: "subnet",
                id: subnet.id.to_string(),
                dependents: format!("{interfaces} network interface(s)"),
            });
        }
        edit.make(Association {
            subnet: subnet.id,
            before: route_table,
            after: None,
        });
        edit.dissociate_acl(subnet.id);
        edit.delete_flow_logs(FlowLogResource::Subnet(subnet.id));
        edit.delete(subnet.clone());
        Ok(subnet)
    }
}
