//! Lists all actions in one table; each family has a file.

mod account;
mod addresses;
mod attachments;
mod block_public_access;
mod cidr_blocks;
mod cidr_reservations;
mod dhcp_options;
mod egress_only_internet_gateways;
mod flow_logs;
mod ids;
mod images;
mod instance_attributes;
mod instance_types;
mod instances;
mod interfaces;
mod internet_gateways;
mod key_pairs;
mod launch;
mod launch_templates;
mod life;
mod nat_gateways;
mod network_acls;
mod peering_connections;
mod prefix_lists;
mod render;
mod route_tables;
mod security_group_rules;
mod security_groups;
mod subnets;
mod tags;
mod vpc_endpoints;
mod vpcs;
mod wanted;

use super::action::Entry;
use super::error::Ec2Error;

/// Every implemented action, by name.
pub static ACTIONS: &[Entry] = &[
    Entry::of::<peering_connections::AcceptVpcPeeringConnection>(),
    Entry::of::<addresses::AllocateAddress>(),
    Entry::of::<interfaces::AssignIpv6Addresses>(),
    Entry::of::<interfaces::AssignPrivateIpAddresses>(),
    Entry::of::<nat_gateways::AssignPrivateNatGatewayAddress>(),
    Entry::of::<addresses::AssociateAddress>(),
    Entry::of::<dhcp_options::AssociateDhcpOptions>(),
    Entry::of::<nat_gateways::AssociateNatGatewayAddress>(),
    Entry::of::<route_tables::AssociateRouteTable>(),
    Entry::of::<cidr_blocks::AssociateSubnetCidrBlock>(),
    Entry::of::<cidr_blocks::AssociateVpcCidrBlock>(),
    Entry::of::<account::AssumeRole>(),
    Entry::of::<internet_gateways::AttachInternetGateway>(),
    Entry::of::<attachments::AttachNetworkInterface>(),
    Entry::of::<security_group_rules::AuthorizeSecurityGroupEgress>(),
    Entry::of::<security_group_rules::AuthorizeSecurityGroupIngress>(),
    Entry::of::<subnets::CreateDefaultSubnet>(),
    Entry::of::<vpcs::CreateDefaultVpc>(),
    Entry::of::<dhcp_options::CreateDhcpOptions>(),
    Entry::of::<egress_only_internet_gateways::CreateEgressOnlyInternetGateway>(),
    Entry::of::<flow_logs::CreateFlowLogs>(),
    Entry::of::<internet_gateways::CreateInternetGateway>(),
    Entry::of::<key_pairs::CreateKeyPair>(),
    Entry::of::<launch_templates::CreateLaunchTemplate>(),
    Entry::of::<launch_templates::CreateLaunchTemplateVersion>(),
    Entry::of::<prefix_lists::CreateManagedPrefixList>(),
    Entry::of::<nat_gateways::CreateNatGateway>(),
    Entry::of::<network_acls::CreateNetworkAcl>(),
    Entry::of::<network_acls::CreateNetworkAclEntry>(),
    Entry::of::<interfaces::CreateNetworkInterface>(),
    Entry::of::<route_tables::CreateRoute>(),
    Entry::of::<route_tables::CreateRouteTable>(),
    Entry::of::<security_groups::CreateSecurityGroup>(),
    Entry::of::<subnets::CreateSubnet>(),
    Entry::of::<cidr_reservations::CreateSubnetCidrReservation>(),
    Entry::of::<tags::CreateTags>(),
    Entry::of::<vpcs::CreateVpc>(),
    Entry::of::<block_public_access::CreateVpcBlockPublicAccessExclusion>(),
    Entry::of::<vpc_endpoints::CreateVpcEndpoint>(),
    Entry::of::<peering_connections::CreateVpcPeeringConnection>(),
    Entry::of::<dhcp_options::DeleteDhcpOptions>(),
    Entry::of::<egress_only_internet_gateways::DeleteEgressOnlyInternetGateway>(),
    Entry::of::<flow_logs::DeleteFlowLogs>(),
    Entry::of::<internet_gateways::DeleteInternetGateway>(),
    Entry::of::<key_pairs::DeleteKeyPair>(),
    Entry::of::<launch_templates::DeleteLaunchTemplate>(),
    Entry::of::<launch_templates::DeleteLaunchTemplateVersions>(),
    Entry::of::<prefix_lists::DeleteManagedPrefixList>(),
    Entry::of::<nat_gateways::DeleteNatGateway>(),
    Entry::of::<network_acls::DeleteNetworkAcl>(),
    Entry::of::<network_acls::DeleteNetworkAclEntry>(),
    Entry::of::<interfaces::DeleteNetworkInterface>(),
    Entry::of::<route_tables::DeleteRoute>(),
    Entry::of::<route_tables::DeleteRouteTable>(),
    Entry::of::<security_groups::DeleteSecurityGroup>(),
    Entry::of::<subnets::DeleteSubnet>(),
    Entry::of::<cidr_reservations::DeleteSubnetCidrReservation>(),
    Entry::of::<tags::DeleteTags>(),
    Entry::of::<vpcs::DeleteVpc>(),
    Entry::of::<block_public_access::DeleteVpcBlockPublicAccessExclusion>(),
    Entry::of::<vpc_endpoints::DeleteVpcEndpoints>(),
    Entry::of::<peering_connections::DeleteVpcPeeringConnection>(),
    Entry::of::<account::DescribeAccountAttributes>(),
    Entry::of::<addresses::DescribeAddresses>(),
    Entry::of::<addresses::DescribeAddressesAttribute>(),
    Entry::of::<account::DescribeAvailabilityZones>(),
    Entry::of::<dhcp_options::DescribeDhcpOptions>(),
    Entry::of::<egress_only_internet_gateways::DescribeEgressOnlyInternetGateways>(),
    Entry::of::<flow_logs::DescribeFlowLogs>(),
    Entry::of::<images::DescribeImages>(),
    Entry::of::<instance_attributes::DescribeInstanceAttribute>(),
    Entry::of::<instance_attributes::DescribeInstanceCreditSpecifications>(),
    Entry::of::<instance_attributes::DescribeInstanceStatus>(),
    Entry::of::<instance_types::DescribeInstanceTypeOfferings>(),
    Entry::of::<instance_types::DescribeInstanceTypes>(),
    Entry::of::<instances::DescribeInstances>(),
    Entry::of::<internet_gateways::DescribeInternetGateways>(),
    Entry::of::<key_pairs::DescribeKeyPairs>(),
    Entry::of::<launch_templates::DescribeLaunchTemplateVersions>(),
    Entry::of::<launch_templates::DescribeLaunchTemplates>(),
    Entry::of::<prefix_lists::DescribeManagedPrefixLists>(),
    Entry::of::<nat_gateways::DescribeNatGateways>(),
    Entry::of::<network_acls::DescribeNetworkAcls>(),
    Entry::of::<attachments::DescribeNetworkInterfaceAttribute>(),
    Entry::of::<interfaces::DescribeNetworkInterfaces>(),
    Entry::of::<vpc_endpoints::DescribePrefixLists>(),
    Entry::of::<account::DescribeRegions>(),
    Entry::of::<route_tables::DescribeRouteTables>(),
    Entry::of::<security_group_rules::DescribeSecurityGroupRules>(),
    Entry::of::<security_groups::DescribeSecurityGroups>(),
    Entry::of::<security_groups::DescribeStaleSecurityGroups>(),
    Entry::of::<subnets::DescribeSubnets>(),
    Entry::of::<tags::DescribeTags>(),
    Entry::of::<images::DescribeVolumes>(),
    Entry::of::<vpcs::DescribeVpcAttribute>(),
    Entry::of::<block_public_access::DescribeVpcBlockPublicAccessExclusions>(),
    Entry::of::<block_public_access::DescribeVpcBlockPublicAccessOptions>(),
    Entry::of::<vpc_endpoints::DescribeVpcEndpointServices>(),
    Entry::of::<vpc_endpoints::DescribeVpcEndpoints>(),
    Entry::of::<peering_connections::DescribeVpcPeeringConnections>(),
    Entry::of::<vpcs::DescribeVpcs>(),
    Entry::of::<internet_gateways::DetachInternetGateway>(),
    Entry::of::<attachments::DetachNetworkInterface>(),
    Entry::of::<addresses::DisassociateAddress>(),
    Entry::of::<nat_gateways::DisassociateNatGatewayAddress>(),
    Entry::of::<route_tables::DisassociateRouteTable>(),
    Entry::of::<cidr_blocks::DisassociateSubnetCidrBlock>(),
    Entry::of::<cidr_blocks::DisassociateVpcCidrBlock>(),
    Entry::of::<account::GetCallerIdentity>(),
    Entry::of::<instances::GetConsoleOutput>(),
    Entry::of::<prefix_lists::GetManagedPrefixListAssociations>(),
    Entry::of::<prefix_lists::GetManagedPrefixListEntries>(),
    Entry::of::<cidr_reservations::GetSubnetCidrReservations>(),
    Entry::of::<key_pairs::ImportKeyPair>(),
    Entry::of::<instance_attributes::ModifyInstanceAttribute>(),
    Entry::of::<instance_attributes::ModifyInstanceMetadataOptions>(),
    Entry::of::<launch_templates::ModifyLaunchTemplate>(),
    Entry::of::<prefix_lists::ModifyManagedPrefixList>(),
    Entry::of::<interfaces::ModifyNetworkInterfaceAttribute>(),
    Entry::of::<security_group_rules::ModifySecurityGroupRules>(),
    Entry::of::<cidr_blocks::ModifySubnetAttribute>(),
    Entry::of::<cidr_blocks::ModifyVpcAttribute>(),
    Entry::of::<block_public_access::ModifyVpcBlockPublicAccessExclusion>(),
    Entry::of::<block_public_access::ModifyVpcBlockPublicAccessOptions>(),
    Entry::of::<vpc_endpoints::ModifyVpcEndpoint>(),
    Entry::of::<peering_connections::ModifyVpcPeeringConnectionOptions>(),
    Entry::of::<life::RebootInstances>(),
    Entry::of::<peering_connections::RejectVpcPeeringConnection>(),
    Entry::of::<addresses::ReleaseAddress>(),
    Entry::of::<network_acls::ReplaceNetworkAclAssociation>(),
    Entry::of::<network_acls::ReplaceNetworkAclEntry>(),
    Entry::of::<route_tables::ReplaceRoute>(),
    Entry::of::<route_tables::ReplaceRouteTableAssociation>(),
    Entry::of::<attachments::ResetNetworkInterfaceAttribute>(),
    Entry::of::<prefix_lists::RestoreManagedPrefixListVersion>(),
    Entry::of::<security_group_rules::RevokeSecurityGroupEgress>(),
    Entry::of::<security_group_rules::RevokeSecurityGroupIngress>(),
    Entry::of::<launch::RunInstances>(),
    Entry::of::<life::StartInstances>(),
    Entry::of::<life::StopInstances>(),
    Entry::of::<life::TerminateInstances>(),
    Entry::of::<interfaces::UnassignIpv6Addresses>(),
    Entry::of::<interfaces::UnassignPrivateIpAddresses>(),
    Entry::of::<nat_gateways::UnassignPrivateNatGatewayAddress>(),
    Entry::of::<security_group_rules::UpdateSecurityGroupRuleDescriptionsEgress>(),
    Entry::of::<security_group_rules::UpdateSecurityGroupRuleDescriptionsIngress>(),
];

/// The names of all implemented actions.
pub fn action_names() -> Vec<&'static str> {
    ACTIONS.iter().map(|entry| entry.name).collect()
}

/// The action with a name.
pub fn find(name: &str) -> Result<&'static Entry, Ec2Error> {
    let found = ACTIONS.binary_search_by(|entry| entry.name.cmp(name));
    found
        .map(|at| &ACTIONS[at])
        .map_err(|_| Ec2Error::invalid_action(&super::request::printed(name)))
}
