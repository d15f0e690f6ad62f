//! The actions on instances: the hosts that network interfaces are attached to.

use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::ids::reference;
use super::interfaces::{ipv6_addresses, private_addresses, private_name};
use super::render::{ACCOUNT, tag_set};
use crate::api::ec2::action::{Action, Answer, Filter};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::ResourceId;
use crate::model::instance::Instance;
use crate::model::instance::life::InstanceState;
use crate::model::instance::metadata::{HttpTokens, InstanceMetadata};
use crate::model::interface::Attachment;
use crate::model::{InstanceId, InterfaceId, NetworkInterface};

/// Where filters look that are not called as their element is.
const PLACES: &[Place] = &[
    ("availability-zone", "placement.availabilityZone"),
    ("availability-zone-id", "placement.availabilityZoneId"),
    ("tenancy", "placement.tenancy"),
    ("instance-state-name", "instanceState.name"),
    ("instance-state-code", "instanceState.code"),
    ("instance.group-id", "groupSet.groupId"),
    ("instance.group-name", "groupSet.groupName"),
    ("image-id", "imageId"),
    ("metadata-options.http-tokens", "metadataOptions.httpTokens"),
    (
        "metadata-options.http-put-response-hop-limit",
        "metadataOptions.httpPutResponseHopLimit",
    ),
    ("metadata-options.http-endpoint", "metadataOptions.httpEndpoint"),
    (
        "metadata-options.instance-metadata-tags",
        "metadataOptions.instanceMetadataTags",
    ),
    (
        "network-interface.addresses.association.allocation-id",
        "interfaces.privateIpAddressesSet.association.allocationId",
    ),
    (
        "network-interface.addresses.association.association-id",
        "interfaces.privateIpAddressesSet.association.associationId",
    ),
    (
        "network-interface.addresses.association.ip-owner-id",
        "interfaces.privateIpAddressesSet.association.ipOwnerId",
    ),
    (
        "network-interface.addresses.association.public-dns-name",
        "interfaces.privateIpAddressesSet.association.publicDnsName",
    ),
    (
        "network-interface.addresses.association.public-ip",
        "interfaces.privateIpAddressesSet.association.publicIp",
    ),
    (
        "network-interface.addresses.primary",
        "interfaces.privateIpAddressesSet.primary",
    ),
    (
        "network-interface.addresses.private-dns-name",
        "interfaces.privateIpAddressesSet.privateDnsName",
    ),
    (
        "network-interface.addresses.private-ip-address",
        "interfaces.privateIpAddressesSet.privateIpAddress",
    ),
    (
        "network-interface.association.allocation-id",
        "interfaces.association.allocationId",
    ),
    (
        "network-interface.association.association-id",
        "interfaces.association.associationId",
    ),
    (
        "network-interface.association.ip-owner-id",
        "interfaces.association.ipOwnerId",
    ),
    (
        "network-interface.association.public-dns-name",
        "interfaces.association.publicDnsName",
    ),
    (
        "network-interface.association.public-ip",
        "interfaces.association.publicIp",
    ),
    (
        "network-interface.attachment.attach-time",
        "interfaces.attachment.attachTime",
    ),
    (
        "network-interface.attachment.attachment-id",
        "interfaces.attachment.attachmentId",
    ),
    (
        "network-interface.attachment.delete-on-termination",
        "interfaces.attachment.deleteOnTermination",
    ),
    (
        "network-interface.attachment.device-index",
        "interfaces.attachment.deviceIndex",
    ),
    (
        "network-interface.attachment.instance-id",
        "interfaces.attachment.instanceId",
    ),
    (
        "network-interface.attachment.instance-owner-id",
        "interfaces.attachment.instanceOwnerId",
    ),
    (
        "network-interface.attachment.network-card-index",
        "interfaces.attachment.networkCardIndex",
    ),
    ("network-interface.attachment.status", "interfaces.attachment.status"),
    ("network-interface.availability-zone", "interfaces.availabilityZone"),
    ("network-interface.description", "interfaces.description"),
    ("network-interface.group-id", "interfaces.groupSet.groupId"),
    ("network-interface.group-name", "interfaces.groupSet.groupName"),
    (
        "network-interface.ipv4-prefixes.ipv4-prefix",
        "interfaces.ipv4PrefixSet.ipv4Prefix",
    ),
    (
        "network-interface.ipv6-address",
        "interfaces.ipv6AddressesSet.ipv6Address",
    ),
    (
        "network-interface.ipv6-addresses.ipv6-address",
        "interfaces.ipv6AddressesSet.ipv6Address",
    ),
    (
        "network-interface.ipv6-prefixes.ipv6-prefix",
        "interfaces.ipv6PrefixSet.ipv6Prefix",
    ),
    ("network-interface.mac-address", "interfaces.macAddress"),
    (
        "network-interface.network-interface-id",
        "interfaces.networkInterfaceId",
    ),
    ("network-interface.owner-id", "interfaces.ownerId"),
    ("network-interface.private-dns-name", "interfaces.privateDnsName"),
    (
        "network-interface.private-ip-address",
        "interfaces.privateIpAddressesSet.privateIpAddress",
    ),
    ("network-interface.requester-id", "interfaces.requesterId"),
    ("network-interface.requester-managed", "interfaces.requesterManaged"),
    ("network-interface.source-dest-check", "interfaces.sourceDestCheck"),
    ("network-interface.status", "interfaces.status"),
    ("network-interface.subnet-id", "interfaces.subnetId"),
    ("network-interface.tag-key", "interfaces.tagSet.key"),
    ("network-interface.tag-value", "interfaces.tagSet.value"),
    ("network-interface.vpc-id", "interfaces.vpcId"),
    ("launch-index", "amiLaunchIndex"),
    ("monitoring-state", "monitoring.state"),
    ("private-dns-name", "privateDnsName"),
    ("source-dest-check", "sourceDestCheck"),
    ("reservation-id", RESERVATION),
    ("owner-id", OWNER),
];

/// Elements of a reservation.
const RESERVATION: &str = "reservationId";
const OWNER: &str = "ownerId";
/// The interfaces as DescribeNetworkInterfaces has them, which are no element of an answer: filters ask for more than an instance shows.
const INTERFACES: &str = "interfaces";

/// The identifier of an attachment: the same for as long as the interface is attached to the instance.
pub(super) fn attachment_id(interface: InterfaceId, instance: InstanceId) -> String {
    let bits = interface.to_bits() ^ instance.to_bits().rotate_left(11);
    format!("eni-attach-0{bits:016x}")
}

/// When an instance was launched.
fn launch_time(instance: Option<&Instance>) -> Node {
    let launched = instance.and_then(|instance| instance.launched_at);
    Node::text(humantime::format_rfc3339_millis(launched.unwrap_or(UNIX_EPOCH)))
}

/// What of an attachment both kinds of answers hold.
fn attached(interface: &NetworkInterface, place: Attachment, instance: Option<&Instance>) -> Vec<(&'static str, Node)> {
    let since = place.attached_at;
    vec![
        (
            "attachmentId",
            Node::Text(attachment_id(interface.id, place.instance_id)),
        ),
        ("deviceIndex", Node::text(place.device_index)),
        ("networkCardIndex", Node::text(0)),
        ("status", Node::text(place.state.name())),
        (
            "attachTime",
            since.map_or_else(
                || launch_time(instance),
                |at| Node::text(humantime::format_rfc3339_millis(at)),
            ),
        ),
        ("deleteOnTermination", Node::text(place.delete_on_termination)),
    ]
}

/// The `NetworkInterfaceAttachment` of EC2's answers.
pub(super) fn attachment(call: &Call<'_>, interface: &NetworkInterface) -> Node {
    let Some(place) = interface.attachment else {
        return Node::Absent;
    };
    let instance = call.controller().instance(&place.instance_id.into()).ok();
    let mut members = attached(interface, place, instance.as_ref());
    members.push(("instanceId", Node::text(place.instance_id)));
    members.push(("instanceOwnerId", Node::text(ACCOUNT)));
    Node::Map(members)
}

/// All interfaces of an instance, by device index.
fn interfaces_of(call: &Call<'_>, instance: InstanceId) -> Vec<NetworkInterface> {
    let attached = call.controller().attached(instance);
    let interfaces = attached.values().map(|id| call.controller().interface(&(*id).into()));
    interfaces.filter_map(Result::ok).collect()
}

/// The interface of an instance that has one alone.
pub(super) fn only_interface(call: &Call<'_>, instance: InstanceId) -> Result<InterfaceId, Ec2Error> {
    call.controller().instance(&instance.into())?;
    match interfaces_of(call, instance).as_slice() {
        [one] => Ok(one.id),
        [] => Err(Ec2Error::new(
            "InvalidInstanceID",
            format!("There is no interface attached to instance '{instance}'."),
        )),
        _ => Err(Ec2Error::new(
            "InvalidInstanceID",
            format!(
                "There are multiple interfaces attached to instance '{instance}'. Please specify an interface ID for the \
                 operation instead."
            ),
        )),
    }
}

fn own_interface(call: &Call<'_>, interface: &NetworkInterface, instance: &Instance) -> Node {
    let primary = interface.primary_ipv4();
    let place = interface.attachment;
    Node::map([
        ("networkInterfaceId", Node::text(interface.id)),
        ("subnetId", Node::text(interface.subnet_id)),
        ("vpcId", Node::text(interface.vpc_id)),
        ("description", Node::text(&interface.description)),
        ("ownerId", Node::text(ACCOUNT)),
        ("status", Node::text("in-use")),
        ("macAddress", Node::text(interface.mac_address)),
        ("privateIpAddress", Node::maybe(primary)),
        (
            "privateDnsName",
            Node::maybe(primary.map(|address| private_name(call, address))),
        ),
        ("sourceDestCheck", Node::text(interface.source_dest_check)),
        (
            "connectionTrackingConfiguration",
            super::interfaces::tracking(interface),
        ),
        ("groupSet", super::security_groups::group_set(call, interface)),
        (
            "attachment",
            place.map_or(Node::Absent, |place| {
                Node::Map(attached(interface, place, Some(instance)))
            }),
        ),
        (
            "association",
            super::addresses::association(call, interface, None, true),
        ),
        ("privateIpAddressesSet", private_addresses(call, interface, true)),
        ("ipv6AddressesSet", ipv6_addresses(interface)),
        (
            "ipv4PrefixSet",
            super::interfaces::prefixes("ipv4Prefix", &interface.ipv4_prefixes),
        ),
        (
            "ipv6PrefixSet",
            super::interfaces::prefixes("ipv6Prefix", &interface.ipv6_prefixes),
        ),
        ("interfaceType", Node::text("interface")),
    ])
}

/// The `InstanceState` of EC2's answers.
pub(super) fn state(state: InstanceState) -> Node {
    Node::map([("code", Node::text(state.code())), ("name", Node::text(state.name()))])
}

/// How far an instance is. One that runs, and that nothing is attached to, has lost its device: it is off.
pub(super) fn state_of(call: &Call<'_>, instance: &Instance) -> InstanceState {
    let has_lost = instance.state == InstanceState::Running && call.controller().attached(instance.id).is_empty();
    if has_lost {
        InstanceState::Stopped
    } else {
        instance.state
    }
}

/// The `InstanceMetadataOptionsResponse` of EC2's answers.
pub(super) fn metadata_options(metadata: &InstanceMetadata) -> Node {
    let on = |flag: bool| Node::text(if flag { "enabled" } else { "disabled" });
    Node::map([
        ("state", Node::text("applied")),
        (
            "httpTokens",
            Node::text(match metadata.http_tokens {
                HttpTokens::Optional => "optional",
                HttpTokens::Required => "required",
            }),
        ),
        (
            "httpPutResponseHopLimit",
            Node::text(metadata.http_put_response_hop_limit),
        ),
        ("httpEndpoint", on(metadata.enabled)),
        ("httpProtocolIpv6", on(metadata.http_protocol_ipv6)),
        ("instanceMetadataTags", on(metadata.instance_tags)),
    ])
}

/// The `Instance` of EC2's answers. A terminated one has no interface any more.
pub(super) fn instance(call: &Call<'_>, instance: &Instance) -> Node {
    let interfaces = interfaces_of(call, instance.id);
    let primary = call.controller().interface(&instance.primary_interface_id.into());
    let primary = primary.ok().filter(|_| instance.state != InstanceState::Terminated);
    let address = primary.as_ref().and_then(NetworkInterface::primary_ipv4);
    let public = primary
        .as_ref()
        .map(|primary| super::addresses::association(call, primary, None, true));
    let member = |name| public.as_ref().and_then(|public| public.get(name));
    let (public_ip, public_dns) = (member("publicIp"), member("publicDnsName"));
    let metadata = &instance.metadata;
    let subnet = primary
        .as_ref()
        .and_then(|primary| call.controller().subnet(&primary.subnet_id.into()).ok());
    let zone = subnet.map(|subnet| subnet.availability_zone);
    let launch = instance.launch.as_ref();
    let reason = instance.state_reason.as_ref();
    // An instance of the lab has the name of its primary interface.
    let own_name = || primary.as_ref()?.name.as_deref().filter(|_| launch.is_none());
    let name = instance.name.as_deref().or_else(own_name);
    Node::map([
        ("instanceId", Node::text(instance.id)),
        ("imageId", Node::text(instance.image())),
        ("instanceState", state(state_of(call, instance))),
        (
            "privateDnsName",
            Node::maybe(address.map(|address| private_name(call, address))),
        ),
        ("dnsName", public_dns.cloned().unwrap_or_else(|| Node::text(""))),
        ("ipAddress", public_ip.cloned().unwrap_or(Node::Absent)),
        ("reason", Node::text(reason.map_or("", |reason| &reason.message))),
        (
            "keyName",
            Node::maybe(launch.and_then(|launch| launch.key_name.as_ref())),
        ),
        ("amiLaunchIndex", Node::text(launch.map_or(0, |launch| launch.index))),
        ("productCodes", Node::List(Vec::new())),
        ("instanceType", Node::text(&metadata.instance_type)),
        ("launchTime", launch_time(Some(instance))),
        (
            "placement",
            Node::map([
                ("availabilityZone", Node::maybe(zone.as_ref())),
                (
                    "availabilityZoneId",
                    Node::maybe(zone.as_deref().map(crate::model::region::zone_id)),
                ),
                ("groupName", Node::text("")),
                ("tenancy", Node::text("default")),
            ]),
        ),
        ("monitoring", Node::map([("state", Node::text("disabled"))])),
        (
            "subnetId",
            Node::maybe(primary.as_ref().map(|primary| primary.subnet_id)),
        ),
        ("vpcId", Node::maybe(primary.as_ref().map(|primary| primary.vpc_id))),
        ("privateIpAddress", Node::maybe(address)),
        (
            "ipv6Address",
            Node::maybe(primary.as_ref().and_then(|primary| primary.ipv6_addresses.first())),
        ),
        (
            "sourceDestCheck",
            Node::maybe(primary.as_ref().map(|primary| primary.source_dest_check)),
        ),
        (
            "groupSet",
            primary.as_ref().map_or_else(
                || Node::List(Vec::new()),
                |primary| super::security_groups::group_set(call, primary),
            ),
        ),
        ("architecture", Node::text(super::images::ARCHITECTURE)),
        ("rootDeviceType", Node::text("ebs")),
        ("rootDeviceName", Node::text("/dev/xvda")),
        ("blockDeviceMapping", Node::List(Vec::new())),
        ("virtualizationType", Node::text("hvm")),
        ("hypervisor", Node::text("xen")),
        ("enaSupport", Node::text(true)),
        ("ebsOptimized", Node::text(false)),
        (
            "networkInterfaceSet",
            Node::list(interfaces.iter().map(|one| own_interface(call, one, instance))),
        ),
        ("metadataOptions", metadata_options(metadata)),
        (
            "iamInstanceProfile",
            metadata
                .iam_role
                .as_deref()
                .map_or(Node::Absent, |role| profile(instance.id, role)),
        ),
        (
            "stateReason",
            reason.map_or(Node::Absent, |reason| {
                Node::map([
                    ("code", Node::text(&reason.code)),
                    ("message", Node::text(&reason.message)),
                ])
            }),
        ),
        (
            "clientToken",
            Node::maybe(launch.and_then(|launch| launch.client_token.as_ref())),
        ),
        // An instance without tags has no such element, and boto3 then says None, which fence_aws expects.
        (
            "tagSet",
            Some(tag_set(name, &instance.tags))
                .filter(|tags| !tags.items().is_empty())
                .unwrap_or(Node::Absent),
        ),
    ])
}

/// The `IamInstanceProfile` of an instance with a role. The profile has the role's name, as the console makes it.
fn profile(instance: InstanceId, role: &str) -> Node {
    Node::map([
        (
            "arn",
            Node::Text(format!("arn:aws:iam::{ACCOUNT}:instance-profile/{role}")),
        ),
        ("id", Node::Text(format!("AIPA{:016X}", instance.to_bits()))),
    ])
}

/// The `Reservation` of EC2's answers.
pub(super) fn reservation(id: &str, instances: Vec<Node>) -> Vec<(&'static str, Node)> {
    vec![
        ("reservationId", Node::text(id)),
        ("ownerId", Node::text(ACCOUNT)),
        ("groupSet", Node::List(Vec::new())),
        ("instancesSet", Node::List(instances)),
    ]
}

/// Lists instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstances {
    #[serde(default)]
    instance_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeInstances {
    const NAME: &'static str = "DescribeInstances";
    const HELP: &'static str = "Lists instances with their interfaces";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        super::life::ids(call, &self.instance_id)?;
        let selection = Selection {
            ids: Some(("InstanceIds", &self.instance_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let mut all = call.controller().instances();
        all.sort_by_key(|one| (one.reservation(), one.launch.as_ref().map(|launch| launch.index)));
        let by_interface = self
            .filter
            .iter()
            .any(|filter| filter.name.starts_with("network-interface."));
        // Filters ask for the reservation and its owner, too, which the answer says once for all of its instances.
        let items = all.iter().map(|one| match instance(call, one) {
            Node::Map(mut elements) => {
                elements.push((RESERVATION, Node::text(one.reservation())));
                elements.push((OWNER, Node::text(ACCOUNT)));
                if by_interface {
                    let interfaces = interfaces_of(call, one.id);
                    let interfaces = interfaces.iter().map(|one| super::interfaces::interface(call, one));
                    elements.push((INTERFACES, Node::list(interfaces)));
                }
                Node::Map(elements)
            }
            other => other,
        });
        let page = selection.of(call, items, "instanceId", PLACES)?;
        let mut reservations: Vec<(String, Vec<Node>)> = Vec::new();
        for mut item in page.items {
            let reservation = item.get(RESERVATION).and_then(Node::as_text).unwrap_or_default();
            let reservation = reservation.to_owned();
            if let Node::Map(elements) = &mut item {
                elements.retain(|(name, _)| ![RESERVATION, OWNER, INTERFACES].contains(name));
            }
            match reservations.iter_mut().find(|(known, _)| *known == reservation) {
                Some((_, items)) => items.push(item),
                None => reservations.push((reservation, vec![item])),
            }
        }
        let reservations = reservations
            .into_iter()
            .map(|(id, items)| Node::Map(reservation(&id, items)));
        Ok(vec![
            ("reservationSet", Node::list(reservations)),
            ("nextToken", page.next),
        ])
    }
}

/// Says what an instance wrote to its console.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetConsoleOutput {
    instance_id: String,
    latest: Option<bool>,
}

impl Action for GetConsoleOutput {
    const NAME: &'static str = "GetConsoleOutput";
    const HELP: &'static str = "Answers as EC2 does before an instance has written to its console: hosts have none";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        // The latest output is none, too.
        let _ = self.latest;
        let found = call.controller().instance(&reference(&self.instance_id)?)?;
        Ok(vec![
            ("instanceId", Node::text(found.id)),
            ("timestamp", launch_time(Some(&found))),
        ])
    }
}
