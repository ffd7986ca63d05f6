//! The answer of a server, on its way to the client.
//!
//! Each piece is passed on when it comes, and nothing is kept of it but its end. It holds the request's
//! place and its count at the incarnation until the last byte, or until the client is gone.
//!
//! A stream that the server breaks off is broken off for the client too. Where it is one of events, one
//! more event tells why; the end that would say "that was all" is never sent.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};

use super::account::Account;
use super::exchange::Upstream;
use super::reply::BrokenOff;
use crate::queue::Place;
use crate::refusal::{Reason, Refusal, Shape};
use crate::serve::Worker;
use crate::table::InFlight;

/// The answer of a server.
pub(crate) struct Answer {
    worker: Rc<Worker>,
    /// Before the account, so that what is held is given back when the end is told.
    state: State,
    account: Account,
    shape: Shape,
    is_events: bool,
}

/// What a request holds while it is answered.
pub(super) struct Held {
    pub(super) upstream: Upstream,
    pub(super) in_flight: InFlight,
    /// Held only to be given back.
    pub(super) _place: Place,
}

enum State {
    /// More is to come.
    Flowing(Held),
    /// It breaks off, and a client of a stream was told.
    Told,
    /// Nothing more will come.
    Over,
}

impl Answer {
    pub(super) fn new(
        worker: Rc<Worker>,
        account: Account,
        shape: Shape,
        is_events: bool,
        held: Held,
    ) -> Self {
        let mut answer = Self {
            worker,
            account,
            shape,
            is_events,
            state: State::Flowing(held),
        };
        answer.finish_if_over();
        answer
    }

    pub(super) fn is_end(&self) -> bool {
        matches!(self.state, State::Over)
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Flowing(held) => held.upstream.size_hint(),
            State::Over => SizeHint::with_exact(0),
            State::Told => SizeHint::default(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.state {
            State::Flowing(held) => {
                if self.account.is_cancelled(cx) {
                    return self.break_off(cancelled(), cx);
                }
                match held.upstream.poll_piece(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Ok(piece))) => {
                        self.account.passed(&piece);
                        // An answer of known length is not asked for its end.
                        self.finish_if_over();
                        Poll::Ready(Some(Ok(Frame::data(piece))))
                    }
                    Poll::Ready(Some(Err(cut))) => {
                        let message = format!("the server broke off its answer: {cut}");
                        self.break_off(Refusal::new(Reason::UpstreamBroken, message), cx)
                    }
                    Poll::Ready(None) => {
                        self.finish();
                        Poll::Ready(None)
                    }
                }
            }
            State::Told => {
                self.state = State::Over;
                Poll::Ready(Some(Err(BrokenOff)))
            }
            State::Over => Poll::Ready(None),
        }
    }

    fn finish_if_over(&mut self) {
        if let State::Flowing(held) = &self.state
            && held.upstream.is_over()
        {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let State::Flowing(held) = std::mem::replace(&mut self.state, State::Over) {
            self.account.done();
            let places = self.account.places();
            let incarnation = held.in_flight.incarnation();
            self.worker.pool.put(incarnation, places, held.upstream);
        }
    }

    /// Lets go of the server at once, and tells the client.
    fn break_off(
        &mut self,
        refusal: Refusal,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.account.broken(&refusal);
        self.state = State::Told;
        if !self.is_events {
            return self.poll_frame(cx);
        }
        let event = refusal.event(self.shape);
        let event = match self.account.tail.is_within_event() {
            true => Bytes::from([b"\n\n", &event[..]].concat()),
            false => event,
        };
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}

/// Somebody cancelled the request.
pub(super) fn cancelled() -> Refusal {
    Refusal::new(Reason::Cancelled, "the request was cancelled")
}

/// Whether an answer is a stream of events.
pub(super) fn is_events(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"))
}
