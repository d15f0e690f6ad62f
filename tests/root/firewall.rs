//! Tests security groups with real packets between namespaces: protocol, direction, kind of the other end, family, and
//! whether the connection is tracked. It needs root.

use std::sync::Arc;

use axum::body::to_bytes;
use localvpc::api::guard::GuardConfig;
use localvpc::api::{AppState, rest};
use localvpc::lab::{CommandSpec, Instance};
use localvpc::runtime::Runtime;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::vpc::{eventually, host, request, runtime, said};

/// The API of a running network.
struct Api {
    runtime: Arc<Runtime>,
    threads: tokio::runtime::Runtime,
}

impl Api {
    /// Sends a request that must succeed, and returns the body of the response.
    fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let router = rest::router(AppState::of_runtime(Arc::clone(&self.runtime), GuardConfig::default()));
        let sent = body.clone();
        self.threads.block_on(async {
            let response = router.oneshot(request(method, path, body)).await.unwrap();
            let status = response.status();
            let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            assert!(status.is_success(), "{method} {path} {sent}: {status} {answer}");
            answer
        })
    }

    fn dropped(&self, interface: &str, reason: &str) -> u64 {
        let ports = self.send("GET", &format!("/v1/ports?interface={interface}"), Value::Null);
        ports["ports"][0]["dropped"][reason].as_u64().unwrap()
    }
}

/// The other end that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cidr,
    PrefixList,
    Group,
    /// All addresses, with rules about all addresses and ports the other way: TCP and UDP are not tracked.
    Everywhere,
    /// Other addresses than those of the other end.
    Foreign,
    /// A group that the other end is not in.
    OtherGroup,
}

const KINDS: [Kind; 6] = [
    Kind::Cidr,
    Kind::PrefixList,
    Kind::Group,
    Kind::Everywhere,
    Kind::Foreign,
    Kind::OtherGroup,
];
const PROTOCOLS: [&str; 4] = ["tcp", "udp", "icmp", "other"];

/// One combination: rules about all protocols, a client and a server.
#[derive(Debug, Clone, Copy)]
struct Cell {
    egress: bool,
    kind: Kind,
    ipv6: bool,
}

impl Cell {
    fn name(self) -> String {
        let way = if self.egress { "egress" } else { "ingress" };
        let family = if self.ipv6 { 6 } else { 4 };
        format!("{way}-{:?}-{family}", self.kind).to_lowercase()
    }

    /// The rules under test, on the side that they are on.
    fn rules(self, other: &str) -> Value {
        let peer = match (self.kind, self.ipv6) {
            (Kind::Cidr, _) => ("cidr", format!("{other}/{}", if self.ipv6 { 128 } else { 32 })),
            (Kind::PrefixList, _) => ("prefix_list", list_of(other)),
            (Kind::Group, _) => ("group", format!("other-{}", self.name())),
            // It names itself, and its one member is not the other end.
            (Kind::OtherGroup, _) => ("group", format!("tested-{}", self.name())),
            (Kind::Everywhere, false) => ("cidr", "0.0.0.0/0".to_owned()),
            (Kind::Everywhere, true) => ("cidr", "::/0".to_owned()),
            (Kind::Foreign, false) => ("cidr", "192.0.2.0/24".to_owned()),
            (Kind::Foreign, true) => ("cidr", "2001:db8:ffff::/48".to_owned()),
        };
        let rule = |mut fields: Value| {
            fields[peer.0] = json!(peer.1);
            fields
        };
        let icmp = if self.ipv6 {
            json!({"protocol": "icmpv6", "icmp_type": 128})
        } else {
            json!({"protocol": "icmp", "icmp_type": 8})
        };
        json!([
            rule(json!({"protocol": "tcp", "ports": "80"})),
            rule(json!({"protocol": "udp", "ports": "5300"})),
            rule(icmp),
            rule(json!({"protocol": self.number().to_string()})),
        ])
    }

    /// A protocol without ports, which has a number of its own here: such connections are known by their addresses alone.
    fn number(self) -> usize {
        let kind = KINDS.iter().position(|kind| *kind == self.kind).unwrap();
        200 + kind * 2 + usize::from(self.egress)
    }

    /// Which protocols the second exchange goes on with, when the rules are gone.
    fn goes_on(self, protocol: &str) -> bool {
        match self.kind {
            Kind::Foreign | Kind::OtherGroup => false,
            // T2: others than TCP and UDP are always tracked.
            Kind::Everywhere => !matches!(protocol, "tcp" | "udp"),
            Kind::Cidr | Kind::PrefixList | Kind::Group => true,
        }
    }
}

/// Gives client and server the groups of a cell.
fn set_up(api: &Api, cell: Cell) {
    let (client, server) = addresses(cell.ipv6);
    let other = if cell.egress { server } else { client };
    let all = json!([{"protocol": "all", "cidr": "0.0.0.0/0"}, {"protocol": "all", "cidr": "::/0"}]);
    let (tested, back) = if cell.egress {
        ("egress", "ingress")
    } else {
        ("ingress", "egress")
    };
    // The other side: it may send or receive anything, and lets nothing back by rules.
    let mut group = json!({"name": format!("other-{}", cell.name()), "vpc": "home"});
    (group[tested], group[back]) = (json!([]), all.clone());
    api.send("POST", "/v1/security-groups", group);
    let mut group = json!({"name": format!("tested-{}", cell.name()), "vpc": "home"});
    group[tested] = cell.rules(other);
    group[back] = if cell.kind == Kind::Everywhere { all } else { json!([]) };
    api.send("POST", "/v1/security-groups", group);
    let (tested, other) = if cell.egress {
        ("client", "server")
    } else {
        ("server", "client")
    };
    for (interface, role) in [(tested, "tested"), (other, "other")] {
        let groups = json!({"groups": [format!("{role}-{}", cell.name())]});
        api.send("PATCH", &format!("/v1/interfaces/{interface}"), groups);
    }
}

fn addresses(ipv6: bool) -> (&'static str, &'static str) {
    if ipv6 {
        ("2001:db8:0:1::10", "2001:db8:0:1::20")
    } else {
        ("10.0.1.10", "10.0.1.20")
    }
}

/// The name of the prefix list with one address.
fn list_of(address: &str) -> String {
    format!("list-{}", address.replace(['.', ':'], "-"))
}

/// The protocols that were answered in a round, once it is over.
fn answered(client: &Instance, file: &str) -> Vec<String> {
    let mut words = String::new();
    eventually(&format!("{file} is there"), || {
        words = said(client, &format!("cat {file} 2>/dev/null"));
        words.ends_with('.')
    });
    words
        .trim_end_matches('.')
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// 192 cells: each protocol, direction, kind of the other end and family, with the rule and after it is gone.
#[test]
#[ignore = "needs root: make test"]
fn every_kind_of_rule_lets_real_packets_through_and_its_connections_outlive_it_where_they_are_tracked() {
    let (runtime, _) = runtime(&[
        ("client", "left", &["10.0.1.10", "2001:db8:0:1::10"]),
        ("server", "left", &["10.0.1.20", "2001:db8:0:1::20"]),
    ]);
    let api = Api {
        runtime: Arc::new(runtime),
        threads: tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap(),
    };
    let (client, server) = (host(&api.runtime, "client"), host(&api.runtime, "server"));
    for address in [
        "10.0.1.10/32",
        "10.0.1.20/32",
        "2001:db8:0:1::10/128",
        "2001:db8:0:1::20/128",
    ] {
        let list = json!({"name": list_of(address.split('/').next().unwrap()), "entries": [{"cidr": address}]});
        api.send("POST", "/v1/prefix-lists", list);
    }
    let script = |host: &Instance, name: &str, text: &str| {
        let write = format!("cat > /run/{name} <<'END'\n{text}\nEND");
        assert!(host.run(&CommandSpec::shell(write)).unwrap().end.success());
    };
    script(&server, "server.py", include_str!("firewall/server.py"));
    script(&client, "client.py", include_str!("firewall/client.py"));
    let _serving = server
        .start(&CommandSpec::shell("exec python3 /run/server.py"))
        .unwrap();
    eventually("the server serves", || {
        said(&server, "ls /run/ready 2>/dev/null") == "/run/ready"
    });
    let mut wrong = Vec::new();
    for ipv6 in [false, true] {
        for kind in KINDS {
            for egress in [false, true] {
                let cell = Cell { egress, kind, ipv6 };
                play(&api, cell, &client, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn play(api: &Api, cell: Cell, client: &Instance, wrong: &mut Vec<String>) {
    set_up(api, cell);
    let files = format!("/run/{}", cell.name());
    let to = addresses(cell.ipv6).1;
    let reason = if cell.egress {
        "security_group_egress"
    } else {
        "security_group_ingress"
    };
    let before = api.dropped("client", reason);
    let line = format!("exec python3 /run/client.py {to} {files} {}", cell.number());
    let _running = client.start(&CommandSpec::shell(line)).unwrap();
    let first = answered(client, &format!("{files}.first"));
    let gone = if cell.egress {
        json!({"egress": []})
    } else {
        json!({"ingress": []})
    };
    let path = format!("/v1/security-groups/tested-{}", cell.name());
    api.send("PATCH", &path, gone);
    said(client, &format!("touch {files}.go"));
    let second = answered(client, &format!("{files}.second"));
    for protocol in PROTOCOLS {
        let lets_in = !matches!(cell.kind, Kind::Foreign | Kind::OtherGroup);
        for (round, expected, found) in [
            ("with the rule", lets_in, &first),
            ("without it", cell.goes_on(protocol), &second),
        ] {
            if found.iter().any(|known| known == protocol) != expected {
                wrong.push(format!(
                    "{} {protocol} {round}: answered is not {expected}",
                    cell.name()
                ));
            }
        }
    }
    if matches!(cell.kind, Kind::Foreign | Kind::OtherGroup) && api.dropped("client", reason) < before + 4 {
        wrong.push(format!("{}: the drops have another reason", cell.name()));
    }
}
