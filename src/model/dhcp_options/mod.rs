//! Defines DHCP option sets: what the VPC's DHCP servers send in addition to the address (VPC guide, "DHCP option
//! sets"). A VPC has one set, which all of its later answers contain.

mod rules;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::duration::WireLifetime;
use crate::model::ids::{DhcpOptionsId, ResourceRef};
use crate::model::naming::Tags;

pub(super) use self::rules::default_set;

/// Servers of one kind and one address family in a set (EC2 API, CreateDhcpOptions).
const MOST_SERVERS: usize = 4;
/// Octets of a domain name, which must fit into one option.
const LONGEST_DOMAIN: usize = 253;
/// Seconds (EC2 API, CreateDhcpOptions, `ipv6-address-preferred-lease-time`).
const PREFERRED_LEASE_TIME: RangeInclusive<u32> = 140..=2_147_483_647;
/// Node types of RFC 1001 section 10: B, P, M, H.
const NODE_TYPES: [u8; 4] = [1, 2, 4, 8];

/// A set of DHCP options, valid by construction through [`DhcpOptions::from_configuration`] or [`DhcpOptions::validate`].
///
/// The empty set belongs to a VPC that is associated with `default`: addresses and routes, and no names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DhcpOptions {
    /// Completes names without a dot; several, separated by spaces, as some Linux clients accept.
    #[cfg_attr(feature = "schema", schema(example = "eu-central-1.compute.internal"))]
    pub domain_name: Option<String>,
    /// At most four, or `AmazonProvidedDNS`.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, example = json!(["AmazonProvidedDNS"])))]
    pub domain_name_servers: Vec<NameServer>,
    /// At most four of each family.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub ntp_servers: Vec<IpAddr>,
    /// At most four.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>))]
    pub netbios_name_servers: Vec<Ipv4Addr>,
    /// 1, 2, 4 or 8; 2 where broadcast is not supported.
    pub netbios_node_type: Option<u8>,
    /// Preferred lifetime of an IPv6 address, instead of the profile's: 140s to 2147483647s.
    pub ipv6_address_preferred_lease_time: Option<WireLifetime>,
}

/// A set as a resource. As in AWS it is immutable: a VPC is associated with another one instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptionSet {
    /// Its identifier.
    pub id: DhcpOptionsId,
    /// Its unique name, if it has one.
    pub name: Option<String>,
    /// Its options.
    pub options: Arc<DhcpOptions>,
    /// Whether it is the initial one of every VPC in the region.
    pub default: bool,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Creates a DHCP option set. Outcome: the set.
#[derive(Debug, Clone, Default)]
pub struct CreateDhcpOptions {
    /// A name that no other set has.
    pub name: Option<String>,
    /// Its options; at least one.
    pub options: DhcpOptions,
    /// Tags other than the name.
    pub tags: Tags,
}

/// Changes what a set is called: its options never change. `None` leaves a field unchanged. Outcome: the set as it is now.
#[derive(Debug, Clone)]
pub struct ModifyDhcpOptions {
    /// The set.
    pub set: ResourceRef<DhcpOptionsId>,
    /// A new name, or none.
    pub name: Option<Option<String>>,
    /// All tags.
    pub tags: Option<Tags>,
}

impl ModifyDhcpOptions {
    /// A command that changes nothing yet.
    pub fn new(set: impl Into<ResourceRef<DhcpOptionsId>>) -> Self {
        Self {
            set: set.into(),
            name: None,
            tags: None,
        }
    }
}

/// Deletes a DHCP option set that no VPC is associated with. Outcome: the set as it was.
#[derive(Debug, Clone)]
pub struct DeleteDhcpOptions(pub ResourceRef<DhcpOptionsId>);

/// The set that a VPC is to be associated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpOptionsChoice {
    /// None: addresses and routes, and no names (EC2 API, AssociateDhcpOptions, `default`).
    None,
    /// This one.
    Set(ResourceRef<DhcpOptionsId>),
}

impl DhcpOptionsChoice {
    /// The word for no set.
    pub const NONE: &'static str = "default";
}

impl<'de> Deserialize<'de> for DhcpOptionsChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Ok(match &*text {
            Self::NONE => Self::None,
            text => Self::Set(ResourceRef::new(text)),
        })
    }
}

/// A name server of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameServer {
    /// The VPC's own resolver: base + 2, or `fd00:ec2::253`.
    AmazonProvided,
    /// Another one.
    Address(IpAddr),
}

/// The keyword for [`NameServer::AmazonProvided`].
const AMAZON_PROVIDED: &str = "AmazonProvidedDNS";

/// An option set that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DhcpOptionsError {
    /// No option of this name.
    #[error("there is no DHCP option '{key}': use {}", DhcpOptions::KEYS.join(", "))]
    UnknownKey {
        /// As given.
        key: String,
    },
    /// A set without options.
    #[error("a DHCP option set needs at least one option: give one of {}", DhcpOptions::KEYS.join(", "))]
    Empty,
    /// An option given twice.
    #[error("DHCP option '{key}' is given twice: give all its values at once")]
    Repeated {
        /// The option.
        key: &'static str,
    },
    /// An option with a wrong number of values.
    #[error("DHCP option '{key}' takes {expected}, not {given} values")]
    Count {
        /// The option.
        key: &'static str,
        /// The allowed number, in words.
        expected: &'static str,
        /// The given number.
        given: usize,
    },
    /// A value that the option does not accept.
    #[error("Value ({value}) for DHCP option '{key}' is invalid: {remedy}")]
    Value {
        /// The option.
        key: &'static str,
        /// As given.
        value: String,
        /// The allowed values.
        remedy: &'static str,
    },
}

impl DhcpOptionsError {
    /// The EC2 API's error code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "MissingParameter",
            Self::UnknownKey { .. } | Self::Repeated { .. } | Self::Count { .. } | Self::Value { .. } => {
                "InvalidParameterValue"
            }
        }
    }

    /// The field at fault, in this API's spelling.
    pub fn option(&self) -> &'static str {
        let key = match self {
            Self::Repeated { key } | Self::Count { key, .. } | Self::Value { key, .. } => *key,
            Self::Empty | Self::UnknownKey { .. } => "",
        };
        match key {
            "domain-name" => "domain_name",
            "domain-name-servers" => "domain_name_servers",
            "ntp-servers" => "ntp_servers",
            "netbios-name-servers" => "netbios_name_servers",
            "netbios-node-type" => "netbios_node_type",
            "ipv6-address-preferred-lease-time" => "ipv6_address_preferred_lease_time",
            _ => "options",
        }
    }

    /// The option at fault, by its EC2 name.
    pub fn field(&self) -> &str {
        match self {
            Self::Empty => "dhcp-configuration",
            Self::UnknownKey { key } => key,
            Self::Repeated { key } | Self::Count { key, .. } | Self::Value { key, .. } => key,
        }
    }
}

impl DhcpOptions {
    /// The names of the options in the EC2 API.
    pub const KEYS: [&'static str; 6] = [
        "domain-name",
        "domain-name-servers",
        "ntp-servers",
        "netbios-name-servers",
        "netbios-node-type",
        "ipv6-address-preferred-lease-time",
    ];

    /// The initial set of every VPC in a region.
    pub fn for_region(region: &str) -> Self {
        // EC2 API, CreateDhcpOptions: us-east-1 is the only region whose name is not in the domain.
        let domain = match region {
            "us-east-1" => "ec2.internal".to_owned(),
            _ => format!("{region}.compute.internal"),
        };
        Self {
            domain_name: Some(domain),
            domain_name_servers: vec![NameServer::AmazonProvided],
            ..Self::default()
        }
    }

    /// Reads `DhcpConfiguration.N.Key` and `.Value.M` of the EC2 API: a value may contain several, separated by commas.
    pub fn from_configuration<'a, K, V>(
        configuration: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, DhcpOptionsError>
    where
        K: AsRef<str>,
        V: IntoIterator<Item = &'a str>,
    {
        let mut options = Self::default();
        let mut seen = Vec::new();
        for (given, values) in configuration {
            let given = given.as_ref();
            let key = *Self::KEYS
                .iter()
                .find(|key| **key == given)
                .ok_or_else(|| DhcpOptionsError::UnknownKey { key: given.to_owned() })?;
            if seen.contains(&key) {
                return Err(DhcpOptionsError::Repeated { key });
            }
            seen.push(key);
            let values: Vec<&str> = values
                .into_iter()
                .flat_map(|value| value.split(','))
                .map(str::trim)
                .collect();
            options.set(key, &values)?;
        }
        if seen.is_empty() {
            return Err(DhcpOptionsError::Empty);
        }
        options.validate()?;
        Ok(options)
    }

    fn set(&mut self, key: &'static str, values: &[&str]) -> Result<(), DhcpOptionsError> {
        match key {
            "domain-name" => self.domain_name = Some(single(key, values)?.to_owned()),
            "domain-name-servers" => {
                self.domain_name_servers = list(key, values, "write AmazonProvidedDNS or an IP address")?;
            }
            "ntp-servers" => self.ntp_servers = list(key, values, "write an IP address")?,
            "netbios-name-servers" => self.netbios_name_servers = list(key, values, "write an IPv4 address")?,
            "netbios-node-type" => self.netbios_node_type = Some(number(key, values, "write 1, 2, 4 or 8")?),
            _ => {
                let seconds = number(key, values, "write seconds from 140 to 2147483647")?;
                self.ipv6_address_preferred_lease_time = Some(WireLifetime::new(seconds));
            }
        }
        Ok(())
    }

    /// The options that are set, as the EC2 API describes them.
    pub fn configuration(&self) -> Vec<(&'static str, Vec<String>)> {
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(ToString::to_string).collect()
        }
        let all = [
            self.domain_name.iter().cloned().collect(),
            texts(&self.domain_name_servers),
            texts(&self.ntp_servers),
            texts(&self.netbios_name_servers),
            self.netbios_node_type.iter().map(ToString::to_string).collect(),
            self.ipv6_address_preferred_lease_time
                .iter()
                .map(|time| time.get().to_string())
                .collect(),
        ];
        Self::KEYS
            .into_iter()
            .zip(all)
            .filter(|(_, values)| !values.is_empty())
            .collect()
    }

    /// Checks counts, ranges and names.
    pub fn validate(&self) -> Result<(), DhcpOptionsError> {
        let [domain, servers, ntp, netbios, node, lease] = Self::KEYS;
        let wrong = |key, value: String, remedy| Err(DhcpOptionsError::Value { key, value, remedy });
        if let Some(names) = &self.domain_name
            && (names.len() > LONGEST_DOMAIN || names.is_empty() || !names.split(' ').all(is_domain))
        {
            return wrong(domain, names.clone(), "write a domain name such as example.internal");
        }
        let addresses = self.domain_name_servers.len();
        at_most(
            servers,
            addresses,
            MOST_SERVERS,
            "AmazonProvidedDNS or up to four addresses",
        )?;
        let ipv4 = self.ntp_servers.iter().filter(|address| address.is_ipv4()).count();
        for count in [ipv4, self.ntp_servers.len() - ipv4] {
            at_most(ntp, count, MOST_SERVERS, "up to four IPv4 and four IPv6 addresses")?;
        }
        at_most(
            netbios,
            self.netbios_name_servers.len(),
            MOST_SERVERS,
            "up to four addresses",
        )?;
        match self.netbios_node_type {
            Some(kind) if !NODE_TYPES.contains(&kind) => return wrong(node, kind.to_string(), "write 1, 2, 4 or 8"),
            _ => {}
        }
        match self.ipv6_address_preferred_lease_time {
            Some(time) if !PREFERRED_LEASE_TIME.contains(&time.get()) => {
                wrong(lease, time.to_string(), "write seconds from 140 to 2147483647")
            }
            _ => Ok(()),
        }
    }

    /// The IPv4 name servers, with `own` in place of the VPC's resolver.
    pub fn name_servers_ipv4(&self, own: Option<Ipv4Addr>) -> Vec<Ipv4Addr> {
        let address = |server: &NameServer| match server {
            NameServer::AmazonProvided => own,
            NameServer::Address(IpAddr::V4(address)) => Some(*address),
            NameServer::Address(IpAddr::V6(_)) => None,
        };
        self.domain_name_servers.iter().filter_map(address).collect()
    }

    /// The IPv6 name servers, with `own` in place of the VPC's resolver.
    pub fn name_servers_ipv6(&self, own: Option<Ipv6Addr>) -> Vec<Ipv6Addr> {
        let address = |server: &NameServer| match server {
            NameServer::AmazonProvided => own,
            NameServer::Address(IpAddr::V6(address)) => Some(*address),
            NameServer::Address(IpAddr::V4(_)) => None,
        };
        self.domain_name_servers.iter().filter_map(address).collect()
    }

    /// The IPv4 time servers.
    pub fn ntp_servers_ipv4(&self) -> Vec<Ipv4Addr> {
        let ipv4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        };
        self.ntp_servers.iter().filter_map(ipv4).collect()
    }

    /// The domains, one by one.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domain_name.iter().flat_map(|names| names.split(' '))
    }
}

fn at_most(key: &'static str, given: usize, most: usize, expected: &'static str) -> Result<(), DhcpOptionsError> {
    if given > most {
        return Err(DhcpOptionsError::Count { key, expected, given });
    }
    Ok(())
}

fn single<'a>(key: &'static str, values: &[&'a str]) -> Result<&'a str, DhcpOptionsError> {
    match values {
        [value] => Ok(*value),
        _ => Err(DhcpOptionsError::Count {
            key,
            expected: "one value",
            given: values.len(),
        }),
    }
}

fn list<T: FromStr>(key: &'static str, values: &[&str], remedy: &'static str) -> Result<Vec<T>, DhcpOptionsError> {
    if values.is_empty() {
        return Err(DhcpOptionsError::Count {
            key,
            expected: "at least one value",
            given: 0,
        });
    }
    let read = |value: &&str| {
        value.parse().map_err(|_| DhcpOptionsError::Value {
            key,
            value: (*value).to_owned(),
            remedy,
        })
    };
    values.iter().map(read).collect()
}

fn number<T: FromStr>(key: &'static str, values: &[&str], remedy: &'static str) -> Result<T, DhcpOptionsError> {
    let value = single(key, values)?;
    value.parse().map_err(|_| DhcpOptionsError::Value {
        key,
        value: value.to_owned(),
        remedy,
    })
}

/// Labels of letters, digits, hyphens and underscores, 63 octets at most (RFC 1035 section 2.3.1, relaxed as in EC2).
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AmazonProvided => f.write_str(AMAZON_PROVIDED),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

/// Text that is not a name server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no name server: write AmazonProvidedDNS or an IP address")]
pub struct ParseNameServerError(String);

impl FromStr for NameServer {
    type Err = ParseNameServerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AMAZON_PROVIDED {
            return Ok(Self::AmazonProvided);
        }
        let address = text.parse().map_err(|_| ParseNameServerError(text.to_owned()))?;
        Ok(Self::Address(address))
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Options as a request names them.
    type Configuration<'a> = &'a [(&'a str, &'a [&'static str])];

    fn read(configuration: Configuration<'_>) -> Result<DhcpOptions, DhcpOptionsError> {
        DhcpOptions::from_configuration(configuration.iter().map(|(key, values)| (*key, values.iter().copied())))
    }

    #[test]
    fn the_default_set_names_the_region_but_for_the_first_one() {
        let cases = [
            ("us-east-1", "ec2.internal"),
            ("eu-central-1", "eu-central-1.compute.internal"),
        ];
        for (region, domain) in cases {
            let options = DhcpOptions::for_region(region);
            assert_eq!(options.domain_name.as_deref(), Some(domain));
            assert_eq!(options.domain_name_servers, [NameServer::AmazonProvided]);
            assert_eq!(options.validate(), Ok(()));
        }
    }

    #[test]
    fn a_set_reads_and_describes_itself_in_the_words_of_the_api() {
        let options = read(&[
            ("ntp-servers", &["10.2.5.1", "fd00:ec2::123"]),
            ("domain-name", &["example.com"]),
            ("domain-name-servers", &["10.2.5.1,10.2.5.2"]),
            ("netbios-name-servers", &["10.2.5.1"]),
            ("netbios-node-type", &["2"]),
            ("ipv6-address-preferred-lease-time", &["600"]),
        ])
        .unwrap();
        let described: Vec<(&str, String)> = options
            .configuration()
            .into_iter()
            .map(|(key, values)| (key, values.join(" ")))
            .collect();
        let expected = [
            ("domain-name", "example.com"),
            ("domain-name-servers", "10.2.5.1 10.2.5.2"),
            ("ntp-servers", "10.2.5.1 fd00:ec2::123"),
            ("netbios-name-servers", "10.2.5.1"),
            ("netbios-node-type", "2"),
            ("ipv6-address-preferred-lease-time", "600"),
        ];
        assert_eq!(described, expected.map(|(key, value)| (key, value.to_owned())));
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(serde_json::from_str::<DhcpOptions>(&text).unwrap(), options);
        assert_eq!(DhcpOptions::default().configuration(), []);
    }

    #[test]
    fn a_broken_rule_is_reported_with_its_option_and_code() {
        let five = &["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"];
        let long: &'static str = Box::leak(format!("{}.com", "a".repeat(64)).into_boxed_str());
        let cases: [(Configuration<'_>, &str, &str); 12] = [
            (&[], "MissingParameter", "needs at least one option"),
            (
                &[("domain", &["x"])],
                "InvalidParameterValue",
                "no DHCP option 'domain'",
            ),
            (&[("domain-name", &["a", "b"])], "InvalidParameterValue", "one value"),
            (
                &[("domain-name", &["a b c.d"]), ("domain-name", &["x"])],
                "InvalidParameterValue",
                "twice",
            ),
            (&[("domain-name", &["a..b"])], "InvalidParameterValue", "Value (a..b)"),
            (
                &[("domain-name", &[long])],
                "InvalidParameterValue",
                "write a domain name",
            ),
            (
                &[("domain-name-servers", &["amazon"])],
                "InvalidParameterValue",
                "Value (amazon)",
            ),
            (&[("domain-name-servers", &[])], "InvalidParameterValue", "at least one"),
            (
                &[("domain-name-servers", five)],
                "InvalidParameterValue",
                "not 5 values",
            ),
            (&[("netbios-name-servers", &["::1"])], "InvalidParameterValue", "IPv4"),
            (
                &[("netbios-node-type", &["3"])],
                "InvalidParameterValue",
                "1, 2, 4 or 8",
            ),
            (
                &[("ipv6-address-preferred-lease-time", &["139"])],
                "InvalidParameterValue",
                "from 140",
            ),
        ];
        for (configuration, code, text) in cases {
            let error = read(configuration).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
