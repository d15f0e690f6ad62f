//! Keeps the metadata service behind the data path: a new address is not listed yet, a removed one is listed still, the
//! keys of an attached interface appear one after the other, and a detached one stays listed. Reported of EC2 by
//! amazon-vpc-cni-k8s#3019 and #732, and by the comments of amazon-ec2-net-utils `lib/lib.sh`.

use std::time::Duration;

use super::late::{When, draw};
use crate::control::controller::State;
use crate::mapping::InterfaceIndex;
use crate::model::fault::Propagated;
use crate::model::interface::Attachment;
use crate::model::{AddressOrPrefix, InstanceId, InterfaceId, MappingChange, SubnetId};
use crate::services::imds::document::Interface;

/// Until when the old state is listed: a time, or for as long as the fault lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    At(Duration),
    End,
}

impl Until {
    fn holds(self, now: Duration) -> bool {
        match self {
            Self::At(at) => now < at,
            Self::End => true,
        }
    }
}

/// An address that is listed, or hidden, against the facts.
struct Address {
    interface: InterfaceId,
    address: AddressOrPrefix,
    told: bool,
    until: Until,
}

/// An interface that was attached, and when each of its keys appears.
struct Fresh {
    interface: InterfaceId,
    keys: [Until; KEYS],
}

/// An interface that was detached, and is listed where it was.
struct Gone {
    place: Attachment,
    interface: InterfaceId,
    until: Until,
}

/// The groups of keys of an interface that appear each at a time of its own.
const KEYS: usize = 5;
const LISTED: usize = 0;
const DEVICE_NUMBER: usize = 1;
const ADDRESSES: usize = 2;
const PREFIXES: usize = 3;
const NETWORK: usize = 4;

/// Everything that lags.
#[derive(Default)]
pub(in crate::control) struct Lag {
    addresses: Vec<Address>,
    fresh: Vec<Fresh>,
    gone: Vec<Gone>,
}

/// When the metadata service follows an edit in a subnet; `None` for at once.
fn until(state: &mut State, subnet: SubnetId, now: Duration) -> Option<Until> {
    match draw(state, Propagated::Metadata, subnet, now)? {
        When::Now => None,
        When::At(at) => Some(Until::At(at)),
        When::Never => Some(Until::End),
    }
}

impl Lag {
    /// True while the metadata service lists the facts.
    pub(in crate::control) fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.fresh.is_empty() && self.gone.is_empty()
    }

    /// Drops what is over; what lasts as long as a fault goes with the last of them.
    pub(super) fn end(&mut self) {
        self.addresses.retain(|one| one.until != Until::End);
        self.gone.retain(|one| one.until != Until::End);
        self.fresh.retain(|one| !one.keys.contains(&Until::End));
    }

    fn sweep(&mut self, now: Duration) {
        self.addresses.retain(|one| one.until.holds(now));
        self.gone.retain(|one| one.until.holds(now));
        self.fresh.retain(|one| one.keys.iter().any(|until| until.holds(now)));
    }

    /// Whether an address is listed; `None` if no lag changes that.
    pub(in crate::control) fn told(
        &self,
        interface: InterfaceId,
        address: AddressOrPrefix,
        now: Duration,
    ) -> Option<bool> {
        let mut about = self.addresses.iter().rev();
        let said = about.find(|one| one.interface == interface && one.address == address)?;
        said.until.holds(now).then_some(said.told)
    }

    /// Addresses and prefixes that an interface has lost, but that are still listed.
    pub(in crate::control) fn still_told(
        &self,
        interface: InterfaceId,
        now: Duration,
    ) -> impl Iterator<Item = AddressOrPrefix> {
        let still = move |one: &&Address| one.interface == interface && one.told && one.until.holds(now);
        self.addresses.iter().filter(still).map(|one| one.address)
    }

    /// The interfaces of an instance that are listed although they were detached.
    pub(in crate::control) fn still_listed(
        &self,
        instance: InstanceId,
        now: Duration,
    ) -> impl Iterator<Item = (u32, InterfaceId)> {
        let still = move |one: &&Gone| one.place.instance_id == instance && one.until.holds(now);
        self.gone
            .iter()
            .filter(still)
            .map(|one| (one.place.device_index, one.interface))
    }

    /// Removes from a document what has not appeared yet; `None` while the interface is not listed at all.
    pub(in crate::control) fn withhold(
        &self,
        id: InterfaceId,
        mut document: Interface,
        now: Duration,
    ) -> Option<Interface> {
        let Some(fresh) = self.fresh.iter().rev().find(|one| one.interface == id) else {
            return Some(document);
        };
        let hidden = |key: usize| fresh.keys[key].holds(now);
        if hidden(LISTED) {
            return None;
        }
        if hidden(DEVICE_NUMBER) {
            // What net-utils sees of an interface that was just attached.
            document.device_number = 0;
            document.network_card = None;
        }
        if hidden(ADDRESSES) {
            document.local_ipv4s.clear();
            document.ipv6s.clear();
        }
        if hidden(PREFIXES) {
            document.ipv4_prefixes.clear();
            document.ipv6_prefixes.clear();
        }
        if hidden(NETWORK) {
            (document.subnet_ipv4, document.vpc_ipv4) = (None, Vec::new());
            (document.subnet_ipv6, document.vpc_ipv6) = (Vec::new(), Vec::new());
        }
        Some(document)
    }
}

impl State {
    /// Notes that the data path has these changes now, and when the metadata service follows.
    pub(in crate::control) fn metadata_lags(&mut self, changes: &[MappingChange], now: Duration) {
        let mut drawn: Option<(SubnetId, Option<Until>)> = None;
        for change in changes {
            // One draw for each subnet: the edits of one command appear together.
            let until = match drawn {
                Some((subnet, until)) if subnet == change.subnet => until,
                _ => {
                    let until = until(self, change.subnet, now);
                    drawn = Some((change.subnet, until));
                    until
                }
            };
            let lag = &mut self.faults.lag;
            let ends = [(change.from(), true), (change.to(), false)];
            for (interface, told) in ends.into_iter().filter_map(|(end, told)| Some((end?, told))) {
                lag.addresses
                    .retain(|one| (one.interface, one.address) != (interface, change.address));
                lag.addresses.extend(until.map(|until| Address {
                    interface,
                    address: change.address,
                    told,
                    until,
                }));
            }
        }
        self.faults.lag.sweep(now);
    }

    /// Notes that an interface was attached to a running host.
    pub(in crate::control) fn attachment_lags(&mut self, interface: InterfaceId, subnet: SubnetId, now: Duration) {
        self.faults.lag.gone.retain(|one| one.interface != interface);
        self.faults.lag.fresh.retain(|one| one.interface != interface);
        let mut keys = [Until::At(Duration::ZERO); KEYS];
        for key in &mut keys {
            *key = until(self, subnet, now).unwrap_or(*key);
        }
        // No key appears before the interface is listed: the earliest draw is that of the list.
        keys.sort_unstable_by_key(|until| match until {
            Until::At(at) => *at,
            Until::End => Duration::MAX,
        });
        let fresh = Fresh { interface, keys };
        let lag = &mut self.faults.lag;
        lag.fresh
            .extend(fresh.keys.iter().any(|until| until.holds(now)).then_some(fresh));
        lag.sweep(now);
    }

    /// Notes that an interface was detached from a running host.
    pub(in crate::control) fn detachment_lags(
        &mut self,
        place: Attachment,
        interface: InterfaceId,
        subnet: SubnetId,
        now: Duration,
    ) {
        let until = until(self, subnet, now);
        let lag = &mut self.faults.lag;
        lag.fresh.retain(|one| one.interface != interface);
        lag.gone.extend(until.map(|until| Gone {
            place,
            interface,
            until,
        }));
        lag.sweep(now);
    }

    /// The interface at a place of the fabric, as the metadata service of an instance lists it.
    pub(in crate::control) fn as_told(
        &self,
        index: InterfaceIndex,
        document: Interface,
        now: Duration,
    ) -> Option<Interface> {
        let id = self.binding.interface_id(index)?;
        self.faults.lag.withhold(id, document, now)
    }
}
