//! Sends the request examples in `api/examples` to a new server, in order, and checks the documented answers.
//!
//! An example is a file for editors and REST clients (`.http`): requests separated by `###`, variables as `{{base}}`.
//! Expectations are in comments: `# expect: 201`, and `# expect /name: "home"` for a field of the body.

use std::path::Path;

use serde_json::Value;

use crate::support::api::Server;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/api/examples");

struct Example {
    title: String,
    method: String,
    path: String,
    headers: Vec<String>,
    body: String,
    status: u16,
    fields: Vec<(String, Value)>,
}

fn parse(block: &str) -> Option<Example> {
    let mut lines = block.lines();
    let title = lines.next().unwrap_or_default().trim().to_owned();
    let (mut status, mut fields) = (None, Vec::new());
    let mut request = None;
    let mut headers = Vec::new();
    let mut body = String::new();
    let mut in_body = false;
    for line in lines {
        if let Some(expected) = line.strip_prefix("# expect") {
            match expected.strip_prefix(':') {
                Some(text) => status = Some(text.trim().parse().unwrap_or_else(|_| panic!("{title}: {line}"))),
                None => {
                    let (pointer, value) = expected
                        .trim()
                        .split_once(": ")
                        .unwrap_or_else(|| panic!("{title}: {line}"));
                    let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{title}: {line}: {error}"));
                    fields.push((pointer.to_owned(), value));
                }
            }
        } else if line.starts_with('#') || line.starts_with('@') {
        } else if in_body {
            body.push_str(line);
            body.push('\n');
        } else if request.is_none() {
            request = line
                .split_once(' ')
                .map(|(method, target)| (method.to_owned(), target.trim().to_owned()));
        } else if line.is_empty() {
            in_body = true;
        } else {
            headers.push(line.to_owned());
        }
    }
    let (method, target) = request?;
    let path = target
        .strip_prefix("{{base}}")
        .unwrap_or_else(|| panic!("{title}: the target begins with {{{{base}}}}"));
    Some(Example {
        path: path.to_owned(),
        status: status.unwrap_or_else(|| panic!("{title}: expects no status")),
        body: body.trim().to_owned(),
        title,
        method,
        headers,
        fields,
    })
}

#[tokio::test]
async fn every_example_brings_what_it_says() {
    let mut files: Vec<_> = Path::new(FOLDER)
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let server = Server::start().await;
        let text = std::fs::read_to_string(&file).unwrap();
        let examples: Vec<_> = text.split("###").filter_map(parse).collect();
        assert!(!examples.is_empty(), "{}", file.display());
        for example in examples {
            let headers: Vec<&str> = example.headers.iter().map(String::as_str).collect();
            let answer = server
                .ask(&example.method, &example.path, &headers, &example.body)
                .await;
            let at = format!("{}: {}", file.display(), example.title);
            assert_eq!(answer.status, example.status, "{at}: {}", answer.body);
            for (pointer, expected) in &example.fields {
                assert_eq!(
                    answer.json().pointer(pointer),
                    Some(expected),
                    "{at}: {pointer} in {}",
                    answer.body
                );
            }
        }
        server.stop().await;
    }
}
