//! The actions on launch templates, and how a launch takes its parameters from one.
//!
//! A template keeps whatever EC2 knows of a launch. What this server does not do is refused by its name when an
//! instance is launched with it.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ids::id;
use super::render::{ACCOUNT, tag_set};
use super::tags::Given;
use crate::api::ec2::action::{Action, Answer, Filter, TagSpecification};
use crate::api::ec2::describe::{Place, Selection};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::request::printed;
use crate::api::ec2::shape::{Shape, actions};
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::model::ids::LaunchTemplateId;
use crate::model::launch_template::{
    AddTemplateVersion, CreateLaunchTemplate as Create, DeleteLaunchTemplate as Delete, DeleteTemplateVersion,
    LaunchTemplate, ModifyLaunchTemplate as Modify, TemplateVersion, VersionRef,
};
use crate::model::{LaunchTemplateError, ModelError};

/// EC2's words where a request names neither a template nor `$Latest` or `$Default` of all (moto, a test that passes on
/// AWS).
const WHICH_VERSIONS: &str = "\
     To describe the launch template data for all your launch templates, for ‘--versions’ specify ‘$Latest’, \
     ‘$Default’, or both, and omit ‘--launch-template-id’, ‘--launch-template-name’, and version numbers. To \
     describe the launch template data for a specific launch template, specify ‘--launch-template-id’ or \
     ‘--launch-template-name’, and for ‘--versions’ specify one or more of the following values: ‘$Latest’, \
     ‘$Default’, or one or more version numbers.";

/// The element that identifies a version while pages are made.
const PLACE: &str = "place";

const VERSION_PLACES: &[Place] = &[
    ("ebs-optimized", "launchTemplateData.ebsOptimized"),
    ("http-endpoint", "launchTemplateData.metadataOptions.httpEndpoint"),
    ("http-protocol-ipv4", "launchTemplateData.metadataOptions.httpEndpoint"),
    ("http-tokens", "launchTemplateData.metadataOptions.httpTokens"),
    (
        "host-resource-group-arn",
        "launchTemplateData.placement.hostResourceGroupArn",
    ),
    ("iam-instance-profile", "launchTemplateData.iamInstanceProfile.arn"),
    ("image-id", "launchTemplateData.imageId"),
    ("instance-type", "launchTemplateData.instanceType"),
    ("is-default-version", "defaultVersion"),
    ("kernel-id", "launchTemplateData.kernelId"),
    (
        "license-configuration-arn",
        "launchTemplateData.licenseSet.licenseConfigurationArn",
    ),
    (
        "network-card-index",
        "launchTemplateData.networkInterfaceSet.networkCardIndex",
    ),
    ("ram-disk-id", "launchTemplateData.ramDiskId"),
];

/// Names in answers, by the name in requests and whether it is that of a list: a list and a member of its items may
/// share a name.
type Names = BTreeMap<(String, bool), &'static str>;

/// The names of a template's parameters in answers: made once from AWS's definition.
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let mut names = BTreeMap::new();
    if let Some(shape) = actions()["CreateLaunchTemplate"].parameters.get("LaunchTemplateData") {
        collect(shape, &mut names);
    }
    names
});

fn collect(shape: &Shape, names: &mut Names) {
    match shape {
        Shape::Scalar(_) => {}
        Shape::List([item]) => collect(item, names),
        Shape::Structure(members) => {
            for (name, member) in members {
                let is_list = matches!(member, Shape::List(_));
                let answered = answered_name(name, is_list);
                names.insert((name.clone(), is_list), Box::leak(answered.into_boxed_str()));
                collect(member, names);
            }
        }
    }
}

fn answered_name(name: &str, is_list: bool) -> String {
    let mut answered = String::with_capacity(name.len() + 3);
    let mut letters = name.chars();
    answered.extend(letters.next().map(|first| first.to_ascii_lowercase()));
    answered.push_str(letters.as_str());
    match name {
        "LicenseSpecification" => "licenseSet".to_owned(),
        _ if is_list => answered + "Set",
        _ => answered,
    }
}

/// Parameters of a template as its answers have them.
fn rendered(value: &Value) -> Node {
    match value {
        Value::Null => Node::Absent,
        Value::Bool(flag) => Node::text(flag),
        Value::Number(number) => Node::text(number),
        Value::String(text) => Node::text(text),
        Value::Array(items) => Node::list(items.iter().map(rendered)),
        Value::Object(members) => structure(members, false),
    }
}

fn structure(members: &Map<String, Value>, is_interface: bool) -> Node {
    let member = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        // The one list whose items are not called so.
        ("SecurityGroupId", Value::Array(groups)) if is_interface => (
            "groupSet",
            Node::map(groups.iter().map(|group| ("groupId", rendered(group)))),
        ),
        ("NetworkInterface", Value::Array(interfaces)) => {
            let interfaces = interfaces.iter().filter_map(Value::as_object);
            (
                "networkInterfaceSet",
                Node::list(interfaces.map(|one| structure(one, true))),
            )
        }
        (name, value) => {
            let name = NAMES.get(&(name.to_owned(), value.is_array()));
            (name.copied().unwrap_or_default(), rendered(value))
        }
    };
    Node::map(members.iter().map(member).filter(|(name, _)| !name.is_empty()))
}

fn by() -> Node {
    Node::Text(format!("arn:aws:iam::{ACCOUNT}:root"))
}

/// The `LaunchTemplate` of EC2's answers.
fn template(template: &LaunchTemplate) -> Node {
    Node::map([
        ("launchTemplateId", Node::text(template.id)),
        ("launchTemplateName", Node::text(&template.template_name)),
        (
            "createTime",
            Node::text(humantime::format_rfc3339_seconds(template.created_at)),
        ),
        ("createdBy", by()),
        ("defaultVersionNumber", Node::text(template.default_version)),
        ("latestVersionNumber", Node::text(template.latest_version)),
        ("tagSet", tag_set(None, &template.tags)),
    ])
}

/// The `LaunchTemplateVersion` of EC2's answers.
fn version(template: &LaunchTemplate, version: &TemplateVersion) -> Node {
    let description = Some(&version.description).filter(|text| !text.is_empty());
    Node::map([
        ("launchTemplateId", Node::text(template.id)),
        ("launchTemplateName", Node::text(&template.template_name)),
        ("versionNumber", Node::text(version.number)),
        ("versionDescription", Node::maybe(description)),
        (
            "createTime",
            Node::text(humantime::format_rfc3339_seconds(version.created_at)),
        ),
        ("createdBy", by()),
        ("defaultVersion", Node::text(version.number == template.default_version)),
        ("launchTemplateData", structure(&version.data, false)),
    ])
}

/// The template that a request names by one of the two.
fn find(call: &Call<'_>, given: Option<&str>, name: Option<&str>) -> Result<LaunchTemplate, Ec2Error> {
    match (given, name) {
        (Some(given), None) => {
            let id: LaunchTemplateId = id(given)?;
            Ok(call
                .controller()
                .inspect(|network| network.launch_template(id).cloned())?)
        }
        (None, Some(name)) => Ok(call
            .controller()
            .inspect(|network| network.launch_template_named(name).cloned())?),
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "The parameter LaunchTemplateName cannot be used with the parameter LaunchTemplateId",
        )),
        (None, None) => Err(Ec2Error::missing("LaunchTemplateId or LaunchTemplateName")),
    }
}

fn version_of(text: &str) -> Result<VersionRef, Ec2Error> {
    match text {
        "$Default" => Ok(VersionRef::Default),
        "$Latest" => Ok(VersionRef::Latest),
        number => number.parse().map(VersionRef::Number).map_err(|_| {
            let number = printed(number);
            Ec2Error::invalid_value(format!(
                "Value ({number}) is no version. Use a number, $Default or $Latest."
            ))
        }),
    }
}

fn refused(error: LaunchTemplateError) -> Ec2Error {
    ModelError::from(error).into()
}

/// The template that a launch names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct TemplateSpecification {
    pub(super) launch_template_id: Option<String>,
    pub(super) launch_template_name: Option<String>,
    pub(super) version: Option<String>,
}

impl TemplateSpecification {
    /// The tags of an instance that was launched with it, once it is named by identifier and number.
    pub(super) fn tags(&self) -> impl Iterator<Item = (String, String)> {
        let id = self
            .launch_template_id
            .clone()
            .map(|id| ("aws:ec2launchtemplate:id".to_owned(), id));
        let version = self
            .version
            .clone()
            .map(|number| ("aws:ec2launchtemplate:version".to_owned(), number));
        id.into_iter().chain(version)
    }
}

/// Puts the parameters of the template that a launch names where the launch has none of its own. Tags are added to its
/// own. The template is named by identifier and number afterwards.
pub(super) fn expanded(mut tree: Map<String, Value>, call: &Call<'_>) -> Result<Map<String, Value>, Ec2Error> {
    let Some(named) = tree.get("LaunchTemplate") else {
        return Ok(tree);
    };
    let named: TemplateSpecification = serde_json::from_value(named.clone())
        .map_err(|error| Ec2Error::invalid_value(format!("Invalid value for the parameter LaunchTemplate: {error}")))?;
    let found = find(
        call,
        named.launch_template_id.as_deref(),
        named.launch_template_name.as_deref(),
    )?;
    let wanted = named.version.as_deref().map_or(Ok(VersionRef::Default), version_of)?;
    let chosen = found.version(wanted).map_err(refused)?;
    for (name, value) in &chosen.data {
        // The two actions spell this one differently.
        let name = if name == "RamDiskId" { "RamdiskId" } else { name };
        match (tree.get_mut(name), value) {
            (None, value) => {
                tree.insert(name.to_owned(), value.clone());
            }
            (Some(Value::Array(own)), Value::Array(tags)) if name == "TagSpecification" => {
                own.splice(0..0, tags.iter().cloned());
            }
            (Some(_), _) => {}
        }
    }
    let resolved = [
        ("LaunchTemplateId", Value::from(found.id.to_string())),
        ("Version", Value::from(chosen.number.to_string())),
    ];
    let resolved = resolved.map(|(name, value)| (name.to_owned(), value));
    tree.insert(
        "LaunchTemplate".to_owned(),
        Value::Object(resolved.into_iter().collect()),
    );
    Ok(tree)
}

/// Makes a launch template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateLaunchTemplate {
    launch_template_name: String,
    version_description: Option<String>,
    launch_template_data: Map<String, Value>,
    #[serde(default)]
    tag_specification: Vec<TagSpecification>,
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
}

impl Action for CreateLaunchTemplate {
    const NAME: &'static str = "CreateLaunchTemplate";
    const HELP: &'static str = "Keeps parameters of launches under a name";

    fn run(self, call: &Call<'_>) -> Answer {
        let made = call.execute(Create {
            template_name: self.launch_template_name,
            description: self.version_description.unwrap_or_default(),
            data: self.launch_template_data,
            tags: Given::of(&self.tag_specification, "launch-template")?.tags,
            at: SystemTime::now(),
        })?;
        Ok(vec![("launchTemplate", template(&made))])
    }
}

/// Makes a version of a launch template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct CreateLaunchTemplateVersion {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    source_version: Option<String>,
    version_description: Option<String>,
    launch_template_data: Map<String, Value>,
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
}

impl Action for CreateLaunchTemplateVersion {
    const NAME: &'static str = "CreateLaunchTemplateVersion";
    const HELP: &'static str = "Makes a version of a launch template, by itself or from another version";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = find(
            call,
            self.launch_template_id.as_deref(),
            self.launch_template_name.as_deref(),
        )?;
        let now = call.execute(AddTemplateVersion {
            template: found.id,
            source: self.source_version.as_deref().map(version_of).transpose()?,
            description: self.version_description.unwrap_or_default(),
            data: self.launch_template_data,
            at: SystemTime::now(),
        })?;
        let made = now.version(VersionRef::Latest).map_err(refused)?;
        Ok(vec![("launchTemplateVersion", version(&now, made))])
    }
}

/// Sets the default version of a launch template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ModifyLaunchTemplate {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    set_default_version: Option<String>,
    #[serde(rename = "ClientToken")]
    _client_token: Option<String>,
}

impl Action for ModifyLaunchTemplate {
    const NAME: &'static str = "ModifyLaunchTemplate";
    const HELP: &'static str = "Sets which version of a launch template is the default one";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = find(
            call,
            self.launch_template_id.as_deref(),
            self.launch_template_name.as_deref(),
        )?;
        let now = call.execute(Modify {
            template: found.id,
            default_version: self.set_default_version.as_deref().map(version_of).transpose()?,
            tags: None,
        })?;
        Ok(vec![("launchTemplate", template(&now))])
    }
}

/// Deletes a launch template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteLaunchTemplate {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
}

impl Action for DeleteLaunchTemplate {
    const NAME: &'static str = "DeleteLaunchTemplate";
    const HELP: &'static str = "Deletes a launch template with its versions";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = find(
            call,
            self.launch_template_id.as_deref(),
            self.launch_template_name.as_deref(),
        )?;
        let deleted = call.execute(Delete(found.id))?;
        Ok(vec![("launchTemplate", template(&deleted))])
    }
}

/// Deletes versions of a launch template.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DeleteLaunchTemplateVersions {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    launch_template_version: Vec<String>,
}

impl Action for DeleteLaunchTemplateVersions {
    const NAME: &'static str = "DeleteLaunchTemplateVersions";
    const HELP: &'static str = "Deletes versions of a launch template, but not the default one";

    fn run(self, call: &Call<'_>) -> Answer {
        let found = find(
            call,
            self.launch_template_id.as_deref(),
            self.launch_template_name.as_deref(),
        )?;
        let (mut deleted, mut kept) = (Vec::new(), Vec::new());
        for given in &self.launch_template_version {
            let VersionRef::Number(number) = version_of(given)? else {
                return Err(Ec2Error::invalid_value("Versions are deleted by their numbers"));
            };
            let mut item = vec![
                ("launchTemplateId", Node::text(found.id)),
                ("launchTemplateName", Node::text(&found.template_name)),
                ("versionNumber", Node::text(number)),
            ];
            let delete = DeleteTemplateVersion {
                template: found.id,
                number,
            };
            match call.execute(delete) {
                Ok(()) => deleted.push(Node::Map(item)),
                Err(error) => {
                    let code = match error.code.as_ref() {
                        "InvalidLaunchTemplateId.VersionNotFound" => "launchTemplateVersionDoesNotExist",
                        _ => "unexpectedError",
                    };
                    let error = [("code", Node::text(code)), ("message", Node::Text(error.message))];
                    item.push(("responseError", Node::map(error)));
                    kept.push(Node::Map(item));
                }
            }
        }
        Ok(vec![
            ("successfullyDeletedLaunchTemplateVersionSet", Node::List(deleted)),
            ("unsuccessfullyDeletedLaunchTemplateVersionSet", Node::List(kept)),
        ])
    }
}

/// Lists launch templates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeLaunchTemplates {
    #[serde(default)]
    launch_template_id: Vec<String>,
    #[serde(default)]
    launch_template_name: Vec<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl Action for DescribeLaunchTemplates {
    const NAME: &'static str = "DescribeLaunchTemplates";
    const HELP: &'static str = "Lists launch templates, by age or in the order in which they are asked for";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let mut all = call.controller().launch_templates();
        all.sort_by_key(|one| (one.created_at, one.id));
        let asked = self.launch_template_id.iter().chain(&self.launch_template_name);
        let mut listed = Vec::new();
        for given in asked {
            let found = all
                .iter()
                .find(|one| one.id.to_string() == *given || one.template_name == *given);
            let found = found.ok_or_else(|| {
                // EC2's words (moto, a test that passes on AWS).
                let code = if self.launch_template_id.contains(given) {
                    "InvalidLaunchTemplateId.NotFound"
                } else {
                    "InvalidLaunchTemplateName.NotFoundException"
                };
                Ec2Error::new(
                    code,
                    "At least one of the launch templates specified in the request does not exist.",
                )
            })?;
            listed.push(template(found));
        }
        if self.launch_template_id.is_empty() && self.launch_template_name.is_empty() {
            listed = all.iter().map(template).collect();
        }
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, listed, "launchTemplateId", &[])?;
        Ok(vec![
            ("launchTemplates", Node::List(page.items)),
            ("nextToken", page.next),
        ])
    }
}

/// Lists versions of launch templates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeLaunchTemplateVersions {
    launch_template_id: Option<String>,
    launch_template_name: Option<String>,
    #[serde(default)]
    launch_template_version: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    #[serde(default)]
    filter: Vec<Filter>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

impl DescribeLaunchTemplateVersions {
    /// The templates, and the versions that are asked for; no version stands for all of them.
    fn asked(&self, call: &Call<'_>) -> Result<(Vec<LaunchTemplate>, Vec<VersionRef>), Ec2Error> {
        let versions = self.launch_template_version.iter().map(|given| version_of(given));
        let versions = versions.collect::<Result<Vec<_>, _>>()?;
        if self.launch_template_id.is_some() || self.launch_template_name.is_some() {
            let found = find(
                call,
                self.launch_template_id.as_deref(),
                self.launch_template_name.as_deref(),
            )?;
            return Ok((vec![found], versions));
        }
        if versions.is_empty() {
            return Err(Ec2Error::new("MissingParameter", WHICH_VERSIONS));
        }
        if versions.iter().any(|version| matches!(version, VersionRef::Number(_))) {
            return Err(Ec2Error::invalid_value(WHICH_VERSIONS));
        }
        Ok((call.controller().launch_templates(), versions))
    }
}

impl Action for DescribeLaunchTemplateVersions {
    const NAME: &'static str = "DescribeLaunchTemplateVersions";
    const HELP: &'static str = "Lists versions of one launch template, or the default or latest ones of all";
    const READS: bool = true;

    fn run(self, call: &Call<'_>) -> Answer {
        let (templates, versions) = self.asked(call)?;
        let bound = |given: &Option<String>| match given.as_deref().map(version_of).transpose()? {
            None | Some(VersionRef::Default | VersionRef::Latest) => Ok(None),
            Some(VersionRef::Number(number)) => Ok::<_, Ec2Error>(Some(number)),
        };
        let (least, most) = (bound(&self.min_version)?, bound(&self.max_version)?);
        let mut items = Vec::new();
        for one in &templates {
            let mut chosen: Vec<&TemplateVersion> = one.versions.iter().collect();
            if !versions.is_empty() {
                let named = versions.iter().map(|version| one.version(*version));
                let named = named.collect::<Result<Vec<_>, _>>().map_err(refused)?;
                chosen.retain(|version| named.contains(version));
            }
            chosen.retain(|version| {
                least.is_none_or(|least| least <= version.number) && most.is_none_or(|most| version.number <= most)
            });
            items.extend(chosen.into_iter().map(|chosen| {
                let mut members = version(one, chosen).members().to_vec();
                members.push((PLACE, Node::Text(format!("{} {}", one.id, chosen.number))));
                Node::Map(members)
            }));
        }
        let selection = Selection {
            filters: &self.filter,
            max_results: self.max_results,
            next_token: self.next_token.as_deref(),
            ..Selection::default()
        };
        let page = selection.of(call, items, PLACE, VERSION_PLACES)?;
        let items = page.items.into_iter().map(|item| match item {
            Node::Map(members) => Node::Map(members.into_iter().filter(|(name, _)| *name != PLACE).collect()),
            other => other,
        });
        Ok(vec![
            ("launchTemplateVersionSet", Node::list(items)),
            ("nextToken", page.next),
        ])
    }
}
