//! Numbers events without gaps and keeps the last ones, so that a listener that reconnects continues where it stopped.
//! One that was away for too long learns how many events it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;

use super::{Author, Event, EventKind, HISTORY_OCTETS, HistoryUsage, PartOf, Subscription};

#[derive(Debug)]
struct Kept {
    last: u64,
    /// The last revision whose events listeners may have. Later events wait, in order.
    shown: u64,
    waiting: VecDeque<Arc<Event>>,
    events: VecDeque<Arc<Event>>,
    usage: HistoryUsage,
}

impl Kept {
    fn last_shown(&self) -> u64 {
        self.last - self.waiting.len() as u64
    }

    fn give_up_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.usage.octets -= event.octets();
            self.usage.given_up += 1;
        }
    }
}

impl Event {
    /// The memory that it takes, about.
    fn octets(&self) -> usize {
        let own = size_of::<Self>();
        match &self.kind {
            EventKind::MappingsChanged { changes, .. } | EventKind::MappingsPropagated { changes, .. } => {
                own + size_of_val(changes.as_slice())
            }
            EventKind::FaultBegan { spec, .. } => own + size_of_val(&**spec),
            EventKind::FrameDropped { frame, .. } => own + frame.as_ref().map_or(0, String::len),
            EventKind::PanicContained { message, .. } => own + message.len(),
            _ => own,
        }
    }
}

/// The numbered history of one Controller.
#[derive(Debug)]
pub(crate) struct EventLog {
    kept: Mutex<Kept>,
    capacity: usize,
    octets: usize,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventLog {
    pub(crate) fn new(capacity: usize) -> Self {
        let (sender, _) = broadcast::channel(1024);
        let kept = Mutex::new(Kept {
            last: 0,
            shown: u64::MAX,
            waiting: VecDeque::new(),
            events: VecDeque::new(),
            usage: HistoryUsage::default(),
        });
        Self {
            kept,
            capacity,
            octets: HISTORY_OCTETS,
            sender,
        }
    }

    /// The memory of kept events.
    pub(crate) fn usage(&self) -> HistoryUsage {
        let kept = self.lock();
        HistoryUsage {
            kept: kept.events.len(),
            ..kept.usage
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No panic can leave the queue half changed.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers an event, keeps it and sends it to all listeners.
    pub(crate) fn publish(&self, kind: EventKind, author: Option<Author>, part: Option<PartOf>) -> u64 {
        let mut kept = self.lock();
        kept.last += 1;
        let event = Arc::new(Event {
            id: kept.last,
            at: SystemTime::now(),
            revision: part.map(|part| part.revision),
            last_of_revision: part.is_some_and(|part| part.last),
            author,
            kind,
        });
        let last = kept.last;
        if !kept.waiting.is_empty() || event.revision.is_some_and(|revision| revision > kept.shown) {
            kept.waiting.push_back(event);
        } else {
            self.show(&mut kept, event);
        }
        last
    }

    /// Keeps the events of revisions after this one from listeners until [`Self::release`].
    pub(crate) fn hold_after(&self, revision: u64) {
        self.lock().shown = revision;
    }

    /// Lets listeners have the events of revisions up to this one, and what happened before those of the next.
    pub(crate) fn release(&self, revision: u64) {
        let mut kept = self.lock();
        kept.shown = kept.shown.max(revision);
        let shown = kept.shown;
        let may_go = |event: &Arc<Event>| event.revision.is_none_or(|revision| revision <= shown);
        while kept.waiting.front().is_some_and(may_go) {
            let Some(event) = kept.waiting.pop_front() else { break };
            self.show(&mut kept, event);
        }
    }

    /// Keeps an event and sends it to all listeners.
    fn show(&self, kept: &mut Kept, event: Arc<Event>) {
        if kept.events.len() >= self.capacity {
            kept.give_up_oldest();
        }
        kept.usage.octets += event.octets();
        while kept.usage.octets > self.octets && !kept.events.is_empty() {
            kept.give_up_oldest();
        }
        kept.events.push_back(Arc::clone(&event));
        // Under the lock, so that listeners receive events in the order of their numbers. It is no error if there is no
        // listener.
        drop(self.sender.send(event));
    }

    /// Events after number `after` and future ones, or only future ones.
    pub(crate) fn subscribe(&self, after: Option<u64>) -> Subscription {
        let kept = self.lock();
        let receiver = self.sender.subscribe();
        let last = kept.last_shown();
        let Some(after) = after.map(|after| after.min(last)) else {
            return Subscription {
                backlog: Vec::new(),
                missed: 0,
                receiver,
            };
        };
        let backlog: Vec<_> = kept.events.iter().filter(|event| event.id > after).cloned().collect();
        let missed = last - after - backlog.len() as u64;
        Subscription {
            backlog,
            missed,
            receiver,
        }
    }

    /// The number of the last event that listeners may have.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last_shown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::events::{ChangedMapping, LISTED_CHANGES};
    use crate::model::ids::ResourceId;
    use crate::model::mapping::EditSummary;
    use crate::model::{InterfaceId, SubnetId, VpcId};

    /// Events of an edit are not seen before it is on the disk, and those after it wait too, in order.
    #[test]
    fn events_of_edits_that_are_not_on_the_disk_wait_and_keep_their_order() {
        let log = EventLog::new(100);
        log.hold_after(1);
        let publish = |number: u64, revision: Option<u64>| {
            let part = revision.map(|revision| PartOf { revision, last: true });
            let vpc_id = VpcId::from_bits(number);
            assert_eq!(log.publish(EventKind::VpcCreated { vpc_id }, None, part), number);
        };
        let seen = || {
            let events = log.subscribe(Some(0));
            assert_eq!((events.missed, log.last()), (0, events.backlog.len() as u64));
            events.backlog.iter().map(|event| event.id).collect::<Vec<_>>()
        };
        let mut listener = log.subscribe(None).receiver;
        publish(1, Some(1));
        publish(2, Some(2));
        publish(3, None);
        publish(4, Some(3));
        publish(5, None);
        assert_eq!(seen(), [1]);
        log.release(2);
        assert_eq!(seen(), [1, 2, 3]);
        // Of an earlier edit that is answered later.
        log.release(1);
        assert_eq!(seen(), [1, 2, 3]);
        log.release(u64::MAX);
        publish(6, Some(4));
        assert_eq!(seen(), [1, 2, 3, 4, 5, 6]);
        let received: Vec<u64> = std::iter::from_fn(|| listener.try_recv().ok())
            .map(|event| event.id)
            .collect();
        assert_eq!(received, [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_listener_that_comes_back_hears_what_it_missed_and_how_much_is_forgotten() {
        let log = EventLog::new(3);
        for n in 1..=5 {
            log.publish(
                EventKind::VpcCreated {
                    vpc_id: VpcId::from_bits(n),
                },
                None,
                None,
            );
        }
        let ids = |subscription: &Subscription| subscription.backlog.iter().map(|e| e.id).collect::<Vec<_>>();
        let subscription = log.subscribe(Some(3));
        assert_eq!((ids(&subscription), subscription.missed), (vec![4, 5], 0));
        let subscription = log.subscribe(Some(0));
        assert_eq!((ids(&subscription), subscription.missed), (vec![3, 4, 5], 2));
        let mut subscription = log.subscribe(None);
        assert_eq!((ids(&subscription), subscription.missed), (vec![], 0));
        log.publish(
            EventKind::VpcDeleted {
                vpc_id: VpcId::from_bits(1),
            },
            None,
            None,
        );
        assert_eq!(subscription.receiver.try_recv().unwrap().id, 6);
    }

    #[test]
    fn large_events_are_given_up_by_their_octets_and_counted_as_missed() {
        let mut log = EventLog::new(1000);
        log.octets = 3 * LISTED_CHANGES * size_of::<ChangedMapping>() + 4096;
        let change = ChangedMapping {
            subnet_id: SubnetId::from_bits(1),
            address: "10.0.0.1".parse().unwrap(),
            from: None,
            to: None,
        };
        for _ in 0..10 {
            let kind = EventKind::MappingsChanged {
                changes: vec![change; LISTED_CHANGES],
                truncated: false,
                summary: EditSummary::default(),
            };
            log.publish(kind, None, None);
        }
        let usage = log.usage();
        assert_eq!((usage.kept, usage.given_up), (3, 7));
        assert!(usage.octets <= log.octets);
        assert_eq!(log.subscribe(Some(0)).missed, 7);
    }

    #[test]
    fn an_event_is_written_with_its_type_among_its_fields() {
        let event = Event {
            id: 7,
            at: SystemTime::UNIX_EPOCH,
            revision: None,
            last_of_revision: false,
            author: Some(Author::Instance("node-1".into())),
            kind: EventKind::PortUp {
                interface_id: InterfaceId::from_bits(1),
                port: 3,
                device: "tap0".into(),
            },
        };
        let value = serde_json::to_value(&event).unwrap();
        let expected = serde_json::json!({
            "id": 7, "at": "1970-01-01T00:00:00.000Z", "author": { "instance": "node-1" }, "type": "port_up",
            "interface_id": "eni-00000000000000001", "port": 3, "device": "tap0",
        });
        assert_eq!(value, expected);
        assert_eq!(value["type"], event.kind.name());
    }
}
