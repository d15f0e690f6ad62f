//! DHCP messages of both versions: a client's are read strictly and borrowed, a server's are written.
//!
//! Options are written by `dhcproto`. Requests are not read by it: its reader takes a cut option for the end of the message,
//! follows nested options as deep as a message can nest them, and subtracts from lengths that a client chose, so that a
//! guest could end the switch with one datagram. The tests read every answer with it, as a second opinion.

pub mod v4;
pub mod v6;

/// Bytes that are no DHCP message: a length, a count or a fixed field contradicts the RFCs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// An answer that is longer than the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Remembers an option that may stand in a message once.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}
