//! The actions that attach and detach network interfaces. Both answer at once; the device comes and goes when it is time.

use serde::Deserialize;

use super::ids::{id, reference};
use super::instances::{attachment, attachment_id, state_of};
use crate::api::ec2::action::{Action, Answer, done};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::instance::life::InstanceState;
use crate::model::interface::ModifyInterface;
use crate::model::{Attachment, InstanceId, InterfaceId, ModelError, NetworkInterface};
use crate::model::{InstanceError, InterfaceError};

/// The most interfaces of an instance, as the lab has it.
const MOST: i64 = 15;

/// Attaches a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct AttachNetworkInterface {
    network_interface_id: String,
    instance_id: String,
    device_index: i64,
    network_card_index: Option<i64>,
}

impl Action for AttachNetworkInterface {
    const NAME: &'static str = "AttachNetworkInterface";
    const HELP: &'static str =
        "Attaches a network interface to an instance of its zone: the device appears there, down";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.network_card_index.is_some_and(|index| index != 0) {
            return Err(Ec2Error::unsupported("NetworkCardIndex"));
        }
        let controller = call.controller();
        let interface = controller.interface(&id::<InterfaceId>(&self.network_interface_id)?.into())?;
        let instance = controller.instance(&id::<InstanceId>(&self.instance_id)?.into())?;
        let index = u32::try_from(self.device_index)
            .ok()
            .filter(|_| self.device_index < MOST);
        let index = index.ok_or_else(|| {
            Ec2Error::invalid_value(format!(
                "Value ({}) for parameter deviceIndex is invalid. Give 0 to {}.",
                self.device_index,
                MOST - 1
            ))
        })?;
        if interface.attachment.is_some() {
            return Err(ModelError::Interface(InterfaceError::InUse {
                interface: interface.id,
            })
            .into());
        }
        if !matches!(
            state_of(call, &instance),
            InstanceState::Running | InstanceState::Stopped | InstanceState::Pending
        ) {
            return Err(ModelError::Instance(InstanceError::Unavailable { instance: instance.id }).into());
        }
        same_zone(call, &interface, instance.primary_interface_id)?;
        let attached = controller.begin_attachment(interface.id, Attachment::new(instance.id, index))?;
        let place = attached.attachment;
        Ok(vec![
            (
                "attachmentId",
                Node::maybe(place.map(|place| attachment_id(attached.id, place.instance_id))),
            ),
            ("networkCardIndex", Node::text(0)),
        ])
    }
}

/// An interface and the instance that it is attached to are in one zone (EC2 guide, "Elastic network interfaces").
fn same_zone(call: &Call<'_>, interface: &NetworkInterface, primary: InterfaceId) -> Result<(), Ec2Error> {
    let controller = call.controller();
    let zone =
        |subnet: crate::model::SubnetId| controller.subnet(&subnet.into()).map(|subnet| subnet.availability_zone);
    let primary = controller.interface(&primary.into())?;
    let (own, of_instance) = (zone(interface.subnet_id)?, zone(primary.subnet_id)?);
    if own == of_instance {
        return Ok(());
    }
    Err(Ec2Error::combination(format!(
        "You may not attach a network interface to an instance if they are not in the same availability zone: {own} and \
         {of_instance}"
    )))
}

/// Detaches a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DetachNetworkInterface {
    attachment_id: String,
    force: Option<bool>,
}

impl Action for DetachNetworkInterface {
    const NAME: &'static str = "DetachNetworkInterface";
    const HELP: &'static str =
        "Detaches a network interface from its instance; with Force at once, and where detaching hangs";

    fn run(self, call: &Call<'_>) -> Answer {
        let interface = by_attachment(call, &self.attachment_id)?;
        if interface.attachment.is_some_and(|place| place.device_index == 0) {
            return Err(Ec2Error::new(
                "OperationNotPermitted",
                "The network interface at device index 0 and networkCard index 0 cannot be detached.",
            ));
        }
        call.controller()
            .begin_detachment(&interface.id.into(), self.force == Some(true))?;
        done()
    }
}

/// The interface of an attachment.
pub(super) fn by_attachment(call: &Call<'_>, given: &str) -> Result<NetworkInterface, Ec2Error> {
    if !given.starts_with("eni-attach-") {
        return Err(Ec2Error::new(
            "InvalidAttachmentID.Malformed",
            format!("Invalid id: \"{}\" (expecting \"eni-attach-...\")", printed(given)),
        ));
    }
    let has = |interface: &NetworkInterface| {
        let place = interface.attachment;
        place.is_some_and(|place| attachment_id(interface.id, place.instance_id) == given)
    };
    let found = call.controller().interfaces(None, 1, has).pop();
    found.ok_or_else(|| {
        Ec2Error::new(
            "InvalidAttachmentID.NotFound",
            format!("The networkInterface attachment ID '{}' does not exist", printed(given)),
        )
    })
}

/// Says one attribute of a network interface.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeNetworkInterfaceAttribute {
    network_interface_id: String,
    attribute: Option<String>,
}

impl Action for DescribeNetworkInterfaceAttribute {
    const NAME: &'static str = "DescribeNetworkInterfaceAttribute";
    const HELP: &'static str = "Says one attribute of a network interface";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let interface = call.controller().interface(&reference(&self.network_interface_id)?)?;
        let value = |node: Node| Node::map([("value", node)]);
        let attribute = self.attribute.ok_or_else(|| Ec2Error::missing("Attribute"))?;
        let (element, node) = match attribute.as_str() {
            "description" => ("description", value(Node::text(&interface.description))),
            "sourceDestCheck" => ("sourceDestCheck", value(Node::text(interface.source_dest_check))),
            "attachment" => ("attachment", attachment(call, &interface)),
            "groupSet" => {
                let rendered = super::interfaces::interface(call, &interface);
                ("groupSet", rendered.get("groupSet").cloned().unwrap_or(Node::Absent))
            }
            "associatePublicIpAddress" => ("associatePublicIpAddress", Node::text(false)),
            other => {
                return Err(Ec2Error::invalid_value(format!(
                    "Value ({}) for parameter attribute is invalid. Unknown network interface attribute",
                    printed(other)
                )));
            }
        };
        Ok(vec![("networkInterfaceId", Node::text(interface.id)), (element, node)])
    }
}

/// Gives an attribute of a network interface the value that it had when the interface was made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ResetNetworkInterfaceAttribute {
    network_interface_id: String,
    /// EC2 takes any text here: that the parameter is there is what asks for the reset.
    source_dest_check: Option<String>,
}

impl Action for ResetNetworkInterfaceAttribute {
    const NAME: &'static str = "ResetNetworkInterfaceAttribute";
    const HELP: &'static str = "Checks sources and destinations of a network interface again";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.source_dest_check.is_none() {
            return Err(Ec2Error::missing("SourceDestCheck"));
        }
        call.execute(ModifyInterface {
            source_dest_check: Some(true),
            ..ModifyInterface::new(reference(&self.network_interface_id)?)
        })?;
        done()
    }
}
