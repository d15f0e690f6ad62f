//! Makes, changes and deletes launch templates and their versions.

use super::{
    AddTemplateVersion, CreateLaunchTemplate, DeleteLaunchTemplate, DeleteTemplateVersion, LaunchTemplate,
    LaunchTemplateError, ModifyLaunchTemplate, TemplateVersion, VersionRef,
};
use crate::model::change::{Record, Stored};
use crate::model::command::{Command, Edit};
use crate::model::error::ModelError;
use crate::model::ids::LaunchTemplateId;
use crate::model::naming::Names;
use crate::model::network::{Network, fresh_id};

/// Characters of a name (EC2 API, CreateLaunchTemplate).
const NAME: std::ops::RangeInclusive<usize> = 3..=128;

impl Record for LaunchTemplate {
    type Id = LaunchTemplateId;

    fn id(&self) -> LaunchTemplateId {
        self.id
    }

    /// Names of templates have a form of their own, so they are no names of ours.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl Stored for LaunchTemplate {
    fn names(network: &mut Network) -> &mut Names<LaunchTemplateId> {
        &mut network.no_launch_template_names
    }

    fn put(network: &mut Network, before: Option<&Self>, after: Option<&Self>) {
        if let Some(after) = after {
            network.launch_templates.insert(after.id, after.clone());
        } else if let Some(before) = before {
            network.launch_templates.remove(&before.id);
        }
    }

    fn all(network: &Network) -> Vec<Self> {
        network.launch_templates.values().cloned().collect()
    }
}

impl LaunchTemplate {
    /// One of its versions.
    pub fn version(&self, version: VersionRef) -> Result<&TemplateVersion, LaunchTemplateError> {
        let number = match version {
            VersionRef::Default => self.default_version,
            // The one that was made last may be gone.
            VersionRef::Latest => self.versions.last().map_or(self.latest_version, |last| last.number),
            VersionRef::Number(number) => number,
        };
        let found = self.versions.iter().find(|one| one.number == number);
        found.ok_or(LaunchTemplateError::UnknownVersion { id: self.id, number })
    }
}

fn is_name(name: &str) -> bool {
    NAME.contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "-()./_".contains(c))
}

impl Command for CreateLaunchTemplate {
    type Outcome = LaunchTemplate;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<LaunchTemplate, ModelError> {
        if !is_name(&self.template_name) {
            return Err(LaunchTemplateError::Name.into());
        }
        if edit.launch_template_named(&self.template_name).is_ok() {
            return Err(LaunchTemplateError::NameTaken.into());
        }
        let made = LaunchTemplate {
            id: fresh_id(edit.rng, |id| edit.network.launch_templates.contains_key(&id)),
            template_name: self.template_name,
            created_at: self.at,
            default_version: 1,
            latest_version: 1,
            versions: vec![TemplateVersion {
                number: 1,
                description: self.description,
                data: self.data,
                created_at: self.at,
            }],
            tags: self.tags,
        };
        edit.create(made.clone());
        Ok(made)
    }
}

impl Command for AddTemplateVersion {
    type Outcome = LaunchTemplate;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<LaunchTemplate, ModelError> {
        let before = edit.launch_template(self.template)?.clone();
        let mut data = match self.source {
            Some(source) => before.version(source)?.data.clone(),
            None => serde_json::Map::new(),
        };
        data.extend(self.data);
        let mut after = before.clone();
        after.latest_version += 1;
        after.versions.push(TemplateVersion {
            number: after.latest_version,
            description: self.description,
            data,
            created_at: self.at,
        });
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for ModifyLaunchTemplate {
    type Outcome = LaunchTemplate;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<LaunchTemplate, ModelError> {
        let before = edit.launch_template(self.template)?.clone();
        let mut after = before.clone();
        if let Some(version) = self.default_version {
            after.default_version = before.version(version)?.number;
        }
        if let Some(tags) = self.tags {
            after.tags = tags;
        }
        edit.replace(before, after.clone());
        Ok(after)
    }
}

impl Command for DeleteTemplateVersion {
    type Outcome = ();
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<(), ModelError> {
        let before = edit.launch_template(self.template)?.clone();
        let (id, number) = (before.id, self.number);
        before.version(VersionRef::Number(number))?;
        if number == before.default_version {
            return Err(LaunchTemplateError::DefaultVersion { id, number }.into());
        }
        let mut after = before.clone();
        after.versions.retain(|one| one.number != number);
        edit.replace(before, after);
        Ok(())
    }
}

impl Command for DeleteLaunchTemplate {
    type Outcome = LaunchTemplate;
    type Error = ModelError;

    fn run(self, edit: &mut Edit<'_>) -> Result<LaunchTemplate, ModelError> {
        let template = edit.launch_template(self.0)?.clone();
        edit.delete(template.clone());
        Ok(template)
    }
}

impl Network {
    /// All launch templates, by identifier.
    pub fn launch_templates(&self) -> impl Iterator<Item = &LaunchTemplate> {
        self.launch_templates.values()
    }

    /// One launch template.
    pub fn launch_template(&self, id: LaunchTemplateId) -> Result<&LaunchTemplate, ModelError> {
        let found = self.launch_templates.get(&id);
        found.ok_or_else(|| LaunchTemplateError::Unknown { id }.into())
    }

    /// The launch template with a name.
    pub fn launch_template_named(&self, name: &str) -> Result<&LaunchTemplate, ModelError> {
        let found = self.launch_templates().find(|template| template.template_name == name);
        found.ok_or_else(|| LaunchTemplateError::UnknownName { name: name.to_owned() }.into())
    }
}
