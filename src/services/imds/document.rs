//! Defines the data behind an instance's metadata. An empty list or `None` is a key that does not exist, as on EC2,
//! never an empty value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::{Ipv4Net, Ipv6Net};

use crate::datapath::faults::MetadataFault;
use crate::mapping::InterfaceIndex;
use crate::wire::MacAddr;

/// The source of the metadata.
pub trait MetadataSource: Send + Sync + 'static {
    /// The instance that an interface is attached to now; `None` where there is none.
    fn instance(&self, interface: InterfaceIndex) -> Option<Arc<Instance>>;

    /// The metadata fault that acts on an interface and path, if any.
    fn fault(&self, _interface: InterfaceIndex, _path: &[&str]) -> Option<MetadataFault> {
        None
    }
}

/// The asking interface, which the caller puts into a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The interface that the request came in by. It alone determines whose metadata is served.
    pub interface: InterfaceIndex,
    /// The address that the request was sent to, 169.254.169.254 or `fd00:ec2::254`.
    pub to: IpAddr,
}

/// The settings that EC2 calls metadata options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Whether anything is answered; 403 otherwise.
    pub http_endpoint: bool,
    /// Whether requests without a token are answered (IMDSv1); 401 otherwise.
    pub tokens_required: bool,
    /// TTL or hop limit of the packets that carry a token, 1..=64.
    pub hop_limit: u8,
    /// Whether `fd00:ec2::254` answers too.
    pub http_protocol_ipv6: bool,
    /// Whether `tags/instance/` is shown.
    pub instance_tags: bool,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            http_endpoint: true,
            tokens_required: false,
            hop_limit: 1,
            http_protocol_ipv6: true,
            instance_tags: true,
        }
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub instance_id: String,
    /// `r-…`.
    pub reservation_id: String,
    /// `ami-…`.
    pub ami_id: String,
    /// Its index in its launch.
    pub ami_launch_index: u32,
    /// As in `t3.micro`.
    pub instance_type: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Twelve digits.
    pub account_id: String,
    /// As in `eu-central-1`.
    pub region: String,
    /// As in `eu-central-1a`.
    pub availability_zone: String,
    /// As in `euc1-az2`.
    pub availability_zone_id: Option<String>,
    /// As in `aws`.
    pub partition: String,
    /// As in `amazonaws.com`.
    pub service_domain: String,
    /// When it was launched.
    pub launched: SystemTime,
    /// Names of its block devices, as in (`ami`, `/dev/xvda`).
    pub block_devices: Vec<(String, String)>,
    /// Keys that may log in.
    pub public_keys: Vec<PublicKey>,
    /// Its role, if it has one.
    pub role: Option<Role>,
    /// Key and value.
    pub tags: Vec<(String, String)>,
    /// Its user data.
    pub user_data: Option<Vec<u8>>,
    /// Its interfaces; device 0 is the primary one.
    pub interfaces: Vec<Interface>,
    /// How its metadata is served.
    pub options: MetadataOptions,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Its name.
    pub name: String,
    /// A line of `authorized_keys`.
    pub openssh: String,
}

/// An instance profile and the credentials of its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The role's name, the last part of its path.
    pub name: String,
    /// `arn:aws:iam::…:instance-profile/…`.
    pub instance_profile_arn: String,
    /// `AIPA…`.
    pub instance_profile_id: String,
    /// `ASIA…`.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// The session's token.
    pub token: String,
    /// When they were made.
    pub last_updated: SystemTime,
    /// When they end.
    pub expiration: SystemTime,
}

/// A network interface of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its MAC.
    pub mac: MacAddr,
    /// `eni-…`.
    pub interface_id: String,
    /// Its device index, 0 for the primary one.
    pub device_number: u32,
    /// Its network card index, where the instance reports cards.
    pub network_card: Option<u32>,
    /// IPv4 addresses, the primary one first.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6s: Vec<Ipv6Addr>,
    /// Delegated IPv4 prefixes.
    pub ipv4_prefixes: Vec<Ipv4Net>,
    /// Delegated IPv6 prefixes.
    pub ipv6_prefixes: Vec<Ipv6Net>,
    /// Public IPv4 address and the private one behind it.
    pub public_ipv4s: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// `subnet-…`.
    pub subnet_id: String,
    /// The subnet's IPv4 range.
    pub subnet_ipv4: Option<Ipv4Net>,
    /// The subnet's IPv6 ranges.
    pub subnet_ipv6: Vec<Ipv6Net>,
    /// `vpc-…`.
    pub vpc_id: String,
    /// The VPC's IPv4 ranges, the first one first.
    pub vpc_ipv4: Vec<Ipv4Net>,
    /// The VPC's IPv6 ranges.
    pub vpc_ipv6: Vec<Ipv6Net>,
    /// Identifier and name of its security groups.
    pub security_groups: Vec<(String, String)>,
    /// The account that owns it.
    pub owner_id: String,
    /// Its private DNS name, as in `ip-10-0-1-10.eu-central-1.compute.internal`.
    pub local_hostname: Option<String>,
    /// Its public DNS name.
    pub public_hostname: Option<String>,
}

impl Instance {
    /// The interface at device 0, or the lowest there is.
    pub fn primary(&self) -> Option<&Interface> {
        self.interfaces.iter().min_by_key(|interface| interface.device_number)
    }
}
