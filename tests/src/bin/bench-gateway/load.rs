//! Requests as fast as they are answered, made by wrk.

use std::fs;
use std::path::PathBuf;

use magi_tests::harness::{Call, Fleet};
use serde_json::json;
use tokio::process::Command;

use super::peers::Peer;

/// A request for a completion.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) model: &'static str,
    /// How long its body is.
    pub(super) bytes: usize,
    /// How long its answer may be.
    pub(super) tokens: u32,
}

/// One kind of request, so many at a time.
pub(super) struct Load {
    script: PathBuf,
    connections: u32,
}

/// What was measured of one peer, round by round.
pub(super) struct Measured {
    pub(super) peer: &'static str,
    rounds: Vec<Round>,
}

/// What was measured of one peer at a time.
#[derive(Clone, Copy)]
pub(super) struct Round {
    pub(super) per_second: f64,
    /// In microseconds.
    pub(super) p50: f64,
    /// In microseconds.
    pub(super) p99: f64,
}

impl Measured {
    /// The median of all rounds.
    pub(super) fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// The median of what each round says of the two. They were measured one after the other, so that what
    /// else the machine did hit both alike.
    pub(super) fn beside(&self, other: &Self, of: impl Fn(&Round, &Round) -> f64) -> f64 {
        let pairs = self.rounds.iter().zip(&other.rounds);
        median(pairs.map(|(ours, theirs)| of(ours, theirs)).collect())
    }

    /// How many times as many requests per second as of the other.
    pub(super) fn throughput_to(&self, other: &Self) -> f64 {
        self.beside(other, |ours, theirs| ours.per_second / theirs.per_second)
    }
}

/// How long one round takes.
const ROUND: &str = "1s";

impl Load {
    /// Asks `question` over so many connections.
    pub(super) fn new(fleet: &Fleet, question: Question, connections: u32) -> Self {
        let Question {
            model,
            bytes,
            tokens,
        } = question;
        let name = fleet.path(&format!("{model}-{bytes}-{tokens}"));
        let text = question.text();
        fs::write(&name, text).expect("the directory is writable");
        let script = name.with_extension("lua");
        let lua = format!(
            r#"
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open("{}"):read("*a")
done = function(summary, latency)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    local rate = summary.requests * 1000000 / summary.duration
    print("RESULT " .. rate .. " " .. latency:percentile(50) .. " " .. latency:percentile(99)
        .. " " .. failed)
end
"#,
            name.display()
        );
        fs::write(&script, lua).expect("the directory is writable");
        Self {
            script,
            connections,
        }
    }

    /// Loads each of the peers in turn, forwards and backwards.
    pub(super) async fn compare(&self, peers: &[&Peer], rounds: usize) -> Vec<Measured> {
        let mut all: Vec<_> = peers
            .iter()
            .map(|peer| Measured {
                peer: peer.name,
                rounds: Vec::new(),
            })
            .collect();
        for round in 0..rounds {
            let mut turns: Vec<_> = peers.iter().zip(&mut all).collect();
            // So that nobody always follows the same one.
            if round % 2 == 1 {
                turns.reverse();
            }
            for (peer, measured) in turns {
                measured.rounds.push(self.round(peer).await);
            }
        }
        all
    }

    async fn round(&self, peer: &Peer) -> Round {
        let output = Command::new("wrk")
            .args(["-t", "1", "-d", ROUND, "-c"])
            .arg(self.connections.to_string())
            .arg("-s")
            .arg(&self.script)
            .arg(format!("{}/v1/completions", peer.url))
            .output()
            .await
            .expect("wrk can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let result = result.unwrap_or_else(|| panic!("wrk does not tell: {text}"));
        let numbers: Vec<f64> = result
            .split_whitespace()
            .map(|number| number.parse().expect("wrk tells numbers"))
            .collect();
        assert!(numbers[3] == 0.0, "{} failed requests: {text}", peer.name);
        Round {
            per_second: numbers[0],
            p50: numbers[1],
            p99: numbers[2],
        }
    }
}

/// Sends one body of so many MiB.
pub(super) async fn post_mebibytes(url: &str, mebibytes: usize) {
    let question = Question {
        model: "fast",
        bytes: mebibytes << 20,
        tokens: 1,
    };
    let call = Call::text("/v1/completions", question.text());
    let answer = call.answer(url).await.expect("it is answered");
    assert!(answer.status.is_success(), "{}", answer.text);
}

impl Question {
    fn text(self) -> String {
        // What fills it is read by nobody, so that a server does not have to think about it.
        let filling = "x".repeat(self.bytes.saturating_sub(70));
        let (model, tokens) = (self.model, self.tokens);
        json!({ "model": model, "prompt": "hi", "max_tokens": tokens, "user": filling }).to_string()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
