//! Tests the device through which programs of the machine reach Elastic IP addresses: what passes, what does not, and its end.

use std::path::PathBuf;
use std::process::{Command, Output};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::cli::{ApartServer, code, file, free_port, localvpc, stdout};

const TOPOLOGY: &str = "\
vpcs: { v: { cidr_blocks: [10.0.0.0/16] } }
subnets: { public: { vpc: v, cidr_block: 10.0.1.0/24 } }
internet_gateways: { igw: { vpc: v } }
elastic_ips: { web: { public: 203.0.113.10, to: a } }
route_tables: { main: { vpc: v, main: true, routes: [{ to: 0.0.0.0/0, via: igw }] } }
security_groups: { v/default: { ingress: [{ protocol: all, cidr: 0.0.0.0/0 }] } }
instances: { a: { subnet: public, ipv4: [10.0.1.10] } }
";

struct Desk {
    server: ApartServer,
    socket: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let sockets = tempfile::tempdir().unwrap().keep();
        let socket = sockets.join("api.sock");
        let listen = format!("127.0.0.1:{}", free_port());
        let server = ApartServer::start(&[
            "--outside-link",
            "desk0",
            "--listen",
            &listen,
            "--ec2",
            "off",
            "--socket",
            socket.to_str().unwrap(),
        ]);
        let desk = Self { server, socket };
        let topology = file(&desk.server.folder, "topology.yaml", TOPOLOGY);
        let made = desk.ask(&["up", &topology]);
        assert_eq!(code(&made), 0, "{made:?}");
        desk
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let server = format!("unix:{}", self.socket.display());
        localvpc(arguments).env("LOCALVPC_SERVER", server).output().unwrap()
    }

    /// A program of the machine, in the namespace that stands for it.
    fn run(&self, command: &str) -> Output {
        let run = || Command::new("sh").args(["-c", command]).output().unwrap();
        self.server.namespace.run(run).unwrap()
    }

    /// Frames of the device that were dropped for a reason.
    fn drops(&self, reason: &str) -> u64 {
        let ports: serde_json::Value = serde_json::from_str(&stdout(&self.ask(&["ports", "--json"]))).unwrap();
        let ports = ports["ports"].as_array().or(ports.as_array()).unwrap().clone();
        let own = ports.iter().find(|port| port["device"] == "desk0").expect("a port");
        own["dropped"][reason].as_u64().unwrap_or(0)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.socket.parent().unwrap());
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_program_of_the_machine_reaches_an_instance_by_its_elastic_ip_and_nothing_else_passes() {
    let desk = Desk::new();
    let ping = desk.run("ping -c 3 -i 0.2 -W 2 203.0.113.10");
    assert_eq!(code(&ping), 0, "{}", stdout(&ping));

    // The machine gets routes to Elastic IP addresses alone, no default route and no IPv6 of the outside.
    assert_eq!(stdout(&desk.run("ip route show default")), "");
    assert_eq!(stdout(&desk.run("ip -6 address show dev desk0")), "");
    let private = desk.run("ping -c 1 -W 1 10.0.1.10 2>&1");
    assert!(stdout(&private).contains("unreachable"), "{}", stdout(&private));

    // What the machine would forward from another network is not taken, even where its kernel forwards everything.
    desk.run("sysctl -q -w net.ipv4.ip_forward=1; ip address add 10.9.9.9/32 dev lo");
    let before = desk.drops("source_check");
    let foreign = desk.run("ping -I 10.9.9.9 -c 1 -W 1 203.0.113.10");
    assert_eq!(code(&foreign), 1, "{}", stdout(&foreign));
    assert_eq!(desk.drops("source_check"), before + 1);

    // The device is no part of the network as a file: it is neither exported nor removed.
    let export = stdout(&desk.ask(&["export"]));
    assert!(!export.contains("desk0") && !export.contains("outside"), "{export}");
    let topology = desk.server.folder.path().join("topology.yaml");
    let again = desk.ask(&["up", "--prune", topology.to_str().unwrap()]);
    assert_eq!(code(&again), 0, "{again:?}");
    assert_eq!(code(&desk.run("ping -c 1 -W 2 203.0.113.10")), 0, "{again:?}");
}

#[test]
#[ignore = "needs root: make test"]
fn the_device_is_gone_with_the_server_and_one_that_exists_is_not_taken() {
    let mut desk = Desk::new();
    assert_eq!(code(&desk.run("ip link show desk0")), 0);
    let taken = || {
        let listen = format!("127.0.0.1:{}", free_port());
        let arguments = ["serve", "--outside-link", "desk0", "--ec2", "off", "--listen", &listen];
        let records = desk.server.folder.path().join("other");
        localvpc(&arguments)
            .env("LOCALVPC_RUN_DIRECTORY", records)
            .output()
            .unwrap()
    };
    let refused = desk.server.namespace.run(taken).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        code(&refused) != 0 && said.contains("there is a device desk0 already"),
        "{said}"
    );

    let process = Pid::from_raw(desk.server.child.id().try_into().unwrap());
    kill(process, Signal::SIGTERM).unwrap();
    assert!(desk.server.child.wait().unwrap().success());
    assert_ne!(code(&desk.run("ip link show desk0")), 0);
    assert_eq!(stdout(&desk.run("ip route show")), "");
}
