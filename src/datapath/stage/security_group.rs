//! A packet leaves an interface only if a rule of its groups lets it out, and enters one only if a rule lets it in; or if it
//! belongs to a connection that is tracked there.
//!
//! Each interface tracks for itself: the sender's groups what goes out, the receiver's what comes in (T6 of the facts in
//! `docs/fidelity.md`). Not filtered: ARP and Neighbor Discovery, DHCP, and what is for the addresses that the VPC itself
//! answers at (VPC guide, "Security groups": DNS, DHCP, metadata, time, the router's reserved addresses).

mod read;

use std::net::IpAddr;

pub(in crate::datapath) use read::upper;
use read::{Subject, quick, related};

use crate::datapath::policy::{Policy, Upper};
use crate::datapath::state::{Class, Key, Seen, SeenPacket, Thread, Touch};
use crate::datapath::translate::Head;
use crate::datapath::{
    Context, DropReason, Fact, Ingress, Observer, Packet, RouteTarget, Stage, SubnetIndex, SubnetView,
};
use crate::mapping::{Interface, InterfaceIndex};
use crate::model::profile::FirewallPolicy;
use crate::model::traffic::Direction;
use crate::wire::MacAddr;
use crate::wire::flow::{Fragment, IpPacket};
use crate::wire::frame::Frame;

/// The TCP flag SYN.
const SYN: u8 = 2;

/// What is asked of the groups of an interface.
struct Question {
    interface: InterfaceIndex,
    direction: Direction,
    own: IpAddr,
    remote: IpAddr,
    protocol: u8,
    /// Seconds since the switch was started.
    now: u32,
}

impl Question {
    fn stage(&self) -> Stage {
        match self.direction {
            Direction::Egress => Stage::SecurityGroupEgress,
            Direction::Ingress => Stage::SecurityGroupIngress,
        }
    }

    fn key(&self, thread: Thread) -> Key {
        Key::new(self.interface, self.protocol, thread, self.own, self.remote)
    }

    fn packet(&self, class: Class, flags: u8) -> SeenPacket {
        SeenPacket {
            class,
            direction: self.direction,
            flags,
        }
    }
}

impl<'a, O: Observer> Context<'a, O> {
    /// The rules of the sender's groups, for what goes out.
    #[inline(always)]
    pub(in crate::datapath) fn security_group_egress(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        if !self.ingress.filtered {
            return Ok(());
        }
        self.filter(frame, packet, self.ingress.interface.index, Direction::Egress)
    }

    /// The rules of the receiver's groups, for what comes in.
    #[inline(always)]
    pub(in crate::datapath) fn security_group_ingress(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        interface: &Interface,
        subnet: &SubnetView,
    ) -> Result<(), DropReason> {
        if !subnet.profile().firewall.enforced || !self.view.is_filtered(interface.index) {
            return Ok(());
        }
        self.filter(frame, packet, interface.index, Direction::Ingress)
    }

    /// A packet passes at once if its connection was refreshed in this second and its state stays as it is.
    #[inline(always)]
    fn filter(
        &mut self,
        frame: &Frame<'_>,
        packet: &Packet<'_>,
        interface: InterfaceIndex,
        direction: Direction,
    ) -> Result<(), DropReason> {
        let now = self.seconds();
        // A packet whose ports are translated as well still has those that it came with.
        let as_it_is = self.translation.is_none_or(|new| !new.changes_ports());
        if !O::LISTENS
            && as_it_is
            && let Some((key, packet)) = quick(packet, interface, direction)
            && let Some(known) = self.memory.connections.find(&key, now)
            && known.touched == now
            && known.seen.then(packet) == known.seen
            && !known.seen.begins_anew(packet)
        {
            return Ok(());
        }
        self.filter_aside(frame.bytes(), interface, direction)
    }

    /// Connections live for whole seconds.
    #[inline(always)]
    pub(super) fn seconds(&self) -> u32 {
        // A switch that runs for 136 years is a thing of the future.
        self.now.as_secs() as u32
    }

    #[inline(never)]
    fn filter_aside(
        &mut self,
        bytes: &[u8],
        interface: InterfaceIndex,
        direction: Direction,
    ) -> Result<(), DropReason> {
        // The groups of the receiver are asked about what it gets.
        let head = self
            .translation
            .filter(|_| direction == Direction::Ingress)
            .map(|new| new.head_of(bytes));
        let bytes = head.as_ref().map_or(bytes, Head::bytes);
        // The caller has read the packet before: it is one.
        let Some(packet) = Frame::parse(bytes).ok().as_ref().and_then(IpPacket::of) else {
            return Ok(());
        };
        let (own, remote) = match direction {
            Direction::Egress => (packet.source(), packet.destination()),
            Direction::Ingress => (packet.destination(), packet.source()),
        };
        let question = Question {
            interface,
            direction,
            own,
            remote,
            protocol: packet.protocol(),
            now: self.seconds(),
        };
        if direction == Direction::Egress && self.is_exempt(remote) {
            self.observer.saw(question.stage(), Fact::Exempt { address: remote });
            return Ok(());
        }
        let subject = Subject::of(&packet, direction);
        let decided = match subject {
            Subject::Thread { thread, flags, opens } => self.thread(&question, &packet, thread, flags, opens),
            Subject::Later { identification } => self.later_fragment(&question, identification),
            Subject::Error => self.icmp_error(&question, &packet),
        };
        if decided.is_ok()
            && packet.fragment() == Fragment::First
            && let Some(identification) = read::identification(&packet)
        {
            self.let_fragments_follow(&question, identification)?;
        }
        decided
    }

    /// A packet of a connection, or the first of one.
    fn thread(
        &mut self,
        question: &Question,
        packet: &IpPacket<'_>,
        thread: Thread,
        flags: u8,
        opens: bool,
    ) -> Result<(), DropReason> {
        let (key, class) = (question.key(thread), Class::of(question.protocol));
        let seen_packet = question.packet(class, flags);
        let known = self.memory.connections.find(&key, question.now);
        let known = known.filter(|known| !known.seen.begins_anew(seen_packet));
        if let Some(known) = known {
            self.saw_connection(question, &key);
            let seen = known.seen.then(seen_packet);
            if seen != known.seen || known.touched != question.now {
                self.touch(question, key, seen, class, false);
            }
            return Ok(());
        }
        let source_port = key.ports().map(|(own, remote)| match question.direction {
            Direction::Egress => own,
            Direction::Ingress => remote,
        });
        let rule = self.rule(question, read::upper(packet), source_port)?;
        // RFC 9293 section 3.5.2: a reset belongs to a connection, and begins none. T9: of one that is met in its middle it is
        // unknown.
        let begins = class != Class::Tcp || flags & SYN != 0 || self.firewall(question).tracking.picks_up;
        if !rule || !opens || !begins {
            return Ok(());
        }
        self.open(question, key, Seen::first(seen_packet), class)
    }

    /// Asks the rules. `source_port` is the packet's, of TCP and UDP. Whether the connection that the packet begins is tracked.
    fn rule(&mut self, question: &Question, upper: Upper, source_port: Option<u16>) -> Result<bool, DropReason> {
        let Some(policy) = self.policy(question.interface) else {
            // Its groups were changed a moment ago, in a view that this batch does not have.
            return Err(denied(question.direction));
        };
        let member = self.member(question, policy);
        let groups = member
            .and_then(|member| self.policy(member))
            .map_or(&[][..], Policy::groups);
        let found = policy.allows(
            question.direction,
            question.remote,
            groups,
            question.protocol,
            upper,
            source_port,
        );
        let untracked = found.is_some_and(|found| found.untracked) && !self.is_always_tracked(question);
        self.observer.saw(
            question.stage(),
            Fact::Rule {
                interface: question.interface,
                direction: question.direction,
                member,
                rule: found.map(|found| found.rule),
                untracked,
            },
        );
        found.ok_or(denied(question.direction))?;
        Ok(!untracked)
    }

    /// Whether a packet begins a connection that is tracked whatever the rules are: one through a NAT gateway, an egress-only
    /// internet gateway or a gateway endpoint of DynamoDB (T3).
    fn is_always_tracked(&self, question: &Question) -> bool {
        let out = question.direction == Direction::Egress;
        let route = || {
            self.ingress
                .subnet
                .routes
                .lookup(question.remote)
                .map(|(_, target)| target)
        };
        out && match route() {
            Some(RouteTarget::NatGateway(_) | RouteTarget::EgressOnly) => true,
            Some(RouteTarget::Endpoint(service)) => service.is_always_tracked(),
            _ => false,
        }
    }

    /// A fragment without ports passes if the first of its packet did, or if a rule lets all ports through. What EC2 does is
    /// unknown (T12).
    fn later_fragment(&mut self, question: &Question, identification: u32) -> Result<(), DropReason> {
        let out = question.direction == Direction::Egress;
        let key = question.key(Thread::Fragments { identification, out });
        if self.memory.connections.find(&key, question.now).is_some() {
            self.saw_connection(question, &key);
            return Ok(());
        }
        let denied_by_rules = self.rule(question, Upper::Unknown, None);
        denied_by_rules.map(drop).map_err(|_| DropReason::SecurityGroupFragment)
    }

    /// The later fragments of a packet that passed pass as well.
    fn let_fragments_follow(&mut self, question: &Question, identification: u32) -> Result<(), DropReason> {
        let out = question.direction == Direction::Egress;
        let key = question.key(Thread::Fragments { identification, out });
        if self.memory.connections.find(&key, question.now).is_some() {
            return Ok(());
        }
        let seen = Seen::first(question.packet(Class::Fragments, 0));
        self.open(question, key, seen, Class::Fragments)
    }

    /// An error passes if the packet that it is about belongs to a connection that is tracked here, or if a rule lets it
    /// through (T10; RFC 5508 section 4 for what it quotes).
    fn icmp_error(&mut self, question: &Question, packet: &IpPacket<'_>) -> Result<(), DropReason> {
        if let Some(key) = related(packet, question.interface, question.direction)
            && self.memory.connections.find(&key, question.now).is_some()
        {
            self.saw_connection(question, &key);
            return Ok(());
        }
        self.rule(question, read::upper(packet), None).map(drop)
    }

    fn saw_connection(&mut self, question: &Question, key: &Key) {
        let (own, remote) = key.addresses();
        let fact = Fact::Tracked {
            interface: question.interface,
            protocol: key.protocol(),
            own,
            remote,
            ports: key.ports(),
        };
        self.observer.saw(question.stage(), fact);
    }

    /// Remembers the connection from now on, if the instance may have one more.
    fn open(&mut self, question: &Question, key: Key, seen: Seen, class: Class) -> Result<(), DropReason> {
        let limit = self.firewall(question).tracking.allowance;
        let allowance = self.view.allowance(question.interface);
        if !self.memory.connections.has_room(&key, allowance, limit, question.now) {
            let fact = Fact::Full {
                interface: question.interface,
                limit,
            };
            self.observer.saw(question.stage(), fact);
            // What has expired is looked for, so that there is room for the next.
            self.effects().exceeded = Some(allowance);
            return Err(DropReason::ConntrackAllowance);
        }
        self.touch(question, key, seen, class, true);
        Ok(())
    }

    fn touch(&mut self, question: &Question, key: Key, seen: Seen, class: Class, opens: bool) {
        let own = self.policy(question.interface).and_then(Policy::life);
        let tracking = &self.firewall(question).tracking;
        let life = seen.life(class, tracking, own);
        let touch = Touch {
            key,
            seen,
            until: question.now.saturating_add(life),
            opens: opens.then(|| (self.view.allowance(question.interface), tracking.allowance)),
        };
        self.effects().touch(touch);
    }

    /// How the firewall of the interface's VPC behaves: the one that a packet from outside goes to.
    fn firewall(&self, question: &Question) -> &'a FirewallPolicy {
        let interface = self.view.interface(question.interface);
        let subnet = interface.and_then(|interface| self.view.subnet(SubnetIndex(interface.subnet)));
        subnet.map_or(&self.profile().firewall, |subnet| &subnet.profile().firewall)
    }

    /// The rules of an interface's groups.
    fn policy(&self, interface: InterfaceIndex) -> Option<&'a Policy> {
        self.view.policy(interface)
    }

    /// The interface at the other end, where rules name groups. A packet that came in is from the interface that sent it,
    /// whatever its source says: one that a middlebox passed on is from the middlebox (S6).
    fn member(&mut self, question: &Question, policy: &Policy) -> Option<InterfaceIndex> {
        // What was translated is from no member: a group is its members' private addresses (S4).
        if !policy.names_groups(question.direction) || self.translation.is_some() {
            return None;
        }
        match question.direction {
            Direction::Egress => self.member_at(question),
            Direction::Ingress => self.sender_as_member(question),
        }
    }

    /// The sender, if a source address is one of its own (S4: a group is its members' private addresses).
    fn sender_as_member(&mut self, question: &Question) -> Option<InterfaceIndex> {
        let Ingress { interface, subnet, .. } = self.ingress;
        if !self.profile().firewall.group_members_by_address {
            return Some(interface.index);
        }
        let owns = self.owns(interface.index, interface.mac, subnet, question.remote);
        let owner = owns.then_some(interface.index);
        self.saw_owner(question, subnet, owner);
        owner
    }

    /// The interface that a packet goes to by its destination address, in whichever subnet of the VPC.
    fn member_at(&mut self, question: &Question) -> Option<InterfaceIndex> {
        if let IpAddr::V6(address) = question.remote
            && address.is_unicast_link_local()
        {
            let mac = MacAddr::from_link_local(address)?;
            return self.view.interface_by_mac(self.ingress.vpc.index, mac);
        }
        let subnet = match self.view.subnet_of(self.ingress.vpc, question.remote) {
            Some(subnet) => subnet,
            None => self.peered_subnet(question.remote)?,
        };
        let owner = self.view.owner(subnet, question.remote);
        self.saw_owner(question, subnet, owner);
        owner
    }

    /// The subnet of a peered VPC that is the target of a route (facts P6: groups of it may be named).
    fn peered_subnet(&self, address: IpAddr) -> Option<&'a SubnetView> {
        match self.ingress.subnet.routes.lookup(address)?.1 {
            RouteTarget::Peering(peer) => self.view.subnet_of(self.view.vpc(peer)?, address),
            _ => None,
        }
    }

    fn saw_owner(&mut self, question: &Question, subnet: &SubnetView, owner: Option<InterfaceIndex>) {
        let fact = Fact::Mapping {
            subnet: subnet.index,
            address: question.remote,
            owner,
        };
        self.observer.saw(question.stage(), fact);
    }

    /// Whether an address is one at which the VPC itself answers.
    fn is_exempt(&self, address: IpAddr) -> bool {
        self.router_address(address).is_some() || self.is_resolver(address)
    }
}

fn denied(direction: Direction) -> DropReason {
    match direction {
        Direction::Egress => DropReason::SecurityGroupEgress,
        Direction::Ingress => DropReason::SecurityGroupIngress,
    }
}
