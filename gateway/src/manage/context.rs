//! What the resources stand on: magid, the table, what is under way, what is counted.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use magi_proto::DaemonChannel;
use magi_proto::v1::daemon_service_client::DaemonServiceClient;
use magi_proto::v1::gateway_service_client::GatewayServiceClient;
use magi_proto::v1::model_service_client::ModelServiceClient;
use magi_proto::v1::profile_service_client::ProfileServiceClient;
use magi_proto::v1::server_service_client::ServerServiceClient;
use tokio_util::sync::CancellationToken;
use tonic::Request;

use crate::activity::Desk;
use crate::metrics::Metrics;
use crate::table::Table;

/// A fleet in which every server carries its last lines, or ten thousand models, do not fit into tonic's
/// own 4 MiB.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// No read takes magid this long unless it is stuck.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// What all resources share.
#[derive(Clone, Debug)]
pub struct Context {
    /// The connection to magid. It may be down.
    pub magid: DaemonChannel,
    /// The newest table.
    pub table: Arc<ArcSwap<Table>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The workers, each with its requests.
    pub workers: Arc<[Desk]>,
    /// Where the gateway listens, for example `http://127.0.0.1:8000`.
    pub addresses: Arc<[String]>,
    /// Cancelled when the gateway ends: streams that have no end of their own end then.
    pub ending: CancellationToken,
}

impl Context {
    pub(super) fn daemon(&self) -> DaemonServiceClient<DaemonChannel> {
        DaemonServiceClient::new(self.magid.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(super) fn servers(&self) -> ServerServiceClient<DaemonChannel> {
        ServerServiceClient::new(self.magid.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(super) fn models(&self) -> ModelServiceClient<DaemonChannel> {
        ModelServiceClient::new(self.magid.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(super) fn profiles(&self) -> ProfileServiceClient<DaemonChannel> {
        ProfileServiceClient::new(self.magid.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }

    pub(super) fn gateways(&self) -> GatewayServiceClient<DaemonChannel> {
        GatewayServiceClient::new(self.magid.clone()).max_decoding_message_size(MAX_ANSWER_BYTES)
    }
}

/// What can be answered without magid waits for it no longer than this.
const SOON: Duration = Duration::from_secs(2);

/// A request for what magid knows already. One that hangs must not hang its client too.
pub(super) fn read<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(READ_TIMEOUT);
    request
}

/// A request for what can be done without.
pub(super) fn soon<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(SOON);
    request
}
