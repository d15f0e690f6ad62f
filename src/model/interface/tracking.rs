//! Declares how long connections of an interface are tracked while no packet passes, where that differs from its VPC's
//! profile.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::model::error::ModelError;

/// Seconds without a packet after which a connection is forgotten; the profile's where left out (EC2 API,
/// ConnectionTrackingSpecificationRequest).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrackingTimeouts {
    /// TCP with packets both ways: 60 to 432000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 432_000))]
    pub tcp_established: Option<u32>,
    /// UDP with more than one request and response: 60 to 180.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 60, maximum = 180))]
    pub udp_stream: Option<u32>,
    /// Other UDP: 30 to 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 30, maximum = 60))]
    pub udp: Option<u32>,
}

const TCP_ESTABLISHED: RangeInclusive<u32> = 60..=432_000;
const UDP_STREAM: RangeInclusive<u32> = 60..=180;
const UDP: RangeInclusive<u32> = 30..=60;

impl TrackingTimeouts {
    /// Refuses times that EC2 does not take, and none at all.
    pub(crate) fn check(self) -> Result<Self, ModelError> {
        let fields = [
            (
                "tracking.tcp_established",
                self.tcp_established,
                TCP_ESTABLISHED,
                "Give 60 to 432000 seconds.",
            ),
            (
                "tracking.udp_stream",
                self.udp_stream,
                UDP_STREAM,
                "Give 60 to 180 seconds.",
            ),
            ("tracking.udp", self.udp, UDP, "Give 30 to 60 seconds."),
        ];
        if fields.iter().all(|(_, given, ..)| given.is_none()) {
            return Err(ModelError::OutOfRange {
                field: "tracking",
                given: "{}".to_owned(),
                remedy: "Give tcp_established, udp_stream or udp, or null for the profile's.",
            });
        }
        for (field, given, range, remedy) in fields {
            if let Some(given) = given.filter(|given| !range.contains(given)) {
                return Err(ModelError::OutOfRange {
                    field,
                    given: given.to_string(),
                    remedy,
                });
            }
        }
        Ok(self)
    }
}

impl std::fmt::Display for TrackingTimeouts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [
            ("TCP", self.tcp_established),
            ("UDP streams", self.udp_stream),
            ("UDP", self.udp),
        ];
        let mut between = "";
        for (what, seconds) in fields {
            if let Some(seconds) = seconds {
                write!(f, "{between}{what} {seconds} s")?;
                between = ", ";
            }
        }
        Ok(())
    }
}
