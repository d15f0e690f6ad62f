//! A topology becomes commands to the Controller, and hosts.

use super::{Layout, Live, Refusal, create};
use crate::file::template::Scope;
use crate::runtime::Runtime;
use crate::topology::format::Topology;

/// Why a topology cannot be made, with the resource that was refused.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DeclareError(#[from] Box<Refusal>);

/// Makes the VPCs, subnets and interfaces of a topology, and its instances on them, where nothing is yet. The interface of
/// an instance has the instance's name unless the file says otherwise.
pub fn declare(runtime: &Runtime, topology: &Topology, scope: &Scope) -> Result<(), DeclareError> {
    let desired = Layout::desired(topology, scope)?;
    let mut live = Live {
        controller: runtime.controller(),
        runtime: Some(runtime),
    };
    create(&mut live, &desired).map_err(|stopped| DeclareError(Box::new(stopped.refusal)))
}
