//! The connection to the daemon.

use std::path::Path;
use std::time::Duration;

use magi_proto::v1::daemon_service_client::DaemonServiceClient;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::generation_service_client::GenerationServiceClient;
use magi_proto::v1::model_service_client::ModelServiceClient;
use magi_proto::v1::profile_service_client::ProfileServiceClient;
use magi_proto::v1::server_service_client::ServerServiceClient;
use magi_proto::{ConnectError, DaemonChannel};
use tonic::Request;

/// A fleet in which every server carries its last lines, or ten thousand models, do not fit into tonic's own 4 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// No read takes magid this long unless it is stuck.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The daemon's services, over one connection.
#[derive(Clone)]
pub(crate) struct Client {
    channel: DaemonChannel,
}

impl Client {
    /// Connects to the socket that is named, else to the first of the usual ones that answers.
    ///
    /// # Errors
    ///
    /// None of them answers.
    pub(crate) async fn connect(socket: Option<&Path>) -> Result<Self, ConnectError> {
        let channel = magi_proto::connect(socket).await?;
        Ok(Self { channel })
    }

    /// `DaemonService`.
    pub(crate) fn daemon(&self) -> DaemonServiceClient<DaemonChannel> {
        DaemonServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `ServerService`.
    pub(crate) fn servers(&self) -> ServerServiceClient<DaemonChannel> {
        ServerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `ModelService`.
    pub(crate) fn models(&self) -> ModelServiceClient<DaemonChannel> {
        ModelServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `ProfileService`.
    pub(crate) fn profiles(&self) -> ProfileServiceClient<DaemonChannel> {
        ProfileServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `GatewayService`.
    pub(crate) fn gateways(&self) -> GatewayServiceClient<DaemonChannel> {
        GatewayServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    /// `GenerationService`.
    pub(crate) fn generations(&self) -> GenerationServiceClient<DaemonChannel> {
        GenerationServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

/// A request for what magid knows already. One that hangs must not hang its client too.
pub(crate) fn read<T>(message: T) -> Request<T> {
    with_timeout(message, Some(READ_TIMEOUT))
}

/// A request that ends after `timeout`, by a gRPC deadline.
pub(crate) fn with_timeout<T>(message: T, timeout: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    request
}
