//! Makes the default VPC of a region and its default subnets, as EC2 makes them for a new account (VPC guide, "Default VPCs").

use ipnet::{IpNet, Ipv4Net};

use super::{CreateVpc, Vpc};
use crate::model::cidr::overlap;
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::{SubnetId, VpcId};
use crate::model::internet_gateway::CreateInternetGateway;
use crate::model::network::Network;
use crate::model::route_table::{EditRoute, RouteEdit, TargetRef};
use crate::model::subnet::{CreateSubnet, Subnet};

/// The block of a default VPC ("Default VPC components", VPC guide).
const BLOCK: Ipv4Net = Ipv4Net::new_assert(std::net::Ipv4Addr::new(172, 31, 0, 0), 16);
/// The prefix length of a default subnet (same page).
const SUBNET_LENGTH: u8 = 20;

/// Makes the default VPC: an internet gateway, a route to it, and a subnet in each zone, which gives public addresses at a
/// launch. Outcome: the VPC.
#[derive(Debug, Clone)]
pub struct CreateDefaultVpc {
    /// The zones, each of which gets a subnet.
    pub zones: Vec<String>,
}

/// Makes the default subnet of a zone that has none. Outcome: the subnet.
#[derive(Debug, Clone)]
pub struct CreateDefaultSubnet {
    /// The zone.
    pub zone: String,
}

/// A refusal about the default VPC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefaultVpcError {
    /// There is one already.
    #[error("A Default VPC already exists for this account in this region.")]
    Exists {
        /// The default VPC.
        vpc: VpcId,
    },
    /// There is none for a default subnet.
    #[error("There is no default VPC for this account in this region")]
    None,
    /// The zone has a default subnet.
    #[error("'{subnet}' is already the default subnet in {zone}.")]
    SubnetExists {
        /// The zone.
        zone: String,
        /// Its default subnet.
        subnet: SubnetId,
    },
    /// No block is free for a further default subnet.
    #[error("No /20 of {block} is free for a default subnet")]
    Full {
        /// The block of the default VPC.
        block: Ipv4Net,
    },
}

impl DefaultVpcError {
    /// The error code of EC2 ("Error codes for the Amazon EC2 API").
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "DefaultVpcAlreadyExists",
            Self::None => "DefaultVpcDoesNotExist",
            Self::SubnetExists { .. } => "DefaultSubnetAlreadyExistsInAvailabilityZone",
            Self::Full { .. } => "InsufficientCidrBlocks",
        }
    }

    /// The field at fault.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Exists { .. } | Self::None => "vpc",
            Self::SubnetExists { .. } => "availability_zone",
            Self::Full { .. } => "cidr_block",
        }
    }

    /// The remedy.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "Use it, or delete it first.",
            Self::None => "Make one: CreateDefaultVpc of the EC2 API, or 'localvpc serve --default-vpc'.",
            Self::SubnetExists { .. } => "Use it, or choose another zone.",
            Self::Full { .. } => "Delete a subnet of the default VPC.",
        }
    }
}

impl Network {
    /// The default VPC, where there is one.
    pub fn default_vpc(&self) -> Option<&Vpc> {
        self.vpcs().find(|vpc| vpc.default)
    }

    /// The default subnet of a zone; of the first zone that has one if none is named.
    pub fn default_subnet(&self, zone: Option<&str>) -> Option<&Subnet> {
        let defaults = self.subnets().filter(|subnet| subnet.default_for_az);
        defaults
            .filter(|subnet| zone.is_none_or(|zone| subnet.availability_zone == zone))
            .min_by_key(|subnet| subnet.availability_zone.clone())
    }
}

impl Command for CreateDefaultVpc {
    type Outcome = Vpc;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Vpc, ModelError> {
        if let Some(vpc) = edit.default_vpc() {
            return Err(DefaultVpcError::Exists { vpc: vpc.id }.into());
        }
        let made = CreateVpc::new(BLOCK).run(edit)?;
        let vpc = Vpc {
            default: true,
            ..made.clone()
        };
        edit.replace(made, vpc.clone());
        let gateway = CreateInternetGateway {
            vpc: Some(vpc.id.into()),
            ..CreateInternetGateway::default()
        }
        .run(edit)?;
        EditRoute {
            table: vpc.main_route_table_id.into(),
            edit: RouteEdit::Create(
                IpNet::V4(Ipv4Net::default()),
                TargetRef::InternetGateway(gateway.id.into()),
            ),
        }
        .run(edit)?;
        for zone in self.zones {
            CreateDefaultSubnet { zone }.run(edit)?;
        }
        Ok(vpc)
    }
}

impl Command for CreateDefaultSubnet {
    type Outcome = Subnet;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<Subnet, ModelError> {
        let vpc = edit.default_vpc().ok_or(DefaultVpcError::None)?;
        let (id, block) = (vpc.id, vpc.cidr_blocks[0]);
        if let Some(subnet) = edit.default_subnet(Some(&self.zone)) {
            let subnet = subnet.id;
            return Err(DefaultVpcError::SubnetExists {
                subnet,
                zone: self.zone,
            }
            .into());
        }
        let taken: Vec<Ipv4Net> = edit
            .subnets()
            .filter(|subnet| subnet.vpc_id == id)
            .filter_map(|subnet| subnet.cidr_block)
            .collect();
        let overlaps = |net: &Ipv4Net| taken.iter().any(|other| overlap((*other).into(), (*net).into()));
        let length = SUBNET_LENGTH.max(block.prefix_len());
        let mut candidates = block.subnets(length).into_iter().flatten();
        let free = candidates
            .find(|net| !overlaps(net))
            .ok_or(DefaultVpcError::Full { block })?;
        let made = CreateSubnet {
            cidr_block: Some(free),
            availability_zone: Some(self.zone),
            ..CreateSubnet::new(id)
        }
        .run(edit)?;
        let subnet = Subnet {
            default_for_az: true,
            map_public_ip_on_launch: true,
            ..made.clone()
        };
        edit.replace(made, subnet.clone());
        Ok(subnet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::internet_gateway::InternetGateway;
    use crate::model::network::tests::World;
    use crate::model::subnet::DeleteSubnet;

    fn zones(letters: &[&str]) -> Vec<String> {
        letters.iter().map(|letter| format!("us-east-1{letter}")).collect()
    }

    #[test]
    fn a_default_vpc_reaches_the_internet_from_a_subnet_in_each_zone() {
        let mut world = World::new();
        let vpc = world
            .execute(CreateDefaultVpc {
                zones: zones(&["a", "b"]),
            })
            .unwrap();
        assert!(vpc.default && vpc.attributes.dns_hostnames);
        assert_eq!(vpc.cidr_blocks, ["172.31.0.0/16".parse().unwrap()]);
        let subnets: Vec<Subnet> = world.network.subnets().cloned().collect();
        for (zone, block) in [("us-east-1a", "172.31.0.0/20"), ("us-east-1b", "172.31.16.0/20")] {
            let subnet = world.network.default_subnet(Some(zone)).unwrap();
            assert_eq!(subnet.cidr_block, Some(block.parse().unwrap()));
            assert!(subnet.map_public_ip_on_launch);
        }
        assert_eq!(subnets.len(), 2);
        let gateways: Vec<&InternetGateway> = world.network.internet_gateways().collect();
        assert_eq!(gateways[0].vpc_id, Some(vpc.id));
        let table = world.network.route_table(&vpc.main_route_table_id.into()).unwrap();
        let out = table.routes.iter().find(|route| route.destination.prefix_len() == 0);
        assert!(out.is_some(), "{table:?}");
    }

    #[test]
    fn there_is_one_default_vpc_and_one_default_subnet_in_a_zone() {
        let mut world = World::new();
        let zone = || CreateDefaultSubnet {
            zone: "us-east-1a".to_owned(),
        };
        let code = |error: ModelError| error.code();
        assert_eq!(world.execute(zone()).map_err(code), Err("DefaultVpcDoesNotExist"));
        world
            .execute(CreateDefaultVpc {
                zones: zones(&["a", "b"]),
            })
            .unwrap();
        let again = world.execute(CreateDefaultVpc { zones: Vec::new() }).map_err(code);
        assert_eq!(again, Err("DefaultVpcAlreadyExists"));
        let again = world.execute(zone()).map_err(code);
        assert_eq!(again, Err("DefaultSubnetAlreadyExistsInAvailabilityZone"));
        // The block of a subnet that is gone is free again.
        let first = world.network.default_subnet(Some("us-east-1a")).unwrap().id;
        world.execute(DeleteSubnet(first.into())).unwrap();
        assert_eq!(
            world.network.default_subnet(None).unwrap().availability_zone,
            "us-east-1b"
        );
        let made = world.execute(zone()).unwrap();
        assert_eq!(made.cidr_block, Some("172.31.0.0/20".parse().unwrap()));
    }
}
