//! Sends requests at an even pace, whatever the answers, and receives the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::icmp::Echo;
use super::{Log, ProbeError, ProbeKind, ProbeSpec, io};

/// Every request begins with it, so that it is recognized in a capture.
pub(super) const MAGIC: [u8; 8] = *b"vpcprobe";

/// The payload of a request: the magic and its number.
pub(super) fn payload(number: u64) -> [u8; 16] {
    let mut payload = [0; 16];
    payload[..8].copy_from_slice(&MAGIC);
    payload[8..].copy_from_slice(&number.to_be_bytes());
    payload
}

/// The number in a payload, and the octets behind it.
pub(super) fn number(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (head, rest) = payload.split_first_chunk::<16>()?;
    let (magic, number) = head.split_first_chunk::<8>()?;
    let number = u64::from_be_bytes(number.try_into().ok()?);
    (*magic == MAGIC).then_some((number, rest))
}

/// Runs a stream in the namespace of the calling thread until it is stopped. `ready` is signalled when the first
/// request can be sent.
pub(super) fn run(
    spec: &ProbeSpec,
    log: &Arc<Log>,
    ready: &Sender<()>,
    stopped: oneshot::Receiver<()>,
) -> Result<(), ProbeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("make a runtime"))?;
    runtime.block_on(async {
        match spec.kind {
            ProbeKind::Icmp => {
                let echo = Echo::open(spec.target).map_err(io("open an ICMP socket"))?;
                let _ = ready.send(());
                datagrams(
                    spec,
                    log,
                    stopped,
                    async |n| echo.send(n).await,
                    async || echo.receive().await,
                )
                .await;
            }
            ProbeKind::Udp => {
                let local: SocketAddr = if spec.target.is_ipv6() {
                    ([0_u16; 8], 0).into()
                } else {
                    ([0_u8; 4], 0).into()
                };
                let socket = UdpSocket::bind(local).await.map_err(io("open a UDP socket"))?;
                let to = SocketAddr::new(spec.target, spec.port());
                let _ = ready.send(());
                let send = async |n| socket.send_to(&payload(n), to).await.map(drop);
                let receive = async || {
                    let mut buffer = [0; 2048];
                    let length = socket.recv(&mut buffer).await?;
                    Ok(number(&buffer[..length]).map(|(number, by)| (number, name(by))))
                };
                datagrams(spec, log, stopped, send, receive).await;
            }
            ProbeKind::Tcp | ProbeKind::Http => {
                let _ = ready.send(());
                connections(spec, log, stopped).await;
            }
        }
        Ok(())
    })
}

/// The name in an answer.
fn name(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A stream of datagrams.
async fn datagrams(
    spec: &ProbeSpec,
    log: &Log,
    mut stopped: oneshot::Receiver<()>,
    send: impl AsyncFn(u64) -> std::io::Result<()>,
    receive: impl AsyncFn() -> std::io::Result<Option<(u64, Option<String>)>>,
) {
    let sending = async {
        let mut pace = interval(spec.interval());
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            pace.tick().await;
            let number = log.begin();
            if let Err(error) = send(number as u64).await {
                log.fail(number, &error);
            }
        }
    };
    let receiving = async {
        loop {
            match receive().await {
                Ok(Some((number, by))) => log.answer(number as usize, by),
                Ok(None) => {}
                // An ICMP error came back; it does not matter for which request.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::pin!(receiving);
    tokio::select! {
        _ = &mut stopped => {}
        () = sending => {}
        () = &mut receiving => {}
    }
    // The last requests get their full timeout.
    let answered = async {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            if log
                .lock()
                .iter()
                .rev()
                .take(spec.rate as usize)
                .all(|r| r.answered.is_some() || r.error.is_some())
            {
                return;
            }
        }
    };
    let wait = async {
        tokio::select! {
            () = receiving => {}
            () = answered => {}
        }
    };
    // Answers that are not there by now are lost.
    let _ = timeout(spec.timeout.get(), wait).await;
}

/// A stream of connections, each in a task of its own.
async fn connections(spec: &ProbeSpec, log: &Arc<Log>, mut stopped: oneshot::Receiver<()>) {
    let mut pace = interval(spec.interval());
    pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            _ = pace.tick() => {}
            Some(_) = running.join_next() => continue,
        }
        let number = log.begin();
        let (spec, log) = (spec.clone(), Arc::clone(log));
        running.spawn(async move {
            match timeout(spec.timeout.get(), connect(&spec, &log, number)).await {
                Ok(Ok(by)) => log.answer(number, by),
                Ok(Err(error)) => log.fail(number, &error),
                Err(_) => {}
            }
        });
    }
    while running.join_next().await.is_some() {}
}

async fn connect(spec: &ProbeSpec, log: &Log, number: usize) -> std::io::Result<Option<String>> {
    let socket = if spec.target.is_ipv6() {
        TcpSocket::new_v6()?
    } else {
        TcpSocket::new_v4()?
    };
    // Bound before connecting, so that the port identifies the handshake in the switch's record.
    let local: SocketAddr = if spec.target.is_ipv6() {
        ([0_u16; 8], 0).into()
    } else {
        ([0_u8; 4], 0).into()
    };
    socket.bind(local)?;
    let port = socket.local_addr()?.port();
    if let Some(request) = log.lock().get_mut(number) {
        request.port = Some(port);
    }
    let mut stream = socket.connect(SocketAddr::new(spec.target, spec.port())).await?;
    // Closing must not leave the port in TIME_WAIT.
    stream.set_zero_linger()?;
    if spec.kind == ProbeKind::Http {
        get(spec, &mut stream).await
    } else {
        Ok(None)
    }
}

/// Sends a GET request; returns the `Server` header.
async fn get(spec: &ProbeSpec, stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let path = spec.path.as_deref().unwrap_or("/");
    let host = SocketAddr::new(spec.target, spec.port());
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: localvpc\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") && answer.len() < 1 << 16 {
        match stream.read(&mut buffer).await? {
            0 => break,
            length => answer.extend_from_slice(&buffer[..length]),
        }
    }
    let text = String::from_utf8_lossy(&answer);
    let mut lines = text.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse::<u16>().ok());
    match status {
        Some(status) if status < 500 => Ok(lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("server").then(|| value.trim().to_owned())
        })),
        Some(status) => Err(std::io::Error::other(format!("HTTP status {status}"))),
        None => Err(std::io::Error::other("no HTTP answer")),
    }
}
