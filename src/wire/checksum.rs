//! Computes the Internet checksum (RFC 1071) over the pieces of a packet.

/// A running one's complement sum. Add pieces of even length; only the last piece may be odd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds big-endian 16-bit words; an odd last octet counts as if a zero followed.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        // A carry may be folded in anywhere (RFC 1071 section 2). Eight lanes of two words each leave 32 bits of room
        // for carries, and the compiler can add them at once.
        let mut lanes = [0_u64; 8];
        let mut chunks = bytes.chunks_exact(32);
        for chunk in &mut chunks {
            for (lane, word) in lanes.iter_mut().zip(chunk.chunks_exact(4)) {
                *lane += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
            }
        }
        self.0 += lanes.iter().sum::<u64>();
        let mut words = chunks.remainder().chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self
    }

    /// The sum of an IPv4 header without options. Nearly every header is one, and each packet that is routed needs it.
    #[inline]
    pub fn of_ipv4_header(header: &[u8; 20]) -> Self {
        let (words, _) = header.as_chunks::<4>();
        Self(words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum())
    }

    /// Adds one word.
    pub const fn word(mut self, word: u16) -> Self {
        self.0 += word as u64;
        self
    }

    /// Adds the pseudo-header of RFC 8200 section 8.1.
    pub fn ipv6_pseudo_header(self, source: &[u8], destination: &[u8], protocol: u8, length: u32) -> Self {
        self.bytes(source)
            .bytes(destination)
            .bytes(&length.to_be_bytes())
            .word(u16::from(protocol))
    }

    /// Adds the pseudo-header of RFC 9293 section 3.1 and RFC 768.
    pub fn ipv4_pseudo_header(self, source: &[u8], destination: &[u8], protocol: u8, length: u16) -> Self {
        self.bytes(source)
            .bytes(destination)
            .word(length)
            .word(u16::from(protocol))
    }

    /// The 16-bit sum with all carries folded in.
    pub const fn fold(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// The value for a checksum field that was zero while the sum was taken.
    pub const fn complement(self) -> u16 {
        !self.fold()
    }

    /// The same for UDP, where zero means "no checksum" and is replaced by all ones (RFC 768, RFC 8200 section 8.1).
    pub const fn udp_complement(self) -> u16 {
        match self.complement() {
            0 => 0xffff,
            sum => sum,
        }
    }

    /// True when the sum covered a correct checksum field.
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The checksum field after one 16-bit word that it covers has changed (RFC 1624 equation 3).
pub const fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(!checksum as u64 + !old as u64 + new as u64).complement()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().bytes(&data).fold(), 0xddf2);
        assert_eq!(Sum::new().bytes(&data).complement(), 0x220d);
        assert!(Sum::new().bytes(&data).word(0x220d).is_valid());
    }

    #[test]
    fn an_odd_octet_is_padded_at_the_end() {
        assert_eq!(Sum::new().bytes(&[1, 2, 3]).fold(), 0x0402);
        assert_eq!(
            Sum::new().bytes(&[1, 2, 3, 4, 5, 6, 7]).fold(),
            0x0102 + 0x0304 + 0x0506 + 0x0700
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
    fn changing_a_word_changes_the_checksum_as_computing_it_anew_does() {
        let mut header = [
            0x45, 0, 0, 60, 0x1c, 0x46, 0x40, 0, 0x40, 6, 0, 0, 172, 16, 10, 99, 172, 16, 10, 12,
        ];
        let before = Sum::new().bytes(&header).complement();
        assert_eq!(before, 0xb1e6);
        header[8] = 0x3f;
        let after = Sum::new().bytes(&header).complement();
        assert_eq!(updated(before, 0x4006, 0x3f06), after);
    }
}
