//! What is counted, and how it is told to Prometheus.
//!
//! The data path counts with atomics in the [`Counts`] of a server's [`Traffic`](crate::traffic::Traffic):
//! it takes no lock and allocates nothing. Names and models of servers are labels, and only those of
//! servers that exist are told: what clients write into requests never becomes one.

mod happenings;
mod scrape;
mod timing;
mod upstream;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use magi_proto::{DaemonChannel, v1};

use crate::table::Table;
use happenings::{Happenings, Reader};
use scrape::Scrape;
use timing::Timing;
use upstream::Upstream;

/// The most reasons that are told apart: there are two dozen, and the exit classes.
const MAX_REASONS: usize = 64;

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

    /// How many ended, by outcome.
    fn requests(&self) -> [u64; Outcome::ALL.len()] {
        self.requests.each_ref().map(|n| n.load(Ordering::Relaxed))
    }

    /// The tokens of all prompts, and of all answers.
    fn token_counts(&self) -> (u64, u64) {
        let prompt = self.prompt_tokens.load(Ordering::Relaxed);
        (prompt, self.tokens.load(Ordering::Relaxed))
    }

    /// The tokens of a request and its answer, as the server told.
    pub fn tokens(&self, prompt: u64, answer: u64) {
        self.prompt_tokens.fetch_add(prompt, Ordering::Relaxed);
        self.tokens.fetch_add(answer, Ordering::Relaxed);
    }
}

/// What is counted beside the requests of servers.
#[derive(Debug, Default)]
pub struct Metrics {
    // Not on the way of a request that is forwarded.
    refusals: Mutex<BTreeMap<String, u64>>,
    happenings: Happenings,
    upstream: Upstream,
}

impl Metrics {
    /// A request was refused, with this stable code, before it was clear which server it is for.
    pub fn refused(&self, code: &str) {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.len() < MAX_REASONS || refusals.contains_key(code) {
            *refusals.entry(code.to_owned()).or_default() += 1;
        }
    }

    /// Counts what magid tells of servers, for as long as it is not dropped.
    pub async fn watch(self: Arc<Self>, magid: DaemonChannel) {
        Reader::default().run(magid, &self.happenings).await;
    }

    /// Everything, as Prometheus reads it. Servers that are gone are forgotten.
    ///
    /// `servers` is what magid says of them, empty if it is away.
    ///
    /// # Errors
    ///
    /// None that is known of: it is written into memory.
    pub async fn scrape(
        self: Arc<Self>,
        table: Arc<Table>,
        servers: Vec<v1::Server>,
    ) -> Result<String, fmt::Error> {
        self.happenings
            .keep(|server| table.servers.contains_key(server));
        let upstream = self.upstream.read(&table).await;
        let scrape = Scrape {
            metrics: self,
            table,
            servers,
            upstream,
        };
        scrape.write()
    }

    fn refusals(&self) -> BTreeMap<String, u64> {
        let refusals = self.refusals.lock();
        refusals.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Link, Server};

    fn table() -> Arc<Table> {
        let server = Server {
            route: v1::Route {
                server: "alpha".to_owned(),
                model_id: Some("qwen".to_owned()),
                state: v1::ServerState::Ready.into(),
                ..Default::default()
            },
            current: None,
            traffic: Arc::default(),
        };
        let servers = BTreeMap::from([("alpha".to_owned(), Arc::new(server))]);
        Arc::new(Table::new(Link::Up, servers))
    }

    #[tokio::test]
    async fn a_scrape_tells_of_each_server_under_its_name_and_model() {
        let table = table();
        let counts = &table.servers["alpha"].traffic.counts;
        counts.ended(Outcome::Done, Duration::from_millis(3));
        counts.tokens(5, 7);
        let metrics = Arc::new(Metrics::default());
        metrics.refused("no-such-model");
        let known = v1::Server {
            name: "alpha".to_owned(),
            memory: Some(4096),
            ..Default::default()
        };
        let text = metrics.scrape(table.clone(), vec![known]).await.unwrap();
        for line in [
            r#"magi_requests_total{server="alpha",model="qwen",outcome="done"} 1"#,
            r#"magi_requests_total{server="alpha",model="qwen",outcome="broken"} 0"#,
            r#"magi_request_duration_seconds_bucket{le="0.005",server="alpha",model="qwen"} 1"#,
            r#"magi_tokens_total{server="alpha",model="qwen"} 7"#,
            r#"magi_server_state{server="alpha",model="qwen",state="ready"} 1.0"#,
            r#"magi_server_memory_bytes{server="alpha",model="qwen"} 4096.0"#,
            r#"magi_refusals_total{reason="no-such-model"} 1"#,
            "magi_magid_up 1.0",
            "# EOF",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
    }

    #[tokio::test]
    async fn what_clients_write_never_becomes_a_label() {
        let metrics = Arc::new(Metrics::default());
        for n in 0..1000 {
            metrics.refused(&format!("reason-{n}"));
        }
        assert_eq!(metrics.refusals().len(), MAX_REASONS);
    }
}
