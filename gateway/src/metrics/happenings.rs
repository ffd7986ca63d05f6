//! What magid tells of servers, counted: loads, exits, restarts, and who was stopped to make room.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use magi_proto::DaemonChannel;
use magi_proto::v1;
use magi_proto::v1::daemon_service_client::DaemonServiceClient;
use tokio::time::sleep;
use tonic::Status;

/// How long to wait before magid is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// The most events that magid keeps.
const KEPT: u32 = 1000;

/// What is counted of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A server got ready.
    Load,
    /// A process ended. The label is the exit class.
    Exit,
    /// A server was started again by itself. The label is the exit class before.
    Restart,
    /// A server was stopped, since nobody asked for it or to make room. The label says which.
    Unload,
}

/// Counts of what happened.
#[derive(Debug, Default)]
pub(super) struct Happenings {
    // Nobody on the data path looks here.
    counts: Mutex<BTreeMap<Key, u64>>,
}

/// A server, what happened to it, and the label of that.
type Key = (String, Happening, String);

impl Happenings {
    /// What happened to a server, with labels and numbers.
    pub(super) fn of(&self, server: &str, what: Happening) -> Vec<(String, u64)> {
        let counts = self.lock();
        let ours = counts
            .iter()
            .filter(|((name, happening, _), _)| name == server && *happening == what);
        ours.map(|((_, _, label), count)| (label.clone(), *count))
            .collect()
    }

    /// Forgets servers that are gone.
    pub(super) fn keep(&self, exists: impl Fn(&str) -> bool) {
        self.lock().retain(|(server, _, _), _| exists(server));
    }

    fn add(&self, server: &str, what: Happening, label: &str) {
        let key = (server.to_owned(), what, label.to_owned());
        *self.lock().entry(key).or_default() += 1;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads magid's events, those of one magid after the other.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// When the magid that is read began, and the last event of it.
    last: Option<(prost_types::Timestamp, u64)>,
    /// How each server ended last.
    classes: BTreeMap<String, String>,
}

impl Reader {
    /// Counts what happens for as long as it is not dropped.
    pub(super) async fn run(mut self, magid: DaemonChannel, into: &Happenings) {
        loop {
            // What went wrong is no matter: every call tells its own reader that magid is away.
            let _away = self
                .read(DaemonServiceClient::new(magid.clone()), into)
                .await;
            sleep(PAUSE).await;
        }
    }

    async fn read(
        &mut self,
        mut magid: DaemonServiceClient<DaemonChannel>,
        into: &Happenings,
    ) -> Result<(), Status> {
        let version = magid.get_version(v1::GetVersionRequest {}).await?;
        let began = version.into_inner().started_at.unwrap_or_default();
        // What happened before the gateway began is not its to count; a magid that begins later is.
        let last = if self.last.is_some() { KEPT } else { 0 };
        if self.last.is_none_or(|(known, _)| known != began) {
            self.last = Some((began, 0));
        }
        let request = v1::WatchEventsRequest {
            last: Some(last),
            follow: true,
            servers: Vec::new(),
        };
        let mut stream = magid.watch_events(request).await?.into_inner();
        while let Some(message) = stream.message().await? {
            for event in message.events {
                self.count(&event, into);
            }
        }
        Ok(())
    }

    fn count(&mut self, event: &v1::Event, into: &Happenings) {
        let Some((_, last)) = &mut self.last else {
            return;
        };
        if event.sequence <= *last {
            return;
        }
        *last = event.sequence;
        let Some(server) = &event.server else {
            return;
        };
        if event.kind == "server-exited" {
            into.add(server, Happening::Exit, &event.reason);
            self.classes.insert(server.clone(), event.reason.clone());
        }
        if event.kind == "server-state" && event.from != event.to {
            self.moved(server, event, into);
        }
    }

    fn moved(&self, server: &str, event: &v1::Event, into: &Happenings) {
        match event.to() {
            v1::ServerState::Ready => into.add(server, Happening::Load, ""),
            v1::ServerState::Starting if event.from() == v1::ServerState::Backoff => {
                let class = self.classes.get(server).map_or("unknown", String::as_str);
                into.add(server, Happening::Restart, class);
            }
            v1::ServerState::Stopped if ["idle", "evicted"].contains(&event.reason.as_str()) => {
                into.add(server, Happening::Unload, &event.reason);
            }
            // One that requests wait for is queued as soon as it is gone, and never shown as stopped.
            v1::ServerState::Stopping if event.reason == "swapped" => {
                into.add(server, Happening::Unload, &event.reason);
            }
            v1::ServerState::Starting
            | v1::ServerState::Stopped
            | v1::ServerState::Unspecified
            | v1::ServerState::Draining
            | v1::ServerState::Stopping
            | v1::ServerState::Backoff
            | v1::ServerState::Failed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::ServerState::{Backoff, Draining, Ready, Starting, Stopped, Stopping};

    fn event(sequence: u64, kind: &str, reason: &str) -> v1::Event {
        v1::Event {
            sequence,
            kind: kind.to_owned(),
            server: Some("alpha".to_owned()),
            reason: reason.to_owned(),
            ..Default::default()
        }
    }

    fn moved(sequence: u64, from: v1::ServerState, to: v1::ServerState, reason: &str) -> v1::Event {
        v1::Event {
            from: from.into(),
            to: to.into(),
            ..event(sequence, "server-state", reason)
        }
    }

    #[test]
    fn a_restart_is_counted_under_what_ended_the_server() {
        let happenings = Happenings::default();
        let mut reader = Reader {
            last: Some(Default::default()),
            ..Default::default()
        };
        let events = [
            moved(1, Starting, Ready, "ready"),
            event(2, "server-exited", "signal"),
            moved(3, Ready, Backoff, "signal"),
            moved(4, Backoff, Starting, "loading"),
            moved(5, Starting, Ready, "ready"),
            moved(5, Starting, Ready, "ready"),
            moved(6, Ready, Stopped, "idle"),
        ];
        for event in &events {
            reader.count(event, &happenings);
        }
        let of = |what| happenings.of("alpha", what);
        assert_eq!(of(Happening::Load), [(String::new(), 2)]);
        assert_eq!(of(Happening::Exit), [("signal".to_owned(), 1)]);
        assert_eq!(of(Happening::Restart), [("signal".to_owned(), 1)]);
        assert_eq!(of(Happening::Unload), [("idle".to_owned(), 1)]);
        happenings.keep(|_| false);
        assert!(of(Happening::Load).is_empty());
    }

    #[test]
    fn who_is_swapped_out_is_counted_once_whether_it_comes_back_at_once_or_not() {
        let happenings = Happenings::default();
        let mut reader = Reader {
            last: Some(Default::default()),
            ..Default::default()
        };
        let events = [
            moved(1, Ready, Draining, "swapped"),
            moved(2, Draining, Stopping, "swapped"),
            moved(3, Stopping, Starting, "waiting-for-turn"),
            moved(4, Ready, Draining, "swapped"),
            moved(5, Draining, Stopping, "swapped"),
            moved(6, Stopping, Stopped, "swapped"),
        ];
        for event in &events {
            reader.count(event, &happenings);
        }
        let unloads = happenings.of("alpha", Happening::Unload);
        assert_eq!(unloads, [("swapped".to_owned(), 2)]);
    }
}
