//! Keeps the captures of finished runs on disk, up to a quota. The oldest are discarded first.
//!
//! The files have no names (`O_TMPFILE`, open(2)), so a killed process leaves none.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{Mode, OFlags, open};

use super::recorder::Captures;

/// Octets kept of all captures of a server's runs.
pub const QUOTA: u64 = 1 << 30;

/// Environment variable that names another folder than `FOLDER`.
pub const VARIABLE: &str = "LOCALVPC_CAPTURE_DIRECTORY";

/// On disk and writable by all users (file-hierarchy(7)); `/tmp` and `/run` are in memory on many systems.
const FOLDER: &str = "/var/tmp";

/// The content of a capture, in memory or on disk.
#[derive(Debug)]
pub struct CaptureBytes {
    length: u64,
    place: Mutex<Place>,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Disk { file: Arc<File>, at: u64 },
    GivenUp,
}

impl Default for CaptureBytes {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl CaptureBytes {
    /// In memory.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            length: bytes.len() as u64,
            place: Mutex::new(Place::Memory(bytes)),
        }
    }

    /// Its length in octets, also after it was discarded.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The octets; `None` if they were discarded for newer ones.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        let (file, at) = match &*self.place() {
            Place::Memory(bytes) => return Ok(Some(bytes.clone())),
            Place::GivenUp => return Ok(None),
            Place::Disk { file, at } => (Arc::clone(file), *at),
        };
        // It was in memory before.
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, at)?;
        Ok(Some(bytes))
    }

    fn move_to(&self, file: &Arc<File>, at: u64) -> io::Result<()> {
        let mut place = self.place();
        if let Place::Memory(bytes) = &*place {
            file.write_all_at(bytes, at)?;
            *place = Place::Disk {
                file: Arc::clone(file),
                at,
            };
        }
        Ok(())
    }

    fn give_up(&self) {
        *self.place() = Place::GivenUp;
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // The value is always replaced as a whole.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for CaptureBytes {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.length == other.length && self.read().ok() == other.read().ok()
    }
}

impl Eq for CaptureBytes {}

/// The captures of finished runs, the oldest first.
#[derive(Debug)]
pub struct Shelf {
    folder: PathBuf,
    quota: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    runs: VecDeque<(u64, Vec<Weak<CaptureBytes>>)>,
    given_up: u64,
}

impl Default for Shelf {
    fn default() -> Self {
        let folder = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty());
        Self::new(folder.map_or_else(|| PathBuf::from(FOLDER), PathBuf::from), QUOTA)
    }
}

impl Shelf {
    /// A shelf in this folder with this quota in octets.
    pub fn new(folder: PathBuf, quota: u64) -> Self {
        Self {
            folder,
            quota,
            kept: Mutex::default(),
        }
    }

    /// The most octets that are kept.
    pub fn quota(&self) -> u64 {
        self.quota
    }

    /// Octets kept now, and the number of runs whose captures were discarded.
    pub fn usage(&self) -> (u64, u64) {
        let kept = self.kept();
        let octets = kept
            .runs
            .iter()
            .filter(|(_, files)| is_held(files))
            .map(|(octets, _)| octets);
        (octets.sum(), kept.given_up)
    }

    /// Moves the captures of a run to disk, and discards those of older runs that no longer fit. Where the folder
    /// cannot be written to, captures stay in memory and count towards the quota.
    pub fn keep(&self, captures: &Captures) {
        let files: Vec<_> = std::iter::once(&captures.whole)
            .chain(captures.instances.values())
            .map(|capture| &capture.bytes)
            .filter(|bytes| !bytes.is_empty())
            .collect();
        let octets = files.iter().map(|bytes| bytes.len()).sum();
        if octets == 0 {
            return;
        }
        let moved = self.file().and_then(|file| {
            let mut at = 0;
            for bytes in &files {
                bytes.move_to(&file, at)?;
                at += bytes.len();
            }
            Ok(())
        });
        if let Err(error) = moved {
            tracing::warn!(%error, folder = %self.folder.display(), "the captures of a run stay in memory: set {VARIABLE}");
        }
        let files = files.into_iter().map(Arc::downgrade).collect();
        let mut kept = self.kept();
        kept.runs.retain(|(_, files)| is_held(files));
        kept.runs.push_back((octets, files));
        while kept.runs.len() > 1 && kept.runs.iter().map(|(octets, _)| octets).sum::<u64>() > self.quota {
            if let Some((octets, files)) = kept.runs.pop_front() {
                tracing::warn!(octets, "the captures of the oldest run are given up for newer ones");
                files.iter().filter_map(Weak::upgrade).for_each(|bytes| bytes.give_up());
                kept.given_up += 1;
            }
        }
    }

    fn file(&self) -> io::Result<Arc<File>> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(Arc::new(open(&self.folder, flags, Mode::RUSR | Mode::WUSR)?.into()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Runs are added and removed as a whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the run is still kept.
fn is_held(files: &[Weak<CaptureBytes>]) -> bool {
    files.iter().any(|bytes| bytes.strong_count() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::recorder::CaptureFile;
    use super::*;

    fn captures(octet: u8, length: usize) -> Captures {
        let file = |length| CaptureFile {
            bytes: Arc::new(CaptureBytes::new(vec![octet; length])),
            ..CaptureFile::default()
        };
        Captures {
            whole: file(length),
            instances: [("a".to_owned(), file(10))].into(),
        }
    }

    fn whole(captures: &Captures) -> Option<Vec<u8>> {
        captures.whole.bytes.read().unwrap()
    }

    #[test]
    fn captures_are_moved_to_disk_and_leave_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned(), 1000);
        let run = captures(7, 100);
        shelf.keep(&run);
        assert!(matches!(*run.whole.bytes.place(), Place::Disk { .. }));
        assert_eq!(whole(&run), Some(vec![7; 100]));
        assert_eq!(run.instances["a"].bytes.read().unwrap(), Some(vec![7; 10]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(shelf.usage(), (110, 0));
        // What is forgotten takes no room.
        drop(run);
        assert_eq!(shelf.usage(), (0, 0));
    }

    #[test]
    fn the_captures_of_the_oldest_run_make_room_for_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned(), 250);
        let runs: Vec<Captures> = (0..3).map(|run| captures(run, 100)).collect();
        runs.iter().for_each(|run| shelf.keep(run));
        assert_eq!(whole(&runs[0]), None);
        assert_eq!(whole(&runs[1]), Some(vec![1; 100]));
        assert_eq!(whole(&runs[2]), Some(vec![2; 100]));
        assert_eq!(shelf.usage(), (220, 1));
    }

    #[test]
    fn without_a_folder_they_stay_in_memory() {
        let shelf = Shelf::new(PathBuf::from("/nonexistent"), 1000);
        let run = captures(7, 100);
        shelf.keep(&run);
        assert_eq!(whole(&run), Some(vec![7; 100]));
        assert_eq!(shelf.usage(), (110, 0));
    }
}
