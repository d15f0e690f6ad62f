//! Defines the DHCP servers of a profile: what they lease, for how long, and which requests they do not answer.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::duration::WireLifetime;

/// The DHCP servers at the router's addresses of every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DhcpPolicy {
    /// DHCPv4.
    pub v4: Dhcpv4Policy,
    /// DHCPv6.
    pub v6: Dhcpv6Policy,
    /// Requests per second and port, both versions together, above which they are dropped as `responder_rate_limited`.
    /// 0: no limit. Unknown for EC2.
    pub answers_per_second: u32,
}

/// The behaviour of the DHCPv4 server. It leases the interface's primary address and no other (VPC guide, "DHCP option
/// sets").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Dhcpv4Policy {
    /// Whether there is one; without it, requests are frames like any other.
    pub enabled: bool,
    /// Option 51. Observed on EC2: 3600 s.
    pub lease_time: WireLifetime,
    /// Option 26 in octets, for clients that request it; 0 omits it. Observed on EC2: 9001.
    pub interface_mtu: u16,
    /// The server's own address and identifier (option 54); null for the gateway's.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub server: Option<Ipv4Addr>,
    /// The name server sent in place of AmazonProvidedDNS (option 6); null for the VPC's resolver.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub name_server: Option<Ipv4Addr>,
    /// The time server sent where the option set names none (option 42); null for none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "169.254.169.254"))]
    pub ntp_server: Option<Ipv4Addr>,
    /// Routes in option 121 (RFC 3442) and Microsoft's 249, for clients that request them: `gateway` (on-link to the
    /// gateway), `default` (by the gateway), or an address (to it, by the gateway). None on EC2.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, example = json!(["gateway", "default"])))]
    pub classless_routes: Vec<LeasedRoute>,
    /// The address in option 245, requested or not: Azure's wire server. Null for none.
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>, example = "168.63.129.16"))]
    pub option_245: Option<Ipv4Addr>,
    /// Whether a host of a subnet without IPv4 gets a link-local address as a /32, from 169.254.0.1, by which it
    /// reaches the link-local services. Observed on EC2.
    pub ipv6_only_lease: bool,
    /// The answer to a client that requests or renews an address other than the primary one. Unknown for EC2.
    pub foreign_address: ForeignAddress,
    /// The answer to a client that requests such an address after a reboot (RFC 2131, INIT-REBOOT). Unknown for EC2.
    pub init_reboot: ForeignAddress,
}

/// A route in a lease, as seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum LeasedRoute {
    /// To the gateway, which is on the link.
    Gateway,
    /// The default route, by the gateway.
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

/// The answer to a DHCPv4 client about an address that is not the interface's primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ForeignAddress {
    /// DHCPNAK: the client starts over at once.
    Nak,
    /// None: the client tries until it gives up.
    Silent,
}

/// The behaviour of the DHCPv6 server. It leases the interface's first IPv6 address as a /128 and its delegated prefix.
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
    /// The answer to a Solicit with rapid commit.
    pub rapid_commit: RapidCommit,
    /// Whether a /80 that is delegated to the interface is leased to it (VPC guide, "DHCP option sets").
    pub prefix_delegation: bool,
    /// Whether a client that requests an address only gets the delegated prefix too, in an IA_PD with an identifier
    /// that is not the client's. Observed on EC2 (systemd#20803).
    pub unasked_prefix: bool,
    /// Which hosts get name servers and domains.
    pub names: Dhcpv6Names,
}

/// The answer to a DHCPv6 Solicit with the Rapid Commit option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RapidCommit {
    /// A Reply.
    Honour,
    /// An Advertise, as without the option.
    Ignore,
    /// None, as on EC2 in 2017 (systemd#5845).
    Drop,
}

/// Which hosts get name servers and domains by DHCPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Dhcpv6Names {
    /// Only hosts of subnets without IPv4 (VPC guide, "DHCP option sets").
    Ipv6OnlySubnets,
    /// Every host that requests them.
    Everywhere,
    /// None.
    Never,
}
