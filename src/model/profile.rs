//! A network's habits are data: what differs between AWS, its Xen years and a conventional LAN is a field here, and the
//! data path asks the field, never the name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::duration;
use crate::wire::MacAddr;

mod others;

/// How the fabric behaves towards every interface of a VPC. Facts and their confidence: `docs/fidelity.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The built-in profile that it was made from; overrides keep it.
    pub name: String,
    /// How a frame finds its port.
    pub delivery: Delivery,
    /// Whether a frame must carry the MAC of the interface that sends it.
    pub source_mac_check: bool,
    /// Whether the per-interface source/destination check is enforced at all.
    pub source_dest_check: bool,
    /// Largest IP packet, in bytes, that an interface may receive.
    pub mtu: u16,
    /// Prefix length that a host is told for its IPv4 address; null for the subnet's own. With 32 the host sees no neighbor
    /// but the gateway.
    pub host_prefix_length: Option<u8>,
    /// Who answers ARP and Neighbor Solicitations, and for what.
    pub neighbor: NeighborPolicy,
    /// The subnet's router.
    pub router: RouterPolicy,
    /// The subnet's DHCP servers.
    pub dhcp: DhcpPolicy,
}

/// How a frame finds its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// By the mapping table alone: nothing is flooded, no group address is delivered.
    Mapping,
    /// As a learning switch does: by the source addresses that it saw, and to everybody when it has not.
    Learning,
}

/// What the mapping service says, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NeighborPolicy {
    /// For which addresses a question is answered at all.
    pub scope: NeighborScope,
    /// Which MAC the answer names.
    pub resolved_mac: ResolvedMac,
    /// Which link-local addresses resolve.
    pub link_locals: LinkLocals,
    /// Whether somebody who asks for an address of its own hears an answer (which makes duplicate address detection fail).
    pub own_address: Answer,
    /// A probe (ARP sender 0.0.0.0, solicitation from `::`) for an address assigned to another interface.
    pub probe_for_another: Answer,
    /// An ARP request whose sender address the asker does not own.
    pub foreign_sender: Answer,
    /// A request sent to one MAC instead of to the group: answered by the fabric, or left to the host that it names.
    pub unicast_request: UnicastRequest,
    /// Whether the fabric tells the ports of a subnet that an address has moved.
    pub announce_on_move: bool,
    /// Answers (ARP, ND) per second and port, over which requests are dropped as `responder_rate_limited`. 0: no limit.
    pub answers_per_second: u32,
}

/// For which addresses the fabric answers ARP requests and Neighbor Solicitations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NeighborScope {
    /// The router's and those of the subnet that an interface has.
    Assigned,
    /// The router's alone.
    Router,
    /// Every address, whether anybody has it or not and wherever it lies; the asker's own by its own rule.
    Any,
}

/// Which MAC an answer about an interface's address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedMac {
    /// That of the interface.
    Owner,
    /// The router's, so that every frame goes to the router.
    Router,
}

/// Whether a question is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The fabric replies.
    Answer,
    /// The fabric says nothing.
    Silent,
}

/// Which link-local addresses the mapping service resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LinkLocals {
    /// Every EUI-64 one, whether anybody has it or not, by computing the MAC from it.
    AnyEui64,
    /// Only the EUI-64 ones of interfaces of the subnet.
    Assigned,
    /// None but the router's.
    None,
}

/// Who answers a unicast ARP request or Neighbor Solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnicastRequest {
    /// The fabric, from the mapping table.
    Answer,
    /// The host whose MAC it is sent to.
    Forward,
}

/// The implicit router of every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouterPolicy {
    /// Its MAC: `generated` (each subnet's own), `from-ipv4` (42:01 and the octets of its IPv4 address), or one MAC for every
    /// subnet. A subnet that is made with a MAC keeps that one.
    #[schema(value_type = String, example = "generated")]
    pub mac: RouterMac,
    /// How it finds the station behind an address that it delivers to.
    pub resolution: Resolution,
    /// Whether it has the link-local address that is computed from its MAC. It then speaks from that one; otherwise from
    /// the fixed one.
    pub eui64_link_local: bool,
    /// Whether it answers echo requests sent to its addresses (and, where groups are delivered, to all-nodes and all-routers).
    pub answers_echo: bool,
    /// Whether a routed packet loses a hop.
    pub ttl: Ttl,
    /// The IPv4 gateway also answers for the resolver (base + 2) and the link-local services.
    pub service_addresses: bool,
    /// Packets to the resolver and the link-local services per second and port, over which they are dropped as
    /// `link_local_allowance` (VPC guide, "DNS attributes": 1024, not adjustable). 0: no limit.
    pub service_packets_per_second: u32,
    /// ICMP errors (fragmentation needed, packet too big) per second and port. 0: no limit.
    pub errors_per_second: u32,
    /// Further link-local address of every router, beside the EUI-64 one.
    #[schema(value_type = Option<String>, example = "fe80:ec2::1")]
    pub fixed_link_local: Option<std::net::Ipv6Addr>,
    /// Router Advertisements.
    pub advertisement: AdvertisementPolicy,
}

/// Where the MAC of a subnet's router comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouterMac {
    /// Made up for each subnet.
    Generated,
    /// 42:01 and the four octets of the subnet's IPv4 gateway; made up where the subnet has no IPv4.
    FromIpv4,
    /// The same in every subnet.
    Fixed(MacAddr),
}

/// How a router finds the station behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resolution {
    /// It knows, by the mapping table.
    Mapping,
    /// It asks the subnet with ARP and Neighbor Solicitations and believes what stations say, as a router of one's own does.
    /// Only a learning switch carries the question, so `delivery` must be `learning`.
    Ask,
}

/// What happens to the hop count of a packet that the router passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ttl {
    /// It stays: the router does not show in a traceroute.
    Untouched,
    /// It goes down by one.
    Decrement,
}

/// The Router Advertisements of a subnet that has IPv6; a subnet without has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdvertisementPolicy {
    /// Whether there are any, asked for or not.
    pub sent: bool,
    /// Time between two unsolicited ones, and from the port's coming up to the first.
    #[serde(with = "duration")]
    #[schema(value_type = String, example = "10s")]
    pub interval: Duration,
    /// Seconds that the router may be used as a default router.
    pub router_lifetime: u16,
    /// Hop limit that hosts shall use; 0 leaves it to them.
    pub hop_limit: u8,
    /// M: addresses come by DHCPv6.
    pub managed: bool,
    /// O: other settings come by DHCPv6.
    pub other: bool,
    /// L of the one prefix: the /64 is on-link.
    pub on_link: bool,
    /// A of the one prefix: hosts make an address of their own in it.
    pub autonomous: bool,
    /// Valid and preferred lifetime of the prefix in seconds; 4294967295 is for ever.
    pub prefix_lifetime: u32,
    /// Whether the prefix information option is there.
    pub prefix_information: bool,
    /// Prefix length of a route information option (RFC 4191) that sends the subnet's prefix to the router; null for none.
    /// Its lifetime is `prefix_lifetime`.
    pub route_length: Option<u8>,
    /// Whether the source link-layer address option is there (it makes the message 56 bytes).
    pub source_link_layer: bool,
    /// IPv6 destination of an answer to a Router Solicitation.
    pub solicited_destination: AdvertisementDestination,
    /// IPv6 destination of the unsolicited ones; in every case the frame goes to the port's own MAC.
    pub unsolicited_destination: AdvertisementDestination,
    /// Answers to Router Solicitations per second and port. 0: no limit.
    pub answers_per_second: u32,
}

/// To which IPv6 address a Router Advertisement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdvertisementDestination {
    /// The first global address assigned to the interface, configured there or not; all-nodes while it has none.
    Assigned,
    /// The EUI-64 link-local address of the interface.
    LinkLocal,
    /// `ff02::1`.
    AllNodes,
}

/// The DHCP servers that stand at the router's addresses of every subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignAddress {
    /// DHCPNAK: it begins anew at once.
    Nak,
    /// Nothing: it tries until it gives up.
    Silent,
}

/// What the DHCPv6 server does. It leases the interface's first IPv6 address as a /128 and its delegated prefix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dhcpv6Names {
    /// Only hosts of subnets without IPv4 (VPC guide, "DHCP option sets").
    Ipv6OnlySubnets,
    /// Every host that asks.
    Everywhere,
    /// Nobody.
    Never,
}

/// A profile that does not exist, or an override that does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has the name.
    #[error("there is no profile '{name}': use one of {}", Profile::NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// An override names no field, or has a wrong value.
    #[error("profile '{name}': {problem}")]
    Override {
        /// The profile that was to be changed.
        name: String,
        /// What serde says of the field.
        problem: String,
    },
}

/// A profile as it is written in files and requests: a name, or a name with fields that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ProfileSpec {
    /// A built-in profile as it is.
    Name(String),
    /// A built-in profile with overrides.
    Changed(ChangedProfile),
}

/// A built-in profile and the fields in which this one differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedProfile {
    /// The built-in profile to start from.
    pub base: String,
    /// The fields that differ, nested as in `GET /v1/profiles`.
    #[schema(value_type = Object)]
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

impl Default for ProfileSpec {
    fn default() -> Self {
        Self::Name("aws".to_owned())
    }
}

impl ProfileSpec {
    /// The profile meant.
    pub fn resolve(&self) -> Result<Profile, ProfileError> {
        match self {
            Self::Name(name) => Profile::named(name),
            Self::Changed(changed) => Profile::named(&changed.base)?.with_overrides(&changed.overrides),
        }
    }

    /// A profile as a request or a file would write it: its name, or its name and the fields in which it differs.
    pub fn of(profile: &Profile) -> Self {
        let name = Self::Name(profile.name.clone());
        let Ok(base) = Profile::named(&profile.name) else {
            return name;
        };
        if base == *profile {
            return name;
        }
        match (serde_json::to_value(base), serde_json::to_value(profile)) {
            (Ok(Value::Object(base)), Ok(Value::Object(this))) => Self::Changed(ChangedProfile {
                base: profile.name.clone(),
                overrides: difference(&base, &this),
            }),
            _ => name,
        }
    }
}

/// The fields of `this` that differ from those of `base`, nested as they are.
fn difference(base: &Map<String, Value>, this: &Map<String, Value>) -> Map<String, Value> {
    let mut found = Map::new();
    for (key, value) in this {
        match (base.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = difference(old, new);
                if !inner.is_empty() {
                    found.insert(key.clone(), Value::Object(inner));
                }
            }
            (old, new) if old != Some(new) => drop(found.insert(key.clone(), new.clone())),
            _ => {}
        }
    }
    found
}

impl Profile {
    /// The built-in profiles.
    pub const NAMES: [&'static str; 6] = ["aws", "aws-xen", "lan", "onlink-64", "gcp", "azure"];

    /// A built-in profile by name.
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        match name {
            "aws" => Ok(Self::aws()),
            "aws-xen" => Ok(Self::aws_xen()),
            "lan" => Ok(Self::lan()),
            "onlink-64" => Ok(Self::onlink_64()),
            "gcp" => Ok(Self::gcp()),
            "azure" => Ok(Self::azure()),
            _ => Err(ProfileError::Unknown { name: name.to_owned() }),
        }
    }

    /// A VPC on today's EC2.
    pub fn aws() -> Self {
        Self {
            name: "aws".to_owned(),
            delivery: Delivery::Mapping,
            source_mac_check: true,
            source_dest_check: true,
            mtu: 9001,
            host_prefix_length: None,
            neighbor: NeighborPolicy {
                scope: NeighborScope::Assigned,
                resolved_mac: ResolvedMac::Owner,
                link_locals: LinkLocals::AnyEui64,
                own_address: Answer::Silent,
                // Nobody has published what EC2 does; Linux then marks the address `dadfailed`, as it should.
                probe_for_another: Answer::Answer,
                // Unknown on EC2. A host that asks with another interface's address still hears the truth.
                foreign_sender: Answer::Answer,
                unicast_request: UnicastRequest::Answer,
                announce_on_move: true,
                answers_per_second: 10_000,
            },
            router: RouterPolicy {
                mac: RouterMac::Generated,
                resolution: Resolution::Mapping,
                eui64_link_local: true,
                answers_echo: false,
                ttl: Ttl::Untouched,
                service_addresses: true,
                service_packets_per_second: 1024,
                errors_per_second: 100,
                fixed_link_local: Some(std::net::Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1)),
                advertisement: AdvertisementPolicy {
                    sent: true,
                    interval: Duration::from_secs(10),
                    router_lifetime: 1800,
                    hop_limit: 0,
                    managed: true,
                    other: false,
                    on_link: true,
                    autonomous: false,
                    prefix_lifetime: u32::MAX,
                    prefix_information: true,
                    route_length: None,
                    source_link_layer: true,
                    solicited_destination: AdvertisementDestination::Assigned,
                    unsolicited_destination: AdvertisementDestination::AllNodes,
                    answers_per_second: 10,
                },
            },
            dhcp: DhcpPolicy {
                v4: Dhcpv4Policy {
                    enabled: true,
                    lease_time: 3600,
                    interface_mtu: 9001,
                    foreign_address: ForeignAddress::Nak,
                    init_reboot: ForeignAddress::Nak,
                },
                v6: Dhcpv6Policy {
                    enabled: true,
                    renewal_time: 75,
                    rebinding_time: 120,
                    preferred_lifetime: 140,
                    valid_lifetime: 450,
                    rapid_commit: RapidCommit::Honour,
                    prefix_delegation: true,
                    names: Dhcpv6Names::Ipv6OnlySubnets,
                },
                answers_per_second: 20,
            },
        }
    }

    /// EC2 as its users met it between 2014 and 2018: a moved address is not announced, a hasty Solicit is not answered.
    pub fn aws_xen() -> Self {
        let mut profile = Self::aws();
        profile.name = "aws-xen".to_owned();
        profile.neighbor.announce_on_move = false;
        profile.dhcp.v6.rapid_commit = RapidCommit::Drop;
        profile
    }

    /// This profile with some fields changed, nested as they are written; the error names the field.
    pub fn with_overrides(&self, overrides: &serde_json::Map<String, serde_json::Value>) -> Result<Self, ProfileError> {
        let wrong = |problem: String| ProfileError::Override {
            name: self.name.clone(),
            problem,
        };
        let mut value = serde_json::to_value(self).map_err(|e| wrong(e.to_string()))?;
        merge(&mut value, overrides, "").map_err(wrong)?;
        let changed: Self = serde_json::from_value(value).map_err(|e| wrong(e.to_string()))?;
        changed.check().map_err(wrong)?;
        Ok(changed)
    }

    /// What no network can be: each problem names its fields and what to write instead.
    fn check(&self) -> Result<(), String> {
        if self.router.resolution == Resolution::Ask && self.delivery != Delivery::Learning {
            return Err(
                "'router.resolution' is 'ask', which no station hears: set 'delivery' to 'learning'".to_owned(),
            );
        }
        if !self.router.eui64_link_local && self.router.fixed_link_local.is_none() {
            return Err(
                "the router has no link-local address: set 'router.eui64_link_local' or \
                        'router.fixed_link_local'"
                    .to_owned(),
            );
        }
        if self
            .router
            .fixed_link_local
            .is_some_and(|address| !address.is_unicast_link_local())
        {
            return Err("'router.fixed_link_local' is not a link-local address: write one in fe80::/10".to_owned());
        }
        for (field, length, longest) in [
            ("host_prefix_length", self.host_prefix_length, 32),
            (
                "router.advertisement.route_length",
                self.router.advertisement.route_length,
                128,
            ),
        ] {
            if length.is_some_and(|length| length > longest) {
                return Err(format!("'{field}' is longer than an address: write at most {longest}"));
            }
        }
        Ok(())
    }
}

impl RouterMac {
    /// The MAC for a subnet with this IPv4 gateway; `None` where one is to be made up.
    pub fn of(self, gateway: Option<std::net::Ipv4Addr>) -> Option<MacAddr> {
        match self {
            Self::Generated => None,
            Self::FromIpv4 => gateway.map(|gateway| {
                let [a, b, c, d] = gateway.octets();
                MacAddr([0x42, 0x01, a, b, c, d])
            }),
            Self::Fixed(mac) => Some(mac),
        }
    }
}

impl From<RouterMac> for String {
    fn from(mac: RouterMac) -> Self {
        match mac {
            RouterMac::Generated => "generated".to_owned(),
            RouterMac::FromIpv4 => "from-ipv4".to_owned(),
            RouterMac::Fixed(mac) => mac.to_string(),
        }
    }
}

impl TryFrom<String> for RouterMac {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "generated" => Ok(Self::Generated),
            "from-ipv4" => Ok(Self::FromIpv4),
            other => match other.parse() {
                Ok(mac) if mac != MacAddr::ZERO && !MacAddr::is_multicast(mac) => Ok(Self::Fixed(mac)),
                _ => Err(format!(
                    "'{other}' is no router's MAC: write generated, from-ipv4, or one host's MAC such as 12:34:56:78:9a:bc"
                )),
            },
        }
    }
}

/// Lays `overrides` over `value`, field by field; a field that is not there is an error that names its path.
fn merge(
    value: &mut serde_json::Value,
    overrides: &serde_json::Map<String, serde_json::Value>,
    path: &str,
) -> Result<(), String> {
    for (key, new) in overrides {
        let here = format!("{path}{key}");
        if here == "name" {
            return Err("'name' cannot be overridden: it says which profile this one was made from".to_owned());
        }
        let known: Vec<String> = value
            .as_object()
            .map(|o| o.keys().cloned().collect())
            .unwrap_or_default();
        let Some(old) = value.get_mut(key) else {
            return Err(format!(
                "there is no field '{here}': the fields there are {}",
                known.join(", ")
            ));
        };
        match (old.is_object(), new) {
            (true, serde_json::Value::Object(inner)) => merge(old, inner, &format!("{here}."))?,
            (true, _) => return Err(format!("'{here}' holds fields of its own: write an object")),
            (false, new) => *old = new.clone(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(text: &str) -> serde_json::Map<String, serde_json::Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_profile_has_its_name_and_survives_being_written() {
        for name in Profile::NAMES {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            let text = serde_json::to_string(&profile).unwrap();
            assert_eq!(serde_json::from_str::<Profile>(&text).unwrap(), profile);
        }
    }

    #[test]
    fn an_override_changes_one_field_and_leaves_its_neighbors() {
        let changed = Profile::aws()
            .with_overrides(&overrides(r#"{"router": {"advertisement": {"interval": "2s"}}}"#))
            .unwrap();
        assert_eq!(changed.router.advertisement.interval, Duration::from_secs(2));
        assert_eq!(changed.router.advertisement.router_lifetime, 1800);
        assert_eq!(changed.name, "aws");
    }

    #[test]
    fn a_profile_is_written_as_the_request_that_makes_it() {
        let text = r#"{"mtu": 1500, "router": {"advertisement": {"interval": "2s"}}}"#;
        let changed = ChangedProfile {
            base: "aws".into(),
            overrides: overrides(text),
        };
        for spec in [ProfileSpec::Name("lan".into()), ProfileSpec::Changed(changed)] {
            assert_eq!(ProfileSpec::of(&spec.resolve().unwrap()), spec);
        }
    }

    #[test]
    fn a_wrong_override_is_told_with_the_path_of_its_field() {
        let cases = [
            (
                r#"{"router": {"advertisment": {}}}"#,
                "there is no field 'router.advertisment'",
            ),
            (r#"{"router": {"ttl": "sideways"}}"#, "sideways"),
            (r#"{"router": true}"#, "'router' holds fields of its own"),
            (r#"{"name": "mine"}"#, "'name' cannot be overridden"),
            (
                r#"{"router": {"advertisement": {"interval": "2"}}}"#,
                "is not a duration",
            ),
            (r#"{"router": {"resolution": "ask"}}"#, "set 'delivery' to 'learning'"),
            (r#"{"router": {"mac": "ff:ff:ff:ff:ff:ff"}}"#, "is no router's MAC"),
            (
                r#"{"router": {"eui64_link_local": false, "fixed_link_local": null}}"#,
                "the router has no link-local address",
            ),
            (
                r#"{"router": {"fixed_link_local": "2001:db8::1"}}"#,
                "write one in fe80::/10",
            ),
            (r#"{"host_prefix_length": 33}"#, "write at most 32"),
        ];
        for (text, expected) in cases {
            let error = Profile::aws().with_overrides(&overrides(text)).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(
            Profile::named("azure-ish")
                .unwrap_err()
                .to_string()
                .contains("aws, aws-xen, lan, onlink-64, gcp, azure")
        );
    }
}
