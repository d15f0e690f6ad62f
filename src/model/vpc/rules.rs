//! Making, changing and deleting VPCs: subnets keep the blocks that they lie in.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rand::Rng;

use crate::model::cidr::{check_vpc_ipv4, check_vpc_ipv6};
use crate::model::error::ModelError;
use crate::model::ids::{ResourceRef, RouteTableId, VpcId};
use crate::model::interface::IPV6_MTU;
use crate::model::limits::Limits;
use crate::model::network::{Network, VpcState, fresh_id, not_found};
use crate::model::profile::Profile;
use crate::model::vpc::{CreateVpc, ModifyVpc, Vpc};

/// RFC 8200 section 5: a link with IPv6 takes 1280 octets.
fn check_mtu(profile: &Profile, ipv6: &[Ipv6Net]) -> Result<(), ModelError> {
    let path = profile.router.path_mtu.filter(|mtu| *mtu < IPV6_MTU);
    if let Some(path) = path.filter(|_| !ipv6.is_empty()) {
        return Err(ModelError::OutOfRange {
            field: "profile",
            given: format!("one with 'router.path_mtu: {path}' in a VPC with IPv6"),
            remedy: "IPv6 needs 1280 octets (RFC 8200): raise it, or leave out 'ipv6_cidr_blocks'.",
        });
    }
    if !ipv6.is_empty() && profile.mtu < IPV6_MTU {
        return Err(ModelError::OutOfRange {
            field: "profile",
            given: format!("one with 'mtu: {}' in a VPC with IPv6", profile.mtu),
            remedy: "IPv6 needs 1280 octets (RFC 8200): raise the profile's 'mtu', or leave out 'ipv6_cidr_blocks'.",
        });
    }
    Ok(())
}

impl Network {
    /// Makes a VPC.
    pub fn create_vpc(&mut self, spec: CreateVpc, rng: &mut dyn Rng) -> Result<&Vpc, ModelError> {
        if Limits::reached(self.limits.vpcs, self.vpcs.len()) {
            let text = "The maximum number of VPCs has been reached.".into();
            return Err(ModelError::Limit {
                code: "VpcLimitExceeded",
                text,
            });
        }
        self.vpc_names.check(spec.name.as_deref(), None)?;
        let (cidr_blocks, ipv6_cidr_blocks) = self.check_blocks(&spec.cidr_blocks, &spec.ipv6_cidr_blocks)?;
        check_mtu(&spec.profile, &ipv6_cidr_blocks)?;
        let dhcp_options_id = self.chosen_options(spec.dhcp_options.as_ref())?;
        let id = fresh_id(rng, |id| self.vpcs.contains_key(&id));
        self.vpc_names.rename(id, None, spec.name.as_deref());
        let mut vpc = Vpc {
            id,
            name: spec.name,
            cidr_blocks,
            ipv6_cidr_blocks,
            profile: spec.profile,
            dhcp_options_id,
            main_route_table_id: RouteTableId::MIN,
            tags: spec.tags,
        };
        vpc.main_route_table_id = self.new_main_table(id, &vpc.ranges(), rng);
        let state = self.vpcs.entry(id).or_insert(VpcState {
            vpc,
            macs: Default::default(),
            blocks: Default::default(),
            subnets: 0,
        });
        Ok(&state.vpc)
    }

    fn check_blocks(&self, ipv4: &[Ipv4Net], ipv6: &[Ipv6Net]) -> Result<(Vec<Ipv4Net>, Vec<Ipv6Net>), ModelError> {
        for count in [ipv4.len(), ipv6.len()] {
            if self.limits.cidr_blocks_per_vpc.is_some_and(|limit| count > limit) {
                let text =
                    format!("This VPC would have {count} CIDR blocks of one family, which is more than allowed.");
                return Err(ModelError::Limit {
                    code: "CidrLimitExceeded",
                    text,
                });
            }
        }
        Ok((check_vpc_ipv4(ipv4)?, check_vpc_ipv6(ipv6)?))
    }

    /// Changes a VPC. The primary block stays, and so does every block that a subnet lies in.
    pub fn modify_vpc(&mut self, reference: &ResourceRef<VpcId>, spec: ModifyVpc) -> Result<&Vpc, ModelError> {
        let vpc = self.vpc(reference)?;
        let (id, primary) = (vpc.id, vpc.cidr_blocks[0]);
        let (old4, old6) = (vpc.cidr_blocks.clone(), vpc.ipv6_cidr_blocks.clone());
        let (new4, new6) = self.check_blocks(
            spec.cidr_blocks.as_deref().unwrap_or(&old4),
            spec.ipv6_cidr_blocks.as_deref().unwrap_or(&old6),
        )?;
        check_mtu(spec.profile.as_deref().unwrap_or(&vpc.profile), &new6)?;
        if new4[0] != primary {
            return Err(ModelError::PrimaryCidr { net: primary });
        }
        for subnet in self.subnets().filter(|subnet| subnet.vpc_id == id) {
            let homeless4 = subnet
                .cidr_block
                .is_some_and(|net| !new4.iter().any(|block| block.contains(&net)));
            let homeless6 = subnet
                .ipv6_cidr_block
                .is_some_and(|net| !new6.iter().any(|block| block.contains(&net)));
            let (net, field) = match (homeless4, homeless6) {
                (true, _) => (subnet.cidr_block.map(IpNet::V4), "cidr_blocks"),
                (_, true) => (subnet.ipv6_cidr_block.map(IpNet::V6), "ipv6_cidr_blocks"),
                _ => continue,
            };
            if let Some(net) = net {
                let with = format!("the new blocks of the VPC: {} uses it", subnet.id);
                return Err(ModelError::CidrConflict {
                    net,
                    with,
                    code: "DependencyViolation",
                    field,
                });
            }
        }
        let ranges: Vec<IpNet> = new4.iter().copied().map(IpNet::V4).collect();
        let ranges: Vec<IpNet> = ranges.into_iter().chain(new6.iter().copied().map(IpNet::V6)).collect();
        self.check_new_ranges(id, &ranges)?;
        if let Some(name) = &spec.name {
            self.vpc_names.check(name.as_deref(), Some(id))?;
        }
        let dhcp_options = match &spec.dhcp_options {
            Some(choice) => Some(self.chosen_options(Some(choice))?),
            None => None,
        };
        let Some(VpcState { vpc, .. }) = self.vpcs.get_mut(&id) else {
            return Err(not_found(reference));
        };
        if let Some(name) = spec.name {
            self.vpc_names.rename(id, vpc.name.as_deref(), name.as_deref());
            vpc.name = name;
        }
        (vpc.cidr_blocks, vpc.ipv6_cidr_blocks) = (new4, new6);
        if let Some(profile) = spec.profile {
            vpc.profile = profile;
        }
        if let Some(id) = dhcp_options {
            vpc.dhcp_options_id = id;
        }
        if let Some(tags) = spec.tags {
            vpc.tags = tags;
        }
        self.renew_local_routes(id);
        self.vpc(&id.into())
    }

    /// Deletes a VPC without subnets, and with it its main route table; others must be gone.
    pub fn delete_vpc(&mut self, reference: &ResourceRef<VpcId>) -> Result<Vpc, ModelError> {
        let vpc = self.vpc(reference)?;
        let (id, main) = (vpc.id, vpc.main_route_table_id);
        let subnets = self.subnets().filter(|s| s.vpc_id == id).map(|s| s.id.to_string());
        let tables = self
            .route_tables
            .iter()
            .filter(|(t, state)| state.vpc == id && **t != main);
        let dependents: Vec<String> = subnets.chain(tables.map(|(t, _)| t.to_string())).collect();
        if !dependents.is_empty() {
            let dependents = dependents.join(", ");
            return Err(ModelError::Dependents {
                kind: "vpc",
                id: id.to_string(),
                dependents,
            });
        }
        let VpcState { vpc, .. } = self.vpcs.remove(&id).ok_or_else(|| not_found(reference))?;
        self.vpc_names.rename(id, vpc.name.as_deref(), None);
        if let Some(table) = self.route_tables.remove(&main) {
            self.route_table_names.rename(main, table.name.as_deref(), None);
        }
        Ok(vpc)
    }
}
