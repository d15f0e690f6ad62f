//! Builds a VPC in this process on virtual time: hosts, addresses that move, and the fate of each packet.
//!
//! It needs no root, device or clock. A [`Vpc`] is the switch that `localvpc` runs, over cables in memory; a [`Host`]
//! is a network interface with a cable. Frames are built by the VPC's helpers or by you; [`Vpc::send`] returns the
//! [`Fate`] of one and every frame that arrived anywhere because of it.
//!
//! ```
//! use localvpc::testing::{Fate, Vpc};
//!
//! let mut vpc = Vpc::aws();
//! let subnet = vpc.subnet(&["10.0.1.0/24"]);
//! let a = vpc.host(subnet, &["10.0.1.10"]);
//! let b = vpc.host(subnet, &["10.0.1.11", "10.0.1.50"]);
//! let c = vpc.host(subnet, &["10.0.1.12"]);
//!
//! let packet = vpc.udp(a, "10.0.1.50", b"who serves?");
//! assert_eq!(vpc.send(a, &packet).fate, Fate::Delivered(b));
//!
//! vpc.assign("10.0.1.50", c); // what AssignPrivateIpAddresses does, with reassignment allowed
//! let packet = vpc.udp(a, "10.0.1.50", b"and now?");
//! assert_eq!(vpc.send(a, &packet).fate, Fate::Delivered(c));
//! ```
//!
//! # Panics
//! A mistake panics at the line of the caller, as in a test's own code: a malformed address, one outside the subnet, a
//! frame longer than the cable accepts.

mod frames;
mod network;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::datapath::{
    Answered, DropReason, FrameMeta, Moved, Output, PortState, Received, Recorder, SubnetIndex, Verdict, decide,
};
use crate::mapping::{InterfaceIndex, PortId};
use crate::model::profile::Profile;
use crate::switch::inprocess::InProcessSwitch;
use crate::switch::observe::{self, Observation, Observed, Wanted};
use crate::switch::port::memory::{MemoryHost, cable};
use crate::wire::MacAddr;

pub use network::Network;

/// The MTU of a current EC2 instance.
const MTU: u16 = 9001;

/// A subnet of a [`Vpc`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet(usize);

/// A host of a [`Vpc`]: a network interface with a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Host(usize);

/// The fate of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Delivered to this host.
    Delivered(Host),
    /// Answered by the VPC: ARP, Neighbor Discovery, DHCP, ping of the router.
    Answered(Answered),
    /// Flooded to every other host of the segment, as on a LAN.
    Flooded,
    /// Dropped.
    Dropped(DropReason),
    /// Taken by the VPC without an answer.
    Consumed,
}

/// A frame that arrived at a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The host.
    pub host: Host,
    /// The whole frame.
    pub frame: Vec<u8>,
}

/// The result of sending one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The fate of the frame itself.
    pub fate: Fate,
    /// Frames that arrived anywhere because of it, answers included, in the order of the hosts.
    pub arrivals: Vec<Arrival>,
}

impl Sent {
    /// The frames that arrived at a host.
    pub fn at(&self, host: Host) -> impl Iterator<Item = &[u8]> {
        let here = move |arrival: &&Arrival| arrival.host == host;
        self.arrivals
            .iter()
            .filter(here)
            .map(|arrival| arrival.frame.as_slice())
    }
}

struct SubnetState {
    index: SubnetIndex,
    blocks: Vec<IpNet>,
    router_mac: MacAddr,
}

struct HostState {
    index: InterfaceIndex,
    subnet: Subnet,
    mac: MacAddr,
    port: PortId,
    cable: MemoryHost,
    addresses: Vec<IpAddr>,
}

/// A VPC in this process. Its time advances only when told to.
pub struct Vpc {
    network: Network,
    switch: InProcessSwitch,
    observation: Observation,
    subnets: Vec<SubnetState>,
    hosts: Vec<HostState>,
    announces: bool,
    now: Duration,
}

impl Vpc {
    /// A VPC of current EC2, with the blocks 10.0.0.0/16 and 2001:db8::/56.
    pub fn aws() -> Self {
        Self::new(Profile::aws())
    }

    /// A VPC with a profile, with the blocks 10.0.0.0/16 and 2001:db8::/56.
    ///
    /// On a conventional LAN, a broadcast reaches every host:
    ///
    /// ```
    /// use localvpc::model::Profile;
    /// use localvpc::testing::{Fate, Vpc};
    ///
    /// let mut lan = Vpc::new(Profile::named("lan").unwrap());
    /// let subnet = lan.subnet(&["10.0.1.0/24"]);
    /// let a = lan.host(subnet, &["10.0.1.10"]);
    /// let b = lan.host(subnet, &["10.0.1.11"]);
    /// let question = lan.arp(a, "10.0.1.11");
    /// let sent = lan.send(a, &question);
    /// assert_eq!(sent.fate, Fate::Flooded);
    /// assert_eq!(sent.at(b).count(), 1);
    /// ```
    pub fn new(profile: Profile) -> Self {
        let announces = profile.neighbor.announce_on_move;
        let network = Network::new(profile, &["10.0.0.0/16", "2001:db8::/56"]);
        let switch = InProcessSwitch::new(network.writer.fabric());
        let observation = switch.observe(Wanted::default());
        Self {
            network,
            switch,
            observation,
            subnets: Vec::new(),
            hosts: Vec::new(),
            announces,
            now: Duration::ZERO,
        }
    }

    /// Adds a subnet with an IPv4 block, an IPv6 block, or both.
    #[track_caller]
    pub fn subnet(&mut self, blocks: &[&str]) -> Subnet {
        let number = u8::try_from(self.subnets.len() + 1).expect("at most 255 subnets");
        let router_mac = MacAddr([0x0e, 0, 0, 0, 0, number]);
        let index = self.network.subnet(router_mac, blocks);
        let blocks = blocks.iter().map(|block| parse(block)).collect();
        self.subnets.push(SubnetState {
            index,
            blocks,
            router_mac,
        });
        Subnet(self.subnets.len() - 1)
    }

    /// Adds a host with addresses of the subnet; the first of each family is its primary one.
    #[track_caller]
    pub fn host(&mut self, subnet: Subnet, addresses: &[&str]) -> Host {
        let number = u16::try_from(self.hosts.len() + 10).expect("at most 65 525 hosts");
        let [high, low] = number.to_be_bytes();
        let mac = MacAddr([0x0a, 0, 0, 0, high, low]);
        let index = self.network.interface(self.subnets[subnet.0].index, mac, &[]);
        let (switch_end, cable) = cable(MTU);
        let port = self.switch.attach(index, switch_end);
        self.network.writer.set_port(index, Some(port));
        self.hosts.push(HostState {
            index,
            subnet,
            mac,
            port,
            cable,
            addresses: Vec::new(),
        });
        let host = Host(self.hosts.len() - 1);
        for address in addresses {
            self.assign(address, host);
        }
        let (ipv4, ipv6) = network::primary(&self.hosts[host.0].addresses);
        self.network.writer.set_primary(index, ipv4, ipv6);
        host
    }

    /// Assigns an address to a host, or moves it there; where the profile says so, the VPC announces the move.
    ///
    /// A peer with the old owner's MAC in its neighbor table sends there, and the old owner's check drops the packets:
    ///
    /// ```
    /// # use localvpc::datapath::DropReason;
    /// # use localvpc::testing::{Fate, Vpc};
    /// # let mut vpc = Vpc::aws();
    /// # let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// # let a = vpc.host(subnet, &["10.0.1.10"]);
    /// # let b = vpc.host(subnet, &["10.0.1.11", "10.0.1.50"]);
    /// # let c = vpc.host(subnet, &["10.0.1.12"]);
    /// let to_the_old_mac = vpc.udp(a, "10.0.1.50", b"x");
    /// vpc.assign("10.0.1.50", c);
    /// let stale = vpc.send(a, &to_the_old_mac);
    /// assert_eq!(stale.fate, Fate::Dropped(DropReason::DestinationCheck));
    /// ```
    #[track_caller]
    pub fn assign(&mut self, address: &str, to: Host) {
        let address: IpAddr = parse(address);
        let subnet = &self.subnets[self.hosts[to.0].subnet.0];
        assert!(
            subnet.blocks.iter().any(|block| block.contains(&address)),
            "{address} is in no block of the host's subnet: {:?}",
            subnet.blocks
        );
        let index = subnet.index;
        let before = self.forget(index, address);
        let owner = self.hosts[to.0].index;
        self.network.writer.map(index, IpNet::from(address), Some(owner));
        self.hosts[to.0].addresses.push(address);
        if before.is_some_and(|before| before != owner) && self.announces {
            self.switch.announce(Moved { subnet: index, address });
        }
    }

    /// Unassigns an address from its owner.
    ///
    /// ```
    /// # use localvpc::datapath::DropReason;
    /// # use localvpc::testing::{Fate, Vpc};
    /// # let mut vpc = Vpc::aws();
    /// # let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// # let a = vpc.host(subnet, &["10.0.1.10"]);
    /// # let b = vpc.host(subnet, &["10.0.1.11"]);
    /// vpc.unassign("10.0.1.11", subnet);
    /// let question = vpc.arp(a, "10.0.1.11");
    /// assert_eq!(vpc.send(a, &question).fate, Fate::Dropped(DropReason::ArpUnknown));
    /// ```
    #[track_caller]
    pub fn unassign(&mut self, address: &str, subnet: Subnet) {
        let (index, address) = (self.subnets[subnet.0].index, parse(address));
        let owner = self.forget(index, address);
        assert!(owner.is_some(), "{address} is assigned to no host of the subnet");
        self.network.writer.map(index, IpNet::from(address), None);
    }

    /// Switches a host's source/destination check.
    ///
    /// ```
    /// # use localvpc::datapath::DropReason;
    /// # use localvpc::testing::{Fate, Vpc};
    /// # let mut vpc = Vpc::aws();
    /// # let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// # let nat = vpc.host(subnet, &["10.0.1.10"]);
    /// # let b = vpc.host(subnet, &["10.0.1.11"]);
    /// let foreign = vpc.udp_from("192.0.2.1", nat, "10.0.1.11", b"translated wrongly");
    /// assert_eq!(vpc.send(nat, &foreign).fate, Fate::Dropped(DropReason::SourceCheck));
    /// vpc.set_source_dest_check(nat, false);
    /// assert_eq!(vpc.send(nat, &foreign).fate, Fate::Delivered(b));
    /// ```
    pub fn set_source_dest_check(&mut self, host: Host, checked: bool) {
        self.network
            .writer
            .set_source_dest_check(self.hosts[host.0].index, checked);
    }

    /// The MAC of a host.
    pub fn mac(&self, host: Host) -> MacAddr {
        self.hosts[host.0].mac
    }

    /// The MAC of a subnet's router.
    pub fn router_mac(&self, subnet: Subnet) -> MacAddr {
        self.subnets[subnet.0].router_mac
    }

    /// The host that has an address.
    #[track_caller]
    pub fn owner(&self, address: &str, subnet: Subnet) -> Option<Host> {
        let index = self
            .network
            .writer
            .owner(self.subnets[subnet.0].index, parse(address))?;
        self.by_interface(index)
    }

    /// Sends a frame, runs everything that takes no time, and returns the result.
    ///
    /// ```
    /// # use localvpc::testing::{Fate, Vpc};
    /// use localvpc::datapath::Answered;
    /// # let mut vpc = Vpc::aws();
    /// # let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// # let a = vpc.host(subnet, &["10.0.1.10"]);
    /// # let b = vpc.host(subnet, &["10.0.1.11"]);
    /// let question = vpc.arp(a, "10.0.1.11");
    /// let sent = vpc.send(a, &question);
    /// assert_eq!(sent.fate, Fate::Answered(Answered::Arp));
    /// // The answer comes from the VPC, and b never saw the question.
    /// assert_eq!(sent.at(a).count(), 1);
    /// assert_eq!(sent.at(b).count(), 0);
    /// ```
    #[track_caller]
    pub fn send(&mut self, from: Host, frame: &[u8]) -> Sent {
        let host = &self.hosts[from.0];
        let interface = host.index;
        host.cable.send(frame).expect("a cable of its own has room for a frame");
        while self.observation.try_next().is_some() {}
        self.settle();
        let mut fate = Fate::Consumed;
        while let Some(seen) = self.observation.try_next() {
            if seen.interface == interface
                && let Some(told) = self.fate_of(&seen)
            {
                fate = told;
                break;
            }
        }
        Sent {
            fate,
            arrivals: self.take_arrivals(),
        }
    }

    /// Advances time, and returns what arrived meanwhile: Router Advertisements, announcements.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use localvpc::testing::Vpc;
    /// # let mut vpc = Vpc::aws();
    /// let subnet = vpc.subnet(&["2001:db8:0:1::/64"]);
    /// let a = vpc.host(subnet, &["2001:db8:0:1::a"]);
    /// let arrived = vpc.advance(Duration::from_secs(60));
    /// assert!(arrived.iter().any(|arrival| arrival.host == a), "the router advertises itself");
    /// ```
    pub fn advance(&mut self, by: Duration) -> Vec<Arrival> {
        let until = self.now.saturating_add(by);
        self.settle();
        while let Some(next) = self.next_event().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            if self.settle() == 0 && self.next_event() == Some(next) {
                break;
            }
        }
        self.now = until;
        self.settle();
        self.take_arrivals()
    }

    /// Returns the decision about a frame and each step of it, without sending it.
    ///
    /// ```
    /// # use localvpc::datapath::{DropReason, Verdict};
    /// # use localvpc::testing::Vpc;
    /// # let mut vpc = Vpc::aws();
    /// # let subnet = vpc.subnet(&["10.0.1.0/24"]);
    /// # let a = vpc.host(subnet, &["10.0.1.10"]);
    /// let question = vpc.arp(a, "10.0.1.99");
    /// let (verdict, steps) = vpc.explain(a, &question);
    /// assert_eq!(verdict, Verdict::Drop(DropReason::ArpUnknown));
    /// assert!(steps.iter().any(|step| step.contains("10.0.1.99 is not mapped in this subnet")));
    /// ```
    pub fn explain(&self, from: Host, frame: &[u8]) -> (Verdict, Vec<String>) {
        let fabric = self.network.writer.fabric();
        let view = fabric.view();
        let host = &self.hosts[from.0];
        let Some(ingress) = view.ingress(host.index, host.port) else {
            return (Verdict::Drop(DropReason::NotAttached), Vec::new());
        };
        let received = Received {
            bytes: frame,
            meta: FrameMeta::default(),
        };
        let port = PortState::default();
        let memory = fabric.memory(&port);
        let (mut output, mut recorder) = (Output::default(), Recorder::default());
        let verdict = decide(received, &ingress, &view, memory, self.now, &mut output, &mut recorder);
        (
            verdict,
            recorder.steps.iter().map(|(_, fact)| fact.to_string()).collect(),
        )
    }

    /// Runs everything that takes no time. Returns the number of frames decided.
    fn settle(&mut self) -> usize {
        let mut decided = 0;
        loop {
            match self.switch.step(self.now) {
                0 => return decided,
                some => decided += some,
            }
        }
    }

    fn next_event(&self) -> Option<Duration> {
        let (release, advertisement) = (self.switch.next_release(), self.switch.next_advertisement());
        release.into_iter().chain(advertisement).min()
    }

    fn take_arrivals(&self) -> Vec<Arrival> {
        let of = |number: usize| {
            std::iter::from_fn(move || self.hosts[number].cable.receive()).map(move |frame| Arrival {
                host: Host(number),
                frame,
            })
        };
        (0..self.hosts.len()).flat_map(of).collect()
    }

    fn fate_of(&self, seen: &Observed) -> Option<Fate> {
        match seen.fate {
            observe::Fate::Delivered { to, .. } => self.by_interface(to).map(Fate::Delivered),
            observe::Fate::Answered(answered) => Some(Fate::Answered(answered)),
            observe::Fate::Flooded => Some(Fate::Flooded),
            observe::Fate::Dropped(reason) => Some(Fate::Dropped(reason)),
            observe::Fate::Arrived { .. } | observe::Fate::Fabric(_) => None,
        }
    }

    fn by_interface(&self, index: InterfaceIndex) -> Option<Host> {
        self.hosts.iter().position(|host| host.index == index).map(Host)
    }

    /// Removes an address from its owner, and returns that host's interface.
    fn forget(&mut self, subnet: SubnetIndex, address: IpAddr) -> Option<InterfaceIndex> {
        let index = self.network.writer.owner(subnet, address)?;
        if let Some(host) = self.by_interface(index) {
            self.hosts[host.0].addresses.retain(|own| *own != address);
        }
        Some(index)
    }
}

#[track_caller]
fn parse<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Display,
{
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
