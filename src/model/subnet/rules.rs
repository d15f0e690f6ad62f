//! Making, changing and deleting subnets: inside of a block of the VPC, and clear of each other.

use ipnet::IpNet;
use rand::Rng;

use crate::model::cidr::{check_subnet_ipv4, check_subnet_ipv6, overlap};
use crate::model::error::ModelError;
use crate::model::ids::{ResourceRef, SubnetId};
use crate::model::limits::Limits;
use crate::model::network::{Network, SubnetState, fresh_id, not_found};
use crate::model::profile::RouterMac;
use crate::model::region::default_zone;
use crate::model::subnet::{CreateSubnet, ModifySubnet, Subnet};

impl Network {
    /// Makes a subnet.
    pub fn create_subnet(&mut self, spec: CreateSubnet, rng: &mut dyn Rng) -> Result<&Subnet, ModelError> {
        let vpc = self.vpc(&spec.vpc)?;
        let vpc_id = vpc.id;
        let siblings = &self.vpcs[&vpc_id];
        if Limits::reached(self.limits.subnets_per_vpc, siblings.subnets) {
            let text = "The maximum number of subnets has been reached.".into();
            return Err(ModelError::Limit {
                code: "SubnetLimitExceeded",
                text,
            });
        }
        self.subnet_names.check(spec.name.as_deref(), None)?;
        let cidr_block = spec.cidr_block.map(check_subnet_ipv4).transpose()?;
        let ipv6_cidr_block = spec.ipv6_cidr_block.map(check_subnet_ipv6).transpose()?;
        let blocks = [
            (cidr_block.map(IpNet::V4), "cidr_block"),
            (ipv6_cidr_block.map(IpNet::V6), "ipv6_cidr_block"),
        ];
        if blocks.iter().all(|(net, _)| net.is_none()) {
            return Err(ModelError::SubnetWithoutCidr);
        }
        for (net, field) in blocks {
            let Some(net) = net else { continue };
            let inside = match net {
                IpNet::V4(net) => vpc.cidr_blocks.iter().any(|block| block.contains(&net)),
                IpNet::V6(net) => vpc.ipv6_cidr_blocks.iter().any(|block| block.contains(&net)),
            };
            if !inside {
                return Err(ModelError::SubnetOutsideVpc { net, field });
            }
            // Blocks do not overlap, so only the last one that begins before the end of this one can reach into it.
            let before = siblings.blocks.range(..=net.broadcast()).next_back();
            if let Some((_, (other, id))) = before.filter(|(_, (other, _))| overlap(net, *other)) {
                return Err(ModelError::CidrConflict {
                    net,
                    with: format!("{other} of {id}"),
                    code: "InvalidSubnet.Conflict",
                    field,
                });
            }
        }
        let id = fresh_id(rng, |id| self.subnets.contains_key(&id));
        let vpc_state = self.vpcs.get_mut(&vpc_id).ok_or_else(|| not_found(&spec.vpc))?;
        let policy = vpc_state.vpc.profile.router.mac;
        let gateway = cidr_block.and_then(|net| net.hosts().next());
        let wanted = spec.router_mac.or_else(|| policy.of(gateway));
        // One MAC for the routers of all subnets is taken by each of them.
        let shared = wanted.filter(|mac| policy == RouterMac::Fixed(*mac) && vpc_state.macs.get(mac) == Some(&None));
        let router_mac = match shared {
            Some(mac) => mac,
            None => vpc_state.choose_mac(wanted, "router_mac", rng)?,
        };
        vpc_state.macs.insert(router_mac, None);
        vpc_state.subnets += 1;
        let nets = blocks.into_iter().filter_map(|(net, _)| net);
        vpc_state.blocks.extend(nets.map(|net| (net.network(), (net, id))));
        self.subnet_names.rename(id, None, spec.name.as_deref());
        let subnet = Subnet {
            id,
            name: spec.name,
            vpc_id,
            cidr_block,
            ipv6_cidr_block,
            availability_zone: spec.availability_zone.unwrap_or_else(|| default_zone(&self.region)),
            router_mac,
            tags: spec.tags,
        };
        let state = SubnetState {
            subnet,
            mappings: Default::default(),
            interfaces: 0,
            route_table: None,
        };
        Ok(&self.subnets.entry(id).or_insert(state).subnet)
    }

    /// Changes a subnet's name or tags; its blocks are for life.
    pub fn modify_subnet(
        &mut self,
        reference: &ResourceRef<SubnetId>,
        spec: ModifySubnet,
    ) -> Result<&Subnet, ModelError> {
        let id = self.subnet(reference)?.id;
        if let Some(name) = &spec.name {
            self.subnet_names.check(name.as_deref(), Some(id))?;
        }
        let Some(SubnetState { subnet, .. }) = self.subnets.get_mut(&id) else {
            return Err(not_found(reference));
        };
        if let Some(name) = spec.name {
            self.subnet_names.rename(id, subnet.name.as_deref(), name.as_deref());
            subnet.name = name;
        }
        if let Some(tags) = spec.tags {
            subnet.tags = tags;
        }
        Ok(subnet)
    }

    /// Deletes a subnet without interfaces.
    pub fn delete_subnet(&mut self, reference: &ResourceRef<SubnetId>) -> Result<Subnet, ModelError> {
        let id = self.subnet(reference)?.id;
        let interfaces = self.subnets.get(&id).map_or(0, |state| state.interfaces);
        if interfaces > 0 {
            let dependents = format!("{interfaces} network interface(s)");
            return Err(ModelError::Dependents {
                kind: "subnet",
                id: id.to_string(),
                dependents,
            });
        }
        let SubnetState { subnet, .. } = self.subnets.remove(&id).ok_or_else(|| not_found(reference))?;
        let shared = self
            .subnets()
            .any(|other| other.vpc_id == subnet.vpc_id && other.router_mac == subnet.router_mac);
        if let Some(vpc) = self.vpcs.get_mut(&subnet.vpc_id) {
            if !shared {
                vpc.macs.remove(&subnet.router_mac);
            }
            vpc.subnets -= 1;
            let nets = subnet.cidr_block.map(IpNet::V4).into_iter();
            for net in nets.chain(subnet.ipv6_cidr_block.map(IpNet::V6)) {
                vpc.blocks.remove(&net.network());
            }
        }
        self.subnet_names.rename(id, subnet.name.as_deref(), None);
        Ok(subnet)
    }
}
