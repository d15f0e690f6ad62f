//! The life of instances and attachments, on virtual time and without a host.

use std::time::Duration;

use super::tests::{Endpoint, count, text};
use super::xml::Node;
use crate::model::fault::FaultSpec;

const SECOND: Duration = Duration::from_secs(1);

impl Endpoint {
    /// What has happened by this time.
    fn at(&self, seconds: u64) {
        self.ec2
            .state
            .controller
            .drive_faults(SECOND.saturating_mul(u32::try_from(seconds).unwrap()));
    }

    fn launch(&self, subnet: &str, more: &str) -> String {
        let form = format!("ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1&SubnetId={subnet}{more}");
        self.get("RunInstances", &form, "instancesSet.0.instanceId")
    }

    fn state(&self, instance: &str) -> String {
        self.get(
            "DescribeInstances",
            &format!("InstanceId.1={instance}"),
            "reservationSet.0.instancesSet.0.instanceState.name",
        )
    }

    /// The state before and after, as the answer of an action has it.
    fn change(&self, action: &str, instance: &str, more: &str) -> (String, String) {
        let answer = self.call(action, &format!("InstanceId.1={instance}{more}")).unwrap();
        let of = |which: &str| text(&answer, &format!("instancesSet.0.{which}.name")).unwrap();
        (of("previousState"), of("currentState"))
    }

    fn late_attachment(&self, fault: &str) {
        let spec: FaultSpec = serde_json::from_str(&format!(r#"{{"late_attachment": {fault}}}"#)).unwrap();
        self.ec2.state.controller.begin_fault(spec).unwrap();
    }
}

fn pair(before: &str, after: &str) -> (String, String) {
    (before.to_owned(), after.to_owned())
}

#[test]
fn instances_are_found_by_all_that_ec2_shows_of_their_interfaces() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (vpc, subnet) = ec2.network();
    let one = ec2.launch(&subnet, "");
    let gateway = ec2.get("CreateInternetGateway", "", "internetGateway.internetGatewayId");
    let attach = format!("InternetGatewayId={gateway}&VpcId={vpc}");
    ec2.call("AttachInternetGateway", &attach).unwrap();
    let address = ec2.get("AllocateAddress", "Domain=vpc", "allocationId");
    ec2.call("AssociateAddress", &format!("AllocationId={address}&InstanceId={one}"))
        .unwrap();
    for filter in [
        "launch-index",
        "monitoring-state",
        "network-interface.group-id",
        "network-interface.group-name",
        "network-interface.private-ip-address",
        "network-interface.availability-zone",
        "network-interface.requester-managed",
        "network-interface.attachment.instance-id",
        "network-interface.attachment.attach-time",
        "network-interface.association.public-ip",
        "network-interface.association.allocation-id",
        "network-interface.addresses.association.public-ip",
        "network-interface.addresses.private-dns-name",
    ] {
        let form = format!("Filter.1.Name={filter}&Filter.1.Value.1=?*");
        let found = ec2.call("DescribeInstances", &form).unwrap();
        let path = "reservationSet.0.instancesSet.0.instanceId";
        assert_eq!(text(&found, path), Some(one.clone()), "{filter}");
    }
}

#[test]
fn an_instance_goes_through_the_states_of_ec2() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (_, subnet) = ec2.network();
    let one = ec2.launch(&subnet, "");
    assert_eq!(ec2.state(&one), "pending");
    assert_eq!(
        ec2.refusal("StopInstances", &format!("InstanceId.1={one}")),
        (
            "IncorrectInstanceState".to_owned(),
            format!("The instance '{one}' is not in a state from which it can be stopped.")
        )
    );
    ec2.at(1);
    assert_eq!(ec2.state(&one), "running");
    assert_eq!(ec2.change("StartInstances", &one, ""), pair("running", "running"));
    assert_eq!(
        ec2.change("StopInstances", &one, "&Force=true&SkipOsShutdown=true"),
        pair("running", "stopping")
    );
    assert_eq!(ec2.change("StopInstances", &one, ""), pair("stopping", "stopping"));
    assert_eq!(
        ec2.refusal("StartInstances", &format!("InstanceId.1={one}")).0,
        "IncorrectInstanceState"
    );
    ec2.at(2);
    assert_eq!(ec2.state(&one), "stopped");
    // The interface of a stopped instance stays attached, and its address its own.
    let held = format!("Filter.1.Name=attachment.instance-id&Filter.1.Value.1={one}");
    assert_eq!(
        ec2.get("DescribeNetworkInterfaces", &held, "networkInterfaceSet.0.status"),
        "in-use"
    );
    assert_eq!(ec2.change("StartInstances", &one, ""), pair("stopped", "pending"));
    ec2.at(3);
    assert_eq!(ec2.state(&one), "running");
    ec2.call("RebootInstances", &format!("InstanceId.1={one}")).unwrap();
    assert_eq!(ec2.state(&one), "running");
    // Never by way of `stopping`: the waiter takes that for a failure.
    assert_eq!(
        ec2.change("TerminateInstances", &one, ""),
        pair("running", "shutting-down")
    );
    ec2.at(4);
    assert_eq!(ec2.state(&one), "terminated");
    assert_eq!(
        count(
            &ec2.call("DescribeNetworkInterfaces", "").unwrap(),
            "networkInterfaceSet"
        ),
        0
    );
    assert_eq!(
        ec2.change("TerminateInstances", &one, ""),
        pair("terminated", "terminated")
    );
    ec2.call("DeleteSubnet", &format!("SubnetId={subnet}")).unwrap();
    ec2.at(3600);
    assert_eq!(ec2.state(&one), "terminated");
    ec2.at(3605);
    assert_eq!(
        ec2.refusal("DescribeInstances", &format!("InstanceId.1={one}")),
        (
            "InvalidInstanceID.NotFound".to_owned(),
            format!("The instance ID '{one}' does not exist")
        )
    );
}

#[test]
fn what_is_launched_together_has_one_reservation_and_is_launched_once() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (_, subnet) = ec2.network();
    let form = format!(
        "ImageId=ami-0123456789abcdef0&MinCount=2&MaxCount=3&SubnetId={subnet}&ClientToken=t&InstanceType=t3.small\
         &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=Name&TagSpecification.1.Tag.1.Value=web"
    );
    let first = ec2.call("RunInstances", &form).unwrap();
    assert_eq!(count(&first, "instancesSet"), 3);
    let again = ec2.call("RunInstances", &form).unwrap();
    assert_eq!(text(&again, "reservationId"), text(&first, "reservationId"));
    let listed = ec2
        .call("DescribeInstances", "Filter.1.Name=tag%3AName&Filter.1.Value.1=web")
        .unwrap();
    assert_eq!(count(&listed, "reservationSet"), 1);
    let indexes: Vec<_> = (0..3)
        .map(|at| text(&listed, &format!("reservationSet.0.instancesSet.{at}.amiLaunchIndex")).unwrap())
        .collect();
    assert_eq!(indexes, ["0", "1", "2"]);
    // One that is too much, and none is launched.
    let taken =
        format!("ImageId=ami-0123456789abcdef0&MinCount=2&MaxCount=2&SubnetId={subnet}&PrivateIpAddress=10.0.1.77");
    assert_eq!(ec2.refusal("RunInstances", &taken).0, "InvalidIPAddress.InUse");
    assert_eq!(count(&ec2.call("DescribeInstances", "").unwrap(), "reservationSet"), 1);
}

#[test]
fn a_launch_takes_interfaces_options_and_user_data() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (_, subnet) = ec2.network();
    let existing = ec2.interface(&subnet);
    ec2.call("CreateKeyPair", "KeyName=k&KeyType=ed25519").unwrap();
    let form = format!(
        "ImageId=ami-0123456789abcdef0&MinCount=1&MaxCount=1&UserData=IyEvYmluL3No&KeyName=k\
         &NetworkInterface.1.DeviceIndex=0&NetworkInterface.1.NetworkInterfaceId={existing}\
         &NetworkInterface.2.DeviceIndex=1&NetworkInterface.2.SubnetId={subnet}&NetworkInterface.2.PrivateIpAddress=10.0.1.99\
         &MetadataOptions.HttpTokens=required&MetadataOptions.HttpPutResponseHopLimit=2&IamInstanceProfile.Name=failover\
         &DisableApiTermination=true"
    );
    let launched = ec2.call("RunInstances", &form).unwrap();
    let of = |path: &str| text(&launched, &format!("instancesSet.0.{path}")).unwrap();
    let one = of("instanceId");
    assert_eq!(of("keyName"), "k");
    assert_eq!(of("networkInterfaceSet.0.networkInterfaceId"), existing);
    assert_eq!(of("networkInterfaceSet.1.privateIpAddress"), "10.0.1.99");
    assert_eq!(of("metadataOptions.httpTokens"), "required");
    assert_eq!(
        of("iamInstanceProfile.arn"),
        "arn:aws:iam::123456789012:instance-profile/failover"
    );
    let attribute = |name: &str| format!("InstanceId={one}&Attribute={name}");
    assert_eq!(
        ec2.get("DescribeInstanceAttribute", &attribute("userData"), "userData.value"),
        "IyEvYmluL3No"
    );
    let terminate = format!("InstanceId.1={one}");
    assert_eq!(ec2.refusal("TerminateInstances", &terminate).0, "OperationNotPermitted");
    let two = format!("InstanceId={one}&SourceDestCheck.Value=false");
    assert_eq!(ec2.refusal("ModifyInstanceAttribute", &two).0, "InvalidInstanceID");
    let old = format!("InstanceId={one}&Attribute=disableApiTermination&Value=false");
    ec2.call("ModifyInstanceAttribute", &old).unwrap();
    let options = format!("InstanceId={one}&HttpTokens=optional");
    ec2.call("ModifyInstanceMetadataOptions", &options).unwrap();
    ec2.at(1);
    ec2.call("DescribeInstanceStatus", &terminate).unwrap();
    ec2.call("TerminateInstances", &terminate).unwrap();
    ec2.at(2);
    // The one that was there before is given back; the one that was made for it is gone.
    let left = ec2.call("DescribeNetworkInterfaces", "").unwrap();
    assert_eq!(count(&left, "networkInterfaceSet"), 1);
    assert_eq!(
        text(&left, "networkInterfaceSet.0.status").as_deref(),
        Some("available")
    );
    for (form, code) in [
        ("ImageId=ami-x", "InvalidAMIID.Malformed"),
        ("ImageId=ami-0123456789abcdef0&InstanceType=huge", "InvalidInstanceType"),
        ("ImageId=ami-0123456789abcdef0", "MissingInput"),
        (
            "ImageId=ami-0123456789abcdef0&UserData=%25",
            "InvalidUserData.Malformed",
        ),
        ("ImageId=ami-0123456789abcdef0&KernelId=aki-1", "UnsupportedOperation"),
        (
            "ImageId=ami-0123456789abcdef0&Monitoring.Enabled=true",
            "UnsupportedOperation",
        ),
    ] {
        let form = format!("MinCount=1&MaxCount=1&{form}");
        assert_eq!(ec2.refusal("RunInstances", &form).0, code, "{form}");
    }
    let other = format!("MinCount=1&MaxCount=1&ImageId=ami-0123456789abcdef0&SubnetId={subnet}&KeyName=other");
    assert_eq!(
        ec2.refusal("RunInstances", &other),
        (
            "InvalidKeyPair.NotFound".to_owned(),
            "The key pair 'other' does not exist".to_owned()
        )
    );
}

#[test]
fn attaching_and_detaching_take_as_long_as_they_are_said_to() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (_, subnet) = ec2.network();
    let (one, two) = (ec2.launch(&subnet, ""), ec2.launch(&subnet, ""));
    ec2.at(1);
    ec2.late_attachment(r#"{"attach": {"fixed": "3s"}, "detach": {"fixed": "3s"}}"#);
    let interface = ec2.interface(&subnet);
    let to = |instance: &str| format!("NetworkInterfaceId={interface}&InstanceId={instance}&DeviceIndex=1");
    let place = ec2.get("AttachNetworkInterface", &to(&one), "attachmentId");
    let status = || {
        let form = format!("NetworkInterfaceId.1={interface}");
        let answer = ec2.call("DescribeNetworkInterfaces", &form).unwrap();
        text(&answer, "networkInterfaceSet.0.attachment.status")
    };
    assert_eq!(status().as_deref(), Some("attaching"));
    ec2.at(4);
    assert_eq!(status().as_deref(), Some("attached"));
    ec2.call("DetachNetworkInterface", &format!("AttachmentId={place}"))
        .unwrap();
    assert_eq!(status().as_deref(), Some("detaching"));
    assert_eq!(
        ec2.refusal("AttachNetworkInterface", &to(&two)).0,
        "InvalidNetworkInterface.InUse"
    );
    let delete = format!("NetworkInterfaceId={interface}");
    assert_eq!(
        ec2.refusal("DeleteNetworkInterface", &delete).0,
        "InvalidParameterValue"
    );
    ec2.at(7);
    assert_eq!(status(), None);
    // One that hangs is ended by force, and by nothing else.
    ec2.late_attachment(r#"{"detach": "never"}"#);
    let place = ec2.get("AttachNetworkInterface", &to(&two), "attachmentId");
    ec2.at(10);
    assert_eq!(status().as_deref(), Some("attached"));
    ec2.call("DetachNetworkInterface", &format!("AttachmentId={place}"))
        .unwrap();
    ec2.at(2000);
    assert_eq!(status().as_deref(), Some("detaching"));
    ec2.call("DetachNetworkInterface", &format!("AttachmentId={place}&Force=true"))
        .unwrap();
    assert_eq!(status(), None);
    // The primary interface is for life.
    let form = format!("Filter.1.Name=attachment.instance-id&Filter.1.Value.1={one}");
    let primary = ec2.get(
        "DescribeNetworkInterfaces",
        &form,
        "networkInterfaceSet.0.attachment.attachmentId",
    );
    assert_eq!(
        ec2.refusal("DetachNetworkInterface", &format!("AttachmentId={primary}&Force=true"))
            .0,
        "OperationNotPermitted"
    );
    let keep = format!(
        "NetworkInterfaceId={}&Attachment.AttachmentId={primary}&Attachment.DeleteOnTermination=false",
        ec2.get(
            "DescribeNetworkInterfaces",
            &form,
            "networkInterfaceSet.0.networkInterfaceId"
        )
    );
    ec2.call("ModifyNetworkInterfaceAttribute", &keep).unwrap();
    assert_eq!(
        ec2.get(
            "DescribeNetworkInterfaces",
            &form,
            "networkInterfaceSet.0.attachment.deleteOnTermination"
        ),
        "false"
    );
    assert_eq!(
        ec2.refusal(
            "AttachNetworkInterface",
            &to(&one).replace("DeviceIndex=1", "DeviceIndex=0")
        )
        .0,
        "InvalidParameterValue"
    );
}

#[test]
fn what_clients_ask_before_a_launch_is_answered() {
    let ec2 = Endpoint::new();
    let types = "InstanceType.1=t3.micro&InstanceType.2=m5.large";
    let answer = ec2.call("DescribeInstanceTypes", types).unwrap();
    assert_eq!(count(&answer, "instanceTypeSet"), 2);
    assert_eq!(
        ec2.refusal("DescribeInstanceTypes", "InstanceType.1=t3.huge").0,
        "InvalidInstanceType"
    );
    let large = "Filter.1.Name=network-info.maximum-network-interfaces&Filter.1.Value.1=8";
    assert!(count(&ec2.call("DescribeInstanceTypes", large).unwrap(), "instanceTypeSet") > 5);
    ec2.call(
        "DescribeInstanceTypeOfferings",
        "LocationType=availability-zone&MaxResults=10",
    )
    .unwrap();
    assert_eq!(count(&ec2.call("DescribeImages", "").unwrap(), "imagesSet"), 1);
    let asked = "ImageId.1=ami-0123456789abcdef0";
    assert_eq!(
        ec2.get("DescribeImages", asked, "imagesSet.0.imageId"),
        "ami-0123456789abcdef0"
    );
    assert_eq!(count(&ec2.call("DescribeVolumes", "").unwrap(), "volumeSet"), 0);
    assert_eq!(count(&ec2.call("DescribeKeyPairs", "").unwrap(), "keySet"), 0);
    ec2.call("DescribeInstanceCreditSpecifications", "").unwrap();
    let (_, subnet) = ec2.network();
    let form = format!(
        "NetworkInterfaceId={}&Attribute=sourceDestCheck",
        ec2.interface(&subnet)
    );
    assert_eq!(
        ec2.get("DescribeNetworkInterfaceAttribute", &form, "sourceDestCheck.value"),
        "true"
    );
}

#[test]
fn an_instance_without_tags_has_no_element_for_them() {
    let ec2 = Endpoint::new();
    ec2.at(0);
    let (_, subnet) = ec2.network();
    let one = ec2.launch(&subnet, "");
    let tags = || {
        let answer = ec2.call("DescribeInstances", "").unwrap();
        let reservation = answer.get("reservationSet").unwrap().items()[0].clone();
        reservation.get("instancesSet").unwrap().items()[0]
            .get("tagSet")
            .cloned()
    };
    assert_eq!(tags(), Some(Node::Absent));
    ec2.call("CreateTags", &format!("ResourceId.1={one}&Tag.1.Key=k&Tag.1.Value=v"))
        .unwrap();
    assert_eq!(tags().map(|tags| tags.items().len()), Some(1));
}
