//! DNS over TCP: each message behind its length in two octets (RFC 1035 section 4.2.2), answered in the order of arrival.

/// Octets of the longest query that is read.
const MAX_QUERY: usize = 1024;

/// Octets of a connection that are not a complete message yet.
#[derive(Default)]
pub struct Reader {
    bytes: Vec<u8>,
}

/// A message longer than any query.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong;

impl Reader {
    /// Octets that can be accepted.
    pub fn room(&self) -> usize {
        (MAX_QUERY + 2).saturating_sub(self.bytes.len())
    }

    /// Accepts octets.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message, without its length.
    pub fn message(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let Some(length) = self.bytes.first_chunk::<2>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_QUERY {
            return Err(TooLong);
        }
        if self.bytes.len() < 2 + length {
            return Ok(None);
        }
        let message = self.bytes[2..2 + length].to_vec();
        self.bytes.drain(..2 + length);
        Ok(Some(message))
    }
}

/// A message behind its length; `None` for one longer than 65 535 octets.
pub fn framed(message: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(message.len()).ok()?;
    Some([&length.to_be_bytes()[..], message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream = [&[0, 3, 1, 2, 3, 0, 0, 0, 1, 9][..]].concat();
        for step in 1..=stream.len() {
            let (mut reader, mut seen) = (Reader::default(), Vec::new());
            for piece in stream.chunks(step) {
                reader.push(piece);
                while let Some(message) = reader.message().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, [vec![1, 2, 3], vec![], vec![9]], "{step}");
        }
    }

    #[test]
    fn a_length_beyond_any_query_ends_the_stream() {
        let mut reader = Reader::default();
        reader.push(&[0xff, 0xff]);
        assert_eq!(reader.message(), Err(TooLong));
    }
}
