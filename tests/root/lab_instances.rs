//! Tests instances as seen by a program in them, and by the machine around them. It needs root for namespaces.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::lab::{BINARY, eventually, instance, mac, make, open_tap, options, processes_with, said, shell};
use ipnet::{IpNet, Ipv4Net};
use localvpc::lab::link::{LinkAddress, Route};
use localvpc::lab::{
    CommandSpec, Instance, InstanceError, InstanceSpec, Lab, LinkLocal, Namespace, OpenError, drop_in_parallel,
};
use localvpc::switch::port::{HEADER, LARGEST_FRAME, TapOptions, TapPort};
use localvpc::wire::MacAddr;
use tun_tap::{Iface, Mode};

/// The number in `net:[N]` for every process of this machine.
fn network_namespaces_in_use() -> BTreeSet<u64> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|process| Some(fs::metadata(process.path().join("ns/net")).ok()?.ino()))
        .collect()
}

fn is_running(pid: i32) -> bool {
    // A zombie that its new parent has not yet waited for is no longer running.
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
#[ignore = "needs root: make test"]
fn an_instance_has_lo_and_eth0_and_the_machine_sees_neither() {
    let before = fs::read_dir("/sys/class/net").unwrap().count();
    let (a, _tap_a) = instance("a");
    let (b, _tap_b) = make(&InstanceSpec::new("b", mac(2)));
    assert_ne!(a.namespace(), b.namespace());
    assert_eq!(said(&a, "ls /sys/class/net | sort | xargs"), "eth0 lo");
    assert_eq!(said(&a, "cat /sys/class/net/eth0/address"), mac(1).to_string());
    assert_eq!(said(&b, "cat /sys/class/net/eth0/address"), mac(2).to_string());
    assert_eq!(said(&a, "cat /sys/class/net/eth0/mtu"), "9001");
    assert_eq!(
        said(
            &a,
            "cat /sys/class/net/lo/operstate /sys/class/net/eth0/carrier | xargs"
        ),
        "unknown 1"
    );
    assert_eq!(fs::read_dir("/sys/class/net").unwrap().count(), before);
}

#[test]
#[ignore = "needs root: make test"]
fn an_instance_without_a_command_costs_no_process() {
    let (a, _tap) = instance("no-process");
    assert!(processes_with("localvpc-init no-process").is_empty());
    assert!(!network_namespaces_in_use().contains(&a.namespace().inode()));
    said(&a, "true");
    assert_eq!(processes_with("localvpc-init no-process"), [a.machine().unwrap().pid()]);
}

#[test]
#[ignore = "needs root: make test"]
fn addresses_and_the_default_route_are_there_when_create_returns() {
    let mut spec = InstanceSpec::new("static", mac(1));
    let net = Ipv4Net::new(Ipv4Addr::new(10, 0, 1, 10), 24).unwrap();
    spec.interface = spec
        .interface
        .with_ipv4(net, Some(Ipv4Addr::new(10, 0, 1, 1)))
        .with_ipv6("2001:db8:1::10".parse().unwrap());
    spec.interface
        .routes
        .push(Route::on_link("2001:db8:1::/64".parse().unwrap()));
    spec.interface.dad = false;
    let (a, _tap) = make(&spec);
    let has = |wanted: &dyn Fn(&LinkAddress) -> bool| a.addresses("eth0").unwrap().iter().any(wanted);
    let link_local = format!("{}/64", mac(1).link_local());
    for wanted in ["10.0.1.10/24", "2001:db8:1::10/128", &link_local] {
        let net: IpNet = wanted.parse().unwrap();
        // The kernel adds the link-local one, and clears "tentative" even without a probe, a little later.
        assert!(wanted == link_local || has(&|address| address.net == net), "{wanted}");
        let usable = LinkAddress {
            net,
            tentative: false,
            duplicate: false,
        };
        eventually("it can be used", || has(&|address| *address == usable));
    }
    // Destination, gateway and flags (up, gateway) of the default route, in the order of proc_net_route.
    let routes = said(&a, "cat /proc/net/route");
    assert!(routes.contains("eth0\t00000000\t0101000A\t0003"), "{routes}");
    let routes = said(&a, "cat /proc/net/ipv6_route");
    assert!(
        routes
            .lines()
            .any(|l| l.starts_with("20010db8000100000000000000000000 40") && l.ends_with("eth0")),
        "{routes}"
    );
}

#[test]
#[ignore = "needs root: make test"]
fn a_neighbor_entry_can_be_nailed_down() {
    let (a, _tap) = instance("neighbor");
    a.link(|netlink| {
        let index = netlink.index("eth0")?;
        netlink.add_neighbor(index, Ipv4Addr::new(10, 0, 1, 11).into(), mac(11))
    })
    .unwrap();
    // Flags 6: complete and permanent (arp(7), ATF_COM and ATF_PERM).
    let table = said(&a, "grep 10.0.1.11 /proc/net/arp");
    assert!(table.contains("0x6") && table.contains(&mac(11).to_string()), "{table}");
}

#[test]
#[ignore = "needs root: make test"]
fn the_link_local_is_made_as_asked() {
    let link_locals = |kind| {
        let mut spec = InstanceSpec::new("link-local", mac(7));
        (spec.interface.link_local, spec.interface.dad) = (kind, false);
        let (a, _tap) = make(&spec);
        let all = || -> Vec<_> {
            a.addresses("eth0")
                .unwrap()
                .iter()
                .map(|address| address.net.addr())
                .collect()
        };
        if kind == LinkLocal::None {
            // Long enough for other addresses to appear.
            std::thread::sleep(Duration::from_millis(100));
        } else {
            eventually("it has a link-local address", || !all().is_empty());
        }
        all()
    };
    assert_eq!(link_locals(LinkLocal::Eui64), [mac(7).link_local()]);
    assert_eq!(link_locals(LinkLocal::None), [] as [std::net::IpAddr; 0]);
    let hidden = link_locals(LinkLocal::StablePrivacy);
    let [std::net::IpAddr::V6(address)] = hidden[..] else {
        panic!("{hidden:?}")
    };
    assert!(address.is_unicast_link_local());
    assert_eq!(MacAddr::from_link_local(address), None);
    assert_eq!(
        link_locals(LinkLocal::StablePrivacy),
        hidden,
        "stable means the same at every boot"
    );
}

#[test]
#[ignore = "needs root: make test"]
fn a_tentative_address_is_shown_as_such() {
    let (a, _tap) = instance("tentative");
    let tentative = LinkAddress {
        net: format!("{}/64", mac(1).link_local()).parse().unwrap(),
        tentative: true,
        duplicate: false,
    };
    eventually("the link-local address is on trial", || {
        a.addresses("eth0").unwrap() == [tentative.clone()]
    });
}

#[test]
#[ignore = "needs root: make test"]
fn an_instance_does_not_forward() {
    let (a, _tap) = instance("host");
    assert_eq!(
        said(
            &a,
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/eth0/rp_filter | xargs"
        ),
        "0 0"
    );
}

#[test]
#[ignore = "needs root: make test"]
fn a_second_interface_can_be_attached_and_is_gone_when_its_device_is_closed() {
    let (a, _tap) = instance("two-interfaces");
    let second = localvpc::lab::InterfaceSpec::new("eth1", mac(9));
    let device = a
        .attach(&second, || Iface::without_packet_info("eth1", Mode::Tap))
        .unwrap();
    assert_eq!(said(&a, "cat /sys/class/net/eth1/address"), mac(9).to_string());
    drop(device);
    assert_eq!(said(&a, "ls /sys/class/net | sort | xargs"), "eth0 lo");
}

#[test]
#[ignore = "needs root: make test"]
fn a_port_of_the_switch_opened_in_an_instance_receives_what_it_sends() {
    for offload in [true, false] {
        let tap = TapOptions {
            offload,
            carrier: true,
            mtu: 9001,
        };
        let mut spec = InstanceSpec::new("port", mac(3));
        spec.interface.dad = false;
        let (a, port) = Instance::create(&spec, &options(), || TapPort::open("eth0", tap)).unwrap();
        assert_eq!(
            said(&a, "cat /sys/class/net/eth0/carrier /sys/class/net/eth0/mtu | xargs"),
            "1 9001"
        );
        let mut slot = vec![0; HEADER + LARGEST_FRAME];
        // The first unsolicited frame of a host is a multicast listener report or a router solicitation.
        eventually("a frame with the instance's address as its source", || {
            port.receive(&mut slot).is_ok() && slot[HEADER + 6..HEADER + 12] == mac(3).0
        });
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_device_that_cannot_be_opened_is_reported_with_instance_and_interface() {
    let spec = InstanceSpec::new("no-device", mac(1));
    let refused = Instance::create(&spec, &options(), || Err::<(), OpenError>("no more devices".into())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "instance 'no-device': cannot open the device eth0: no more devices"
    );
}

#[test]
#[ignore = "needs root: make test"]
fn nothing_written_to_etc_var_run_root_home_or_dev_leaves_the_instance() {
    let (a, _tap_a) = instance("files-a");
    let (b, _tap_b) = make(&InstanceSpec::new("files-b", mac(2)));
    for directory in [
        "/etc",
        "/var",
        "/run",
        "/root",
        "/home",
        "/dev",
        "/dev/shm",
        "/var/lib",
        "/run/lock",
    ] {
        let path = format!("{directory}/written-by-an-instance");
        assert_eq!(said(&a, &format!("echo mine >{path}; cat {path}")), "mine");
        assert!(
            !shell(&b, &format!("cat {path}")).end.success(),
            "{path} is seen by another instance"
        );
        assert!(!PathBuf::from(&path).exists(), "{path} is on the machine");
    }
    let before = fs::read("/etc/passwd").unwrap();
    said(
        &a,
        "echo changed >>/etc/passwd && mv /etc/hosts /etc/gone && rm -f /etc/resolv.conf && chmod 755 /root",
    );
    assert_eq!(fs::read("/etc/passwd").unwrap(), before);
    assert!(PathBuf::from("/etc/hosts").exists());
    assert_eq!(said(&a, "tail -n1 /etc/passwd"), "changed");
}

#[test]
#[ignore = "needs root: make test"]
fn an_instance_has_its_own_name_processes_and_machine_id_and_no_disks() {
    let (a, _tap_a) = instance("alpha");
    let (b, _tap_b) = make(&InstanceSpec::new("beta.example", mac(2)));
    assert_eq!(said(&a, "uname -n; cat /etc/hostname"), "alpha\nalpha");
    assert_eq!(said(&b, "uname -n"), "beta.example");
    assert_ne!(said(&a, "cat /etc/machine-id"), said(&b, "cat /etc/machine-id"));
    assert_eq!(
        said(&a, "cat /proc/1/cmdline | tr '\\0' ' '"),
        format!(
            "localvpc-init alpha instance-init alpha {}",
            said(&a, "cat /etc/machine-id")
        )
    );
    assert_eq!(said(&a, "find /dev -type b | wc -l"), "0");
    assert_eq!(
        said(
            &a,
            "echo x >/dev/null; head -c4 /dev/urandom | wc -c; test -c /dev/net/tun && echo tun"
        ),
        "4\ntun"
    );
    let own: usize = said(&a, "ls -d /proc/[0-9]* | wc -l").parse().unwrap();
    assert!(own < 10, "{own} processes seen");
}

#[test]
#[ignore = "needs root: make test"]
fn root_in_an_instance_cannot_harm_the_machine() {
    let (a, _tap) = instance("harmless");
    said(&a, "echo 5 >/proc/sys/net/ipv6/conf/eth0/hop_limit");
    assert!(
        !shell(&a, "cat /proc/sys/kernel/panic >/proc/sys/kernel/panic")
            .end
            .success()
    );
    // In case it is written after all: 'h' prints help to the kernel log.
    assert!(!shell(&a, "echo h >/proc/sysrq-trigger").end.success());
    let refused = shell(&a, "date -s @$(date +%s) >/dev/null");
    assert!(
        refused.stderr.text().contains("not permitted"),
        "{}",
        refused.stderr.text()
    );
    let running = a.start(&CommandSpec::new(["sleep", "4715.1"])).unwrap();
    assert_eq!(
        shell(&a, "umask; ulimit -c >/dev/null; touch /sys/x").end.code(),
        1,
        "/sys is read-only"
    );
    running.kill();
}

/// A namespace like that of `ip netns add`, removed at the end.
struct Named(&'static str);

impl Named {
    fn add(name: &'static str, namespace: &Namespace) -> Self {
        use std::os::fd::{AsFd, AsRawFd};
        let path = format!("/run/netns/{name}");
        fs::create_dir_all("/run/netns").unwrap();
        fs::write(&path, "").unwrap();
        let source = format!("/proc/self/fd/{}", namespace.as_fd().as_raw_fd());
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(source.as_str()), path.as_str(), None::<&str>, flags, None::<&str>).unwrap();
        Self(name)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let path = format!("/run/netns/{}", self.0);
        nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH).unwrap();
        fs::remove_file(path).unwrap();
    }
}

#[test]
#[ignore = "needs root: make test"]
fn a_namespace_that_another_program_made_is_opened_by_name_or_by_process() {
    let made = Namespace::create().unwrap();
    let _named = Named::add("lab-test-named", &made);
    let found = Namespace::open_named("lab-test-named").unwrap();
    assert_eq!(found, made);
    assert_ne!(found, Namespace::current().unwrap());
    assert_eq!(found.run(|| Namespace::current().unwrap()).unwrap(), made);
    let (a, _tap) = instance("by-process");
    let by_process = PathBuf::from(format!("/proc/{}/ns/net", a.machine().unwrap().pid()));
    assert_eq!(&Namespace::open(&by_process).unwrap(), a.namespace());
}

#[test]
#[ignore = "needs root: make test"]
fn daemons_end_with_their_instance() {
    let (a, tap) = instance("daemons");
    said(
        &a,
        "(setsid sleep 4713.1 &) ; (setsid setsid sh -c 'setsid sleep 4713.2 & sleep 4713.3' &)",
    );
    eventually("three daemons", || processes_with("sleep 4713.").len() >= 3);
    let namespace = a.namespace().inode();
    drop(a);
    assert!(
        processes_with("sleep 4713.").is_empty(),
        "dropping returns when they are gone"
    );
    assert!(!network_namespaces_in_use().contains(&namespace));
    drop(tap);
}

mod not_a_test {
    use super::*;

    /// Not a test: the process that [`super::nothing_is_left_after_kill_9_of_the_owner`] kills.
    #[test]
    #[ignore = "holds a lab until it is killed"]
    #[allow(clippy::print_stderr, reason = "it tells the test by it")]
    fn owner() {
        let lab = Lab::new(options());
        let specs = [
            InstanceSpec::new("owned-a", mac(1)),
            InstanceSpec::new("owned-b", mac(2)),
        ];
        let taps = lab.create_all(&specs, |_| open_tap()).unwrap();
        for instance in lab.all() {
            said(&instance, "(setsid setsid sleep 4714.1 &)");
            instance
                .start(&CommandSpec::shell("trap '' HUP INT TERM; sleep 4714.2; sleep 4714.3"))
                .unwrap();
            eprintln!(
                "owned {} {}",
                instance.namespace().inode(),
                instance.machine().unwrap().pid()
            );
        }
        eprintln!("owned all");
        std::thread::sleep(Duration::from_secs(600));
        drop(taps);
    }
}

#[test]
#[ignore = "needs root: make test"]
fn nothing_is_left_after_kill_9_of_the_owner() {
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let links = || fs::read_dir("/sys/class/net").unwrap().count();
    let before = (mounts(), links());
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "lab_instances::not_a_test::owner",
            "--ignored",
            "--nocapture",
        ])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut owned = Vec::new();
    for line in BufReader::new(owner.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(words) = line.strip_prefix("owned ") else {
            continue;
        };
        if words == "all" {
            break;
        }
        let (namespace, pid) = words.split_once(' ').unwrap();
        owned.push((namespace.parse::<u64>().unwrap(), pid.parse::<i32>().unwrap()));
    }
    assert_eq!(owned.len(), 2);
    eventually("the daemons run", || processes_with("sleep 4714.").len() >= 4);
    let in_use = network_namespaces_in_use();
    assert!(
        owned
            .iter()
            .all(|(namespace, pid)| in_use.contains(namespace) && is_running(*pid))
    );
    // A namespace without a holder has no file by which it could be entered; hold one to see that its TAP vanishes.
    let witness = Namespace::open(&PathBuf::from(format!("/proc/{}/ns/net", owned[0].1))).unwrap();

    owner.kill().unwrap();
    owner.wait().unwrap();

    eventually("no process is left", || processes_with("sleep 4714.").is_empty());
    eventually("no process 1 is left", || {
        owned.iter().all(|(_, pid)| !is_running(*pid))
    });
    eventually("no namespace is in use", || {
        let in_use = network_namespaces_in_use();
        owned.iter().all(|(namespace, _)| !in_use.contains(namespace))
    });
    let has_tap = || {
        witness
            .run(|| {
                fs::read_to_string("/proc/thread-self/net/dev")
                    .unwrap()
                    .contains("eth0")
            })
            .unwrap()
    };
    eventually("its TAP is gone", || !has_tap());
    assert_eq!((mounts(), links()), before);
}

#[test]
#[ignore = "needs root: make test"]
fn a_lab_makes_all_of_its_instances_or_none() {
    let lab = Lab::new(options());
    let specs: Vec<_> = (1..=8).map(|n| InstanceSpec::new(format!("i{n}"), mac(n))).collect();
    let refuse_one = |spec: &InstanceSpec| {
        if spec.name == "i5" {
            Err("no".into())
        } else {
            open_tap().map_err(OpenError::from)
        }
    };
    assert!(matches!(lab.create_all(&specs, refuse_one), Err(InstanceError::Open { name, .. }) if name == "i5"));
    assert!(lab.all().is_empty());
    let names = lab
        .create_all(&specs, |spec| Ok::<_, OpenError>(spec.name.clone()))
        .err();
    assert!(
        matches!(names, Some(InstanceError::Link { .. })),
        "there is no eth0 to configure"
    );
    let devices = lab
        .create_all(&specs, |spec| open_tap().map(|tap| (spec.name.clone(), tap)))
        .unwrap();
    assert!(
        devices
            .iter()
            .map(|(name, _)| name)
            .eq(specs.iter().map(|spec| &spec.name)),
        "in the order asked for"
    );
    let again = lab.create_all(&specs[..1], |_| open_tap());
    assert!(matches!(again, Err(InstanceError::Exists(name)) if name == "i1"));
    let twins = [InstanceSpec::new("twin", mac(1)), InstanceSpec::new("twin", mac(2))];
    assert!(matches!(lab.create_all(&twins, |_| open_tap()), Err(InstanceError::Exists(name)) if name == "twin"));
    assert_eq!(lab.all().len(), 8);
    assert_eq!(lab.remove("i3").unwrap().name(), "i3");
    assert!(lab.get("i3").is_none());
    drop_in_parallel(devices);
}

/// Creates and removes `count` configured instances; prints and returns the two times.
fn come_and_go(count: u16) -> [Duration; 2] {
    let lab = Lab::new(options());
    let net = |n: u16| Ipv4Net::new(Ipv4Addr::from_bits(0x0a_00_00_00 + u32::from(n)), 16).unwrap();
    let spec = |n| {
        let mut spec = InstanceSpec::new(format!("h{n}"), mac(n));
        spec.interface = spec.interface.with_ipv4(net(n), Some(Ipv4Addr::new(10, 0, 255, 254)));
        spec
    };
    let specs: Vec<_> = (1..=count).map(spec).collect();
    let started = Instant::now();
    let taps = lab.create_all(&specs, |_| open_tap()).unwrap();
    let made = started.elapsed();
    let started = Instant::now();
    drop_in_parallel(taps);
    lab.clear();
    let gone = started.elapsed();
    println!("{count} instances: made in {made:?}, gone in {gone:?}");
    [made, gone]
}

#[test]
#[ignore = "needs root: make test"]
fn a_hundred_instances_are_made_and_taken_away_in_a_moment() {
    let [made, gone] = come_and_go(100);
    // The goals are 0.5 s and 1 s on an idle machine; this catches serial creation.
    assert!(made < Duration::from_secs(3), "{made:?}");
    assert!(gone < Duration::from_secs(4), "{gone:?}");
}

#[test]
fn the_hidden_subcommand_does_nothing_when_typed_by_hand() {
    let typed = Command::new(BINARY)
        .args(["instance-init", "evil", "id"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!typed.status.success());
    assert!(String::from_utf8_lossy(&typed.stderr).contains("not by hand"));
    assert_ne!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim(), "evil");
}
