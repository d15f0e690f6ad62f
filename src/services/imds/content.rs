//! Lists the keys of an instance's metadata and their values (EC2 guide, "Instance metadata categories").

use std::borrow::Cow;
use std::time::SystemTime;

use serde_json::json;

use super::document::{Instance, Interface, Role};
use super::tree::Directory;

/// An instance's tree in the newest version: the keys below `/latest/`.
pub(super) fn tree(instance: &Instance) -> Directory<'_> {
    let mut root = Directory::default();
    // At this level EC2 shows names without slashes.
    root.directory_shown_as("meta-data", "meta-data".to_owned(), |d| meta_data(d, instance));
    root.directory_shown_as("dynamic", "dynamic".to_owned(), |d| {
        d.directory("instance-identity", |d| {
            d.leaf("document", || Cow::Owned(identity_document(instance).into_bytes()));
        });
    });
    if let Some(user_data) = &instance.user_data {
        root.leaf("user-data", || Cow::Borrowed(user_data.as_slice()));
    }
    root
}

fn meta_data<'a>(d: &mut Directory<'a>, instance: &'a Instance) {
    let primary = instance.primary();
    d.text("ami-id", &*instance.ami_id)
        .text("ami-launch-index", instance.ami_launch_index.to_string())
        .text("ami-manifest-path", "(unknown)")
        .directory("block-device-mapping", |d| {
            for (name, device) in &instance.block_devices {
                d.text(&**name, &**device);
            }
        })
        .text("instance-action", "none")
        .text("instance-id", &*instance.instance_id)
        .text("instance-life-cycle", "on-demand")
        .text("instance-type", &*instance.instance_type)
        .text("profile", "default-hvm")
        .text("reservation-id", &*instance.reservation_id)
        .text("system", "nitro")
        .directory("placement", |d| placement(d, instance))
        .directory("services", |d| {
            d.text("domain", &*instance.service_domain)
                .text("partition", &*instance.partition);
        })
        .directory("public-keys", |d| {
            for (number, key) in instance.public_keys.iter().enumerate() {
                let shown = format!("{number}={}", key.name);
                d.directory_shown_as(number.to_string(), shown, |d| {
                    d.text("openssh-key", &*key.openssh);
                });
            }
        });
    if let Some(role) = &instance.role {
        d.directory("iam", |d| identity(d, role));
    }
    if instance.options.instance_tags {
        d.directory("tags", |d| {
            d.directory("instance", |d| {
                // A key with a slash or a space cannot be shown (EC2 guide, "View tags in instance metadata").
                for (key, value) in instance.tags.iter().filter(|(key, _)| !key.contains(['/', ' '])) {
                    d.text(&**key, &**value);
                }
            });
        });
    }
    if let Some(primary) = primary {
        d.text("mac", primary.mac.to_string())
            .maybe("hostname", primary.local_hostname.as_deref())
            .maybe("local-hostname", primary.local_hostname.as_deref())
            .maybe("local-ipv4", primary.local_ipv4s.first().map(ToString::to_string))
            .maybe("ipv6", primary.ipv6s.first().map(ToString::to_string))
            .maybe("public-hostname", primary.public_hostname.as_deref())
            .maybe(
                "public-ipv4",
                primary.public_ipv4s.first().map(|(public, _)| public.to_string()),
            )
            .maybe("security-groups", names_of_groups(primary));
    }
    d.directory("network", |d| {
        d.directory("interfaces", |d| {
            d.directory("macs", |d| {
                for interface in &instance.interfaces {
                    d.directory(interface.mac.to_string(), |d| network_interface(d, interface));
                }
            });
        });
    });
}

fn placement<'a>(d: &mut Directory<'a>, instance: &'a Instance) {
    d.text("availability-zone", &*instance.availability_zone)
        .maybe("availability-zone-id", instance.availability_zone_id.as_deref())
        .text("region", &*instance.region);
}

fn network_interface<'a>(d: &mut Directory<'a>, interface: &'a Interface) {
    d.text("device-number", interface.device_number.to_string())
        .maybe("network-card", interface.network_card.map(|card| card.to_string()))
        .text("interface-id", &*interface.interface_id)
        .text("mac", interface.mac.to_string())
        .text("owner-id", &*interface.owner_id)
        .lines("local-ipv4s", &interface.local_ipv4s)
        .lines("ipv6s", &interface.ipv6s)
        .lines("ipv4-prefix", &interface.ipv4_prefixes)
        .lines("ipv6-prefix", &interface.ipv6_prefixes)
        .maybe("local-hostname", interface.local_hostname.as_deref())
        .maybe("public-hostname", interface.public_hostname.as_deref())
        .maybe("public-ipv4s", first_of_pairs(&interface.public_ipv4s))
        .maybe("security-group-ids", first_of_pairs(&interface.security_groups))
        .maybe("security-groups", names_of_groups(interface))
        .text("subnet-id", &*interface.subnet_id)
        .maybe(
            "subnet-ipv4-cidr-block",
            interface.subnet_ipv4.map(|net| net.to_string()),
        )
        .lines("subnet-ipv6-cidr-blocks", &interface.subnet_ipv6)
        .text("vpc-id", &*interface.vpc_id)
        .maybe(
            "vpc-ipv4-cidr-block",
            interface.vpc_ipv4.first().map(ToString::to_string),
        )
        .lines("vpc-ipv4-cidr-blocks", &interface.vpc_ipv4)
        .lines("vpc-ipv6-cidr-blocks", &interface.vpc_ipv6)
        .directory("ipv4-associations", |d| {
            for (public, private) in &interface.public_ipv4s {
                d.text(public.to_string(), private.to_string());
            }
        });
}

fn first_of_pairs<A: ToString, B>(pairs: &[(A, B)]) -> Option<String> {
    let lines: Vec<String> = pairs.iter().map(|(first, _)| first.to_string()).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn names_of_groups(interface: &Interface) -> Option<String> {
    let names: Vec<&str> = interface.security_groups.iter().map(|(_, name)| &**name).collect();
    (!names.is_empty()).then(|| names.join("\n"))
}

fn identity<'a>(d: &mut Directory<'a>, role: &'a Role) {
    d.leaf("info", || {
        pretty(&json!({
            "Code": "Success",
            "LastUpdated": timestamp(role.last_updated),
            "InstanceProfileArn": role.instance_profile_arn,
            "InstanceProfileId": role.instance_profile_id,
        }))
    });
    d.directory("security-credentials", |d| {
        d.leaf(&*role.name, || {
            pretty(&json!({
                "Code": "Success",
                "LastUpdated": timestamp(role.last_updated),
                "Type": "AWS-HMAC",
                "AccessKeyId": role.access_key_id,
                "SecretAccessKey": role.secret_access_key,
                "Token": role.token,
                "Expiration": timestamp(role.expiration),
            }))
        });
    });
}

fn pretty(value: &serde_json::Value) -> Cow<'static, [u8]> {
    Cow::Owned(format!("{value:#}").into_bytes())
}

/// The instance identity document, with the keys and nulls of EC2's version 2017-09-30 (it is not signed).
fn identity_document(instance: &Instance) -> String {
    let primary = instance.primary();
    let document = json!({
        "accountId": instance.account_id,
        "architecture": instance.architecture,
        "availabilityZone": instance.availability_zone,
        "billingProducts": null,
        "devpayProductCodes": null,
        "marketplaceProductCodes": null,
        "imageId": instance.ami_id,
        "instanceId": instance.instance_id,
        "instanceType": instance.instance_type,
        "kernelId": null,
        "pendingTime": timestamp(instance.launched),
        "privateIp": primary.and_then(|primary| primary.local_ipv4s.first()),
        "ramdiskId": null,
        "region": instance.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
