//! Stores one value for each interface that needs one, in chunks that are made when they are first written: no reader and no
//! writer takes a lock.

use std::sync::OnceLock;

use crate::mapping::InterfaceIndex;

/// Values of a chunk, and chunks at the most: as many as there may be interfaces.
const CHUNK: usize = 1024;
const CHUNKS: usize = 4096;

/// Values by the indexes of interfaces.
pub(super) struct ByIndex<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> ByIndex<T> {
    pub(super) fn new() -> Self {
        Self {
            chunks: (0..CHUNKS).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The value of an index; `None` where none of its chunk was written.
    pub(super) fn get(&self, index: InterfaceIndex) -> Option<&T> {
        let at = index.get() as usize;
        let chunk = self.chunks.get(at / CHUNK).and_then(OnceLock::get);
        chunk.map(|chunk| &chunk[at % CHUNK])
    }

    /// The value of an index, to write to; `None` beyond the largest number of interfaces.
    pub(super) fn made(&self, index: u32) -> Option<&T> {
        let at = index as usize;
        let chunk = self.chunks.get(at / CHUNK)?;
        Some(&chunk.get_or_init(|| (0..CHUNK).map(|_| T::default()).collect())[at % CHUNK])
    }
}
