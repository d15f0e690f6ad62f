//! Installs the programs that the demo and the tests run, from Debian's packages.

use std::collections::BTreeSet;

use crate::run::{Outcome, is_installed, program};

/// The programs of the demo: command and package.
pub(crate) const DEMO: &[(&str, &str)] = &[
    ("cc", "build-essential"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("arping", "iputils-arping"),
    ("ndisc6", "ndisc6"),
    ("rdisc6", "ndisc6"),
    ("tcpdump", "tcpdump"),
    ("sysctl", "procps"),
];

/// What the tests run in addition: clients of DHCP, of the instance metadata and of the other services, and failover software.
const TESTS: &[(&str, &str)] = &[
    ("dhclient", "isc-dhcp-client"),
    ("dhcpcd", "dhcpcd-base"),
    ("busybox", "busybox-static"),
    ("dhcp6c", "wide-dhcpv6-client"),
    ("/lib/systemd/systemd-networkd", "systemd"),
    ("python3", "python3"),
    ("cloud-init", "cloud-init"),
    ("ec2-metadata", "amazon-ec2-utils"),
    ("dig", "bind9-dnsutils"),
    ("ntpdate", "ntpsec-ntpdate"),
    ("keepalived", "keepalived"),
    ("nft", "nftables"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("aws", "awscli"),
    ("ssh-keygen", "openssh-client"),
    ("/usr/lib/ocf/resource.d/heartbeat/awsvip", "resource-agents"),
];

/// What `make agents` runs in addition: a cluster with fencing, and the AWS SDK for Node.
pub(crate) const AGENTS: &[(&str, &str)] = &[
    ("/usr/sbin/corosync", "corosync"),
    ("/usr/sbin/pacemakerd", "pacemaker"),
    ("/usr/sbin/crm_mon", "pacemaker-cli-utils"),
    ("/usr/sbin/fence_aws", "fence-agents"),
    ("npm", "npm"),
];

/// Libraries of chronyd, whose package is not installed.
const CHRONYD_LIBRARIES: [&str; 3] = ["libcap2", "libedit2", "libseccomp2"];

/// Takes chronyd out of its package: installed, the package would take over the clock of this machine.
const CHRONYD: &str = "\
folder=$(mktemp -d); trap 'rm -rf \"$folder\"' EXIT; cd \"$folder\"; chmod 755 .
apt-get download -qq chrony 2>/dev/null; dpkg-deb -x chrony_*.deb .; install usr/sbin/chronyd /usr/local/sbin/";

/// Gives dhcp6c no interface, before its package asks for one.
const DHCP6C_AT_REST: &str = "\
command -v debconf-set-selections >/dev/null || exit 0
echo wide-dhcpv6-client wide-dhcpv6-client/interfaces string | debconf-set-selections";

/// Installs the packages of the commands that are missing, and checks that there is a TUN device.
pub(crate) fn install(commands: &[(&str, &str)]) -> Outcome {
    let missing: BTreeSet<&str> = commands
        .iter()
        .filter(|(command, _)| !is_installed(command))
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        println!("installing {}", missing.iter().copied().collect::<Vec<_>>().join(" "));
        apt(["update", "-q"]).run()?;
        apt(["install", "-q", "-y", "--no-install-recommends"])
            .args(missing)
            .run()?;
    }
    match std::fs::exists("/dev/net/tun") {
        Ok(true) => Ok(()),
        _ => Err("There is no /dev/net/tun: load the kernel module with 'modprobe tun'".to_owned()),
    }
}

/// Installs what all tests run. None of the clients may act outside of the scenarios.
pub(crate) fn install_for_tests() -> Outcome {
    if !is_installed("dhcp6c") {
        shell(DHCP6C_AT_REST).run()?;
    }
    if !is_installed("cloud-init") {
        // Switched off before it is installed (cloud-init's documentation, "How to disable cloud-init").
        shell("mkdir -p /etc/cloud; touch /etc/cloud/cloud-init.disabled").run()?;
    }
    install(&[DEMO, TESTS].concat())?;
    if !is_installed("chronyd") {
        println!("installing chronyd without its package");
        apt(["install", "-q", "-y", "--no-install-recommends"])
            .args(CHRONYD_LIBRARIES)
            .run()?;
        shell(CHRONYD).run()?;
    }
    // tests/root/description.rs installs its tools into a virtual environment.
    if program("python3")
        .args(["-c", "import ensurepip"])
        .silent()
        .run()
        .is_err()
    {
        apt(["install", "-q", "-y", "--no-install-recommends", "python3-venv"]).run()?;
    }
    Ok(())
}

/// apt-get, which waits for another program that installs packages.
fn apt<'a>(arguments: impl IntoIterator<Item = &'a str>) -> crate::run::Program {
    program("xtask/apt-get").args(arguments)
}

fn shell(script: &str) -> crate::run::Program {
    program("sh").args(["-e", "-c", script])
}
