//! Servers that requests wait for: one call for all who want the same one.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;

use magi_proto::DaemonChannel;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::{EnsureReadyRequest, EnsureReadyResponse};
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
            Ok(ready) => {
                let key = ready.api_key.as_deref();
                self.incarnations
                    .get(&ready.server, ready.incarnation, &ready.endpoint, key)
                    .ok_or_else(Refusal::magid_away)
            }
            Err(status) => Err(Refusal::from_status(&status)),
        };
        for answer in calls.waiting.remove(server).into_iter().flatten() {
            let _ = answer.send(result.clone());
        }
    }
}
