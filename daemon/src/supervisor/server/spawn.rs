//! Making the process of an incarnation.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::output::Dropped;
use super::{Incarnation, Report, Server, end, heal};
use crate::files::Fingerprint;
use crate::lifecycle::{Event, Exit, ExitClass, Process as Pid};
use crate::plan::ApiKeys;
use crate::process::{self, Scope, SpawnRequest, Token, Tree, usage};
use crate::supervisor::context::Context;
use crate::supervisor::key::ApiKey;
use crate::supervisor::ports::PortRequest;
use crate::supervisor::record::{LiveRecord, Record};
use crate::supervisor::seat::Seat;

/// Everything that a spawn needs to know.
struct Order {
    context: Arc<Context>,
    definition: Arc<crate::plan::Definition>,
    seat: Seat,
    incarnation: u64,
    record: Record,
}

impl Server {
    pub(super) fn begin_spawn(&mut self, incarnation: u64) {
        let mut order = Order {
            context: self.context.clone(),
            definition: self.definition.clone(),
            seat: self.seat.clone(),
            incarnation,
            record: self.record.clone(),
        };
        let reports = self.reports.clone();
        // Not dropped with its phase: a process that was made must be known.
        tokio::spawn(async move {
            let evidence = heal::gather(&order.definition).await;
            let result = order.carry_out(&evidence).await;
            let report = Report::Spawned {
                incarnation,
                record: order.record,
                evidence,
                result: result.map(Box::new).map_err(Box::new),
            };
            let _ = reports.send(report).await;
        });
    }

    pub(super) fn spawned(
        &mut self,
        incarnation: u64,
        record: Record,
        result: Result<Box<Incarnation>, Box<Exit>>,
    ) {
        self.record = record;
        match result {
            Ok(live) => {
                let process = Pid {
                    incarnation,
                    pid: live.process.pid(),
                };
                self.published.dropped = Dropped::default();
                self.follow_output(&live);
                self.await_exit(&live);
                let model = live.clone();
                self.incarnation = Some(*live);
                self.apply(Event::Spawned(process));
                if self.is_current(incarnation) {
                    self.watch_model(&model);
                }
            }
            Err(exit) => {
                let exit = Arc::new(*exit);
                self.apply(Event::SpawnFailed { incarnation, exit });
            }
        }
    }
}

impl Order {
    async fn carry_out(&mut self, evidence: &heal::Evidence) -> Result<Incarnation, Exit> {
        let model = self.model(evidence).await?;
        let endpoint = self.take_port().await?;
        let engine = evidence.get(&self.definition.launch.engine);
        let files = self.definition.launch.model_files();
        let mapped = evidence.iter().filter(|(path, _)| files.contains(path));
        let mapped = mapped.map(|(path, seen)| (path.clone(), *seen)).collect();
        let made = self
            .make(model, endpoint, engine.copied().flatten(), mapped)
            .await;
        if made.is_err() {
            self.record.live = None;
            let _ = self.write_record().await;
            self.context.ports.release(self.seat.clone()).await;
        }
        made
    }

    async fn model(&self, evidence: &heal::Evidence) -> Result<PathBuf, Exit> {
        let model = &self.definition.launch.model;
        let missing = |why: &str| Exit::without_process(ExitClass::ModelMissing, why);
        let path = model.file.as_ref().map_err(|why| missing(why))?;
        if evidence.get(path).is_some_and(Option::is_some) {
            return Ok(path.clone());
        }
        let asked = path.clone();
        match end::blocking(move || Fingerprint::of(&asked)).await {
            Ok(Some(_)) => Ok(path.clone()),
            Ok(None) => Err(missing(&format!("there is no file {}", path.display()))),
            Err(error) => Err(missing(&format!(
                "cannot look at {}: {error}",
                path.display()
            ))),
        }
    }

    async fn take_port(&self) -> Result<SocketAddr, Exit> {
        let launch = &self.definition.launch;
        let request = PortRequest {
            seat: self.seat.clone(),
            host: launch.host,
            fixed: launch.port,
            last: self.record.port,
            range: self.context.rules.borrow().port_range.clone(),
        };
        match self.context.ports.take(request).await {
            Ok(port) => Ok(SocketAddr::new(launch.reachable_host(), port)),
            Err(error) => Err(Exit::without_process(ExitClass::Bind, error.to_string())),
        }
    }

    async fn make(
        &mut self,
        model: PathBuf,
        endpoint: SocketAddr,
        engine: Option<Fingerprint>,
        mapped: heal::Evidence,
    ) -> Result<Incarnation, Exit> {
        let launch = &self.definition.launch;
        let token = Token::random().map_err(|error| {
            not_prepared(
                "drawing a token",
                &format!("cannot draw a random token: {error}"),
            )
        })?;
        let api_key = self.api_key()?;
        let mut env = launch.env.clone();
        env.extend(api_key.iter().map(ApiKey::variable));
        let arguments = launch.command_line(&self.definition.name, &model, endpoint.port());
        let (output, log) = self.create_log().await?;
        self.record.incarnation = self.incarnation;
        self.record.port = Some(endpoint.port());
        self.record.live = Some(LiveRecord {
            token: token.clone(),
            endpoint,
            process: None,
        });
        self.write_record().await?;
        let oom_kills = usage::oom_kills().unwrap_or(0);
        let request = SpawnRequest {
            program: launch.engine.clone(),
            args: arguments.iter().map(OsString::from).collect(),
            env,
            token: token.clone(),
            output,
            current_dir: None,
        };
        let process = process::spawn(request).await.map_err(|error| Exit {
            exec_stage: Some(error.stage.to_string()),
            prospect: error.prospect(),
            ..Exit::without_process(ExitClass::SpawnFailed, error.to_string())
        })?;
        let identity = process.identity().clone();
        if let Some(live) = &mut self.record.live {
            live.process = Some(identity.clone());
        }
        // The token already leads to it: without this, finding it again only takes longer.
        if let Err(exit) = self.write_record().await {
            tracing::warn!(server = %self.definition.name, "{}", exit.detail);
        }
        Ok(Incarnation {
            number: self.incarnation,
            process,
            tree: Tree {
                token,
                main: identity,
            },
            scope: Scope::Owned,
            endpoint,
            api_key,
            program: self.definition.launch.engine.clone(),
            engine,
            arguments,
            model,
            log,
            mapped,
            oom_kills,
            end_told: CancellationToken::new(),
        })
    }

    fn api_key(&self) -> Result<Option<ApiKey>, Exit> {
        match self.definition.launch.api_key {
            ApiKeys::None => Ok(None),
            ApiKeys::Auto => ApiKey::random().map(Some).map_err(|error| {
                not_prepared(
                    "drawing a key",
                    &format!("cannot draw a random key: {error}"),
                )
            }),
        }
    }

    async fn create_log(&self) -> Result<(std::fs::File, PathBuf), Exit> {
        let logs = self.context.rules.borrow().logs.clone();
        let (name, incarnation) = (self.definition.name.clone(), self.incarnation);
        let create = move || logs.create(&name, incarnation);
        end::blocking(create).await.map_err(|error| {
            not_prepared(
                "opening the log file",
                &format!("cannot make its log file: {error}"),
            )
        })
    }

    async fn write_record(&self) -> Result<(), Exit> {
        let (record, folder) = (self.record.clone(), self.context.records.clone());
        let write = move || record.write(&folder);
        end::blocking(write).await.map_err(|error| {
            let folder = self.context.records.display();
            not_prepared(
                "recording the incarnation",
                &format!("cannot write its record into {folder}: {error}"),
            )
        })
    }
}

fn not_prepared(stage: &str, why: &str) -> Exit {
    Exit {
        exec_stage: Some(stage.to_owned()),
        ..Exit::without_process(ExitClass::SpawnFailed, why)
    }
}
