//! Declares faults in the words of a VPC: a link, a zone, a mapping that is known late, an API that throttles.
//!
//! Each fault has a scope, may end by itself, and never touches what was declared. It is written alike in scenarios, in
//! requests and on the command line: `{ link_down: { interfaces: [a] }, duration: 10s }`.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::duration::{Delay, Lifetime, Skew, TokenLifetime};
use super::ids::{FaultId, InterfaceId, ResourceRef, SubnetId, VpcId};

/// A fault to begin: one kind, and when it ends.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FaultSpec {
    /// The kinds of faults.
    #[serde(flatten)]
    pub fault: FaultKind,
    /// When it ends by itself, such as `10s`; until it is cancelled if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Lifetime>,
    /// A description for events and reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// An active fault.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fault {
    /// Its identifier.
    pub id: FaultId,
    /// Its kind and duration.
    #[serde(flatten)]
    pub spec: FaultSpec,
    /// When it began, in UTC.
    #[serde(serialize_with = "super::duration::rfc3339::serialize")]
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub began_at: std::time::SystemTime,
}

/// The interfaces that a fault affects: the union of those named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Scope {
    /// All interfaces of all VPCs.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// These interfaces: identifiers or names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub interfaces: Vec<ResourceRef<InterfaceId>>,
    /// Those in these subnets: identifiers or names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub subnets: Vec<ResourceRef<SubnetId>>,
    /// Those in these availability zones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub availability_zones: Vec<String>,
    /// Those in these VPCs: identifiers or names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub vpcs: Vec<ResourceRef<VpcId>>,
}

impl Scope {
    /// All interfaces.
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// One interface.
    pub fn interface(interface: impl Into<ResourceRef<InterfaceId>>) -> Self {
        Self {
            interfaces: vec![interface.into()],
            ..Self::default()
        }
    }

    /// True for an empty scope.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The kinds of faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The interfaces lose their link: their hosts see no carrier, and no frame passes.
    LinkDown(Scope),
    /// No frame passes between two sets of interfaces.
    Partition {
        /// One set.
        between: Scope,
        /// The other set.
        and: Scope,
        /// Only frames from `between` to `and` are dropped; frames the other way pass.
        #[serde(default)]
        one_way: bool,
    },
    /// An availability zone is cut off from all others. Within it everything works.
    ZoneCut {
        /// The zone.
        availability_zone: String,
    },
    /// Frames that cross the VPC from or to the interfaces are lost, delayed, duplicated, reordered or rate-limited.
    Impairment(ImpairmentSpec),
    /// Interfaces still see the owners that addresses had when the fault began.
    StaleMapping {
        /// The interfaces with the stale view.
        seen_by: Scope,
        /// In this subnet only: identifier or name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
        subnet: Option<ResourceRef<SubnetId>>,
        /// These addresses only; all of them if left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
        addresses: Vec<IpAddr>,
    },
    /// The API answers at once, and the data path follows later; the metadata service follows at the same time as the
    /// data path.
    LatePropagation {
        /// The kinds of edits; all if left out.
        #[serde(default = "everything_propagates")]
        of: Vec<Propagated>,
        /// In the subnets of this scope only; in all if left out.
        #[serde(default, skip_serializing_if = "Scope::is_empty")]
        scope: Scope,
        /// The delay.
        delay: PropagationDelay,
    },
    /// Attaching and detaching network interfaces take time: the API answers at once, and the device appears or vanishes
    /// later, or never. One that hangs is ended by force.
    LateAttachment {
        /// Of interfaces of this scope only; of all if left out.
        #[serde(default, skip_serializing_if = "Scope::is_empty")]
        scope: Scope,
        /// How long attaching takes; as ever if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attach: Option<PropagationDelay>,
        /// How long detaching takes; as ever if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detach: Option<PropagationDelay>,
    },
    /// The API throttles, fails or is slow.
    Api(ApiFault),
    /// Routers send no advertisements to the interfaces, solicited or not.
    RouterAdvertisementsWithheld(Scope),
    /// DHCP does not answer the interfaces.
    DhcpSilent(Scope),
    /// The metadata service fails for the interfaces.
    Metadata {
        /// The interfaces.
        #[serde(alias = "on")]
        at: Scope,
        /// It does not answer at all.
        #[serde(default)]
        silent: bool,
        /// It answers every request with this HTTP status.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
        /// The longest lifetime of session tokens, such as `5s`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_lifetime: Option<TokenLifetime>,
        /// Delay of every request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delay: Option<Delay>,
        /// Only requests for these keys, by their path below the version: `*` stands for any one segment, `**` at the
        /// end for all that follow. All requests if left out.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        paths: Vec<String>,
        /// The share of affected requests: `100%` if left out.
        #[serde(default = "Fraction::always")]
        #[cfg_attr(feature = "schema", schema(value_type = String))]
        chance: Fraction,
    },
    /// The time service serves a wrong time to the interfaces.
    ClockSkew {
        /// The interfaces.
        #[serde(alias = "on")]
        at: Scope,
        /// How far it is ahead, such as `2s`, or behind, such as `-250ms`.
        skew: Skew,
    },
    /// Every process of the instances that the interfaces belong to stops (SIGSTOP) until the fault is over. Their
    /// kernels still answer ARP and pings, like those of hung machines.
    InstanceFreeze(Scope),
    /// The instances that the interfaces belong to lose power: every process is killed, written files are lost, and
    /// none of their interfaces has a link. When the fault is over they are as after a boot, without processes.
    InstanceCrash(Scope),
}

mod reading;

impl FaultKind {
    /// The names of all kinds.
    pub const NAMES: [&'static str; 14] = [
        "link_down",
        "partition",
        "zone_cut",
        "impairment",
        "stale_mapping",
        "late_propagation",
        "late_attachment",
        "api",
        "router_advertisements_withheld",
        "dhcp_silent",
        "metadata",
        "clock_skew",
        "instance_freeze",
        "instance_crash",
    ];

    /// The name of the kind, as in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LinkDown(_) => "link_down",
            Self::Partition { .. } => "partition",
            Self::ZoneCut { .. } => "zone_cut",
            Self::Impairment(_) => "impairment",
            Self::StaleMapping { .. } => "stale_mapping",
            Self::LatePropagation { .. } => "late_propagation",
            Self::LateAttachment { .. } => "late_attachment",
            Self::Api(_) => "api",
            Self::RouterAdvertisementsWithheld(_) => "router_advertisements_withheld",
            Self::DhcpSilent(_) => "dhcp_silent",
            Self::Metadata { .. } => "metadata",
            Self::ClockSkew { .. } => "clock_skew",
            Self::InstanceFreeze(_) => "instance_freeze",
            Self::InstanceCrash(_) => "instance_crash",
        }
    }
}

fn everything_propagates() -> Vec<Propagated> {
    vec![Propagated::Mappings, Propagated::Routes]
}

/// What reaches the data path with a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Propagated {
    /// The owners of addresses.
    Mappings,
    /// Routes.
    Routes,
    /// The metadata service: it follows the data path after the delay, each key after one of its own. Not included if
    /// nothing is named: then it follows at the same time as the data path.
    Metadata,
}

/// The delay until an edit reaches the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PropagationDelay {
    /// Always this long.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    Fixed(Delay),
    /// Uniformly distributed between two times.
    Uniform {
        /// The least.
        from: Delay,
        /// The most.
        to: Delay,
    },
    /// As seen on AWS: between 0.5 and 2 seconds.
    Aws,
    /// The API accepts the edit, and it never takes effect.
    Never,
}

/// Impairments of frames that cross the VPC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ImpairmentSpec {
    /// The interfaces.
    #[serde(alias = "on")]
    pub at: Scope,
    /// The direction.
    pub direction: FaultDirection,
    /// The share of lost frames: `1%` or `0.01`.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub loss: Fraction,
    /// The share of duplicated frames.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub duplicate: Fraction,
    /// The share of frames that are not delayed, and so overtake others.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub reorder: Fraction,
    /// Delay of frames, such as `20ms`.
    pub delay: Delay,
    /// Variation of the delay, plus or minus; it changes no order.
    pub jitter: Delay,
    /// Bits a second at each interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<u64>, minimum = 1))]
    pub rate: Option<std::num::NonZeroU64>,
    /// The longest wait in the queue of the rate limit; 200 ms if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<Delay>,
}

/// A direction at an interface, seen from its host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FaultDirection {
    /// Both.
    #[default]
    Both,
    /// From the host.
    Egress,
    /// To the host.
    Ingress,
}

/// How the API fails.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ApiFault {
    /// The affected requests, such as `AssignPrivateIpAddresses` or `POST /v1/mappings`; a trailing `*` stands for
    /// anything. All requests if left out, except those about faults, captures and events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Requests above a rate get `RequestLimitExceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Throttle>,
    /// Requests fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// Delay of every request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Requests that read are answered with the network as it was so long ago: EC2 is eventually consistent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale: Option<Delay>,
}

/// A token bucket, as EC2 has one for each action (EC2 developer guide, "Request throttling").
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Throttle {
    /// Requests a second in the long run.
    pub rate: f64,
    /// Requests at once after a pause.
    pub burst: u32,
}

/// A request that fails.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiError {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The error code, such as `InternalError`.
    pub code: String,
    /// The share of failing requests: `100%` if left out.
    #[serde(default = "Fraction::always")]
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub chance: Fraction,
    /// The request is carried out nevertheless.
    #[serde(default)]
    pub carried_out: bool,
}

impl ApiError {
    /// The message, in EC2's words where known.
    pub fn message(&self) -> &'static str {
        match self.code.as_str() {
            "RequestLimitExceeded" => "Request limit exceeded.",
            _ => "A fault lets this request fail.",
        }
    }
}

/// A share from 0 to 1; written `1%` or `0.01`.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// A number from 0 to 1.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// All.
    pub const fn always() -> Self {
        Self(1.0)
    }

    /// From 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl std::str::FromStr for Fraction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not a part of a whole: write one such as 1% or 0.01");
        let text = text.trim();
        let value = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
            None => text.parse(),
        };
        value.ok().and_then(Self::new).ok_or_else(wrong)
    }
}

impl Serialize for Fraction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0 * 100.0))
    }
}

impl<'de> Deserialize<'de> for Fraction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form<'a> {
            Number(f64),
            Text(#[serde(borrow)] Cow<'a, str>),
        }
        let wrong = "a part of a whole is a number from 0 to 1, or text such as 1%";
        match Form::deserialize(deserializer).map_err(|_| serde::de::Error::custom(wrong))? {
            Form::Number(value) => Self::new(value).ok_or_else(|| serde::de::Error::custom(wrong)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_a_person_would_write_it() {
        let cases = [
            (
                r#"{"link_down": {"interfaces": ["web"]}, "duration": "5s"}"#,
                "link_down",
            ),
            (
                r#"{"partition": {"between": {"subnets": ["a"]}, "and": {"subnets": ["b"]}}}"#,
                "partition",
            ),
            (r#"{"zone_cut": {"availability_zone": "local-1a"}}"#, "zone_cut"),
            (
                r#"{"impairment": {"at": {"all": true}, "loss": "1%", "delay": "20ms", "jitter": "5ms"}}"#,
                "impairment",
            ),
            (
                r#"{"stale_mapping": {"seen_by": {"interfaces": ["a"]}, "addresses": ["10.0.0.9"]}}"#,
                "stale_mapping",
            ),
            (r#"{"late_propagation": {"delay": "aws"}}"#, "late_propagation"),
            (
                r#"{"late_propagation": {"delay": {"fixed": "1s"}}}"#,
                "late_propagation",
            ),
            (
                r#"{"late_propagation": {"of": ["routes"], "delay": {"uniform": {"from": "1s", "to": "2s"}}}}"#,
                "late_propagation",
            ),
            (
                r#"{"late_attachment": {"attach": {"fixed": "3s"}, "detach": "never"}}"#,
                "late_attachment",
            ),
            (r#"{"api": {"throttle": {"rate": 0.5, "burst": 1}}}"#, "api"),
            (
                r#"{"api": {"actions": ["POST /v1/*"], "error": {"status": 503, "code": "Unavailable", "chance": 0.5}}}"#,
                "api",
            ),
            (
                r#"{"metadata": {"at": {"all": true}, "token_lifetime": "1s"}}"#,
                "metadata",
            ),
            (r#"{"clock_skew": {"at": {"all": true}, "skew": "-3s"}}"#, "clock_skew"),
        ];
        for (text, kind) in cases {
            let spec: FaultSpec = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(spec.fault.name(), kind);
            let again = serde_json::to_value(&spec).expect("plain data");
            let again: FaultSpec = serde_json::from_value(again).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(again, spec, "it reads back what it writes");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases = [
            r#"{"link_down": {"interface": "web"}}"#,
            r#"{"impairment": {"at": {"all": true}, "loss": 2}}"#,
            r#"{"impairment": {"at": {"all": true}, "loss": "101%"}}"#,
            r#"{"impairment": {"at": {"all": true}, "delay": "20"}}"#,
            r#"{"impairment": {"at": {"all": true}, "rate": 0}}"#,
            r#"{"meteor": {}}"#,
            r#"{"duration": "5s"}"#,
            r#"{"link_down": {"all": true}, "dhcp_silent": {"all": true}}"#,
            r#"{"link_down": {"all": true}, "link_down": {"all": true}}"#,
            r#"{"link_down": "all"}"#,
            r#""link_down""#,
            r#"{"link_down": {"all": true}, "until": "later"}"#,
        ];
        for text in cases {
            assert!(serde_json::from_str::<FaultSpec>(text).is_err(), "{text}");
        }
    }
}
