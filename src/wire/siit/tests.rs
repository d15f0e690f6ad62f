//! Holds the translation against octets that another program made, and against packets of another encoder.

use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder};
use proptest::prelude::*;

use super::*;

// Made by a script with a checksum of its own: the same packet in both families. The host behind the translator is
// 2001:db8:1::10 and 0.0.0.0, the other end 64:ff9b::198.51.100.7 and 198.51.100.7.
const UDP_OUT_IPV6: &str = "6b800000000d114020010db80001000000000000000000100064ff9b0000000000000000c633640713880035000d442a7175\
    657279";
const UDP_OUT_IPV4: &str = "45b80021a7dc00004011a7fd00000000c633640713880035000d71f47175657279";
const TCP_OUT_IPV6: &str = "600000000016064020010db80001000000000000000000100064ff9b0000000000000000c63364070fa00050000000010000\
    0002501803e8db8100006869";
const TCP_OUT_IPV4: &str = "4500002a3f7500004006111f00000000c63364070fa000500000000100000002501803e8094c00006869";
const ECHO_OUT_IPV6: &str = "60000000000c3a4020010db80001000000000000000000100064ff9b0000000000000000c6336407800048db000700017069\
    6e67";
const ECHO_OUT_IPV4: &str = "45000020a7b400004001a8ee00000000c6336407080019270007000170696e67";
const UNREACHABLE_OUT_IPV6: &str = "60000000003d3a4020010db80001000000000000000000100064ff9b0000000000000000c633640701043554000000006000\
    0000000d113c0064ff9b0000000000000000c633640720010db800010000000000000000001000351388000d442a71756572\
    79";
const UNREACHABLE_OUT_IPV4: &str = "4500003da7a100004001a8e400000000c6336407030327560000000045000021a7dc00003c11acb5c6336407000000000035\
    1388000d71f47175657279";
const TOO_BIG_IN_IPV6: &str = "6000000000463a400064ff9b0000000000000000cb00710120010db8000100000000000000000010020027f00000058c6000\
    00000016063d20010db80001000000000000000000100064ff9b0000000000000000c63364070fa000500000000100000002\
    501803e8db8100006869";
const TOO_BIG_IN_IPV4: &str = "45000046000040004001feb5cb00710100000000030421db000005784500002a000040003d06139400000000c63364070fa0\
    00500000000100000002501803e8094c00006869";
const FRAGMENT_IN_IPV6: &str = "6000000000182c400064ff9b0000000000000000c633640720010db800010000000000000000001011000001000012670035\
    13880018f8583031323334353637";
const FRAGMENT_IN_IPV4: &str = "450000241267200040111e28c63364070000000000351388001826233031323334353637";
const LATER_IN_IPV6: &str = "6000000000102c400064ff9b0000000000000000c633640720010db800010000000000000000001011000010000012673839\
    303132333435";
const LATER_IN_IPV4: &str = "4500001c1267000240113e2ec6336407000000003839303132333435";

const HOST6: &str = "2001:db8:1::10";

fn octets(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal")
}

fn host() -> Ipv6Addr {
    HOST6.parse().expect("an address")
}

fn in_ipv4(packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xa5; packet.len() + GROWTH];
    let written = to_ipv4(packet, false, &mut out)?;
    assert_eq!(written.there, written.declared, "a whole packet stays whole");
    Some(out[..written.there].to_vec())
}

fn in_ipv6(packet: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![0xa5; packet.len() + 2 * GROWTH];
    let written = to_ipv6(packet, host(), false, &mut out)?;
    assert_eq!(written.there, written.declared, "a whole packet stays whole");
    Some(out[..written.there].to_vec())
}

#[test]
fn packets_of_the_host_become_the_ipv4_packets_that_another_program_made() {
    for (what, ipv6, ipv4) in [
        ("a datagram with a traffic class", UDP_OUT_IPV6, UDP_OUT_IPV4),
        ("a segment", TCP_OUT_IPV6, TCP_OUT_IPV4),
        ("an echo", ECHO_OUT_IPV6, ECHO_OUT_IPV4),
        (
            "port unreachable, about a datagram that came",
            UNREACHABLE_OUT_IPV6,
            UNREACHABLE_OUT_IPV4,
        ),
        ("a first fragment", FRAGMENT_IN_IPV6, FRAGMENT_IN_IPV4),
        ("a later fragment", LATER_IN_IPV6, LATER_IN_IPV4),
    ] {
        assert_eq!(in_ipv4(&octets(ipv6)), Some(octets(ipv4)), "{what}");
    }
}

#[test]
fn packets_for_the_host_become_the_ipv6_packets_that_another_program_made() {
    for (what, ipv4, ipv6) in [
        ("a datagram", UDP_OUT_IPV4, UDP_OUT_IPV6),
        ("a segment", TCP_OUT_IPV4, TCP_OUT_IPV6),
        ("an echo", ECHO_OUT_IPV4, ECHO_OUT_IPV6),
        (
            "fragmentation needed, about a segment that was sent",
            TOO_BIG_IN_IPV4,
            TOO_BIG_IN_IPV6,
        ),
        ("a first fragment", FRAGMENT_IN_IPV4, FRAGMENT_IN_IPV6),
        ("a later fragment", LATER_IN_IPV4, LATER_IN_IPV6),
    ] {
        assert_eq!(in_ipv6(&octets(ipv4)), Some(octets(ipv6)), "{what}");
    }
}

/// Type, code, and the four octets behind the checksum.
type InIpv4 = (u8, u8, [u8; 4]);
type InIpv6 = (u8, u8, u32);

/// An ICMP error about UDP_OUT, in IPv4, for the host.
fn error4(kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv4([203, 0, 113, 1], [0; 4], 64)
        .icmpv4_raw(kind, code, rest)
        .write(&mut packet, &octets(UDP_OUT_IPV4))
        .expect("a Vec can be written");
    packet
}

/// The same in IPv6, from the host about what came.
fn error6(kind: u8, code: u8, rest: [u8; 4]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ipv6(host().octets(), embedded([198, 51, 100, 7].into()).octets(), 64)
        .icmpv6_raw(kind, code, rest)
        .write(&mut packet, &octets(FRAGMENT_IN_IPV6)[..])
        .expect("a Vec can be written");
    packet
}

/// RFC 7915 section 4.2.
#[test]
fn errors_of_ipv4_have_these_counterparts() {
    let cases: [(InIpv4, Option<InIpv6>); 14] = [
        ((3, 0, [0; 4]), Some((1, 0, 0))),
        ((3, 2, [0; 4]), Some((4, 1, 6))),
        ((3, 3, [0; 4]), Some((1, 4, 0))),
        ((3, 4, [0, 0, 5, 0xdc]), Some((2, 0, 1520))),
        ((3, 4, [0, 0, 2, 0x40]), Some((2, 0, 1280))),
        ((3, 13, [0; 4]), Some((1, 1, 0))),
        ((3, 14, [0; 4]), None),
        ((4, 0, [0; 4]), None),
        ((5, 1, [0; 4]), None),
        ((11, 0, [0; 4]), Some((3, 0, 0))),
        ((12, 0, [8, 0, 0, 0]), Some((4, 0, 7))),
        ((12, 0, [10, 0, 0, 0]), None),
        ((12, 1, [0; 4]), None),
        ((13, 0, [0; 4]), None),
    ];
    for ((kind, code, rest), expected) in cases {
        let found = in_ipv6(&error4(kind, code, rest)).map(|packet| {
            let rest = u32::from_be_bytes([packet[44], packet[45], packet[46], packet[47]]);
            (packet[40], packet[41], rest)
        });
        assert_eq!(found, expected, "type {kind} code {code} {rest:?}");
    }
}

/// RFC 7915 section 5.2.
#[test]
fn errors_of_ipv6_have_these_counterparts() {
    let cases: [(InIpv6, Option<InIpv4>); 10] = [
        ((1, 0, 0), Some((3, 1, [0; 4]))),
        ((1, 1, 0), Some((3, 10, [0; 4]))),
        ((1, 4, 0), Some((3, 3, [0; 4]))),
        ((1, 5, 0), None),
        ((2, 0, 1500), Some((3, 4, [0, 0, 5, 0xc8]))),
        ((3, 1, 0), Some((11, 1, [0; 4]))),
        ((4, 0, 6), Some((12, 0, [9, 0, 0, 0]))),
        ((4, 0, 2), None),
        ((4, 1, 6), Some((3, 2, [0; 4]))),
        ((133, 0, 0), None),
    ];
    for ((kind, code, rest), expected) in cases {
        let found = in_ipv4(&error6(kind, code, rest.to_be_bytes()));
        let found = found.map(|packet| (packet[20], packet[21], [packet[24], packet[25], packet[26], packet[27]]));
        assert_eq!(found, expected, "type {kind} code {code} {rest}");
    }
}

/// RFC 1191 section 7, for a router that does not say its MTU: the packet was 2000 octets long.
#[test]
fn an_mtu_that_is_not_said_is_the_next_plateau() {
    let mut error = error4(3, 4, [0; 4]);
    error[30..32].copy_from_slice(&2000_u16.to_be_bytes());
    let packet = in_ipv6(&error).expect("an error");
    assert_eq!(packet[44..48], 1512_u32.to_be_bytes());
}

#[test]
fn an_error_about_an_error_and_a_datagram_without_a_checksum_in_fragments_are_not_translated() {
    let mut nested = error4(3, 3, [0; 4]);
    let inner = error4(11, 0, [0; 4]);
    nested.truncate(28);
    nested.extend(&inner);
    let total = nested.len() as u16;
    nested[2..4].copy_from_slice(&total.to_be_bytes());
    assert_eq!(in_ipv6(&nested), None);
    let mut fragment = octets(FRAGMENT_IN_IPV4);
    fragment[26..28].fill(0);
    assert_eq!(in_ipv6(&fragment), None);
    // RFC 7915 section 4.5: a whole one is given a checksum.
    let mut whole = octets(UDP_OUT_IPV4);
    whole[26..28].fill(0);
    assert_eq!(in_ipv6(&whole), Some(octets(UDP_OUT_IPV6)));
}

#[test]
fn a_source_route_and_a_routing_header_that_are_not_at_their_end_keep_a_packet_out() {
    let mut routed = octets(UDP_OUT_IPV4);
    routed[0] = 0x47;
    routed.splice(20..20, [131, 7, 4, 10, 0, 0, 1, 0]);
    let total = routed.len() as u16;
    routed[2..4].copy_from_slice(&total.to_be_bytes());
    assert_eq!(in_ipv6(&routed), None);
    // At its end, and any other option, is left out.
    routed[22] = 8;
    assert_eq!(in_ipv6(&routed), Some(octets(UDP_OUT_IPV6)));
    let with = |left: u8| {
        let mut packet = octets(UDP_OUT_IPV6);
        packet[6] = ROUTING;
        packet.splice(40..40, [17, 0, 0, left, 0, 0, 0, 0]);
        let payload = packet.len() as u16 - 40;
        packet[4..6].copy_from_slice(&payload.to_be_bytes());
        packet
    };
    assert_eq!(in_ipv4(&with(1)), None);
    assert_eq!(in_ipv4(&with(0)), Some(octets(UDP_OUT_IPV4)));
}

#[test]
fn a_longer_packet_may_not_be_split_on_its_way() {
    for (payload, field) in [(1260 - 28, 0), (1261 - 28, 0x40)] {
        let mut packet = Vec::new();
        let udp = PacketBuilder::ipv6(host().octets(), embedded([198, 51, 100, 7].into()).octets(), 64).udp(1, 2);
        udp.write(&mut packet, &vec![7; payload]).expect("a Vec can be written");
        assert_eq!(in_ipv4(&packet).expect("a datagram")[6], field, "{payload}");
    }
}

#[test]
fn fragments_of_ipv6_together_are_the_packet_and_each_fits() {
    let mut frame = vec![0; 12];
    frame.extend([0x86, 0xdd]);
    let payload: Vec<u8> = (0..4000_u32).map(|octet| octet as u8).collect();
    PacketBuilder::ipv6(host().octets(), embedded([198, 51, 100, 7].into()).octets(), 64)
        .udp(1, 2)
        .write(&mut frame, &payload)
        .expect("a Vec can be written");
    let whole = frame[54..].to_vec();
    let (mut joined, mut again) = (vec![0; whole.len()], vec![0; whole.len()]);
    let put = |piece: &[u8], into: &mut Vec<u8>, most: usize| {
        assert!(piece.len() - 14 <= most, "{}", piece.len());
        let chain = Chain::of(&piece[14..]).expect("a chain");
        let (field, identification) = chain.fragment.expect("a fragment");
        assert_eq!((chain.protocol, identification), (17, 99));
        let part = &piece[14 + chain.offset..];
        let offset = usize::from(field & 0xfff8);
        into[offset..offset + part.len()].copy_from_slice(part);
        assert_eq!(field & 1 == 0, offset + part.len() == 4008, "the last one says so");
    };
    let mut pieces = Vec::new();
    fragment_ipv6(&frame, 1500, 99, |piece| pieces.push(piece.to_vec()));
    assert_eq!(pieces.len(), 3);
    for piece in pieces {
        put(&piece, &mut joined, 1500);
        // A fragment is split further.
        fragment_ipv6(&piece, 1280, 7, |piece| put(piece, &mut again, 1280));
    }
    assert_eq!((joined, again), (whole.clone(), whole));
}

proptest! {
    /// The model: another encoder makes the packet in both families.
    #[test]
    fn a_packet_is_the_one_that_would_have_been_made_in_the_other_family(
        ports: (u16, u16), payload in prop::collection::vec(any::<u8>(), 0..60), kind in 0..3, remote: [u8; 4], ttl in 1..=255_u8,
    ) {
        prop_assume!(remote != [0; 4]);
        let other = embedded(remote.into()).octets();
        let (mut ipv6, mut ipv4) = (Vec::new(), Vec::new());
        let (six, four) = (PacketBuilder::ipv6(host().octets(), other, ttl), PacketBuilder::ipv4([0; 4], remote, ttl));
        match kind {
            0 => {
                six.udp(ports.0, ports.1).write(&mut ipv6, &payload).unwrap();
                four.udp(ports.0, ports.1).write(&mut ipv4, &payload).unwrap();
            }
            1 => {
                six.tcp(ports.0, ports.1, 1, 2).write(&mut ipv6, &payload).unwrap();
                four.tcp(ports.0, ports.1, 1, 2).write(&mut ipv4, &payload).unwrap();
            }
            _ => {
                six.icmpv6_echo_request(ports.0, ports.1).write(&mut ipv6, &payload).unwrap();
                four.icmpv4_echo_request(ports.0, ports.1).write(&mut ipv4, &payload).unwrap();
            }
        }
        let found = in_ipv4(&ipv6).expect("a packet");
        // The encoder sets DF and no identification.
        let mut header = Ipv4Header::from_slice(&ipv4).expect("a header").0;
        (header.dont_fragment, header.fragment_offset) = (false, IpFragOffset::ZERO);
        header.identification = u16::from_be_bytes([found[4], found[5]]);
        header.header_checksum = header.calc_header_checksum();
        let expected = [&header.to_bytes()[..], &ipv4[20..]].concat();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(in_ipv6(&ipv4), Some(ipv6));
    }

    #[test]
    fn arbitrary_octets_do_no_harm(octets in prop::collection::vec(any::<u8>(), 0..120), version in 0..2, pending: bool, room in 0..200_usize) {
        let mut octets = octets;
        if let Some(first) = octets.first_mut() {
            *first = if version == 0 { 0x45 } else { 0x60 };
        }
        let mut out = vec![0; room];
        for written in [to_ipv4(&octets, pending, &mut out), to_ipv6(&octets, host(), pending, &mut out)].into_iter().flatten() {
            prop_assert!(written.there <= room && written.there <= written.declared);
        }
        fragment_ipv6(&octets, 1280, 1, |_| ());
    }

    /// What rules read of the beginning of a packet is what they would read of the whole.
    #[test]
    fn a_beginning_is_translated_like_the_whole(length in 200..1400_usize, cut in 100..200_usize, about: bool) {
        let mut packet = Vec::new();
        let payload = vec![7; length];
        PacketBuilder::ipv4([198, 51, 100, 7], [0; 4], 64).udp(53, 5000).write(&mut packet, &payload).unwrap();
        if about {
            let mut quoted = Vec::new();
            PacketBuilder::ipv4([0; 4], [198, 51, 100, 7], 64).udp(5000, 53).write(&mut quoted, &payload).unwrap();
            packet.clear();
            PacketBuilder::ipv4([203, 0, 113, 1], [0; 4], 64).icmpv4_raw(3, 3, [0; 4]).write(&mut packet, &quoted).unwrap();
        }
        let whole = in_ipv6(&packet).expect("a packet");
        let mut out = vec![0; cut];
        let written = to_ipv6(&packet[..cut], host(), false, &mut out).expect("a beginning");
        prop_assert_eq!(written.declared, whole.len());
        prop_assert_eq!(&out[..40], &whole[..40]);
    }
}
