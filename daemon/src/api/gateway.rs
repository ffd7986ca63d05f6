//! `GatewayService`.

use std::pin::Pin;

use magi_proto::v1;
use magi_proto::v1::gateway_service_server::GatewayService;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::Api;

#[tonic::async_trait]
impl GatewayService for Api {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;

    async fn attach(
        &self,
        _: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Err(Status::unimplemented("cannot attach gateways yet"))
    }

    async fn ensure_ready(
        &self,
        _: Request<v1::EnsureReadyRequest>,
    ) -> Result<Response<v1::EnsureReadyResponse>, Status> {
        Err(Status::unimplemented("cannot ensure servers ready yet"))
    }

    type WatchRequestsStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchRequestsResponse, Status>> + Send>>;

    async fn watch_requests(
        &self,
        _: Request<v1::WatchRequestsRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        Err(Status::unimplemented("cannot watch requests yet"))
    }
}
