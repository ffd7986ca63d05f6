//! `GatewayService`.

use std::pin::Pin;

use magi_proto::v1;
use magi_proto::v1::gateway_service_server::GatewayService;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{Api, attach, reader};

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
        _: Request<v1::EnsureReadyRequest>,
    ) -> Result<Response<v1::EnsureReadyResponse>, Status> {
        Err(Status::unimplemented("cannot ensure servers ready yet"))
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
