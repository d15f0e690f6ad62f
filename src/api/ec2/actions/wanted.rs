//! Reads the addresses that a request wants for a new interface: given, by count, and as prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use super::ids::reference;
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::model::AddressOrPrefix;
use crate::model::interface::AddressRequest;

/// Addresses that one request may ask for by count (EC2 API, AssignPrivateIpAddresses: what an instance type takes; 50 is the
/// most of any).
const MOST_BY_COUNT: i64 = 50;

/// An address in a list, and whether it is to be the primary one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct PrivateAddress {
    pub(super) private_ip_address: String,
    pub(super) primary: Option<bool>,
}

/// An IPv6 address in a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Ipv6AddressGiven {
    pub(super) ipv6_address: String,
}

/// A delegated IPv4 prefix in a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Ipv4PrefixGiven {
    pub(super) ipv4_prefix: String,
}

/// A delegated IPv6 prefix in a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Ipv6PrefixGiven {
    pub(super) ipv6_prefix: String,
}

/// What a request wants for one interface.
#[derive(Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) primary: Option<&'a str>,
    pub(super) given: &'a [PrivateAddress],
    pub(super) count: Option<i64>,
    pub(super) ipv6_count: Option<i64>,
    pub(super) ipv6: &'a [Ipv6AddressGiven],
    pub(super) ipv4_prefix_count: Option<i64>,
    pub(super) ipv4_prefixes: &'a [Ipv4PrefixGiven],
    pub(super) ipv6_prefix_count: Option<i64>,
    pub(super) ipv6_prefixes: &'a [Ipv6PrefixGiven],
    /// Whether its subnet gives an IPv6 address to an interface that asks for nothing of IPv6.
    pub(super) ipv6_by_itself: bool,
}

/// Whether a subnet gives IPv6 addresses to interfaces by itself. An unknown one is refused where the interface is made.
pub(super) fn gives_ipv6(call: &Call<'_>, subnet: &str) -> bool {
    let subnet = reference(subnet)
        .ok()
        .and_then(|subnet| call.controller().subnet(&subnet).ok());
    subnet.is_some_and(|subnet| subnet.assign_ipv6_on_creation)
}

impl Wanted<'_> {
    /// The primary address first, then the others in the order of the request. Without any, the model chooses by the subnet.
    pub(super) fn addresses(&self) -> Result<Vec<AddressRequest>, Ec2Error> {
        let mut primary: Option<&str> = self.primary;
        for address in self.given.iter().filter(|address| address.primary == Some(true)) {
            if primary.is_some_and(|known| known != address.private_ip_address) {
                return Err(Ec2Error::combination(
                    "Only one primary private IP address can be specified",
                ));
            }
            primary = Some(&address.private_ip_address);
        }
        let secondaries = count(self.count, "SecondaryPrivateIpAddressCount")?;
        let mut wanted = Vec::new();
        match primary {
            Some(text) => wanted.push(AddressRequest::Exactly(ipv4(text)?)),
            None if secondaries > 0 || !self.given.is_empty() => wanted.push(AddressRequest::AnyIpv4),
            None => {}
        }
        let others = self.given.iter().map(|address| address.private_ip_address.as_str());
        for text in others.filter(|text| Some(*text) != primary) {
            wanted.push(AddressRequest::Exactly(ipv4(text)?));
        }
        wanted.extend(vec![AddressRequest::AnyIpv4; secondaries]);
        let prefixes = count(self.ipv4_prefix_count, "Ipv4PrefixCount")?;
        wanted.extend(vec![AddressRequest::AnyIpv4Prefix; prefixes]);
        for given in self.ipv4_prefixes {
            wanted.push(AddressRequest::Exactly(prefix(&given.ipv4_prefix)?));
        }
        let ipv6_addresses = count(self.ipv6_count, "Ipv6AddressCount")?;
        wanted.extend(vec![AddressRequest::AnyIpv6; ipv6_addresses]);
        for given in self.ipv6 {
            wanted.push(AddressRequest::Exactly(ipv6(&given.ipv6_address)?));
        }
        let asks = self.ipv6_count.is_some() || !self.ipv6.is_empty() || self.ipv6_prefix_count.is_some();
        if self.ipv6_by_itself && !asks && self.ipv6_prefixes.is_empty() {
            wanted.push(AddressRequest::AnyIpv6);
        }
        let ipv6_prefixes = count(self.ipv6_prefix_count, "Ipv6PrefixCount")?;
        wanted.extend(vec![AddressRequest::AnyIpv6Prefix; ipv6_prefixes]);
        for given in self.ipv6_prefixes {
            wanted.push(AddressRequest::Exactly(prefix(&given.ipv6_prefix)?));
        }
        Ok(wanted)
    }
}

pub(super) fn ipv4(text: &str) -> Result<AddressOrPrefix, Ec2Error> {
    let address: Ipv4Addr = text.parse().map_err(|_| bad_address(text))?;
    Ok(IpAddr::V4(address).into())
}

pub(super) fn ipv6(text: &str) -> Result<AddressOrPrefix, Ec2Error> {
    let address: Ipv6Addr = text.parse().map_err(|_| bad_address(text))?;
    Ok(IpAddr::V6(address).into())
}

pub(super) fn prefix(text: &str) -> Result<AddressOrPrefix, Ec2Error> {
    let net: IpNet = text.parse().map_err(|_| bad_address(text))?;
    AddressOrPrefix::new(net).map_err(|_| bad_address(text))
}

fn bad_address(text: &str) -> Ec2Error {
    let text = printed(text);
    Ec2Error::invalid_value(format!(
        "Value ({text}) for parameter address is invalid. Invalid address."
    ))
}

/// How many of something a request asks for.
pub(super) fn count(given: Option<i64>, parameter: &str) -> Result<usize, Ec2Error> {
    let given = given.unwrap_or(0);
    if !(0..=MOST_BY_COUNT).contains(&given) {
        let message = format!("Value ({given}) for parameter {parameter} is invalid. Ask for 0 to {MOST_BY_COUNT}.");
        return Err(Ec2Error::invalid_value(message));
    }
    Ok(usize::try_from(given).unwrap_or_default())
}
