//! `magi.v1`: the gRPC API of magid, and how a client finds the daemon.
//!
//! The proto files in `magi/v1/` are the documentation of the API. The code generated from them is
//! checked in; `tests/generated.rs` keeps it in step.

mod connect;

pub use connect::{
    ConnectError, DaemonChannel, connect, connect_gateway, connect_lazily,
    gateway_socket_candidates, socket_candidates,
};

/// The messages, clients and servers of package `magi.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod v1 {
    include!("generated/magi.v1.rs");
}

/// The compiled proto files, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/magi.v1.bin");
