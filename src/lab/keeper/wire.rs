//! Sends and receives the messages between a server and its keeper: a length, JSON, and descriptors (SCM_RIGHTS).

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the messages. A server of another version refuses the keeper.
pub(super) const VERSION: u32 = 1;

/// Descriptors of one message.
const MOST: usize = 32;

/// The longest message: the arguments and the environment of a program are at most 2 MiB (execve(2)).
const LONGEST: u32 = 8 << 20;

/// What a server asks its keeper for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Hello,
    /// Keeps the descriptors of the message under a key; those of a former entry are closed.
    Put {
        key: String,
        text: String,
    },
    /// Closes the descriptors of an entry, and ends its process if it has one.
    Remove {
        key: String,
    },
    /// All entries, without their descriptors.
    List,
    /// The descriptors of an entry.
    Get {
        key: String,
    },
    /// Starts process 1 of an instance. Descriptors: its network namespace, its standard input, the other end of that.
    Boot {
        key: String,
        program: PathBuf,
        arguments: Vec<String>,
    },
    /// Starts a command in an instance. Descriptors: process 1, standard output, standard error; then those to keep.
    Run {
        key: String,
        text: String,
        launch: Launch,
    },
    /// Waits until the process of an entry has ended.
    Wait {
        key: String,
    },
    /// Ends everything, and the keeper.
    End,
}

/// A program to start in an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::lab) struct Launch {
    /// The program, by path or by name, and its arguments.
    pub(in crate::lab) argv: Vec<String>,
    pub(in crate::lab) environment: BTreeMap<String, String>,
    pub(in crate::lab) directory: Option<PathBuf>,
}

/// What a keeper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    Hello {
        version: u32,
        process: u32,
    },
    /// Keys and texts.
    Listed(Vec<(String, String)>),
    /// A process was started; the descriptor is its pidfd.
    Started {
        process: i32,
    },
    /// A process has ended, with this status of wait(2).
    Ended {
        status: i32,
    },
    Failed {
        /// The number of the system's error, if it is one.
        number: Option<i32>,
        not_found: bool,
        message: String,
    },
}

impl Reply {
    pub(super) fn failed(error: &io::Error) -> Self {
        Self::Failed {
            number: error.raw_os_error(),
            not_found: error.kind() == io::ErrorKind::NotFound,
            message: error.to_string(),
        }
    }

    /// The error that a keeper had.
    pub(super) fn or_error(self) -> io::Result<Self> {
        match self {
            Self::Failed {
                number: Some(number), ..
            } => Err(io::Error::from_raw_os_error(number)),
            Self::Failed {
                not_found: true,
                message,
                ..
            } => Err(io::Error::new(io::ErrorKind::NotFound, message)),
            Self::Failed { message, .. } => Err(io::Error::other(message)),
            reply => Ok(reply),
        }
    }
}

/// Sends one message.
pub fn send(stream: &UnixStream, body: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = serde_json::to_vec(body)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= LONGEST);
    let length = length.ok_or_else(|| io::Error::other("the message to the keeper is too long"))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    // The descriptors travel with the length, whose four octets are never split.
    sendmsg(
        stream,
        &[IoSlice::new(&length.to_le_bytes())],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    let mut stream = stream;
    stream.write_all(&body)
}

/// Receives one message; `None` when the other end has closed the connection.
pub fn receive<T: DeserializeOwned>(stream: &UnixStream) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut octets = [IoSliceMut::new(&mut length)];
        match recvmsg(stream, &mut octets, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => break outcome?,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other(
            "descriptors are missing: the limit of open files is reached",
        ));
    }
    let mut stream = stream;
    stream.read_exact(&mut length[received.bytes..])?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::Error::other("a message is too long"));
    }
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let key = "k".to_owned();
        send(
            &ours,
            &Request::Put {
                key,
                text: String::new(),
            },
            &[writer.as_fd()],
        )
        .unwrap();
        drop(writer);
        let (request, descriptors) = receive::<Request>(&theirs).unwrap().unwrap();
        assert!(matches!(request, Request::Put { key, .. } if key == "k"));
        let [writer] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        std::fs::File::from(writer).write_all(b"x").unwrap();
        let mut octets = Vec::new();
        reader.read_to_end(&mut octets).unwrap();
        assert_eq!(octets, b"x");
        drop(ours);
        assert!(receive::<Request>(&theirs).unwrap().is_none());
    }

    #[test]
    fn a_message_that_is_too_long_or_no_json_is_an_error() {
        for octets in [&[0xff; 8][..], &[1, 0, 0, 0, b'x'][..]] {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.write_all(octets).unwrap();
            assert!(receive::<Request>(&theirs).is_err(), "{octets:?}");
        }
    }
}
