//! A subnet's DHCP servers: what they lease, for how long, and whom they leave without an answer.

use serde::{Deserialize, Serialize};

/// The DHCP servers that stand at the router's addresses of every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DhcpPolicy {
    /// DHCPv4.
    pub v4: Dhcpv4Policy,
    /// DHCPv6.
    pub v6: Dhcpv6Policy,
    /// Requests per second and port, both versions together, over which they are dropped as `responder_rate_limited`.
    /// 0: no limit. Not known of EC2.
    pub answers_per_second: u32,
}

/// What the DHCPv4 server does. It leases the interface's primary address and no other (VPC guide, "DHCP option sets").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Dhcpv4Policy {
    /// Whether there is one; without it, requests are frames like any other.
    pub enabled: bool,
    /// Option 51 in seconds. Observed on EC2: 3600.
    pub lease_time: u32,
    /// Option 26 in octets, for clients that ask for it; 0 leaves it out. Observed on EC2: 9001.
    pub interface_mtu: u16,
    /// What a client hears that wants or renews an address other than the primary one. Not known of EC2.
    pub foreign_address: ForeignAddress,
    /// What a client hears that wants such an address back after a reboot (RFC 2131, INIT-REBOOT). Not known of EC2.
    pub init_reboot: ForeignAddress,
}

/// What a DHCPv4 client hears about an address that is not the interface's primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ForeignAddress {
    /// DHCPNAK: it begins anew at once.
    Nak,
    /// Nothing: it tries until it gives up.
    Silent,
}

/// What the DHCPv6 server does. It leases the interface's first IPv6 address as a /128 and its delegated prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Dhcpv6Policy {
    /// Whether there is one; without it, requests are frames like any other.
    pub enabled: bool,
    /// T1 in seconds. Observed on EC2 in 2019: 75.
    pub renewal_time: u32,
    /// T2 in seconds. Observed on EC2 in 2019: 120.
    pub rebinding_time: u32,
    /// Seconds. Observed on EC2 since 2022: 140. A DHCP option set can say otherwise.
    pub preferred_lifetime: u32,
    /// Seconds. Observed on EC2 since 2022: 450, always 310 more than the preferred lifetime.
    pub valid_lifetime: u32,
    /// What becomes of a Solicit that asks for a Reply at once.
    pub rapid_commit: RapidCommit,
    /// Whether a /80 that is delegated to the interface is leased to it (VPC guide, "DHCP option sets").
    pub prefix_delegation: bool,
    /// Who is told of name servers and domains.
    pub names: Dhcpv6Names,
}

/// What becomes of a DHCPv6 Solicit with the Rapid Commit option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RapidCommit {
    /// It gets a Reply.
    Honour,
    /// It gets an Advertise, as one without the option does.
    Ignore,
    /// It gets nothing, as on EC2 in 2017 (systemd#5845).
    Drop,
}

/// Who is told of name servers and domains by DHCPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Dhcpv6Names {
    /// Only hosts of subnets without IPv4 (VPC guide, "DHCP option sets").
    Ipv6OnlySubnets,
    /// Every host that asks.
    Everywhere,
    /// Nobody.
    Never,
}
