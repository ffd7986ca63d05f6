//! Servers that requests wait for: one call for all who want the same one.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use magi_proto::DaemonChannel;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse, Route, Routes, ServerState};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::Status;

use super::Attach;
use crate::gateway::Wanted;
use crate::refusal::Refusal;
use crate::table::Incarnation;

type Answer = oneshot::Sender<Result<Arc<Incarnation>, Refusal>>;
type Called = Result<EnsureReadyResponse, Status>;

/// The calls that are under way. Dropped, whoever waits hears that magid is away.
pub(super) struct Calls {
    client: GatewayServiceClient<DaemonChannel>,
    waiting: HashMap<String, Vec<Answer>>,
    calls: JoinSet<(String, Called)>,
}

impl Calls {
    pub(super) fn new(client: GatewayServiceClient<DaemonChannel>) -> Self {
        Self {
            client,
            waiting: HashMap::new(),
            calls: JoinSet::new(),
        }
    }

    fn join(&mut self, wanted: Wanted) {
        let Wanted { server, answer } = wanted;
        if let Some(waiting) = self.waiting.get_mut(&server) {
            // Who went away is forgotten here, so that no more are kept than wait.
            waiting.retain(|answer| !answer.is_closed());
            waiting.push(answer);
            return;
        }
        self.waiting.insert(server.clone(), vec![answer]);
        let mut client = self.client.clone();
        self.calls.spawn(async move {
            let request = EnsureReadyRequest {
                server: server.clone(),
            };
            let response = client.ensure_ready(request).await;
            (server, response.map(tonic::Response::into_inner))
        });
    }

    /// The next call that ends; never, if there are none.
    pub(super) async fn next(&mut self) -> (String, Called) {
        loop {
            match self.calls.join_next().await {
                Some(Ok(called)) => return called,
                // Nothing aborts them and they do not panic.
                Some(Err(_)) => {}
                None => pending().await,
            }
        }
    }
}

impl Attach {
    /// Has a server made ready, unless it is.
    pub(super) fn want(&self, wanted: Wanted, calls: &mut Calls) {
        let ready = self.routes.get(&wanted.server);
        let ready = ready.and_then(|server| server.current.clone());
        match ready.filter(|incarnation| incarnation.is_open()) {
            Some(incarnation) => {
                let _ = wanted.answer.send(Ok(incarnation));
            }
            None => calls.join(wanted),
        }
    }

    /// Tells all who wait for a server what became of it.
    pub(super) fn called(&mut self, server: &str, result: Called, calls: &mut Calls) {
        let result = match result {
            Ok(ready) => self.lead_to(ready).ok_or_else(Refusal::magid_away),
            Err(status) => Err(Refusal::from_status(&status)),
        };
        for answer in calls.waiting.remove(server).into_iter().flatten() {
            let _ = answer.send(result.clone());
        }
    }
    /// The incarnation that a call found ready. It is led to until the stream tells more of it: were magid
    /// gone before that, the server would be there and nobody would know.
    fn lead_to(&mut self, ready: EnsureReadyResponse) -> Option<Arc<Incarnation>> {
        let key = ready.api_key.as_deref();
        let incarnation =
            self.incarnations
                .get(&ready.server, ready.incarnation, &ready.endpoint, key)?;
        let known = self.routes.get(&ready.server).map(|server| &server.route);
        if let Some(known) = known.filter(|known| is_behind(known, ready.incarnation)) {
            let route = Route {
                state: ServerState::Ready.into(),
                reason: String::new(),
                detail: String::new(),
                load_percent: None,
                incarnation: Some(ready.incarnation),
                endpoint: Some(ready.endpoint),
                api_key: ready.api_key,
                ..known.clone()
            };
            self.reroute(Routes {
                routes: vec![route],
                ..Routes::default()
            });
        }
        Some(incarnation)
    }
}

/// Whether a route is older than this incarnation's getting ready. What the stream told after that counts
/// for more than a call that was answered before.
fn is_behind(route: &Route, ready: u64) -> bool {
    match route.incarnation {
        Some(newest) if newest == ready => route.state() == ServerState::Starting,
        newest => newest < Some(ready),
    }
}

#[cfg(test)]
mod tests {
    use magid::config::GatewayConfig;

    use super::*;
    use crate::configuration::Settings;
    use crate::gateway::Gateway;
    use crate::table::Link;

    fn route(state: ServerState, incarnation: u64) -> Routes {
        let route = Route {
            server: "alpha".into(),
            aliases: vec!["chat".into()],
            state: state.into(),
            incarnation: Some(incarnation),
            ..Route::default()
        };
        Routes {
            snapshot: true,
            routes: vec![route],
            ..Routes::default()
        }
    }

    /// What is led to when the stream told of `route`, then incarnation 2 was found ready, and then magid
    /// was gone.
    fn led_to(route: Routes) -> Option<u64> {
        let (gateway, inbox) = Gateway::new(Settings::new(GatewayConfig::default()));
        let mut attach = Attach::new(
            gateway.clone(),
            inbox,
            None,
            magi_proto::v1::Hello::default(),
        );
        attach.reroute(route);
        let found = attach.lead_to(EnsureReadyResponse {
            server: "alpha".into(),
            incarnation: 2,
            endpoint: "http://127.0.0.1:8080".into(),
            api_key: None,
        });
        assert_eq!(found.unwrap().number, 2);
        attach.lose();
        let table = gateway.table.load();
        assert_eq!(table.link, Link::Lost);
        let current = table.find("chat")?.current.as_ref()?;
        assert!(current.begin().is_some());
        Some(current.number)
    }

    #[test]
    fn what_a_call_found_ready_is_led_to_before_the_stream_tells_of_it() {
        assert_eq!(led_to(route(ServerState::Starting, 2)), Some(2));
        assert_eq!(led_to(route(ServerState::Stopped, 1)), Some(2));
    }

    #[test]
    fn what_the_stream_told_later_than_a_call_counts() {
        assert_eq!(led_to(route(ServerState::Stopping, 2)), None);
        assert_eq!(led_to(route(ServerState::Starting, 3)), None);
    }
}
