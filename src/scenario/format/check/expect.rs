//! Checks expectations: each fits its step, uses existing names, and can fail.

use serde_saphyr::{Location, Spanned};

use super::super::document::{Expect, ExpectFields, Replies, TextFields};
use super::{Action, Checker, Since};
use crate::datapath::{Answered, DropReason};
use crate::file::diagnostic::Mistake;
use crate::file::values::Texts;

/// Counters of a port other than drops and answers, as in `GET /v1/ports`.
const COUNTERS: [&str; 7] = [
    "received_frames",
    "received_bytes",
    "sent_frames",
    "sent_bytes",
    "sent_merged",
    "unasked",
    "refused",
];

impl Checker<'_> {
    pub(super) fn expect(&mut self, expect: &ExpectFields, action: &Action, place: Location, written: bool) {
        let misplaced = |what: &str, steps: &str| {
            Mistake::at(
                place,
                format!("`{what}` is about {steps}; this step is {}", action.name()),
            )
        };
        let foreground = match action {
            Action::Exec(exec) => exec.background.is_none(),
            Action::Ping(_) => true,
            Action::Stop(name) => !self.mute.contains(name),
            _ => false,
        };
        if (expect.exit.is_some() || expect.stdout.is_some() || expect.stderr.is_some()) && !foreground {
            let mistake = misplaced("exit`, `stdout` and `stderr", "a command that has ended")
                .help("expect the output of a command in the background at its `stop` step");
            self.wrong(mistake);
        }
        if expect.replies.is_some() && !matches!(action, Action::Ping(_)) {
            self.wrong(misplaced("replies", "a `ping` step"));
        }
        let refusable = matches!(
            action,
            Action::Mapping(_)
                | Action::Modify(_)
                | Action::Route(_)
                | Action::Rules(_)
                | Action::Entry(_)
                | Action::Fault(_)
        );
        if expect.error.is_some() && !refusable {
            self.wrong(misplaced("error", "a `mapping`, `modify`, `route` or `fault` step"));
        }
        if let (Some(Replies::Count(_)), Action::Ping(ping)) = (expect.replies, action)
            && ping.count == Some(0)
        {
            self.wrong(Mistake::at(place, "no reply can come to no request"));
        }
        let texts = [&expect.stdout, &expect.stderr];
        texts
            .into_iter()
            .flatten()
            .for_each(|text| self.text_expectation(&text.0, place));
        for (name, text) in &expect.captures {
            if !self.captures.contains(name) {
                let mistake = Mistake::at(
                    text.referenced,
                    format!("no capture is called `{name}` before this step"),
                )
                .nearest(name, self.captures.iter().map(String::as_str));
                self.wrong(mistake);
            }
            self.text_expectation(&text.value.0, text.referenced);
        }
        for (name, port) in &expect.ports {
            let known = Spanned::new(name.clone(), port.referenced, port.defined);
            self.interface(&known);
            if port.value.drops.is_empty() && port.value.counters.is_empty() {
                self.wrong(Mistake::at(port.referenced, "say which `drops` or `counters`"));
            }
            for (name, count) in &port.value.counters {
                let answered = Answered::ALL.iter().map(|kind| kind.name());
                let known: Vec<&str> = COUNTERS.into_iter().chain(answered).collect();
                if !known.contains(&name.as_str()) {
                    let message = format!("no counter is called `{name}`");
                    self.wrong(Mistake::at(count.referenced, message).nearest(name, known));
                }
            }
            for (reason, count) in &port.value.drops {
                if reason != "total" && DropReason::from_name(reason).is_none() {
                    let known = DropReason::ALL.iter().map(|reason| reason.name()).chain(["total"]);
                    let mistake = Mistake::at(count.referenced, format!("no drop reason is called `{reason}`"))
                        .nearest(reason, known);
                    self.wrong(mistake);
                }
            }
        }
        let says_something = self.figures(expect, action, place)
            || expect.exit.is_some()
            || expect.replies.is_some()
            || expect.error.is_some()
            || texts.iter().any(|text| text.is_some())
            || !expect.captures.is_empty()
            || !expect.ports.is_empty()
            || !expect.flows.is_empty();
        expect.flows.iter().for_each(|flow| self.flow(flow));
        if written && !says_something {
            self.wrong(Mistake::at(place, "`expect` says nothing, so it could never fail"));
        }
    }

    fn text_expectation(&mut self, text: &TextFields, place: Location) {
        for list in [&text.contains, &text.not_contains] {
            list.0.iter().for_each(|one| {
                self.fill(one);
            });
        }
        for Texts(list) in [&text.matches, &text.not_matches] {
            list.iter().for_each(|one| self.pattern(one, false));
        }
        for line in &text.lines {
            if line.count.is_none() && line.every.is_none() {
                self.wrong(Mistake::at(
                    place,
                    "`lines` needs `count` or `every`, or it could never fail",
                ));
            }
            [&line.matching, &line.every]
                .into_iter()
                .flatten()
                .for_each(|one| self.pattern(one, false));
            if let Some(distinct) = &line.distinct {
                self.pattern(distinct, true);
                if line.count.is_none() {
                    self.wrong(Mistake::at(
                        distinct.place(),
                        "`distinct` is about `count`, and there is none",
                    ));
                }
            }
        }
        let lists = [&text.contains, &text.not_contains, &text.matches, &text.not_matches];
        if lists.iter().all(|list| list.0.is_empty()) && text.empty.is_none() && text.lines.is_empty() {
            self.wrong(Mistake::at(
                place,
                "this text expectation says nothing, so it could never fail",
            ));
        }
    }

    pub(super) fn since(&mut self, expect: &Expect, action: &Action) -> Since {
        match &expect.0.since {
            None if matches!(action, Action::Expect) => Since::Scenario,
            None => Since::Step,
            Some(since) if expect.0.ports.is_empty() && expect.0.events.is_empty() && expect.0.flows.is_empty() => {
                self.wrong(Mistake::at(
                    since.referenced,
                    "`since` is about `ports`, `events` and `flows`, and there are none",
                ));
                Since::Step
            }
            Some(since) => match since.value.as_str() {
                "step" => Since::Step,
                "scenario" => Since::Scenario,
                id => {
                    if !self.ids.contains(id) {
                        let known = self.ids.iter().map(String::as_str).chain(["step", "scenario"]);
                        let mistake =
                            Mistake::at(since.referenced, format!("no step before this one has the id `{id}`"))
                                .nearest(id, known);
                        self.wrong(mistake);
                    }
                    Since::Id(id.to_owned())
                }
            },
        }
    }
}
