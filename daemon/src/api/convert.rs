//! From what the tasks publish to the messages of `magi.v1`.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use magi_proto::v1;

use crate::files::Fingerprint;
use crate::lifecycle::{ExitStatus, LastExit, PublicState};
use crate::memory::Source;
use crate::plan::{Step, StepAction};
use crate::process::usage;
use crate::reload::{ConfigState, ConfigStatus, Decision, Told};
use crate::supervisor::board::Row;
use crate::supervisor::events::Event;
use crate::supervisor::fleet::Veto;

pub(super) fn timestamp(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn state(state: PublicState) -> v1::ServerState {
    match state {
        PublicState::Stopped => v1::ServerState::Stopped,
        PublicState::Starting => v1::ServerState::Starting,
        PublicState::Ready => v1::ServerState::Ready,
        PublicState::Draining => v1::ServerState::Draining,
        PublicState::Stopping => v1::ServerState::Stopping,
        PublicState::Backoff => v1::ServerState::Backoff,
        PublicState::Failed => v1::ServerState::Failed,
    }
}

/// A server as it is published. What has to be asked of the system is left out: see [`measured`].
pub(super) fn server(row: &Row) -> v1::Server {
    let definition = &row.definition;
    let model = definition.launch.model.file.as_ref();
    v1::Server {
        name: definition.name.to_string(),
        aliases: definition.aliases.iter().map(ToString::to_string).collect(),
        model: definition.launch.model.written.clone(),
        state: state(row.view.state).into(),
        reason: row.view.reason.to_owned(),
        detail: row.view.detail.clone(),
        pid: row.pid,
        incarnation: row.incarnation,
        endpoint: row.endpoint.map(|endpoint| format!("http://{endpoint}")),
        port: row.endpoint.map(|endpoint| endpoint.port().into()),
        restarts: row.restarts,
        ready_since: row.ready_since.map(timestamp),
        memory: None,
        last_exit: row.last_exit.as_ref().map(|(at, last)| exit(*at, last)),
        state_since: Some(timestamp(row.state_since)),
        next_try: row.next_try.map(timestamp),
        load_percent: row.load_percent.map(u32::from),
        model_id: definition.launch.model.id.clone(),
        model_path: model.ok().map(|path| path.display().to_string()),
        notes: row.notes.clone(),
        held: row.is_held,
        ..v1::Server::default()
    }
}

/// A server with what the system says of it now: its memory, and whether its binary was replaced.
/// Blocks.
pub(super) fn measured(row: &Row) -> v1::Server {
    let mut server = server(row);
    let usage = row.pid.and_then(|pid| usage::sample(pid).ok().flatten());
    server.memory = usage.map(|usage| usage.resident_bytes);
    if let Some((path, before)) = &row.engine
        && is_newer(path, before)
    {
        server
            .notes
            .push("newer engine on disk: a restart uses it".to_owned());
    }
    server
}

fn is_newer(path: &Path, before: &Fingerprint) -> bool {
    let now = Fingerprint::of(path).ok().flatten();
    now.is_some_and(|now| !now.same_content(before))
}

fn exit(at: Timestamp, last: &LastExit) -> v1::Exit {
    let exit = &last.exit;
    let (code, signal) = match exit.status {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
        Some(ExitStatus::Unknown) | None => (None, None),
    };
    v1::Exit {
        class: exit.class.code().to_owned(),
        code,
        signal,
        at: Some(timestamp(at)),
        incarnation: last.incarnation,
        detail: exit.detail.clone(),
        exec_stage: exit.exec_stage.clone(),
        last_lines: exit.last_lines.clone(),
    }
}

pub(super) fn event(event: &Event) -> v1::Event {
    let (server, incarnation) = match &event.server {
        Some((server, incarnation)) => (Some(server.to_string()), *incarnation),
        None => (None, None),
    };
    let (from, to) = match event.states {
        Some((from, to)) => (state(from), state(to)),
        None => (v1::ServerState::Unspecified, v1::ServerState::Unspecified),
    };
    v1::Event {
        sequence: event.sequence,
        at: Some(timestamp(event.at)),
        kind: event.kind.code().to_owned(),
        server,
        incarnation,
        from: from.into(),
        to: to.into(),
        reason: event.reason.clone(),
        message: event.message.clone(),
    }
}

pub(super) fn diagnostic(told: &Told) -> v1::Diagnostic {
    v1::Diagnostic {
        file: told.file.clone(),
        line: u32::try_from(told.line).unwrap_or(u32::MAX),
        column: u32::try_from(told.column).unwrap_or(u32::MAX),
        message: told.message.clone(),
        help: told.help.clone(),
        rendered: told.rendered.clone(),
    }
}

pub(super) fn diagnostics(told: &[Told]) -> Vec<v1::Diagnostic> {
    told.iter().map(diagnostic).collect()
}

pub(super) fn config_status(status: &ConfigStatus) -> v1::ConfigStatus {
    let state = match status.state {
        ConfigState::Applied => v1::ConfigState::Applied,
        ConfigState::Invalid => v1::ConfigState::Invalid,
        ConfigState::NoProfile => v1::ConfigState::NoProfile,
        ConfigState::Vetoed => v1::ConfigState::Vetoed,
    };
    v1::ConfigStatus {
        state: state.into(),
        since: Some(timestamp(status.since)),
        errors: diagnostics(&status.errors),
        warnings: diagnostics(&status.warnings),
        overridden: status.overridden.clone(),
        needs_restart: status.needs_restart.clone(),
        config_path: status.config_file.display().to_string(),
        profiles_dir: status.profiles_dir.display().to_string(),
        vetoes: vetoes(&status.vetoes),
    }
}

pub(super) fn vetoes(vetoes: &[Veto]) -> Vec<v1::Veto> {
    let veto = |veto: &Veto| v1::Veto {
        server: veto.server.to_string(),
        reason: veto.reason.clone(),
        detail: veto.detail.clone(),
        last_exit: veto.exit.as_ref().map(|(at, last)| exit(*at, last)),
    };
    vetoes.iter().map(veto).collect()
}

/// How a need of memory is known.
pub(super) fn source(source: Source) -> &'static str {
    match source {
        Source::Estimate => "estimate",
        Source::Fit => "fit",
        Source::Observed => "observed",
    }
}

pub(super) fn decision(decision: Decision) -> v1::ReloadVerdict {
    match decision {
        Decision::Applied => v1::ReloadVerdict::Applied,
        Decision::Unchanged => v1::ReloadVerdict::Unchanged,
        Decision::Refused => v1::ReloadVerdict::Refused,
        Decision::Planned => v1::ReloadVerdict::Planned,
    }
}

pub(super) fn step(step: &Step) -> v1::PlanStep {
    let action = match step.action {
        StepAction::Keep => v1::PlanAction::Keep,
        StepAction::Live => v1::PlanAction::Live,
        StepAction::Replace => v1::PlanAction::Replace,
        StepAction::Start => v1::PlanAction::Start,
        StepAction::Stop => v1::PlanAction::Stop,
        StepAction::Define => v1::PlanAction::Define,
    };
    v1::PlanStep {
        server: step.server.to_string(),
        action: action.into(),
        reasons: step.reasons.clone(),
        method: step.method.map(|method| method.code().to_owned()),
        memory_before: None,
        memory_after: None,
    }
}
