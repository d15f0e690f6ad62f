//! Accepts connections and serves HTTP/1.1 on each, within limits of time and number.
//!
//! The header of a request must arrive within [`HEADER_TIME`], which is also the longest idle time of a connection. A
//! body must keep arriving ([`Paced`]), and an answer must be read ([`Patient`]). When the process has no descriptor left,
//! a reserved one accepts the next connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::ServiceExt;

use super::caller::{Caller, SocketOwners};
use super::connections::{Busy, Connections, Peer, Slot};
use super::guard::Transport;
use super::patience::{Patient, WRITE_TIME};
use super::problem::Problem;
use crate::lab::descriptors::Reserve;
use crate::model::duration::later;

/// The longest time for the header of a request, and for the wait between two requests.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// The longest time in which a body may bring nothing, or less than [`BODY_RATE`] on average.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Bytes a second below which a body is not waited for longer than [`BODY_TIME`].
const BODY_RATE: u64 = 16 * 1024;

/// Header fields of a request. A browser sends about 20.
const MOST_HEADERS: usize = 100;

/// The largest head of a request, and the read-ahead of a body.
const BUFFER: usize = 64 * 1024;

/// Connections above the limit that get an answer; further ones are closed without one.
const TURNED_AWAY: usize = 64;

/// State shared by the listeners of one server.
#[derive(Debug, Clone)]
pub(super) struct Door {
    pub(super) connections: Arc<Connections>,
    pub(super) owners: Arc<SocketOwners>,
    pub(super) reserve: Arc<Reserve>,
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
struct Accepted<S> {
    stream: S,
    transport: Transport,
    caller: Caller,
    slot: Slot,
}

impl Listener {
    /// Accepts until the server stops, waits up to `grace` for the requests under way, and aborts the others.
    pub(super) async fn serve(self, router: Router, door: Door, mut stopping: watch::Receiver<bool>, grace: Duration) {
        let mut tasks = JoinSet::new();
        let stop = stopping.clone();
        loop {
            // Removes tasks that have ended.
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => break,
                () = self.accept(&door, &router, &stop, &mut tasks) => {}
            }
        }
        drop(self);
        let deadline = Instant::from_std(later(std::time::Instant::now(), grace));
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, tasks.join_next()).await {}
        // A client that stopped in the middle of its request does not keep the server from ending.
        tasks.shutdown().await;
    }

    async fn accept(&self, door: &Door, router: &Router, stopping: &watch::Receiver<bool>, tasks: &mut JoinSet<()>) {
        let taken = match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| {
                // A small answer does not wait for the acknowledgement of the one before.
                let _ = stream.set_nodelay(true);
                let caller = tcp_caller(door, &stream, peer);
                let transport = Transport::Tcp;
                let peer = Peer::of_tcp(caller, peer.ip());
                spawn(door, router, stopping, tasks, (stream, transport, caller, peer));
            }),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let user = stream.peer_cred().map(|peer| peer.uid());
                let caller = user.map_or(Caller::Unknown, Caller::of_user);
                let peer = match caller {
                    Caller::Owner => Peer::Owner,
                    // The file's permissions admitted it: it counts as one user whose number is not known.
                    Caller::Unknown => Peer::User(u32::MAX),
                    Caller::User(user) => Peer::User(user),
                };
                spawn(door, router, stopping, tasks, (stream, Transport::Unix, caller, peer));
            }),
        };
        match taken {
            Ok(()) => door.reserve.refill(),
            Err(error) => after_failure(door, &error).await,
        }
    }
}

fn tcp_caller(door: &Door, stream: &tokio::net::TcpStream, peer: SocketAddr) -> Caller {
    let local = stream.local_addr();
    local.map_or(Caller::Unknown, |local| door.owners.caller(peer, local))
}

/// Waits until the next connection can be accepted.
async fn after_failure(door: &Door, error: &io::Error) {
    let short = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    if error.raw_os_error().is_some_and(|code| short.contains(&code)) {
        if !door.reserve.release_one() && !door.connections.give_up_one() {
            tracing::warn!("no descriptor is left for connections: detach devices, or raise the limit (ulimit -n)");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::task::yield_now().await;
        return;
    }
    // The client closed the connection while it waited (accept(2)).
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn spawn<S>(
    door: &Door,
    router: &Router,
    stopping: &watch::Receiver<bool>,
    tasks: &mut JoinSet<()>,
    (stream, transport, caller, peer): (S, Transport, Caller, Peer),
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    match door.connections.admit(peer) {
        Some(slot) => {
            let accepted = Accepted {
                stream,
                transport,
                caller,
                slot,
            };
            tasks.spawn(converse(accepted, router.clone(), stopping.clone()));
        }
        // The number of refusals in progress is limited too.
        None if tasks.len() < door.connections.limits().total + TURNED_AWAY => drop(tasks.spawn(turn_away(stream))),
        None => {}
    }
}

/// Serves the requests of one connection.
async fn converse<S>(accepted: Accepted<S>, router: Router, mut stopping: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Accepted {
        stream,
        transport,
        caller,
        slot,
    } = accepted;
    let slot = Arc::new(slot);
    let busy = Arc::clone(&slot);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (router, busy) = (router.clone(), busy.busy());
        async move {
            let mut request: Request = request.map(|body| Body::new(Paced::new(body)));
            request.extensions_mut().insert(transport);
            request.extensions_mut().insert(caller);
            let response = match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            Ok::<Response, Infallible>(response.map(|body| Body::new(Held { body, _busy: busy })))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(MOST_HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_TIME)), service);
    let mut connection = std::pin::pin!(connection);
    let mut told = false;
    loop {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = slot.given_up() => return,
            _ = stopping.wait_for(|stopping| *stopping), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers that there are too many connections.
async fn turn_away<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) {
    let service = service_fn(|_: hyper::Request<Incoming>| async {
        let problem = Problem::new(
            hyper::StatusCode::SERVICE_UNAVAILABLE,
            "RequestLimitExceeded",
            "You have as many requests under way as this server takes",
        )
        .remedy("Close some of the connections, or wait until their requests are answered.");
        let mut response = problem.into_response();
        let headers = response.headers_mut();
        headers.insert(hyper::header::RETRY_AFTER, hyper::header::HeaderValue::from_static("1"));
        headers.insert(
            hyper::header::CONNECTION,
            hyper::header::HeaderValue::from_static("close"),
        );
        Ok::<Response, Infallible>(response)
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // It has no slot of its own, so it gets little time.
    let _ = tokio::time::timeout(Duration::from_secs(1), connection).await;
}

/// The body of an answer, which keeps its request under way until it is sent or aborted.
struct Held {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which must arrive at [`BODY_RATE`] on average, apart from [`BODY_TIME`].
struct Paced<B> {
    body: B,
    until: Pin<Box<tokio::time::Sleep>>,
}

impl<B> Paced<B> {
    fn new(body: B) -> Self {
        Self {
            body,
            until: Box::pin(tokio::time::sleep(BODY_TIME)),
        }
    }
}

impl<B> HttpBody for Paced<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let octets = frame.data_ref().map_or(0, Bytes::len) as u64;
                // Each byte extends the deadline, but never beyond [`BODY_TIME`] from now.
                let earned = Duration::from_micros(octets.saturating_mul(1_000_000) / BODY_RATE);
                let now = Instant::now();
                let left = self.until.deadline().saturating_duration_since(now);
                let until = later(now.into_std(), left.saturating_add(earned).min(BODY_TIME)).into();
                self.until.as_mut().reset(until);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(other) => Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => self.until.as_mut().poll(context).map(|()| {
                Some(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the body comes too slowly",
                )
                .into()))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Full};

    use super::*;

    /// A body with one byte every `every`.
    fn dripping(every: Duration) -> impl HttpBody<Data = Bytes, Error = axum::BoxError> + Unpin {
        let drops = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(every).await;
            Some((Ok::<_, axum::BoxError>(Frame::data(Bytes::from_static(b"x"))), ()))
        });
        http_body_util::StreamBody::new(Box::pin(drops))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_after_half_a_minute() {
        for every in [
            Duration::from_millis(500),
            Duration::from_secs(29),
            Duration::from_secs(3600),
        ] {
            let began = Instant::now();
            let error = Paced::new(dripping(every)).collect().await.map(|_| ()).unwrap_err();
            assert!(error.to_string().contains("too slowly"), "{error}");
            assert!(
                began.elapsed() <= BODY_TIME + Duration::from_secs(1),
                "{:?}",
                began.elapsed()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_keeps_coming_is_read_to_its_end() {
        let pieces = futures_util::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let piece = Bytes::from(vec![0; 20_000]);
            (sent < 600).then(|| (Ok::<_, axum::BoxError>(Frame::data(piece)), sent + 1))
        });
        let body = http_body_util::StreamBody::new(Box::pin(pieces));
        let read = Paced::new(body).collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), 12_000_000);
        let whole = Paced::new(Full::new(Bytes::from_static(b"at once")))
            .collect()
            .await
            .unwrap();
        assert_eq!(whole.to_bytes(), "at once");
    }
}
