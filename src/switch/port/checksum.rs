//! The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.

/// A sum under way. Pieces may be added in any order as long as each begins at an even offset of what is summed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Begins at zero.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes; an odd last byte counts as the upper half of a word.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Words are added as they lie in memory: the sum commutes with swapping the bytes of each word (RFC 1071
        // section 2 (B)), which `fold` does once. Eight lanes of 32 bits leave 32 bits of room for carries in each,
        // and the compiler the freedom to add them at once.
        let mut lanes = [0_u64; 8];
        let mut chunks = bytes.chunks_exact(32);
        for chunk in &mut chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
                *lane += u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        let mut sum = lanes.iter().sum::<u64>();
        let mut words = chunks.remainder().chunks_exact(2);
        for word in &mut words {
            sum += u64::from(u16::from_le_bytes([word[0], word[1]]));
        }
        if let [last] = *words.remainder() {
            sum += u64::from(last);
        }
        Self(self.0 + sum)
    }

    /// Adds one word, in the host's byte order.
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.swap_bytes()))
    }

    /// The sum folded to 16 bits, not complemented, in the host's byte order.
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        // The loop leaves at most 16 bits.
        (sum as u16).swap_bytes()
    }

    /// The checksum to write, in the host's byte order.
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    /// The same for UDP, where an all-zero field means that there is no checksum (RFC 768, RFC 8200 section 8.1).
    pub fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 3 works this example.
    #[test]
    fn the_example_of_rfc_1071_sums_to_ddf2() {
        assert_eq!(
            Sum::new()
                .bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])
                .fold(),
            0xddf2
        );
    }

    #[test]
    fn lanes_and_words_agree_with_the_plain_definition_at_every_length() {
        let bytes: Vec<u8> = (0..300_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for length in 0..bytes.len() {
            let mut plain = 0_u32;
            for word in bytes[..length].chunks(2) {
                plain += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
                plain = (plain & 0xffff) + (plain >> 16);
            }
            assert_eq!(
                u32::from(Sum::new().bytes(&bytes[..length]).fold()),
                plain,
                "length {length}"
            );
        }
    }

    #[test]
    fn all_ones_do_not_overflow_a_lane() {
        assert_eq!(Sum::new().bytes(&vec![0xff; 65_536]).fold(), 0xffff);
    }

    #[test]
    fn words_are_added_in_host_order() {
        assert_eq!(Sum::new().word(0x1234).bytes(&[0x00, 0x01]).fold(), 0x1235);
    }
}
