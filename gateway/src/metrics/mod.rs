//! What is counted, and how it is told to Prometheus.
//!
//! The data path counts with atomics in the [`Counts`] of a server's [`Traffic`](crate::traffic::Traffic):
//! it takes no lock and allocates nothing. Names and models of servers are labels, and only those of
//! servers that exist are told: what clients write into requests never becomes one.

mod timing;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use timing::Timing;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its answer reached its end.
    Done,
    /// It was answered by the gateway.
    Refused,
    /// Its client went away, or somebody cancelled it.
    Cancelled,
    /// The server broke it off.
    Broken,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Cancelled, Self::Broken];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
            Self::Broken => "broken",
        }
    }
}

/// What is counted of one server's requests.
#[derive(Debug, Default)]
pub struct Counts {
    requests: [AtomicU64; Outcome::ALL.len()],
    prompt_tokens: AtomicU64,
    tokens: AtomicU64,
    waited: Timing,
    first_byte: Timing,
    took: Timing,
}

impl Counts {
    /// A request was forwarded this long after it came.
    pub fn forwarded(&self, waited: Duration) {
        self.waited.observe(waited);
    }

    /// The first byte of an answer's body was sent this long after the request came.
    pub fn first_byte(&self, after: Duration) {
        self.first_byte.observe(after);
    }

    /// A request ended this long after it came.
    pub fn ended(&self, outcome: Outcome, took: Duration) {
        self.requests[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.took.observe(took);
    }

    /// The tokens of a request and its answer, as the server told.
    pub fn tokens(&self, prompt: u64, answer: u64) {
        self.prompt_tokens.fetch_add(prompt, Ordering::Relaxed);
        self.tokens.fetch_add(answer, Ordering::Relaxed);
    }
}

/// What is counted beside the requests of a server.
#[derive(Debug, Default)]
pub struct Metrics {}
