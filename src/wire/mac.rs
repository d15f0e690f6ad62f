//! Reads and writes MAC addresses, and converts between a MAC and its EUI-64 link-local address: `ff:fe` in the middle,
//! universal/local bit flipped (RFC 4291 appendix A).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The universal/local bit of the first octet, which EUI-64 flips.
const UNIVERSAL_LOCAL: u8 = 0x02;

/// Six octets in wire order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`, the target MAC of an ARP request.
    pub const ZERO: Self = Self([0; 6]);

    /// Reads the first six octets of `bytes`; `None` when there are fewer.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(*bytes.first_chunk::<6>()?))
    }

    /// The address in the low 48 bits, first octet highest.
    pub const fn to_bits(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The inverse of [`Self::to_bits`]; the upper 16 bits are ignored.
    pub const fn from_bits(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// True for group addresses, broadcast included (IEEE 802: the lowest bit of the first octet).
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// True for `ff:ff:ff:ff:ff:ff`.
    pub fn is_broadcast(self) -> bool {
        self == Self::BROADCAST
    }

    /// The modified EUI-64 interface identifier: the low 64 bits of an IPv6 address.
    pub const fn interface_identifier(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([a ^ UNIVERSAL_LOCAL, b, c, 0xff, 0xfe, d, e, f])
    }

    /// `fe80::/64` with the EUI-64 interface identifier: a host's link-local address unless it uses stable privacy
    /// addresses (RFC 7217).
    ///
    /// ```
    /// let mac: localvpc::wire::MacAddr = "0a:ca:05:9c:fc:14".parse().unwrap();
    /// assert_eq!(mac.link_local().to_string(), "fe80::8ca:5ff:fe9c:fc14");
    /// ```
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits((0xfe80_u128 << 112) | u128::from(self.interface_identifier()))
    }

    /// The MAC that an interface identifier was computed from; `None` without `ff:fe` in the middle.
    pub const fn from_interface_identifier(identifier: u64) -> Option<Self> {
        let [a, b, c, x, y, d, e, f] = identifier.to_be_bytes();
        if x == 0xff && y == 0xfe {
            Some(Self([a ^ UNIVERSAL_LOCAL, b, c, d, e, f]))
        } else {
            None
        }
    }

    /// The MAC of an EUI-64 link-local address; `None` for any other address, RFC 7217 link-locals included.
    ///
    /// ```
    /// use localvpc::wire::MacAddr;
    ///
    /// let computed = MacAddr::from_link_local("fe80::8ca:5ff:fe9c:fc14".parse().unwrap());
    /// assert_eq!(computed, "0a:ca:05:9c:fc:14".parse().ok());
    /// assert_eq!(MacAddr::from_link_local("fe80::3b6a:f844:76e3:eeff".parse().unwrap()), None);
    /// ```
    pub fn from_link_local(address: Ipv6Addr) -> Option<Self> {
        // RFC 4291 section 2.5.6: fe80::/10, and the 54 bits after it are zero.
        if address.to_bits() >> 64 != 0xfe80_0000_0000_0000 {
            return None;
        }
        Self::from_interface_identifier(address.to_bits() as u64)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not six hexadecimal octets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a MAC address: write six hexadecimal octets, as in 0a:ca:05:9c:fc:14")]
pub struct ParseMacError(String);

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseMacError(text.to_owned());
        let mut octets = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(wrong)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        match parts.next() {
            None => Ok(Self(octets)),
            Some(_) => Err(wrong()),
        }
    }
}

impl Serialize for MacAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs read from real EC2 instances (fidelity ledger, "EUI-64 test vectors").
    const SEEN: [(&str, &str); 4] = [
        ("0a:ca:05:9c:fc:14", "fe80::8ca:5ff:fe9c:fc14"),
        ("02:60:cb:cf:19:3e", "fe80::60:cbff:fecf:193e"),
        ("06:da:df:b6:a7:c6", "fe80::4da:dfff:feb6:a7c6"),
        ("12:27:3c:ab:0d:cb", "fe80::1027:3cff:feab:dcb"),
    ];

    #[test]
    fn every_eui64_link_local_seen_on_ec2_is_computed_both_ways() {
        for (mac, link_local) in SEEN {
            let mac: MacAddr = mac.parse().unwrap();
            let link_local: Ipv6Addr = link_local.parse().unwrap();
            assert_eq!(mac.link_local(), link_local);
            assert_eq!(MacAddr::from_link_local(link_local), Some(mac));
            assert_eq!(MacAddr::from_bits(mac.to_bits()), mac);
        }
    }

    #[test]
    fn a_link_local_that_hides_its_mac_has_none() {
        for hidden in [
            "fe80::5562:63fd:691b:3c92",
            "fe80:ec2::1",
            "2001:db8::8ca:5ff:fe9c:fc14",
            "fe80:0:0:1:8ca:5ff:fe9c:fc14",
        ] {
            assert_eq!(MacAddr::from_link_local(hidden.parse().unwrap()), None, "{hidden}");
        }
    }

    #[test]
    fn text_that_is_not_six_octets_is_refused_by_name() {
        for wrong in [
            "",
            "0a:ca:05:9c:fc",
            "0a:ca:05:9c:fc:14:00",
            "0a:ca:05:9c:fc:1g",
            "aca:05:9c:fc:14",
        ] {
            let error = wrong.parse::<MacAddr>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{wrong}'")), "{error}");
        }
        assert_eq!(
            "0A-CA-05-9C-FC-14".parse::<MacAddr>().unwrap().to_string(),
            "0a:ca:05:9c:fc:14"
        );
    }
}
