//! Defines profiles: the differences between AWS, its Xen years and a conventional LAN are fields, and the data path
//! reads the field, never the profile's name.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::duration::{AdvertisementInterval, Delay, Remembered, RouterLifetime, WireLifetime};

mod dhcp;
mod firewall;
mod nat;
mod others;
mod router;

pub use dhcp::{DhcpPolicy, Dhcpv4Policy, Dhcpv6Names, Dhcpv6Policy, ForeignAddress, LeasedRoute, RapidCommit};
pub use firewall::{FirewallPolicy, TrackingPolicy};
pub use nat::NatPolicy;
pub use router::{AdvertisementDestination, AdvertisementPolicy, Resolution, RouterMac, RouterPolicy, Ttl};

/// The behaviour of the fabric towards every interface of a VPC. Facts and their confidence: `docs/fidelity.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The built-in profile that it is based on; overrides keep it.
    pub name: String,
    /// How a frame finds its port.
    pub delivery: Delivery,
    /// Whether a frame must carry the MAC of the interface that sends it.
    pub source_mac_check: bool,
    /// Whether the per-interface source/destination check is enforced at all.
    pub source_dest_check: bool,
    /// Largest IP packet, in bytes, that an interface may receive.
    pub mtu: u16,
    /// Prefix length of a host's IPv4 address in leases; null for the subnet's own. With 32 the host sees no neighbor
    /// but the gateway.
    pub host_prefix_length: Option<u8>,
    /// Answers to ARP and Neighbor Solicitations.
    pub neighbor: NeighborPolicy,
    /// The subnet's router.
    pub router: RouterPolicy,
    /// The subnet's DHCP servers.
    pub dhcp: DhcpPolicy,
    /// Security groups and network ACLs.
    pub firewall: FirewallPolicy,
    /// NAT gateways.
    #[serde(default)]
    pub nat: NatPolicy,
    /// How long instances and attachments take to come and go.
    pub instance: InstancePolicy,
}

/// How long what was asked for takes to come about. Nobody has published what EC2 takes; these are short, so that no test waits
/// for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct InstancePolicy {
    /// From `pending` to `running`.
    pub pending: Delay,
    /// From `stopping` to `stopped`: as long as programs have to end.
    pub stopping: Delay,
    /// From `shutting-down` to `terminated`.
    pub shutting_down: Delay,
    /// From `attaching` to `attached`: then the device is there.
    pub attaching: Delay,
    /// From `detaching` to the end of the attachment and its device.
    pub detaching: Delay,
}

impl Default for InstancePolicy {
    fn default() -> Self {
        Self {
            pending: const { Delay::constant(Duration::from_millis(300)) },
            stopping: const { Delay::constant(Duration::from_millis(700)) },
            shutting_down: const { Delay::constant(Duration::from_millis(700)) },
            attaching: Delay::default(),
            detaching: Delay::default(),
        }
    }
}

/// How a frame finds its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// By the mapping table alone: no flooding, no delivery to groups.
    Mapping,
    /// By a learning switch: by source addresses seen before, flooded otherwise.
    Learning,
}

/// The answers of the mapping service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NeighborPolicy {
    /// The addresses for which requests are answered.
    pub scope: NeighborScope,
    /// The MAC in the answer.
    pub resolved_mac: ResolvedMac,
    /// Which link-local addresses resolve.
    pub link_locals: LinkLocals,
    /// Whether a request for the asker's own address is answered (which makes duplicate address detection fail).
    pub own_address: Answer,
    /// A probe (ARP sender 0.0.0.0, solicitation from `::`) for an address assigned to another interface.
    pub probe_for_another: Answer,
    /// An ARP request whose sender address the asker does not own.
    pub foreign_sender: Answer,
    /// A unicast request: answered by the fabric, or left to the host that it is sent to.
    pub unicast_request: UnicastRequest,
    /// Whether the fabric announces a moved address to the ports of its subnet.
    pub announce_on_move: bool,
    /// How long after an address was taken from one interface its assignment to another is announced too, where moves
    /// are: as long as a neighbor may keep the former owner. Zero: only moves in one step are announced.
    pub announce_within: Remembered,
    /// Answers (ARP, ND) per second and port, above which requests are dropped as `responder_rate_limited`. 0: no
    /// limit.
    pub answers_per_second: u32,
}

/// For which addresses the fabric answers ARP requests and Neighbor Solicitations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum NeighborScope {
    /// The router's, and those of the subnet that an interface owns.
    Assigned,
    /// The router's alone.
    Router,
    /// Every address, owned or not, inside the subnet or not; the asker's own by its own rule.
    Any,
}

/// The MAC in an answer for an interface's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ResolvedMac {
    /// The interface's.
    Owner,
    /// The router's, so that every frame goes to the router.
    Router,
}

/// Whether a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The fabric answers.
    Answer,
    /// The fabric does not answer.
    Silent,
}

/// Which link-local addresses the mapping service resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LinkLocals {
    /// Every EUI-64 one, owned or not, with the MAC computed from it.
    AnyEui64,
    /// Only the EUI-64 ones of interfaces of the subnet.
    Assigned,
    /// None but the router's.
    None,
}

/// Who answers a unicast ARP request or Neighbor Solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum UnicastRequest {
    /// The fabric, from the mapping table.
    Answer,
    /// The host whose MAC it is sent to.
    Forward,
}

/// A profile that does not exist, or an override that does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has the name.
    #[error("there is no profile '{name}': use one of {}", Profile::NAMES.join(", "))]
    Unknown {
        /// The requested name.
        name: String,
    },
    /// An override names no field, or has a wrong value.
    #[error("profile '{name}': {problem}")]
    Override {
        /// The base profile.
        name: String,
        /// The parser's error.
        problem: String,
    },
}

/// A profile as written in files and requests: a name, or a name with changed fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum ProfileSpec {
    /// A built-in profile, unchanged.
    Name(String),
    /// A built-in profile with overrides.
    Changed(ChangedProfile),
}

/// A built-in profile and the changed fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangedProfile {
    /// The built-in profile to start from.
    pub base: String,
    /// The changed fields, nested as in `GET /v1/profiles`.
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub overrides: serde_json::Map<String, serde_json::Value>,
}

impl Default for ProfileSpec {
    fn default() -> Self {
        Self::Name("aws".to_owned())
    }
}

impl ProfileSpec {
    /// The resulting profile.
    pub fn resolve(&self) -> Result<Profile, ProfileError> {
        match self {
            Self::Name(name) => Profile::named(name),
            Self::Changed(changed) => Profile::named(&changed.base)?.with_overrides(&changed.overrides),
        }
    }

    /// A profile as a request or a file would contain it: its name, or its name and the changed fields.
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

    /// A VPC of current EC2.
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
                // EC2's behaviour is not published; with an answer Linux marks the address `dadfailed`, as it should.
                probe_for_another: Answer::Answer,
                // Unknown for EC2. A host that asks with another interface's address still gets the right answer.
                foreign_sender: Answer::Answer,
                unicast_request: UnicastRequest::Answer,
                announce_on_move: true,
                announce_within: const { Remembered::constant(Duration::from_secs(3600)) },
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
                gateway: None,
                path_mtu: None,
                path_mtu_errors: true,
                fixed_link_local: Some(std::net::Ipv6Addr::new(0xfe80, 0xec2, 0, 0, 0, 0, 0, 1)),
                advertisement: AdvertisementPolicy {
                    sent: true,
                    interval: const { AdvertisementInterval::constant(Duration::from_secs(10)) },
                    router_lifetime: RouterLifetime::new(1800),
                    hop_limit: 0,
                    managed: true,
                    other: false,
                    on_link: true,
                    autonomous: false,
                    prefix_lifetime: WireLifetime::new(u32::MAX),
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
                    lease_time: WireLifetime::new(3600),
                    interface_mtu: 9001,
                    server: None,
                    name_server: None,
                    ntp_server: None,
                    classless_routes: Vec::new(),
                    option_245: None,
                    ipv6_only_lease: true,
                    foreign_address: ForeignAddress::Nak,
                    init_reboot: ForeignAddress::Nak,
                },
                v6: Dhcpv6Policy {
                    enabled: true,
                    renewal_time: WireLifetime::new(75),
                    rebinding_time: WireLifetime::new(120),
                    preferred_lifetime: WireLifetime::new(140),
                    valid_lifetime: WireLifetime::new(450),
                    rapid_commit: RapidCommit::Honour,
                    prefix_delegation: true,
                    unasked_prefix: true,
                    names: Dhcpv6Names::Ipv6OnlySubnets,
                },
                answers_per_second: 20,
            },
            firewall: FirewallPolicy::aws(),
            nat: NatPolicy::default(),
            instance: InstancePolicy::default(),
        }
    }

    /// EC2 between 2014 and 2018: a moved address is not announced, and a Solicit with rapid commit is not answered.
    pub fn aws_xen() -> Self {
        let mut profile = Self::aws();
        profile.name = "aws-xen".to_owned();
        profile.neighbor.announce_on_move = false;
        profile.dhcp.v6.rapid_commit = RapidCommit::Drop;
        profile
    }

    /// This profile with some fields changed, nested as they are written; the error names the field.
    ///
    /// ```
    /// use localvpc::model::Profile;
    ///
    /// let overrides = serde_json::json!({"router": {"advertisement": {"interval": "2s"}}});
    /// let hasty = Profile::aws().with_overrides(overrides.as_object().unwrap()).unwrap();
    /// let written = serde_json::to_value(&hasty).unwrap();
    /// assert_eq!(written["router"]["advertisement"]["interval"], "2s");
    ///
    /// let misspelt = serde_json::json!({"router": {"advertisments": {}}});
    /// let error = Profile::aws().with_overrides(misspelt.as_object().unwrap()).unwrap_err();
    /// assert!(error.to_string().contains("advertisments"));
    /// ```
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

    /// Refuses contradictions: each problem names its fields and what to write instead.
    fn check(&self) -> Result<(), String> {
        if self.router.resolution == Resolution::Ask && self.delivery != Delivery::Learning {
            return Err(
                "'router.resolution' is 'ask', which no station hears: set 'delivery' to 'learning'".to_owned(),
            );
        }
        if self.mtu < *super::interface::MTU.start() {
            return Err("'mtu' is less than every IPv4 host takes: write at least 576".to_owned());
        }
        if self
            .router
            .path_mtu
            .is_some_and(|mtu| mtu < *super::interface::MTU.start())
        {
            return Err("'router.path_mtu' is less than every IPv4 host takes: write at least 576, or null".to_owned());
        }
        if let Some(gateway) = self.router.gateway
            && (gateway.is_unspecified() || gateway.is_loopback() || gateway.is_multicast() || gateway.is_broadcast())
        {
            return Err("'router.gateway' is no address that a gateway can have: write a host's address".to_owned());
        }
        if (1..68).contains(&self.dhcp.v4.interface_mtu) {
            // RFC 2132 section 5.1.
            return Err(
                "'dhcp.v4.interface_mtu' is less than an MTU can be: write at least 68, or 0 for none".to_owned(),
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
        let tracking = &self.firewall.tracking;
        for (field, seconds) in [
            ("tcp_established", tracking.tcp_established),
            ("tcp_opening", tracking.tcp_opening),
            ("tcp_closing", tracking.tcp_closing),
            ("tcp_reset", tracking.tcp_reset),
            ("udp", tracking.udp),
            ("udp_stream", tracking.udp_stream),
            ("icmp", tracking.icmp),
            ("other", tracking.other),
            ("fragments", tracking.fragments),
        ] {
            if seconds == 0 {
                return Err(format!(
                    "'firewall.tracking.{field}' is 0, so that nothing would be tracked: write at least 1 second"
                ));
            }
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

/// Overlays `overrides` on `value`, field by field; an unknown field is an error with its path.
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
        assert_eq!(changed.router.advertisement.interval.get(), Duration::from_secs(2));
        assert_eq!(changed.router.advertisement.router_lifetime.get(), 1800);
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
    fn a_wrong_override_is_reported_with_the_path_of_its_field() {
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
