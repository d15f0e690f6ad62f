//! Keeps a command's output in bounded memory: its beginning, its end, and the number of bytes between them.

use std::collections::VecDeque;

/// The bytes of one stream. The first and the last half of the limit are kept, because an error is usually in one of
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    omitted: u64,
    half: usize,
}

impl Output {
    /// Keeps at most `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            omitted: 0,
            half: limit / 2,
        }
    }

    /// Bytes that were dropped; 0 if all are kept.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Bytes written, kept or not.
    pub fn written(&self) -> u64 {
        (self.head.len() + self.tail.len()) as u64 + self.omitted
    }

    /// The kept bytes, with a line in place of those that were dropped.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.omitted > 0 {
            bytes.extend_from_slice(format!("\n[… {} bytes omitted …]\n", self.omitted).as_bytes());
        }
        let (older, newer) = self.tail.as_slices();
        bytes.extend_from_slice(older);
        bytes.extend_from_slice(newer);
        bytes
    }

    /// [`Self::bytes`] as text; invalid UTF-8 becomes U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    pub(super) fn append(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        // Of more than a half only the last half is kept.
        let (skipped, kept) = rest.split_at(rest.len().saturating_sub(self.half));
        self.tail.extend(kept);
        let excess = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..excess);
        self.omitted += (skipped.len() + excess) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_within_the_limit_is_whole() {
        let mut output = Output::with_limit(8);
        for part in ["ab", "cdef", "gh"] {
            output.append(part.as_bytes());
        }
        assert_eq!(
            (output.text().as_str(), output.omitted(), output.written()),
            ("abcdefgh", 0, 8)
        );
    }

    #[test]
    fn beginning_and_end_stay_and_the_gap_is_counted_however_it_arrives() {
        let all = b"abcdefghijklmnopqrstuvwxyz";
        for size in 1..=all.len() {
            let mut output = Output::with_limit(8);
            all.chunks(size).for_each(|part| output.append(part));
            assert_eq!(
                output.text(),
                "abcd\n[… 18 bytes omitted …]\nwxyz",
                "in parts of {size}"
            );
            assert_eq!(output.written(), 26);
        }
    }
}
