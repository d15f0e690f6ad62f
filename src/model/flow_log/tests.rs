//! Laws of flow logs, each as a sentence.

use std::time::UNIX_EPOCH;

use super::*;
use crate::model::error::ModelError;
use crate::model::interface::DeleteInterface;
use crate::model::limits::Limits;
use crate::model::network::tests::World;
use crate::model::{outside, vpc};

fn create(resource: FlowLogResourceRef) -> CreateFlowLog {
    CreateFlowLog {
        name: None,
        resource,
        traffic: TrafficType::All,
        destination: Destination::Memory,
        format: None,
        interval: None,
        at: UNIX_EPOCH,
        tags: Tags::new(),
    }
}

#[test]
fn a_format_is_the_fields_of_aws_between_braces() {
    let format: LogFormat = DEFAULT_FORMAT.parse().unwrap();
    assert_eq!(format, LogFormat::default());
    assert_eq!((format.fields().len(), format.version()), (14, 2));
    // Firewall facts: "the 42 fields of AWS flow log version 10 in this order".
    let full = LogFormat::full();
    assert_eq!((full.fields().len(), full.version()), (42, 10));
    assert!(full.to_string().starts_with("${version} ${account-id} ${interface-id}"));
    assert!(
        full.to_string()
            .ends_with("${reject-reason} ${resource-id} ${encryption-status}")
    );
    for (text, code) in [
        ("", "The log format has no field"),
        ("srcaddr", "The log format 'srcaddr' is not a field such as ${srcaddr}"),
        ("${srcaddr},${dstaddr}", "Unknown fields provided: srcaddr},${dstaddr"),
        ("${tgw-id}", "Unknown fields provided: tgw-id"),
    ] {
        assert_eq!(text.parse::<LogFormat>().unwrap_err().to_string(), code);
    }
}

#[test]
fn the_version_of_records_is_the_highest_of_their_fields() {
    for (text, version) in [
        ("${srcaddr}", 2),
        ("${srcaddr} ${vpc-id}", 3),
        ("${flow-direction} ${srcaddr} ${az-id}", 5),
        ("${reject-reason}", 8),
    ] {
        assert_eq!(text.parse::<LogFormat>().unwrap().version(), version, "{text}");
    }
}

#[test]
fn a_flow_log_goes_with_its_resource() {
    let (mut world, subnet, a, _) = World::pair();
    world.execute(create(FlowLogResourceRef::Interface(a.into()))).unwrap();
    world
        .execute(create(FlowLogResourceRef::Subnet(subnet.into())))
        .unwrap();
    assert_eq!(world.network.flow_logs().count(), 2);
    world.execute(DeleteInterface(a.into())).unwrap();
    let left: Vec<_> = world.network.flow_logs().map(|log| log.resource).collect();
    assert_eq!(left, [FlowLogResource::Subnet(subnet)]);
}

#[test]
fn two_flow_logs_of_one_kind_do_not_share_a_destination() {
    let (mut world, _, a, b) = World::pair();
    let to_stdout = |interface: InterfaceId| CreateFlowLog {
        destination: Destination::Stdout,
        ..create(FlowLogResourceRef::Interface(interface.into()))
    };
    let first = world.execute(to_stdout(a)).unwrap();
    let error = world.execute(to_stdout(a)).unwrap_err();
    assert_eq!(error.code(), "FlowLogAlreadyExists");
    assert!(error.to_string().contains(&first.id.to_string()), "{error}");
    world.execute(to_stdout(b)).unwrap();
    for _ in 0..2 {
        world.execute(create(FlowLogResourceRef::Interface(a.into()))).unwrap();
    }
}

#[test]
fn a_resource_has_two_flow_logs_under_the_quotas_of_aws() {
    let mut world = World::with_limits(Limits::AWS_DEFAULT);
    let vpc = world.vpc(&["10.0.0.0/16"], &[]).unwrap();
    for _ in 0..2 {
        world.execute(create(FlowLogResourceRef::Vpc(vpc.into()))).unwrap();
    }
    let error = world.execute(create(FlowLogResourceRef::Vpc(vpc.into()))).unwrap_err();
    assert_eq!(error.code(), "FlowLogsLimitExceeded");
    world.execute(vpc::DeleteVpc(vpc.into())).unwrap();
    assert_eq!(world.network.flow_logs().count(), 0);
}

#[test]
fn what_cannot_be_logged_is_refused_with_its_field() {
    let (mut world, _, a, _) = World::pair();
    let file = |name: &str| CreateFlowLog {
        destination: Destination::File(name.to_owned()),
        ..create(FlowLogResourceRef::Interface(a.into()))
    };
    for name in ["", "../etc/passwd", "/tmp/x", ".hidden", "a b"] {
        let error = world.execute(file(name)).unwrap_err();
        assert_eq!(
            (error.code(), error.field()),
            ("InvalidParameterValue", Some("destination")),
            "{name}"
        );
    }
    world.execute(file("flows.log")).unwrap();
    let outside = create(FlowLogResourceRef::Vpc(outside::VPC.into()));
    let error: ModelError = world.execute(outside).unwrap_err();
    assert_eq!(error.code(), "InvalidVpcID.NotFound");
}
