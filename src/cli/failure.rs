//! Reports why a command failed, as text or with `--json` as JSON, and chooses the exit code.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::file::diagnostic::FileError;

/// Why a command failed, and its exit code.
#[derive(Debug)]
pub struct Failure {
    /// Shown on standard error; `None` when the output contains it already.
    pub(super) report: Option<miette::Report>,
    /// The server's problem document, where the server refused.
    pub(super) document: Option<Value>,
    /// The process's exit code.
    pub(super) code: u8,
}

impl Failure {
    /// Refused, or an expectation did not hold.
    pub const REFUSED: u8 = 1;
    /// Wrong usage or a wrong file.
    pub const USAGE: u8 = 2;
    /// It could not be done.
    pub const IMPOSSIBLE: u8 = 3;
    /// Interrupted by the user.
    pub const INTERRUPTED: u8 = 130;

    pub(super) fn new(code: u8, report: impl Into<miette::Report>) -> Self {
        Self {
            report: Some(report.into()),
            document: None,
            code,
        }
    }

    pub(super) fn silent(code: u8) -> Self {
        Self {
            report: None,
            document: None,
            code,
        }
    }

    /// Adds the problem document of the server (RFC 9457).
    #[must_use]
    pub(super) fn with_document(mut self, document: Option<Value>) -> Self {
        self.document = document;
        self
    }

    /// Writes it to standard error.
    pub(super) fn show(self, json: bool) -> ExitCode {
        let text = match (json, &self.report) {
            (_, None) => String::new(),
            (true, Some(report)) => format!("{:#}\n", self.as_json(report)),
            (false, Some(report)) => format!("{report:?}\n"),
        };
        // Standard error may be closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code)
    }

    fn as_json(&self, report: &miette::Report) -> Value {
        let mut document = match &self.document {
            Some(document) => document.clone(),
            None => json!({ "title": title(self.code), "detail": report.to_string() }),
        };
        if self.document.is_none() {
            if let Some(help) = report.help() {
                document["remedy"] = help.to_string().into();
            }
            if let Some(wrong) = report.downcast_ref::<FileError>() {
                document["file"] = wrong.name().into();
                document["mistakes"] = json!(wrong.mistakes);
            }
        }
        document["exit_code"] = self.code.into();
        document
    }
}

fn title(code: u8) -> &'static str {
    match code {
        Failure::REFUSED => "Refused",
        Failure::USAGE => "Wrong usage or file",
        Failure::INTERRUPTED => "Interrupted",
        _ => "It could not be done",
    }
}

/// A usage error found by clap; or the output of `--help` and `--version`.
pub(super) fn of_usage(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let text = text.trim().trim_start_matches("error: ");
        let document = json!({ "title": title(Failure::USAGE), "detail": text, "exit_code": Failure::USAGE });
        // Standard error may be closed.
        let _ = writeln!(std::io::stderr(), "{document:#}");
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Failure::USAGE))
}
