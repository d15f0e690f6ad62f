//! Names the reasons for which a service does not answer a packet or ends a connection early, and counts them for the
//! interface that sent it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::datapath::named;
use crate::wire::validity::InvalidHeader;

named! {
    /// Why a service did not answer.
    Unanswered {
        /// Not a whole Ethernet, IP, UDP or TCP packet.
        Malformed = "malformed",
        /// An IP, UDP or TCP checksum that is wrong.
        Checksum = "checksum",
        /// A source or destination that no packet may have.
        Address = "address",
        /// A datagram longer than the services take.
        TooLong = "too_long",
        /// No service has the port at this address.
        NoSuchPort = "no_such_port",
        /// A DNS message without a whole header.
        DnsMalformed = "dns_malformed",
        /// A DNS message that is an answer itself.
        DnsResponse = "dns_response",
        /// DNS in a VPC that has it switched off.
        DnsDisabled = "dns_disabled",
        /// More forwarded DNS queries than may wait for an answer.
        DnsForwardFull = "dns_forward_full",
        /// An NTP packet that is too short.
        NtpMalformed = "ntp_malformed",
        /// An NTP packet of a version that is not served.
        NtpVersion = "ntp_version",
        /// An NTP packet that is not a client's request.
        NtpMode = "ntp_mode",
        /// More connections than an interface may have, or than there is room for.
        ConnectionLimit = "connection_limit",
        /// A half-open connection that gave way to a newer one.
        HalfOpenReplaced = "half_open_replaced",
        /// A handshake that was not completed in time.
        HandshakeTimeout = "handshake_timeout",
        /// A connection without a complete request, or without anybody reading the answer, for too long.
        IdleTimeout = "idle_timeout",
        /// A connection whose bytes are no HTTP.
        HttpMalformed = "http_malformed",
        /// An answer for which there was no room.
        AnswerLost = "answer_lost",
    }
}

impl From<InvalidHeader> for Unanswered {
    fn from(invalid: InvalidHeader) -> Self {
        match invalid {
            InvalidHeader::Checksum => Self::Checksum,
            InvalidHeader::Source | InvalidHeader::Destination => Self::Address,
        }
    }
}

/// Counters of an interface, or of all interfaces.
#[derive(Debug)]
pub struct Counters {
    /// Packets taken in.
    pub packets: AtomicU64,
    /// Packets sent.
    pub answers: AtomicU64,
    unanswered: [AtomicU64; Unanswered::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            packets: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            unanswered: [const { AtomicU64::new(0) }; Unanswered::COUNT],
        }
    }
}

impl Counters {
    pub(super) fn count(&self, reason: Unanswered) {
        self.unanswered[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often a reason occurred.
    pub fn unanswered(&self, reason: Unanswered) -> u64 {
        self.unanswered[reason as usize].load(Ordering::Relaxed)
    }

    /// The reasons that occurred, and how often.
    pub fn reasons(&self) -> Vec<(Unanswered, u64)> {
        let counts = Unanswered::ALL.iter().map(|reason| (*reason, self.unanswered(*reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}
