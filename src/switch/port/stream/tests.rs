//! Tests stream sockets: lengths, parts of frames, guests that come and go, and guests that do not read.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use proptest::prelude::*;

use super::*;

fn slot(frame: &[u8]) -> Vec<u8> {
    let mut slot = vec![0; HEADER];
    slot.extend_from_slice(frame);
    slot
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("switch");
    (directory, path)
}

/// A port on one end of a connection, and the guest's end.
fn pair() -> (StreamPort, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("sockets can be made");
    let port = StreamPort::from_fd(ours.into(), 9001).expect("it is connected");
    (port, theirs)
}

fn in_front(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("frames are short");
    [&length.to_be_bytes()[..], frame].concat()
}

fn receive(port: &StreamPort) -> Result<Vec<u8>, ReceiveError> {
    let mut slot = vec![0xa5; HEADER + LARGEST_FRAME];
    let length = port.receive(&mut slot)?;
    assert_eq!(&slot[..HEADER], &VnetHeader::PLAIN);
    Ok(slot[HEADER..HEADER + length].to_vec())
}

/// The next frame at the guest.
fn next(guest: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; LENGTH];
    guest.read_exact(&mut length).expect("a length comes");
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    guest.read_exact(&mut frame).expect("a frame comes");
    frame
}

/// Whether a worker that waits for the port would wake.
fn is_ready(port: &StreamPort) -> bool {
    let mut polled = [rustix::event::PollFd::new(port, rustix::event::PollFlags::IN)];
    let at_once = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&at_once)).expect("a poll") == 1
}

#[test]
fn the_length_in_front_has_four_octets_the_most_significant_first() {
    let (port, mut guest) = pair();
    guest.write_all(b"\x00\x00\x00\x03abc\x00\x00\x01\x00").expect("room");
    guest.write_all(&[7; 256]).expect("room");
    assert_eq!(receive(&port), Ok(b"abc".to_vec()));
    assert_eq!(receive(&port), Ok(vec![7; 256]));
    assert_eq!(receive(&port), Err(ReceiveError::Empty));

    port.send(&slot(&[9; 258])).expect("room");
    port.send_pieces(&[IoSlice::new(&slot(&[1, 2])), IoSlice::new(&[3, 4])])
        .expect("room");
    let mut octets = [0; 4 + 258 + 4 + 4];
    guest.read_exact(&mut octets).expect("both frames");
    assert_eq!(octets[..5], [0, 0, 1, 2, 9]);
    assert_eq!(octets[4 + 258..], [0, 0, 0, 4, 1, 2, 3, 4]);
}

#[test]
fn a_frame_that_comes_octet_by_octet_is_one_frame() {
    let (port, mut guest) = pair();
    let frames = [in_front(&[1; 60]), in_front(&[2; 14])].concat();
    let mut got = Vec::new();
    for octet in frames {
        guest.write_all(&[octet]).expect("room");
        assert!(is_ready(&port), "the worker wakes for a part, too");
        match receive(&port) {
            Ok(frame) => got.push(frame),
            Err(error) => assert_eq!(error, ReceiveError::Empty),
        }
        assert!(!is_ready(&port), "and sleeps when it has read it");
    }
    assert_eq!(got, [vec![1; 60], vec![2; 14]]);
}

#[test]
fn a_length_that_no_frame_has_ends_the_connection_and_a_length_of_nothing_does_not() {
    let (_directory, path) = place();
    let port = StreamPort::listen(&path, 1500).expect("the path is free");
    for length in [LARGEST_FRAME as u32 + 1, u32::MAX] {
        let mut guest = UnixStream::connect(&path).expect("the port listens");
        guest.write_all(&[0, 0, 0, 0]).expect("room");
        guest.write_all(&in_front(&[5; 20])).expect("room");
        guest.write_all(&length.to_be_bytes()).expect("room");
        assert_eq!(receive(&port), Err(ReceiveError::Length), "0");
        assert_eq!(receive(&port), Ok(vec![5; 20]));
        assert_eq!(receive(&port), Err(ReceiveError::Length), "{length}");
        assert_eq!(guest.read(&mut [0]).expect("the connection is over"), 0);
        assert_eq!(
            receive(&port),
            Err(ReceiveError::Empty),
            "the port waits for the next guest"
        );
    }
    let mut guest = UnixStream::connect(&path).expect("the port listens");
    guest.write_all(&in_front(&[6; LARGEST_FRAME])).expect("room");
    assert_eq!(receive(&port), Ok(vec![6; LARGEST_FRAME]), "the largest");
}

#[test]
fn guests_come_and_go_one_at_a_time() {
    let (_directory, path) = place();
    let port = StreamPort::listen(&path, 1500).expect("the path is free");
    assert_eq!(port.send(&slot(&[1; 60])), Err(SendError::NoPeer));
    assert_eq!(receive(&port), Err(ReceiveError::Empty));
    let mut first = UnixStream::connect(&path).expect("the port listens");
    assert!(is_ready(&port));
    assert_eq!(receive(&port), Err(ReceiveError::Empty), "it is accepted");
    let mut second = UnixStream::connect(&path).expect("the port listens");
    assert!(!is_ready(&port), "the second does not keep the worker awake");
    second.write_all(&in_front(&[2; 60])).expect("room");
    port.send(&slot(&[3; 60])).expect("the first is there");
    assert_eq!(next(&mut first), [3; 60]);

    first.write_all(&in_front(&[4; 60])[..30]).expect("room");
    assert_eq!(receive(&port), Err(ReceiveError::Empty), "half a frame");
    drop(first);
    assert!(is_ready(&port));
    assert_eq!(
        receive(&port),
        Err(ReceiveError::Empty),
        "the first is gone with its half frame"
    );
    assert!(is_ready(&port), "the second has waited");
    assert_eq!(receive(&port), Ok(vec![2; 60]));
    port.send(&slot(&[5; 60])).expect("the second is there");
    assert_eq!(next(&mut second), [5; 60]);
    second.shutdown(Shutdown::Both).expect("it is connected");
    assert_eq!(receive(&port), Err(ReceiveError::Empty));
    assert_eq!(port.send(&slot(&[1; 60])), Err(SendError::NoPeer));
}

#[test]
fn a_port_that_was_connected_is_lost_with_its_guest() {
    let (_directory, path) = place();
    assert!(StreamPort::connect(&path, 1500).is_err(), "no guest listens");
    let listener = UnixListener::bind(&path).expect("the path is free");
    let port = StreamPort::connect(&path, 1500).expect("the guest listens");
    let (mut guest, _) = listener.accept().expect("the port has connected");
    port.send(&slot(&[1; 60])).expect("room");
    assert_eq!(next(&mut guest), [1; 60]);
    drop(guest);
    assert!(is_ready(&port));
    assert_eq!(receive(&port), Err(ReceiveError::Lost));
    drop(port);
    assert!(path.exists(), "the file is the guest's");
}

#[test]
fn a_descriptor_of_another_kind_is_refused() {
    let (ours, _theirs) = std::os::unix::net::UnixDatagram::pair().expect("sockets can be made");
    let unconnected = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
    let file = std::fs::File::open("/dev/null").expect("it can be read");
    for fd in [OwnedFd::from(ours), unconnected, file.into()] {
        let error = StreamPort::from_fd(fd, 1500).expect_err("it is no connection");
        assert!(matches!(error, PortError::UnusableSocket { .. }), "{error}");
    }
}

#[test]
fn a_stale_socket_file_is_taken_over_and_a_live_one_is_not() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).expect("the path is free"));
    let port = StreamPort::listen(&path, 1500).expect("no process listens at the file");
    assert!(
        StreamPort::listen(&path, 1500).is_err(),
        "the first port is still there"
    );
    drop(port);
    assert!(!path.exists(), "the file goes with the port");
    std::fs::write(&path, "not a socket").expect("the directory can be written");
    assert!(StreamPort::listen(&path, 1500).is_err(), "a file is not overwritten");
    assert!(path.exists());
}

#[test]
fn a_guest_that_does_not_read_costs_whole_frames_and_gets_the_others_whole() {
    let (port, mut guest) = pair();
    let mut taken = Vec::new();
    let full = (0..100_000_u32).find_map(|number| {
        let frame = vec![number as u8; 20_000 + (number as usize * 7919) % 40_000];
        match port.send(&slot(&frame)) {
            Ok(()) => taken.push(frame),
            Err(error) => return Some(error),
        }
        None
    });
    assert_eq!(full, Some(SendError::Full));
    assert!(taken.len() > 2, "{}", taken.len());
    // The rest of the last frame follows without another frame: the worker wakes for it.
    let reader = std::thread::spawn(move || {
        let frames: Vec<_> = (0..taken.len()).map(|_| next(&mut guest)).collect();
        assert!(frames == taken, "a frame is not what was sent");
        guest
    });
    while !reader.is_finished() {
        if is_ready(&port) {
            assert_eq!(receive(&port), Err(ReceiveError::Empty));
        }
        std::thread::yield_now();
    }
    let mut guest = reader.join().expect("all frames were whole");
    assert!(!is_ready(&port), "nothing is left to send");
    port.send(&slot(&[1; 60])).expect("room");
    assert_eq!(next(&mut guest), [1; 60]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The stream is a queue of frames, however it is cut.
    #[test]
    fn frames_are_the_same_however_the_stream_is_cut(
        frames in prop::collection::vec(1_usize..3000, 1..12),
        cuts in prop::collection::vec(1_usize..4000, 1..40),
    ) {
        let (port, mut guest) = pair();
        let sent: Vec<Vec<u8>> = frames.iter().zip(1_u8..).map(|(&length, fill)| vec![fill; length]).collect();
        let octets: Vec<u8> = sent.iter().flat_map(|frame| in_front(frame)).collect();
        let (mut rest, mut got) = (&octets[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            guest.write_all(now).expect("room");
            rest = later;
            while is_ready(&port) {
                match receive(&port) {
                    Ok(frame) => got.push(frame),
                    Err(error) => prop_assert_eq!(error, ReceiveError::Empty),
                }
            }
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, sent);
    }
}
