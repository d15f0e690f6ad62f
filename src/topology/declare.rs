//! Turns a topology into commands to the Controller, and hosts.

use super::{Layout, Live, Refusal, create};
use crate::file::template::Scope;
use crate::runtime::Runtime;
use crate::topology::format::Topology;

/// Why a topology was refused, with the resource.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeclareError(#[from] Box<Refusal>);

/// Creates the VPCs, subnets, interfaces and instances of a topology on an empty server. An instance's interface has
/// the instance's name unless the file has another one.
pub fn declare(runtime: &Runtime, topology: &Topology, scope: &Scope) -> Result<(), DeclareError> {
    let desired = Layout::desired(topology, scope)?;
    let mut live = Live {
        controller: runtime.controller(),
        runtime: Some(runtime),
    };
    create(&mut live, &desired).map_err(|stopped| DeclareError(Box::new(stopped.refusal)))
}
