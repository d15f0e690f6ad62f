//! Splits an IPv4 packet into fragments, as a router does where the next link is narrower (RFC 791 section 3.2).

use super::checksum::Sum;
use super::frame::ETHERNET_HEADER;

/// Calls `emit` for each fragment of a frame's packet, a frame each, which is written into `room`. A packet that fits is one
/// fragment; one that is a fragment itself is split further.
pub fn fragment(frame: &[u8], mtu: u16, room: &mut [u8], mut emit: impl FnMut(&[u8])) {
    let Some((ethernet, packet)) = frame.split_at_checked(ETHERNET_HEADER) else {
        return;
    };
    let length = packet.first().map_or(0, |octet| usize::from(octet & 0x0f) * 4);
    let total = packet
        .get(2..4)
        .map_or(0, |field| usize::from(u16::from_be_bytes([field[0], field[1]])));
    if length < 20 || total < length || total > packet.len() {
        return;
    }
    let (header, payload) = packet[..total].split_at(length);
    let field = u16::from_be_bytes([header[6], header[7]]);
    let most = usize::from(mtu).saturating_sub(length) & !7;
    if most == 0 || room.len() < ETHERNET_HEADER + usize::from(mtu) {
        return;
    }
    let last = payload.len().div_ceil(most).max(1) - 1;
    for (number, part) in payload.chunks(most).enumerate() {
        let octets = ETHERNET_HEADER + length + part.len();
        let piece = &mut room[..octets];
        piece[..ETHERNET_HEADER].copy_from_slice(ethernet);
        let (own, rest) = piece[ETHERNET_HEADER..].split_at_mut(length);
        own.copy_from_slice(header);
        rest.copy_from_slice(part);
        // At most the MTU, and at most the offset of an IPv4 packet.
        own[2..4].copy_from_slice(&((length + part.len()) as u16).to_be_bytes());
        let more = if number < last { 0x2000 } else { field & 0x2000 };
        let offset = (field & 0x1fff) + (number * most / 8) as u16;
        own[6..8].copy_from_slice(&(field & 0xc000 | more | offset).to_be_bytes());
        own[10..12].fill(0);
        let sum = Sum::new().bytes(own).complement();
        own[10..12].copy_from_slice(&sum.to_be_bytes());
        emit(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Ipv4Packet;

    #[test]
    fn fragments_together_are_the_packet_and_each_fits() {
        let payload: Vec<u8> = (0..4001_u32).map(|octet| octet as u8).collect();
        let mut frame = vec![0; 12];
        frame.extend([8, 0]);
        let ip = etherparse::Ipv4Header {
            identification: 7,
            ..etherparse::Ipv4Header::new(4001, 64, etherparse::IpNumber::UDP, [10, 0, 0, 1], [10, 0, 0, 2]).unwrap()
        };
        ip.write(&mut frame).unwrap();
        frame.extend(&payload);
        frame[14 + 6] = 0;
        let mut seen = vec![0; payload.len()];
        let (mut count, mut ends) = (0, 0);
        fragment(&frame, 1500, &mut [0; 2000], |piece| {
            assert!(piece.len() <= 14 + 1500);
            let packet = Ipv4Packet::parse(&piece[14..]).unwrap();
            let header = etherparse::Ipv4Header::from_slice(&piece[14..]).unwrap().0;
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let at = usize::from(packet.fragment_offset);
            seen[at..at + packet.payload().len()].copy_from_slice(packet.payload());
            count += 1;
            ends += u32::from(!header.more_fragments);
        });
        assert_eq!((count, ends), (3, 1));
        assert_eq!(seen, payload);
    }
}
