//! Limits the memory that request bodies use, and refuses a body that is too large by its header.
//!
//! Each body is limited by its path, and all of them together by one budget: what exceeds a limit is refused with 413
//! or 503 before it is read, or while it arrives if its length is not known. A body's share is free again when its
//! request has been answered.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::problem::Problem;
use super::rest::largest_body;
use super::state::AppState;

/// Bytes of all bodies that are being read or processed.
pub const LIMIT: u64 = 512 << 20;

/// A limit of memory for one purpose, in bytes.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    used: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The number of refusals.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn take(&self, octets: u64) -> bool {
        let fits = |used: u64| used.checked_add(octets).filter(|sum| *sum <= self.limit);
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

/// One request's share of a budget. Dropping it returns the share.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    octets: AtomicU64,
}

impl Share {
    fn grow(&self, octets: u64) -> bool {
        let taken = self.budget.take(octets);
        if taken {
            self.octets.fetch_add(octets, Ordering::Relaxed);
        }
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let octets = *self.octets.get_mut();
        self.budget.used.fetch_sub(octets, Ordering::Relaxed);
    }
}

/// The middleware: admits a request if its body fits.
pub async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let limit = largest_body(request.uri().path()) as u64;
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = declared.filter(|length| *length > limit) {
        let detail = format!("The body has {length} octets, and this request may have {limit}");
        let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", detail);
        return refuse(
            problem
                .field("Content-Length")
                .remedy("Split it into several requests."),
        );
    }
    let share = Arc::new(Share {
        budget: Arc::clone(state.bodies()),
        octets: AtomicU64::new(0),
    });
    if !share.grow(declared.unwrap_or(0)) {
        return refuse(full());
    }
    let counted = declared.is_none().then(|| Arc::clone(&share));
    let request = match counted {
        Some(share) => request.map(|body| Body::new(Counted { body, share })),
        None => request,
    };
    let response = next.run(request).await;
    drop(share);
    response
}

fn full() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "RequestLimitExceeded",
        format!(
            "Requests under way have taken the {} MiB that there are for bodies",
            LIMIT >> 20
        ),
    )
    .remedy("Send it again when they have been answered, or split it into smaller ones.")
}

/// The connection cannot be used for another request while the body is unread.
fn refuse(problem: Problem) -> Response {
    let mut response = problem.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A body of unknown length, which takes its share as it arrives.
struct Counted {
    body: Body,
    share: Arc<Share>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        polled.map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(axum::BoxError::from)?;
                let octets = frame.data_ref().map_or(0, Bytes::len) as u64;
                if self.share.grow(octets) {
                    Ok(frame)
                } else {
                    Err("there is no memory for this body now".into())
                }
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back_and_what_does_not_fit_is_counted() {
        let budget = Arc::new(Budget::new(100));
        let share = |octets| {
            let share = Share {
                budget: Arc::clone(&budget),
                octets: AtomicU64::new(0),
            };
            share.grow(octets).then_some(share)
        };
        let first = share(60).unwrap();
        assert!(share(41).is_none());
        assert!(first.grow(40));
        assert_eq!((budget.used(), budget.refused()), (100, 1));
        drop(first);
        assert_eq!(budget.used(), 0);
        assert!(share(100).is_some() && share(101).is_none() && share(u64::MAX).is_none());
    }
}
