//! Instance types, as far as network tools ask for them: how many interfaces and addresses an instance takes.

use serde::Deserialize;

use crate::api::ec2::action::{Action, Answer, Filter};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::region::{zone_id, zones_of};

/// One size: vCPUs, memory in MiB, interfaces, and addresses of each (EC2 guide, "IP addresses per network interface").
struct Size {
    name: &'static str,
    cpus: u32,
    memory: u32,
    interfaces: u32,
    addresses: u32,
}

const fn size(name: &'static str, cpus: u32, memory: u32, interfaces: u32, addresses: u32) -> Size {
    Size {
        name,
        cpus,
        memory,
        interfaces,
        addresses,
    }
}

/// The families that are known, with what their sizes have. Those of one list have the same limits.
const FAMILIES: &[(&[&str], &[Size])] = &[
    (
        &["t2"],
        &[
            size("nano", 1, 512, 2, 2),
            size("micro", 1, 1024, 2, 2),
            size("small", 1, 2048, 3, 4),
            size("medium", 2, 4096, 3, 6),
            size("large", 2, 8192, 3, 12),
            size("xlarge", 4, 16_384, 3, 15),
            size("2xlarge", 8, 32_768, 3, 15),
        ],
    ),
    (
        &["t3", "t3a", "t4g"],
        &[
            size("nano", 2, 512, 2, 2),
            size("micro", 2, 1024, 2, 2),
            size("small", 2, 2048, 3, 4),
            size("medium", 2, 4096, 3, 6),
            size("large", 2, 8192, 3, 12),
            size("xlarge", 4, 16_384, 4, 15),
            size("2xlarge", 8, 32_768, 4, 15),
        ],
    ),
    (
        &["c5", "c5n", "c6i"],
        &[
            size("large", 2, 4096, 3, 10),
            size("xlarge", 4, 8192, 4, 15),
            size("2xlarge", 8, 16_384, 4, 15),
            size("4xlarge", 16, 32_768, 8, 30),
        ],
    ),
    (
        &["c6g", "c6gn", "c7g", "c7gn"],
        &[
            size("medium", 1, 2048, 2, 4),
            size("large", 2, 4096, 3, 10),
            size("xlarge", 4, 8192, 4, 15),
            size("2xlarge", 8, 16_384, 4, 15),
            size("4xlarge", 16, 32_768, 8, 30),
        ],
    ),
    (
        &["m6g", "m7g"],
        &[
            size("medium", 1, 4096, 2, 4),
            size("large", 2, 8192, 3, 10),
            size("xlarge", 4, 16_384, 4, 15),
            size("2xlarge", 8, 32_768, 4, 15),
            size("4xlarge", 16, 65_536, 8, 30),
        ],
    ),
    (
        &["m5", "m5a", "m6a", "m6i", "m7i"],
        &[
            size("large", 2, 8192, 3, 10),
            size("xlarge", 4, 16_384, 4, 15),
            size("2xlarge", 8, 32_768, 4, 15),
            size("4xlarge", 16, 65_536, 8, 30),
        ],
    ),
    (
        &["r5", "r6g", "r6i", "r7g"],
        &[
            size("large", 2, 16_384, 3, 10),
            size("xlarge", 4, 32_768, 4, 15),
            size("2xlarge", 8, 65_536, 4, 15),
            size("4xlarge", 16, 131_072, 8, 30),
        ],
    ),
    (
        &["m1"],
        &[
            size("small", 1, 1740, 2, 4),
            size("medium", 1, 3788, 2, 6),
            size("large", 2, 7680, 3, 10),
        ],
    ),
];

fn find(kind: &str) -> Option<&'static Size> {
    let (family, name) = kind.split_once('.')?;
    let (_, sizes) = FAMILIES.iter().find(|(families, _)| families.contains(&family))?;
    sizes.iter().find(|size| size.name == name)
}

/// A type that a launch names. Any that has the form of one is taken: it is a name to the instance.
pub(super) fn check(kind: &str) -> Result<(), Ec2Error> {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    match kind.split_once('.') {
        Some((family, size)) if word(family) && word(size) => Ok(()),
        _ => Err(unknown(kind)),
    }
}

fn unknown(kind: &str) -> Ec2Error {
    Ec2Error::new(
        "InvalidInstanceType",
        format!(
            "The following supplied instance types do not exist: [{}]",
            printed(kind)
        ),
    )
}

/// The `InstanceTypeInfo` of EC2's answers, what tools of networks read of it.
fn described(kind: &str, size: &Size) -> Node {
    let family = kind.split('.').next().unwrap_or_default();
    let architecture = if family.ends_with('g') || family.ends_with("gn") {
        "arm64"
    } else {
        "x86_64"
    };
    let nitro = !matches!(family, "t2" | "m1" | "m4");
    Node::map([
        ("instanceType", Node::text(kind)),
        ("currentGeneration", Node::text(!matches!(family, "m1"))),
        ("freeTierEligible", Node::text(false)),
        ("supportedUsageClasses", Node::texts(["on-demand"])),
        ("supportedRootDeviceTypes", Node::texts(["ebs"])),
        ("supportedVirtualizationTypes", Node::texts(["hvm"])),
        ("bareMetal", Node::text(false)),
        ("hypervisor", Node::text(if nitro { "nitro" } else { "xen" })),
        (
            "processorInfo",
            Node::map([("supportedArchitectures", Node::texts([architecture]))]),
        ),
        (
            "vCpuInfo",
            Node::map([
                ("defaultVCpus", Node::text(size.cpus)),
                ("defaultCores", Node::text(size.cpus.div_ceil(2))),
                ("defaultThreadsPerCore", Node::text(if size.cpus > 1 { 2 } else { 1 })),
            ]),
        ),
        ("memoryInfo", Node::map([("sizeInMiB", Node::text(size.memory))])),
        ("instanceStorageSupported", Node::text(false)),
        (
            "networkInfo",
            Node::map([
                ("networkPerformance", Node::text("Up to 5 Gigabit")),
                ("maximumNetworkInterfaces", Node::text(size.interfaces)),
                ("maximumNetworkCards", Node::text(1)),
                ("defaultNetworkCardIndex", Node::text(0)),
                (
                    "networkCards",
                    Node::list([Node::map([
                        ("networkCardIndex", Node::text(0)),
                        ("networkPerformance", Node::text("Up to 5 Gigabit")),
                        ("maximumNetworkInterfaces", Node::text(size.interfaces)),
                    ])]),
                ),
                ("ipv4AddressesPerInterface", Node::text(size.addresses)),
                ("ipv6AddressesPerInterface", Node::text(size.addresses)),
                ("ipv6Supported", Node::text(true)),
                ("enaSupport", Node::text(if nitro { "required" } else { "supported" })),
                ("efaSupported", Node::text(false)),
                ("encryptionInTransitSupported", Node::text(false)),
            ]),
        ),
        (
            "placementGroupInfo",
            Node::map([("supportedStrategies", Node::texts(["partition", "spread"]))]),
        ),
        ("hibernationSupported", Node::text(false)),
        ("burstablePerformanceSupported", Node::text(family.starts_with('t'))),
        ("dedicatedHostsSupported", Node::text(false)),
        ("autoRecoverySupported", Node::text(false)),
        ("supportedBootModes", Node::texts(["legacy-bios"])),
    ])
}

const PLACES: &[Place] = &[
    ("instance-type", "instanceType"),
    ("current-generation", "currentGeneration"),
    ("bare-metal", "bareMetal"),
    ("hypervisor", "hypervisor"),
    ("burstable-performance-supported", "burstablePerformanceSupported"),
    (
        "processor-info.supported-architecture",
        "processorInfo.supportedArchitectures",
    ),
    ("vcpu-info.default-vcpus", "vCpuInfo.defaultVCpus"),
    ("vcpu-info.default-cores", "vCpuInfo.defaultCores"),
    ("vcpu-info.default-threads-per-core", "vCpuInfo.defaultThreadsPerCore"),
    ("memory-info.size-in-mib", "memoryInfo.sizeInMiB"),
    (
        "network-info.ipv4-addresses-per-interface",
        "networkInfo.ipv4AddressesPerInterface",
    ),
    (
        "network-info.ipv6-addresses-per-interface",
        "networkInfo.ipv6AddressesPerInterface",
    ),
    ("network-info.ipv6-supported", "networkInfo.ipv6Supported"),
    ("network-info.ena-support", "networkInfo.enaSupport"),
    ("network-info.efa-supported", "networkInfo.efaSupported"),
    ("network-info.maximum-network-cards", "networkInfo.maximumNetworkCards"),
    (
        "network-info.maximum-network-interfaces",
        "networkInfo.maximumNetworkInterfaces",
    ),
    ("network-info.network-performance", "networkInfo.networkPerformance"),
    (
        "network-info.encryption-in-transit-supported",
        "networkInfo.encryptionInTransitSupported",
    ),
    ("supported-boot-mode", "supportedBootModes"),
    ("supported-root-device-type", "supportedRootDeviceTypes"),
    ("supported-usage-class", "supportedUsageClasses"),
    ("supported-virtualization-type", "supportedVirtualizationTypes"),
];

/// Every type that is known, in order.
fn all() -> impl Iterator<Item = (String, &'static Size)> {
    let families = FAMILIES
        .iter()
        .flat_map(|(families, sizes)| families.iter().map(move |family| (*family, *sizes)));
    families.flat_map(|(family, sizes)| sizes.iter().map(move |size| (format!("{family}.{}", size.name), size)))
}

/// Lists instance types.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstanceTypes {
    #[serde(default)]
    instance_type: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeInstanceTypes {
    const NAME: &'static str = "DescribeInstanceTypes";
    const HELP: &'static str =
        "Lists the instance types that are known, with how many interfaces and addresses each takes";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        if let Some(other) = self.instance_type.iter().find(|kind| find(kind).is_none()) {
            return Err(unknown(other));
        }
        let selection = Selection {
            ids: Some(("InstanceTypes", &self.instance_type)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let items = all().map(|(kind, size)| described(&kind, size));
        let page = selection.of(call, items, "instanceType", PLACES)?;
        Ok(vec![
            ("instanceTypeSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Lists where instance types are offered.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstanceTypeOfferings {
    location_type: Option<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeInstanceTypeOfferings {
    const NAME: &'static str = "DescribeInstanceTypeOfferings";
    const HELP: &'static str = "Lists the instance types that are known, in the region or in each of its zones";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let region = call.controller().region();
        let kind = self.location_type.as_deref().unwrap_or("region");
        let places: Vec<String> = match kind {
            "region" => vec![region],
            "availability-zone" => zones_of(&region),
            "availability-zone-id" => zones_of(&region).iter().map(|zone| zone_id(zone)).collect(),
            other => {
                let message = format!("Value ({}) for parameter locationType is invalid.", printed(other));
                return Err(Ec2Error::invalid_value(message));
            }
        };
        let items = all().flat_map(|(name, _)| {
            let of_place = |place: &String| {
                Node::map([
                    ("instanceType", Node::text(&name)),
                    ("locationType", Node::text(kind)),
                    ("location", Node::text(place)),
                ])
            };
            places.iter().map(of_place).collect::<Vec<_>>()
        });
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, items, "instanceType", &[])?;
        Ok(vec![
            ("instanceTypeOfferingSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_the_limits_that_the_vpc_cni_reads() {
        let limits = |kind: &str| find(kind).map(|size| (size.interfaces, size.addresses));
        assert_eq!(limits("t3.micro"), Some((2, 2)));
        assert_eq!(limits("m5.large"), Some((3, 10)));
        assert_eq!(limits("c5.4xlarge"), Some((8, 30)));
        assert_eq!(limits("t3.96xlarge"), None);
        assert!(check("x9.huge").is_ok() && check("huge").is_err() && check("a b.c").is_err());
    }
}
