//! Holds the context of an action's call, and what the EC2 API remembers between calls: client tokens.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::{Map, Value};

use super::action::{Answer, Entry};
use super::error::Ec2Error;
use super::identity::{Identity, Keys};
use super::request::Request;
use super::shape::ActionShape;
use super::throttling::Throttling;
use super::xml::Node;
use crate::api::AppState;
use crate::control::{ControlError, Controller};
use crate::model::command::Command;

/// The number of client tokens that are remembered (EC2 remembers those of a day; "Ensuring idempotency", EC2 API
/// guide).
const MOST_TOKENS: usize = 10_000;

/// The EC2 API of one server.
pub struct Ec2 {
    /// The network and its hosts.
    pub state: AppState,
}

/// What the EC2 faces of one network remember between calls.
#[derive(Default)]
pub struct Memory {
    tokens: Mutex<Tokens>,
    throttling: OnceLock<Throttling>,
    keys: OnceLock<Keys>,
}

impl Memory {
    /// Throttles requests from now on as EC2 documents it.
    pub fn throttle(&self) {
        self.throttling.get_or_init(Throttling::new);
    }

    /// Verifies the signature of each request from now on: with these keys, and with those of roles.
    pub fn verify(&self, keys: Keys) {
        self.keys.get_or_init(|| keys);
    }

    /// The keys of the account, if signatures are verified.
    pub(super) fn keys(&self) -> Option<&Keys> {
        self.keys.get()
    }

    /// Lets a request through, or refuses it for the rate of its action.
    pub(super) fn admit(&self, request: &Request) -> Result<(), Ec2Error> {
        self.throttling
            .get()
            .map_or(Ok(()), |throttling| throttling.admit(request))
    }
}

/// The context of one call.
pub struct Call<'a> {
    /// The API that was called.
    pub ec2: &'a Ec2,
    /// The action's name.
    pub action: &'static str,
    /// AWS's definition of the action.
    pub shape: &'static ActionShape,
    /// The caller, if it is known; else the account.
    pub caller: Option<&'a Identity>,
}

impl Call<'_> {
    /// The only writer of the network.
    pub fn controller(&self) -> &Controller {
        &self.ec2.state.controller
    }

    /// Carries out a command.
    pub(super) fn execute<C: Command>(&self, command: C) -> Result<C::Outcome, Ec2Error>
    where
        ControlError: From<C::Error>,
    {
        Ok(self.controller().execute(command)?)
    }
}

#[derive(Default)]
struct Tokens {
    answers: HashMap<(&'static str, String), Remembered>,
    order: VecDeque<(&'static str, String)>,
}

struct Remembered {
    parameters: Map<String, Value>,
    answer: Vec<(&'static str, Node)>,
}

impl Ec2 {
    /// The EC2 API of a server.
    pub fn new(state: AppState) -> Self {
        Self { state }
    }

    /// Calls an action. A client token that was used before gets the answer that it got then.
    pub fn call(&self, entry: &Entry, tree: Map<String, Value>, caller: Option<&Identity>) -> Answer {
        let call = Call {
            ec2: self,
            action: entry.name,
            shape: entry.shape(),
            caller,
        };
        let token = tree
            .get("ClientToken")
            .and_then(Value::as_str)
            .filter(|token| !token.is_empty());
        let Some(token) = token.map(str::to_owned) else {
            return entry.call(tree, &call);
        };
        // Held while the action runs, so that two requests with one token are carried out once.
        let mut tokens = self.state.ec2().tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (entry.name, token);
        if let Some(known) = tokens.answers.get(&key) {
            if known.parameters == tree {
                return Ok(known.answer.clone());
            }
            return Err(Ec2Error::new(
                "IdempotentParameterMismatch",
                "The client token was used before, in a request with other parameters.",
            ));
        }
        let answer = entry.call(tree.clone(), &call)?;
        if tokens.order.len() == MOST_TOKENS
            && let Some(oldest) = tokens.order.pop_front()
        {
            tokens.answers.remove(&oldest);
        }
        tokens.order.push_back(key.clone());
        let remembered = Remembered {
            parameters: tree,
            answer: answer.clone(),
        };
        tokens.answers.insert(key, remembered);
        Ok(answer)
    }
}
