//! `GatewayService`.

use std::pin::Pin;
use std::sync::Arc;

use magi_proto::v1;
use magi_proto::v1::gateway_service_server::GatewayService;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, attach, convert, errors, peer, reader};
use crate::supervisor::board::Row;
use crate::supervisor::fleet::DemandError;
use crate::supervisor::gateways::{Gateway, Gateways};

#[tonic::async_trait]
impl GatewayService for Api {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        request: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (reader, stream) = reader::stream(&request, "routes");
        tokio::spawn(attach::run(self.clone(), request.into_inner(), reader));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn ensure_ready(
        &self,
        request: Request<v1::EnsureReadyRequest>,
    ) -> Result<Response<v1::EnsureReadyResponse>, Status> {
        let who = peer::describe(&request);
        let name = request.into_inner().server;
        let mut ending = self.ending.clone();
        // Both arms are cancel-safe: they only wait.
        let ready = tokio::select! {
            ready = self.fleet.ensure_ready(name.clone(), who.clone()) => ready,
            _ = ending.wait_for(|ending| *ending) => return Err(errors::shutting_down()),
        };
        // A client that is refused may come again at once, and for ever.
        let refused = |why: &DemandError| {
            tracing::debug!("a request of {who} was refused: {why}");
        };
        let (server, serving) = ready.inspect_err(refused).map_err(errors::demand)?;
        Ok(Response::new(v1::EnsureReadyResponse {
            server: server.to_string(),
            incarnation: serving.incarnation,
            endpoint: format!("http://{}", serving.endpoint),
            api_key: serving.api_key.map(|key| key.as_str().to_owned()),
        }))
    }

    type WatchRequestsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestsResponse, Status>> + Send>>;

    async fn watch_requests(
        &self,
        request: Request<v1::WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        let stream = self.requests.read(request, self.ending.clone());
        Ok(Response::new(Box::pin(stream)))
    }
}

impl Api {
    /// The gateways that are attached.
    pub(super) fn gateways(&self) -> Vec<v1::Gateway> {
        let gateways = self.context.gateways.list();
        let gateway = |gateway: &Arc<Gateway>| v1::Gateway {
            id: gateway.id.clone(),
            version: gateway.version.clone(),
            pid: gateway.pid,
            addresses: gateway.addresses.clone(),
            attached_at: Some(convert::timestamp(gateway.attached_at)),
        };
        gateways.iter().map(gateway).collect()
    }
}

/// Adds what is in flight at the servers of these rows.
pub(super) fn add_uses(servers: &mut [v1::Server], rows: &[Arc<Row>], gateways: &Gateways) {
    let is_attached = gateways.talk().borrow().is_attached();
    let uses = gateways.uses();
    let uses = uses.borrow();
    for (server, row) in servers.iter_mut().zip(rows) {
        let told = uses.of(&row.definition.name);
        server.in_flight = is_attached.then_some(told.in_flight);
        server.waiting = is_attached.then_some(told.waiting);
        server.tokens_per_second = told.tokens_per_second;
        server.last_used = told.last_used.map(convert::timestamp);
    }
}
