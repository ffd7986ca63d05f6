//! What is told of a request when it has ended.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use magi_proto::v1;
use tokio::time::Instant;

use super::tokens::{Tail, Tokens};
use crate::activity::{Active, Cancelling, Phase, Request};
use crate::gateway::Gateway;
use crate::metrics;
use crate::refusal::{Reason, Refusal};
use crate::serve::Worker;
use crate::table::Server;

/// So much of the name of a model is kept and told, in bytes. Ids of models and paths are shorter.
const MAX_MODEL_BYTES: usize = 256;

/// How a request ended.
#[derive(Clone, Debug)]
enum Outcome {
    /// Its answer was sent to the end.
    Done,
    /// It was not forwarded, or had no answer.
    Refused(Reason),
    /// Its answer broke off.
    Broken(Reason),
    /// Its client went away.
    Left,
}

/// What is told of a request when it has ended, which is when this is dropped.
pub(super) struct Account {
    gateway: Arc<Gateway>,
    id: HeaderValue,
    active: Active,
    begun: Instant,
    outcome: Outcome,
    status: u16,
    server: Option<Arc<Server>>,
    waited: Option<Duration>,
    first_byte: Option<Duration>,
    is_stream: bool,
    /// The end of its answer.
    pub(super) tail: Tail,
}

impl Account {
    /// A request has come, with a key of this name. Empty: with none.
    pub(super) fn begin(worker: &Worker, path: Cow<'static, str>, key: &str) -> Self {
        let id = worker.request_id();
        let active = worker.board.begin(Request {
            id,
            at: Timestamp::now(),
            model: String::new(),
            server: None,
            incarnation: None,
            path,
            key: key.to_owned(),
            phase: Phase::Queued,
        });
        Self {
            gateway: worker.gateway.clone(),
            id: id.header(),
            active,
            begun: Instant::now(),
            outcome: Outcome::Left,
            status: 0,
            server: None,
            waited: None,
            first_byte: None,
            is_stream: false,
            tail: Tail::default(),
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> &HeaderValue {
        &self.id
    }

    /// Where it is heard that it is cancelled.
    pub(super) fn cancelling(&self) -> Cancelling {
        self.active.cancelling()
    }

    /// How many requests its server takes at a time. 0: any number.
    pub(super) fn places(&self) -> u32 {
        let server = self.server.as_ref();
        server.map_or(0, |server| server.route.max_in_flight)
    }

    /// Whether it is cancelled. If not, the task is woken when it is.
    pub(super) fn is_cancelled(&self, cx: &mut Context<'_>) -> bool {
        self.active.cancelling().poll(cx).is_ready()
    }

    /// How far it has come.
    pub(super) fn phase(&self, phase: Phase) {
        self.active.update(|request| request.phase = phase);
    }

    /// It asks for a model. Nobody has looked for it yet: its name may be anything.
    pub(super) fn asks_for(&self, model: &str) {
        let model = &model[..model.floor_char_boundary(MAX_MODEL_BYTES)];
        self.active
            .update(|request| request.model = model.to_owned());
    }

    /// It goes to a server.
    pub(super) fn goes_to(&mut self, server: &Arc<Server>) {
        self.server = Some(server.clone());
        self.active
            .update(|request| request.server = Some(server.clone()));
        self.touch();
    }

    /// When it came.
    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// It goes to an incarnation.
    pub(super) fn forwarded(&mut self, incarnation: u64) {
        let waited = *self.waited.get_or_insert_with(|| self.begun.elapsed());
        self.active.update(|request| {
            request.incarnation = Some(incarnation);
            request.phase = Phase::Forwarded;
        });
        if let Some(server) = &self.server {
            server.traffic.counts.forwarded(waited);
        }
    }

    /// The head of its answer has come.
    pub(super) fn answered(&mut self, status: u16, is_stream: bool) {
        self.status = status;
        self.is_stream = is_stream;
        self.phase(Phase::Answering);
    }

    /// A piece of its answer has come.
    pub(super) fn passed(&mut self, data: &[u8]) {
        if self.first_byte.is_none() {
            let after = self.begun.elapsed();
            self.first_byte = Some(after);
            if let Some(server) = &self.server {
                server.traffic.counts.first_byte(after);
            }
        }
        self.tail.push(data);
    }

    /// Its answer was sent to the end.
    pub(super) fn done(&mut self) {
        self.outcome = Outcome::Done;
    }

    /// It was answered with a refusal.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.status = refusal.reason.status().as_u16();
        self.outcome = Outcome::Refused(refusal.reason.clone());
    }

    /// Its answer broke off.
    pub(super) fn broken(&mut self, refusal: &Refusal) {
        self.outcome = Outcome::Broken(refusal.reason.clone());
    }

    /// How it ended, and why.
    fn ended(&self) -> (metrics::Outcome, &str) {
        use metrics::Outcome as Word;
        match &self.outcome {
            Outcome::Done => (Word::Done, ""),
            Outcome::Left => (Word::Cancelled, Reason::Cancelled.code()),
            Outcome::Refused(Reason::Cancelled) | Outcome::Broken(Reason::Cancelled) => {
                (Word::Cancelled, Reason::Cancelled.code())
            }
            Outcome::Refused(reason) => (Word::Refused, reason.code()),
            Outcome::Broken(reason) => (Word::Broken, reason.code()),
        }
    }

    /// Says that something has begun or ended at the server.
    pub(super) fn touch(&self) {
        if let Some(server) = &self.server
            && server.traffic.touch()
        {
            self.gateway.activity.notify_one();
        }
    }

    fn finished(&self, took: Duration, tokens: Tokens) -> v1::FinishedRequest {
        let (outcome, reason) = self.ended();
        let ago = SignedDuration::try_from(took).unwrap_or(SignedDuration::ZERO);
        let at = Timestamp::now().saturating_sub(ago).ok();
        let request = self.active.request();
        v1::FinishedRequest {
            id: request.id.to_string(),
            at: at.map(|at| prost_types::Timestamp {
                seconds: at.as_second(),
                nanos: at.subsec_nanosecond(),
            }),
            model: request.model,
            server: self
                .server
                .as_ref()
                .map_or_else(String::new, |server| server.route.server.clone()),
            incarnation: request.incarnation,
            path: request.path.into_owned(),
            status: self.status.into(),
            key: request.key,
            outcome: outcome.word().to_owned(),
            reason: reason.to_owned(),
            waited: self.waited.and_then(proto),
            first_byte: self.first_byte.and_then(proto),
            took: proto(took),
            prompt_tokens: tokens.prompt,
            tokens: tokens.answer,
            tokens_per_second: tokens.per_second,
            stream: self.is_stream,
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let tokens = self.tail.tokens();
        let (outcome, code) = self.ended();
        if let Some(server) = &self.server {
            let traffic = &server.traffic;
            traffic.counts.ended(outcome, took);
            let (prompt, answer) = (tokens.prompt.unwrap_or(0), tokens.answer.unwrap_or(0));
            traffic.counts.tokens(prompt, answer);
            if outcome == metrics::Outcome::Done {
                traffic.answered(took, tokens.per_second);
            }
        } else if outcome == metrics::Outcome::Refused {
            self.gateway.metrics.refused(code);
        }
        self.touch();
        let gateway = self.gateway.clone();
        gateway.finished(|| self.finished(took, tokens));
        if self.server.is_none() {
            // No server's traffic says that there is something to tell.
            gateway.activity.notify_one();
        }
    }
}

fn proto(time: Duration) -> Option<prost_types::Duration> {
    time.try_into().ok()
}
