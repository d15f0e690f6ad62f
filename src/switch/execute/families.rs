//! Delivers packets that a NAT gateway passes on in the other family: a frame with other headers, which are longer or shorter.
//! A frame that stands for many is translated as one.

use super::super::Port;
use super::super::egress::{self, Destinations as _};
use super::super::impair::ImpairedPath;
use super::super::port::segment::complete_checksum;
use super::super::port::{ETHERNET, HEADER, LARGEST_FRAME, Offload, VnetHeader};
use super::super::round::{Round, drop_reason, longest_packet};
use super::Executor;
use crate::datapath::{DropReason, Ingress, Rewrite, View, rewrite};
use crate::wire::fragment::fragment;
use crate::wire::frame::ETHERTYPE_IPV4;
use crate::wire::siit::{self, GROWTH, fragment_ipv6};

/// Room for the largest frame in the other family, behind its offload header.
const ROOM: usize = HEADER + LARGEST_FRAME + GROWTH;

impl Executor {
    /// Delivers a frame in the other family. Faults are met by each packet.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "the fields of the verdict and of the frame")]
    pub(super) fn deliver_in_other_family(
        &mut self,
        round: &mut Round<'_>,
        view: &View,
        ingress: &Ingress<'_>,
        index: usize,
        offload: Offload,
        destination: &Port,
        (rewrite, most): (Rewrite, Option<u16>),
    ) {
        // Frames queued before go first.
        self.egress.flush(&mut self.batch, self.ring.as_mut(), round);
        let sent = self.batch.frame(index).to_vec();
        let frame = self.batch.frame_mut(index);
        // A checksum that is left to be done is done here, as what it covers changes; that of a frame which stands for many goes on
        // being left.
        let left = match offload {
            Offload::Checksum { start, offset } => {
                complete_checksum(frame, start, offset);
                Offload::None
            }
            other => other,
        };
        let pending = matches!(left, Offload::Segment(_));
        let mut slot = vec![0; ROOM];
        let Some(octets) = rewrite::in_other_family(frame, rewrite, pending, &mut slot[HEADER..]) else {
            return round.drop_unfinished(&sent, &offload, DropReason::NatProtocol);
        };
        slot.truncate(HEADER + octets);
        let left = in_other_family(left, &slot[HEADER..]);
        let pieces = match most {
            Some(most) => split(&slot[HEADER..], most),
            None if longest_packet(&left, octets) > usize::from(destination.device.mtu()) => {
                return round.drop_unfinished(&sent, &offload, DropReason::TooLong);
            }
            None => vec![slot],
        };
        round.show_delivery(&sent, &offload, destination);
        for mut piece in pieces {
            let path = view
                .faults()
                .and_then(|faults| ImpairedPath::new(faults, view, ingress, destination));
            if let Some(path) = path {
                round.send_impaired(&path, &piece, left, Rewrite::None, destination, &mut self.delayed);
                continue;
            }
            round.show_arrival(&piece[HEADER..], &left, destination);
            let octets = piece.len() - HEADER;
            let frames = match &left {
                Offload::Segment(segments) => segments.count(octets),
                Offload::None | Offload::Checksum { .. } => 1,
            };
            match egress::send(&destination.device, &mut piece, &left, &mut self.room) {
                Ok(()) => round.sent(destination.id.get(), frames, octets),
                Err(error) => round.drop(&piece[HEADER..], drop_reason(error)),
            }
        }
    }
}

/// What is left to be done for a frame, in the family that it has now.
fn in_other_family(offload: Offload, frame: &[u8]) -> Offload {
    let Offload::Segment(segments) = offload else {
        return offload;
    };
    let transport = match frame.get(12..14) {
        Some(kind) if kind == ETHERTYPE_IPV4.to_be_bytes() => ETHERNET + siit::IPV4_HEADER,
        _ => ETHERNET + siit::IPV6_HEADER,
    };
    // At most 54.
    Offload::Segment(segments.in_other_family(transport as u16))
}

/// The fragments of a frame, each behind room for an offload header.
fn split(frame: &[u8], most: u16) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let mut keep = |piece: &[u8]| pieces.push([&VnetHeader::PLAIN[..], piece].concat());
    if frame.get(12..14) == Some(&ETHERTYPE_IPV4.to_be_bytes()[..]) {
        let mut room = vec![0; HEADER + LARGEST_FRAME];
        fragment(frame, most, &mut room, keep);
    } else {
        // RFC 8200 section 4.5: other than that of other packets between these ends. What the packet holds decides it, so that a
        // packet with another content has another one.
        let content = frame
            .iter()
            .skip(ETHERNET + siit::IPV6_HEADER)
            .fold(0x811c_9dc5_u32, |hash, octet| {
                (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193)
            });
        fragment_ipv6(frame, most, content, &mut keep);
    }
    pieces
}
