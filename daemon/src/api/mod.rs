//! `magi.v1` over Unix sockets: a translation, and nothing else.
//!
//! Every request is handed to the task that owns what it is about; answers are made from what those
//! tasks publish. Nothing is decided here. Who asks for a change is written into the log.

mod access;
mod apply;
mod attach;
mod connections;
mod convert;
mod daemon;
mod errors;
mod gateway;
mod generations;
mod listen;
mod logs;
mod memory;
mod models;
mod peer;
mod profiles;
mod reader;
mod requests;
mod routes;
mod servers;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tonic::transport::Server;

use magi_proto::v1::daemon_service_server::DaemonServiceServer;
use magi_proto::v1::gateway_service_server::GatewayServiceServer;
use magi_proto::v1::generation_service_server::GenerationServiceServer;
use magi_proto::v1::model_service_server::ModelServiceServer;
use magi_proto::v1::profile_service_server::ProfileServiceServer;
use magi_proto::v1::server_service_server::ServerServiceServer;

use crate::registry::RegistryHandle;
use crate::reload::ReloadHandle;
use crate::supervisor::context::Context;
use crate::supervisor::fleet::FleetHandle;

pub use access::Access;
pub use listen::{ListenError, SocketGroup, listen};
pub use requests::RequestLog;
pub use servers::Watchers;

/// Requests and streams that one connection may have open: enough for a library that shares one among
/// a thousand watchers. Each costs a task and a few kilobytes.
const STREAMS_PER_CONNECTION: u32 = 1024;

/// The headers of a request, in bytes. gRPC needs a few hundred.
const LARGEST_HEADERS: u32 = 16 * 1024;

/// The largest request, in bytes: names, and little else.
const LARGEST_REQUEST: usize = 256 * 1024;

/// The largest request with the text of a profile, in bytes.
const LARGEST_PROFILE: usize = crate::config::MAX_FILE_SIZE + LARGEST_REQUEST;

/// What requests are answered from.
#[derive(Clone, Debug)]
pub struct Api {
    /// Boards, events, logs.
    pub context: Arc<Context>,
    /// The owner of the fleet.
    pub fleet: FleetHandle,
    /// The owner of the configuration.
    pub reload: ReloadHandle,
    /// The owner of what is known of models.
    pub registry: RegistryHandle,
    /// Asks magid to end.
    pub stop: watch::Sender<bool>,
    /// Ends every open stream once it is true: without that no shutdown would ever finish.
    pub ending: watch::Receiver<bool>,
    /// Who watches the servers.
    pub watchers: Watchers,
    /// Requests that gateways have finished.
    pub requests: RequestLog,
    /// What the daemon says about itself.
    pub about: Arc<About>,
}

/// What the daemon says about itself.
#[derive(Debug)]
pub struct About {
    /// The name of this node.
    pub node: String,
    /// When magid started.
    pub started_at: Timestamp,
    /// What ENVIRONMENT is set to.
    pub environment: Option<String>,
    /// The folder of state files.
    pub state_dir: PathBuf,
    /// The folder of server logs.
    pub log_dir: PathBuf,
}

/// Serves until `ending` says so, and the requests that are then under way are answered.
///
/// # Errors
///
/// If the transport fails as a whole.
pub async fn serve(
    api: Api,
    listener: UnixListener,
    access: Access,
) -> Result<(), tonic::transport::Error> {
    let mut ending = api.ending.clone();
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<DaemonServiceServer<Api>>().await;
    health.set_serving::<ServerServiceServer<Api>>().await;
    health.set_serving::<ModelServiceServer<Api>>().await;
    health.set_serving::<ProfileServiceServer<Api>>().await;
    health.set_serving::<GenerationServiceServer<Api>>().await;
    health.set_serving::<GatewayServiceServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(magi_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1();
    let mut server = Server::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(LARGEST_HEADERS)
        .layer(access);
    let router = server
        .add_service(health_service)
        .add_service(
            DaemonServiceServer::new(api.clone()).max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(
            ServerServiceServer::new(api.clone()).max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(
            ModelServiceServer::new(api.clone()).max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(
            GenerationServiceServer::new(api.clone()).max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(
            GatewayServiceServer::new(api.clone()).max_decoding_message_size(LARGEST_REQUEST),
        )
        .add_service(ProfileServiceServer::new(api).max_decoding_message_size(LARGEST_PROFILE));
    let router = match reflection {
        Ok(reflection) => router.add_service(reflection),
        Err(error) => {
            tracing::warn!("cannot offer gRPC reflection: {error}");
            router
        }
    };
    let until = async move {
        // An error means that magid's main task is gone, which is an end too.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    router
        .serve_with_incoming_shutdown(connections::accept(listener), until)
        .await
}
