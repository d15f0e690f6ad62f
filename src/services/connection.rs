//! Runs a TCP connection to a service through its states half-open, open and closing, each with a deadline. A peer that
//! sends slowly, reads slowly or not at all holds a few kilobytes until the deadline.

use std::net::SocketAddr;
use std::time::Duration;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{self, State};

use super::Limits;
use super::dns::stream::{Reader, framed};
use super::http::{Ended, HttpConnection, Speaker};
use super::imds::Asker;
use super::packet::Served;
use super::stack::Surroundings;
use super::tls::TlsConnection;
use super::unanswered::Unanswered;
use crate::mapping::InterfaceIndex;

/// Octets of the receive and send windows.
const RECEIVE: usize = 4096;
const SEND: usize = 8192;
/// Octets of DNS answers in the send queue.
const ANSWERS: usize = 16_384;

/// The two endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuple {
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The handshake is not complete.
    HalfOpen,
    /// Requests are read and answered.
    Open,
    /// No further request is answered.
    Closing,
}

/// The protocol of a connection.
enum Speaks {
    /// Before the first octet: there is no state.
    Nothing,
    Http(HttpConnection),
    Tls(Box<TlsConnection>),
    Dns {
        reader: Reader,
        answers: Vec<u8>,
    },
}

/// A connection.
pub(super) struct Connection {
    pub(super) tuple: Tuple,
    pub(super) handle: SocketHandle,
    pub(super) phase: Phase,
    pub(super) deadline: Duration,
    served: Served,
    speaks: Speaks,
}

/// The result of a step.
#[derive(Default)]
pub(super) struct Step {
    /// Progress was made, so another step may make more.
    pub(super) moved: bool,
    /// Complete DNS queries.
    pub(super) queries: Vec<Vec<u8>>,
    /// Why it is about to end, unless it ends as usual.
    pub(super) fault: Option<Unanswered>,
}

/// A listening socket for the next connection.
pub(super) fn listening(local: SocketAddr) -> Option<tcp::Socket<'static>> {
    let (receive, send) = (vec![0; RECEIVE], vec![0; SEND]);
    let mut socket = tcp::Socket::new(tcp::SocketBuffer::new(receive), tcp::SocketBuffer::new(send));
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.listen(smoltcp::wire::IpEndpoint::from(local)).ok()?;
    Some(socket)
}

impl Connection {
    pub(super) fn new(tuple: Tuple, handle: SocketHandle, served: Served, deadline: Duration) -> Self {
        Self {
            tuple,
            handle,
            phase: Phase::HalfOpen,
            deadline,
            served,
            speaks: Speaks::Nothing,
        }
    }

    /// Moves octets between the socket and the protocol, as far as possible.
    pub(super) fn step(
        &mut self,
        socket: &mut tcp::Socket<'_>,
        interface: InterfaceIndex,
        around: &Surroundings<'_>,
    ) -> Step {
        let (limits, now) = (around.limits, around.now);
        let mut step = Step::default();
        if self.phase == Phase::HalfOpen && !matches!(socket.state(), State::Listen | State::SynReceived) {
            (self.phase, self.deadline, step.moved) = (Phase::Open, now.saturating_add(limits.idle), true);
        }
        if self.phase != Phase::Open {
            return step;
        }
        if matches!(self.speaks, Speaks::Nothing) {
            if !socket.can_recv() {
                if !socket.may_recv() {
                    self.close(socket, limits, now);
                }
                return step;
            }
            self.speaks = self.begin(interface, around);
        }
        let deadline = &mut self.deadline;
        let over = match &mut self.speaks {
            Speaks::Nothing => false,
            Speaks::Http(http) => speak(http, socket, &mut step, deadline, (limits, now)),
            Speaks::Tls(tls) => speak(&mut **tls, socket, &mut step, deadline, (limits, now)),
            Speaks::Dns { reader, answers } => step_dns(reader, answers, socket, &mut step),
        };
        if over {
            self.close(socket, limits, now);
            step.moved = true;
        }
        step
    }

    /// When a request delayed by a fault is due.
    pub(super) fn due(&self) -> Option<Duration> {
        match &self.speaks {
            Speaks::Http(http) => http.due(),
            Speaks::Tls(tls) => tls.due(),
            Speaks::Nothing | Speaks::Dns { .. } => None,
        }
    }

    fn begin(&self, interface: InterfaceIndex, around: &Surroundings<'_>) -> Speaks {
        let to = self.tuple.local.ip();
        let asker = Asker { interface, to };
        match (self.served, around.endpoint) {
            (Served::Metadata, _) => Speaks::Http(HttpConnection::new(around.router, asker)),
            (Served::Endpoint, Some(api)) => {
                Speaks::Http(HttpConnection::new(&api.router, asker).woken_by(&api.wake, interface))
            }
            (Served::SecureEndpoint, Some(api)) => {
                let http = HttpConnection::new(&api.router, asker).woken_by(&api.wake, interface);
                let accepted = api.authority.accept(http);
                accepted.map_or(Speaks::Nothing, |tls| Speaks::Tls(Box::new(tls)))
            }
            // No connection to an endpoint is taken where there is none.
            (Served::Endpoint | Served::SecureEndpoint, None) => Speaks::Nothing,
            (Served::Dns | Served::Time, _) => Speaks::Dns {
                reader: Reader::default(),
                answers: Vec::new(),
            },
        }
    }

    fn close(&mut self, socket: &mut tcp::Socket<'_>, limits: &Limits, now: Duration) {
        socket.close();
        (self.phase, self.deadline) = (Phase::Closing, now.saturating_add(limits.closing));
    }

    /// Queues the answer to a DNS query.
    pub(super) fn answer(&mut self, message: &[u8], limits: &Limits, now: Duration) -> Result<(), Unanswered> {
        let Speaks::Dns { answers, .. } = &mut self.speaks else {
            return Err(Unanswered::AnswerLost);
        };
        let framed = framed(message).ok_or(Unanswered::AnswerLost)?;
        if answers.len() + framed.len() > ANSWERS {
            return Err(Unanswered::AnswerLost);
        }
        answers.extend(framed);
        self.deadline = now.saturating_add(limits.idle);
        Ok(())
    }
}

/// Moves octets between a socket and HTTP, inside of TLS or not, and moves the deadline. Whether it is over.
fn speak(
    http: &mut impl Speaker,
    socket: &mut tcp::Socket<'_>,
    step: &mut Step,
    deadline: &mut Duration,
    (limits, now): (&Limits, Duration),
) -> bool {
    let answered = http.answered();
    let over = step_http(http, socket, step);
    if let Some(due) = http.due() {
        // What is held up on purpose is not idle.
        *deadline = due.saturating_add(limits.idle);
    } else if http.answered() != answered {
        *deadline = now.saturating_add(limits.idle);
    }
    over
}

fn step_http(http: &mut impl Speaker, socket: &mut tcp::Socket<'_>, step: &mut Step) -> bool {
    while socket.can_recv() && http.room() > 0 {
        let room = http.room();
        let taken = socket.recv(|bytes| {
            let length = bytes.len().min(room);
            http.push(&bytes[..length]);
            (length, length)
        });
        step.moved |= taken.is_ok_and(|length| length > 0);
    }
    if !socket.may_recv() {
        http.end_input();
    }
    http.run();
    if socket.may_send() {
        // A token must not cross a hop: the TTL applies until the octets that carry it have arrived.
        if http.is_drained() && socket.send_queue() == 0 {
            http.forget_hop_limit();
        }
        socket.set_hop_limit(http.hop_limit());
        let sent = http.drain(&mut |bytes| socket.send_slice(bytes).unwrap_or(0));
        step.moved |= sent > 0;
    }
    if http.ended() == Some(Ended::Malformed) && http.is_drained() {
        step.fault = Some(Unanswered::HttpMalformed);
    }
    http.ended().is_some() && (http.is_drained() || !socket.may_send())
}

fn step_dns(reader: &mut Reader, answers: &mut Vec<u8>, socket: &mut tcp::Socket<'_>, step: &mut Step) -> bool {
    // A peer that does not read answers is not read from.
    while socket.can_recv() && reader.room() > 0 && answers.len() < ANSWERS / 2 {
        let room = reader.room();
        let taken = socket.recv(|bytes| {
            let length = bytes.len().min(room);
            reader.push(&bytes[..length]);
            (length, length)
        });
        step.moved |= taken.is_ok_and(|length| length > 0);
        loop {
            match reader.message() {
                Ok(Some(message)) => step.queries.push(message),
                Ok(None) => break,
                Err(_) => {
                    step.fault = Some(Unanswered::TooLong);
                    return true;
                }
            }
        }
        if !step.queries.is_empty() {
            break;
        }
    }
    if socket.may_send() && !answers.is_empty() {
        let sent = socket.send_slice(answers).unwrap_or(0);
        answers.drain(..sent);
        step.moved |= sent > 0;
    }
    !socket.may_recv() && answers.is_empty() && step.queries.is_empty()
}
