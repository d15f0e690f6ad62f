//! A subnet's DHCP servers: what they lease, for how long, and whom they leave without an answer.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::duration::WireLifetime;

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
    /// Option 51. Observed on EC2: 3600 s.
    pub lease_time: WireLifetime,
    /// Option 26 in octets, for clients that ask for it; 0 leaves it out. Observed on EC2: 9001.
    pub interface_mtu: u16,
    /// The address that the server speaks from and names itself by (option 54); null for the gateway's.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub server: Option<Ipv4Addr>,
    /// The name server that is told in the place of AmazonProvidedDNS (option 6); null for the VPC's resolver.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub name_server: Option<Ipv4Addr>,
    /// The time server that is told where the option set names none (option 42); null for none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub ntp_server: Option<Ipv4Addr>,
    /// Routes that are told by option 121 (RFC 3442) and by Microsoft's 249, to clients that ask for them: `gateway` (to the
    /// gateway, on the link), `default` (by the gateway), or an address (to it, by the gateway). None on EC2.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, example = json!(["gateway", "default"])))]
    pub classless_routes: Vec<LeasedRoute>,
    /// The address that is told by option 245, asked for or not: Azure's wire server. Null for none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "168.63.129.16"))]
    pub option_245: Option<Ipv4Addr>,
    /// Whether a host of a subnet without IPv4 gets a link-local address of its own as a /32, from 169.254.0.1, by which it
    /// reaches the link-local services. Observed on EC2.
    pub ipv6_only_lease: bool,
    /// What a client hears that wants or renews an address other than the primary one. Not known of EC2.
    pub foreign_address: ForeignAddress,
    /// What a client hears that wants such an address back after a reboot (RFC 2131, INIT-REBOOT). Not known of EC2.
    pub init_reboot: ForeignAddress,
}

/// A route that a lease tells, as seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LeasedRoute {
    /// To the gateway, which is on the link.
    Gateway,
    /// To everywhere, by the gateway.
    Default,
    /// To one address, by the gateway.
    Host(Ipv4Addr),
}

impl TryFrom<String> for LeasedRoute {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "gateway" => Ok(Self::Gateway),
            "default" => Ok(Self::Default),
            other => other
                .parse()
                .map(Self::Host)
                .map_err(|_| format!("'{text}' is no route of a lease: write gateway, default or an IPv4 address")),
        }
    }
}

impl From<LeasedRoute> for String {
    fn from(route: LeasedRoute) -> Self {
        match route {
            LeasedRoute::Gateway => "gateway".to_owned(),
            LeasedRoute::Default => "default".to_owned(),
            LeasedRoute::Host(address) => address.to_string(),
        }
    }
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
    /// T1. Observed on EC2 in 2019: 75 s.
    pub renewal_time: WireLifetime,
    /// T2. Observed on EC2 in 2019: 120 s.
    pub rebinding_time: WireLifetime,
    /// Observed on EC2 since 2022: 140 s. A DHCP option set can say otherwise.
    pub preferred_lifetime: WireLifetime,
    /// Observed on EC2 since 2022: 450 s, always 310 more than the preferred lifetime.
    pub valid_lifetime: WireLifetime,
    /// What becomes of a Solicit that asks for a Reply at once.
    pub rapid_commit: RapidCommit,
    /// Whether a /80 that is delegated to the interface is leased to it (VPC guide, "DHCP option sets").
    pub prefix_delegation: bool,
    /// Whether a client that asks for an address alone is told of the delegated prefix as well, in an IA_PD with an
    /// identifier that is not the client's. Observed on EC2 (systemd#20803).
    pub unasked_prefix: bool,
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
