//! Implements `top`: the current traffic of each port of a server's switch, and its drops by reason.
//!
//! The switch only counts. A rate is the difference of two readings of its counters, so watching costs the data path
//! nothing.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::remote::{Remote, failed};
use super::{Done, Failure, print};
use crate::api::Client;
use crate::model::duration::{DAY, MILLISECOND, Span};

/// How to watch.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Time between two looks
    #[arg(long, default_value = "1s", value_name = "TIME")]
    interval: Span<{ 10 * MILLISECOND }, DAY>,
    /// Look twice, show what happened in between, and end
    #[arg(long)]
    once: bool,
    /// The most ports to show; the busiest come first
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    ports: usize,
}

/// The fields of `GET /v1/ports` that are shown.
#[derive(Debug, Deserialize)]
struct Ports {
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
struct Port {
    port: u32,
    interface_id: Option<String>,
    interface_name: Option<String>,
    device: String,
    lost: bool,
    received: Traffic,
    sent: Traffic,
    answered: BTreeMap<String, u64>,
    dropped: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Traffic {
    frames: u64,
    bytes: u64,
}

/// The rates of a port, per second.
#[derive(Debug, PartialEq, Serialize)]
struct Rates {
    port: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    device: String,
    lost: bool,
    received: Rate,
    sent: Rate,
    answered: f64,
    /// By reason; only reasons with a drop in this interval.
    dropped: BTreeMap<String, f64>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Rate {
    frames: f64,
    bits: f64,
}

/// Watches until it is interrupted, or once.
pub fn top(remote: &Remote, arguments: &TopArguments) -> Done {
    let interval = arguments.interval.get();
    let (client, runtime) = remote.connect()?;
    // Only a terminal is cleared; a file or a pipe gets one block after another.
    let wipe = std::io::stdout().is_terminal() && !arguments.once && !remote.json;
    let keys = wipe.then(Keys::new).flatten();
    runtime.block_on(async {
        let (mut before, mut since) = (look(&client).await?, Instant::now());
        loop {
            if let Some(keys) = &keys {
                if keys.quit_within(interval).await {
                    return Ok(());
                }
            } else {
                tokio::time::sleep(interval).await;
            }
            let (after, now) = (look(&client).await?, Instant::now());
            let rates = rates(&before, &after, now.duration_since(since));
            if remote.json {
                print(&format!("{}\n", serde_json::json!({ "ports": rates })));
            } else {
                let home = if wipe { "\x1b[H\x1b[2J" } else { "" };
                let rest = match (arguments.once, keys.is_some()) {
                    (true, _) => "",
                    (false, true) => "\nq ends it\n",
                    (false, false) => "\n",
                };
                print(&format!("{home}{}{rest}", shown(&rates, arguments.ports)));
            }
            if arguments.once {
                return Ok(());
            }
            (before, since) = (after, now);
        }
    })
}

/// The keyboard, read key by key. Dropping it restores the terminal.
struct Keys {
    before: Termios,
    quit: Arc<Notify>,
}

impl Keys {
    /// `None` where standard input is no terminal.
    fn new() -> Option<Self> {
        let before = tcgetattr(std::io::stdin()).ok()?;
        let mut now = before.clone();
        // Without ICANON a key is read when it is pressed, without ECHO it is not shown; Ctrl-C keeps its meaning.
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &now).ok()?;
        let quit = Arc::new(Notify::new());
        let pressed = Arc::clone(&quit);
        // The thread ends with the process: a read of a terminal cannot be interrupted.
        let reading = std::thread::Builder::new().name("keys".into()).spawn(move || {
            for key in std::io::stdin().lock().bytes() {
                if matches!(key, Ok(b'q' | b'Q') | Err(_)) {
                    break;
                }
            }
            pressed.notify_one();
        });
        reading.ok()?;
        Some(Self { before, quit })
    }

    /// Waits; returns whether `q` was pressed meanwhile, or standard input ended.
    async fn quit_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.quit.notified()).await.is_ok()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

async fn look(client: &Client) -> Result<Ports, Failure> {
    let answer = client.get("/v1/ports?nonzero=true").await.map_err(failed)?;
    serde_json::from_value(answer).map_err(|error| Failure::new(Failure::IMPOSSIBLE, miette::miette!("{error}")))
}

/// The difference of two readings, the busiest port first.
fn rates(before: &Ports, after: &Ports, time: Duration) -> Vec<Rates> {
    let old: BTreeMap<u32, &Port> = before.ports.iter().map(|port| (port.port, port)).collect();
    // A counter that decreased belongs to a new port with the same number, which began with zero.
    let per_second = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now) as f64 / time.as_secs_f64();
    let mut rates: Vec<Rates> = after
        .ports
        .iter()
        .map(|port| {
            let old = old.get(&port.port);
            let rate = |now: Traffic, then: Traffic| Rate {
                frames: per_second(now.frames, then.frames),
                bits: 8.0 * per_second(now.bytes, then.bytes),
            };
            let count = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
            let dropped = port.dropped.iter().map(|(reason, now)| {
                let then = old.and_then(|old| old.dropped.get(reason)).copied().unwrap_or(0);
                (reason.clone(), per_second(*now, then))
            });
            Rates {
                port: port.port,
                interface: port.interface_name.clone().or_else(|| port.interface_id.clone()),
                device: port.device.clone(),
                lost: port.lost,
                received: rate(port.received, old.map_or_else(Traffic::default, |old| old.received)),
                sent: rate(port.sent, old.map_or_else(Traffic::default, |old| old.sent)),
                answered: per_second(count(&port.answered), old.map_or(0, |old| count(&old.answered))),
                dropped: dropped.filter(|(_, rate)| *rate > 0.0).collect(),
            }
        })
        .collect();
    rates.sort_by(|a, b| {
        let frames = |rates: &Rates| rates.received.frames + rates.sent.frames;
        frames(b).total_cmp(&frames(a)).then(a.port.cmp(&b.port))
    });
    rates
}

/// As text: the sum, a line for each port, and the number of ports left out.
fn shown(rates: &[Rates], most: usize) -> String {
    let total = |of: fn(&Rates) -> f64| rates.iter().map(of).sum::<f64>();
    let mut text = format!(
        "{} ports  in {} frames/s {}bit/s  out {} frames/s {}bit/s  dropped {}/s\n\n",
        rates.len(),
        short(total(|port| port.received.frames)),
        short(total(|port| port.received.bits)),
        short(total(|port| port.sent.frames)),
        short(total(|port| port.sent.bits)),
        short(total(|port| port.dropped.values().sum())),
    );
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header([
        "PORT",
        "INTERFACE",
        "DEVICE",
        "IN/s",
        "IN bit/s",
        "OUT/s",
        "OUT bit/s",
        "ANSWERED/s",
        "DROPPED/s",
    ]);
    for port in rates.iter().take(most) {
        let dropped: Vec<String> = port
            .dropped
            .iter()
            .map(|(reason, rate)| format!("{reason} {}", short(*rate)))
            .collect();
        table.add_row([
            port.port.to_string(),
            port.interface.clone().unwrap_or_default(),
            if port.lost {
                format!("{} (gone)", port.device)
            } else {
                port.device.clone()
            },
            short(port.received.frames),
            short(port.received.bits),
            short(port.sent.frames),
            short(port.sent.bits),
            short(port.answered),
            dropped.join(" "),
        ]);
    }
    for column in [0, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    text.extend(table.lines().map(|line| format!("{}\n", line.trim_end())));
    if let Some(more @ 1..) = rates.len().checked_sub(most) {
        text.push_str(&format!("and {more} more\n"));
    }
    text
}

/// Three digits and a power of a thousand.
fn short(number: f64) -> String {
    let (mut number, mut power) = (number, 0);
    let powers = ["", "k", "M", "G", "T"];
    while number >= 999.5 && power + 1 < powers.len() {
        (number, power) = (number / 1000.0, power + 1);
    }
    match number {
        0.0 => "0".to_owned(),
        n if power == 0 && n < 9.95 => format!("{n:.1}"),
        n if power == 0 || n >= 99.95 => format!("{n:.0}{}", powers[power]),
        n if n >= 9.995 => format!("{n:.1}{}", powers[power]),
        n => format!("{n:.2}{}", powers[power]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "json!() makes values")]
    fn ports(entries: serde_json::Value) -> Ports {
        serde_json::from_value(json!({ "ports": entries })).unwrap()
    }

    #[allow(clippy::needless_pass_by_value, reason = "json!() makes values")]
    fn port(number: u32, frames: u64, dropped: serde_json::Value) -> serde_json::Value {
        json!({
            "port": number, "interface_name": format!("host-{number}"), "device": "eth0", "mtu": 9001, "lost": false,
            "received": { "frames": frames, "bytes": frames * 100 }, "sent": { "frames": 0, "bytes": 0 },
            "answered": { "arp_reply": 4 }, "dropped": dropped, "other": {},
        })
    }

    #[test]
    fn rates_are_what_happened_between_two_looks_and_the_busiest_comes_first() {
        let before = ports(json!([port(1, 10, json!({})), port(2, 0, json!({ "multicast": 5 }))]));
        let after = ports(json!([
            port(1, 20, json!({})),
            port(2, 2000, json!({ "multicast": 5, "source_check": 8 })),
        ]));
        let rates = rates(&before, &after, Duration::from_secs(2));
        assert_eq!(rates.iter().map(|port| port.port).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((rates[0].received.frames, rates[0].received.bits), (1000.0, 800_000.0));
        assert_eq!(rates[0].dropped, BTreeMap::from([("source_check".to_owned(), 4.0)]));
        assert_eq!((rates[1].received.frames, rates[1].answered), (5.0, 0.0));
    }

    #[test]
    fn a_number_that_another_port_took_over_begins_with_nothing() {
        let before = ports(json!([port(1, 1_000_000, json!({}))]));
        let after = ports(json!([port(1, 7, json!({}))]));
        assert_eq!(rates(&before, &after, Duration::from_secs(1))[0].received.frames, 7.0);
    }

    #[test]
    fn ports_beyond_the_most_are_counted_and_not_shown() {
        let after = ports((1..=5).map(|number| port(number, 10, json!({}))).collect());
        let shown = shown(&rates(&ports(json!([])), &after, Duration::from_secs(1)), 3);
        assert!(shown.starts_with("5 ports  in 50 frames/s 40.0kbit/s"), "{shown}");
        assert!(shown.ends_with("and 2 more\n") && !shown.contains("host-4"), "{shown}");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (42.4, "42"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (1.62e6, "1.62M"),
            (83e9, "83.0G"),
            (999.4e12, "999T"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
