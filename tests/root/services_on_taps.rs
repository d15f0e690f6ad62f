//! Runs the usual clients of EC2 instances against the link-local services, in a network namespace with a TAP on the
//! switch.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stderr)]

use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use localvpc::model::profile::Profile;
use localvpc::services::dns::{Holder, HostAddresses, Zone};
use localvpc::services::fixed::{Facts, FixedSource, sample_instance};
use localvpc::services::imds::document::Role;
use localvpc::services::{Services, ServicesConfig};
use localvpc::switch::port::{TapOptions, TapPort};
use localvpc::switch::{AttachOptions, Switch, SwitchConfig};
use localvpc::testing::Network;
use localvpc::wire::MacAddr;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::support::tools::needs;

type Job = Box<dyn FnOnce() + Send>;

/// A host with the services behind its interface.
struct Lab {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    source: Arc<FixedSource>,
    interface: localvpc::mapping::InterfaceIndex,
    _services: Services,
    _switch: Arc<Switch>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Lab {
    fn new() -> Self {
        Self::checked(true)
    }

    /// With the interface's source/destination check on or off.
    fn checked(source_dest_check: bool) -> Self {
        let (mac, router_mac) = (MacAddr([0x0a, 0, 0, 0, 0, 10]), MacAddr([0x0e, 0, 0, 0, 0, 1]));
        let (ipv4, ipv6) = ("10.0.1.10".parse().unwrap(), "2001:db8:0:1::a".parse().unwrap());
        let blocks = ["10.0.0.0/16", "2001:db8::/56"];
        let cidrs = blocks.map(|block| block.parse().unwrap()).to_vec();
        let mut network = Network::new(Profile::aws(), &blocks);
        let subnet = network.subnet(router_mac, &["10.0.1.0/24", "2001:db8:0:1::/64"]);
        let interface = network.interface(subnet, mac, &[IpAddr::V4(ipv4), IpAddr::V6(ipv6)]);
        network.writer.set_source_dest_check(interface, source_dest_check);
        let (switch, _events) = Switch::start(network.writer.fabric(), SwitchConfig::default()).unwrap();
        let switch = Arc::new(switch);

        let mut instance = sample_instance(ipv4, mac);
        instance.user_data = Some(b"#cloud-config\n{}\n".to_vec());
        instance.role = Some(Role {
            name: "failover".to_owned(),
            instance_profile_arn: "arn:aws:iam::123456789012:instance-profile/failover".to_owned(),
            instance_profile_id: "AIPAEXAMPLE".to_owned(),
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            token: "session".to_owned(),
            last_updated: instance.launched,
            expiration: instance.launched + std::time::Duration::from_secs(21_600),
        });
        let mut facts = Facts::default();
        let domain = "eu-central-1.compute.internal".to_owned();
        let zone = Zone {
            enabled: true,
            domain,
            cidrs,
            dns64: false,
        };
        facts.zones.insert(interface, zone);
        let instance_id = Some(instance.instance_id.clone());
        facts.holders.insert(ipv4.into(), Holder { instance_id });
        let addresses = HostAddresses {
            ipv4: vec![ipv4],
            ipv6: vec![ipv6],
        };
        facts.resource_names.insert(instance.instance_id.clone(), addresses);
        facts.instances.insert(interface, Arc::new(instance));
        let source = Arc::new(FixedSource::new(facts));
        let to: Weak<Switch> = Arc::downgrade(&switch);
        let inject = move |port, frame: &[u8]| {
            if let Some(switch) = to.upgrade() {
                switch.inject(port, frame);
            }
        };
        let services = Services::start(source.clone(), ServicesConfig::default(), Arc::new(inject)).unwrap();
        let handle = services.handle();
        let sink = move |interface, port, frame: localvpc::datapath::Received<'_>, taken: &mut dyn FnMut()| {
            handle.submit(interface, port, frame, taken)
        };
        assert!(switch.set_services(Arc::new(sink)));

        let (jobs, queue) = channel::<Job>();
        let thread = std::thread::spawn(move || {
            // A mount namespace too, so that mounts of `ip netns add` are invisible to other tests and go with the
            // thread.
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
            while let Ok(job) = queue.recv() {
                job();
            }
        });
        let lab = Self {
            jobs: Some(jobs),
            thread: Some(thread),
            source,
            interface,
            _services: services,
            _switch: Arc::clone(&switch),
        };
        let options = TapOptions {
            offload: true,
            carrier: true,
            mtu: 9001,
        };
        let tap = lab.run(move || TapPort::open("eth0", options).unwrap());
        let publish = |port| network.writer.set_port(interface, Some(port));
        switch
            .attach(interface, tap, AttachOptions::default(), publish)
            .unwrap();
        for command in [
            format!("ip link set eth0 address {mac} mtu 9001"),
            "ip link set lo up".to_owned(),
            "ip address add 10.0.1.10/24 dev eth0".to_owned(),
            "ip address add 2001:db8:0:1::a/64 dev eth0 nodad".to_owned(),
            "ip link set eth0 up".to_owned(),
            "ip route add default via 10.0.1.1".to_owned(),
            format!("ip -6 route add default via {} dev eth0", router_mac.link_local()),
        ] {
            let output = lab.sh(&command);
            assert!(output.status.success(), "{command}: {output:?}");
        }
        lab
    }

    fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> R {
        let (sender, receiver) = channel();
        let job: Job = Box::new(move || {
            // The receiver is gone only with the test.
            let _ = sender.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        receiver.recv().unwrap()
    }

    fn sh(&self, command: &str) -> Output {
        let command = format!("exec timeout 60 {command}");
        self.run(move || {
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).stdin(Stdio::null()).output().unwrap()
        })
    }

    /// Output of a command, which must succeed.
    fn says(&self, command: &str) -> String {
        let output = self.sh(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command}: {}\n{text}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text.trim_end().to_owned()
    }
}

#[test]
#[ignore = "needs root: make test"]
fn curl_reads_metadata_with_and_without_a_token() {
    needs("curl", "curl");
    let lab = Lab::new();
    for base in ["http://169.254.169.254", "http://[fd00:ec2::254]"] {
        let curl = "curl -gsS --fail --max-time 10";
        assert_eq!(
            lab.says(&format!("{curl} {base}/latest/meta-data/local-ipv4")),
            "10.0.1.10"
        );
        let ask = format!("{curl} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {base}/latest/api/token");
        let token = lab.says(&ask);
        assert_eq!(token.len(), 56);
        let with_token = format!("{curl} -H 'X-aws-ec2-metadata-token: {token}'");
        let path = "latest/meta-data/network/interfaces/macs/0a:00:00:00:00:0a//local-ipv4s";
        assert_eq!(lab.says(&format!("{with_token} {base}/{path}")), "10.0.1.10");
        let status = lab.says(&format!(
            "curl -gs -o /dev/null -w '%{{http_code}}' {base}/latest/meta-data/no"
        ));
        assert_eq!(status, "404");
        // A TAP delivers a request of sixty kilobytes as one frame with its checksum pending.
        let long = lab.sh(&format!("curl -gs -H 'X: {}' {base}/", "x".repeat(60_000)));
        assert!(!String::from_utf8_lossy(&long.stdout).contains("latest"));
    }
    // Two hundred in a row, each on a connection of its own.
    let many = "sh -c 'for i in $(seq 200); do curl -s --max-time 10 http://169.254.169.254/latest/meta-data/mac || exit 1; done | wc -c'";
    assert_eq!(lab.says(many), (17 * 200).to_string());
}

#[test]
#[ignore = "needs root: make test"]
fn a_token_does_not_cross_a_hop() {
    needs("curl", "curl");
    let lab = Lab::checked(false);
    // A container behind a router in the host: answers to the host reach it one hop later. With the check off, its
    // packets pass with their own source.
    for command in [
        // Left by a killed run.
        "rm -f /run/netns/services-c",
        "ip netns add services-c",
        "ip link add veth0 type veth peer name eth0 netns services-c",
        "ip address add 172.17.0.1/24 dev veth0",
        "ip link set veth0 up",
        "ip netns exec services-c ip address add 172.17.0.2/24 dev eth0",
        "ip netns exec services-c ip link set eth0 up",
        "ip netns exec services-c ip route add default via 172.17.0.1",
        "sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'",
    ] {
        let output = lab.sh(command);
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let inside = "ip netns exec services-c curl -s --max-time 3";
    let token = format!(
        "{inside} -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token"
    );
    let version_1 = lab.sh(&format!("{inside} http://169.254.169.254/latest/meta-data/mac"));
    let refused = lab.sh(&token);
    let facts = lab.source.facts().instances[&lab.interface].clone();
    let mut instance = (*facts).clone();
    instance.options.hop_limit = 2;
    lab.source.facts().instances.insert(lab.interface, Arc::new(instance));
    let allowed = lab.sh(&token);
    assert_eq!(String::from_utf8_lossy(&version_1.stdout), "0a:00:00:00:00:0a");
    assert_eq!(refused.status.code(), Some(28), "curl waits in vain: {refused:?}");
    assert_eq!(allowed.stdout.len(), 56, "{allowed:?}");
}

#[test]
#[ignore = "needs root: make test"]
fn dig_resolves_by_udp_and_tcp() {
    needs("dig", "bind9-dnsutils");
    let lab = Lab::new();
    let name = "ip-10-0-1-10.eu-central-1.compute.internal";
    for server in ["10.0.0.2", "169.254.169.253", "fd00:ec2::253"] {
        for transport in ["+notcp", "+tcp", "+noedns", "+tcp +keepopen"] {
            let dig = format!("dig @{server} +time=3 +tries=1 {transport}");
            assert_eq!(
                lab.says(&format!("{dig} +short {name}")),
                "10.0.1.10",
                "{server} {transport}"
            );
            let reverse = lab.says(&format!("{dig} +short -x 10.0.1.10"));
            assert_eq!(reverse, format!("{name}."));
            let missing = lab.says(&format!("{dig} ip-10-0-1-99.eu-central-1.compute.internal"));
            assert!(
                missing.contains("status: NXDOMAIN") && missing.contains("SOA"),
                "{missing}"
            );
            assert!(!missing.contains("WARNING"), "{missing}");
            assert!(lab.says(&format!("{dig} example.com")).contains("status: REFUSED"));
        }
    }
    let id = "i-0000000000000000a.eu-central-1.compute.internal";
    assert_eq!(lab.says(&format!("dig @10.0.0.2 +short AAAA {id}")), "2001:db8:0:1::a");
}

#[test]
#[ignore = "needs root: make test"]
fn clients_of_time_hear_the_skew() {
    needs("ntpdate", "ntpsec-ntpdate");
    needs("chronyd", "chrony");
    let lab = Lab::new();
    for (skew, seconds) in [(0_i64, 0.0_f64), (90_000_000_000, 90.0)] {
        lab.source.facts().skews.insert(lab.interface, skew);
        let server = if skew == 0 { "169.254.169.123" } else { "fd00:ec2::123" };
        let told = lab.says(&format!("ntpdate -q {server}"));
        let mut numbers = told.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        assert!(numbers.any(|number| (number - seconds).abs() < 0.5), "{told}");

        let output = lab.sh("chronyd -u root -Q -t 20 'server 169.254.169.123 iburst maxsamples 4'");
        let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        let wrong = told.split("wrong by ").nth(1).unwrap_or_else(|| panic!("{told}"));
        let offset: f64 = wrong.split_whitespace().next().unwrap().parse().unwrap();
        assert!((offset - seconds).abs() < 0.5, "{told}");
    }
}

#[test]
#[ignore = "needs root: make test"]
fn the_tools_of_ec2_hosts_find_what_they_look_for() {
    needs("ec2-metadata", "amazon-ec2-utils");
    needs("cloud-init", "cloud-init");
    let lab = Lab::new();
    let told = lab.says("ec2-metadata");
    for line in [
        "ami-id: ami-00000000000000001",
        "instance-id: i-0000000000000000a",
        "instance-type: t3.micro",
        "local-hostname: ip-10-0-1-10.eu-central-1.compute.internal",
        "local-ipv4: 10.0.1.10",
        "placement: eu-central-1a",
        "public-ipv4: not available",
        "security-groups: default",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "from cloudinit import helpers\n\
         from cloudinit.sources import DataSourceEc2 as D\n\
         from cloudinit.distros import fetch\n\
         cfg = {{'datasource': {{'Ec2': {{'strict_id': False, 'timeout': 5, 'max_wait': 10, \
         'metadata_urls': ['http://169.254.169.254']}}}}, 'network': {{'config': 'disabled'}}}}\n\
         p = helpers.Paths({{'cloud_dir': '{0}', 'run_dir': '{0}', 'templates_dir': '/etc/cloud/templates'}})\n\
         ds = D.DataSourceEc2(cfg, fetch('debian')('debian', cfg, p), p)\n\
         print(ds.get_data(), ds.get_instance_id(), ds.availability_zone, ds.region)\n\
         print(ds.network_config)\n\
         print(ds.get_userdata_raw())\n\
         print(ds.get_public_ssh_keys())\n",
        folder.path().display()
    );
    let file = folder.path().join("crawl.py");
    std::fs::write(&file, script).unwrap();
    let resolver = folder.path().join("resolv.conf");
    std::fs::write(&resolver, "nameserver 10.0.0.2\n").unwrap();
    // Its own view of /sys, so that it finds the interface of this namespace, and the VPC's resolver.
    let crawl = format!(
        "mount -t sysfs sysfs /sys && mount --bind {} /etc/resolv.conf && /usr/bin/python3 {}",
        resolver.display(),
        file.display()
    );
    let told = lab.says(&format!("unshare -m sh -c '{crawl}'"));
    let first = told.lines().next().unwrap_or_default();
    assert_eq!(first, "True i-0000000000000000a eu-central-1a eu-central-1", "{told}");
    assert!(told.contains("0a:00:00:00:00:0a"), "{told}");
    assert!(told.contains("#cloud-config"), "{told}");
    assert!(told.contains("ssh-ed25519"), "{told}");
}
