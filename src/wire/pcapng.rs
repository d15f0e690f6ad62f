//! Writes captures in the pcapng format (draft-ietf-opsawg-pcapng) for Wireshark and tcpdump: one section, a
//! description per interface, time in nanoseconds, and for each packet its direction and a comment with its verdict.
//!
//! The functions append whole blocks to a buffer, so that a capture can be written or sent while it runs.

use std::time::Duration;

/// Type of a section header block (draft section 4.1).
const SECTION_HEADER: u32 = 0x0A0D_0D0A;
/// Type of an interface description block (4.2).
const INTERFACE_DESCRIPTION: u32 = 1;
/// Type of an interface statistics block (4.6).
const INTERFACE_STATISTICS: u32 = 5;
/// Type of an enhanced packet block (4.3).
const ENHANCED_PACKET: u32 = 6;
/// Written in the writer's byte order, from which a reader learns that order.
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

/// Options, by the numbers of the draft.
mod option {
    pub(super) const END: u16 = 0;
    pub(super) const COMMENT: u16 = 1;
    pub(super) const SHB_USERAPPL: u16 = 4;
    pub(super) const IF_NAME: u16 = 2;
    pub(super) const IF_DESCRIPTION: u16 = 3;
    pub(super) const IF_TSRESOL: u16 = 9;
    pub(super) const EPB_FLAGS: u16 = 2;
    pub(super) const ISB_IFRECV: u16 = 4;
    pub(super) const ISB_OSDROP: u16 = 7;
}

/// The longest value that an option's length field can hold, rounded down to a multiple of four.
const LONGEST_OPTION: usize = 0xfffc;

/// Direction of a packet as seen from the interface's host: the meaning of tcpdump in that host and of VPC flow logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the host.
    Inbound,
    /// From the host.
    Outbound,
}

/// One packet of a capture.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Index of the interface among the descriptions, from 0.
    pub interface: u32,
    /// Since the Unix epoch.
    pub at: Duration,
    /// Its direction.
    pub direction: Direction,
    /// Length of the packet before it was cut to the snaplen.
    pub original_length: usize,
    /// The captured octets.
    pub bytes: &'a [u8],
    /// Its verdict; empty for no comment.
    pub comment: &'a str,
}

/// Begins a section. Everything after it belongs to it.
pub fn section_header(out: &mut Vec<u8>, application: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        out.extend(1_u16.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        // The length of the section is unknown while the capture runs.
        out.extend(u64::MAX.to_le_bytes());
        text_option(out, option::SHB_USERAPPL, application);
        end_of_options(out);
    });
}

/// Describes the next interface; the first is number 0. `snaplen`: the largest number of octets captured of a packet.
pub fn interface(out: &mut Vec<u8>, name: &str, description: &str, snaplen: u32) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend(ETHERNET.to_le_bytes());
        out.extend(0_u16.to_le_bytes());
        out.extend(snaplen.to_le_bytes());
        text_option(out, option::IF_NAME, name);
        if !description.is_empty() {
            text_option(out, option::IF_DESCRIPTION, description);
        }
        // Time stamps in units of 10⁻⁹ s.
        raw_option(out, option::IF_TSRESOL, &[9]);
        end_of_options(out);
    });
}

/// Adds a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend(packet.interface.to_le_bytes());
        time(out, packet.at);
        out.extend(length(packet.bytes.len()));
        out.extend(length(packet.original_length));
        padded(out, packet.bytes);
        let flags: u32 = match packet.direction {
            Direction::Inbound => 1,
            Direction::Outbound => 2,
        };
        raw_option(out, option::EPB_FLAGS, &flags.to_le_bytes());
        if !packet.comment.is_empty() {
            text_option(out, option::COMMENT, packet.comment);
        }
        end_of_options(out);
    });
}

/// Adds an interface's statistics: packets that matched, and how many of them the capture lost.
pub fn interface_statistics(out: &mut Vec<u8>, interface: u32, at: Duration, received: u64, lost: u64, comment: &str) {
    block(out, INTERFACE_STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        time(out, at);
        raw_option(out, option::ISB_IFRECV, &received.to_le_bytes());
        raw_option(out, option::ISB_OSDROP, &lost.to_le_bytes());
        if !comment.is_empty() {
            text_option(out, option::COMMENT, comment);
        }
        end_of_options(out);
    });
}

/// A block: its type, its length, the body, its length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let total = length(out.len() - start + 4);
    out.extend(total);
    out[start + 4..start + 8].copy_from_slice(&total);
}

/// A length; no packet and no option reaches 4 GiB.
fn length(octets: usize) -> [u8; 4] {
    u32::try_from(octets).unwrap_or(u32::MAX).to_le_bytes()
}

/// Upper 32 bits first, each half in the section's byte order.
fn time(out: &mut Vec<u8>, at: Duration) {
    // Nanoseconds since 1970 fit 64 bits until the year 2554.
    let nanoseconds = at.as_nanos() as u64;
    out.extend(((nanoseconds >> 32) as u32).to_le_bytes());
    out.extend((nanoseconds as u32).to_le_bytes());
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.resize(out.len() + (bytes.len().next_multiple_of(4) - bytes.len()), 0);
}

fn raw_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    // Callers cut longer values.
    out.extend((value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    let mut end = text.len().min(LONGEST_OPTION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    raw_option(out, code, &text.as_bytes()[..end]);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend(option::END.to_le_bytes());
    out.extend([0; 2]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_header_has_the_bytes_of_the_draft() {
        let mut out = Vec::new();
        section_header(&mut out, "localvpc");
        let golden = [
            0x0a, 0x0d, 0x0d, 0x0a, 44, 0, 0, 0, // type, length
            0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, // magic, version 1.0
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // length unknown
            4, 0, 8, 0, b'l', b'o', b'c', b'a', b'l', b'v', b'p', b'c', // shb_userappl
            0, 0, 0, 0, 44, 0, 0, 0,
        ];
        assert_eq!(out, golden);
    }

    #[test]
    fn an_interface_has_a_name_a_description_and_nanoseconds() {
        let mut out = Vec::new();
        interface(&mut out, "eni-a", "web", 0x1_0000);
        let golden = [
            1, 0, 0, 0, 52, 0, 0, 0, // type, length
            1, 0, 0, 0, 0, 0, 1, 0, // Ethernet, snaplen
            2, 0, 5, 0, b'e', b'n', b'i', b'-', b'a', 0, 0, 0, // if_name
            3, 0, 3, 0, b'w', b'e', b'b', 0, // if_description
            9, 0, 1, 0, 9, 0, 0, 0, // if_tsresol
            0, 0, 0, 0, 52, 0, 0, 0,
        ];
        assert_eq!(out, golden);
    }

    #[test]
    fn a_packet_has_its_time_its_lengths_its_direction_and_its_fate() {
        let mut out = Vec::new();
        packet(
            &mut out,
            &Packet {
                interface: 1,
                at: Duration::new(4, 705_032_705), // 2³² + 1 + 400… ns: both halves count
                direction: Direction::Outbound,
                original_length: 60,
                bytes: &[1, 2, 3, 4, 5],
                comment: "drop",
            },
        );
        let at = 4_705_032_705_u64;
        let golden = [
            &[6, 0, 0, 0, 60, 0, 0, 0, 1, 0, 0, 0][..],
            &((at >> 32) as u32).to_le_bytes(),
            &(at as u32).to_le_bytes(),
            &[5, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0], // captured, original, bytes
            &[2, 0, 4, 0, 2, 0, 0, 0],                          // epb_flags: outbound
            &[1, 0, 4, 0, b'd', b'r', b'o', b'p'],              // comment
            &[0, 0, 0, 0, 60, 0, 0, 0],
        ]
        .concat();
        assert_eq!(at >> 32, 1);
        assert_eq!(out, golden);
    }

    #[test]
    fn what_a_capture_lost_is_told_in_its_statistics() {
        let mut out = Vec::new();
        interface_statistics(&mut out, 2, Duration::from_nanos(7), 5, 3, "");
        let golden = [
            5, 0, 0, 0, 52, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, // interface, time
            4, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0, // isb_ifrecv
            7, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, // isb_osdrop
            0, 0, 0, 0, 52, 0, 0, 0,
        ];
        assert_eq!(out, golden);
    }

    #[test]
    fn a_comment_that_is_too_long_is_cut_between_two_characters() {
        let mut out = Vec::new();
        let comment = "é".repeat(40_000);
        interface_statistics(&mut out, 0, Duration::ZERO, 0, 0, &comment);
        assert_eq!(out.len() % 4, 0);
        let shown = &out[48..48 + LONGEST_OPTION];
        assert!(std::str::from_utf8(shown).is_ok_and(|text| text.ends_with('é')));
    }
}
