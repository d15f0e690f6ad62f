//! Tests that an ordinary user can run a lab, and gets a clear error where a setting forbids it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::cli::{code, file, stdout};

const USER: &str = "1000";

/// A folder of the user with the program in it.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_localvpc"), folder.path().join("localvpc")).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.path().join("run")).unwrap();
    let owned = Command::new("chown")
        .args(["-R", USER])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(owned.success());
    folder
}

/// Runs a script as the user, on a machine whose `/dev/net/tun` has this mode. `$localvpc` is the program.
fn as_user(folder: &Path, tun: &str, script: &str) -> Output {
    let outer = format!(
        "set -e; mkdir -p $0/dev; mount -t tmpfs tmpfs $0/dev; mknod -m {tun} $0/dev/tun c 10 200
        mount --bind $0/dev/tun /dev/net/tun
        exec setpriv --reuid {USER} --regid {USER} --clear-groups env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        XDG_RUNTIME_DIR=$0/run HOME=$0 localvpc=$0/localvpc sh -c \"$1\" $0"
    );
    Command::new("unshare")
        .args(["-m", "sh", "-c", &outer])
        .arg(folder)
        .arg(script)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SCENARIO: &str = "
name: of-a-user
topology:
  vpcs: { v: { cidr_blocks: [10.0.0.0/16], ipv6_cidr_blocks: [2001:db8:1::/56] } }
  subnets: { s: { vpc: v, cidr_block: 10.0.1.0/24, ipv6_cidr_block: 2001:db8:1::/64 } }
  instances:
    a: { subnet: s, ipv4: [10.0.1.10] }
    b: { subnet: s, ipv4: [10.0.1.11] }
steps:
- ping: { from: a, to: 10.0.1.11 }
- exec:
    in: a
    run: |
      set -e
      test $(id -u) = 0
      test $(hostname) = a
      for path in /etc/x /etc/dhcp-of-mine/x /etc/hosts /var/lib/x /var/log/x /root/x /run/x; do
        mkdir -p $(dirname $path); echo hello >$path; grep -q hello $path
      done
      ls /etc /usr/bin >/dev/null
      ip link set eth0 mtu 1400
      sysctl -qw net.ipv4.ip_forward=1
      localvpc mappings assign 10.0.1.50 --to a
- exec: { in: b, run: 'test ! -e /etc/x && curl -sf http://169.254.169.254/latest/meta-data/local-ipv4' }
  expect: { stdout: 10.0.1.11 }
";

#[test]
#[ignore = "needs root: make test"]
fn an_ordinary_user_plays_a_scenario() {
    let folder = place();
    let scenario = file(&folder, "scenario.yaml", SCENARIO);
    let output = as_user(folder.path(), "666", &format!("$localvpc run {scenario}"));
    assert_eq!(code(&output), 0, "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("PASS of-a-user"), "{}", stdout(&output));
}

#[test]
#[ignore = "needs root: make test"]
fn an_ordinary_user_has_a_lab_enters_its_hosts_and_leaves_nothing() {
    let folder = place();
    let script = "
        $localvpc lab --hosts 2 --socket $0/api.sock --allow-exec >$0/said 2>$0/log & server=$!
        for i in $(seq 200); do grep -q Ctrl-C $0/said && break; sleep 0.1; done
        cat $0/said
        ask=\"$localvpc --server unix:$0/api.sock\"
        $ask exec a -- ping -n -c 1 -W 2 10.0.1.11
        enter=$(sed -n 's/^ *enter: //p' $0/said | head -1)
        $enter hostname
        $enter $localvpc vpcs
        kill -TERM $server; wait $server; echo ended $?
";
    let output = as_user(folder.path(), "666", script);
    let said = format!("{}{}", stdout(&output), stderr(&output));
    let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    for part in ["1 received", "nsenter --preserve-credentials", "\na\n", "ended 0"] {
        assert!(said.contains(part), "{part}: {said}{log}");
    }
    assert!(!folder.path().join("api.sock").exists(), "{said}");
}

#[test]
#[ignore = "needs root: make test"]
fn what_stands_in_the_way_of_a_user_is_named_with_its_remedy() {
    let folder = place();
    let output = as_user(folder.path(), "600", "$localvpc lab --socket $0/api.sock");
    assert_eq!(code(&output), 3, "{output:?}");
    let said = stderr(&output).replace("\n  │ ", " ");
    assert!(said.contains("chmod 666 /dev/net/tun"), "{said}");

    // A new namespace has a limit of its own.
    let inner = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set -all --inh-caps -all \
                 $localvpc lab --socket $0/api.sock";
    let output = as_user(folder.path(), "666", &format!("unshare -Ur sh -c '{inner}' $0"));
    assert_eq!(code(&output), 3, "{output:?}");
    let said = stderr(&output).replace("\n  │ ", " ");
    assert!(said.contains("user.max_user_namespaces"), "{said}");
}
