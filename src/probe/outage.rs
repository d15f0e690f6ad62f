//! Computes an outage from a record of requests and the owners of the address. It is pure arithmetic: the same record
//! always gives the same figures.
//!
//! A window of outage begins with the first lost request and ends with the first answered request after it; both are
//! times of sending. A request that was answered too late counts as lost.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{ProbeRecord, Request};
use crate::control::events::ChangedMapping;
use crate::control::{Event, EventKind};
use crate::model::InterfaceId;

/// A change of the owner of the probed address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ownership {
    /// When, in nanoseconds since the probe began; negative: before it.
    pub at: i64,
    /// Who owned it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<InterfaceId>,
    /// Who owns it from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<InterfaceId>,
    /// When the data path followed, likewise; absent when it has not. Equal to `at` when both happened in one step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_data_path: Option<i64>,
}

/// The changes of an address's owner, from the events, in order.
pub fn ownership(events: &[Arc<Event>], address: IpAddr, began: SystemTime) -> Vec<Ownership> {
    let since = |at: SystemTime| match at.duration_since(began) {
        Ok(after) => after.as_nanos() as i64,
        Err(before) => -(before.duration().as_nanos() as i64),
    };
    let of_address = |change: &&ChangedMapping| change.address.net().contains(&address);
    let mut all: Vec<Ownership> = Vec::new();
    for event in events {
        match &event.kind {
            EventKind::MappingsChanged { changes, .. } => {
                all.extend(changes.iter().filter(of_address).map(|change| Ownership {
                    at: since(event.at),
                    from: change.from,
                    to: change.to,
                    in_data_path: None,
                }));
            }
            EventKind::MappingsPropagated { changes, .. } => {
                for change in changes.iter().filter(of_address) {
                    let same = |owner: &&mut Ownership| {
                        (owner.from, owner.to, owner.in_data_path) == (change.from, change.to, None)
                    };
                    if let Some(owner) = all.iter_mut().find(same) {
                        owner.in_data_path = Some(since(event.at));
                    }
                }
            }
            _ => {}
        }
    }
    all
}

/// A period in which requests were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Window {
    /// When the first lost request was sent, in nanoseconds since the probe began.
    pub from: u64,
    /// When the first answered request after it was sent; absent when there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Requests that were lost.
    pub lost: u64,
    /// Its length in nanoseconds; up to the last request where it has no end.
    pub length: u64,
}

/// Latency of answers, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
    /// Maximum.
    pub max: u64,
}

/// The figures of an outage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outage {
    /// Requests that were sent.
    pub sent: u64,
    /// Those that were answered in time.
    pub answered: u64,
    /// Those that were not.
    pub lost: u64,
    /// Packets delivered to a former owner of the address after the API was called.
    pub misdelivered: u64,
    /// Packets that the switch dropped, by reason.
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// Every window of outage, in order.
    pub windows: Vec<Window>,
    /// The longest window, in nanoseconds.
    pub longest: u64,
    /// The sum of all windows, in nanoseconds.
    pub total: u64,
    /// Nanoseconds from the last change of the owner by the API to the first packet delivered to the new owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_new_owner: Option<u64>,
    /// Latency of answers outside the windows.
    pub latency: Latency,
    /// Number of answers by the name that the responder gave.
    pub answered_by: std::collections::BTreeMap<String, u64>,
}

impl Outage {
    /// Computes it.
    pub fn from_record(record: &ProbeRecord, owners: &[Ownership]) -> Self {
        let requests = &record.requests;
        let mut outage = Self {
            sent: requests.len() as u64,
            answered: requests.iter().filter(|request| request.answered.is_some()).count() as u64,
            windows: windows(requests),
            ..Self::default()
        };
        outage.lost = outage.sent - outage.answered;
        outage.longest = outage.windows.iter().map(|window| window.length).max().unwrap_or(0);
        outage.total = outage.windows.iter().map(|window| window.length).sum();
        outage.misdelivered = misdelivered(requests, owners);
        outage.to_new_owner = to_new_owner(requests, owners);
        outage.latency = latency(requests, &outage.windows);
        for fate in requests.iter().flat_map(|request| &request.fates) {
            if let Some(reason) = fate.dropped {
                *outage.dropped.entry(reason.name().to_owned()).or_default() += 1;
            }
        }
        for by in requests
            .iter()
            .filter(|r| r.answered.is_some())
            .filter_map(|request| request.by.clone())
        {
            *outage.answered_by.entry(by).or_default() += 1;
        }
        outage
    }

    /// The longest window.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }
}

fn windows(requests: &[Request]) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    let mut open: Option<Window> = None;
    for request in requests {
        match (request.answered, &mut open) {
            (None, Some(window)) => {
                window.lost += 1;
                window.length = request.sent - window.from;
            }
            (None, None) => {
                open = Some(Window {
                    from: request.sent,
                    to: None,
                    lost: 1,
                    length: 0,
                });
            }
            (Some(_), Some(window)) => {
                (window.to, window.length) = (Some(request.sent), request.sent - window.from);
                windows.extend(open.take());
            }
            (Some(_), None) => {}
        }
    }
    windows.extend(open);
    windows
}

fn misdelivered(requests: &[Request], owners: &[Ownership]) -> u64 {
    let to_a_former_owner = |at: u64, to: InterfaceId| {
        // Values that fit 64 bits of nanoseconds fit with a sign for 292 years.
        let past = owners.partition_point(|change| change.at <= at as i64);
        let Some(now) = past.checked_sub(1).map(|last| owners[last].to) else {
            return false;
        };
        now != Some(to) && owners[..past].iter().any(|change| change.from == Some(to))
    };
    requests
        .iter()
        .flat_map(|request| &request.fates)
        .filter(|fate| fate.delivered_to.is_some_and(|to| to_a_former_owner(fate.at, to)))
        .count() as u64
}

fn to_new_owner(requests: &[Request], owners: &[Ownership]) -> Option<u64> {
    let (change, owner) = owners.iter().rev().find_map(|change| Some((change, change.to?)))?;
    let first = requests
        .iter()
        .flat_map(|request| &request.fates)
        .filter(|fate| fate.delivered_to == Some(owner) && fate.at as i64 >= change.at)
        .map(|fate| fate.at)
        .min()?;
    u64::try_from(first as i64 - change.at).ok()
}

fn latency(requests: &[Request], windows: &[Window]) -> Latency {
    let within = |sent: u64| {
        windows
            .iter()
            .any(|w| w.from <= sent && w.to.is_none_or(|to| sent < to))
    };
    let mut times: Vec<u64> = requests
        .iter()
        .filter(|request| !within(request.sent))
        .filter_map(|request| Some(request.answered? - request.sent))
        .collect();
    times.sort_unstable();
    // The nearest-rank percentile: the smallest value that at least `percent` of 100 do not exceed.
    let percentile = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
    Latency {
        p50: percentile(50).unwrap_or(0),
        p99: percentile(99).unwrap_or(0),
        max: times.last().copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PacketFate, ProbeKind, ProbeSpec};
    use super::*;
    use crate::datapath::DropReason;
    use crate::model::ids::ResourceId;

    const MS: u64 = 1_000_000;

    fn id(number: u64) -> InterfaceId {
        InterfaceId::from_bits(number)
    }

    /// One request each 10 ms: `.` is answered after 1 ms, `o` after 5 ms, `x` never.
    fn requests(picture: &str) -> Vec<Request> {
        picture
            .chars()
            .zip(0..)
            .map(|(c, n)| {
                let sent = n * 10 * MS;
                let takes = match c {
                    '.' => Some(MS),
                    'o' => Some(5 * MS),
                    _ => None,
                };
                Request {
                    sent,
                    answered: takes.map(|takes| sent + takes),
                    ..Request::default()
                }
            })
            .collect()
    }

    fn record(requests: Vec<Request>) -> ProbeRecord {
        ProbeRecord {
            spec: ProbeSpec::new(ProbeKind::Udp, "10.0.0.9".parse().expect("an address")),
            from: "client".into(),
            began_at: 0,
            requests,
            unrecorded: 0,
        }
    }

    fn moved(at_ms: i64, from: u64, to: u64) -> Ownership {
        Ownership {
            at: at_ms * MS as i64,
            from: Some(id(from)),
            to: Some(id(to)),
            in_data_path: Some(at_ms * MS as i64),
        }
    }

    #[test]
    fn a_window_reaches_from_the_first_lost_to_the_first_answered() {
        // (picture, windows as (from, to, lost) in ms, longest, total)
        type Case = (&'static str, Vec<(u64, Option<u64>, u64)>, u64, u64);
        let cases: [Case; 7] = [
            ("", vec![], 0, 0),
            ("....", vec![], 0, 0),
            (".xx.", vec![(10, Some(30), 2)], 20, 20),
            ("x...", vec![(0, Some(10), 1)], 10, 10),
            (".x.xx.", vec![(10, Some(20), 1), (30, Some(50), 2)], 20, 30),
            ("..xx", vec![(20, None, 2)], 10, 10),
            ("x", vec![(0, None, 1)], 0, 0),
        ];
        for (picture, expected, longest, total) in cases {
            let outage = Outage::from_record(&record(requests(picture)), &[]);
            let found: Vec<_> = outage
                .windows
                .iter()
                .map(|window| (window.from / MS, window.to.map(|to| to / MS), window.lost))
                .collect();
            assert_eq!(found, expected, "{picture}");
            assert_eq!((outage.longest, outage.total), (longest * MS, total * MS), "{picture}");
            let lost = picture.chars().filter(|c| *c == 'x').count() as u64;
            assert_eq!((outage.sent, outage.lost), (picture.len() as u64, lost), "{picture}");
        }
    }

    #[test]
    fn latency_is_that_outside_of_the_windows() {
        let of = |picture: &str| Outage::from_record(&record(requests(picture)), &[]).latency;
        let all = |p50, p99, max| Latency {
            p50: p50 * MS,
            p99: p99 * MS,
            max: max * MS,
        };
        assert_eq!(of(""), all(0, 0, 0));
        assert_eq!(of("."), all(1, 1, 1));
        assert_eq!(of("..o"), all(1, 5, 5));
        assert_eq!(of(&format!("{}o", ".".repeat(99))), all(1, 1, 5));
        assert_eq!(of("x"), all(0, 0, 0));
    }

    #[test]
    fn a_packet_to_a_former_owner_after_the_call_is_misdelivered() {
        let fate = |to| PacketFate {
            at: 0,
            delivered_to: Some(id(to)),
            dropped: None,
        };
        // To owner 1 until 30 ms, though the API was called at 15 ms; 3 never owned the address.
        let mut requests = requests("......");
        for (request, to) in requests.iter_mut().zip([1, 1, 1, 1, 2, 3]) {
            request.fates = vec![PacketFate {
                at: request.sent,
                ..fate(to)
            }];
        }
        let outage = Outage::from_record(&record(requests.clone()), &[moved(15, 1, 2)]);
        assert_eq!(outage.misdelivered, 2, "those at 20 and 30 ms");
        assert_eq!(outage.to_new_owner, Some(25 * MS), "from 15 to 40 ms");
        // Back again: the present owner is not a former owner.
        let outage = Outage::from_record(&record(requests), &[moved(-10, 1, 2), moved(-5, 2, 1)]);
        assert_eq!(outage.misdelivered, 1, "only that to 2");
    }

    #[test]
    fn drops_are_counted_by_reason_and_answers_by_who_gave_them() {
        let mut requests = requests(".x.");
        requests[1].fates = vec![PacketFate {
            at: requests[1].sent,
            delivered_to: None,
            dropped: Some(DropReason::FaultLoss),
        }];
        requests[0].by = Some("a".into());
        requests[2].by = Some("b".into());
        let outage = Outage::from_record(&record(requests), &[]);
        assert_eq!(outage.dropped.get("fault_loss"), Some(&1));
        assert_eq!(outage.answered_by.values().copied().collect::<Vec<_>>(), [1, 1]);
        assert_eq!(outage.to_new_owner, None);
    }

    #[test]
    fn owners_are_read_from_events_with_the_time_at_which_the_data_path_followed() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let change = |address: &str| ChangedMapping {
            subnet_id: crate::model::SubnetId::from_bits(1),
            address: address.parse().expect("an address"),
            from: Some(id(1)),
            to: Some(id(2)),
        };
        let event = |seconds, kind| {
            Arc::new(Event {
                revision: None,
                last_of_revision: false,
                id: 1,
                at: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
                author: None,
                kind,
            })
        };
        let changed = EventKind::MappingsChanged {
            changes: vec![change("10.0.0.8"), change("10.0.0.9")],
            truncated: false,
            summary: Default::default(),
        };
        let propagated = EventKind::MappingsPropagated {
            changes: vec![change("10.0.0.9")],
            truncated: false,
        };
        let address = "10.0.0.9".parse().expect("an address");
        let owners = ownership(&[event(9, changed), event(11, propagated)], address, began);
        let second = 1_000 * MS as i64;
        assert_eq!(
            owners,
            [Ownership {
                at: -second,
                from: Some(id(1)),
                to: Some(id(2)),
                in_data_path: Some(second)
            }]
        );
    }
}
