//! Answers probes: echoes datagrams, accepts connections, answers GET requests, and gives its name, so that a record
//! shows which of two hosts with the same address answered.
//!
//! Answers leave from the address that the request was sent to, primary or not (RFC 862; IPV6_PKTINFO of RFC 3542).

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrIn6, bind,
    listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use super::{ProbeError, io};
use crate::lab::Namespace;

/// How often the receiving thread checks whether it must stop.
const GLANCE: Duration = Duration::from_millis(50);

/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running responder. Dropping it ends it.
#[derive(Debug)]
pub struct Responder {
    stop: Arc<AtomicBool>,
    end: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    /// Starts a responder on a port of every address of a namespace, on UDP and TCP.
    pub fn start(namespace: &Namespace, name: impl Into<String>, port: u16) -> Result<Self, ProbeError> {
        let name: Arc<str> = name.into().into();
        let (datagrams, listener) = namespace
            .run(|| Ok::<_, nix::Error>((open(SockType::Datagram, port)?, open(SockType::Stream, port)?)))?
            .map_err(|error| io("open the responder's sockets")(error.into()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (end, ended) = oneshot::channel();
        let (stopped, udp_name) = (Arc::clone(&stop), Arc::clone(&name));
        let udp = std::thread::Builder::new()
            .name("responder-udp".into())
            .spawn(move || echo(&datagrams, &udp_name, &stopped))
            .map_err(io("start a thread"))?;
        // From here on dropping it ends what has started.
        let mut responder = Self {
            stop,
            end: Some(end),
            threads: vec![udp],
        };
        let tcp = std::thread::Builder::new()
            .name("responder-tcp".into())
            .spawn(move || serve(listener, &name, ended))
            .map_err(io("start a thread"))?;
        responder.threads.push(tcp);
        Ok(responder)
    }
}

/// The first argument that turns the program into a responder. Not for manual use.
pub const RESPONDER_SUBCOMMAND: &str = "instance-respond";

/// Printed by a responder process once it answers.
pub const READY: &str = "ready";

/// Runs as a responder until it is killed. `arguments` are those after [`RESPONDER_SUBCOMMAND`]: name and port. As a
/// process of an instance it freezes and ends with it.
#[expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "what this process says is all that is known of it"
)]
pub fn responder_main(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> std::process::ExitCode {
    let mut arguments = arguments.into_iter().filter_map(|argument| argument.into_string().ok());
    let (name, port) = (arguments.next(), arguments.next().and_then(|port| port.parse().ok()));
    let (Some(name), Some(port)) = (name, port) else {
        eprintln!("localvpc {RESPONDER_SUBCOMMAND}: the arguments are a name and a port");
        return std::process::ExitCode::FAILURE;
    };
    let started = Namespace::current()
        .map_err(ProbeError::from)
        .and_then(|here| Responder::start(&here, name, port));
    match started {
        Ok(_responder) => {
            println!("{READY}");
            loop {
                std::thread::park();
            }
        }
        Err(error) => {
            eprintln!("localvpc {RESPONDER_SUBCOMMAND}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // The thread may have ended already.
        let _ = self.end.take().map(|end| end.send(()));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of a responder panicked");
            }
        }
    }
}

/// A socket for both address families.
fn open(kind: SockType, port: u16) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet6, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let any = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &any)?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::new(1024)?)?;
    } else {
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(0, GLANCE.subsec_micros().into()),
        )?;
    }
    Ok(socket)
}

fn echo(socket: &OwnedFd, name: &str, stop: &AtomicBool) {
    let mut buffer = [0; 2048];
    let mut control = nix::cmsg_space!(nix::libc::in6_pktinfo);
    while !stop.load(Ordering::Acquire) {
        let (length, from, info) = {
            let mut pieces = [IoSliceMut::new(&mut buffer)];
            let received =
                recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut pieces, Some(&mut control), MsgFlags::empty());
            // A timeout, or an ICMP error for an earlier answer: wait for the next datagram.
            let Ok(received) = received else { continue };
            let info = received.cmsgs().ok().and_then(|mut messages| {
                messages.find_map(|message| match message {
                    ControlMessageOwned::Ipv6PacketInfo(info) => Some(info),
                    _ => None,
                })
            });
            (received.bytes, received.address, info)
        };
        let (Some(from), Some(mut info)) = (from, info) else {
            continue;
        };
        // The route chooses the interface, as for any other packet.
        info.ipi6_ifindex = 0;
        let answer = [IoSlice::new(&buffer[..length]), IoSlice::new(name.as_bytes())];
        let control = [ControlMessage::Ipv6PacketInfo(&info)];
        // The client may be gone; then no answer is needed.
        let _ = sendmsg(socket.as_raw_fd(), &answer, &control, MsgFlags::empty(), Some(&from));
    }
}

fn serve(listener: OwnedFd, name: &Arc<str>, ended: oneshot::Receiver<()>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        tracing::error!("no runtime for a responder: it accepts no connections");
        return;
    };
    runtime.block_on(async {
        let listener = std::net::TcpListener::from(listener);
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpListener::from_std(listener));
        let Ok(listener) = listener else {
            tracing::error!("a responder accepts no connections");
            return;
        };
        let accepting = async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let name = Arc::clone(name);
                        // A broken connection concerns its client only.
                        tokio::spawn(async move { tokio::time::timeout(PATIENCE, converse(stream, &name)).await });
                    }
                    // Out of descriptors: wait until some are free.
                    Err(_) => tokio::time::sleep(GLANCE).await,
                }
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = ended => {}
        }
    });
}

/// Echoes the input, unless it is a GET request.
async fn converse(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if buffer.starts_with(b"GET ") {
            let body = format!("{name}\n");
            let answer = format!(
                "HTTP/1.1 200 OK\r\nServer: {name}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await?;
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
    }
}
