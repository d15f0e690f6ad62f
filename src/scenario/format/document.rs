//! Defines a scenario file as written, before its names are checked.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::failover::{FaultForm, InstanceForm, ProbeForm, ResponderForm, TimeRange};
use super::flows::FlowForm;
use crate::file::values::{Count, Text, Texts};
use crate::model::duration::{AnswerTimeout, Interval, PingInterval, Skew};
use crate::model::interface::{Allowances, ModifyInterface, SettingsChange, TrackingTimeouts};
use crate::model::metadata::MetadataChange;
use crate::model::network_acl::EntryForm;
use crate::model::security_group::{DEFAULT_GROUP, RuleForm};
use crate::model::traffic;
use crate::model::{InterfaceId, ResourceRef};
use crate::topology::format::Topology;
use crate::topology::vpc_of_default;

/// A network and expectations about it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Scenario)]
pub struct Document {
    /// A short name, used in reports.
    #[schema(value_type = String)]
    pub name: Spanned<String>,
    /// A description of what the scenario shows.
    #[serde(default)]
    pub description: String,
    /// The publication of the observations that it replays.
    pub source: Option<String>,
    /// Programs that the steps use. The run checks for them before it starts.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Parameters of a run, with their defaults.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Parameter>)]
    pub parameters: BTreeMap<String, Spanned<Parameter>>,
    /// Time limit of the whole run. Five minutes when left out.
    pub timeout: Option<Interval>,
    /// The network.
    pub topology: Topology,
    /// The steps, in order.
    #[schema(value_type = Vec<StepFields>)]
    pub steps: Vec<Spanned<StepFields>>,
}

/// A parameter of a run.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// A description.
    #[serde(default)]
    pub description: String,
    /// The default value; a parameter without a default must be given.
    pub default: Option<String>,
}

/// An action and its expectations. A step has one of `exec`, `ping`, `mapping`, `modify`, `route`, `rules`, `entry`, `wait`, `capture`,
/// `responder`, `probe`, `fault`, `instance`, `stop` and `parallel`, or `expect` alone.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Step)]
pub struct StepFields {
    /// The observation that the step demonstrates, in a sentence.
    pub say: Option<Text>,
    /// A name for the start of this step in later expectations.
    #[schema(value_type = Option<String>)]
    pub id: Option<Spanned<String>>,
    /// Runs a command in an instance.
    pub exec: Option<Exec>,
    /// Sends echo requests from an instance.
    pub ping: Option<Ping>,
    /// Assigns, moves or unassigns addresses and delegated prefixes: the whole list, or nothing.
    pub mapping: Option<Edits>,
    /// Changes a network interface.
    pub modify: Option<Modify>,
    /// Changes a route of a route table.
    pub route: Option<RouteChange>,
    /// Revokes rules of a security group, then authorizes others.
    pub rules: Option<RulesChange>,
    /// Edits an entry of a network ACL.
    pub entry: Option<EntryChange>,
    /// Waits for this time.
    pub wait: Option<Interval>,
    /// Starts `tcpdump` in an instance.
    pub capture: Option<Capture>,
    /// Starts a server in an instance that answers probes.
    pub responder: Option<ResponderForm>,
    /// Starts a stream of requests, from which an outage is computed.
    pub probe: Option<ProbeForm>,
    /// Begins a fault.
    #[schema(value_type = Option<FaultForm>)]
    pub fault: Option<Spanned<FaultForm>>,
    /// Freezes, thaws, kills or crashes the processes of an instance.
    #[schema(value_type = Option<InstanceForm>)]
    pub instance: Option<Spanned<InstanceForm>>,
    /// Ends a capture, a probe, a fault, a responder, or a background command, by its name.
    #[schema(value_type = Option<String>)]
    pub stop: Option<Spanned<String>>,
    /// Steps that run in parallel.
    #[schema(value_type = Option<Vec<StepFields>>, no_recursion)]
    pub parallel: Option<Vec<Spanned<StepFields>>>,
    /// Expectations after the action; `answered`, `unanswered` and `unreachable` stand for `replies`.
    pub expect: Option<Expect>,
    /// The step is repeated until the expectations hold, and fails when they do not within this time.
    pub within: Option<Interval>,
    /// Values to save from standard output: the first group of a regular expression, for `{{ saved.NAME }}`.
    #[serde(default)]
    pub save: BTreeMap<String, Text>,
}

/// A command in an instance.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// The instance.
    #[schema(value_type = String)]
    #[serde(rename = "in", alias = "on")]
    pub on: Spanned<String>,
    /// A command line for `sh`.
    pub run: Option<Text>,
    /// A program and its arguments, without a shell.
    pub argv: Option<Vec<Text>>,
    /// Time limit, after which the command is killed and the step fails. 30 s when left out.
    pub timeout: Option<Interval>,
    /// The command runs in the background under this name until a `stop` step, or the end of the run.
    #[schema(value_type = Option<String>)]
    pub background: Option<Spanned<String>>,
    /// Files to write first, by path: in `/etc`, `/home`, `/root`, `/run` or `/var`, of which an instance has its own.
    /// A file that begins with `#!` becomes executable.
    #[serde(default)]
    pub files: BTreeMap<String, Text>,
    /// Environment variables in addition to those of every command.
    #[serde(default)]
    pub environment: BTreeMap<String, Text>,
}

/// Echo requests from an instance, sent by its own `ping`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// The instance that sends.
    #[schema(value_type = String)]
    pub from: Spanned<String>,
    /// The address, with `%eth0` where it is a link-local or multicast one.
    pub to: Text,
    /// Number of requests. 3 when left out.
    pub count: Option<u32>,
    /// Time between two requests. 200 ms when left out.
    pub interval: Option<PingInterval>,
    /// Timeout of the last answer; a whole second or two more where every request is to be answered. 1 s when left out.
    pub wait: Option<AnswerTimeout>,
    /// Bytes of payload. 56 when left out.
    pub size: Option<u16>,
    /// Whether the address is a broadcast one (`ping -b`).
    #[serde(default)]
    pub broadcast: bool,
    /// The source address.
    pub source: Option<Text>,
}

/// One edit of the mapping table.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// An address or delegated prefix without an owner.
    pub assign: Option<Text>,
    /// An address or delegated prefix that may have another owner: it is reassigned in one step.
    #[serde(rename = "move")]
    pub reassign: Option<Text>,
    /// An address or delegated prefix to unassign.
    pub unassign: Option<Text>,
    /// The instance whose interface gets it, with `assign` and `move`.
    #[schema(value_type = Option<String>)]
    pub to: Option<Spanned<String>>,
    /// The instance whose interface loses it, with `unassign`.
    #[schema(value_type = Option<String>)]
    pub from: Option<Spanned<String>>,
}

/// One edit, or a list of them.
#[derive(Debug, Clone)]
pub struct Edits(pub Vec<Spanned<Edit>>);

/// Changes of a network interface.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Modify {
    /// An instance, which stands for its primary interface, or an interface of the topology.
    #[schema(value_type = String)]
    pub interface: Spanned<String>,
    /// The source/destination check: whether the interface may send from, and receive for, its own addresses only.
    pub source_dest_check: Option<bool>,
    /// All its security groups; `default` is that of its VPC.
    #[schema(value_type = Option<Vec<String>>)]
    pub groups: Option<Vec<Spanned<String>>>,
    /// The MTU of the interface; the host's own MTU does not change.
    pub mtu: Option<u16>,
    /// How far the time served to the host is ahead of the machine's clock, such as `2s` or `-250ms`.
    pub ntp_skew: Option<Skew>,
    /// How much the interface may send and receive.
    pub allowances: Option<Allowances>,
    /// Seconds for which idle connections are tracked from now on.
    pub tracking: Option<TrackingTimeouts>,
    /// Changes of the instance's metadata.
    pub metadata: Option<MetadataChange>,
    /// `true` detaches the interface; the device vanishes from the host.
    #[serde(default)]
    pub detach: bool,
    /// The instance to attach it to, after detaching it if that is requested too. There it is the next device: `eth1`,
    /// which is down and has no address until the host configures it.
    #[schema(value_type = Option<String>)]
    pub attach_to: Option<Spanned<String>>,
}

impl Modify {
    /// The change of the interface itself; the run attaches and detaches.
    pub(in crate::scenario) fn command(&self, interface: ResourceRef<InterfaceId>) -> ModifyInterface {
        // `VPC/default` and `default` are the same to an interface.
        let group = |name: &Spanned<String>| match vpc_of_default(&name.value) {
            Some(_) => ResourceRef::new(DEFAULT_GROUP),
            None => ResourceRef::new(&name.value),
        };
        ModifyInterface {
            source_dest_check: self.source_dest_check,
            groups: self.groups.as_ref().map(|names| names.iter().map(group).collect()),
            settings: SettingsChange {
                mtu: self.mtu.map(Some),
                ntp_skew: self.ntp_skew,
                allowances: self.allowances.map(Some),
                tracking: self.tracking.map(Some),
                public_address: None,
                metadata: self.metadata.clone(),
            },
            ..ModifyInterface::new(interface)
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.source_dest_check.is_none()
            && self.groups.is_none()
            && self.mtu.is_none()
            && self.ntp_skew.is_none()
            && self.allowances.is_none()
            && self.tracking.is_none()
            && self.metadata.is_none()
            && !self.detach
            && self.attach_to.is_none()
    }
}

/// A change of a route table.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteChange {
    /// The route table.
    #[schema(value_type = String)]
    pub table: Spanned<String>,
    /// The destination.
    pub to: Text,
    /// The new target: an instance, `local` or `blackhole`. The route is created if there is none.
    #[schema(value_type = Option<String>)]
    pub via: Option<Spanned<String>>,
    /// `true` deletes the route.
    #[serde(default)]
    pub delete: bool,
}

/// A change of the rules of a security group.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RulesChange {
    /// The security group; `VPC/default` is the one that a VPC is made with.
    #[schema(value_type = String)]
    pub group: Spanned<String>,
    /// Rules to be added about what comes in.
    #[serde(default)]
    pub authorize_ingress: Vec<RuleForm>,
    /// Rules to be added about what leaves.
    #[serde(default)]
    pub authorize_egress: Vec<RuleForm>,
    /// Rules about what comes in to be taken away; each matches exactly.
    #[serde(default)]
    pub revoke_ingress: Vec<RuleForm>,
    /// Rules about what leaves to be taken away; each matches exactly.
    #[serde(default)]
    pub revoke_egress: Vec<RuleForm>,
}

/// A change of an entry of a network ACL.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NetworkAclChange)]
pub struct EntryChange {
    /// The network ACL; `VPC/default` is the one that a VPC is made with.
    #[schema(value_type = String)]
    pub network_acl: Spanned<String>,
    /// Whether the entry is about what enters the subnets or about what leaves them.
    #[schema(value_type = String, example = "ingress")]
    pub direction: traffic::Direction,
    /// The entry, in place of the one that has its number.
    pub put: Option<EntryForm>,
    /// The number of an entry to be taken away.
    pub delete: Option<u16>,
}

/// `tcpdump` in an instance. Each packet becomes a line, or several if `verbose`; a later `stop` step, or `captures` in
/// an expectation, checks them.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The name of the capture.
    #[schema(value_type = String)]
    pub start: Spanned<String>,
    /// The instance.
    #[schema(value_type = String)]
    #[serde(rename = "in", alias = "on")]
    pub on: Spanned<String>,
    /// A pcap filter expression; all packets when left out.
    pub filter: Option<Text>,
    /// Arriving packets only, or leaving ones too.
    #[serde(default)]
    pub direction: Direction,
    /// Show every field and option of a packet (`tcpdump -vvv`), each DHCP option on a line of its own.
    #[serde(default)]
    pub verbose: bool,
}

/// Direction of captured packets, as seen from the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Arriving packets.
    In,
    /// Arriving and leaving packets.
    #[default]
    Both,
}

/// The expectations of a step. A word stands for `replies`.
#[derive(Debug, Clone, Default)]
pub struct Expect(pub ExpectFields);

/// The expectations of a step.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Expectations)]
pub struct ExpectFields {
    /// Exit code of the command: a number, a list of numbers, or `nonzero`. An `exec` step without it expects 0.
    pub exit: Option<Exit>,
    /// Standard output. A text or a list of texts stands for `contains`.
    pub stdout: Option<TextExpectation>,
    /// Standard error.
    pub stderr: Option<TextExpectation>,
    /// Replies to a ping: `answered`, `unanswered`, `unreachable`, or a count. A `ping` step without it expects
    /// `answered`.
    pub replies: Option<Replies>,
    /// The error code of a refused `mapping`, `modify` or `route` step.
    #[schema(value_type = Option<String>)]
    pub error: Option<Spanned<String>>,
    /// Counters and drops of the ports of instances, by instance.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, PortExpectation>)]
    pub ports: BTreeMap<String, Spanned<PortExpectation>>,
    /// The stopped probe that `outage` and the figures below it are about. It may be left out in the step that stops
    /// it.
    #[schema(value_type = Option<String>)]
    pub probe: Option<Spanned<String>>,
    /// Length of the longest window of outage: from the first lost request to the first answered one after it.
    pub outage: Option<TimeRange>,
    /// Time from the last change of the address's owner to the first packet at the new owner.
    pub takeover: Option<TimeRange>,
    /// Requests that were sent.
    pub sent: Option<Count>,
    /// Requests answered in time.
    pub answered: Option<Count>,
    /// Lost requests.
    pub lost: Option<Count>,
    /// Packets delivered to a former owner of the address after the API was called.
    pub misdelivered: Option<Count>,
    /// Answers by the name in them, which `responder` and HTTP servers give.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub answered_by: BTreeMap<String, Spanned<Count>>,
    /// The switch's flow record of the probe: delivered packets, by instance.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub delivered_to: BTreeMap<String, Spanned<Count>>,
    /// The switch's flow record of the probe: dropped packets, by drop reason.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub dropped: BTreeMap<String, Spanned<Count>>,
    /// Events, by type.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub events: BTreeMap<String, Spanned<Count>>,
    /// The switch's flow records: which packets, and their verdicts.
    #[serde(default)]
    #[schema(value_type = Vec<FlowForm>)]
    pub flows: Vec<Spanned<FlowForm>>,
    /// Start of the interval for `ports`, `events` and `flows`: `step` (the start of this step), `scenario`, or the
    /// `id` of an earlier step. When left out, a step with expectations alone counts from `scenario`, any other from
    /// `step`.
    #[schema(value_type = Option<String>)]
    pub since: Option<Spanned<String>>,
    /// The packets of captures so far, by the capture's name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, TextExpectation>)]
    pub captures: BTreeMap<String, Spanned<TextExpectation>>,
}

/// The allowed exit codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// One of these.
    OneOf(Vec<i32>),
    /// All but 0.
    NonZero,
}

/// The expected replies to a ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// Every request is answered.
    Answered,
    /// No request is answered, though they could be sent.
    Unanswered,
    /// The host has no route: nothing could be sent.
    Unreachable,
    /// This many replies; several hosts may answer one request.
    Count(Count),
}

/// Expectations about a text. A text or a list of texts stands for `contains`.
#[derive(Debug, Clone, Default)]
pub struct TextExpectation(pub TextFields);

/// Expectations about a text.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TextDetails)]
pub struct TextFields {
    /// Texts that it contains.
    #[serde(default)]
    pub contains: Texts,
    /// Texts that it does not contain.
    #[serde(default)]
    pub not_contains: Texts,
    /// Regular expressions that match somewhere; `^` and `$` match at lines.
    #[serde(default)]
    pub matches: Texts,
    /// Regular expressions that match nowhere.
    #[serde(default)]
    pub not_matches: Texts,
    /// Whether it is empty or white space only.
    pub empty: Option<bool>,
    /// Expectations about its lines.
    #[serde(default)]
    pub lines: Vec<LineFields>,
}

/// Expectations about some lines of a text.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LineExpectation)]
pub struct LineFields {
    /// Selects the lines that match this regular expression; all lines when left out.
    pub matching: Option<Text>,
    /// Number of these lines.
    pub count: Option<Count>,
    /// Lines with the same first group of this regular expression are counted once: with a transaction ID, a
    /// retransmitted message does not count again.
    pub distinct: Option<Text>,
    /// A regular expression that matches every one of them.
    pub every: Option<Text>,
}

/// Expected counters of a port.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortExpectation {
    /// Dropped frames, by reason; `total` is the sum.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub drops: BTreeMap<String, Spanned<Count>>,
    /// Other counters of the port, by name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub counters: BTreeMap<String, Spanned<Count>>,
}
