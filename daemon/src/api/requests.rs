//! Requests that attached gateways have finished: a bounded history that every reader follows at his own
//! pace.

use std::collections::VecDeque;
use std::sync::Arc;

use magi_proto::v1;
use tokio::sync::watch;
use tonic::Request;

use super::reader::{self, Gone, Message, Reader};
use crate::text::one_line;

/// How many are kept.
const KEPT: usize = 1000;

/// Requests in one message.
const PER_MESSAGE: usize = 250;

#[derive(Debug, Default)]
struct History {
    requests: VecDeque<Arc<v1::FinishedRequest>>,
    /// How many there were: the number of the last one.
    newest: u64,
    /// How many were never told of.
    missed: u64,
}

/// The history of finished requests.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<watch::Sender<History>>);

impl RequestLog {
    /// Takes down requests that have ended.
    pub(super) fn record(&self, finished: v1::FinishedRequests) {
        self.0.send_modify(|history| {
            history.missed = history.missed.saturating_add(finished.missed);
            for request in finished.requests {
                history.newest += 1;
                if history.requests.len() == KEPT {
                    history.requests.pop_front();
                }
                history.requests.push_back(Arc::new(bounded(request)));
            }
        });
    }

    /// Passes requests on until the reader is gone, has all he asked for, or magid ends.
    pub(super) fn read(
        &self,
        request: Request<v1::WatchRequestsRequest>,
        ending: watch::Receiver<bool>,
    ) -> tokio_stream::wrappers::ReceiverStream<Message<v1::WatchRequestsResponse>> {
        let (reader, stream) = reader::stream(&request, "requests");
        let place = Place {
            history: self.0.subscribe(),
            seen: 0,
            missed: None,
        };
        tokio::spawn(pass_on(place, request.into_inner(), reader, ending));
        stream
    }
}

/// What gateways tell comes from their clients, who may write anything.
fn bounded(request: v1::FinishedRequest) -> v1::FinishedRequest {
    v1::FinishedRequest {
        id: one_line(&request.id),
        model: one_line(&request.model),
        server: one_line(&request.server),
        path: one_line(&request.path),
        key: one_line(&request.key),
        outcome: one_line(&request.outcome),
        reason: one_line(&request.reason),
        ..request
    }
}

/// One reader's place in the history.
struct Place {
    history: watch::Receiver<History>,
    seen: u64,
    /// What had been missed at the last look. Absent before the first.
    missed: Option<u64>,
}

impl Place {
    /// The requests after those already read, and how many were missed.
    fn take(&mut self) -> (VecDeque<v1::FinishedRequest>, u64) {
        let history = self.history.borrow_and_update();
        let oldest = history.newest - history.requests.len() as u64;
        // What was there before the first look was not missed by this reader.
        let dropped = match self.missed {
            Some(_) => oldest.saturating_sub(self.seen),
            None => 0,
        };
        let untold = history.missed - self.missed.unwrap_or(history.missed);
        let skipped = usize::try_from(self.seen.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let fresh = history.requests.iter().skip(skipped);
        let fresh = fresh.map(|request| v1::FinishedRequest::clone(request));
        let fresh = fresh.collect();
        self.seen = history.newest;
        self.missed = Some(history.missed);
        (fresh, dropped.saturating_add(untold))
    }
}

async fn pass_on(
    mut place: Place,
    request: v1::WatchRequestsRequest,
    mut reader: Reader<v1::WatchRequestsResponse>,
    mut ending: watch::Receiver<bool>,
) {
    loop {
        let (mut fresh, mut missed) = place.take();
        fresh.retain(|finished| request.server.is_empty() || finished.server == request.server);
        while !fresh.is_empty() || missed > 0 {
            let count = fresh.len().min(PER_MESSAGE);
            let message = v1::WatchRequestsResponse {
                requests: fresh.drain(..count).collect(),
                missed: std::mem::take(&mut missed),
            };
            if reader.send(message).await == Err(Gone) {
                return;
            }
        }
        if !request.follow {
            return;
        }
        // All arms are cancel-safe: each only waits for something that stays true.
        tokio::select! {
            more = place.history.changed() => if more.is_err() { return },
            () = reader.closed() => return,
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(ids: std::ops::Range<usize>, missed: u64) -> v1::FinishedRequests {
        let request = |id: usize| v1::FinishedRequest {
            id: id.to_string(),
            ..v1::FinishedRequest::default()
        };
        v1::FinishedRequests {
            requests: ids.map(request).collect(),
            missed,
        }
    }

    fn place(log: &RequestLog) -> Place {
        Place {
            history: log.0.subscribe(),
            seen: 0,
            missed: None,
        }
    }

    #[test]
    fn a_reader_begins_with_what_is_kept_and_goes_on() {
        let log = RequestLog::default();
        log.record(finished(0..KEPT + 5, 2));
        let mut place = place(&log);
        let (requests, missed) = place.take();
        assert_eq!((requests.len(), missed), (KEPT, 0));
        assert_eq!(requests[0].id, "5");
        log.record(finished(9..10, 0));
        let (requests, missed) = place.take();
        assert_eq!((requests.len(), missed), (1, 0));
    }

    #[test]
    fn a_reader_that_falls_behind_is_told_what_he_missed() {
        let log = RequestLog::default();
        let mut place = place(&log);
        place.take();
        log.record(finished(0..KEPT + 7, 3));
        let (requests, missed) = place.take();
        assert_eq!((requests.len(), missed), (KEPT, 10));
    }

    #[test]
    fn what_clients_wrote_is_kept_within_bounds() {
        let log = RequestLog::default();
        let mut told = finished(0..1, 0);
        told.requests[0].model = "x".repeat(100_000);
        log.record(told);
        assert!(place(&log).take().0[0].model.len() < 1000);
    }
}
