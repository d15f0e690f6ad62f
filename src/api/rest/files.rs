//! Reads files in the body of a request, YAML or JSON, and refuses them with the place of every mistake.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::api::problem::{MEDIA_TYPE, Problem};
use crate::file::diagnostic::{FileError, Mistake};

/// A problem document about a file, with every mistake in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileProblem {
    #[serde(flatten)]
    problem: Problem,
    /// The mistakes, in the order of the file.
    mistakes: Vec<Mistake>,
}

/// A refusal with or without a file.
pub(super) enum Refusal {
    /// Without a file.
    Problem(Box<Problem>),
    /// A wrong file, with the code.
    File(Box<FileError>, &'static str),
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => problem.into_response(),
            Self::File(error, code) => {
                let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
                    .remedy("Correct the file at the lines that `mistakes` names.");
                let body = FileProblem {
                    problem,
                    mistakes: error.mistakes.clone(),
                };
                as_problem(StatusCode::UNPROCESSABLE_ENTITY, body)
            }
        }
    }
}

/// A problem document with further members.
pub(super) fn as_problem(status: StatusCode, body: impl Serialize) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    let kind = header::HeaderValue::from_static(MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// So many requests read files at once; others wait for their turn without a thread.
static READING: Semaphore = Semaphore::const_new(2);

/// Parses a file on a thread that may block: a large one takes long, and no other request should wait for it.
pub(super) async fn reading<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    // It is never closed; if it were, the file would be parsed without waiting.
    let _turn = READING.acquire().await;
    match tokio::task::spawn_blocking(work).await {
        Ok(read) => read,
        Err(error) => Err(Problem::internal(format!("The file was not read: {error}")).into()),
    }
}

/// The text of a file. `code` is the error code for a body that is no text.
pub(super) fn text_of(headers: &HeaderMap, body: &[u8], code: &'static str) -> Result<String, Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // A form of a web page can send none of these without asking first (Fetch standard, CORS-safelisted content types).
    if ![
        "application/yaml",
        "application/x-yaml",
        "text/yaml",
        "application/json",
    ]
    .contains(&essence.as_str())
    {
        let detail = format!("The body is said to be '{kind}'");
        let problem = Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", detail)
            .field("Content-Type")
            .remedy("Send the file with 'Content-Type: application/yaml' or 'application/json'.");
        return Err(problem);
    }
    let text = std::str::from_utf8(body);
    text.map(str::to_owned)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, code, "The file is not UTF-8").remedy("Save it as UTF-8."))
}
