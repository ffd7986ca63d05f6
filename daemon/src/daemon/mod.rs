//! The daemon from its start to its end.

mod arguments;
mod gateway;
mod lock;
mod logging;
#[cfg(test)]
mod man;
mod prepare;
mod rescan;
mod signals;
mod status_line;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use arguments::Arguments;
pub use logging::start as start_log;
pub(crate) use prepare::records;
pub use rescan::rescan;

use crate::api::{self, About, Access, Api, ListenError, RequestLog, SocketGroup, Watchers};
use crate::config::{Diagnostic, Environment, SourceFile};
use crate::files::Hints;
use crate::memory::MemoryHandle;
use crate::name::ServerName;
use crate::process::{Scanner, reaper};
use crate::registry::{RegistryConfig, RegistryHandle};
use crate::reload::{self, ReloadHandle, Surroundings};
use crate::supervisor::board::Board;
use crate::supervisor::clock::Clock;
use crate::supervisor::context::Context;
use crate::supervisor::events::{EventLog, Happening, Kind};
use crate::supervisor::fleet::FleetHandle;
use crate::supervisor::gateways::Gateways;
use crate::supervisor::ports::Ports;
use crate::supervisor::record::RecordError;
use crate::supervisor::room::Room;
use crate::supervisor::stopped::StoppedFile;
use crate::{notify, supervisor};

/// The exit status for a configuration that cannot be used: EX_CONFIG of sysexits.h.
const INVALID_CONFIGURATION: u8 = 78;

/// Why magid ends otherwise than it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// magid.toml, or a variable, is wrong.
    #[error("cannot use the configuration:\n{}", .0.join("\n"))]
    Configuration(Vec<String>),
    /// A folder that it needs is not there and cannot be made.
    #[error("cannot make the {what} folder {}: {reason}", .path.display())]
    Folder {
        /// What it is for.
        what: &'static str,
        /// The folder.
        path: PathBuf,
        /// The system's word.
        reason: std::io::Error,
    },
    /// Another magid has the state directory.
    #[error(transparent)]
    Locked(#[from] lock::LockError),
    /// What an earlier magid wrote cannot be used.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// What was applied before cannot be read.
    #[error(transparent)]
    Generations(#[from] crate::generations::OpenError),
    /// There is no socket to be commanded by.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The gateway is a unit of its own under systemd.
    #[error(
        "cannot run the gateway inside the unit of magid: it has its own; leave out --gateway, and run `systemctl enable --now magi-gateway`"
    )]
    GatewayIsAUnit,
    /// There is no gateway to run.
    #[error(transparent)]
    NoGateway(#[from] gateway::NoGateway),
    /// The system refused something that nothing works without.
    #[error("cannot {what}: {reason}")]
    System {
        /// What.
        what: &'static str,
        /// The system's word.
        reason: std::io::Error,
    },
    /// Something of these servers does not die.
    #[error("cannot end everything: something is left of {}; the next magid will look for it", names(.0))]
    Left(BTreeSet<ServerName>),
}

impl DaemonError {
    /// The exit status that goes with it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) => INVALID_CONFIGURATION,
            Self::Folder { .. }
            | Self::Locked(_)
            | Self::Records(_)
            | Self::Generations(_)
            | Self::Listen(_)
            | Self::GatewayIsAUnit
            | Self::NoGateway(_)
            | Self::System { .. }
            | Self::Left(_) => 1,
        }
    }

    fn configuration(diagnostics: &[Diagnostic], file: Option<&SourceFile>) -> Self {
        let rendered = diagnostics.iter().map(|diagnostic| diagnostic.render(file));
        Self::Configuration(rendered.collect())
    }
}

fn names(servers: &BTreeSet<ServerName>) -> String {
    let names: Vec<_> = servers.iter().map(ServerName::as_str).collect();
    names.join(", ")
}

/// Runs magid until it is asked to end.
///
/// # Errors
///
/// What kept it from starting, or from ending everything.
pub async fn run(arguments: Arguments) -> Result<(), DaemonError> {
    let started_at = Timestamp::now();
    let environment: Environment = std::env::vars().collect();
    let level = environment.log_level();
    let journal = logging::start("magid", level.as_ref().copied().unwrap_or_default());
    if let Err(diagnostic) = level {
        return Err(DaemonError::configuration(&[diagnostic], None));
    }
    let ready = prepare::prepare(&arguments, &environment)?;
    let order = gateway_order(&arguments, &environment, &ready)?;
    let mut signals = signals::Signals::listen()?;
    let listener = api::listen(&ready.socket, SocketGroup::Operators)?;
    let for_gateways = api::listen(&ready.gateway_socket, SocketGroup::Gateways)?;
    let inheritance = prepare::inherit(&ready.config.state_dir).await?;
    let left_gateway =
        gateway::Running::find(&ready.config.state_dir).map_err(RecordError::from)?;

    let clock = Clock::start();
    let hints = Hints::start();
    let events = EventLog::new();
    let board = Board::new();
    let (rules, rules_now) = watch::channel(reload::rules_of(&ready.config, None));
    let memory = MemoryHandle::spawn(ready.config.memory.clone(), &ready.config.state_dir).await;
    let scanner = Scanner::spawn();
    let (former_file, former) = prepare::former_gateways(&ready.config.state_dir)?;
    let gateways = Gateways::new(board.clone(), former.clone());
    let context = Arc::new(Context {
        clock,
        board: board.clone(),
        events: events.clone(),
        gateways: gateways.clone(),
        ports: Ports::spawn(),
        memory: memory.clone(),
        room: Room::default(),
        scanner: scanner.clone(),
        hints: hints.clone(),
        journal,
        records: prepare::records(&ready.config.state_dir),
        rules: rules_now,
    });
    let reaper = tokio::spawn(reaper::run());
    let remembered = prepare::stopped_file(&ready.config.state_dir);
    let stopped_file = StoppedFile::spawn(remembered, inheritance.stopped.clone());
    let watchdog = notify::watchdog_interval();
    let fleet = supervisor::fleet::spawn(context.clone(), inheritance, stopped_file, watchdog);
    supervisor::room::spawn(context.clone(), fleet.clone());
    let registry = RegistryHandle::spawn(
        RegistryConfig {
            scan_paths: prepare::scan_paths(&ready.config, &ready.scan_paths),
            file: ready.config.registry.clone(),
            tiers: ready.config.tiers,
        },
        hints.clone(),
    )
    .await;
    let store = prepare::open_store(&ready.config.state_dir).await?;
    let ledger = memory.clone();
    let reload = reload::spawn(Surroundings {
        locations: ready.locations,
        environment: environment.clone(),
        scan_paths: ready.scan_paths,
        at_start: ready.config.clone(),
        fleet: fleet.clone(),
        rules,
        events: events.clone(),
        hints,
        registry: registry.clone(),
        memory,
        store,
    })
    .await;

    let (stop, stopping) = watch::channel(false);
    let (end, ending) = watch::channel(false);
    let api = Api {
        context,
        fleet: fleet.clone(),
        reload: reload.clone(),
        registry,
        stop,
        ending,
        watchers: Watchers::default(),
        requests: RequestLog::default(),
        about: Arc::new(About {
            node: prepare::node_name(),
            started_at,
            environment: environment.get("ENVIRONMENT").map(str::to_owned),
            state_dir: ready.config.state_dir.clone(),
            log_dir: ready.config.log_dir.clone(),
        }),
    };
    let gateway_access = Access::Gateway {
        rules: api.context.rules.clone(),
        config_file: api.reload.status().config_file,
    };
    let servers = [
        tokio::spawn(api::serve(api.clone(), listener, Access::Control)),
        tokio::spawn(api::serve(api, for_gateways, gateway_access)),
    ];
    let gateway = match order {
        Some(order) => Some(gateway::Kept::start(order, left_gateway, scanner)),
        None => {
            end_left(left_gateway, scanner);
            None
        }
    };
    let former = tokio::spawn(supervisor::former::keep(former_file, gateways, former));
    let status_line = tokio::spawn(status_line::run(board));
    announce(&events, &ready.socket, &reload);

    signals.until_asked_to_stop(stopping, &reload).await;
    if let Some(gateway) = gateway {
        // Its servers go on until it has finished what is in flight.
        gateway.end(signals.next_stop()).await;
    }
    let left = shut_down(&fleet, &mut signals).await;
    ledger.close().await;

    status_line.abort();
    former.abort();
    reaper.abort();
    end.send_replace(true);
    for server in servers {
        if let Ok(Err(error)) = server.await {
            tracing::warn!("the API ended badly: {error}");
        }
    }
    let _ = std::fs::remove_file(&ready.socket);
    let _ = std::fs::remove_file(&ready.gateway_socket);
    drop(ready.lock);
    if left.is_empty() {
        tracing::info!("everything is stopped");
        Ok(())
    } else {
        Err(DaemonError::Left(left))
    }
}

/// What gateway to run, if any.
fn gateway_order(
    arguments: &Arguments,
    environment: &Environment,
    ready: &prepare::Ready,
) -> Result<Option<gateway::Order>, DaemonError> {
    if !arguments.gateway {
        return Ok(None);
    }
    if notify::is_listened_to() {
        return Err(DaemonError::GatewayIsAUnit);
    }
    let config = ready.locations.gateway_file();
    let state_dir = &ready.config.state_dir;
    let order = gateway::Order::new(environment, &ready.gateway_socket, &config, state_dir)?;
    Ok(Some(order))
}

/// Ends the gateway of an earlier magid: this one is not to run any.
fn end_left(left: Option<gateway::Running>, scanner: Scanner) {
    if let Some(left) = left {
        tracing::warn!("an earlier magid left its gateway running: it is ended");
        tokio::spawn(async move { left.end(&scanner, &CancellationToken::new()).await });
    }
}

fn announce(events: &EventLog, socket: &std::path::Path, reload: &ReloadHandle) {
    let status = reload.status();
    for told in status.errors.iter().chain(&status.warnings) {
        tracing::warn!("{}", told.rendered);
    }
    let message = format!(
        "magid {} answers on {}",
        env!("CARGO_PKG_VERSION"),
        socket.display()
    );
    events.record(Happening::of_daemon(Kind::DaemonReady, "ready", message));
    notify::ready();
}

/// How long systemd is to wait for the next sign that the fleet is still being stopped.
const STILL_STOPPING: Duration = Duration::from_secs(30);

/// Stops the fleet; each further signal takes more of the servers' time. It ends by itself, so systemd
/// is asked for as long as it takes: how long a server may drain is said in magid.toml, not in the unit.
async fn shut_down(fleet: &FleetHandle, signals: &mut signals::Signals) -> BTreeSet<ServerName> {
    notify::stopping();
    let stopped = fleet.shut_down();
    tokio::pin!(stopped);
    let mut sign = tokio::time::interval(STILL_STOPPING / 2);
    loop {
        // Each arm is cancel-safe: the shutdown is kept, a signal stays where it is, a tick is not lost.
        tokio::select! {
            left = &mut stopped => return left,
            _ = sign.tick() => notify::extend_timeout(STILL_STOPPING),
            () = signals.next_stop() => {
                tracing::warn!("asked again: no more grace for servers that are still there");
                fleet.hurry().await;
            }
        }
    }
}
