//! Tests reserved parts of subnets by their actions.

use super::*;

#[test]
fn parts_of_a_subnet_are_reserved_listed_by_family_and_released() {
    let ec2 = Endpoint::new();
    let (_, subnet) = ec2.network();
    let reserve = |cidr: &str, kind: &str| format!("SubnetId={subnet}&Cidr={cidr}&ReservationType={kind}");
    let made = ec2
        .call(
            "CreateSubnetCidrReservation",
            &(reserve("10.0.1.16/28", "prefix") + "&Description=pods"),
        )
        .unwrap();
    let of = |path: &str| text(&made, &format!("subnetCidrReservation.{path}")).unwrap();
    assert_eq!(
        (of("cidr"), of("reservationType"), of("description")),
        ("10.0.1.16/28".into(), "prefix".into(), "pods".into())
    );
    ec2.call("CreateSubnetCidrReservation", &reserve("10.0.1.4/31", "explicit"))
        .unwrap();
    for (cidr, kind, message) in [
        (
            "10.1.0.0/31",
            "prefix",
            "Reservation CIDR should be within subnet CIDR block (10.0.1.0/24)",
        ),
        (
            "10.0.1.18/31",
            "prefix",
            "Reservation CIDR 10.0.1.18/31 has overlap with existing reserved CIDR block",
        ),
        (
            "x",
            "prefix",
            "Value (x) for parameter Cidr is invalid. This is not a valid CIDR block.",
        ),
        (
            "10.0.1.64/31",
            "x",
            "Value (x) for parameter ReservationType is invalid. Use prefix or explicit.",
        ),
    ] {
        let refused = ec2.refusal("CreateSubnetCidrReservation", &reserve(cidr, kind));
        assert_eq!(refused, ("InvalidParameterValue".to_owned(), message.to_owned()));
    }
    ec2.call(
        "CreateTags",
        &format!(
            "ResourceId.1={}&Tag.1.Key=k&Tag.1.Value=v",
            of("subnetCidrReservationId")
        ),
    )
    .unwrap();
    let listed = |filter: &str| {
        let answer = ec2
            .call("GetSubnetCidrReservations", &format!("SubnetId={subnet}{filter}"))
            .unwrap();
        (
            count(&answer, "subnetIpv4CidrReservationSet"),
            count(&answer, "subnetIpv6CidrReservationSet"),
        )
    };
    assert_eq!(listed(""), (2, 0));
    assert_eq!(
        listed("&Filter.1.Name=reservationType&Filter.1.Value.1=explicit"),
        (1, 0)
    );
    assert_eq!(listed("&Filter.1.Name=tag%3Ak&Filter.1.Value.1=v"), (1, 0));
    let interface = ec2.interface(&subnet);
    let form = format!("NetworkInterfaceId={interface}&Ipv4PrefixCount=1");
    let prefix = ec2.get("AssignPrivateIpAddresses", &form, "assignedIpv4PrefixSet.0.ipv4Prefix");
    assert_eq!(prefix, "10.0.1.16/28");
    let release = format!("SubnetCidrReservationId={}", of("subnetCidrReservationId"));
    ec2.call("DeleteSubnetCidrReservation", &release).unwrap();
    assert_eq!(
        ec2.refusal("DeleteSubnetCidrReservation", &release).0,
        "InvalidSubnetCidrReservationID.NotFound"
    );
}
