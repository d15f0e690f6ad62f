//! Reads the fabric's frames with other decoders: etherparse and smoltcp must accept every frame, with right lengths
//! and checksums.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpPacket, ArpRepr, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv6Packet, Icmpv6Repr, Ipv4Packet, Ipv4Repr,
    Ipv6Packet, NdiscRepr,
};

/// A Neighbor Discovery message as smoltcp reads it; `None` for another frame.
pub(super) fn ndisc<T>(frame: &[u8], read: impl FnOnce(&NdiscRepr<'_>) -> T) -> Option<T> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    let ipv6 = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    let icmpv6 = Icmpv6Packet::new_checked(ipv6.payload()).ok()?;
    let repr = Icmpv6Repr::parse(
        &ipv6.src_addr(),
        &ipv6.dst_addr(),
        &icmpv6,
        &ChecksumCapabilities::default(),
    );
    match repr.ok()? {
        Icmpv6Repr::Ndisc(repr) => Some(read(&repr)),
        _ => None,
    }
}

/// Fails where one of the decoders rejects a frame.
pub(super) fn agrees(frame: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("etherparse reads it");
    if let Some(TransportSlice::Icmpv6(icmpv6)) = &sliced.transport {
        let Some(NetSlice::Ipv6(ipv6)) = &sliced.net else {
            panic!("ICMPv6 is in IPv6");
        };
        let (source, destination) = (ipv6.header().source(), ipv6.header().destination());
        assert!(icmpv6.is_checksum_valid(source, destination), "etherparse: checksum");
    }
    let ethernet = EthernetFrame::new_checked(frame).expect("smoltcp reads it");
    let strict = ChecksumCapabilities::default();
    match ethernet.ethertype() {
        EthernetProtocol::Arp => {
            let arp = ArpPacket::new_checked(ethernet.payload()).expect("smoltcp reads ARP");
            ArpRepr::parse(&arp).expect("smoltcp understands ARP");
        }
        EthernetProtocol::Ipv4 => {
            let ipv4 = Ipv4Packet::new_checked(ethernet.payload()).expect("smoltcp reads IPv4");
            Ipv4Repr::parse(&ipv4, &strict).expect("smoltcp: header checksum");
            let icmp = Icmpv4Packet::new_checked(ipv4.payload()).expect("smoltcp reads ICMP");
            // The quoted packet is shorter than its length field, which smoltcp's representation does not allow.
            assert!(icmp.verify_checksum(), "smoltcp: ICMP checksum");
        }
        EthernetProtocol::Ipv6 => {
            let ipv6 = Ipv6Packet::new_checked(ethernet.payload()).expect("smoltcp reads IPv6");
            let icmpv6 = Icmpv6Packet::new_checked(ipv6.payload()).expect("smoltcp reads ICMPv6");
            let (source, destination) = (ipv6.src_addr(), ipv6.dst_addr());
            assert!(
                icmpv6.verify_checksum(&source, &destination),
                "smoltcp: ICMPv6 checksum"
            );
            if icmpv6.msg_type().is_ndisc() {
                Icmpv6Repr::parse(&source, &destination, &icmpv6, &strict).expect("smoltcp understands the message");
            }
        }
        other => panic!("the fabric never sends {other}"),
    }
}
