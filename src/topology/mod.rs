//! Treats a whole network as one file: the desired layout, the running one, the plan from one to the other, and the
//! export of the running one.
//!
//! [`Layout`] is a network by names, [`Running`] reads it from what is declared, [`Plan`] is the difference as a list
//! of changes and of steps; these three do no I/O. [`apply`](apply()) sends the steps to the Controller, after a dry
//! run on a copy, and `export` writes a layout as a file.

mod apply;
mod backend;
mod block;
mod declare;
mod desired;
mod diff;
mod edge;
mod endpoints;
mod export;
mod filters;
mod flow_logs;
pub mod format;
mod import;
mod layout;
mod links;
mod made_with;
mod matching;
mod nat;
mod order;
mod plan;
mod rehearse;
mod running;
#[cfg(test)]
mod tests;

pub use apply::{Stopped, apply, create, plan, remove};
pub use backend::{Live, Rehearsed, Stage, StepError};
pub use declare::{DeclareError, declare};
pub use export::{export, yaml};
pub(crate) use filters::{default_of, vpc_of_default};
pub use import::{Import, ImportError, Imported, LeftOut};
pub use layout::{Instance, Interface, Kind, Label, Layout, OptionSet, OptionsChoice, RouteTable, Subnet, Target, Vpc};
pub use made_with::MadeWith;
pub use plan::{Action, AnyAddress, Change, Edit, Extras, FieldChange, Kept, Plan, Refusal, Step};
pub use rehearse::{check_alone, rehearse};
pub use running::Running;
