//! Answers NTP requests (RFC 5905) with the host's time plus the skew of the interface. Only a client's request is
//! answered, in mode 4, so that two servers cannot answer each other.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::unanswered::Unanswered;
use crate::mapping::InterfaceIndex;
use crate::model::duration::since_epoch;

/// Octets of a packet without extensions.
pub const PACKET: usize = 48;
/// Seconds from 1900, the NTP epoch, to 1970 (RFC 5905 figure 4).
const ERA_TO_UNIX: u64 = 2_208_988_800;
/// Stratum; EC2's service has 3 (EC2 guide, "Set the time", sample of `chronyc sources`).
const STRATUM: u8 = 3;
/// About a microsecond, as a power of two in seconds.
const PRECISION: i8 = -20;

/// The source of clock skews.
pub trait TimeSource: Send + Sync + 'static {
    /// Nanoseconds by which the time served to an interface is ahead of the host's; negative when it is behind.
    fn skew(&self, asker: InterfaceIndex) -> i64;
}

/// The answer to a request received at `now`, which is the time to serve.
pub fn answer(request: &[u8], now: SystemTime) -> Result<[u8; PACKET], Unanswered> {
    // Extension fields and authenticators follow; a server without keys answers without them (RFC 5905 section 9.2).
    let request = request.first_chunk::<PACKET>().ok_or(Unanswered::NtpMalformed)?;
    let (version, mode) = ((request[0] >> 3) & 7, request[0] & 7);
    if !(1..=4).contains(&version) {
        return Err(Unanswered::NtpVersion);
    }
    // RFC 5905 appendix A.5.1: version 1 had no modes.
    if mode != 3 && !(version == 1 && mode == 0) {
        return Err(Unanswered::NtpMode);
    }
    let mut packet = [0; PACKET];
    packet[0] = (version << 3) | 4;
    packet[1] = STRATUM;
    packet[2] = request[2];
    packet[3] = PRECISION.to_be_bytes()[0];
    // Root delay and dispersion: 0.5 ms and 0.3 ms in 16.16 seconds.
    packet[4..8].copy_from_slice(&33_u32.to_be_bytes());
    packet[8..12].copy_from_slice(&20_u32.to_be_bytes());
    // Reference ID, the server's own source: the next lower link-local address, which no host has and no client takes
    // for itself.
    packet[12..16].copy_from_slice(&[169, 254, 169, 122]);
    let updated = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() / 16 * 16);
    packet[16..24].copy_from_slice(&timestamp(since_epoch(Duration::from_secs(updated))));
    packet[24..32].copy_from_slice(&request[40..48]);
    packet[32..40].copy_from_slice(&timestamp(now));
    packet[40..48].copy_from_slice(&timestamp(now));
    Ok(packet)
}

/// A time of day plus a skew in nanoseconds; unchanged where the sum is out of range.
pub fn shifted(time: SystemTime, skew: i64) -> SystemTime {
    let distance = Duration::from_nanos(skew.unsigned_abs());
    let there = if skew < 0 {
        time.checked_sub(distance)
    } else {
        time.checked_add(distance)
    };
    there.unwrap_or(time)
}

/// 32.32 bits of seconds since 1900, modulo the era (RFC 5905 section 6).
fn timestamp(time: SystemTime) -> [u8; 8] {
    let nanoseconds: i128 = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    };
    let since_1900 = nanoseconds + i128::from(ERA_TO_UNIX) * 1_000_000_000;
    let seconds = since_1900.div_euclid(1_000_000_000) as u32;
    let fraction = ((since_1900.rem_euclid(1_000_000_000) << 32) / 1_000_000_000) as u32;
    ((u64::from(seconds) << 32) | u64::from(fraction)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(first: u8) -> Vec<u8> {
        let mut packet = vec![0; PACKET];
        (packet[0], packet[2]) = (first, 6);
        packet[40..].copy_from_slice(&[0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
        packet
    }

    #[test]
    fn a_client_hears_the_time_and_its_own_timestamp() {
        // 2026-11-22 09:41:35.5 UTC.
        let now = UNIX_EPOCH + Duration::from_millis(1_795_340_495_500);
        let answer = answer(&request(0b00_100_011), now).unwrap();
        let seconds: u32 = (1_795_340_495_u64 + ERA_TO_UNIX) as u32;
        assert_eq!(answer[..4], [0b00_100_100, 3, 6, 0xec]);
        assert_eq!(answer[24..32], [0xde, 0xad, 0xbe, 0xef, 1, 2, 3, 4]);
        assert_eq!(answer[40..44], seconds.to_be_bytes());
        assert_eq!(answer[44..48], [0x80, 0, 0, 0]);
        assert!(answer[16..24] <= answer[32..40]);
    }

    #[test]
    fn what_is_no_client_s_request_is_left_alone() {
        let now = UNIX_EPOCH;
        let cases = [
            (request(0b00_100_011)[..47].to_vec(), Unanswered::NtpMalformed),
            (Vec::new(), Unanswered::NtpMalformed),
            (request(0b00_000_011), Unanswered::NtpVersion),
            (request(0b00_111_011), Unanswered::NtpVersion),
            (request(0b00_100_100), Unanswered::NtpMode),
            (request(0b00_100_001), Unanswered::NtpMode),
            (request(0b00_010_111), Unanswered::NtpMode),
        ];
        for (packet, reason) in cases {
            assert_eq!(answer(&packet, now), Err(reason), "{packet:02x?}");
        }
        for version in 1..=4 {
            assert!(answer(&request((version << 3) | 3), now).is_ok());
        }
    }

    #[test]
    fn skew_goes_both_ways_and_does_not_leave_the_calendar() {
        let time = UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(
            shifted(time, -1_500_000_000),
            UNIX_EPOCH + Duration::from_millis(98_500)
        );
        assert_eq!(shifted(time, 1), time + Duration::from_nanos(1));
        assert_eq!(
            timestamp(UNIX_EPOCH - Duration::from_secs(1))[..4],
            (ERA_TO_UNIX as u32 - 1).to_be_bytes()
        );
    }
}
