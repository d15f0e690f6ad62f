//! Reads the request examples in `api/examples`: files for editors and REST clients (`.http`).
//!
//! Requests are separated by `###`. What is expected is in comments: `# expect: 201`, and `# expect /name: "home"` for a field
//! of the body. `# keep rule: /rules/0/id` gives a value of the answer a name, by which later requests use it (`{{rule}}`);
//! `# until /state: "finished"` asks until the answer has that value, `# until: a line` until it is not empty,
//! `# until: no more is in use` until it has the expected status.

use std::path::{Path, PathBuf};

use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/examples");

pub(crate) struct Example {
    pub(crate) title: String,
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, Value)>,
    /// A name, and the pointer to the value that it gets.
    pub(crate) kept: Vec<(String, String)>,
    pub(crate) until: Option<(String, Value)>,
    /// Whether to ask until the answer is not empty.
    pub(crate) until_line: bool,
    /// Whether to ask until the answer has the expected status.
    pub(crate) until_done: bool,
}

impl Example {
    /// Checks an answer's status and fields.
    #[track_caller]
    pub(crate) fn check(&self, status: u16, body: &str) {
        let Self {
            title, method, path, ..
        } = self;
        assert_eq!(status, self.status, "{title}: {method} {path}: {body}");
        for (pointer, expected) in &self.fields {
            let json: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{title}: {error}: {body}"));
            assert_eq!(json.pointer(pointer), Some(expected), "{title}: {pointer} in {body}");
        }
    }
}

/// The files, in the order of their names.
pub(crate) fn files() -> Vec<PathBuf> {
    let mut files: Vec<_> = Path::new(FOLDER)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Whether the requests of a file make hosts.
pub(crate) fn needs_root(text: &str) -> bool {
    text.lines().any(|line| line == "# needs: root")
}

pub(crate) fn read(text: &str) -> Vec<Example> {
    let examples: Vec<_> = text.split("\n###").filter_map(parse).collect();
    assert!(!examples.is_empty());
    examples
}

fn parse(block: &str) -> Option<Example> {
    let mut lines = block.lines();
    let title = lines.next().unwrap_or_default().trim().to_owned();
    let (mut status, mut fields, mut kept, mut until) = (None, Vec::new(), Vec::new(), None);
    let (mut until_line, mut until_done) = (false, false);
    let (mut request, mut headers) = (None, Vec::new());
    let (mut body, mut in_body) = (String::new(), false);
    let pair = |text: &str| {
        let (name, value) = text.trim().split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    let expected = |text: &str| {
        let (pointer, value) = pair(text)?;
        Some((pointer, serde_json::from_str::<Value>(&value).ok()?))
    };
    for line in lines {
        let told = |read: bool| assert!(read, "{title}: {line}");
        if let Some(code) = line.strip_prefix("# expect:") {
            status = code.trim().parse::<u16>().ok();
            told(status.is_some());
        } else if let Some(field) = line.strip_prefix("# expect ") {
            let read = expected(field);
            told(read.is_some());
            fields.extend(read);
        } else if let Some(name) = line.strip_prefix("# keep ") {
            let read = pair(name);
            told(read.is_some());
            kept.extend(read);
        } else if line == "# until: no more is in use" {
            until_done = true;
        } else if line == "# until: a line" {
            until_line = true;
        } else if let Some(field) = line.strip_prefix("# until ") {
            until = expected(field);
            told(until.is_some());
        } else if line.starts_with('#') || line.starts_with('@') {
            // A comment for people, or a variable of the file.
        } else if in_body {
            body.push_str(line);
            body.push('\n');
        } else if request.is_none() {
            let parts = line.split_once(' ');
            request = parts.map(|(method, target)| (method.to_owned(), target.trim().to_owned()));
        } else if line.is_empty() {
            in_body = true;
        } else {
            headers.push(line.to_owned());
        }
    }
    let (method, target) = request?;
    let path = target.strip_prefix("{{base}}");
    Some(Example {
        path: path
            .unwrap_or_else(|| panic!("{title}: begins with {{{{base}}}}"))
            .to_owned(),
        status: status.unwrap_or_else(|| panic!("{title}: expects no status")),
        body: body.trim().to_owned(),
        title,
        method,
        headers,
        fields,
        kept,
        until,
        until_line,
        until_done,
    })
}
