//! Imports accounts as the AWS command line prints them, and makes their networks.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Import, ImportError, Imported};
use crate::control::{Controller, ControllerConfig};
use crate::file::template::Scope;
use crate::model::endpoint::GatewayService;
use crate::model::ids::{ResourceId, ResourceRef};
use crate::model::{InstanceId, Network, RouteTableId, VpcId};
use crate::topology::format::read_topology;
use crate::topology::{Extras, Layout, Live, Plan, Rehearsed, yaml};

const VPC: &str = "vpc-0aaaaaaaaaaaaaaa1";
const SUBNET: &str = "subnet-0bbbbbbbbbbbbbbb1";
const ENI: &str = "eni-0ccccccccccccccc1";
const FURTHER: &str = "eni-0ccccccccccccccc2";
const INSTANCE: &str = "i-0ddddddddddddddd1";
const MAIN: &str = "rtb-0eeeeeeeeeeeeeee1";
const ACL: &str = "acl-0fffffffffffffff1";
const GROUP: &str = "sg-01111111111111111";
const WEB: &str = "sg-01111111111111112";
const GATEWAY: &str = "igw-02222222222222222";
const NAT: &str = "nat-05555555555555555";
const NAT_ENI: &str = "eni-0ccccccccccccccc3";
const EGRESS: &str = "eipalloc-03333333333333334";
const ADDRESS: &str = "eipalloc-03333333333333333";

fn tag(name: &str) -> Value {
    json!([{ "Key": "Name", "Value": name }, { "Key": "aws:cloudformation:stack-name", "Value": "x" }])
}

/// A VPC with an instance, as an account has it.
fn account() -> Vec<(&'static str, Value)> {
    vec![
        (
            "vpcs.json",
            json!({ "Vpcs": [{
            "VpcId": VPC, "CidrBlock": "10.0.0.0/16", "DhcpOptionsId": "dopt-04444444444444444", "InstanceTenancy": "default",
            "CidrBlockAssociationSet": [
                { "CidrBlock": "10.1.0.0/16", "CidrBlockState": { "State": "associated" } },
                { "CidrBlock": "10.0.0.0/16", "CidrBlockState": { "State": "associated" } },
                { "CidrBlock": "10.2.0.0/16", "CidrBlockState": { "State": "disassociated" } },
            ],
            "IsDefault": false, "Tags": tag("prod"),
        }] }),
        ),
        (
            "subnets.json",
            json!({ "Subnets": [{
            "SubnetId": SUBNET, "VpcId": VPC, "CidrBlock": "10.0.1.0/24", "AvailabilityZone": "us-east-1b",
            "MapPublicIpOnLaunch": true, "Ipv6CidrBlockAssociationSet": [], "Tags": tag("front"),
        }] }),
        ),
        (
            "instances.json",
            json!({ "Reservations": [{ "Instances": [{
            "InstanceId": INSTANCE, "State": { "Name": "running" }, "InstanceType": "m5.large", "Tags": tag("web"),
            "MetadataOptions": { "HttpTokens": "required", "HttpPutResponseHopLimit": 2, "HttpEndpoint": "enabled" },
            "IamInstanceProfile": { "Arn": "arn:aws:iam::123456789012:instance-profile/failover" },
            "NetworkInterfaces": [{
                "NetworkInterfaceId": ENI, "VpcId": VPC, "SubnetId": SUBNET, "MacAddress": "0a:11:22:33:44:55",
                "Attachment": { "DeviceIndex": 0 }, "SourceDestCheck": false, "InterfaceType": "interface",
                "PrivateIpAddresses": [
                    { "PrivateIpAddress": "10.0.1.50", "Primary": false }, { "PrivateIpAddress": "10.0.1.10", "Primary": true },
                ],
                "Groups": [{ "GroupId": WEB }, { "GroupId": GROUP }],
            }],
        }] }] }),
        ),
        (
            "interfaces.json",
            json!({ "NetworkInterfaces": [
            {
                "NetworkInterfaceId": FURTHER, "VpcId": VPC, "SubnetId": SUBNET, "InterfaceType": "interface",
                "PrivateIpAddresses": [{ "PrivateIpAddress": "10.0.1.20", "Primary": true }],
                "Attachment": { "InstanceId": INSTANCE, "DeviceIndex": 1 }, "Groups": [{ "GroupId": GROUP }], "TagSet": tag("spare"),
            },
            {
                "NetworkInterfaceId": "eni-0ccccccccccccccc3", "VpcId": VPC, "SubnetId": SUBNET, "InterfaceType": "nat_gateway",
                "RequesterManaged": true, "Description": "Interface for NAT Gateway nat-05555555555555555",
            },
        ] }),
        ),
        (
            "tables.json",
            json!({ "RouteTables": [{
            "RouteTableId": MAIN, "VpcId": VPC, "Associations": [{ "Main": true }],
            "Routes": [
                { "DestinationCidrBlock": "10.0.0.0/16", "GatewayId": "local", "State": "active" },
                { "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": GATEWAY, "State": "active" },
                { "DestinationCidrBlock": "192.0.2.1/32", "NetworkInterfaceId": ENI, "InstanceId": INSTANCE, "State": "active" },
                { "DestinationCidrBlock": "192.168.0.0/16", "TransitGatewayId": "tgw-06666666666666666", "State": "active" },
                { "DestinationCidrBlock": "192.0.2.2/32", "NetworkInterfaceId": "eni-0999", "State": "blackhole" },
            ],
        }] }),
        ),
        (
            "groups.json",
            json!({ "SecurityGroups": [
            {
                "GroupId": GROUP, "GroupName": "default", "VpcId": VPC, "Description": "default VPC security group",
                "IpPermissions": [{ "IpProtocol": "-1", "UserIdGroupPairs": [{ "GroupId": GROUP }] }],
                "IpPermissionsEgress": [{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }],
            },
            {
                "GroupId": WEB, "GroupName": "web", "VpcId": VPC, "Description": "servers",
                "IpPermissions": [
                    { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443,
                      "IpRanges": [{ "CidrIp": "0.0.0.0/0", "Description": "all" }], "Ipv6Ranges": [{ "CidrIpv6": "::/0" }] },
                    { "IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "IpRanges": [{ "CidrIp": "10.0.0.0/8" }] },
                    { "IpProtocol": "112", "UserIdGroupPairs": [{ "GroupId": WEB }, { "GroupId": "sg-07777777777777777" }] },
                ],
                "IpPermissionsEgress": [],
            },
        ] }),
        ),
        (
            "acls.json",
            json!({ "NetworkAcls": [{
            "NetworkAclId": ACL, "VpcId": VPC, "IsDefault": true, "Associations": [{ "SubnetId": SUBNET }],
            "Entries": [
                { "RuleNumber": 100, "Protocol": "6", "RuleAction": "deny", "Egress": false, "CidrBlock": "0.0.0.0/0",
                  "PortRange": { "From": 23, "To": 23 } },
                { "RuleNumber": 32767, "Protocol": "-1", "RuleAction": "deny", "Egress": false, "CidrBlock": "0.0.0.0/0" },
                { "RuleNumber": 100, "Protocol": "-1", "RuleAction": "allow", "Egress": true, "CidrBlock": "0.0.0.0/0" },
            ],
        }] }),
        ),
        (
            "gateways.json",
            json!({ "InternetGateways": [{ "InternetGatewayId": GATEWAY, "Attachments": [{ "VpcId": VPC, "State": "available" }] }] }),
        ),
        (
            "addresses.json",
            json!({ "Addresses": [{
            "AllocationId": ADDRESS, "PublicIp": "52.1.2.3", "NetworkInterfaceId": ENI, "PrivateIpAddress": "10.0.1.50", "Domain": "vpc",
        }, {
            "AllocationId": EGRESS, "PublicIp": "203.0.113.7", "NetworkInterfaceId": NAT_ENI, "PrivateIpAddress": "10.0.1.200",
        }] }),
        ),
        (
            "nat.json",
            json!({ "NatGateways": [{
            "NatGatewayId": NAT, "State": "available", "SubnetId": SUBNET, "VpcId": VPC, "ConnectivityType": "public",
            "NatGatewayAddresses": [{
                "AllocationId": EGRESS, "PrivateIp": "10.0.1.200", "NetworkInterfaceId": NAT_ENI, "IsPrimary": true,
            }],
        }] }),
        ),
        (
            "transit.json",
            json!({ "TransitGateways": [{ "TransitGatewayId": "tgw-06666666666666666" }] }),
        ),
    ]
}

fn imported(files: &[(&str, Value)]) -> Imported {
    let mut import = Import::default();
    for (file, value) in files {
        import.read(file, &value.to_string()).unwrap();
    }
    import.finish().unwrap()
}

/// The network that a file makes on an empty server.
fn made(imported: &Imported) -> Network {
    let text = yaml(&imported.topology);
    let topology = read_topology("imported.yaml", &text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    let desired = Layout::desired(&topology, &Scope::default()).unwrap();
    let controller = Controller::new(ControllerConfig::default());
    let live = Live {
        controller: &controller,
        runtime: None,
    };
    let mut stage = Rehearsed::of(live).with_lab();
    let plan = Plan::new(&desired, stage.running(), Extras::Keep);
    plan.carry_out(&mut stage)
        .unwrap_or_else(|stopped| panic!("{stopped}\n{text}"));
    assert!(
        Plan::new(&desired, stage.running(), Extras::Remove).is_empty(),
        "{text}"
    );
    stage.network().clone()
}

fn by_id<T: ResourceId>(text: &str) -> ResourceRef<T> {
    ResourceRef::new(text)
}

#[test]
fn an_account_is_made_again_with_its_identifiers() {
    let network = made(&imported(&account()));
    let vpc = network.vpc(&by_id::<VpcId>(VPC)).unwrap();
    assert_eq!((vpc.name.as_deref(), vpc.tags.len()), (Some("prod"), 1));
    assert_eq!(
        vpc.cidr_blocks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.0/16", "10.1.0.0/16"]
    );
    assert_eq!(
        (
            vpc.main_route_table_id.to_string(),
            vpc.default_network_acl_id.to_string()
        ),
        (MAIN.into(), ACL.into())
    );
    assert_eq!(network.default_group(vpc.id).unwrap().to_string(), GROUP);
    assert_eq!(network.subnet(&by_id(SUBNET)).unwrap().name.as_deref(), Some("front"));
    let interface = network.interface(&by_id(ENI)).unwrap();
    let addresses: Vec<String> = interface.ipv4_addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.1.10", "10.0.1.50"], "the primary one first");
    assert!(!interface.source_dest_check);
    assert_eq!(interface.mac_address.to_string(), "0a:11:22:33:44:55");
    let instance = network.instance(&by_id::<InstanceId>(INSTANCE)).unwrap();
    assert_eq!(instance.primary_interface_id.to_string(), ENI);
    assert_eq!(instance.tags["Name"], "web");
    assert_eq!(
        (&*instance.metadata.instance_type, instance.metadata.iam_role.as_deref()),
        ("m5.large", Some("failover"))
    );
    let attached: Vec<String> = network.attached(instance.id).map(|(_, id)| id.to_string()).collect();
    assert_eq!(attached, [ENI, FURTHER]);
    let table = network.route_table(&by_id::<RouteTableId>(MAIN)).unwrap();
    assert_eq!(table.routes.len(), 5, "three and the local ones: {:?}", table.routes);
    let nat = network.nat_gateway(&by_id(NAT)).unwrap();
    assert_eq!(nat.interface_id.unwrap().to_string(), NAT_ENI);
    assert_eq!(nat.addresses[0].private_ip.to_string(), "10.0.1.200");
    let address = network.elastic_ip(&by_id(ADDRESS)).unwrap();
    assert_eq!(address.public_ip.to_string(), "203.0.113.1");
    assert_eq!(address.association.unwrap().private_ip.to_string(), "10.0.1.50");
}

#[test]
fn what_cannot_be_carried_is_listed_with_its_reason() {
    let imported = imported(&account());
    let left: BTreeSet<String> = imported.left_out.iter().map(ToString::to_string).collect();
    let wanted = [
        "eipalloc-03333333333333333: 52.1.2.3 is 203.0.113.1 here, an address for documentation",
        "rtb-0eeeeeeeeeeeeeee1: the route to 192.168.0.0/16 by tgw-06666666666666666, which is not in the file",
        "sg-01111111111111112: a rule about sg-07777777777777777, which is in none of the files",
        "tgw-06666666666666666: `TransitGateways` is not among the lists that are imported",
        "vpc-0aaaaaaaaaaaaaaa1: its DHCP option set dopt-04444444444444444 is in none of the files: it has that of the region",
    ];
    assert_eq!(left.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
}

#[test]
fn any_part_of_an_account_will_do() {
    let all = account();
    for number in 0..all.len() {
        let mut some = all.clone();
        let (file, _) = some.remove(number);
        let imported = imported(&some);
        made(&imported);
        if file == "vpcs.json" {
            assert!(imported.left_out.iter().any(|left| left.resource == SUBNET), "{file}");
        }
    }
    let vpcs = imported(&all[..1]);
    assert_eq!(vpcs.topology["vpcs"]["prod"]["id"], VPC);
}

#[test]
fn what_the_aws_command_line_did_not_print_is_refused_by_file() {
    let mut import = Import::default();
    assert!(matches!(import.read("a", "{"), Err(ImportError::Json { .. })));
    assert!(matches!(import.read("a", "[1]"), Err(ImportError::Form { .. })));
    assert!(matches!(import.read("a", ""), Err(ImportError::Form { .. })));
    assert!(matches!(Import::default().finish(), Err(ImportError::Nothing)));
    // Two answers one after the other, and lists of another kind.
    import
        .read("both", r#"{"Vpcs": []} {"Volumes": [{"VolumeId": "vol-1"}]}"#)
        .unwrap();
    assert_eq!(
        import.left_out[0].to_string(),
        "vol-1: `Volumes` is not among the lists that are imported"
    );
}

#[test]
fn prefix_lists_of_aws_are_those_that_are_there_or_get_a_name_of_their_own() {
    let (s3, cloudfront) = ("pl-6da54004", "pl-4fa04526");
    let entries = json!({ "Entries": [{ "Cidr": "13.124.199.0/24" }] });
    let files = [
        ("pl-4fa04526.json", entries),
        (
            "all.json",
            json!({
                "Vpcs": [{ "VpcId": VPC, "CidrBlock": "10.0.0.0/16" }],
                "ManagedPrefixLists": [
                    { "PrefixListId": s3, "PrefixListName": "com.amazonaws.eu-west-1.s3", "AddressFamily": "IPv4", "OwnerId": "AWS" },
                    {
                        "PrefixListId": cloudfront, "PrefixListName": "com.amazonaws.global.cloudfront.origin-facing",
                        "AddressFamily": "IPv4", "OwnerId": "AWS",
                    },
                ],
                "PrefixLists": [{ "PrefixListId": s3, "PrefixListName": "com.amazonaws.eu-west-1.s3", "Cidrs": ["52.218.0.0/17"] }],
                "SecurityGroups": [{
                    "GroupId": "sg-01111111111111113", "GroupName": "lists", "Description": "x", "VpcId": VPC,
                    "IpPermissions": [
                        { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{ "PrefixListId": cloudfront }] },
                    ],
                    "IpPermissionsEgress": [
                        { "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{ "PrefixListId": s3 }] },
                    ],
                }],
            }),
        ),
    ];
    let imported = imported(&files);
    made(&imported);
    let lists = imported.topology["prefix_lists"].as_object().unwrap();
    assert_eq!(lists.keys().collect::<Vec<_>>(), [cloudfront]);
    let group = &imported.topology["security_groups"]["sg-01111111111111113"];
    assert_eq!(
        group["egress"][0]["prefix_list"],
        GatewayService::S3.prefix_list().to_string()
    );
    assert_eq!(group["ingress"][0]["prefix_list"], cloudfront);
    let left: Vec<String> = imported.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(
        left,
        [format!(
            "{cloudfront}: it is called {cloudfront} here: com.amazonaws.global.cloudfront.origin-facing is a name of AWS"
        )]
    );
}

#[test]
fn peerings_egress_only_gateways_endpoints_and_inbound_tables_are_made_again() {
    let vpc = |id: &str, block: &str, ipv6: &str| {
        json!({ "VpcId": id, "CidrBlock": block, "Ipv6CidrBlockAssociationSet": [
            { "Ipv6CidrBlock": ipv6, "Ipv6CidrBlockState": { "State": "associated" } },
        ] })
    };
    let (one, two) = ("vpc-0aaaaaaaaaaaaaaa1", "vpc-0aaaaaaaaaaaaaaa2");
    let (eigw, pcx, vpce) = (
        "eigw-01111111111111111",
        "pcx-02222222222222222",
        "vpce-03333333333333333",
    );
    let (table, inbound) = ("rtb-0eeeeeeeeeeeeeee1", "rtb-0eeeeeeeeeeeeeee2");
    let files = [(
        "all.json",
        json!({
            "Vpcs": [vpc(one, "10.0.0.0/16", "2001:db8:1::/56"), vpc(two, "10.1.0.0/16", "2001:db8:2::/56")],
            "InternetGateways": [{ "InternetGatewayId": GATEWAY, "Attachments": [{ "VpcId": one, "State": "available" }] }],
            "EgressOnlyInternetGateways": [{
                "EgressOnlyInternetGatewayId": eigw, "Attachments": [{ "State": "attached", "VpcId": one }], "Tags": tag("six"),
            }],
            "VpcPeeringConnections": [
                {
                    "VpcPeeringConnectionId": pcx, "Status": { "Code": "active" },
                    "RequesterVpcInfo": { "VpcId": one }, "AccepterVpcInfo": { "VpcId": two },
                },
                { "VpcPeeringConnectionId": "pcx-02222222222222223", "Status": { "Code": "deleted" } },
            ],
            "VpcEndpoints": [
                {
                    "VpcEndpointId": vpce, "VpcEndpointType": "Gateway", "VpcId": one, "State": "available",
                    "ServiceName": "com.amazonaws.eu-west-1.s3", "RouteTableIds": [table],
                },
                {
                    "VpcEndpointId": "vpce-03333333333333334", "VpcEndpointType": "Interface", "VpcId": one,
                    "ServiceName": "com.amazonaws.eu-west-1.sqs",
                },
            ],
            "RouteTables": [
                { "RouteTableId": table, "VpcId": one, "Associations": [], "Routes": [
                    { "DestinationIpv6CidrBlock": "::/0", "EgressOnlyInternetGatewayId": eigw, "State": "active" },
                    { "DestinationCidrBlock": "10.1.0.0/16", "VpcPeeringConnectionId": pcx, "State": "active" },
                    { "DestinationPrefixListId": "pl-6da54004", "GatewayId": vpce, "State": "active" },
                ] },
                { "RouteTableId": inbound, "VpcId": one, "Associations": [{ "Main": false, "GatewayId": GATEWAY }], "Routes": [] },
            ],
        }),
    )];
    let imported = imported(&files);
    let network = made(&imported);
    let routes = network.route_table(&by_id::<RouteTableId>(table)).unwrap();
    let targets: BTreeSet<String> = routes.routes.iter().map(|route| route.target.to_string()).collect();
    assert!(targets.contains(eigw) && targets.contains(pcx), "{targets:?}");
    assert_eq!(routes.endpoint_routes[0].endpoint.to_string(), vpce);
    let inbound = network.route_table(&by_id::<RouteTableId>(inbound)).unwrap();
    assert_eq!(inbound.gateway_ids[0].to_string(), GATEWAY);
    let left: Vec<String> = imported.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(
        left,
        [
            "pcx-02222222222222223: it is deleted",
            "vpce-03333333333333334: com.amazonaws.eu-west-1.sqs has no gateway endpoint here",
        ]
    );
}
