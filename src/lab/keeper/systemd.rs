//! Stores descriptors with systemd, for a server that is one of its services: what systemd holds outlives the service, the keeper
//! included (systemd.service(5), `FileDescriptorStoreMax=`; sd_pid_notify_with_fds(3)).
//!
//! | a message to `NOTIFY_SOCKET` | what systemd does |
//! |---|---|
//! | `FDSTORE=1`, `FDNAME=name`, descriptors | holds copies of them |
//! | `FDSTOREREMOVE=1`, `FDNAME=name` | closes those of this name |
//!
//! The next process of the service has them from number 3 on, with their names in `LISTEN_FDNAMES` (sd_listen_fds(3)). systemd
//! promises no order, so the text of an entry is a file of its own, under the name of the entry and [`TEXT`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{ForeignRawFd, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// The end of the name of an entry's text.
const TEXT: &str = "=text";

/// The first descriptor that systemd gives (sd_listen_fds(3), `SD_LISTEN_FDS_START`).
const FIRST: i32 = 3;

/// systemd closes what it has of more than this length (sd_notify(3), `FDNAME=`).
const LONGEST: usize = 255;

/// An entry that systemd holds.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: String,
    pub(super) text: String,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// The store of this service.
#[derive(Debug)]
pub(super) struct FdStore(UnixDatagram);

impl FdStore {
    /// The store, where this process is a service that has one: systemd says how many descriptors it holds in `FDSTORE`.
    pub(super) fn of_environment() -> Option<Self> {
        std::env::var_os("FDSTORE").filter(|most| most != "0")?;
        let socket = std::env::var_os("NOTIFY_SOCKET")?;
        Self::at(&socket)
            .inspect_err(|error| tracing::warn!(%error, "devices are not stored with systemd"))
            .ok()
    }

    /// The store behind a socket: a path, or a name in the abstract namespace after `@` (sd_notify(3)).
    fn at(socket: &OsString) -> io::Result<Self> {
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        let notify = UnixDatagram::unbound()?;
        notify.connect_addr(&address)?;
        Ok(Self(notify))
    }

    /// Stores copies of descriptors, with a text.
    pub(super) fn put(&self, key: &str, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut file = File::from(memfd_create("localvpc-entry", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        self.send("FDSTORE=1", &format!("{key}{TEXT}"), &[file.as_fd()])?;
        self.send("FDSTORE=1", key, descriptors)
    }

    /// Has systemd close those of an entry.
    pub(super) fn remove(&self, key: &str) -> io::Result<()> {
        self.send("FDSTOREREMOVE=1", key, &[])?;
        self.send("FDSTOREREMOVE=1", &format!("{key}{TEXT}"), &[])
    }

    fn send(&self, word: &str, name: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let fits = |octet: u8| octet.is_ascii_graphic() && octet != b':';
        if name.len() > LONGEST || !name.bytes().all(fits) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is no FDNAME"),
            ));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("too many descriptors for one message"));
        }
        // A device whose other end has hung up is not to be taken out of the store: its next server finds that.
        let message = format!("{word}\nFDNAME={name}\nFDPOLL=0\n");
        sendmsg(
            &self.0,
            &[IoSlice::new(message.as_bytes())],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }
}

/// The entries that systemd has given to this process. Descriptors without the text of an entry are no entry, and are closed.
pub(super) fn given() -> io::Result<Vec<Stored>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i32>().ok();
    let own = getpid().as_raw_nonzero().get();
    let count = match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(process), Some(count)) if process == own && count > 0 => count,
        // They are another process's, whose environment this one has.
        _ => return Ok(Vec::new()),
    };
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let pidfd = pidfd_open(getpid(), PidfdFlags::empty())?;
    let mut named = Vec::new();
    for (name, number) in names.split(':').zip(FIRST..FIRST.saturating_add(count)) {
        // A copy that programs in hosts do not inherit, and nothing under the old number.
        let copy = pidfd_getfd(&pidfd, number as ForeignRawFd, PidfdGetfdFlags::empty())?;
        nix::unistd::close(number)?;
        named.push((name.to_owned(), copy));
    }
    entries(named)
}

/// Puts descriptors under their names together.
fn entries(named: Vec<(String, OwnedFd)>) -> io::Result<Vec<Stored>> {
    let (texts, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|(name, _)| name.ends_with(TEXT));
    let mut found = Vec::new();
    for (name, file) in texts {
        let (mut file, mut text) = (File::from(file), String::new());
        file.rewind()?;
        file.read_to_string(&mut text)?;
        found.push(Stored {
            key: name.trim_end_matches(TEXT).to_owned(),
            text,
            descriptors: Vec::new(),
        });
    }
    for (name, descriptor) in others {
        if let Some(entry) = found.iter_mut().find(|entry| entry.key == name) {
            entry.descriptors.push(descriptor);
        }
    }
    found.retain(|entry| !entry.descriptors.is_empty());
    Ok(found)
}

#[cfg(test)]
mod tests {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// What a service manager receives: one message and its descriptors.
    fn received(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
        let mut octets = [0; 1000];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [io::IoSliceMut::new(&mut octets)];
        let length = recvmsg(manager, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
            .unwrap()
            .bytes;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                descriptors.extend(fds);
            }
        }
        (String::from_utf8(octets[..length].to_vec()).unwrap(), descriptors)
    }

    fn name(message: &str) -> &str {
        message.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap()
    }

    #[test]
    fn what_is_stored_with_systemd_comes_back_in_any_order_with_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let store = FdStore::at(&path.into_os_string()).unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let key = "port/eni-0123456789abcdef0#00ff";
        let text = r#"{"mtu":9001,"in_host":false}"#;
        store.put(key, text, &[writer.as_fd()]).unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            let (message, mut descriptors) = received(&manager);
            assert!(message.starts_with("FDSTORE=1\n"), "{message}");
            held.push((name(&message).to_owned(), descriptors.pop().unwrap()));
            assert!(descriptors.is_empty());
        }
        drop(writer);
        held.reverse();
        // Sockets of the unit, which are no entries.
        held.push(("other.socket".to_owned(), io::pipe().unwrap().0.into()));
        let [entry] = <[Stored; 1]>::try_from(entries(held).unwrap()).unwrap();
        assert_eq!((entry.key.as_str(), entry.text.as_str()), (key, text));
        let [writer] = <[OwnedFd; 1]>::try_from(entry.descriptors).unwrap();
        File::from(writer).write_all(b"x").unwrap();
        let mut octets = Vec::new();
        reader.read_to_end(&mut octets).unwrap();
        assert_eq!(octets, b"x");

        store.remove(key).unwrap();
        let removed = [received(&manager).0, received(&manager).0];
        assert!(removed.iter().all(|message| message.starts_with("FDSTOREREMOVE=1\n")));
        assert_eq!(
            removed.each_ref().map(|message| name(message).to_owned()),
            [key.to_owned(), format!("{key}{TEXT}")]
        );
    }

    #[test]
    fn a_name_that_systemd_would_not_take_is_refused() {
        let (manager, ours) = UnixDatagram::pair().unwrap();
        let store = FdStore(ours);
        for name in ["a:b", "a b", "a\n", &"x".repeat(256)] {
            assert!(store.remove(name).is_err(), "{name:?}");
        }
        manager.set_nonblocking(true).unwrap();
        assert!(manager.recv(&mut [0; 10]).is_err(), "a part of it was sent");
    }
}
