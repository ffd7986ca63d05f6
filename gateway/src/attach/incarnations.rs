//! Which incarnations there are, each with one gate that all tables share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use magi_proto::v1::{Route, ServerState};

use crate::table::Incarnation;

/// Which incarnations there are.
#[derive(Debug, Default)]
pub(super) struct Incarnations {
    known: BTreeMap<String, Vec<Arc<Incarnation>>>,
    /// Those that are to take no requests. One may be told of before anything else is known of it.
    closed: BTreeSet<(String, u64)>,
}

impl Incarnations {
    /// The incarnation that a route leads to, if it is ready.
    pub(super) fn current(&mut self, route: &Route) -> Option<Arc<Incarnation>> {
        let newest = route.incarnation?;
        self.forget_before(&route.server, newest);
        if route.state() != ServerState::Ready {
            return None;
        }
        let endpoint = route.endpoint.as_deref()?;
        self.get(&route.server, newest, endpoint, route.api_key.as_deref())
    }

    /// An incarnation that magid tells of. None: it cannot be reached where it is said to be.
    pub(super) fn get(
        &mut self,
        server: &str,
        number: u64,
        endpoint: &str,
        api_key: Option<&str>,
    ) -> Option<Arc<Incarnation>> {
        if let Some(known) = self.find(server, number) {
            return Some(known.clone());
        }
        let incarnation = match Incarnation::new(server, number, endpoint, api_key) {
            Ok(incarnation) => Arc::new(incarnation),
            Err(error) => {
                tracing::error!(name: "bad_endpoint", server, "{error}");
                return None;
            }
        };
        if self.closed.contains(&(server.to_owned(), number)) {
            incarnation.close();
        }
        let known = self.known.entry(server.to_owned()).or_default();
        known.push(incarnation.clone());
        Some(incarnation)
    }

    /// An incarnation that was told of.
    pub(super) fn find(&self, server: &str, number: u64) -> Option<&Arc<Incarnation>> {
        let known = self.known.get(server)?;
        known.iter().find(|known| known.number == number)
    }

    /// What is in flight at a server, and at which incarnation: the newest, if there are several.
    pub(super) fn in_flight(&self, server: &str) -> (Option<u64>, u32) {
        let known = self.known.get(server).map_or(&[][..], Vec::as_slice);
        let busy = known.iter().filter(|known| known.in_flight() > 0);
        busy.fold((None, 0), |(number, sum), known| {
            (number.max(Some(known.number)), sum + known.in_flight())
        })
    }

    /// The incarnation takes no more requests. None: nothing of it was known, so nothing is in flight.
    pub(super) fn close(&mut self, server: &str, number: u64) -> Option<Arc<Incarnation>> {
        self.closed.insert((server.to_owned(), number));
        let incarnation = self.find(server, number)?;
        incarnation.close();
        Some(incarnation.clone())
    }

    /// The incarnation takes no more requests if none is in flight. True: that is so.
    pub(super) fn close_if_idle(&mut self, server: &str, number: u64) -> bool {
        let idle = self
            .find(server, number)
            .is_none_or(|known| known.close_if_idle());
        if idle {
            self.closed.insert((server.to_owned(), number));
        }
        idle
    }

    /// The incarnation takes requests again.
    pub(super) fn open(&mut self, server: &str, number: u64) {
        self.closed.remove(&(server.to_owned(), number));
        if let Some(incarnation) = self.find(server, number) {
            incarnation.open();
        }
    }

    /// All of them take requests again.
    pub(super) fn open_all(&mut self) {
        self.closed.clear();
        for incarnation in self.known.values().flatten() {
            incarnation.open();
        }
    }

    /// The server is gone. What is in flight there ends as it can.
    pub(super) fn forget(&mut self, server: &str) {
        self.known.remove(server);
        self.closed.retain(|(closed, _)| closed != server);
    }

    fn forget_before(&mut self, server: &str, newest: u64) {
        if let Some(known) = self.known.get_mut(server) {
            known.retain(|known| known.number >= newest || known.in_flight() > 0);
        }
        let known = self.known.get(server);
        let is_known = |number| known.is_some_and(|all| all.iter().any(|one| one.number == number));
        self.closed
            .retain(|(closed, number)| closed != server || *number >= newest || is_known(*number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(state: ServerState, number: u64) -> Route {
        Route {
            server: "alpha".into(),
            state: state.into(),
            incarnation: Some(number),
            endpoint: Some("http://127.0.0.1:8080".into()),
            ..Route::default()
        }
    }

    #[test]
    fn a_drained_incarnation_takes_nothing_also_if_it_is_told_of_later() {
        let mut all = Incarnations::default();
        assert!(all.close("alpha", 3).is_none());
        let late = all.get("alpha", 3, "http://127.0.0.1:8080", None).unwrap();
        assert!(late.begin().is_none());
        all.open("alpha", 3);
        assert!(late.begin().is_some());
    }

    #[test]
    fn a_gate_stays_as_it_is_when_routes_change() {
        let mut all = Incarnations::default();
        let first = all.current(&route(ServerState::Ready, 1)).unwrap();
        let flying = first.begin().unwrap();
        assert!(!all.close_if_idle("alpha", 1));
        all.close("alpha", 1);
        let again = all.current(&route(ServerState::Ready, 1)).unwrap();
        assert!(again.begin().is_none());
        assert_eq!(all.in_flight("alpha"), (Some(1), 1));
        drop(flying);
        assert_eq!(all.in_flight("alpha"), (None, 0));
    }

    #[test]
    fn an_old_incarnation_is_forgotten_when_nothing_is_in_flight_there() {
        let mut all = Incarnations::default();
        let first = all.current(&route(ServerState::Ready, 1)).unwrap();
        let flying = first.begin().unwrap();
        all.close("alpha", 1);
        all.current(&route(ServerState::Ready, 2)).unwrap();
        assert!(all.find("alpha", 1).is_some());
        drop(flying);
        all.current(&route(ServerState::Ready, 2)).unwrap();
        assert!(all.find("alpha", 1).is_none());
        assert!(all.closed.is_empty());
    }

    #[test]
    fn only_a_ready_incarnation_is_led_to() {
        let mut all = Incarnations::default();
        assert!(all.current(&route(ServerState::Draining, 1)).is_none());
        assert!(all.current(&route(ServerState::Starting, 2)).is_none());
        assert!(all.current(&route(ServerState::Ready, 2)).is_some());
    }
}
