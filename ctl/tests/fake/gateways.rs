//! The part of the fake daemon that gateways talk to.

use magi_proto::v1::gateway_service_server::GatewayService;
use magi_proto::v1::*;
use tokio_stream::StreamExt;
use tonic::{Request, Status, Streaming};

use super::{Answer, Messages, Script, messages};

#[tonic::async_trait]
impl GatewayService for Script {
    type AttachStream = Messages<AttachResponse>;
    type WatchRequestsStream = Messages<WatchRequestsResponse>;

    async fn attach(&self, _: Request<Streaming<AttachRequest>>) -> Answer<Self::AttachStream> {
        Err(Status::unimplemented("nobody attaches here"))
    }

    async fn ensure_ready(
        &self,
        request: Request<EnsureReadyRequest>,
    ) -> Answer<EnsureReadyResponse> {
        self.answer(request, self.ready.clone())
    }

    async fn watch_requests(
        &self,
        request: Request<WatchRequestsRequest>,
    ) -> Answer<Self::WatchRequestsStream> {
        let all = messages(vec![WatchRequestsResponse {
            requests: self.finished.clone(),
            missed: 2,
        }]);
        let follow = request.get_ref().follow;
        match follow {
            true => self.answer(request, Box::pin(all.chain(tokio_stream::pending()))),
            false => self.answer(request, all),
        }
    }
}
