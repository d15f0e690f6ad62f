//! Checks for the programs that a scenario uses, and names the packages that contain them.

use super::PlayError;

/// Debian's package of a program, where the names differ.
const PACKAGES: &[(&str, &str)] = &[
    ("/lib/systemd/systemd-networkd", "systemd"),
    ("arping", "iputils-arping"),
    ("busybox", "busybox-static"),
    ("dhclient", "isc-dhcp-client"),
    ("dhcp6c", "wide-dhcpv6-client"),
    ("dhcpcd", "dhcpcd-base"),
    ("dig", "bind9-dnsutils"),
    ("ec2-metadata", "amazon-ec2-utils"),
    ("ec2metadata", "cloud-image-utils"),
    ("ip", "iproute2"),
    ("ncat", "ncat"),
    ("ntpdate", "ntpsec-ntpdate"),
    ("ping", "iputils-ping"),
    ("rdisc6", "ndisc6"),
    ("rltraceroute6", "ndisc6"),
    ("sysctl", "procps"),
];

/// An error with the missing programs and the command that installs them.
pub(super) fn check(programs: &[String]) -> Result<(), PlayError> {
    // The places in which the lab searches for programs.
    let path = std::env::var("PATH").unwrap_or_default();
    let places: Vec<&str> = path
        .split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
        .collect();
    let missing: Vec<String> = programs
        .iter()
        .filter(|program| {
            !places
                .iter()
                .any(|place| std::path::Path::new(place).join(program).is_file())
        })
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing
        .iter()
        .map(|program| {
            PACKAGES
                .iter()
                .find(|(known, _)| known == program)
                .map_or(program.as_str(), |(_, package)| package)
        })
        .collect();
    packages.sort_unstable();
    packages.dedup();
    let install = std::path::Path::new("/usr/bin/apt-get")
        .exists()
        .then(|| format!("apt-get install {}", packages.join(" ")));
    Err(PlayError::MissingPrograms {
        programs: missing,
        install,
    })
}
