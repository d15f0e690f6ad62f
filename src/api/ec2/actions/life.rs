//! The actions that start, stop, reboot and terminate instances.

use serde::Deserialize;

use super::ids::id;
use super::instances::state;
use crate::api::ec2::action::{Action, Answer, done};
use crate::api::ec2::error::Ec2Error;
use crate::api::ec2::state::Call;
use crate::api::ec2::xml::Node;
use crate::control::{Shutdown, StateChange};
use crate::model::ids::ResourceId;
use crate::model::{InstanceId, ModelError};

/// The instances that a request names; all of those that do not exist are named in one refusal, as EC2 does.
pub(super) fn ids(call: &Call<'_>, given: &[String]) -> Result<Vec<InstanceId>, Ec2Error> {
    let (mut ids, mut unknown) = (Vec::new(), Vec::new());
    for text in given {
        let found = id::<InstanceId>(text).and_then(|id| Ok(call.controller().instance(&id.into())?.id));
        match found {
            Ok(id) => ids.push(id),
            Err(error) if error.code == InstanceId::NOT_FOUND => unknown.push(text.as_str()),
            Err(error) => return Err(error),
        }
    }
    match unknown[..] {
        [] => {}
        [only] => return Err(ModelError::not_found::<InstanceId>(only).into()),
        _ => {
            let message = format!("The instance IDs '{}' do not exist", unknown.join(", "));
            return Err(Ec2Error::new(InstanceId::NOT_FOUND, message));
        }
    }
    // One that is named twice is one.
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// The list of `InstanceStateChange`.
fn changed(changes: &[StateChange]) -> Answer {
    let items = changes.iter().map(|change| {
        Node::map([
            ("instanceId", Node::text(change.instance)),
            ("currentState", state(change.after)),
            ("previousState", state(change.before)),
        ])
    });
    Ok(vec![("instancesSet", Node::list(items))])
}

/// How programs end: `Force` and `SkipOsShutdown` both do without the operating system's own way.
fn shutdown(force: Option<bool>, skip: Option<bool>) -> Shutdown {
    match force == Some(true) || skip == Some(true) {
        true => Shutdown::AtOnce,
        false => Shutdown::Orderly,
    }
}

/// Starts instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct StartInstances {
    instance_id: Vec<String>,
}

impl Action for StartInstances {
    const NAME: &'static str = "StartInstances";
    const HELP: &'static str = "Starts stopped instances: their hosts come up with their interfaces";

    fn run(self, call: &Call<'_>) -> Answer {
        changed(&call.controller().start_instances(&ids(call, &self.instance_id)?)?)
    }
}

/// Stops instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct StopInstances {
    instance_id: Vec<String>,
    force: Option<bool>,
    skip_os_shutdown: Option<bool>,
    hibernate: Option<bool>,
}

impl Action for StopInstances {
    const NAME: &'static str = "StopInstances";
    const HELP: &'static str = "Stops instances: their programs are asked to end, with Force they are ended at once";

    fn run(self, call: &Call<'_>) -> Answer {
        if self.hibernate == Some(true) {
            return Err(Ec2Error::unsupported("Hibernate"));
        }
        let how = shutdown(self.force, self.skip_os_shutdown);
        changed(&call.controller().stop_instances(&ids(call, &self.instance_id)?, how)?)
    }
}

/// Reboots instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct RebootInstances {
    instance_id: Vec<String>,
}

impl Action for RebootInstances {
    const NAME: &'static str = "RebootInstances";
    const HELP: &'static str = "Ends everything in running instances and brings them up anew";

    fn run(self, call: &Call<'_>) -> Answer {
        call.controller().reboot_instances(&ids(call, &self.instance_id)?)?;
        done()
    }
}

/// Terminates instances.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct TerminateInstances {
    instance_id: Vec<String>,
    force: Option<bool>,
    skip_os_shutdown: Option<bool>,
}

impl Action for TerminateInstances {
    const NAME: &'static str = "TerminateInstances";
    const HELP: &'static str =
        "Terminates instances, which are listed for an hour, and deletes the interfaces that go with them";

    fn run(self, call: &Call<'_>) -> Answer {
        let how = shutdown(self.force, self.skip_os_shutdown);
        changed(
            &call
                .controller()
                .terminate_instances(&ids(call, &self.instance_id)?, how)?,
        )
    }
}
