//! A scenario file as it is written, before its names are looked up.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;
use utoipa::ToSchema;

use super::failover::{FaultForm, InstanceForm, ProbeForm, ResponderForm, TimeRange};
use super::flows::FlowForm;
use crate::file::values::{Count, Text, Texts};
use crate::model::duration::{AnswerTimeout, Interval, PingInterval};
use crate::model::metadata::MetadataChange;
use crate::topology::format::Topology;

/// A network and what is expected of it.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Scenario)]
pub struct Document {
    /// A short name, used in reports.
    #[schema(value_type = String)]
    pub name: Spanned<String>,
    /// What the scenario shows, for people.
    #[serde(default)]
    pub description: String,
    /// Where the observations that it replays were published.
    pub source: Option<String>,
    /// Programs that the steps use. They are looked for before anything starts.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Values that a run may set, with what they are otherwise.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Parameter>)]
    pub parameters: BTreeMap<String, Spanned<Parameter>>,
    /// The whole run is given up after this time. Five minutes when left out.
    pub timeout: Option<Interval>,
    /// The network.
    pub topology: Topology,
    /// What is done, in this order.
    #[schema(value_type = Vec<StepFields>)]
    pub steps: Vec<Spanned<StepFields>>,
}

/// A value that a run may set.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The value when the run gives none; a parameter without a default must be given.
    pub default: Option<String>,
}

/// One thing that is done, and what is expected of it. A step has one of `exec`, `ping`, `mapping`, `modify`, `route`,
/// `wait`, `capture`, `responder`, `probe`, `fault`, `instance`, `stop` and `parallel`, or `expect` alone.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Step)]
pub struct StepFields {
    /// The observation that the step proves, in a sentence.
    pub say: Option<Text>,
    /// A name by which later expectations refer to the start of this step.
    #[schema(value_type = Option<String>)]
    pub id: Option<Spanned<String>>,
    /// Runs a command in an instance.
    pub exec: Option<Exec>,
    /// Sends echo requests from an instance.
    pub ping: Option<Ping>,
    /// Assigns, moves or unassigns addresses and delegated prefixes: all of the list, or none.
    pub mapping: Option<Edits>,
    /// Changes a network interface.
    pub modify: Option<Modify>,
    /// Changes a route of a route table.
    pub route: Option<RouteChange>,
    /// Does nothing for this time.
    pub wait: Option<Interval>,
    /// Starts `tcpdump` in an instance.
    pub capture: Option<Capture>,
    /// Starts a server in an instance that answers probes.
    pub responder: Option<ResponderForm>,
    /// Starts a stream of requests, of which an outage is computed.
    pub probe: Option<ProbeForm>,
    /// Lets something go wrong.
    #[schema(value_type = Option<FaultForm>)]
    pub fault: Option<Spanned<FaultForm>>,
    /// Freezes, thaws, kills or crashes the processes of an instance.
    #[schema(value_type = Option<InstanceForm>)]
    pub instance: Option<Spanned<InstanceForm>>,
    /// Ends a capture, a probe, a fault, a responder, or a command that runs in the background, by its name.
    #[schema(value_type = Option<String>)]
    pub stop: Option<Spanned<String>>,
    /// Steps that are done at the same time.
    #[schema(value_type = Option<Vec<StepFields>>, no_recursion)]
    pub parallel: Option<Vec<Spanned<StepFields>>>,
    /// What must hold afterwards; `answered`, `unanswered` and `unreachable` stand for `replies`.
    pub expect: Option<Expect>,
    /// The step is repeated until the expectation holds, and fails when it does not within this time.
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
    pub on: Spanned<String>,
    /// The command line, for `sh`.
    pub run: Option<Text>,
    /// The program and its arguments, without a shell.
    pub argv: Option<Vec<Text>>,
    /// The command is killed, and the step fails, after this time. 30 s when left out.
    pub timeout: Option<Interval>,
    /// The command runs on under this name until a `stop` step, or the end of the run.
    #[schema(value_type = Option<String>)]
    pub background: Option<Spanned<String>>,
    /// Files to write first, by path: in `/etc`, `/home`, `/root`, `/run` or `/var`, which an instance has to itself. One
    /// that begins with `#!` can be run.
    #[serde(default)]
    pub files: BTreeMap<String, Text>,
    /// Environment variables beside those that every command has.
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
    /// How many are sent. 3 when left out.
    pub count: Option<u32>,
    /// Time between two. 200 ms when left out.
    pub interval: Option<PingInterval>,
    /// How long the last answer is waited for. 1 s when left out.
    pub wait: Option<AnswerTimeout>,
    /// Bytes of payload. 56 when left out.
    pub size: Option<u16>,
    /// Whether the address is a broadcast one (`ping -b`).
    #[serde(default)]
    pub broadcast: bool,
    /// The address to send from.
    pub source: Option<Text>,
}

/// One change of the mapping table.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// An address or delegated prefix that nobody has yet.
    pub assign: Option<Text>,
    /// An address or delegated prefix that may have another owner: it changes hands in one step.
    #[serde(rename = "move")]
    pub reassign: Option<Text>,
    /// An address or delegated prefix to take away.
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
    /// The instance whose primary interface is meant, or an interface of the topology.
    #[schema(value_type = String)]
    pub interface: Spanned<String>,
    /// Whether the fabric checks that the interface owns what it sends from and receives for.
    pub source_dest_check: Option<bool>,
    /// The longest IP packet that the interface takes; the host's own MTU stays.
    pub mtu: Option<u16>,
    /// How far ahead of the machine's clock the time is that the host is told, in milliseconds.
    pub ntp_skew_ms: Option<i64>,
    /// What changes about what the host finds at the metadata service.
    pub metadata: Option<MetadataChange>,
    /// `true` takes the interface from its host, where the device is gone from then on.
    #[serde(default)]
    pub detach: bool,
    /// The instance that it is attached to, after it was detached if that is asked for, too. There it is the next device:
    /// `eth1`, which is down and has no address until the host configures it.
    #[schema(value_type = Option<String>)]
    pub attach_to: Option<Spanned<String>>,
}

impl Modify {
    /// Whether it says what is to change.
    pub fn is_empty(&self) -> bool {
        self.source_dest_check.is_none()
            && self.mtu.is_none()
            && self.ntp_skew_ms.is_none()
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
    /// The instance that the route leads to from now on, `local` or `blackhole`. The route is made if there is none.
    #[schema(value_type = Option<String>)]
    pub via: Option<Spanned<String>>,
    /// `true` takes the route away.
    #[serde(default)]
    pub delete: bool,
}

/// `tcpdump` in an instance. Each packet becomes a line, or several if `verbose`; a later `stop` step, or `captures` in an expectation, looks at them.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Capture {
    /// The name of the capture.
    #[schema(value_type = String)]
    pub start: Spanned<String>,
    /// The instance.
    #[schema(value_type = String)]
    pub on: Spanned<String>,
    /// A pcap filter expression; everything when left out.
    pub filter: Option<Text>,
    /// Only what arrives, or what leaves too.
    #[serde(default)]
    pub direction: Direction,
    /// Whether every field and option of a packet is told (`tcpdump -vvv`), each DHCP option on a line of its own.
    #[serde(default)]
    pub verbose: bool,
}

/// Which way captured packets go, as the instance sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// What arrives.
    In,
    /// What arrives and what leaves.
    #[default]
    Both,
}

/// What must hold after a step. A word stands for `replies`.
#[derive(Debug, Clone, Default)]
pub struct Expect(pub ExpectFields);

/// What must hold after a step.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Expectations)]
pub struct ExpectFields {
    /// Exit code of the command: a number, a list of numbers, or `nonzero`. An `exec` step that says nothing expects 0.
    pub exit: Option<Exit>,
    /// Standard output. A text or a list of texts stands for `contains`.
    pub stdout: Option<TextExpectation>,
    /// Standard error.
    pub stderr: Option<TextExpectation>,
    /// Replies to a ping: `answered`, `unanswered`, `unreachable`, or how many. A `ping` step that says nothing expects `answered`.
    pub replies: Option<Replies>,
    /// The error code with which a `mapping`, `modify` or `route` step is refused.
    #[schema(value_type = Option<String>)]
    pub error: Option<Spanned<String>>,
    /// Counters and drops of the ports of instances, by instance.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, PortExpectation>)]
    pub ports: BTreeMap<String, Spanned<PortExpectation>>,
    /// The probe that `outage` and the figures below it are about, which must have been stopped. Where it is stopped, it
    /// need not be named.
    #[schema(value_type = Option<String>)]
    pub probe: Option<Spanned<String>>,
    /// How long the longest window of outage was: from the first request that was lost to the first one after it that was
    /// answered.
    pub outage: Option<TimeRange>,
    /// How long it took from the last change of the address's owner to the first packet at the new owner.
    pub takeover: Option<TimeRange>,
    /// Requests that were sent.
    pub sent: Option<Count>,
    /// Requests that were answered in time.
    pub answered: Option<Count>,
    /// Requests that were not.
    pub lost: Option<Count>,
    /// Packets that were delivered to a former owner of the address, after the API was called.
    pub misdelivered: Option<Count>,
    /// Answers by who gave them, as `responder` and HTTP servers say.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub answered_by: BTreeMap<String, Spanned<Count>>,
    /// The switch's own flow record of the probe: its packets by the instance that they were delivered to.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub delivered_to: BTreeMap<String, Spanned<Count>>,
    /// The switch's own flow record of the probe: its packets that went nowhere, by the reason of the drop.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub dropped: BTreeMap<String, Spanned<Count>>,
    /// Events, by type.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub events: BTreeMap<String, Spanned<Count>>,
    /// The switch's flow records of whatever crossed it: which packets, and what became of them.
    #[serde(default)]
    #[schema(value_type = Vec<FlowForm>)]
    pub flows: Vec<Spanned<FlowForm>>,
    /// From when `ports`, `events` and `flows` count: `step` (the start of this step), `scenario`, or the `id` of an earlier step. A step
    /// that only expects counts from `scenario` when this is left out, any other from `step`.
    #[schema(value_type = Option<String>)]
    pub since: Option<Spanned<String>>,
    /// What captures have seen so far, by the capture's name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, TextExpectation>)]
    pub captures: BTreeMap<String, Spanned<TextExpectation>>,
}

/// Which exit codes are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// These.
    OneOf(Vec<i32>),
    /// All but 0.
    NonZero,
}

/// How a ping is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// Every request.
    Answered,
    /// None, though they could be sent.
    Unanswered,
    /// The host has no route: nothing was sent.
    Unreachable,
    /// This many replies; several hosts may answer one request.
    Count(Count),
}

/// What a text must be like. A text or a list of texts stands for `contains`.
#[derive(Debug, Clone, Default)]
pub struct TextExpectation(pub TextFields);

/// What a text must be like.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TextDetails)]
pub struct TextFields {
    /// Each of these stands in it.
    #[serde(default)]
    pub contains: Texts,
    /// None of these stands in it.
    #[serde(default)]
    pub not_contains: Texts,
    /// Each of these regular expressions matches somewhere; `^` and `$` mean a line.
    #[serde(default)]
    pub matches: Texts,
    /// None of these regular expressions matches anywhere.
    #[serde(default)]
    pub not_matches: Texts,
    /// Whether it is empty but for white space.
    pub empty: Option<bool>,
    /// What its lines are like.
    #[serde(default)]
    pub lines: Vec<LineFields>,
}

/// What some lines of a text must be like.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LineExpectation)]
pub struct LineFields {
    /// The lines meant: those in which this regular expression matches; all lines when left out.
    pub matching: Option<Text>,
    /// How many there are.
    pub count: Option<Count>,
    /// Lines with the same first group of this regular expression are counted once: by its transaction, a message that was
    /// sent again is no other one.
    pub distinct: Option<Text>,
    /// A regular expression that matches in every one of them.
    pub every: Option<Text>,
}

/// What the switch counted at a port.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortExpectation {
    /// Frames dropped, by reason; `total` is all of them together.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub drops: BTreeMap<String, Spanned<Count>>,
    /// Other counters of the port, by name.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, Count>)]
    pub counters: BTreeMap<String, Spanned<Count>>,
}
