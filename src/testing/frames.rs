//! Builds frames of a [`Vpc`]'s hosts: from the host's MAC, to the MAC that it would have learned.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Host, Vpc, parse};
use crate::wire::MacAddr;
use crate::wire::frame::ETHERTYPE_ARP;
use crate::wire::udp::{self, Endpoint};

/// The ports of datagrams built here.
const PORTS: (u16, u16) = (50_000, 7);

impl Vpc {
    /// An ARP request of a host for an address.
    ///
    /// ```
    /// use localvpc::testing::Vpc;
    ///
    /// let mut vpc = Vpc::aws();
    /// let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// let a = vpc.host(subnet, &["10.0.1.10"]);
    /// assert_eq!(vpc.arp(a, "10.0.1.11").len(), 42);
    /// ```
    #[track_caller]
    pub fn arp(&self, from: Host, who_has: &str) -> Vec<u8> {
        let target: Ipv4Addr = parse(who_has);
        let sender = self.ipv4(from);
        let mac = self.mac(from);
        let mut frame = Vec::with_capacity(42);
        frame.extend_from_slice(&[0xff; 6]);
        frame.extend_from_slice(&mac.0);
        frame.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
        // Ethernet, IPv4, their lengths, and the operation "request" (RFC 826).
        frame.extend_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend_from_slice(&mac.0);
        frame.extend_from_slice(&sender.octets());
        frame.extend_from_slice(&[0; 6]);
        frame.extend_from_slice(&target.octets());
        frame
    }

    /// A datagram from the host's primary address. It goes to the MAC of the address's owner if the owner is in the
    /// host's subnet, and to the subnet's router otherwise.
    #[track_caller]
    pub fn udp(&self, from: Host, to: &str, payload: &[u8]) -> Vec<u8> {
        let source = match parse::<IpAddr>(to) {
            IpAddr::V4(_) => IpAddr::V4(self.ipv4(from)),
            IpAddr::V6(_) => IpAddr::V6(self.ipv6(from)),
        };
        self.datagram(source, from, parse(to), payload)
    }

    /// A datagram from any source address.
    #[track_caller]
    pub fn udp_from(&self, source: &str, from: Host, to: &str, payload: &[u8]) -> Vec<u8> {
        self.datagram(parse(source), from, parse(to), payload)
    }

    #[track_caller]
    fn datagram(&self, source: IpAddr, from: Host, to: IpAddr, payload: &[u8]) -> Vec<u8> {
        let (own, next) = (self.mac(from), self.next_hop(from, to));
        let mut frame = Vec::new();
        let written = match (source, to) {
            (IpAddr::V4(source), IpAddr::V4(to)) => {
                udp::write_ipv4(&mut frame, end(own, source, PORTS.0), end(next, to, PORTS.1), payload)
            }
            (IpAddr::V6(source), IpAddr::V6(to)) => {
                udp::write_ipv6(&mut frame, end(own, source, PORTS.0), end(next, to, PORTS.1), payload)
            }
            _ => panic!("{source} and {to} are of different families"),
        };
        assert!(
            written.is_ok(),
            "a datagram has at most 65 507 octets of payload, not {}",
            payload.len()
        );
        frame
    }

    /// The destination MAC of a host with a current neighbor table.
    fn next_hop(&self, from: Host, to: IpAddr) -> MacAddr {
        let subnet = &self.subnets[self.hosts[from.0].subnet.0];
        let owner = self
            .network
            .writer
            .owner(subnet.index, to)
            .and_then(|index| self.by_interface(index));
        owner.map_or(subnet.router_mac, |host| self.mac(host))
    }

    #[track_caller]
    fn ipv4(&self, host: Host) -> Ipv4Addr {
        let own = &self.hosts[host.0].addresses;
        let found = own
            .iter()
            .find_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None });
        found.unwrap_or_else(|| panic!("{host:?} has no IPv4 address"))
    }

    #[track_caller]
    fn ipv6(&self, host: Host) -> Ipv6Addr {
        let own = &self.hosts[host.0].addresses;
        let found = own
            .iter()
            .find_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None });
        found.unwrap_or_else(|| panic!("{host:?} has no IPv6 address"))
    }
}

fn end<A>(mac: MacAddr, address: A, port: u16) -> Endpoint<A> {
    Endpoint { mac, address, port }
}
