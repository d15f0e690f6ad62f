//! Defines limits on what may be declared, as data: AWS's default quotas, or none.

/// The most interfaces that the data path supports, whatever the limits are: it has 4 Mi indices, and a freed index is
/// not reused for a while.
pub const MOST_INTERFACES: usize = 4_000_000;

/// Upper bounds; `None` is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// VPCs in all.
    pub vpcs: Option<usize>,
    /// Subnets of one VPC.
    pub subnets_per_vpc: Option<usize>,
    /// CIDR blocks of one VPC, per family.
    pub cidr_blocks_per_vpc: Option<usize>,
    /// Route tables of one VPC.
    pub route_tables_per_vpc: Option<usize>,
    /// Routes of one table in addition to the local ones, per family.
    pub routes_per_table: Option<usize>,
    /// Security groups of one VPC.
    pub security_groups_per_vpc: Option<usize>,
    /// Rules of one security group, per direction and family; a prefix list counts with its size.
    pub rules_per_group: Option<usize>,
    /// Security groups of one interface; AWS raises its quota up to 16.
    pub groups_per_interface: Option<usize>,
    /// Network ACLs of one VPC.
    pub network_acls_per_vpc: Option<usize>,
    /// Entries of one network ACL, per direction and family, the last one included.
    pub entries_per_network_acl: Option<usize>,
    /// Prefix lists in all.
    pub prefix_lists: Option<usize>,
    /// Internet gateways in all.
    pub internet_gateways: Option<usize>,
    /// Elastic IP addresses in all.
    pub elastic_ips: Option<usize>,
    /// Flow logs of one VPC, subnet or interface.
    pub flow_logs_per_resource: Option<usize>,
    /// Gateway endpoints in all.
    pub gateway_endpoints: Option<usize>,
    /// NAT gateways of one availability zone.
    pub nat_gateways_per_zone: Option<usize>,
    /// Network interfaces in all.
    pub interfaces: Option<usize>,
    /// IPv4 addresses and prefixes of one interface; a prefix counts as one (EC2 user guide, "Assigning prefixes").
    pub ipv4_per_interface: Option<usize>,
    /// IPv6 addresses and prefixes of one interface; a prefix counts as one.
    pub ipv6_per_interface: Option<usize>,
}

impl Limits {
    /// No bounds, the default.
    pub const UNBOUNDED: Self = Self {
        vpcs: None,
        subnets_per_vpc: None,
        cidr_blocks_per_vpc: None,
        route_tables_per_vpc: None,
        routes_per_table: None,
        security_groups_per_vpc: None,
        rules_per_group: None,
        groups_per_interface: None,
        network_acls_per_vpc: None,
        entries_per_network_acl: None,
        prefix_lists: None,
        internet_gateways: None,
        elastic_ips: None,
        flow_logs_per_resource: None,
        gateway_endpoints: None,
        nat_gateways_per_zone: None,
        interfaces: None,
        ipv4_per_interface: None,
        ipv6_per_interface: None,
    };

    /// AWS's default quotas (VPC user guide, "Amazon VPC quotas") with the address counts of an m5.large or c5.large.
    pub const AWS_DEFAULT: Self = Self {
        vpcs: Some(5),
        subnets_per_vpc: Some(200),
        cidr_blocks_per_vpc: Some(5),
        route_tables_per_vpc: Some(200),
        routes_per_table: Some(50),
        security_groups_per_vpc: Some(2500),
        rules_per_group: Some(60),
        groups_per_interface: Some(5),
        network_acls_per_vpc: Some(200),
        entries_per_network_acl: Some(20),
        prefix_lists: Some(100),
        internet_gateways: Some(5),
        elastic_ips: Some(5),
        flow_logs_per_resource: Some(2),
        gateway_endpoints: Some(20),
        nat_gateways_per_zone: Some(5),
        interfaces: Some(5000),
        ipv4_per_interface: Some(10),
        ipv6_per_interface: Some(10),
    };

    /// True when one more than `count` would exceed the limit.
    pub(crate) fn reached(limit: Option<usize>, count: usize) -> bool {
        limit.is_some_and(|limit| count >= limit)
    }
}
