//! The whole of a gateway, from its command line to its end.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use magi_proto::v1;
use magid::config::{Environment, GatewayConfig, Listen};
use magid::files::Hints;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::activity;
use crate::attach::Attach;
use crate::configuration::{ConfigurationError, Source};
use crate::credential;
use crate::gateway::Gateway;
use crate::manage;
use crate::queue::Queue;
use crate::serve::{self, ListenError, Listener};

/// How long requests may take to end after the gateway was told to.
const GRACE: Duration = Duration::from_secs(30);

/// Exit status of an invalid configuration.
const EX_CONFIG: u8 = 78;

/// Carries HTTP requests to the servers of magid: one address for all models
#[derive(Clone, Debug, Parser)]
#[command(name = "magi-gateway", version)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket of magid.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Where to listen, in place of what is configured. May be given several times.
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Vec<SocketAddr>,
}

/// Why a gateway does not start.
#[derive(Debug, Error)]
pub enum RunError {
    /// What it is told is wrong.
    #[error("cannot read the configuration: {0}")]
    Configuration(#[from] ConfigurationError),
    /// A variable is wrong.
    #[error("{0}")]
    Variable(String),
    /// A secret that was passed cannot be read.
    #[error(transparent)]
    Credential(#[from] credential::CredentialError),
    /// It cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system has no threads, or no signals, for it.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl RunError {
    /// The exit status that says the same.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Variable(_) => EX_CONFIG,
            Self::Credential(_) | Self::Listen(_) | Self::System(_) => 1,
        }
    }
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
///
/// It cannot start.
pub async fn run(arguments: Arguments) -> Result<(), RunError> {
    let mut signals = Signals::new()?;
    let environment = credential::added(std::env::vars().collect())?;
    start_log(&environment)?;
    let given = arguments.listen.iter().copied().map(Listen::Tcp);
    let source =
        Source::find(arguments.config.as_deref(), environment).listening_on(given.collect());
    let settings = source.load()?;
    let config = &settings.config;
    let listeners = listen(config)?;
    let addresses: Vec<_> = listeners.iter().map(Listener::url).collect();
    let connections = Arc::new(Queue::new());
    let descriptors = serve::raise_descriptors();
    let limit = {
        let connections = connections.clone();
        move |config: &GatewayConfig| connections.set_limit(config.max_connections.min(descriptors))
    };
    limit(config);
    let (gateway, inbox) = Gateway::new(settings);
    let (desks, questions): (Vec<_>, Vec<_>) =
        (0..serve::threads()).map(|_| activity::desk()).unzip();
    let magid = magi_proto::connect_lazily(arguments.socket.as_deref());
    let counted = tokio::spawn(gateway.metrics.clone().watch(magid.clone()));
    let ending = CancellationToken::new();
    let own = manage::router(manage::Context {
        magid,
        table: gateway.table.clone(),
        metrics: gateway.metrics.clone(),
        workers: desks.into(),
        addresses: addresses.clone().into(),
        ending: ending.clone(),
    });
    let threads = serve::start(&gateway, &own, questions, listeners, &connections, &ending)?;
    let hello = hello(addresses.clone());
    let followed = tokio::spawn(source.follow(gateway.settings.clone(), Hints::start(), limit));
    let attach = Attach::new(gateway, inbox, arguments.socket, hello);
    let attached = tokio::spawn(attach.run());
    for address in &addresses {
        tracing::info!(name: "listening", address, "listening");
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    signals.next().await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    tracing::info!(name: "ending", "ending: no new requests, those under way have {GRACE:?}");
    ending.cancel();
    tokio::select! {
        // Both are dropped at the end: whatever still goes on ends with the process.
        ended = timeout(GRACE, threads.ended()) => if ended.is_err() {
            tracing::warn!(name: "requests_cut", "some requests have not ended in time");
        },
        () = signals.next() => tracing::warn!(name: "requests_cut", "told twice to end"),
    }
    attached.abort();
    counted.abort();
    followed.abort();
    Ok(())
}

fn listen(config: &GatewayConfig) -> Result<Vec<Listener>, RunError> {
    let listeners = config.listen.iter().map(Listener::bind);
    Ok(listeners.collect::<Result<_, _>>()?)
}

fn hello(addresses: Vec<String>) -> v1::Hello {
    let pid = std::process::id();
    // The standard library has no other source of randomness.
    let random = RandomState::new().hash_one(pid);
    v1::Hello {
        gateway_id: format!("{pid}-{random:016x}"),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid,
        addresses,
    }
}

/// What tells the gateway to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next one. Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn start_log(environment: &Environment) -> Result<(), RunError> {
    let level = environment.log_level();
    magid::daemon::start_log("magi-gateway", level.as_ref().copied().unwrap_or_default());
    level
        .map(drop)
        .map_err(|diagnostic| RunError::Variable(diagnostic.render(None)))
}
