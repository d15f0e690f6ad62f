//! The actions that read and change single attributes of instances.

use data_encoding::BASE64;
use serde::Deserialize;

use super::ids::{id, reference, references};
use super::instances::{instance, metadata_options, only_interface, state, state_of};
use super::launch::{MetadataOptions, user_data};
use crate::api::ec2::action::{Action, Answer, Attribute, Filter, done};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::instance::ModifyInstance;
use crate::model::instance::life::InstanceState;
use crate::model::instance::metadata::MetadataChange;
use crate::model::interface::ModifyInterface;
use crate::model::{Instance, InstanceId};

/// Where filters look that are not called as their element is.
const PLACES: &[Place] = &[
    ("instance-state-code", "instanceState.code"),
    ("instance-state-name", "instanceState.name"),
    ("instance-status.status", "instanceStatus.status"),
    ("instance-status.reachability", "instanceStatus.details.status"),
    ("system-status.status", "systemStatus.status"),
    ("system-status.reachability", "systemStatus.details.status"),
];

/// The `InstanceStatusSummary` of EC2's answers: what runs is well, and of what does not run nothing is said.
fn summary(is: InstanceState) -> Node {
    let (status, passed) = match is {
        InstanceState::Running => ("ok", Some("passed")),
        InstanceState::Pending => ("initializing", Some("initializing")),
        _ => ("not-applicable", None),
    };
    let details =
        passed.map(|passed| Node::map([("name", Node::text("reachability")), ("status", Node::text(passed))]));
    Node::map([("status", Node::text(status)), ("details", Node::list(details))])
}

fn status(call: &Call<'_>, one: &Instance) -> Node {
    let is = state_of(call, one);
    let rendered = instance(call, one);
    let zone = rendered
        .get("placement")
        .and_then(|placement| placement.get("availabilityZone"));
    Node::map([
        ("instanceId", Node::text(one.id)),
        ("availabilityZone", zone.cloned().unwrap_or(Node::Absent)),
        ("instanceState", state(is)),
        ("systemStatus", summary(is)),
        ("instanceStatus", summary(is)),
    ])
}

/// Says how instances are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstanceStatus {
    #[serde(default)]
    instance_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
    include_all_instances: Option<bool>,
}

impl Action for DescribeInstanceStatus {
    const NAME: &'static str = "DescribeInstanceStatus";
    const HELP: &'static str = "Says how instances are: those that run, or all of them with IncludeAllInstances";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        super::life::ids(call, &self.instance_id)?;
        let mut all = call.controller().instances();
        if self.include_all_instances != Some(true) {
            all.retain(|one| state_of(call, one) == InstanceState::Running);
        }
        let selection = Selection {
            ids: Some(("InstanceIds", &self.instance_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let page = selection.of(call, all.iter().map(|one| status(call, one)), "instanceId", PLACES)?;
        Ok(vec![
            ("instanceStatusSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Says one attribute of an instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstanceAttribute {
    instance_id: String,
    attribute: String,
}

impl Action for DescribeInstanceAttribute {
    const NAME: &'static str = "DescribeInstanceAttribute";
    const HELP: &'static str = "Says one attribute of an instance";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let found = call.controller().instance(&reference(&self.instance_id)?)?;
        let value = |value: Node| Node::map([("value", value)]);
        let flag = |on: bool| value(Node::text(on));
        let (element, node) = match self.attribute.as_str() {
            "instanceType" => ("instanceType", value(Node::text(&found.metadata.instance_type))),
            "userData" => {
                let data = found.metadata.user_data.as_ref();
                let encoded = data.map(|data| value(Node::Text(BASE64.encode(data.as_bytes()))));
                ("userData", encoded.unwrap_or_else(|| Node::Map(Vec::new())))
            }
            "disableApiTermination" => ("disableApiTermination", flag(found.protected)),
            "disableApiStop" => ("disableApiStop", flag(false)),
            "ebsOptimized" => ("ebsOptimized", flag(false)),
            "enaSupport" => ("enaSupport", flag(true)),
            "enclaveOptions" => ("enclaveOptions", Node::map([("enabled", Node::text(false))])),
            "instanceInitiatedShutdownBehavior" => ("instanceInitiatedShutdownBehavior", value(Node::text("stop"))),
            "rootDeviceName" => ("rootDeviceName", value(Node::text("/dev/xvda"))),
            "blockDeviceMapping" => ("blockDeviceMapping", Node::List(Vec::new())),
            "productCodes" => ("productCodes", Node::List(Vec::new())),
            "kernel" => ("kernel", Node::Map(Vec::new())),
            "ramdisk" => ("ramdisk", Node::Map(Vec::new())),
            "sriovNetSupport" => ("sriovNetSupport", Node::Map(Vec::new())),
            "sourceDestCheck" => {
                let interface = only_interface(call, found.id)?;
                let check = call.controller().interface(&interface.into())?.source_dest_check;
                ("sourceDestCheck", flag(check))
            }
            "groupSet" => {
                let rendered = instance(call, &found);
                ("groupSet", rendered.get("groupSet").cloned().unwrap_or(Node::Absent))
            }
            other => {
                return Err(Ec2Error::invalid_value(format!(
                    "Value ({}) for parameter attribute is invalid. Unknown attribute.",
                    printed(other)
                )));
            }
        };
        Ok(vec![("instanceId", Node::text(found.id)), (element, node)])
    }
}

/// How instances of a burstable type are credited unless a launch says otherwise: T2 standard, its successors unlimited
/// (EC2 User Guide, "Unlimited mode for burstable performance instances").
pub(super) fn credits_of(instance_type: &str) -> &'static str {
    if instance_type.starts_with("t2.") {
        "standard"
    } else {
        "unlimited"
    }
}

/// Says how instances of a burstable type are credited.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeInstanceCreditSpecifications {
    #[serde(default)]
    instance_id: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeInstanceCreditSpecifications {
    const NAME: &'static str = "DescribeInstanceCreditSpecifications";
    const HELP: &'static str = "Says how instances of a burstable type are credited";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        for given in &self.instance_id {
            call.controller().instance(&reference(given)?)?;
        }
        let all = call.controller().instances();
        let burstable = all.iter().filter(|one| one.metadata.instance_type.starts_with('t'));
        let items = burstable.map(|one| {
            Node::map([
                ("instanceId", Node::text(one.id)),
                ("cpuCredits", Node::text(credits_of(&one.metadata.instance_type))),
            ])
        });
        let selection = Selection {
            ids: Some(("InstanceIds", &self.instance_id)),
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
        };
        let page = selection.of(call, items, "instanceId", &[])?;
        Ok(vec![
            ("instanceCreditSpecificationSet", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Changes one attribute of an instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyInstanceAttribute {
    instance_id: String,
    attribute: Option<String>,
    value: Option<String>,
    source_dest_check: Option<Attribute<bool>>,
    disable_api_termination: Option<Attribute<bool>>,
    instance_type: Option<Attribute<String>>,
    user_data: Option<Attribute<String>>,
    #[serde(default)]
    group_id: Vec<String>,
}

impl ModifyInstanceAttribute {
    /// The old form names the attribute in addition to its value.
    fn in_the_new_form(mut self) -> Result<Self, Ec2Error> {
        let Some(attribute) = self.attribute.take() else {
            return Ok(self);
        };
        let value = self.value.take().ok_or_else(|| Ec2Error::missing("Value"))?;
        let flag = || match value.as_str() {
            "true" => Ok(Some(Attribute { value: true })),
            "false" => Ok(Some(Attribute { value: false })),
            other => Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter value is invalid. It takes true or false.",
                printed(other)
            ))),
        };
        match attribute.as_str() {
            "sourceDestCheck" => self.source_dest_check = flag()?,
            "disableApiTermination" => self.disable_api_termination = flag()?,
            "instanceType" => self.instance_type = Some(Attribute { value }),
            "userData" => self.user_data = Some(Attribute { value }),
            other => return Err(Ec2Error::unsupported(&format!("Attribute {}", printed(other)))),
        }
        Ok(self)
    }
}

impl Action for ModifyInstanceAttribute {
    const NAME: &'static str = "ModifyInstanceAttribute";
    const HELP: &'static str = "Changes one attribute of an instance: its check, its security groups, its type or user data while it is stopped, whether it may be terminated";

    fn run(self, call: &Call<'_>) -> Answer {
        let this = self.in_the_new_form()?;
        let instance: InstanceId = id(&this.instance_id)?;
        let found = call.controller().instance(&instance.into())?;
        let given = [
            this.source_dest_check.is_some(),
            this.disable_api_termination.is_some(),
            this.instance_type.is_some(),
            this.user_data.is_some(),
            !this.group_id.is_empty(),
        ];
        match given.iter().filter(|given| **given).count() {
            0 => return Err(Ec2Error::combination("No attributes specified.")),
            1 => {}
            _ => return Err(Ec2Error::combination("Fields for multiple attribute types specified")),
        }
        if let Some(check) = this.source_dest_check {
            let interface = only_interface(call, instance)?;
            call.execute(ModifyInterface {
                source_dest_check: Some(check.value),
                ..ModifyInterface::new(interface)
            })?;
            return done();
        }
        if !this.group_id.is_empty() {
            let interface = only_interface(call, instance)?;
            call.execute(ModifyInterface {
                groups: Some(references(&this.group_id)?),
                ..ModifyInterface::new(interface)
            })?;
            return done();
        }
        if let Some(protected) = this.disable_api_termination {
            call.controller().protect_instance(instance, protected.value)?;
            return done();
        }
        if state_of(call, &found) != InstanceState::Stopped {
            return Err(Ec2Error::new(
                "IncorrectInstanceState",
                format!("The instance '{instance}' is not in the 'stopped' state."),
            ));
        }
        let mut metadata = MetadataChange::default();
        if let Some(kind) = this.instance_type {
            super::instance_types::check(&kind.value)?;
            metadata.instance_type = Some(kind.value);
        }
        if let Some(data) = this.user_data {
            metadata.user_data = Some(user_data(&data.value)?);
        }
        call.execute(ModifyInstance {
            metadata,
            ..ModifyInstance::new(instance)
        })?;
        done()
    }
}

/// Changes the metadata options of an instance.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyInstanceMetadataOptions {
    instance_id: String,
    http_tokens: Option<String>,
    http_put_response_hop_limit: Option<i64>,
    http_endpoint: Option<String>,
    http_protocol_ipv6: Option<String>,
    instance_metadata_tags: Option<String>,
}

impl Action for ModifyInstanceMetadataOptions {
    const NAME: &'static str = "ModifyInstanceMetadataOptions";
    const HELP: &'static str = "Changes what an instance finds at its metadata service, and by which version";

    fn run(self, call: &Call<'_>) -> Answer {
        let options = MetadataOptions {
            http_tokens: self.http_tokens,
            http_put_response_hop_limit: self.http_put_response_hop_limit,
            http_endpoint: self.http_endpoint,
            http_protocol_ipv6: self.http_protocol_ipv6,
            instance_metadata_tags: self.instance_metadata_tags,
        };
        let changed = call.execute(ModifyInstance {
            metadata: options.change()?,
            ..ModifyInstance::new(reference(&self.instance_id)?)
        })?;
        Ok(vec![
            ("instanceId", Node::text(changed.id)),
            ("instanceMetadataOptions", metadata_options(&changed.metadata)),
        ])
    }
}
