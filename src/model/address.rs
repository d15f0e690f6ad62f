//! Defines the key of a mapping: one address, or one delegated prefix (/28 for IPv4, /80 for IPv6).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The length of a delegated IPv4 prefix (EC2 user guide, "Assigning prefixes to network interfaces").
pub const IPV4_PREFIX_LEN: u8 = 28;
/// The length of a delegated IPv6 prefix (same page).
pub const IPV6_PREFIX_LEN: u8 = 80;

/// One address or one delegated prefix, without host bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressOrPrefix(IpNet);

impl AddressOrPrefix {
    /// A network of host length, of /28 or of /80, without host bits; others are refused.
    pub fn new(net: IpNet) -> Result<Self, ParseAddressError> {
        let length = net.prefix_len();
        let allowed = match net {
            IpNet::V4(_) => length == 32 || length == IPV4_PREFIX_LEN,
            IpNet::V6(_) => length == 128 || length == IPV6_PREFIX_LEN,
        };
        if !allowed {
            return Err(ParseAddressError::Length(net));
        }
        if net.trunc() != net {
            return Err(ParseAddressError::HostBits {
                net,
                canonical: net.trunc(),
            });
        }
        Ok(Self(net))
    }

    /// The address or prefix as a network; an address has its full length.
    pub const fn net(self) -> IpNet {
        self.0
    }

    /// The address, or the first of the prefix.
    pub fn first(self) -> IpAddr {
        self.0.addr()
    }

    /// True for a delegated prefix.
    pub fn is_prefix(self) -> bool {
        self.0.prefix_len() != self.0.max_prefix_len()
    }

    /// True for IPv6.
    pub const fn is_ipv6(self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }

    /// The address, unless this is a prefix.
    pub fn address(self) -> Option<IpAddr> {
        if self.is_prefix() { None } else { Some(self.0.addr()) }
    }
}

impl From<IpAddr> for AddressOrPrefix {
    fn from(address: IpAddr) -> Self {
        Self(address.into())
    }
}

impl From<AddressOrPrefix> for IpNet {
    fn from(block: AddressOrPrefix) -> Self {
        block.0
    }
}

/// A text or network that is neither an address nor a prefix that can be delegated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// Not an address.
    #[error(
        "'{0}' is neither an IP address nor a prefix: write 10.0.1.5, 2001:db8::5, 10.0.1.16/28 or 2001:db8:0:0:5::/80"
    )]
    Text(String),
    /// A prefix of another length.
    #[error(
        "'{0}' cannot be delegated: an IPv4 prefix is a /{IPV4_PREFIX_LEN} and an IPv6 prefix a /{IPV6_PREFIX_LEN}"
    )]
    Length(IpNet),
    /// A prefix written with host bits.
    #[error("'{net}' has host bits set: write {canonical}")]
    HostBits {
        /// As given.
        net: IpNet,
        /// The network without host bits.
        canonical: IpNet,
    },
}

impl FromStr for AddressOrPrefix {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |_| ParseAddressError::Text(text.to_owned());
        match text.split_once('/') {
            None => text.parse::<IpAddr>().map(Self::from).map_err(wrong),
            Some(_) => Self::new(
                text.parse::<IpNet>()
                    .map_err(|_| ParseAddressError::Text(text.to_owned()))?,
            ),
        }
    }
}

impl fmt::Display for AddressOrPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_prefix() {
            self.0.fmt(f)
        } else {
            self.0.addr().fmt(f)
        }
    }
}

impl fmt::Debug for AddressOrPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AddressOrPrefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressOrPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for AddressOrPrefix {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some(
                "An IP address, or a delegated prefix: a /28 of IPv4 or a /80 of IPv6.",
            ))
            .examples(["10.0.1.5", "10.0.1.16/28", "2001:db8:0:1::5", "2001:db8:0:1:5::/80"])
            .into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for AddressOrPrefix {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_delegated_prefixes_read_back_what_they_write() {
        for text in ["10.0.1.5", "10.0.1.16/28", "2001:db8::5", "2001:db8:0:0:5::/80"] {
            let parsed: AddressOrPrefix = text.parse().unwrap();
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
            assert_eq!(parsed.is_prefix(), text.contains('/'));
        }
        let host: AddressOrPrefix = "10.0.1.5/32".parse().unwrap();
        assert_eq!(host.to_string(), "10.0.1.5");
    }

    #[test]
    fn only_the_two_lengths_that_aws_delegates_are_accepted() {
        for (text, said) in [
            ("10.0.1.0/24", "/28"),
            ("2001:db8::/64", "/80"),
            ("10.0.1.5/28", "write 10.0.1.0/28"),
            ("10.0.1", "neither"),
            ("host", "neither"),
        ] {
            let error = text.parse::<AddressOrPrefix>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
