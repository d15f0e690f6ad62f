//! Implements a copy-on-write vector in chunks of 128, for entries with a number that one thread changes and many read.
//!
//! A list of ten thousand subnets that is copied for each new one is copied ten thousand times. Here a copy shares its
//! chunks with the original, and only the changed chunk is copied.

use std::sync::Arc;

/// Numbers in a chunk: small enough to copy in a microsecond, large enough that the list of chunks is short.
const CHUNK: usize = 128;

type Chunk<T> = [Option<Arc<T>>; CHUNK];

/// Entries by number, counted from 1; number 0 is unused.
pub(crate) struct Numbered<T> {
    chunks: Vec<Arc<Chunk<T>>>,
    /// One more than the highest number ever used.
    next: usize,
}

// A derived impl would require `T: Clone`, which is not needed.
impl<T> Clone for Numbered<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            next: self.next,
        }
    }
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            next: 1,
        }
    }
}

impl<T> Numbered<T> {
    /// The entry with this number.
    #[inline]
    pub(crate) fn get(&self, number: u32) -> Option<&Arc<T>> {
        let number = number as usize;
        self.chunks.get(number / CHUNK)?[number % CHUNK].as_ref()
    }

    /// The entry with a number that was used before, to be changed.
    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut Option<Arc<T>>> {
        let number = number as usize;
        let chunk = self.chunks.get_mut(number / CHUNK)?;
        Some(&mut Arc::make_mut(chunk)[number % CHUNK])
    }

    /// The lowest number never used.
    pub(crate) fn next(&self) -> usize {
        self.next
    }

    /// Inserts an entry at a number, and returns the former one.
    pub(crate) fn insert(&mut self, number: u32, entry: Arc<T>) -> Option<Arc<T>> {
        let at = number as usize;
        while self.chunks.len() <= at / CHUNK {
            self.chunks.push(Arc::new([const { None }; CHUNK]));
        }
        self.next = self.next.max(at + 1);
        self.get_mut(number)?.replace(entry)
    }

    /// Removes the entry with this number.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Arc<T>> {
        self.get(number)?;
        self.get_mut(number)?.take()
    }

    /// All entries, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter().flatten())
    }

    /// All entries, to be changed: every chunk is copied.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Arc<T>> {
        self.chunks
            .iter_mut()
            .flat_map(|chunk| Arc::make_mut(chunk).iter_mut().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_the_original_changes() {
        let mut all = Numbered::default();
        for number in 1..1000 {
            assert_eq!(all.next(), number as usize);
            assert!(all.insert(number, Arc::new(number)).is_none());
        }
        let copy = all.clone();
        assert_eq!(all.remove(500).as_deref(), Some(&500));
        assert_eq!(all.remove(500), None);
        assert_eq!(all.insert(7, Arc::new(77)).as_deref(), Some(&7));
        for entry in all.iter_mut().take(1) {
            *entry = Arc::new(0);
        }
        assert_eq!(
            (all.get(1).map(|e| **e), all.get(7).map(|e| **e), all.get(500)),
            (Some(0), Some(77), None)
        );
        assert_eq!(
            copy.iter().map(|entry| **entry).collect::<Vec<_>>(),
            (1..1000).collect::<Vec<_>>()
        );
        assert_eq!(all.iter().count(), 998);
        for unused in [0, 1000, u32::MAX] {
            assert!(all.get(unused).is_none() && all.remove(unused).is_none());
        }
        assert_eq!(all.next(), 1000, "a number that was in use is not the next one");
    }

    #[test]
    fn what_is_not_changed_is_shared() {
        let mut all = Numbered::default();
        (1..300).for_each(|number| drop(all.insert(number, Arc::new(number))));
        let copy = all.clone();
        all.insert(1, Arc::new(0));
        let shared = all.chunks.iter().zip(&copy.chunks).filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), 2, "of three chunks");
    }
}
