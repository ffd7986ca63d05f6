//! What llama-server counts itself.
//!
//! A scrape wakes nothing and keeps nothing alive: a server is asked only if requests went there since it
//! was asked last, and not if it sleeps. Otherwise its last answer is told again, for as long as the
//! incarnation lives.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::proxy::ask;
use crate::table::{Incarnation, Server, Table};

/// A server that is slower than this is too busy to be asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// llama-server's own are 3 KiB.
const MAX_BODY: usize = 256 << 10;

/// llama-server has a dozen.
const MAX_SAMPLES: usize = 64;

/// A number that a server told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// The name, as `llamacpp:prompt_tokens_total`.
    pub(super) name: String,
    /// What it is.
    pub(super) help: String,
    /// Whether it only grows.
    pub(super) is_counter: bool,
    pub(super) value: f64,
}

/// The last answers.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    // Nobody on the data path looks here.
    answers: Mutex<BTreeMap<String, Answer>>,
}

#[derive(Clone, Debug)]
struct Answer {
    incarnation: u64,
    /// What the last use of the server was when it was asked.
    last_used: Option<Timestamp>,
    samples: Arc<[Sample]>,
}

impl Upstream {
    /// What the ready servers tell, by their names.
    pub(super) async fn read(&self, table: &Table) -> BTreeMap<String, Arc<[Sample]>> {
        self.lock()
            .retain(|name, _| table.servers.contains_key(name));
        let mut asked = JoinSet::new();
        for (name, server) in &table.servers {
            let Some(incarnation) = &server.current else {
                self.lock().remove(name);
                continue;
            };
            if self.is_worth_asking(name, server, incarnation) {
                let last_used = server.traffic.last_used();
                let (name, incarnation) = (name.clone(), incarnation.clone());
                asked.spawn(async move { (name, last_used, read(&incarnation).await) });
            }
        }
        while let Some(joined) = asked.join_next().await {
            if let Ok((name, last_used, Some((incarnation, samples)))) = joined {
                let answer = Answer {
                    incarnation,
                    last_used,
                    samples,
                };
                self.lock().insert(name, answer);
            }
        }
        let answers = self.lock();
        let samples = answers
            .iter()
            .map(|(name, answer)| (name.clone(), answer.samples.clone()));
        samples.collect()
    }

    /// Whether requests went to a server since it was asked last.
    fn is_worth_asking(&self, name: &str, server: &Server, incarnation: &Incarnation) -> bool {
        let mut answers = self.lock();
        let known = answers.get(name);
        if known.is_some_and(|known| known.incarnation != incarnation.number) {
            answers.remove(name);
        }
        let last_used = server.traffic.last_used();
        let is_known = answers
            .get(name)
            .is_some_and(|known| known.last_used == last_used);
        incarnation.in_flight() > 0 || last_used.is_some() && !is_known
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an incarnation tells. None: it sleeps, or does not answer.
async fn read(incarnation: &Incarnation) -> Option<(u64, Arc<[Sample]>)> {
    let reading = async {
        // Of what it is asked here, only `/props` does not wake it.
        if incarnation.in_flight() == 0 && sleeps(&ask(incarnation, "/props", MAX_BODY).await?) {
            return None;
        }
        ask(incarnation, "/metrics", MAX_BODY).await
    };
    let text = timeout(PATIENCE, reading).await.ok()??;
    let text = std::str::from_utf8(&text).ok()?;
    Some((incarnation.number, samples(text).into()))
}

fn sleeps(props: &[u8]) -> bool {
    let props: Option<serde_json::Value> = serde_json::from_slice(props).ok();
    props.is_some_and(|props| props["is_sleeping"] == true)
}

/// The numbers in a text of Prometheus' format. What has labels, or another name than llama-server gives,
/// is passed over: it would be told under a name that we do not know.
fn samples(text: &str) -> Vec<Sample> {
    let mut help: BTreeMap<&str, &str> = BTreeMap::new();
    let mut counters: Vec<&str> = Vec::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            let (name, text) = about.split_once(' ').unwrap_or((about, ""));
            help.insert(name, text);
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            counters.extend(kind.strip_suffix(" counter"));
        } else if let Some((name, value)) = line.split_once(' ')
            && is_name(name)
            && let Ok(value) = value.trim().parse::<f64>()
        {
            samples.push(Sample {
                name: name.to_owned(),
                help: help.get(name).copied().unwrap_or_default().to_owned(),
                // One of llama-server's is called a counter, and is an average.
                is_counter: counters.contains(&name) && name.ends_with("_total"),
                value,
            });
        }
        if samples.len() == MAX_SAMPLES {
            break;
        }
    }
    samples
}

fn is_name(name: &str) -> bool {
    let rest = name.strip_prefix("llamacpp:");
    rest.is_some_and(|rest| {
        let mut bytes = rest.bytes();
        !rest.is_empty() && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_what_they_are() {
        let text = "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n\
                    # TYPE llamacpp:prompt_tokens_total counter\n\
                    llamacpp:prompt_tokens_total 42\n\
                    # TYPE llamacpp:n_busy_slots_per_decode counter\n\
                    llamacpp:n_busy_slots_per_decode 1.5\n";
        let read = samples(text);
        assert_eq!(read[0].name, "llamacpp:prompt_tokens_total");
        assert_eq!(read[0].help, "Number of prompt tokens processed.");
        assert!(read[0].is_counter);
        assert_eq!(read[1].value, 1.5);
        assert!(!read[1].is_counter);
    }

    #[test]
    fn what_a_server_makes_up_is_not_told() {
        let text = "evil 1\nllamacpp:a{b=\"c\"} 1\nllamacpp:x nothing\nllamacpp: 1\n\n# \n#";
        assert!(samples(text).is_empty());
        let many: String = (0..1000).map(|n| format!("llamacpp:x{n} 1\n")).collect();
        assert_eq!(samples(&many).len(), MAX_SAMPLES);
    }

    #[test]
    fn a_server_that_sleeps_says_so() {
        assert!(sleeps(br#"{"is_sleeping":true}"#));
        assert!(!sleeps(br#"{"is_sleeping":false}"#));
        assert!(!sleeps(b"oops"));
    }
}
