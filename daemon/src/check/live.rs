//! Asking each ready server for one token.
//!
//! `/health` says that a server listens; only a request shows that it works. A server for embeddings or
//! for ranking is asked for what it is there for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::finding::{Check, Finding};
use crate::process::probe::{self, ProbeError};
use crate::supervisor::key::ApiKey;
use crate::text::one_line;

/// How long one server may take for a token. One that is busy for longer is told as such.
const LIMIT: Duration = Duration::from_secs(8);

/// So many are asked at a time.
const AT_A_TIME: usize = 64;

/// What a server is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To go on with a text.
    Text,
    /// To make vectors of texts.
    Embedding,
    /// To rank documents.
    Reranking,
}

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub server: String,
    /// Where it listens.
    pub endpoint: SocketAddr,
    /// What it asks its clients for.
    pub api_key: Option<ApiKey>,
    /// What it is there for.
    pub purpose: Purpose,
}

impl Purpose {
    /// What a server with this command line is there for.
    pub fn of(arguments: &[String]) -> Self {
        let has = |flags: &[&str]| arguments.iter().any(|word| flags.contains(&&**word));
        if has(&["--reranking", "--rerank"]) {
            Self::Reranking
        } else if has(&["--embeddings", "--embedding"]) {
            Self::Embedding
        } else {
            Self::Text
        }
    }

    /// The path and the document of the smallest request.
    fn request(self) -> (&'static str, String) {
        let (path, document) = match self {
            Self::Text => ("/completion", json!({ "prompt": "Hi", "n_predict": 1 })),
            Self::Embedding => ("/embedding", json!({ "content": "Hi" })),
            Self::Reranking => ("/v1/rerank", json!({ "query": "Hi", "documents": ["Hi"] })),
        };
        (path, document.to_string())
    }

    /// What it makes, behind its article.
    fn product(self) -> (&'static str, &'static str) {
        match self {
            Self::Text => ("a", "token"),
            Self::Embedding => ("an", "embedding"),
            Self::Reranking => ("a", "rank"),
        }
    }
}

/// Asks all of them at the same time.
pub async fn live(targets: Vec<Target>) -> Vec<Finding> {
    if targets.is_empty() {
        return vec![Finding::skipped(Check::Live, "no server is ready")];
    }
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let latest = Instant::now() + LIMIT;
    let mut asking = JoinSet::new();
    for target in targets {
        let turns = turns.clone();
        asking.spawn(async move {
            let _turn = turns.acquire().await;
            ask(target, latest).await
        });
    }
    let mut findings = asking.join_all().await;
    findings.sort_by(|a, b| a.what.cmp(&b.what));
    findings
}

async fn ask(target: Target, latest: Instant) -> Finding {
    let (path, document) = target.purpose.request();
    let began = Instant::now();
    let left = latest.saturating_duration_since(began);
    let key = target.api_key.as_ref().map(ApiKey::as_str);
    let answer = probe::post(target.endpoint, left, path, document, key).await;
    judge(&target, &answer, began.elapsed())
}

fn judge(target: &Target, answer: &Result<(u16, Bytes), ProbeError>, took: Duration) -> Finding {
    let Target {
        server, purpose, ..
    } = target;
    let (article, product) = purpose.product();
    let failed = |why: String| {
        let finding = Finding::error(Check::Live, format!("{server} made no {product}"));
        finding
            .because(why)
            .help(format!("`magictl logs {server}` may tell more"))
    };
    match answer {
        Ok((200, _)) => {
            let what = format!(
                "{server} made {article} {product} in {} ms",
                took.as_millis()
            );
            Finding::ok(Check::Live, what)
        }
        Ok((status, body)) => failed(format!("HTTP status {status}{}", complaint(body))),
        Err(ProbeError::TimedOut(_)) => failed(format!(
            "it is busy, or it hangs: no answer within {LIMIT:?}"
        ))
        .help(format!("`magictl explain {server}` tells what it does")),
        Err(error @ (ProbeError::Refused | ProbeError::Status(_) | ProbeError::Broken(_))) => {
            failed(error.to_string())
        }
    }
}

/// What llama-server says of a request that it refuses, with the punctuation in front.
fn complaint(body: &[u8]) -> String {
    let document = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let message = document["error"]["message"].as_str();
    message.map_or_else(String::new, |message| format!(": {}", one_line(message)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    fn target(purpose: Purpose) -> Target {
        Target {
            server: "x".to_owned(),
            endpoint: SocketAddr::new([127, 0, 0, 1].into(), 1),
            api_key: None,
            purpose,
        }
    }

    #[test]
    fn a_server_is_asked_for_what_it_is_there_for() {
        let of = |flag: &str| Purpose::of(&["--model".to_owned(), flag.to_owned()]);
        assert_eq!(of("--embeddings"), Purpose::Embedding);
        assert_eq!(of("--rerank"), Purpose::Reranking);
        assert_eq!(of("--jinja"), Purpose::Text);
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_an_error_and_no_server_at_all_is_none() {
        let findings = live(vec![target(Purpose::Text)]).await;
        assert_eq!(findings[0].level, Level::Error);
        assert_eq!(findings[0].what, "x made no token");
        assert_eq!(live(Vec::new()).await[0].level, Level::Skipped);
    }

    #[test]
    fn a_late_answer_says_that_the_server_may_be_busy() {
        let late = Err(ProbeError::TimedOut(LIMIT));
        let finding = judge(&target(Purpose::Embedding), &late, LIMIT);
        assert_eq!(finding.what, "x made no embedding");
        assert!(finding.why.contains("busy"));
    }

    #[test]
    fn an_answer_is_told_with_its_time_or_with_what_it_complains_of() {
        let judged = |status: u16, body: &'static str| {
            let answer = Ok((status, Bytes::from(body)));
            judge(
                &target(Purpose::Reranking),
                &answer,
                Duration::from_millis(7),
            )
        };
        assert_eq!(judged(200, "").what, "x made a rank in 7 ms");
        let refused = judged(501, "{\"error\": {\"message\": \"no rank\"}}");
        assert_eq!(refused.why, "HTTP status 501: no rank");
        assert_eq!(judged(500, "<html>").why, "HTTP status 500");
    }
}
