//! The slots, in which answers are made.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::fault::Faults;
use super::{ends, log};

/// Tokens after which a fault in the middle of a stream strikes.
const MID_STREAM: u64 = 3;

/// What is asked of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub prompt_tokens: u64,
    pub max_tokens: u64,
}

/// What one slot does now, as `/slots` shows it.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    busy: bool,
    prompt_tokens: u64,
    decoded: u64,
}

impl Slot {
    /// A slot that never did anything tells nothing of a task.
    fn describe(&self, id: usize) -> Value {
        let mut told = json!({
            "id": id,
            "n_ctx": 4096,
            "speculative": false,
            "is_processing": self.busy,
        });
        if self.busy || self.decoded > 0 {
            told["n_prompt_tokens"] = self.prompt_tokens.into();
            told["n_prompt_tokens_processed"] = self.prompt_tokens.into();
            told["next_token"] =
                json!([{ "has_next_token": self.busy, "n_decoded": self.decoded }]);
        }
        told
    }
}

/// What was done since the start, as `/metrics` shows it.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    predicted_tokens: u64,
}

/// All slots of a server.
pub(super) struct Slots {
    inner: Mutex<(Vec<Slot>, Totals)>,
    free: Arc<Semaphore>,
    faults: Faults,
}

impl Slots {
    pub(super) fn new(count: usize, faults: Faults) -> Self {
        Self {
            inner: Mutex::new((vec![Slot::default(); count], Totals::default())),
            free: Arc::new(Semaphore::new(count)),
            faults,
        }
    }

    /// Makes the tokens of an answer in the next free slot: one `()` for each. Dropping the receiver
    /// frees the slot, except where it is wedged.
    pub(super) fn run(self: &Arc<Self>, job: Job) -> mpsc::Receiver<()> {
        let (tokens, receiver) = mpsc::channel(1);
        let slots = Arc::clone(self);
        tokio::spawn(async move {
            let permit = Arc::clone(&slots.free).acquire_owned().await;
            let id = slots.take(job);
            slots.decode(id, job, &tokens).await;
            slots.with(|all, _| all[id].busy = false);
            drop(permit);
        });
        receiver
    }

    async fn decode(&self, id: usize, job: Job, tokens: &mpsc::Sender<()>) {
        for decoded in 0..job.max_tokens {
            if self.faults.wedge == Some(decoded) {
                log::info("decode", "the slot is wedged");
                return std::future::pending().await;
            }
            if decoded == MID_STREAM
                && let Some(end) = self.faults.exit_mid_stream
            {
                ends::leave(end);
            }
            tokio::time::sleep(self.faults.token_time).await;
            self.with(|all, totals| {
                all[id].decoded += 1;
                totals.predicted_tokens += 1;
            });
            if tokens.send(()).await.is_err() {
                return;
            }
        }
    }

    /// Marks a free slot busy. There is one: the permit says so.
    fn take(&self, job: Job) -> usize {
        self.with(|all, totals| {
            totals.prompt_tokens += job.prompt_tokens;
            let id = all.iter().position(|slot| !slot.busy).unwrap_or(0);
            all[id] = Slot {
                busy: true,
                prompt_tokens: job.prompt_tokens,
                decoded: 0,
            };
            id
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut [Slot], &mut Totals) -> T) -> T {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, totals) = &mut *inner;
        act(all, totals)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.with(|all, _| all.len())
    }

    /// The answer to `/slots`.
    pub(super) fn describe(&self) -> Value {
        self.with(|all, _| {
            all.iter()
                .enumerate()
                .map(|(id, slot)| slot.describe(id))
                .collect()
        })
    }

    /// The answer to `/metrics`.
    pub(super) fn metrics(&self) -> String {
        self.with(|all, totals| {
            let busy = all.iter().filter(|slot| slot.busy).count();
            format!(
                "llamacpp:prompt_tokens_total {}\nllamacpp:tokens_predicted_total {}\n\
                 llamacpp:n_decode_total {}\nllamacpp:requests_processing {busy}\n\
                 llamacpp:requests_deferred 0\n",
                totals.prompt_tokens, totals.predicted_tokens, totals.predicted_tokens
            )
        })
    }
}
