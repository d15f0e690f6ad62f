//! Parses and writes DHCP messages of both versions. A client's message is parsed strictly; a server's is written.
//!
//! `dhcproto` writes the options. It does not parse requests: its parser treats a truncated option as the end of the
//! message, follows nested options without a limit, and subtracts from lengths that a client chose, so that one
//! datagram of a guest could end the switch. The tests parse every answer with it as a second opinion.

pub mod v4;
pub mod v6;

/// Bytes that are not a DHCP message: a length, a count or a fixed field contradicts the RFCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// An answer longer than the client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Stores an option that a message may contain once.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}
