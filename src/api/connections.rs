//! Limits the connections of the server, in all and for each peer, and closes the one that has been idle longest.
//!
//! A connection without a request costs its peer nothing and the server a descriptor and some memory. So a new one is
//! never refused while an old one is idle: the peer with too many loses the one that has been idle longest. Connections
//! with a request under way are never closed; a new one is refused only if all are such.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::caller::Caller;

/// Limits of the number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub total: usize,
    /// Of all peers that are not the owner, together.
    pub strangers: usize,
    /// Of one peer.
    pub each: usize,
}

/// The most connections of a server, however many descriptors it may have.
const MOST: usize = 4096;

/// The fewest, however few descriptors.
const FEWEST: usize = 16;

impl ConnectionLimits {
    /// Limits that leave three quarters of the process's descriptors to devices, namespaces and programs.
    pub fn of_descriptors(descriptors: u64) -> Self {
        let total = usize::try_from(descriptors / 4).unwrap_or(MOST).clamp(FEWEST, MOST);
        Self {
            total,
            strangers: total / 2,
            each: total / 4 * 3,
        }
    }
}

/// A peer, whose connections are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// Root and the server's own user.
    Owner,
    /// Another user of this machine.
    User(u32),
    /// Another machine; for IPv6 the /64, all of which one machine can use.
    Address(IpAddr),
}

impl Peer {
    /// The peer of a TCP connection.
    pub fn of_tcp(caller: Caller, address: IpAddr) -> Self {
        match (caller, address.to_canonical()) {
            (Caller::Owner, _) => Self::Owner,
            (Caller::User(user), _) => Self::User(user),
            (Caller::Unknown, IpAddr::V6(address)) => Self::Address(IpAddr::V6((address.to_bits() >> 64 << 64).into())),
            (Caller::Unknown, address) => Self::Address(address),
        }
    }

    fn is_stranger(self) -> bool {
        self != Self::Owner
    }
}

/// The connections of a server.
#[derive(Debug)]
pub struct Connections {
    limits: ConnectionLimits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    entries: BTreeMap<u64, Entry>,
    counts: BTreeMap<Peer, usize>,
    given_up: u64,
    refused: u64,
}

#[derive(Debug)]
struct Entry {
    peer: Peer,
    /// Requests under way.
    busy: usize,
    idle_since: Instant,
    give_up: Arc<Notify>,
}

/// Counts of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Open connections.
    pub open: usize,
    /// Idle ones that were closed to make room.
    pub given_up: u64,
    /// New ones that were refused.
    pub refused: u64,
}

impl Connections {
    /// No connections yet.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            table: Mutex::default(),
        }
    }

    /// The limits.
    pub fn limits(&self) -> ConnectionLimits {
        self.limits
    }

    /// Admits a connection; `None` if there is no room, and no idle connection that could be closed.
    pub fn admit(self: &Arc<Self>, peer: Peer) -> Option<Slot> {
        let mut table = self.table();
        if !table.make_room(self.limits, peer) {
            table.refused += 1;
            return None;
        }
        let number = table.next;
        table.next += 1;
        let give_up = Arc::new(Notify::new());
        let entry = Entry {
            peer,
            busy: 0,
            idle_since: Instant::now(),
            give_up: Arc::clone(&give_up),
        };
        table.entries.insert(number, entry);
        *table.counts.entry(peer).or_default() += 1;
        Some(Slot {
            connections: Arc::clone(self),
            number,
            give_up,
        })
    }

    /// Closes the connection that has been idle longest, to free a descriptor. Returns whether there was one.
    pub fn give_up_one(&self) -> bool {
        self.table().give_up(|_| true)
    }

    /// The present counts.
    pub fn counts(&self) -> ConnectionCounts {
        let table = self.table();
        ConnectionCounts {
            open: table.entries.len(),
            given_up: table.given_up,
            refused: table.refused,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // An entry and its count are changed together, by code that does not panic in between.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self, limits: ConnectionLimits, peer: Peer) -> bool {
        let of_peer = self.counts.get(&peer).copied().unwrap_or_default();
        if of_peer >= limits.each {
            return self.give_up(|other| other == peer);
        }
        let strangers: usize = self
            .counts
            .iter()
            .filter(|(other, _)| other.is_stranger())
            .map(|(_, count)| count)
            .sum();
        if peer.is_stranger() && strangers >= limits.strangers {
            return self.give_up(Peer::is_stranger);
        }
        if self.entries.len() < limits.total {
            return true;
        }
        let largest = self
            .counts
            .iter()
            .max_by_key(|(_, count)| **count)
            .map(|(peer, _)| *peer);
        self.give_up(|other| Some(other) == largest) || self.give_up(|_| true)
    }

    /// Closes the longest idle connection of the peers for which `of` is true.
    fn give_up(&mut self, of: impl Fn(Peer) -> bool) -> bool {
        let idle = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.busy == 0 && of(entry.peer));
        let Some(number) = idle
            .min_by_key(|(_, entry)| entry.idle_since)
            .map(|(number, _)| *number)
        else {
            return false;
        };
        if let Some(entry) = self.remove(number) {
            // Its task waits for nothing else, or will find the permit.
            entry.give_up.notify_one();
            self.given_up += 1;
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if let Some(count) = self.counts.get_mut(&entry.peer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&entry.peer);
            }
        }
        Some(entry)
    }
}

/// The slot of one connection. Dropping it makes room for another.
#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    number: u64,
    give_up: Arc<Notify>,
}

impl Slot {
    /// Resolves when the connection is to be closed.
    pub async fn given_up(&self) {
        self.give_up.notified().await;
    }

    /// Marks a request as under way until the answer has been sent.
    pub fn busy(self: &Arc<Self>) -> Busy {
        if let Some(entry) = self.connections.table().entries.get_mut(&self.number) {
            entry.busy += 1;
        }
        Busy(Arc::clone(self))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.table().remove(self.number);
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Busy(Arc<Slot>);

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(entry) = self.0.connections.table().entries.get_mut(&self.0.number) {
            entry.busy -= 1;
            entry.idle_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        total: 6,
        strangers: 4,
        each: 3,
    };

    async fn is_given_up(slot: &Slot) -> bool {
        tokio::time::timeout(std::time::Duration::ZERO, slot.given_up())
            .await
            .is_ok()
    }

    #[tokio::test]
    async fn a_peer_with_too_many_loses_its_oldest_idle_connection_and_no_other_does() {
        let connections = Arc::new(Connections::new(LIMITS));
        let other = connections.admit(Peer::User(7)).unwrap();
        let mut mine: Vec<Slot> = (0..3).map(|_| connections.admit(Peer::Owner).unwrap()).collect();
        mine.push(connections.admit(Peer::Owner).unwrap());
        assert!(is_given_up(&mine[0]).await);
        for kept in [&other, &mine[1], &mine[2], &mine[3]] {
            assert!(!is_given_up(kept).await);
        }
        assert_eq!(connections.counts().open, 4);
        // Its task ends a little later: it is not counted twice.
        drop(mine.remove(0));
        assert_eq!(connections.counts().open, 4);
    }

    #[tokio::test]
    async fn a_connection_with_a_request_under_way_is_not_given_up() {
        let connections = Arc::new(Connections::new(LIMITS));
        let slots: Vec<Arc<Slot>> = (0..3)
            .map(|_| Arc::new(connections.admit(Peer::Owner).unwrap()))
            .collect();
        let mut busy: Vec<Busy> = slots.iter().map(Slot::busy).collect();
        assert!(connections.admit(Peer::Owner).is_none());
        // A peer below its limit is still served.
        assert!(connections.admit(Peer::User(7)).is_some());
        busy.remove(1);
        assert!(connections.admit(Peer::Owner).is_some());
        assert!(is_given_up(&slots[1]).await);
        assert_eq!(connections.counts().refused, 1);
        assert_eq!(connections.counts().given_up, 1);
    }

    #[tokio::test]
    async fn many_users_together_leave_room_for_the_owner() {
        let connections = Arc::new(Connections::new(LIMITS));
        let strangers: Vec<Slot> = (1..100)
            .map(|user| connections.admit(Peer::User(user)).unwrap())
            .collect();
        assert_eq!(connections.counts().open, 4);
        let mine: Vec<Slot> = (0..2).map(|_| connections.admit(Peer::Owner).unwrap()).collect();
        assert_eq!(connections.counts().open, 6);
        for slot in mine.iter().chain(&strangers[95..]) {
            assert!(!is_given_up(slot).await);
        }
    }

    #[test]
    fn machines_of_one_network_of_ipv6_are_one_peer() {
        let peer = |text: &str| Peer::of_tcp(Caller::Unknown, text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }

    #[test]
    fn limits_follow_the_number_of_descriptors() {
        for (descriptors, total) in [(20, 16), (1024, 256), (20_000, 4096), (u64::MAX, 4096)] {
            assert_eq!(
                ConnectionLimits::of_descriptors(descriptors).total,
                total,
                "{descriptors}"
            );
        }
    }
}
