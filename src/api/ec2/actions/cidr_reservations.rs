//! The actions on reserved parts of subnets.

use ipnet::IpNet;
use serde::Deserialize;

use super::ids::{id, reference};
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::SubnetId;
use crate::model::subnet::reservation::{ReleaseCidr, Reservation, ReservationKind, ReserveCidr};

const PLACES: &[Place] = &[("reservationType", "reservationType")];

/// The `SubnetCidrReservation` of EC2's answers.
fn reservation(subnet: SubnetId, reservation: &Reservation) -> Node {
    let description = Some(&reservation.description).filter(|text| !text.is_empty());
    Node::map([
        ("subnetCidrReservationId", Node::text(reservation.id)),
        ("subnetId", Node::text(subnet)),
        ("cidr", Node::text(reservation.cidr)),
        ("reservationType", Node::text(reservation.kind.name())),
        ("ownerId", Node::text(ACCOUNT)),
        ("description", Node::maybe(description)),
        ("tagSet", tag_set(None, &reservation.tags)),
    ])
}

/// Reserves a part of a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateSubnetCidrReservation {
    subnet_id: String,
    cidr: String,
    reservation_type: String,
    description: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
}

impl Action for CreateSubnetCidrReservation {
    const NAME: &'static str = "CreateSubnetCidrReservation";
    const HELP: &'static str = "Keeps a part of a subnet out of what is drawn for interfaces, or for prefixes alone";

    fn run(self, call: &Call<'_>) -> Answer {
        let kind = ReservationKind::from_name(&self.reservation_type).ok_or_else(|| {
            let given = printed(&self.reservation_type);
            Ec2Error::invalid_value(format!(
                "Value ({given}) for parameter ReservationType is invalid. Use prefix or explicit."
            ))
        })?;
        let cidr: IpNet = self.cidr.parse().map_err(|_| {
            let given = printed(&self.cidr);
            Ec2Error::invalid_value(format!(
                "Value ({given}) for parameter Cidr is invalid. This is not a valid CIDR block."
            ))
        })?;
        let subnet = call.controller().subnet(&reference(&self.subnet_id)?)?.id;
        let made = call.execute(ReserveCidr {
            subnet: subnet.into(),
            cidr,
            kind,
            description: self.description.unwrap_or_default(),
            tags: Given::of(&self.tag_specification, "subnet-cidr-reservation")?.tags,
        })?;
        Ok(vec![("subnetCidrReservation", reservation(subnet, &made))])
    }
}

/// Ends a reservation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteSubnetCidrReservation {
    subnet_cidr_reservation_id: String,
}

impl Action for DeleteSubnetCidrReservation {
    const NAME: &'static str = "DeleteSubnetCidrReservation";
    const HELP: &'static str = "Ends the reservation of a part of a subnet";

    fn run(self, call: &Call<'_>) -> Answer {
        let (subnet, released) = call.execute(ReleaseCidr(id(&self.subnet_cidr_reservation_id)?))?;
        Ok(vec![("deletedSubnetCidrReservation", reservation(subnet, &released))])
    }
}

/// Lists the reserved parts of a subnet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetSubnetCidrReservations {
    subnet_id: String,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for GetSubnetCidrReservations {
    const NAME: &'static str = "GetSubnetCidrReservations";
    const HELP: &'static str = "Lists the reserved parts of a subnet, in the order in which they were reserved";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let subnet = call.controller().subnet(&reference(&self.subnet_id)?)?;
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let all = subnet.reservations.iter().map(|one| reservation(subnet.id, one));
        let page = selection.of(call, all, "subnetCidrReservationId", PLACES)?;
        let is_ipv6 = |node: &Node| {
            node.get("cidr")
                .and_then(Node::as_text)
                .is_some_and(|cidr| cidr.contains(':'))
        };
        let (ipv6, ipv4): (Vec<Node>, Vec<Node>) = page.items.into_iter().partition(is_ipv6);
        Ok(vec![
            ("subnetIpv4CidrReservationSet", Node::List(ipv4)),
            ("subnetIpv6CidrReservationSet", Node::List(ipv6)),
            ("nextToken", page.next),
        ])
    }
}
