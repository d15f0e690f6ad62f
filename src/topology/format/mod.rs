//! Defines the topology file, of scenarios, of `localvpc up` and of `localvpc export`: VPCs, subnets and instances. A
//! key in the form of an identifier stands for a resource without a name.

mod block;
mod check;
mod edge;
mod endpoints;
mod flow_logs;
mod links;
mod nat;

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use serde_saphyr::{Location, Spanned};
use utoipa::ToSchema;

pub use block::{BlockTopology, ExclusionTopology};
pub(crate) use check::{check_for_steps, check_topology, is_word};
pub use check::{expected_scope, interface_facts, resolve_profile, route_target, router_facts, subnet_facts};
pub use edge::{ElasticIpTopology, InternetGatewayTopology, OutsideTopology};
pub(in crate::topology) use edge::{outside_subnet, outside_vpc};
pub use endpoints::EndpointTopology;
pub use flow_logs::FlowLogTopology;
pub use links::{EgressOnlyGatewayTopology, PeeringTopology};
pub use nat::NatGatewayTopology;

use crate::file::diagnostic::FileError;
use crate::file::forms::{Form, Forms, Never, read_by_forms};
use crate::file::template::Scope;
use crate::lab::ApiAccess;
use crate::model::dhcp_options::{DhcpOptions, NameServer};
use crate::model::duration::{Skew, WireLifetime};
use crate::model::interface::{Allowances, TrackingTimeouts};
use crate::model::metadata::MetadataChange;
use crate::model::naming::Tags;
use crate::model::network_acl::EntryForm;
use crate::model::prefix_list::AddressFamily;
use crate::model::profile::{ChangedProfile, ProfileSpec};
use crate::model::security_group::RuleForm;
use crate::model::{
    AddressOrPrefix, DhcpOptionsId, InstanceId, InterfaceId, NetworkAclId, PrefixListId, RouteTableId, SecurityGroupId,
    SubnetId, VpcId,
};
use crate::wire::mac::MacAddr;

/// VPCs, subnets and instances by name.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// The VPCs, by name.
    #[schema(value_type = std::collections::HashMap<String, VpcTopology>)]
    pub vpcs: BTreeMap<String, Spanned<VpcTopology>>,
    /// The subnets, by name. Names are unique over all VPCs.
    #[schema(value_type = std::collections::HashMap<String, SubnetTopology>)]
    pub subnets: BTreeMap<String, Spanned<SubnetTopology>>,
    /// The hosts, by name. Each is a network namespace whose `eth0` is one network interface of the subnet.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, InstanceTopology>)]
    pub instances: BTreeMap<String, Spanned<InstanceTopology>>,
    /// Network interfaces that are not primary, by name: to be attached to and detached from instances, or for devices
    /// attached by hand.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, InterfaceTopology>)]
    pub interfaces: BTreeMap<String, Spanned<InterfaceTopology>>,
    /// Route tables, by name. Every VPC has a main one for the other subnets.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, RouteTableTopology>)]
    pub route_tables: BTreeMap<String, Spanned<RouteTableTopology>>,
    /// Internet gateways, by name. A route goes there with the name as its `via`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, InternetGatewayTopology>)]
    pub internet_gateways: BTreeMap<String, Spanned<InternetGatewayTopology>>,
    /// Elastic IP addresses, by name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, ElasticIpTopology>)]
    pub elastic_ips: BTreeMap<String, Spanned<ElasticIpTopology>>,
    /// Flow logs, by name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, FlowLogTopology>)]
    pub flow_logs: BTreeMap<String, Spanned<FlowLogTopology>>,
    /// NAT gateways, by name. A route goes there with the name as its `via`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, NatGatewayTopology>)]
    pub nat_gateways: BTreeMap<String, Spanned<NatGatewayTopology>>,
    /// Egress-only internet gateways, by name. A route goes there with the name as its `via`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, EgressOnlyGatewayTopology>)]
    pub egress_only_gateways: BTreeMap<String, Spanned<EgressOnlyGatewayTopology>>,
    /// Peering connections, by name. A route goes there with the name as its `via`.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, PeeringTopology>)]
    pub peering_connections: BTreeMap<String, Spanned<PeeringTopology>>,
    /// Gateway endpoints, by name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, EndpointTopology>)]
    pub vpc_endpoints: BTreeMap<String, Spanned<EndpointTopology>>,
    /// What gateways to the outside let through, for all VPCs at once.
    #[serde(default)]
    #[schema(value_type = Option<BlockTopology>)]
    pub block_public_access: Option<Spanned<BlockTopology>>,
    /// Hosts beyond all internet gateways, by name. Steps name them as they name instances.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, OutsideTopology>)]
    pub outside: BTreeMap<String, Spanned<OutsideTopology>>,
    /// DHCP option sets, by name. A VPC that names none has the region's.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, DhcpOptionsTopology>)]
    pub dhcp_options: BTreeMap<String, Spanned<DhcpOptionsTopology>>,
    /// Security groups, by name. `VPC/default` is the group that a VPC is made with; interfaces that name none have it.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, SecurityGroupTopology>)]
    pub security_groups: BTreeMap<String, Spanned<SecurityGroupTopology>>,
    /// Network ACLs, by name. `VPC/default` is the one that a VPC is made with; subnets that no other names have it.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, NetworkAclTopology>)]
    pub network_acls: BTreeMap<String, Spanned<NetworkAclTopology>>,
    /// Prefix lists, by name, for rules of security groups.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, PrefixListTopology>)]
    pub prefix_lists: BTreeMap<String, Spanned<PrefixListTopology>>,
}

/// A DHCP option set; at least one option is given.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = DhcpOptions)]
pub struct DhcpOptionsTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "dopt-0a1b2c3d4e5f60718")]
    pub id: Option<DhcpOptionsId>,
    /// Completes names without a dot; several, separated by spaces, as some Linux clients accept.
    #[schema(example = "eu-central-1.compute.internal")]
    pub domain_name: Option<String>,
    /// At most four, or `AmazonProvidedDNS`.
    #[schema(value_type = Vec<String>, example = json!(["AmazonProvidedDNS"]))]
    pub domain_name_servers: Vec<NameServer>,
    /// At most four of each family.
    #[schema(value_type = Vec<String>)]
    pub ntp_servers: Vec<std::net::IpAddr>,
    /// At most four.
    #[schema(value_type = Vec<String>)]
    pub netbios_name_servers: Vec<std::net::Ipv4Addr>,
    /// 1, 2, 4 or 8; 2 where broadcast is not supported.
    pub netbios_node_type: Option<u8>,
    /// Preferred lifetime of an IPv6 address, instead of the profile's: 140s to 2147483647s.
    pub ipv6_address_preferred_lease_time: Option<WireLifetime>,
    /// Tags.
    pub tags: Tags,
}

impl DhcpOptionsTopology {
    /// The options of the set.
    pub fn options(&self) -> DhcpOptions {
        DhcpOptions {
            domain_name: self.domain_name.clone(),
            domain_name_servers: self.domain_name_servers.clone(),
            ntp_servers: self.ntp_servers.clone(),
            netbios_name_servers: self.netbios_name_servers.clone(),
            netbios_node_type: self.netbios_node_type,
            ipv6_address_preferred_lease_time: self.ipv6_address_preferred_lease_time,
        }
    }
}

/// A security group.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SecurityGroup)]
pub struct SecurityGroupTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "sg-0a1b2c3d4e5f60718")]
    pub id: Option<SecurityGroupId>,
    /// The name of its VPC; left out of `VPC/default`.
    #[schema(value_type = Option<String>)]
    pub vpc: Option<Spanned<String>>,
    /// What the EC2 API calls its name; the name in the file when left out.
    pub group_name: Option<String>,
    /// Free text, for life.
    pub description: Option<String>,
    /// What may come in. Nothing when left out; of `VPC/default`, what its own members send.
    #[schema(value_type = Option<Vec<RuleForm>>)]
    pub ingress: Option<Vec<Spanned<RuleForm>>>,
    /// What may leave; everything when left out.
    #[schema(value_type = Option<Vec<RuleForm>>)]
    pub egress: Option<Vec<Spanned<RuleForm>>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A network ACL: what no entry of it allows is denied.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NetworkAcl)]
pub struct NetworkAclTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "acl-0a1b2c3d4e5f60718")]
    pub id: Option<NetworkAclId>,
    /// The name of its VPC; left out of `VPC/default`.
    #[schema(value_type = Option<String>)]
    pub vpc: Option<Spanned<String>>,
    /// The names of the subnets that have it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<Spanned<String>>,
    /// What enters them, by number. Nothing when left out; of `VPC/default`, everything.
    #[schema(value_type = Option<Vec<EntryForm>>)]
    pub ingress: Option<Vec<Spanned<EntryForm>>>,
    /// What leaves them, by number.
    #[schema(value_type = Option<Vec<EntryForm>>)]
    pub egress: Option<Vec<Spanned<EntryForm>>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A prefix list.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PrefixList)]
pub struct PrefixListTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "pl-0a1b2c3d4e5f60718")]
    pub id: Option<PrefixListId>,
    /// What the EC2 API calls its name; the name in the file when left out.
    pub list_name: Option<String>,
    /// The family of its addresses; that of its first entry when left out.
    pub family: Option<AddressFamily>,
    /// How many entries it may have, 1 to 1000; as many as it has when left out.
    #[schema(minimum = 1, maximum = 1000)]
    pub max_entries: Option<u32>,
    /// Its entries.
    #[serde(default)]
    pub entries: Vec<PrefixEntryTopology>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// An entry of a prefix list.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PrefixListEntry)]
pub struct PrefixEntryTopology {
    /// Its addresses.
    #[schema(value_type = String, example = "203.0.113.0/24")]
    pub cidr: Spanned<IpNet>,
    /// Free text.
    #[serde(default)]
    pub description: String,
}

/// A route table.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RouteTable)]
pub struct RouteTableTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "rtb-0a1b2c3d4e5f60718")]
    pub id: Option<RouteTableId>,
    /// The name of its VPC.
    #[schema(value_type = String)]
    pub vpc: Spanned<String>,
    /// Whether it is the VPC's main table, which subnets without an explicit association use.
    #[serde(default)]
    pub main: bool,
    /// The names of the subnets that are associated with it.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub subnets: Vec<Spanned<String>>,
    /// The names of the internet gateways that are associated with it: packets that they let in follow its routes, to middleboxes.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub gateways: Vec<Spanned<String>>,
    /// Its routes in addition to the local ones.
    #[serde(default)]
    #[schema(value_type = Vec<RouteTopology>)]
    pub routes: Vec<RouteTopology>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A route.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Route)]
pub struct RouteTopology {
    /// The destination.
    #[schema(value_type = String, example = "192.0.2.10/32")]
    pub to: Spanned<IpNet>,
    /// The name of an instance, network interface or internet gateway, `local` or `blackhole`.
    #[schema(value_type = String)]
    pub via: Spanned<String>,
}

/// A VPC.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Vpc)]
pub struct VpcTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "vpc-0a1b2c3d4e5f60718")]
    pub id: Option<VpcId>,
    /// Its IPv4 blocks, /16 to /28.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/16"]))]
    pub cidr_blocks: Vec<Spanned<Ipv4Net>>,
    /// Its IPv6 blocks, usually one /56.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["2001:db8:100::/56"]))]
    pub ipv6_cidr_blocks: Vec<Spanned<Ipv6Net>>,
    /// Its profile: the name of a profile, or a profile with some fields changed. `aws` when left out.
    #[schema(value_type = Option<ProfileSpec>)]
    pub profile: Option<ProfileForm>,
    /// The name of its DHCP option set, or `default` for none; the region's when left out.
    #[schema(value_type = Option<String>)]
    pub dhcp_options: Option<Spanned<String>>,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A profile and its place in the file.
#[derive(Debug, Clone)]
pub struct ProfileForm {
    /// The profile.
    pub spec: ProfileSpec,
    /// The place.
    pub place: Location,
}

/// A subnet.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Subnet)]
pub struct SubnetTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "subnet-0a1b2c3d4e5f60718")]
    pub id: Option<SubnetId>,
    /// The name of its VPC.
    #[schema(value_type = String)]
    pub vpc: Spanned<String>,
    /// Its part of the VPC's IPv4 block, /16 to /28.
    #[schema(value_type = Option<String>, example = "10.0.1.0/24")]
    pub cidr_block: Option<Spanned<Ipv4Net>>,
    /// Its /64 of the VPC's IPv6 block.
    #[schema(value_type = Option<String>, example = "2001:db8:100:1::/64")]
    pub ipv6_cidr_block: Option<Spanned<Ipv6Net>>,
    /// Its availability zone; zone `a` of the region when left out.
    pub availability_zone: Option<String>,
    /// MAC address of its router; chosen by the VPC's profile when left out.
    #[schema(value_type = Option<String>, example = "0a:ca:05:9c:fc:01")]
    pub router_mac: Option<Spanned<MacAddr>>,
    /// Whether an instance that is launched here is given a public IPv4 address.
    #[serde(default)]
    pub map_public_ip_on_launch: bool,
    /// Whether the VPC's resolver gives its hosts an address in `64:ff9b::/96` for a name that has IPv4 addresses alone (DNS64).
    #[serde(default)]
    pub enable_dns64: bool,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A network interface that is not primary.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Interface)]
pub struct InterfaceTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "eni-0a1b2c3d4e5f60718")]
    pub id: Option<InterfaceId>,
    /// The name of its subnet.
    #[schema(value_type = String)]
    pub subnet: Spanned<String>,
    /// Its MAC address; a locally administered one is chosen when left out.
    #[schema(value_type = Option<String>, example = "0a:ca:05:9c:fc:14")]
    pub mac: Option<Spanned<MacAddr>>,
    /// IPv4 addresses, the first is the primary one. When left out, one is chosen in a subnet that has IPv4.
    #[schema(value_type = Option<Vec<String>>)]
    pub ipv4: Option<Vec<Spanned<std::net::Ipv4Addr>>>,
    /// IPv6 addresses. When left out, one is chosen in a subnet that has IPv6; `[]` for none.
    #[schema(value_type = Option<Vec<String>>)]
    pub ipv6: Option<Vec<Spanned<std::net::Ipv6Addr>>>,
    /// Delegated prefixes, /28 and /80.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub prefixes: Vec<Spanned<AddressOrPrefix>>,
    /// The source/destination check: whether the interface may send from, and receive for, its own addresses only.
    #[serde(default = "yes")]
    pub source_dest_check: bool,
    /// The names of its security groups, `default` for that of its VPC, which it has when this is left out.
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Vec<Spanned<String>>>,
    /// Its MTU; the profile's when left out.
    pub mtu: Option<u16>,
    /// The offset of its host's NTP time from the machine's clock, such as `2s` or `-250ms`; positive is ahead.
    pub ntp_skew: Option<Skew>,
    /// How much the interface may send and receive; without limit when left out.
    pub allowances: Option<Allowances>,
    /// Seconds for which idle connections are tracked; the profile's when left out.
    pub tracking: Option<TrackingTimeouts>,
    /// Metadata of its host in addition to what the network determines.
    pub metadata: Option<MetadataChange>,
    /// The instance that it is attached to from the start, as its next device: `eth1`, which is down and has no address
    /// until the host configures it.
    #[schema(value_type = Option<String>)]
    pub attached_to: Option<Spanned<String>>,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
}

/// A host with one network interface.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Instance)]
pub struct InstanceTopology {
    /// The identifier that it is made with; drawn when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "i-0a1b2c3d4e5f60718")]
    pub id: Option<InstanceId>,
    /// The name of its subnet.
    #[schema(value_type = String)]
    pub subnet: Spanned<String>,
    /// MAC address of the interface; a locally administered one is chosen when left out.
    #[schema(value_type = Option<String>, example = "0a:ca:05:9c:fc:14")]
    pub mac: Option<Spanned<MacAddr>>,
    /// IPv4 addresses assigned to the interface, the first is its primary one. When left out, one is chosen in a subnet
    /// that has IPv4.
    #[schema(value_type = Option<Vec<String>>)]
    pub ipv4: Option<Vec<Spanned<std::net::Ipv4Addr>>>,
    /// IPv6 addresses assigned to the interface. When left out, one is chosen in a subnet that has IPv6; `[]` for none.
    #[schema(value_type = Option<Vec<String>>)]
    pub ipv6: Option<Vec<Spanned<std::net::Ipv6Addr>>>,
    /// Delegated prefixes, /28 and /80.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub prefixes: Vec<Spanned<AddressOrPrefix>>,
    /// The source/destination check: whether the interface may send from, and receive for, its own addresses only.
    #[serde(default = "yes")]
    pub source_dest_check: bool,
    /// The names of its security groups, `default` for that of its VPC, which it has when this is left out.
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Vec<Spanned<String>>>,
    /// The MTU of the interface and of the host; the profile's when left out.
    pub mtu: Option<u16>,
    /// The offset of the host's NTP time from the machine's clock, such as `2s` or `-250ms`; positive is ahead.
    pub ntp_skew: Option<Skew>,
    /// How much the interface may send and receive; without limit when left out.
    pub allowances: Option<Allowances>,
    /// Seconds for which idle connections are tracked; the profile's when left out.
    pub tracking: Option<TrackingTimeouts>,
    /// Metadata of the host in addition to what the network determines.
    pub metadata: Option<MetadataChange>,
    /// The tags that the instance is made with; `tags` are those of its interface.
    #[serde(default)]
    pub instance_tags: Tags,
    /// The name of the interface, where it differs from the instance's.
    #[schema(value_type = Option<String>)]
    pub interface: Option<Spanned<String>>,
    /// Free text about the interface.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: Tags,
    /// How the host gets its addresses.
    #[serde(default)]
    pub configure: Configure,
    /// How the host generates its link-local address.
    #[serde(default)]
    pub link_local: LinkLocal,
    /// Whether the host's kernel accepts Router Advertisements.
    #[serde(default = "yes")]
    pub accept_ra: bool,
    /// Whether the host's kernel does duplicate address detection for IPv6, which takes 1 to 2 s.
    #[serde(default = "yes")]
    pub dad: bool,
    /// What the host's programs may do through the API, at `/run/localvpc.sock`.
    #[serde(default)]
    pub api: ApiAccess,
}

impl InstanceTopology {
    /// Its network interface.
    pub fn network_interface(&self) -> InterfaceTopology {
        InterfaceTopology {
            id: None,
            subnet: self.subnet.clone(),
            mac: self.mac.clone(),
            ipv4: self.ipv4.clone(),
            ipv6: self.ipv6.clone(),
            prefixes: self.prefixes.clone(),
            source_dest_check: self.source_dest_check,
            groups: self.groups.clone(),
            mtu: self.mtu,
            ntp_skew: self.ntp_skew,
            allowances: self.allowances,
            tracking: self.tracking,
            metadata: self.metadata.clone(),
            description: self.description.clone(),
            tags: self.tags.clone(),
            attached_to: None,
        }
    }
}

impl Topology {
    /// Every network interface by name, those of instances included.
    pub fn network_interfaces(&self) -> impl Iterator<Item = (&str, Location, InterfaceTopology)> {
        let bare = self.interfaces.iter();
        let bare = bare.map(|(name, interface)| (name.as_str(), interface.referenced, interface.value.clone()));
        let of_instances = self.instances.iter().map(|(name, instance)| {
            let own = instance.value.interface.as_ref();
            let label = own.map_or(name.as_str(), |own| own.value.as_str());
            (label, instance.referenced, instance.value.network_interface())
        });
        of_instances.chain(bare)
    }

    /// The name of the interface that a route's `via` means: an interface, or an instance's.
    pub fn interface_behind<'t>(&'t self, via: &'t str) -> Option<&'t str> {
        let own = |instance: &'t Spanned<InstanceTopology>| {
            let own = instance.value.interface.as_ref();
            own.map(|own| own.value.as_str())
        };
        let named = self.instances.values().any(|instance| own(instance) == Some(via));
        if named || self.interfaces.contains_key(via) {
            return Some(via);
        }
        Some(own(self.instances.get(via)?).unwrap_or(via))
    }
}

/// How a host gets its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Configure {
    /// Configured when it starts, as by DHCP: IPv4 with the subnet's prefix length and a default route, IPv6 as /128;
    /// IPv6 routes come from Router Advertisements.
    #[default]
    Static,
    /// It starts with its link-local address only.
    None,
}

/// How a host generates its link-local address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkLocal {
    /// From its MAC address (RFC 4291, appendix A).
    #[default]
    Eui64,
    /// From a secret (RFC 7217), the default of several network managers.
    StablePrivacy,
    /// None.
    None,
}

fn yes() -> bool {
    true
}

/// Reads a file with a topology alone.
pub fn read_topology(name: &str, text: &str) -> Result<Topology, FileError> {
    let mut topology: Topology = crate::file::read(name, text)?;
    topology.place_outside();
    let mut mistakes = check_topology(&topology, &Scope::default());
    if mistakes.is_empty() {
        return Ok(topology);
    }
    mistakes.sort_by_key(|mistake| mistake.offset);
    Err(FileError::new(name, text, mistakes))
}

read_by_forms!(ProfileForm);

impl Forms<'_> for ProfileForm {
    const EXPECTED: &'static str = "the name of a profile, or a mapping with `base` and `overrides`";
    type Item = Never;
    type Mapping = ChangedProfile;

    fn from_form(form: Form<Never, ChangedProfile>, place: Location) -> Option<Result<Self, String>> {
        match form {
            Form::Word(name) => Some(Ok(Self {
                spec: ProfileSpec::Name(name),
                place,
            })),
            Form::Mapping(changed) => Some(Ok(Self {
                spec: ProfileSpec::Changed(changed),
                place,
            })),
            Form::Number(_) | Form::List(_) => None,
        }
    }
}
