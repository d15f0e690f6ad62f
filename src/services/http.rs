//! Serves HTTP over a TCP connection of a stack: hyper reads from and writes to two short queues, which the thread of
//! the stack fills and drains. Only the peer is awaited, so no executor is needed and tests control time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tower::ServiceExt;

use super::Wake as WakeServices;
use super::imds::{Alarm, Asker, HopLimit};
use crate::mapping::InterfaceIndex;

/// Octets that wait between the TCP connection and hyper, each way.
const QUEUE: usize = 4096;
/// Octets of the longest request head; hyper takes no less.
const HEAD: usize = 8192;
/// Header fields of a request.
const FIELDS: usize = 64;

#[derive(Default)]
struct Pipe {
    inbound: VecDeque<u8>,
    inbound_ended: bool,
    outbound: VecDeque<u8>,
    hop_limit: Option<u8>,
    answered: u64,
}

/// hyper's end of the queues.
struct End(Rc<RefCell<Pipe>>);

/// Remembers that the connection is to be polled again.
struct Woken {
    again: AtomicBool,
    /// The thread that runs the connection, and looks at the flag when it has polled.
    own: ThreadId,
    /// What tells that thread, where an answer comes from another.
    services: Option<(WakeServices, InterfaceIndex)>,
}

impl Woken {
    fn new(services: Option<(WakeServices, InterfaceIndex)>) -> Arc<Self> {
        Arc::new(Self {
            again: AtomicBool::new(false),
            own: std::thread::current().id(),
            services,
        })
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.again.store(true, Ordering::Release);
        if let Some((wake, interface)) = &self.services
            && std::thread::current().id() != self.own
        {
            wake(*interface);
        }
    }
}

/// What octets of a TCP connection are handed to, and taken from.
pub(super) trait Speaker {
    /// Octets that can be taken in.
    fn room(&self) -> usize;
    /// Takes octets of the peer in.
    fn push(&mut self, octets: &[u8]);
    /// The peer sends no more.
    fn end_input(&mut self);
    /// Does what can be done now.
    fn run(&mut self);
    /// Hands octets for the peer to `send`, which returns how many it took.
    fn drain(&mut self, send: &mut dyn FnMut(&[u8]) -> usize) -> usize;
    /// True when nothing waits to be sent.
    fn is_drained(&self) -> bool;
    /// Whether it is over, and how.
    fn ended(&self) -> Option<Ended>;
    /// Requests answered so far.
    fn answered(&self) -> u64;
    /// When it wants to be run again, though the peer says nothing.
    fn due(&self) -> Option<Duration>;
    /// TTL or hop limit of what is sent from now on, where it differs from the usual one.
    fn hop_limit(&self) -> Option<u8> {
        None
    }
    /// All that had its own TTL or hop limit has arrived.
    fn forget_hop_limit(&mut self) {}
}

/// An HTTP connection.
pub struct HttpConnection {
    pipe: Rc<RefCell<Pipe>>,
    served: Pin<Box<dyn Future<Output = hyper::Result<()>>>>,
    woken: Arc<Woken>,
    alarm: Alarm,
    ended: Option<Ended>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As HTTP allows.
    Properly,
    /// Because of bytes that are not HTTP.
    Malformed,
}

impl HttpConnection {
    /// A connection from `asker`, whose requests go to `router`.
    pub fn new(router: &Router, asker: Asker) -> Self {
        let pipe = Rc::new(RefCell::new(Pipe::default()));
        let (router, state, alarm) = (router.clone(), Rc::clone(&pipe), Alarm::default());
        let raised = alarm.clone();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(asker);
            request.extensions_mut().insert(raised.clone());
            let (answer, state) = (router.clone().oneshot(request), Rc::clone(&state));
            async move {
                let answer = answer.await;
                if let Ok(response) = &answer {
                    let mut pipe = state.borrow_mut();
                    pipe.hop_limit = response.extensions().get::<HopLimit>().map(|limit| limit.0);
                    pipe.answered += 1;
                }
                answer as Result<_, Infallible>
            }
        });
        let mut http = http1::Builder::new();
        // The stack's deadlines replace hyper's, which would need a timer. A host that has closed its sending side (`nc
        // -N`) still gets the answer.
        http.header_read_timeout(None)
            .max_buf_size(HEAD)
            .max_headers(FIELDS)
            .half_close(true);
        let served = Box::pin(http.serve_connection(End(Rc::clone(&pipe)), service));
        Self {
            pipe,
            served,
            woken: Woken::new(None),
            alarm,
            ended: None,
        }
    }

    /// Has the services' thread run it again when an answer comes from another thread.
    pub(super) fn woken_by(mut self, wake: &WakeServices, interface: InterfaceIndex) -> Self {
        self.woken = Woken::new(Some((Arc::clone(wake), interface)));
        self
    }

    /// When it must run again without input from the peer.
    pub(super) fn due(&self) -> Option<Duration> {
        self.alarm.due()
    }

    /// Octets that can be accepted.
    pub fn room(&self) -> usize {
        QUEUE.saturating_sub(self.pipe.borrow().inbound.len())
    }

    /// Accepts octets from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pipe.borrow_mut().inbound.extend(bytes);
    }

    /// The peer has closed its sending side.
    pub fn end_input(&mut self) {
        self.pipe.borrow_mut().inbound_ended = true;
    }

    /// Runs hyper as far as possible.
    pub fn run(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut context = Context::from_waker(&waker);
        loop {
            self.woken.again.store(false, Ordering::Release);
            match self.served.as_mut().poll(&mut context) {
                Poll::Ready(result) => {
                    let malformed = result.is_err_and(|error| error.is_parse());
                    self.ended = Some(if malformed { Ended::Malformed } else { Ended::Properly });
                    return;
                }
                Poll::Pending if !self.woken.again.load(Ordering::Acquire) => return,
                Poll::Pending => {}
            }
        }
    }

    /// Passes octets for the peer to `send`, which returns how many it accepted.
    pub fn drain(&mut self, send: impl FnOnce(&[u8]) -> usize) -> usize {
        let mut pipe = self.pipe.borrow_mut();
        let sent = send(pipe.outbound.make_contiguous());
        pipe.outbound.drain(..sent);
        sent
    }

    /// True when nothing is left to send.
    pub fn is_drained(&self) -> bool {
        self.pipe.borrow().outbound.is_empty()
    }

    /// TTL or hop limit of the next packets, where it differs from the default.
    pub fn hop_limit(&self) -> Option<u8> {
        self.pipe.borrow().hop_limit
    }

    /// Called when all octets with their own TTL or hop limit have arrived.
    pub fn forget_hop_limit(&mut self) {
        self.pipe.borrow_mut().hop_limit = None;
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.pipe.borrow().answered
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }
}

impl Speaker for HttpConnection {
    fn room(&self) -> usize {
        Self::room(self)
    }

    fn push(&mut self, octets: &[u8]) {
        Self::push(self, octets);
    }

    fn end_input(&mut self) {
        Self::end_input(self);
    }

    fn run(&mut self) {
        Self::run(self);
    }

    fn drain(&mut self, send: &mut dyn FnMut(&[u8]) -> usize) -> usize {
        Self::drain(self, send)
    }

    fn is_drained(&self) -> bool {
        Self::is_drained(self)
    }

    fn ended(&self) -> Option<Ended> {
        Self::ended(self)
    }

    fn answered(&self) -> u64 {
        Self::answered(self)
    }

    fn due(&self) -> Option<Duration> {
        Self::due(self)
    }

    fn hop_limit(&self) -> Option<u8> {
        Self::hop_limit(self)
    }

    fn forget_hop_limit(&mut self) {
        Self::forget_hop_limit(self);
    }
}

impl Read for End {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.0.borrow_mut();
        if pipe.inbound.is_empty() {
            // The code that fills the queue polls afterwards, so no waker is needed.
            return if pipe.inbound_ended {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            };
        }
        let length = into.remaining().min(pipe.inbound.len());
        into.put_slice(&pipe.inbound.make_contiguous()[..length]);
        pipe.inbound.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl Write for End {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        let length = bytes.len().min(QUEUE.saturating_sub(pipe.outbound.len()));
        if length == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        pipe.outbound.extend(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
