//! Serves HTTP: every handler turns a request into one Controller command and its answer into a response. Nothing here
//! owns state of the network.

mod accept;
pub mod bodies;
pub mod caller;
pub mod client;
pub mod commands;
pub mod connections;
pub mod ec2;
pub mod extract;
pub mod guard;
pub mod inside;
pub mod objects;
mod patience;
pub mod problem;
pub mod rest;
pub mod server;
pub mod state;
pub mod token;

pub use client::{Client, ClientError};
pub use guard::{Access, AllowExec, GuardConfig, Token};
pub use problem::Problem;
pub use rest::openapi_json;
pub use server::{ServerConfig, serve};
pub use state::AppState;
