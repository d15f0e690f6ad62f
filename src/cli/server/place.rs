//! Finds the place of this process among those of its state: it serves, takes over from the server that runs, or stands by for it.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Failure, ServerArguments, impossible, unreadable};
use crate::model::Limits;
use crate::runtime::{
    Prepared, Runtime, RuntimeConfig, RuntimeError, Said, Serving, StandbyError, Stood, Succession, host_environment,
    said_of, stand_by,
};
use crate::store::{Journal, Store, StoreError};

/// The lock of the server of a state, among the sockets that a server hands over.
pub(super) const SERVING: &str = "serving";

/// How often a process looks whether the server that it is to stand by for is ready.
const LOOK: Duration = Duration::from_millis(50);

/// A network that this process is to serve.
pub(super) struct Place {
    pub(super) prepared: Prepared,
    /// The right to serve the state, if there is one.
    pub(super) serving: Option<Serving>,
    /// The process whose death this one stood by for, and when that was known.
    pub(super) succeeded: Option<(u32, Instant)>,
}

impl Place {
    /// Loads the network. A process that is to stand by waits until its server has died; none if that was ended instead.
    pub(super) fn find(
        arguments: &ServerArguments,
        succession: Option<&mut Succession>,
    ) -> Result<Option<Self>, Failure> {
        let Some(folder) = &arguments.state else {
            return Self::serving(arguments, None, None).map(Some);
        };
        if let Some(succession) = succession {
            let store = journal(arguments, folder)?;
            let inherited = succession.listeners.iter().position(|(name, _)| name == SERVING);
            let serving = match inherited.map(|place| succession.listeners.remove(place)) {
                Some((_, lock)) => Serving::inherited(lock),
                None => Serving::begin(folder).map_err(impossible)?,
            };
            return Self::serving(arguments, Some(store), Some(serving)).map(Some);
        }
        if !arguments.standby {
            let store = journal(arguments, folder)?;
            let serving = Serving::begin(folder).map_err(impossible)?;
            return Self::serving(arguments, Some(store), Some(serving)).map(Some);
        }
        Self::stand_by(arguments, folder)
    }

    fn serving(
        arguments: &ServerArguments,
        store: Option<Arc<dyn Store>>,
        serving: Option<Serving>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            prepared: prepared(arguments, store)?,
            serving,
            succeeded: None,
        })
    }

    fn stand_by(arguments: &ServerArguments, folder: &Path) -> Result<Option<Self>, Failure> {
        loop {
            if folder.is_dir() || std::fs::create_dir_all(folder).is_ok() {
                // One without a server is served.
                if let Some(serving) = Serving::try_begin(folder).map_err(impossible)? {
                    match Journal::open(folder, &arguments.journal()) {
                        Ok(store) => return Self::serving(arguments, Some(Arc::new(store)), Some(serving)).map(Some),
                        // That server has begun a moment ago, and waits for the lock.
                        Err(StoreError::InUse { .. }) => {}
                        Err(error) => return Err(unreadable(error)),
                    }
                }
            }
            if matches!(said_of(folder).map_err(impossible)?, Said::Nothing) {
                std::thread::sleep(LOOK);
                continue;
            }
            let journal = Arc::new(Journal::open_follower(folder, &arguments.journal()).map_err(unreadable)?);
            let prepared = prepared(arguments, Some(Arc::clone(&journal) as Arc<dyn Store>))?;
            say(&format!(
                "standing by for the server of {}, from revision {}.",
                folder.display(),
                prepared.controller().revision()
            ));
            match stand_by(folder, &journal, prepared.controller()) {
                Ok(Stood::Ended) => {
                    say("the server was ended; there is nothing to stand by for.");
                    return Ok(None);
                }
                Ok(Stood::Succeeded {
                    serving,
                    process,
                    since,
                }) => {
                    return Ok(Some(Self {
                        prepared,
                        serving: Some(serving),
                        succeeded: Some((process, since)),
                    }));
                }
                // It was stopped for so long that the state has to be read anew.
                Err(StandbyError::Behind) => {}
                Err(StandbyError::Store(error)) => return Err(unreadable(error)),
                Err(error) => return Err(impossible(error)),
            }
        }
    }
}

/// Says on standard error what this process has become.
pub(super) fn say(what: &str) {
    // It may be closed.
    let _ = writeln!(std::io::stderr(), "localvpc: {what}");
}

fn journal(arguments: &ServerArguments, folder: &Path) -> Result<Arc<dyn Store>, Failure> {
    let opened = Journal::open(folder, &arguments.journal());
    Ok(Arc::new(opened.map_err(unreadable)?))
}

fn prepared(arguments: &ServerArguments, store: Option<Arc<dyn Store>>) -> Result<Prepared, Failure> {
    let prepared = Runtime::prepare(RuntimeConfig {
        seed: arguments.seed,
        offload: !arguments.no_offload,
        spin: arguments.spin.get(),
        ring: !arguments.no_io_uring,
        limits: if arguments.aws_limits {
            Limits::AWS_DEFAULT
        } else {
            Limits::UNBOUNDED
        },
        region: arguments.region.clone(),
        resolver: arguments.resolver,
        environment: host_environment(&std::env::current_exe().map_err(impossible)?),
        store,
        flow_logs: arguments.flow_logs.clone(),
        // Until hosts and connections of an earlier server are there.
        paused: true,
        ..RuntimeConfig::default()
    });
    prepared.map_err(wrong)
}

/// The failure of a network that does not start.
#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn wrong(error: RuntimeError) -> Failure {
    match error {
        RuntimeError::Store(error) => unreadable(error),
        other => impossible(other),
    }
}
