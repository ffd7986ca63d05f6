//! What `check` and `ports` found.

use magid::check;
use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Ok,
    Skipped,
    Warning,
    Error,
}

/// All findings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    pub(crate) duration_ms: u64,
    pub(crate) checks: Vec<Finding>,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    pub(crate) what: String,
    pub(crate) why: Option<String>,
    pub(crate) help: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<usize>,
    pub(crate) column: Option<usize>,
    pub(crate) critical: bool,
}

/// All ports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Ports {
    pub(crate) ports: Vec<Port>,
}

/// A port, or several in a row that are free.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Port {
    pub(crate) port: u16,
    pub(crate) last_port: u16,
    pub(crate) owner: Option<String>,
    pub(crate) protocol: &'static str,
    pub(crate) required: bool,
    pub(crate) health: Option<String>,
    pub(crate) state: &'static str,
    pub(crate) server: Option<String>,
    pub(crate) pid: Option<u32>,
    pub(crate) command: Option<String>,
    pub(crate) conflict: Option<String>,
}

impl From<check::Level> for Level {
    fn from(level: check::Level) -> Self {
        match level {
            check::Level::Ok => Self::Ok,
            check::Level::Skipped => Self::Skipped,
            check::Level::Warning => Self::Warning,
            check::Level::Error => Self::Error,
        }
    }
}

impl Level {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl From<check::Report> for Report {
    fn from(report: check::Report) -> Self {
        let errors = report.count(check::Level::Error);
        Self {
            ok: errors == 0,
            errors,
            warnings: report.count(check::Level::Warning),
            duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
            checks: magi_view::all(report.findings),
        }
    }
}

impl From<check::Finding> for Finding {
    fn from(finding: check::Finding) -> Self {
        let place = finding.place.as_ref();
        Self {
            check: finding.check.code(),
            level: finding.level.into(),
            line: place.and_then(|place| place.line),
            column: place.and_then(|place| place.column),
            file: finding.place.map(|place| place.file),
            what: finding.what,
            why: magi_view::non_empty(finding.why),
            help: magi_view::non_empty(finding.help),
            critical: finding.level == check::Level::Error,
        }
    }
}

impl From<check::PortRow> for Port {
    fn from(row: check::PortRow) -> Self {
        let (state, server, pid, command) = match row.state {
            check::PortState::Free => ("free", None, None, None),
            check::PortState::Reserved => ("reserved", None, None, None),
            check::PortState::Listening { server, pid } => {
                ("listening", Some(server), Some(pid), None)
            }
            check::PortState::Held(holder) => ("held", None, holder.pid, holder.command),
        };
        Self {
            port: row.port,
            last_port: row.last,
            owner: row.owner,
            protocol: "http",
            required: row.is_required,
            health: row.health,
            state,
            server,
            pid,
            command,
            conflict: row.conflict,
        }
    }
}
