//! `ServerService`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use magi_proto::v1;
use magi_proto::v1::server_service_server::ServerService;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::reader::{Gone, Reader};
use super::{Api, convert, errors, gateway, logs, memory, peer, reader};
use crate::blocking::blocking;
use crate::name::ServerName;
use crate::secrets::{hide_secret, hide_secrets};
use crate::supervisor::board::{Fleet, Row};
use crate::supervisor::fleet::{Ask, AskError, Pending, Selector};
use crate::supervisor::server::Explanation;

/// The shortest time between two messages to one watcher. What happens meanwhile is folded into the
/// next one.
const PACE: Duration = Duration::from_millis(20);

/// The longest.
const LONGEST_PACE: Duration = Duration::from_secs(10);

/// The messages of all watchers together are made in this share of the time, so that a thousand watchers
/// cannot keep magid from its work when servers crash in a loop: one in so many.
const SHARE: u32 = 10;

/// How long to wait for what the system says about servers.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often servers are measured at a time. If the system does not answer, so many threads are lost.
static MEASURING: Semaphore = Semaphore::const_new(2);

#[tonic::async_trait]
impl ServerService for Api {
    async fn list_servers(
        &self,
        request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        let fleet = self.context.board.read();
        let names = request.into_inner().names;
        let fleet = if names.is_empty() {
            fleet
        } else {
            only(fleet, &names)?
        };
        Ok(Response::new(v1::ListServersResponse {
            servers: self.measured(fleet).await,
        }))
    }

    type WatchServersStream =
        Pin<Box<dyn Stream<Item = Result<v1::WatchServersResponse, Status>> + Send>>;

    async fn watch_servers(
        &self,
        request: Request<v1::WatchServersRequest>,
    ) -> Result<Response<Self::WatchServersStream>, Status> {
        let (reader, stream) = reader::stream(&request, "the states of servers");
        let board = self.context.board.subscribe();
        let watcher = self.watchers.one_more();
        tokio::spawn(pass_changes(board, reader, watcher, self.ending.clone()));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn explain_server(
        &self,
        request: Request<v1::ExplainServerRequest>,
    ) -> Result<Response<v1::ExplainServerResponse>, Status> {
        let name = request.into_inner().name;
        let (server, explanation) = self.fleet.explain(name).await.map_err(errors::ask)?;
        let row = self.context.board.row(&server);
        let row = row.ok_or_else(|| {
            errors::ask(AskError::NoSuchServer {
                name: server.to_string(),
                near: None,
            })
        })?;
        let snapshot = self.context.memory.snapshot();
        let gateways = self.context.gateways.clone();
        let making_room = self.context.room.told(&server);
        let explain = move || {
            let mut answer = explained(&row, explanation);
            answer.making_room = making_room;
            gateway::add_uses(
                answer.server.as_mut_slice(),
                std::slice::from_ref(&row),
                &gateways,
            );
            memory::explain(&mut answer, &row, &snapshot);
            answer
        };
        let answer = blocking(explain).await;
        Ok(Response::new(answer.map_err(|_| errors::shutting_down())?))
    }

    async fn start_servers(
        &self,
        request: Request<v1::StartServersRequest>,
    ) -> Result<Response<v1::StartServersResponse>, Status> {
        peer::log(&request, "a start");
        let request = request.into_inner();
        let selector = selector(request.names, request.all)?;
        let servers = self
            .ask(
                Ask::Start,
                selector,
                &Terms {
                    wait: request.wait,
                    expected: request.expected_generation,
                },
            )
            .await?;
        Ok(Response::new(v1::StartServersResponse { servers }))
    }

    async fn stop_servers(
        &self,
        request: Request<v1::StopServersRequest>,
    ) -> Result<Response<v1::StopServersResponse>, Status> {
        peer::log(&request, "a stop");
        let request = request.into_inner();
        let selector = selector(request.names, request.all)?;
        let stop = match request.hold {
            true => Ask::Hold,
            false => Ask::Stop,
        };
        let servers = self
            .ask(
                stop,
                selector,
                &Terms {
                    wait: request.wait,
                    expected: request.expected_generation,
                },
            )
            .await?;
        Ok(Response::new(v1::StopServersResponse { servers }))
    }

    async fn restart_servers(
        &self,
        request: Request<v1::RestartServersRequest>,
    ) -> Result<Response<v1::RestartServersResponse>, Status> {
        peer::log(&request, "a restart");
        let request = request.into_inner();
        let selector = selector(request.names, request.all)?;
        let servers = self
            .ask(
                Ask::Restart,
                selector,
                &Terms {
                    wait: request.wait,
                    expected: request.expected_generation,
                },
            )
            .await?;
        Ok(Response::new(v1::RestartServersResponse { servers }))
    }

    type TailLogsStream = Pin<Box<dyn Stream<Item = Result<v1::TailLogsResponse, Status>> + Send>>;

    async fn tail_logs(
        &self,
        request: Request<v1::TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let stream = logs::tail(self, request).await?;
        Ok(Response::new(Box::pin(stream)))
    }
}

/// How a command is meant.
struct Terms {
    /// Answer when it is done, or has failed.
    wait: bool,
    /// The generation that it is meant for.
    expected: Option<u64>,
}

impl Api {
    async fn ask(
        &self,
        ask: Ask,
        selector: Selector,
        terms: &Terms,
    ) -> Result<Vec<v1::Server>, Status> {
        let pending = self.fleet.ask(ask, selector, terms.expected).await;
        let pending = pending.map_err(errors::ask)?;
        let names: Vec<ServerName> = pending.iter().map(|p| p.server.clone()).collect();
        if terms.wait {
            self.wait_for(pending).await?;
        }
        let mut fleet = self.context.board.read();
        fleet.rows.retain(|name, _| names.contains(name));
        Ok(self.measured(fleet).await)
    }

    /// Waits until everything that was asked has been done, or has failed.
    pub(super) async fn wait_for(&self, pending: Vec<Pending>) -> Result<(), Status> {
        let mut ending = self.ending.clone();
        let all_done = async {
            for pending in pending {
                // The sender is dropped when it is done; nothing is ever sent.
                let _ = pending.done.await;
            }
        };
        // Both arms are cancel-safe: they only wait.
        tokio::select! {
            () = all_done => Ok(()),
            _ = ending.wait_for(|ending| *ending) => Err(errors::shutting_down()),
        }
    }
}

fn selector(names: Vec<String>, all: bool) -> Result<Selector, Status> {
    match (names.is_empty(), all) {
        (true, true) => Ok(Selector::All),
        (false, false) => Ok(Selector::Names(names)),
        (true, false) => Err(errors::invalid(
            "cannot tell which servers: name them, or set all",
        )),
        (false, true) => Err(errors::invalid("cannot take names and all: leave one out")),
    }
}

/// The named servers of a fleet.
fn only(mut fleet: Fleet, names: &[String]) -> Result<Fleet, Status> {
    let mut wanted = BTreeMap::new();
    for name in names {
        let found = fleet.rows.iter().find(|(server, (_, row))| {
            let mut aliases = row.definition.aliases.iter();
            server.as_str() == name || aliases.any(|alias| alias.as_str() == name)
        });
        let (server, row) = found.ok_or_else(|| {
            errors::ask(AskError::NoSuchServer {
                name: name.clone(),
                near: None,
            })
        })?;
        wanted.insert(server.clone(), row.clone());
    }
    fleet.rows = wanted;
    Ok(fleet)
}

impl Api {
    /// The servers with what the system says of each now; without that if the system does not answer,
    /// which it may never do about a file on a dead network file system.
    pub(super) async fn measured(&self, fleet: Fleet) -> Vec<v1::Server> {
        let rows: Vec<Arc<Row>> = fleet.rows.into_values().map(|(_, row)| row).collect();
        let asked = rows.clone();
        let measure = async move {
            let turn = MEASURING.acquire().await;
            let measure = move || {
                let servers = asked.iter().map(|row| convert::measured(row)).collect();
                drop(turn);
                servers
            };
            blocking(measure).await
        };
        let mut servers: Vec<_> = match timeout(PATIENCE, measure).await {
            Ok(Ok(servers)) => servers,
            Ok(Err(_)) | Err(_) => rows.iter().map(|row| convert::server(row)).collect(),
        };
        memory::add_needs(&mut servers, &rows, &self.context.memory.snapshot());
        gateway::add_uses(&mut servers, &rows, &self.context.gateways);
        servers
    }
}

/// How many watchers there are.
#[derive(Clone, Debug, Default)]
pub struct Watchers(Arc<AtomicU32>);

/// One of them, until it is dropped.
struct Watcher(Watchers);

impl Watchers {
    fn one_more(&self) -> Watcher {
        self.0.fetch_add(1, Ordering::Relaxed);
        Watcher(self.clone())
    }
}

impl Watcher {
    /// How many there are, with this one.
    fn count(&self) -> u32 {
        self.0.0.load(Ordering::Relaxed)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Passes changes on until the watcher is gone or magid ends.
async fn pass_changes(
    mut board: watch::Receiver<Fleet>,
    mut reader: Reader<v1::WatchServersResponse>,
    watcher: Watcher,
    mut ending: watch::Receiver<bool>,
) {
    let mut known: BTreeMap<ServerName, u64> = BTreeMap::new();
    let mut snapshot = true;
    loop {
        let began = Instant::now();
        let fleet = board.borrow_and_update().clone();
        let change = difference(&fleet, &mut known, snapshot);
        let pace = (began.elapsed() * SHARE * watcher.count()).clamp(PACE, LONGEST_PACE);
        if snapshot || !change.servers.is_empty() || !change.removed.is_empty() {
            snapshot = false;
            if reader.send(change).await == Err(Gone) {
                return;
            }
        }
        tokio::time::sleep(pace).await;
        // All arms are cancel-safe: each only waits for something that stays true.
        tokio::select! {
            changed = board.changed() => if changed.is_err() { return },
            () = reader.closed() => return,
            _ = ending.wait_for(|ending| *ending) => return,
        }
    }
}

fn difference(
    fleet: &Fleet,
    known: &mut BTreeMap<ServerName, u64>,
    snapshot: bool,
) -> v1::WatchServersResponse {
    let fresh = fleet
        .rows
        .iter()
        .filter(|(name, (revision, _))| known.get(*name) != Some(revision));
    let servers = fresh.map(|(_, (_, row))| convert::server(row)).collect();
    let gone = known.keys().filter(|name| !fleet.rows.contains_key(*name));
    let removed = gone.map(ToString::to_string).collect();
    *known = fleet
        .rows
        .iter()
        .map(|(name, (revision, _))| (name.clone(), *revision))
        .collect();
    v1::WatchServersResponse {
        revision: fleet.revision,
        snapshot,
        servers,
        removed,
    }
}

/// Blocks.
fn explained(row: &Row, explanation: Explanation) -> v1::ExplainServerResponse {
    let restart = &row.definition.policy.restart;
    let traffic = &row.definition.traffic;
    let tree = explanation.tree.and_then(|tree| {
        let members = tree.members(crate::process::Scope::Owned).ok()?;
        Some(members.into_iter().map(|member| member.pid).collect())
    });
    v1::ExplainServerResponse {
        server: Some(convert::measured(row)),
        defined_at: row.definition.defined_at.clone(),
        argv: hide_secrets(explanation.command_line),
        env: explanation.env.into_iter().map(hide_secret).collect(),
        should_run: explanation.should_run,
        should_run_because: explanation.because.to_owned(),
        restart_policy: restart.mode.code().to_owned(),
        failures: explanation.failures,
        max_failures: restart.max_failures,
        next_delay: Some(convert::duration(explanation.next_delay)),
        log_path: explanation
            .log
            .map_or_else(String::new, |log| log.display().to_string()),
        tree: tree.unwrap_or_default(),
        priority: row.definition.priority,
        idle_timeout: traffic.idle_timeout.map(convert::duration),
        idle_stop_at: explanation.idle_stop_at.map(convert::timestamp),
        pin: traffic.pin,
        ..v1::ExplainServerResponse::default()
    }
}
