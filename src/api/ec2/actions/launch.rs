//! RunInstances: instances with their interfaces, all of them or none.

use std::borrow::Cow;
use std::time::SystemTime;

use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ids::{id, reference, references};
use super::images::check_image;
use super::instance_attributes::credits_of;
use super::instance_types;
use super::instances::{instance, reservation};
use super::launch_templates::{TemplateSpecification, expanded};
use super::security_groups::by_name;
use super::tags::Given;
use super::wanted::{Ipv4PrefixGiven, Ipv6AddressGiven, Ipv6PrefixGiven, PrivateAddress, Wanted, gives_ipv6};
use crate::api::ec2::action::{Action, Answer, TagSpecification};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::state::Call;
use crate::model::ids::ResourceRef;
use crate::model::instance::life::{LaunchInstance, LaunchInstances, LaunchInterface, NewOrExisting};
use crate::model::instance::metadata::{HttpTokens, MetadataChange};
use crate::model::interface::{CreateInterface, SettingsChange};
use crate::model::naming::Tags;
use crate::model::{Instance, SecurityGroupId};

/// Instances that one request may launch. EC2 allows as many as the account may have; each is a host of this machine.
const MOST: i64 = 100;

/// Launches instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RunInstances {
    image_id: Option<String>,
    instance_type: Option<String>,
    min_count: i64,
    max_count: i64,
    key_name: Option<String>,
    subnet_id: Option<String>,
    #[serde(default)]
    security_group_id: Vec<String>,
    #[serde(default)]
    security_group: Vec<String>,
    private_ip_address: Option<String>,
    ipv6_address_count: Option<i64>,
    #[serde(default)]
    ipv6_address: Vec<Ipv6AddressGiven>,
    #[serde(default)]
    network_interface: Vec<InterfaceSpecification>,
    user_data: Option<String>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    metadata_options: Option<MetadataOptions>,
    iam_instance_profile: Option<Profile>,
    placement: Option<Placement>,
    monitoring: Option<Monitoring>,
    credit_specification: Option<Credits>,
    hibernation_options: Option<Hibernation>,
    enclave_options: Option<Enclave>,
    ebs_optimized: Option<bool>,
    disable_api_stop: Option<bool>,
    disable_api_termination: Option<bool>,
    launch_template: Option<TemplateSpecification>,
    instance_initiated_shutdown_behavior: Option<String>,
    client_token: Option<String>,
}

/// An interface to make with an instance, or to attach to it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct InterfaceSpecification {
    device_index: Option<i64>,
    network_interface_id: Option<String>,
    delete_on_termination: Option<bool>,
    description: Option<String>,
    subnet_id: Option<String>,
    #[serde(default)]
    security_group_id: Vec<String>,
    private_ip_address: Option<String>,
    #[serde(default)]
    private_ip_addresses: Vec<PrivateAddress>,
    secondary_private_ip_address_count: Option<i64>,
    ipv6_address_count: Option<i64>,
    #[serde(default)]
    ipv6_addresses: Vec<Ipv6AddressGiven>,
    ipv4_prefix_count: Option<i64>,
    #[serde(default)]
    ipv4_prefix: Vec<Ipv4PrefixGiven>,
    ipv6_prefix_count: Option<i64>,
    #[serde(default)]
    ipv6_prefix: Vec<Ipv6PrefixGiven>,
    associate_public_ip_address: Option<bool>,
    interface_type: Option<String>,
    network_card_index: Option<i64>,
    connection_tracking_specification: Option<super::interfaces::TrackingSpecification>,
}

/// The metadata options of a launch or of a change.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct MetadataOptions {
    pub(super) http_tokens: Option<String>,
    pub(super) http_put_response_hop_limit: Option<i64>,
    pub(super) http_endpoint: Option<String>,
    pub(super) http_protocol_ipv6: Option<String>,
    pub(super) instance_metadata_tags: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Profile {
    arn: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Placement {
    availability_zone: Option<String>,
    tenancy: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Monitoring {
    enabled: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Hibernation {
    configured: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Enclave {
    enabled: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Credits {
    /// Terraform says what is usual for the type where the configuration leaves it open.
    cpu_credits: Option<String>,
}

impl MetadataOptions {
    /// The options as a change of metadata; what is not named stays.
    pub(super) fn change(&self) -> Result<MetadataChange, Ec2Error> {
        let on = |given: &Option<String>, parameter: &str| match given.as_deref() {
            None => Ok(None),
            Some("enabled") => Ok(Some(true)),
            Some("disabled") => Ok(Some(false)),
            Some(other) => Err(wrong_value(other, parameter, "enabled or disabled")),
        };
        Ok(MetadataChange {
            enabled: on(&self.http_endpoint, "HttpEndpoint")?,
            http_tokens: match self.http_tokens.as_deref() {
                None => None,
                Some("optional") => Some(HttpTokens::Optional),
                Some("required") => Some(HttpTokens::Required),
                Some(other) => return Err(wrong_value(other, "HttpTokens", "optional or required")),
            },
            http_put_response_hop_limit: match self.http_put_response_hop_limit {
                None => None,
                Some(limit) => Some(
                    u8::try_from(limit)
                        .map_err(|_| wrong_value(&limit.to_string(), "HttpPutResponseHopLimit", "1 to 64"))?,
                ),
            },
            http_protocol_ipv6: on(&self.http_protocol_ipv6, "HttpProtocolIpv6")?,
            instance_tags: on(&self.instance_metadata_tags, "InstanceMetadataTags")?,
            ..MetadataChange::default()
        })
    }
}

fn wrong_value(given: &str, parameter: &str, use_instead: &str) -> Ec2Error {
    let given = printed(given);
    Ec2Error::invalid_value(format!(
        "Value ( {given} ) for parameter {parameter} is invalid. Use {use_instead}."
    ))
}

/// User data as they come: Base64 of a text. What is not text cannot be kept here.
pub(super) fn user_data(given: &str) -> Result<Option<String>, Ec2Error> {
    let compact: String = given.split_whitespace().collect();
    if compact.is_empty() {
        return Ok(None);
    }
    let wrong = |problem: &str| {
        Ec2Error::new(
            "InvalidUserData.Malformed",
            format!("Invalid BASE64 encoding of user data. {problem}"),
        )
    };
    let octets = BASE64
        .decode(compact.as_bytes())
        .map_err(|_| wrong("It cannot be decoded."))?;
    let text = String::from_utf8(octets);
    text.map(Some)
        .map_err(|_| Ec2Error::invalid_value("User data that are no text, such as compressed ones, are not supported by this server. Send them as they are."))
}

impl Action for RunInstances {
    const NAME: &'static str = "RunInstances";
    const HELP: &'static str =
        "Launches instances: hosts of the lab, with the interfaces that are named or made for them";

    fn expanded(tree: Map<String, Value>, call: &Call<'_>) -> Result<Map<String, Value>, Ec2Error> {
        expanded(tree, call)
    }

    fn run(self, call: &Call<'_>) -> Answer {
        self.refuse_without_effect()?;
        let image = self.image_id.as_deref().ok_or_else(|| Ec2Error::missing("ImageId"))?;
        check_image(image)?;
        let count = self.count()?;
        let kind = self.instance_type.as_deref().unwrap_or("m1.small");
        instance_types::check(kind)?;
        let (mut own, of_interfaces) = self.tags()?;
        if let Some(template) = &self.launch_template {
            // "Use launch templates", EC2 guide: AWS tags what was launched with one.
            own.tags.extend(template.tags());
        }
        let metadata = MetadataChange {
            instance_type: Some(kind.to_owned()),
            user_data: match self.user_data.as_deref() {
                Some(given) => Some(user_data(given)?),
                None => None,
            },
            iam_role: self.iam_instance_profile.as_ref().and_then(Profile::role).map(Some),
            ..self.metadata_options.clone().unwrap_or_default().change()?
        };
        let name = own.free_name(|name| call.controller().instance(&ResourceRef::new(name)).is_ok());
        let mut instances = Vec::with_capacity(count);
        for number in 0..count {
            instances.push(LaunchInstance {
                name: name.clone().filter(|_| number == 0),
                interfaces: self.interfaces(call, &of_interfaces.tags, count)?,
                metadata: metadata.clone(),
                tags: own.tags.clone(),
                image: image.to_owned(),
                key_name: self.key_name.clone(),
                client_token: self.client_token.clone(),
                protected: self.disable_api_termination == Some(true),
            });
        }
        let launched = call.controller().launch_instances(LaunchInstances {
            instances,
            at: SystemTime::now(),
        })?;
        let id = launched.first().map(Instance::reservation).unwrap_or_default();
        Ok(reservation(
            &id,
            launched.iter().map(|one| instance(call, one)).collect(),
        ))
    }
}

impl Profile {
    /// The role, which has the profile's name.
    fn role(&self) -> Option<String> {
        let of_arn = |arn: &String| arn.rsplit('/').next().map(str::to_owned);
        self.name.clone().or_else(|| self.arn.as_ref().and_then(of_arn))
    }
}

impl RunInstances {
    /// What may be said as it is anyway, and not otherwise.
    fn refuse_without_effect(&self) -> Result<(), Ec2Error> {
        let behavior = self.instance_initiated_shutdown_behavior.as_deref();
        let tenancy = self
            .placement
            .as_ref()
            .and_then(|placement| placement.tenancy.as_deref());
        let credits = self.credit_specification.as_ref();
        let credits = credits.and_then(|given| given.cpu_credits.as_deref());
        let usual = credits_of(self.instance_type.as_deref().unwrap_or_default());
        for (otherwise, parameter) in [
            (
                self.monitoring.as_ref().is_some_and(|given| given.enabled),
                "Monitoring.Enabled",
            ),
            (
                credits.is_some_and(|credits| ![usual, ""].contains(&credits)),
                "CreditSpecification.CpuCredits",
            ),
            (
                self.hibernation_options
                    .as_ref()
                    .is_some_and(|given| given.configured == Some(true)),
                "HibernationOptions.Configured",
            ),
            (
                self.enclave_options
                    .as_ref()
                    .is_some_and(|given| given.enabled == Some(true)),
                "EnclaveOptions.Enabled",
            ),
            (self.ebs_optimized == Some(true), "EbsOptimized"),
            (self.disable_api_stop == Some(true), "DisableApiStop"),
            (
                behavior.is_some_and(|behavior| behavior != "stop"),
                "InstanceInitiatedShutdownBehavior",
            ),
            (
                tenancy.is_some_and(|tenancy| !["", "default"].contains(&tenancy)),
                "Placement.Tenancy",
            ),
        ] {
            if otherwise {
                return Err(Ec2Error::unsupported(parameter));
            }
        }
        Ok(())
    }

    fn count(&self) -> Result<usize, Ec2Error> {
        if self.min_count < 1 {
            return Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter minCount is invalid. Minimum value is 1.",
                self.min_count
            )));
        }
        if self.max_count < self.min_count {
            return Err(Ec2Error::invalid_value(format!(
                "Value ({}) for parameter maxCount is invalid. It is at least minCount ({}).",
                self.max_count, self.min_count
            )));
        }
        if self.min_count > MOST {
            return Err(Ec2Error::new(
                "InstanceLimitExceeded",
                format!(
                    "You have requested more instances ({}) than one request launches here: {MOST}.",
                    self.min_count
                ),
            ));
        }
        Ok(usize::try_from(self.max_count.min(MOST)).unwrap_or(1))
    }

    /// The tags of the instances, and those of their interfaces.
    fn tags(&self) -> Result<(Given, Given), Ec2Error> {
        let of_kind = |kind: &'static str| {
            let specifications = self.tag_specification.iter();
            let fitting: Vec<TagSpecification> = specifications
                .filter(|specification| specification.resource_type.as_deref() == Some(kind))
                .cloned()
                .collect();
            Given::of(&fitting, kind)
        };
        let known = |kind: Option<&str>| matches!(kind, Some("instance" | "network-interface"));
        if let Some(other) = self
            .tag_specification
            .iter()
            .find(|one| !known(one.resource_type.as_deref()))
        {
            let kind = printed(other.resource_type.as_deref().unwrap_or_default());
            return Err(Ec2Error::unsupported(&format!(
                "TagSpecification with ResourceType {kind}"
            )));
        }
        Ok((of_kind("instance")?, of_kind("network-interface")?))
    }

    fn interfaces(&self, call: &Call<'_>, tags: &Tags, count: usize) -> Result<Vec<LaunchInterface>, Ec2Error> {
        if self.network_interface.is_empty() {
            let subnet = self.subnet(call, self.subnet_id.as_deref())?;
            let subnet = subnet.as_ref();
            self.check_zone(call, subnet)?;
            let wanted = Wanted {
                primary: self.private_ip_address.as_deref(),
                ipv6_count: self.ipv6_address_count,
                ipv6: &self.ipv6_address,
                ipv6_by_itself: gives_ipv6(call, subnet),
                ..Wanted::default()
            };
            let create = CreateInterface {
                addresses: wanted.addresses()?,
                groups: self.groups(call)?,
                tags: tags.clone(),
                ..CreateInterface::new(reference(subnet)?)
            };
            return Ok(vec![LaunchInterface {
                device_index: 0,
                interface: NewOrExisting::New(Box::new(create)),
                delete_on_termination: true,
            }]);
        }
        for (given, parameter) in [
            (self.subnet_id.is_some(), "subnet ID"),
            (!self.security_group_id.is_empty(), "security groups"),
            (!self.security_group.is_empty(), "security groups"),
            (self.private_ip_address.is_some(), "private IP address"),
            (self.ipv6_address_count.is_some(), "Ipv6AddressCount"),
            (!self.ipv6_address.is_empty(), "Ipv6Addresses"),
        ] {
            if given {
                return Err(Ec2Error::combination(format!(
                    "Network interfaces and an instance-level {parameter} may not be specified on the same request"
                )));
            }
        }
        let interfaces = self.network_interface.iter();
        interfaces.map(|one| self.interface(call, one, tags, count)).collect()
    }

    fn interface(
        &self,
        call: &Call<'_>,
        given: &InterfaceSpecification,
        tags: &Tags,
        count: usize,
    ) -> Result<LaunchInterface, Ec2Error> {
        for (otherwise, parameter) in [
            (
                given.network_card_index.is_some_and(|index| index != 0),
                "NetworkCardIndex",
            ),
            (
                given.interface_type.as_deref().is_some_and(|kind| kind != "interface"),
                "InterfaceType",
            ),
        ] {
            if otherwise {
                return Err(Ec2Error::unsupported(&format!("NetworkInterface.{parameter}")));
            }
        }
        let index = given
            .device_index
            .ok_or_else(|| Ec2Error::missing("NetworkInterface.DeviceIndex"))?;
        let device_index = u32::try_from(index)
            .ok()
            .filter(|index| *index < 15)
            .ok_or_else(|| wrong_value(&index.to_string(), "DeviceIndex", "0 to 14"))?;
        if given.associate_public_ip_address.is_some() {
            self.check_public(given, device_index)?;
        }
        let interface = match &given.network_interface_id {
            Some(_) if count > 1 => {
                return Err(Ec2Error::combination(
                    "Existing network interfaces may not be used with more than one instance",
                ));
            }
            Some(existing) => {
                let found = call.controller().interface(&reference(existing)?)?;
                self.check_zone(call, &found.subnet_id.to_string())?;
                NewOrExisting::Existing(found.id.into())
            }
            None => {
                let subnet = self.subnet(call, given.subnet_id.as_deref())?;
                let subnet = subnet.as_ref();
                self.check_zone(call, subnet)?;
                NewOrExisting::New(Box::new(CreateInterface {
                    addresses: given.wanted(gives_ipv6(call, subnet)).addresses()?,
                    groups: references(&given.security_group_id)?,
                    description: given.description.clone().unwrap_or_default(),
                    settings: SettingsChange {
                        public_address: given.associate_public_ip_address.map(Some),
                        tracking: given
                            .connection_tracking_specification
                            .as_ref()
                            .map(|specification| specification.change()),
                        ..SettingsChange::default()
                    },
                    tags: tags.clone(),
                    ..CreateInterface::new(reference(subnet)?)
                }))
            }
        };
        Ok(LaunchInterface {
            device_index,
            delete_on_termination: given
                .delete_on_termination
                .unwrap_or(given.network_interface_id.is_none()),
            interface,
        })
    }

    /// A public address is for the one interface of an instance, made by the launch (EC2 API, InstanceNetworkInterfaceSpecification).
    fn check_public(&self, given: &InterfaceSpecification, device_index: u32) -> Result<(), Ec2Error> {
        let refused = if self.network_interface.len() > 1 {
            "cannot be specified when launching with multiple network interfaces."
        } else if given.network_interface_id.is_some() {
            "can only be specified for new network interfaces."
        } else if device_index != 0 {
            "can only be specified for the network interface with DeviceIndex 0."
        } else {
            return Ok(());
        };
        Err(Ec2Error::combination(format!(
            "The associatePublicIPAddress parameter {refused}"
        )))
    }

    /// The subnet that is named, or the default one of the zone.
    fn subnet<'a>(&self, call: &Call<'_>, given: Option<&'a str>) -> Result<Cow<'a, str>, Ec2Error> {
        if let Some(given) = given {
            return Ok(Cow::Borrowed(given));
        }
        let zone = self.placement.as_ref().and_then(|one| one.availability_zone.as_deref());
        call.controller().inspect(|network| {
            if network.default_vpc().is_none() {
                return Err(no_subnet());
            }
            let subnet = network.default_subnet(zone).ok_or_else(no_subnet)?;
            Ok(Cow::Owned(subnet.id.to_string()))
        })
    }

    /// The groups that are named, by identifier or by their names in the default VPC.
    fn groups(&self, call: &Call<'_>) -> Result<Vec<ResourceRef<SecurityGroupId>>, Ec2Error> {
        let mut groups = references(&self.security_group_id)?;
        for name in &self.security_group {
            groups.push(ResourceRef::Id(by_name(call, name)?));
        }
        Ok(groups)
    }

    /// A zone that is asked for is that of the subnet.
    fn check_zone(&self, call: &Call<'_>, subnet: &str) -> Result<(), Ec2Error> {
        let subnet = call
            .controller()
            .subnet(&id::<crate::model::SubnetId>(subnet)?.into())?;
        let wanted = self
            .placement
            .as_ref()
            .and_then(|placement| placement.availability_zone.as_deref());
        match wanted.filter(|zone| *zone != subnet.availability_zone) {
            Some(zone) => Err(Ec2Error::combination(format!(
                "The availability zone {} does not match the subnet {}'s: {}",
                printed(zone),
                subnet.id,
                subnet.availability_zone
            ))),
            None => Ok(()),
        }
    }
}

impl InterfaceSpecification {
    fn wanted(&self, ipv6_by_itself: bool) -> Wanted<'_> {
        Wanted {
            primary: self.private_ip_address.as_deref(),
            given: &self.private_ip_addresses,
            count: self.secondary_private_ip_address_count,
            ipv6_count: self.ipv6_address_count,
            ipv6: &self.ipv6_addresses,
            ipv4_prefix_count: self.ipv4_prefix_count,
            ipv4_prefixes: &self.ipv4_prefix,
            ipv6_prefix_count: self.ipv6_prefix_count,
            ipv6_prefixes: &self.ipv6_prefix,
            ipv6_by_itself,
        }
    }
}

/// There is no default VPC, or none of its subnets is the default one of the zone.
fn no_subnet() -> Ec2Error {
    Ec2Error::new(
        "MissingInput",
        "No subnets found for the default VPC. Please specify a subnet.",
    )
}
