//! A daemon that gives prepared answers, to see what magictl makes of them.

mod gateways;
mod stores;

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use magi_proto::v1::daemon_service_server::{DaemonService, DaemonServiceServer};
use magi_proto::v1::gateway_service_server::GatewayServiceServer;
use magi_proto::v1::generation_service_server::GenerationServiceServer;
use magi_proto::v1::model_service_server::ModelServiceServer;
use magi_proto::v1::profile_service_server::ProfileServiceServer;
use magi_proto::v1::server_service_server::{ServerService, ServerServiceServer};
use magi_proto::v1::*;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

pub(crate) use stores::Stores;

type Answer<T> = Result<Response<T>, Status>;
type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the daemon answers.
#[derive(Clone, Default)]
pub(crate) struct Script {
    pub(crate) status: GetStatusResponse,
    /// What `start`, `stop` and `restart` end with; `None`: they never end.
    pub(crate) changed: Option<Vec<Server>>,
    /// What happens meanwhile.
    pub(crate) news: Vec<Server>,
    /// Which servers are gone in the end.
    pub(crate) removed: Vec<String>,
    pub(crate) reload: ReloadResponse,
    /// What every read is refused with.
    pub(crate) refusal: Option<Status>,
    pub(crate) log: Vec<TailLogsResponse>,
    pub(crate) events: Vec<Event>,
    pub(crate) explanation: ExplainServerResponse,
    pub(crate) version: GetVersionResponse,
    pub(crate) stores: Stores,
    /// What every server is when it was ensured that it is ready.
    pub(crate) ready: EnsureReadyResponse,
    pub(crate) finished: Vec<FinishedRequest>,
    /// The last request that was answered with [`Script::answer`], as it is debugged.
    pub(crate) asked: Arc<Mutex<String>>,
}

/// The daemon, for as long as this lives.
pub(crate) struct Fake {
    socket: PathBuf,
    asked: Arc<Mutex<String>>,
    _dir: tempfile::TempDir,
    _runtime: Runtime,
}

impl Fake {
    /// Starts it.
    pub(crate) fn new(script: Script) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("magid.sock");
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(async { UnixListener::bind(&socket).unwrap() });
        let asked = script.asked.clone();
        let server = tonic::transport::Server::builder()
            .add_service(DaemonServiceServer::new(script.clone()))
            .add_service(ModelServiceServer::new(script.clone()))
            .add_service(ProfileServiceServer::new(script.clone()))
            .add_service(GatewayServiceServer::new(script.clone()))
            .add_service(GenerationServiceServer::new(script.clone()))
            .add_service(ServerServiceServer::new(script));
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        Self {
            socket,
            asked,
            _dir: dir,
            _runtime: runtime,
        }
    }

    /// Starts one of which only the stores are asked.
    pub(crate) fn with(stores: Stores) -> Self {
        Self::new(Script {
            stores,
            ..Default::default()
        })
    }

    /// Starts one that refuses everything.
    pub(crate) fn refusing(
        code: Code,
        reason: &str,
        message: &str,
        metadata: &[(&str, &str)],
    ) -> Self {
        let owned = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let metadata: HashMap<_, _> = metadata.iter().map(owned).collect();
        let details = ErrorDetails::with_error_info(reason, "magi", metadata);
        Self::new(Script {
            refusal: Some(Status::with_error_details(code, message, details)),
            ..Default::default()
        })
    }

    /// `magictl` that talks to it.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = magictl(args);
        command.env("MAGI_SOCKET", &self.socket);
        command
    }

    /// Runs `magictl` to its end.
    pub(crate) fn magictl(&self, args: &[&str]) -> Run {
        Run::new(self.command(args).output().unwrap())
    }

    /// Runs `magictl`, and tells what it asked for last.
    pub(crate) fn asked(&self, args: &[&str]) -> String {
        let run = self.magictl(args);
        assert_eq!(run.exit, Some(0), "{run:?}");
        self.asked.lock().unwrap().clone()
    }
}

/// The binary under test.
pub(crate) fn magictl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_magictl"));
    command
        .args(args)
        .env_remove("MAGI_SOCKET")
        .env("TZ", "UTC");
    command
}

/// What a run of magictl left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Script {
    fn read<T>(&self, answer: T) -> Answer<T> {
        match &self.refusal {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(answer)),
        }
    }

    /// As [`Script::read`], and notes the request.
    fn answer<T>(&self, request: Request<impl Debug>, answer: T) -> Answer<T> {
        *self.asked.lock().unwrap() = format!("{:?}", request.into_inner());
        self.read(answer)
    }

    async fn change(&self) -> Vec<Server> {
        match &self.changed {
            Some(servers) => servers.clone(),
            None => std::future::pending().await,
        }
    }
}

fn messages<T: Send + 'static>(messages: Vec<T>) -> Messages<T> {
    Box::pin(tokio_stream::iter(messages.into_iter().map(Ok)))
}

#[tonic::async_trait]
impl DaemonService for Script {
    type WatchEventsStream = Messages<WatchEventsResponse>;

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Answer<GetStatusResponse> {
        self.read(self.status.clone())
    }

    async fn get_version(&self, _: Request<GetVersionRequest>) -> Answer<GetVersionResponse> {
        self.read(self.version.clone())
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Answer<ReloadResponse> {
        self.answer(request, self.reload.clone())
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let all = messages(vec![WatchEventsResponse {
            events: self.events.clone(),
            missed: 3,
        }]);
        match request.into_inner().follow {
            true => self.read(Box::pin(all.chain(tokio_stream::pending()))),
            false => self.read(all),
        }
    }

    async fn stop(&self, _: Request<StopRequest>) -> Answer<StopResponse> {
        self.read(StopResponse {})
    }
}

#[tonic::async_trait]
impl ServerService for Script {
    type WatchServersStream = Messages<WatchServersResponse>;
    type TailLogsStream = Messages<TailLogsResponse>;

    async fn list_servers(&self, _: Request<ListServersRequest>) -> Answer<ListServersResponse> {
        self.read(ListServersResponse::default())
    }

    async fn watch_servers(
        &self,
        _: Request<WatchServersRequest>,
    ) -> Answer<Self::WatchServersStream> {
        let snapshot = WatchServersResponse {
            revision: 1,
            snapshot: true,
            servers: self.status.servers.clone(),
            removed: Vec::new(),
        };
        let news = self.news.iter().map(|server| WatchServersResponse {
            revision: 2,
            servers: vec![server.clone()],
            ..Default::default()
        });
        let removed = self.removed.iter().map(|name| WatchServersResponse {
            revision: 3,
            removed: vec![name.clone()],
            ..Default::default()
        });
        let all = messages([snapshot].into_iter().chain(news).chain(removed).collect());
        self.read(Box::pin(all.chain(tokio_stream::pending())))
    }

    async fn explain_server(
        &self,
        _: Request<ExplainServerRequest>,
    ) -> Answer<ExplainServerResponse> {
        self.read(self.explanation.clone())
    }

    async fn start_servers(
        &self,
        request: Request<StartServersRequest>,
    ) -> Answer<StartServersResponse> {
        let servers = self.change().await;
        self.answer(request, StartServersResponse { servers })
    }

    async fn stop_servers(
        &self,
        request: Request<StopServersRequest>,
    ) -> Answer<StopServersResponse> {
        let servers = self.change().await;
        self.answer(request, StopServersResponse { servers })
    }

    async fn restart_servers(
        &self,
        request: Request<RestartServersRequest>,
    ) -> Answer<RestartServersResponse> {
        let servers = self.change().await;
        self.answer(request, RestartServersResponse { servers })
    }

    async fn tail_logs(&self, request: Request<TailLogsRequest>) -> Answer<Self::TailLogsStream> {
        let all = messages(self.log.clone());
        match request.into_inner().follow {
            true => self.read(Box::pin(all.chain(tokio_stream::pending()))),
            false => self.read(all),
        }
    }
}
