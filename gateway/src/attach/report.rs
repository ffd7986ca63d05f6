//! What magid is told of what goes on.

use std::time::Duration;

use magi_proto::v1;
use magi_proto::v1::attach_request::Message as Out;

use super::Attach;
use super::session::{Broken, Outbox};
use crate::table::Server;

/// Between two reports while something goes on: four a second.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// Finished requests that one message carries at most.
const BATCH: usize = 256;

impl Attach {
    /// Tells what has changed since the last report. False: nothing has.
    pub(super) fn report(&mut self, outbox: &Outbox) -> Result<bool, Broken> {
        let mut has_changed = false;
        for server in self.routes.values() {
            if server.traffic.take_changed() {
                has_changed = true;
                outbox.send(Out::Activity(self.activity(server)))?;
            }
        }
        let finished = self.finished();
        if !finished.requests.is_empty() || finished.missed > 0 {
            has_changed = true;
            outbox.send(Out::Finished(finished))?;
        }
        Ok(has_changed)
    }

    /// Tells what is in flight everywhere: a magid that is new does not know.
    pub(super) fn report_all(&mut self, outbox: &Outbox) -> Result<(), Broken> {
        for server in self.routes.values() {
            server.traffic.take_changed();
            if server.traffic.last_used().is_some() {
                outbox.send(Out::Activity(self.activity(server)))?;
            }
        }
        Ok(())
    }

    fn activity(&self, server: &Server) -> v1::Activity {
        let name = &server.route.server;
        let (incarnation, in_flight) = self.incarnations.in_flight(name);
        let last_used = server.traffic.last_used();
        v1::Activity {
            server: name.clone(),
            incarnation,
            in_flight,
            waiting: server.traffic.waiting(),
            last_used: last_used.map(|at| prost_types::Timestamp {
                seconds: at.as_second(),
                nanos: at.subsec_nanosecond(),
            }),
            tokens_per_second: server.traffic.tokens_per_second(),
        }
    }

    fn finished(&mut self) -> v1::FinishedRequests {
        let mut requests = Vec::new();
        while requests.len() < BATCH
            && let Ok(request) = self.inbox.finished.try_recv()
        {
            requests.push(request);
        }
        v1::FinishedRequests {
            requests,
            missed: self.gateway.take_missed(),
        }
    }
}
