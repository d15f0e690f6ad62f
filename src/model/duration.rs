//! Reads and writes durations that a client gives: text with a unit, such as `10s` or `1500ms`, within the bounds of
//! its field.
//!
//! A [`Span`] has no arithmetic. Together with the lint `clippy::arithmetic_side_effects`, which refuses `+`, `-` and
//! `*` on durations and clocks, this keeps a client's number from overflowing a clock. [`later`] adds to a clock.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One millisecond in nanoseconds, the unit of the bounds of a [`Span`].
pub const MILLISECOND: u64 = 1_000_000;
/// One second in nanoseconds.
pub const SECOND: u64 = 1_000 * MILLISECOND;
/// One hour in nanoseconds.
pub const HOUR: u64 = 3_600 * SECOND;
/// One day in nanoseconds.
pub const DAY: u64 = 24 * HOUR;
/// 365 days in nanoseconds.
pub const YEAR: u64 = 365 * DAY;

/// Delay of a frame, an edit, a request or an answer.
pub type Delay = Span<0, HOUR>;
/// Duration of something that ends by itself: a fault, a capture.
pub type Lifetime = Span<MILLISECOND, YEAR>;
/// Lifetime of a session token of the metadata service: at most 6 hours (EC2 user guide, "Use IMDSv2").
pub type TokenLifetime = Span<0, { 6 * HOUR }>;
/// How far a clock is off, either way. The eras of NTP last 136 years (RFC 5905 section 6).
pub type ClockOffset = Span<0, { 100 * YEAR }>;
/// Time between two Router Advertisements: up to 65535 s (RFC 8319 section 4).
pub type AdvertisementInterval = Span<{ 10 * MILLISECOND }, { 65_535 * SECOND }>;
/// A duration in a scenario: a wait, a time limit.
pub type Interval = Span<0, { 30 * DAY }>;
/// Interval between two echo requests of `ping`, which accepts 2 ms from any user.
pub type PingInterval = Span<{ 2 * MILLISECOND }, DAY>;
/// The time in which as much passes as after a pause may pass at once.
pub type Burst = Span<MILLISECOND, { 60 * SECOND }>;
/// How long a neighbor may keep the former owner of an address.
pub type Remembered = Span<0, { 6 * HOUR }>;
/// How long a worker polls before it sleeps.
pub type Spin = Span<0, SECOND>;
/// Timeout of an answer or of a command.
pub type AnswerTimeout = Span<MILLISECOND, HOUR>;

/// A duration from `LEAST` to `MOST` nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span<const LEAST: u64, const MOST: u64>(Duration);

/// Why a text is not a duration for its field.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpanError {
    /// It is not a duration.
    #[error("'{written}' is not a duration ({problem}): write one such as 10s or 250ms")]
    Syntax {
        /// What was written.
        written: String,
        /// The parser's error.
        problem: humantime::DurationError,
    },
    /// It is shorter or longer than the field allows.
    #[error("'{written}' is too {}: write a duration from {} to {}", how(*.long), shown(*.least), shown(*.most))]
    OutOfBounds {
        /// What was written.
        written: String,
        /// True when it is too long, false when it is too short.
        long: bool,
        /// The lower bound of the field.
        least: Duration,
        /// The upper bound of the field.
        most: Duration,
    },
    /// It has a part of a second, which the field cannot hold.
    #[error("'{written}' is no whole number of seconds: write a duration such as 20s or 1h")]
    NotWhole {
        /// What was written.
        written: String,
    },
}

fn how(long: bool) -> &'static str {
    if long { "long" } else { "short" }
}

/// A duration as text, with days as the largest unit: months and years have no fixed length.
fn shown(duration: Duration) -> String {
    const DAY_SECONDS: u64 = DAY / SECOND;
    match duration.as_secs() {
        days if days >= DAY_SECONDS && days.is_multiple_of(DAY_SECONDS) && duration.subsec_nanos() == 0 => {
            format!("{}days", days / DAY_SECONDS)
        }
        _ => humantime::format_duration(duration).to_string(),
    }
}

impl<const LEAST: u64, const MOST: u64> Span<LEAST, MOST> {
    /// The lower bound.
    pub const LEAST: Duration = Duration::from_nanos(LEAST);
    /// The upper bound.
    pub const MOST: Duration = Duration::from_nanos(MOST);

    /// This duration, if it is within the bounds.
    pub const fn new(duration: Duration) -> Option<Self> {
        let nanoseconds = duration.as_nanos();
        if nanoseconds < LEAST as u128 || nanoseconds > MOST as u128 {
            return None;
        }
        Some(Self(duration))
    }

    /// A constant of this program. Out of bounds it does not compile where it is used in a `const`.
    pub const fn constant(duration: Duration) -> Self {
        match Self::new(duration) {
            Some(span) => span,
            None => panic!("this constant is out of its bounds"),
        }
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// True for zero.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl<const MOST: u64> Default for Span<0, MOST> {
    fn default() -> Self {
        Self(Duration::ZERO)
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Span<LEAST, MOST> {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that checks the bounds of what it reads"
        )]
        let read = humantime::parse_duration(text);
        let duration = read.map_err(|problem| SpanError::Syntax {
            written: excerpt(text),
            problem,
        })?;
        Self::new(duration).ok_or_else(|| SpanError::OutOfBounds {
            written: excerpt(text),
            long: duration > Self::MOST,
            least: Self::LEAST,
            most: Self::MOST,
        })
    }
}

/// The beginning of a text, for a message.
fn excerpt(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl<const LEAST: u64, const MOST: u64> fmt::Display for Span<LEAST, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

#[cfg(feature = "schema")]
impl<const LEAST: u64, const MOST: u64> utoipa::PartialSchema for Span<LEAST, MOST> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let bounds = format!("A duration from {} to {}.", shown(Self::LEAST), shown(Self::MOST));
        text_schema(bounds, ["10s", "1500ms", "1m 30s"])
    }
}

#[cfg(feature = "schema")]
impl<const LEAST: u64, const MOST: u64> utoipa::ToSchema for Span<LEAST, MOST> {
    fn name() -> Cow<'static, str> {
        format!("Duration_{}_to_{}", shown(Self::LEAST), shown(Self::MOST))
            .replace(' ', "")
            .into()
    }
}

/// How far a clock is ahead, such as `2s`, or behind, such as `-250ms`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Skew {
    /// Positive for a clock that is ahead. [`ClockOffset::MOST`] fits.
    nanoseconds: i64,
}

impl Skew {
    /// A clock that is ahead.
    pub const fn ahead(offset: ClockOffset) -> Self {
        Self {
            nanoseconds: offset.get().as_nanos() as i64,
        }
    }

    /// A clock that is behind.
    pub const fn behind(offset: ClockOffset) -> Self {
        Self {
            nanoseconds: -(offset.get().as_nanos() as i64),
        }
    }

    /// Nanoseconds, negative for a clock that is behind.
    pub const fn nanoseconds(self) -> i64 {
        self.nanoseconds
    }

    /// True for a clock that is right.
    pub const fn is_zero(&self) -> bool {
        self.nanoseconds == 0
    }
}

impl FromStr for Skew {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        match text.strip_prefix('-') {
            Some(behind) => behind.parse().map(Self::behind),
            None => text.parse().map(Self::ahead),
        }
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanoseconds < 0 { "-" } else { "" };
        let offset = Duration::from_nanos(self.nanoseconds.unsigned_abs());
        write!(f, "{sign}{}", humantime::format_duration(offset))
    }
}

/// A lifetime that DHCP or a Router Advertisement carries: whole seconds up to `MOST`, such as `3600s`. Where the field has
/// 32 bits, `infinity` is the value that all ones stand for (RFC 2131 section 3.3, RFC 4861 section 4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds<const MOST: u32>(u32);

/// A lifetime of 32 bits: of a lease, an address, a prefix.
pub type WireLifetime = Seconds<{ u32::MAX }>;
/// For how long a router may be the default router (RFC 4861 section 4.2: 16 bits).
pub type RouterLifetime = Seconds<65_535>;

const INFINITY: &str = "infinity";

impl<const MOST: u32> Seconds<MOST> {
    /// So many, or the most that the field can hold.
    pub const fn new(seconds: u32) -> Self {
        Self(if seconds > MOST { MOST } else { seconds })
    }

    /// The number of seconds, as it is sent.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl RouterLifetime {
    /// The number of seconds, as it is sent.
    pub const fn to_u16(self) -> u16 {
        self.0 as u16
    }
}

impl<const MOST: u32> FromStr for Seconds<MOST> {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        if MOST == u32::MAX && text == INFINITY {
            return Ok(Self(MOST));
        }
        let most = Duration::from_secs(MOST.into());
        let read: Span<0, { 200 * YEAR }> = text.parse().map_err(|error| match error {
            SpanError::OutOfBounds { written, least, .. } => SpanError::OutOfBounds {
                written,
                long: true,
                least,
                most,
            },
            syntax => syntax,
        })?;
        let duration = read.get();
        if duration > most {
            return Err(SpanError::OutOfBounds {
                written: excerpt(text),
                long: true,
                least: Duration::ZERO,
                most,
            });
        }
        if duration.subsec_nanos() != 0 {
            return Err(SpanError::NotWhole { written: excerpt(text) });
        }
        // It is no more than MOST, which is a u32.
        Ok(Self(duration.as_secs() as u32))
    }
}

impl<const MOST: u32> fmt::Display for Seconds<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u32::MAX => f.write_str(INFINITY),
            // As tcpdump and the leases of clients show it.
            seconds => write!(f, "{seconds}s"),
        }
    }
}

macro_rules! read_and_written_as_text {
    ($([$($generic:tt)*] $name:ty),+ $(,)?) => {$(
        impl<$($generic)*> Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de, $($generic)*> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                // A bare number is refused because it has no unit.
                let text = Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

read_and_written_as_text!([] Skew, [const MOST: u32] Seconds<MOST>, [const LEAST: u64, const MOST: u64] Span<LEAST, MOST>);

#[cfg(feature = "schema")]
fn text_schema(description: String, examples: [&str; 3]) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    use utoipa::openapi::schema::{ObjectBuilder, Type};
    use utoipa::openapi::{RefOr, Schema};
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .examples(examples);
    RefOr::T(Schema::from(object.build()))
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Skew {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let most = shown(ClockOffset::MOST);
        let description = format!("How far a clock is ahead, or behind after a minus sign: up to {most}.");
        text_schema(description, ["2s", "-250ms", "0s"])
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Skew {
    fn name() -> Cow<'static, str> {
        "Skew".into()
    }
}

#[cfg(feature = "schema")]
impl<const MOST: u32> utoipa::PartialSchema for Seconds<MOST> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        if MOST == u32::MAX {
            let description = format!("A duration in whole seconds, or `{INFINITY}`.");
            return text_schema(description, ["3600s", "2m 20s", INFINITY]);
        }
        text_schema(
            format!("A duration in whole seconds, at most {MOST}s."),
            ["1800s", "30m", "0s"],
        )
    }
}

#[cfg(feature = "schema")]
impl<const MOST: u32> utoipa::ToSchema for Seconds<MOST> {
    fn name() -> Cow<'static, str> {
        if MOST == u32::MAX {
            "Lifetime".into()
        } else {
            format!("Seconds_0_to_{MOST}").into()
        }
    }
}

/// An instant as RFC 3339 text in UTC with milliseconds, as all faces write instants.
pub mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// Writes it.
    pub fn serialize<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*at))
    }

    /// Reads it.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(de::Error::custom)
    }
}

/// Nanoseconds since 1970 as RFC 3339 text in UTC with nanoseconds.
pub mod rfc3339_nanoseconds {
    use std::time::{Duration, SystemTime};

    use serde::{Deserializer, Serializer};

    /// Writes them.
    pub fn serialize<S: Serializer>(at: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        let at = super::since_epoch(Duration::from_nanos(*at));
        serializer.collect_str(&humantime::format_rfc3339_nanos(at))
    }

    /// Reads them.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let at = super::rfc3339::deserialize(deserializer)?;
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Ok(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The instant `by` after `from`. A sum beyond the clock's range becomes 30 years from now, which is equivalent for a
/// deadline.
pub fn later(from: Instant, by: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * YEAR / SECOND);
    from.checked_add(by).or_else(|| from.checked_add(FAR)).unwrap_or(from)
}

/// The time of day `duration` after 1970, at most the end of the year 9999: later times cannot be written (RFC 3339).
pub fn since_epoch(duration: Duration) -> SystemTime {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    SystemTime::UNIX_EPOCH
        .checked_add(duration.min(LAST))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_within_its_bounds_and_written_as_it_is_read() {
        for text in ["10ms", "1s 500ms", "1m 30s", "18h 12m 15s"] {
            let read: AdvertisementInterval = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
            assert_eq!(serde_json::to_value(read).unwrap(), text);
            assert_eq!(
                serde_json::from_value::<AdvertisementInterval>(text.into()).unwrap(),
                read
            );
        }
    }

    #[test]
    fn a_duration_out_of_bounds_is_refused_with_the_bounds() {
        let told = |text: &str| text.parse::<AdvertisementInterval>().unwrap_err().to_string();
        assert_eq!(
            told("9ms"),
            "'9ms' is too short: write a duration from 10ms to 18h 12m 15s"
        );
        assert_eq!(
            told("65536s"),
            "'65536s' is too long: write a duration from 10ms to 18h 12m 15s"
        );
        let told = "366days".parse::<Lifetime>().unwrap_err().to_string();
        assert_eq!(told, "'366days' is too long: write a duration from 1ms to 365days");
        let written = format!("{}s", "1".repeat(10_000));
        assert!(written.parse::<Lifetime>().unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn no_text_reads_as_a_duration_out_of_bounds() {
        let extremes = [
            "",
            "10",
            "-1s",
            "1e9s",
            "18446744073709551615s",
            "18446744073709551616s",
            "18446744073709551615ns",
            "9223372036854775807s",
            "584542046090years",
            "18446744073709551615s 999999999ns",
            "1s 18446744073709551615s",
            "\u{0661}s",
            "1\u{b5}s",
            "NaN",
            "infinity",
        ];
        for text in extremes {
            if let Ok(span) = text.parse::<Lifetime>() {
                assert!((Lifetime::LEAST..=Lifetime::MOST).contains(&span.get()), "{text}");
            }
        }
    }

    #[test]
    fn a_skew_is_a_duration_with_a_sign() {
        for (text, nanoseconds) in [("2s", 2_000_000_000), ("-250ms", -250_000_000), ("0s", 0)] {
            let read: Skew = text.parse().unwrap();
            assert_eq!((read.nanoseconds(), read.to_string()), (nanoseconds, text.to_owned()));
        }
        for text in ["", "-", "--1s", "+1s", "1", "101years", "-36501days"] {
            assert!(text.parse::<Skew>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_lifetime_is_whole_seconds_or_infinity_where_the_field_has_32_bits() {
        let lifetime = |text: &str| text.parse::<WireLifetime>().map(WireLifetime::get);
        assert_eq!(lifetime("1h"), Ok(3600));
        assert_eq!(lifetime("4294967294s"), Ok(u32::MAX - 1));
        assert_eq!(lifetime(INFINITY), Ok(u32::MAX));
        assert_eq!(WireLifetime::new(u32::MAX).to_string(), INFINITY);
        assert_eq!(WireLifetime::new(86_400).to_string(), "86400s");
        for text in ["3600", "1500ms", "4294967296s", "300years", "-1s"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
        assert!("65535s".parse::<RouterLifetime>().is_ok());
        for text in ["65536s", INFINITY] {
            assert!(text.parse::<RouterLifetime>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_clock_takes_every_duration() {
        let now = Instant::now();
        assert_eq!(
            later(now, Duration::from_secs(1)),
            now.checked_add(Duration::from_secs(1)).unwrap()
        );
        assert!(later(now, Duration::MAX) > now);
    }
}
