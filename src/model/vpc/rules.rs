//! Creates, changes and deletes VPCs: a block with a subnet cannot be removed.

use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{CreateVpc, DeleteVpc, ModifyVpc, Vpc};
use crate::model::CidrError;
use crate::model::change::{Record, Stored};
use crate::model::cidr::{check_vpc_ipv4, check_vpc_ipv6};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::flow_log::FlowLogResource;
use crate::model::ids::VpcId;
use crate::model::interface::IPV6_MTU;
use crate::model::limits::Limits;
use crate::model::naming::Names;
use crate::model::network::{Network, VpcState, fresh_id};
use crate::model::profile::Profile;
use crate::model::route_table::RouteTableRecord;

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

impl Record for Vpc {
    type Id = VpcId;

    fn id(&self) -> VpcId {
        self.id
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl Stored for Vpc {
    fn names(network: &mut Network) -> &mut Names<VpcId> {
        &mut network.vpc_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        match (before, after) {
            (_, Some(after)) => match network.vpcs.get_mut(&after.id) {
                Some(state) => state.vpc = after.clone(),
                None => {
                    let state = VpcState {
                        vpc: after.clone(),
                        macs: Default::default(),
                        blocks: Default::default(),
                        subnets: 0,
                    };
                    network.vpcs.insert(after.id, state);
                }
            },
            (Some(before), None) => drop(network.vpcs.remove(&before.id)),
            (None, None) => {}
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.vpcs().cloned().collect()
    }
}

impl Command for CreateVpc {
    type Outcome = Vpc;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vpc, ModelError> {
        if Limits::reached(edit.limits.vpcs, edit.vpcs().count()) {
            let text = "The maximum number of VPCs has been reached.".into();
            return Err(ModelError::Limit {
                code: "VpcLimitExceeded",
                text,
            });
        }
        edit.vpc_names.check(self.name.as_deref(), None)?;
        let (cidr_blocks, ipv6_cidr_blocks) = edit.check_blocks(&self.cidr_blocks, &self.ipv6_cidr_blocks)?;
        check_mtu(&self.profile, &ipv6_cidr_blocks)?;
        let dhcp_options_id = edit.chosen_options(self.dhcp_options.as_ref())?;
        let id = fresh_id(edit.rng, |id| edit.network.vpcs.contains_key(&id));
        let vpc = Vpc {
            id,
            name: self.name,
            cidr_blocks,
            ipv6_cidr_blocks,
            profile: self.profile,
            dhcp_options_id,
            main_route_table_id: fresh_id(edit.rng, |id| edit.network.route_tables.contains_key(&id)),
            default_network_acl_id: fresh_id(edit.rng, |id| edit.network.network_acls.contains_key(&id)),
            attributes: self.attributes,
            default: false,
            tags: self.tags,
        };
        edit.create(vpc.clone());
        edit.create(RouteTableRecord::with_local_routes(
            vpc.main_route_table_id,
            None,
            &vpc,
            Default::default(),
        ));
        edit.create_default_acl(vpc.default_network_acl_id, &vpc);
        let group = fresh_id(edit.rng, |id| edit.network.security_groups.contains_key(&id));
        edit.create_default_group(group, &vpc)?;
        Ok(vpc)
    }
}

impl Command for ModifyVpc {
    type Outcome = Vpc;
    type Error = ModelError;

    /// The primary block cannot change, and a block with a subnet cannot be removed.
    fn run(self, edit: &mut Edit<'_>) -> Result<Vpc, ModelError> {
        let before = edit.vpc(&self.vpc)?.clone();
        let id = before.id;
        let (ipv4, ipv6) = edit.check_blocks(
            self.cidr_blocks.as_deref().unwrap_or(&before.cidr_blocks),
            self.ipv6_cidr_blocks.as_deref().unwrap_or(&before.ipv6_cidr_blocks),
        )?;
        check_mtu(self.profile.as_deref().unwrap_or(&before.profile), &ipv6)?;
        if ipv4[0] != before.cidr_blocks[0] {
            return Err(ModelError::Cidr(CidrError::Primary {
                net: before.cidr_blocks[0],
            }));
        }
        edit.check_subnets_within(id, &ipv4, &ipv6)?;
        if let Some(name) = &self.name {
            edit.vpc_names.check(name.as_deref(), Some(id))?;
        }
        let dhcp_options_id = match &self.dhcp_options {
            Some(choice) => edit.chosen_options(Some(choice))?,
            None => before.dhcp_options_id,
        };
        let after = Vpc {
            name: self.name.unwrap_or_else(|| before.name.clone()),
            cidr_blocks: ipv4,
            ipv6_cidr_blocks: ipv6,
            profile: self.profile.unwrap_or_else(|| Arc::clone(&before.profile)),
            dhcp_options_id,
            attributes: self.attributes.unwrap_or(before.attributes),
            tags: self.tags.unwrap_or_else(|| before.tags.clone()),
            ..before
        };
        edit.check_new_ranges(&before, &after)?;
        let gets_ipv6 = before.ipv6_cidr_blocks.is_empty() && !after.ipv6_cidr_blocks.is_empty();
        edit.replace(before, after.clone());
        edit.renew_local_routes(&after);
        if gets_ipv6 {
            edit.let_ipv6_out(id);
            edit.let_ipv6_through(&after);
        }
        Ok(after)
    }
}

impl Command for DeleteVpc {
    type Outcome = Vpc;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vpc, ModelError> {
        let vpc = edit.vpc(&self.0)?.clone();
        let main = vpc.main_route_table_id;
        let subnets = edit.subnets().filter(|s| s.vpc_id == vpc.id).map(|s| s.id.to_string());
        let tables = edit
            .route_tables
            .values()
            .filter(|t| t.vpc_id == vpc.id && t.id != main);
        let default = edit.default_group(vpc.id);
        let groups = edit.security_groups.values();
        let groups = groups.filter(|group| group.vpc_id == vpc.id && Some(group.id) != default);
        let acls = edit.network_acls.values();
        let acls = acls.filter(|acl| acl.vpc_id == vpc.id && acl.id != vpc.default_network_acl_id);
        let gateways = edit.internet_gateways();
        let gateways = gateways.filter(|gateway| gateway.vpc_id == Some(vpc.id));
        let dependents: Vec<String> = subnets
            .chain(tables.map(|table| table.id.to_string()))
            .chain(groups.map(|group| group.id.to_string()))
            .chain(acls.map(|acl| acl.id.to_string()))
            .chain(gateways.map(|gateway| gateway.id.to_string()))
            .chain(edit.egress_only_of(vpc.id).map(|gateway| gateway.to_string()))
            .chain(edit.endpoints_in(vpc.id).map(|endpoint| endpoint.id.to_string()))
            .collect();
        if !dependents.is_empty() {
            return Err(ModelError::Dependents {
                kind: "vpc",
                id: vpc.id.to_string(),
                dependents: dependents.join(", "),
            });
        }
        edit.end_peerings_of(vpc.id);
        if let Some(table) = edit.route_tables.get(&main).cloned() {
            edit.delete(table);
        }
        if let Some(group) = default.and_then(|group| edit.security_groups.get(&group).cloned()) {
            edit.delete(group);
        }
        if let Some(acl) = edit.network_acls.get(&vpc.default_network_acl_id).cloned() {
            edit.delete(acl);
        }
        edit.delete_flow_logs(FlowLogResource::Vpc(vpc.id));
        edit.delete(vpc.clone());
        Ok(vpc)
    }
}

impl Network {
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

    /// Refuses blocks that would exclude an existing subnet.
    fn check_subnets_within(&self, vpc: VpcId, ipv4: &[Ipv4Net], ipv6: &[Ipv6Net]) -> Result<(), ModelError> {
        for subnet in self.subnets().filter(|subnet| subnet.vpc_id == vpc) {
            let homeless4 = subnet
                .cidr_block
                .filter(|net| !ipv4.iter().any(|block| block.contains(net)))
                .map(|net| (IpNet::V4(net), "cidr_blocks"));
            let homeless6 = subnet
                .ipv6_cidr_block
                .filter(|net| !ipv6.iter().any(|block| block.contains(net)))
                .map(|net| (IpNet::V6(net), "ipv6_cidr_blocks"));
            if let Some((net, field)) = homeless4.or(homeless6) {
                return Err(ModelError::Cidr(CidrError::Conflict {
                    net,
                    with: format!("the new blocks of the VPC: {} uses it", subnet.id),
                    code: "DependencyViolation",
                    field,
                }));
            }
        }
        Ok(())
    }
}
