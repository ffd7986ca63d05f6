//! Everything that can go wrong, with its message and its exit status.

use std::error::Error as _;
use std::io;
use std::process::ExitCode;

use magi_proto::ConnectError;
use magid::daemon::DaemonError;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::answer::AnswerError;
use crate::commands::keys::KeysError;
use crate::output::{narrate, text};

/// The domain of magid's own reason codes.
const REASON_DOMAIN: &str = "magi";

/// What the process of magictl ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// What was asked is done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// `status SERVER…`, and one is not ready.
    NotReady = 3,
    /// A server, incarnation or other thing of that name does not exist.
    NoSuchThing = 4,
    /// No daemon answers (`EX_UNAVAILABLE`).
    Unreachable = 69,
    /// Busy, or the time was up (`EX_TEMPFAIL`).
    Busy = 75,
    /// Not permitted (`EX_NOPERM`).
    NotPermitted = 77,
    /// The configuration is invalid, and nothing was changed (`EX_CONFIG`).
    InvalidConfiguration = 78,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command could not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The process has no resources for an event loop.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    /// No daemon was reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The daemon refused, or the connection broke.
    #[error("{}", status_message(.0))]
    Rpc(Box<Status>),
    /// A file that was to be sent to the daemon.
    #[error("cannot read {what}: {source}")]
    Input {
        /// The file, or stdin.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A name that the daemon does not know.
    #[error("no such server: {name}{}", suggestion(.known))]
    NoSuchServer {
        /// As it was given.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// No server has that name, and no request that ended has that id.
    #[error("no such request: {0} (magid keeps the last ones that ended)")]
    NoSuchRequest(String),
    /// What is done without magid did not work.
    #[error(transparent)]
    Alone(#[from] DaemonError),
    /// The keys are as they were.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The daemon ended a stream that was to be followed.
    #[error("magid ended the connection")]
    StreamEnded,
    /// A document cannot be printed before its end, and this one has none.
    #[error("cannot print one JSON document that never ends: use -o jsonl")]
    EndlessDocument,
    /// A server that is ready gave no answer, or not all of it.
    #[error("{server}: {}", text::printable(&.source.to_string()))]
    Answer {
        /// Its name.
        server: String,
        /// Why.
        source: AnswerError,
    },
    /// Neither the command line nor stdin has a question.
    #[error("there is nothing to ask: give a PROMPT, or pipe one in")]
    NothingToAsk,
    /// What was asked of the machine takes too long.
    #[error("cannot wait longer: a file system, a program or magid does not answer")]
    Late,
    /// Results could not be written.
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
}

/// The reason codes of magid that change what magictl does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoSuchServer,
    NoSuchIncarnation,
    NoSuchModel,
    NoSuchProfile,
    NoSuchGeneration,
    AmbiguousModel,
    ModelExists,
    ModelInUse,
    NotAModel,
    OutsideScanPaths,
    ProfileExists,
    ProfileActive,
    ProfileBuiltIn,
    ProfilesReadOnly,
    InvalidConfiguration,
    ShuttingDown,
    Busy,
    GenerationChanged,
    InvalidArgument,
}

impl Reason {
    fn of(status: &Status) -> Option<Self> {
        let info = status.get_details_error_info()?;
        if info.domain != REASON_DOMAIN {
            return None;
        }
        match info.reason.as_str() {
            "no-such-server" => Some(Self::NoSuchServer),
            "no-such-incarnation" => Some(Self::NoSuchIncarnation),
            "no-such-model" => Some(Self::NoSuchModel),
            "no-such-profile" => Some(Self::NoSuchProfile),
            "no-such-generation" => Some(Self::NoSuchGeneration),
            "ambiguous-model" => Some(Self::AmbiguousModel),
            "model-exists" => Some(Self::ModelExists),
            "model-in-use" => Some(Self::ModelInUse),
            "not-a-model" => Some(Self::NotAModel),
            "outside-scan-paths" => Some(Self::OutsideScanPaths),
            "profile-exists" => Some(Self::ProfileExists),
            "profile-active" => Some(Self::ProfileActive),
            "profile-built-in" => Some(Self::ProfileBuiltIn),
            "profiles-read-only" => Some(Self::ProfilesReadOnly),
            "invalid-configuration" => Some(Self::InvalidConfiguration),
            "shutting-down" => Some(Self::ShuttingDown),
            "busy" => Some(Self::Busy),
            "generation-changed" => Some(Self::GenerationChanged),
            "invalid-argument" => Some(Self::InvalidArgument),
            _ => None,
        }
    }

    fn exit_status(self) -> ExitStatus {
        match self {
            Self::NoSuchServer
            | Self::NoSuchIncarnation
            | Self::NoSuchModel
            | Self::NoSuchProfile
            | Self::NoSuchGeneration => ExitStatus::NoSuchThing,
            Self::AmbiguousModel
            | Self::ModelExists
            | Self::ModelInUse
            | Self::NotAModel
            | Self::OutsideScanPaths
            | Self::ProfileExists
            | Self::ProfileActive
            | Self::ProfileBuiltIn
            | Self::GenerationChanged => ExitStatus::Failed,
            Self::ProfilesReadOnly => ExitStatus::NotPermitted,
            Self::InvalidConfiguration => ExitStatus::InvalidConfiguration,
            Self::ShuttingDown | Self::Busy => ExitStatus::Busy,
            Self::InvalidArgument => ExitStatus::Usage,
        }
    }
}

impl Failure {
    /// Says on stderr what went wrong and what may help.
    pub(crate) fn report(self) -> ExitStatus {
        if self.is_broken_pipe() {
            // Whoever read the results has enough of them: `magictl events | head -1`.
            return ExitStatus::Done;
        }
        narrate(format_args!("magictl: {self}"));
        if let Some(help) = self.help() {
            narrate(format_args!("{help}"));
        }
        self.exit_status()
    }

    fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the process ends with.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Runtime(_) | Self::Input { .. } | Self::Output(_) | Self::Answer { .. } => {
                ExitStatus::Failed
            }
            Self::Connect(error) if error.is_permission_denied() => ExitStatus::NotPermitted,
            Self::Connect(_) | Self::StreamEnded => ExitStatus::Unreachable,
            Self::Rpc(status) => rpc_exit_status(status),
            Self::Keys(error) => error.exit_status(),
            Self::Alone(DaemonError::Configuration(_)) => ExitStatus::InvalidConfiguration,
            Self::Alone(_) => ExitStatus::Failed,
            Self::NoSuchServer { .. } | Self::NoSuchRequest(_) => ExitStatus::NoSuchThing,
            Self::EndlessDocument | Self::NothingToAsk => ExitStatus::Usage,
            Self::Late => ExitStatus::Busy,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Connect(error) if error.is_permission_denied() => Some(
                "join the group that may: `sudo usermod -aG magi $USER`, then log in again; \
                 or use sudo"
                    .to_owned(),
            ),
            Self::Connect(_) => Some(
                "start it with `systemctl start magid`, or in a terminal with `magid`".to_owned(),
            ),
            Self::Rpc(status) if status.code() == Code::Unimplemented => {
                Some("magid is older than magictl: restart it with the new version".to_owned())
            }
            Self::Rpc(status) if Reason::of(status) == Some(Reason::ProfilesReadOnly) => {
                Some(read_only_help(status))
            }
            Self::Rpc(_)
            | Self::Runtime(_)
            | Self::Input { .. }
            | Self::Output(_)
            | Self::NoSuchServer { .. }
            | Self::NoSuchRequest(_)
            | Self::StreamEnded
            | Self::Keys(_)
            | Self::Alone(_)
            | Self::Late
            | Self::Answer { .. }
            | Self::NothingToAsk
            | Self::EndlessDocument => None,
        }
    }

    /// Whether this is the end of a request by its own deadline.
    pub(crate) fn is_timeout(&self) -> bool {
        match self {
            Self::Rpc(status) => is_timeout(status),
            Self::Runtime(_)
            | Self::Connect(_)
            | Self::NoSuchServer { .. }
            | Self::NoSuchRequest(_)
            | Self::Keys(_)
            | Self::Alone(_)
            | Self::StreamEnded
            | Self::EndlessDocument
            | Self::Answer { .. }
            | Self::NothingToAsk
            | Self::Input { .. }
            | Self::Late
            | Self::Output(_) => false,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Rpc(Box::new(status))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// A status that the daemon sent has no source: only the transport below us sets one.
fn is_lost_connection(status: &Status) -> bool {
    status.source().is_some()
        && matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Internal
        )
}

/// tonic's client answers "cancelled" when it counts the deadline itself.
fn is_timeout(status: &Status) -> bool {
    matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled)
}

/// Whether it is a server that is not to be had, and not magid: the reason is how it ended.
fn is_about_a_server(status: &Status) -> bool {
    let info = status.get_details_error_info();
    status.code() == Code::Unavailable
        && Reason::of(status).is_none()
        && info.is_some_and(|info| info.domain == REASON_DOMAIN)
}

fn status_message(status: &Status) -> String {
    if is_lost_connection(status) {
        return "the connection to magid was lost".to_owned();
    }
    if is_timeout(status) {
        return "magid did not answer in time".to_owned();
    }
    if status.message().is_empty() {
        return status.code().description().to_owned();
    }
    match Reason::of(status) {
        // Every error, each with its line of the source.
        Some(Reason::InvalidConfiguration) => text::printable_lines(status.message()),
        // With the last lines of its output.
        None if is_about_a_server(status) => text::printable_lines(status.message()),
        Some(_) | None => text::printable(status.message()),
    }
}

/// What to do about a folder of profiles that magid may not write to.
fn read_only_help(status: &Status) -> String {
    let info = status.get_details_error_info();
    match info.as_ref().and_then(|info| info.metadata.get("command")) {
        Some(command) => format!("let magid write there: `{}`", text::printable(command)),
        None => "let magid write there, or write the file yourself: magid finds it".to_owned(),
    }
}

fn rpc_exit_status(status: &Status) -> ExitStatus {
    if let Some(reason) = Reason::of(status) {
        return reason.exit_status();
    }
    if is_lost_connection(status) {
        return ExitStatus::Unreachable;
    }
    if is_about_a_server(status) {
        return ExitStatus::Failed;
    }
    match status.code() {
        Code::Ok => ExitStatus::Done,
        Code::InvalidArgument | Code::OutOfRange => ExitStatus::Usage,
        Code::NotFound => ExitStatus::NoSuchThing,
        Code::Unavailable => ExitStatus::Unreachable,
        Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => ExitStatus::Busy,
        Code::PermissionDenied | Code::Unauthenticated => ExitStatus::NotPermitted,
        Code::Unknown
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => ExitStatus::Failed,
    }
}

fn suggestion(known: &[String]) -> String {
    if known.is_empty() {
        "; there are no servers".to_owned()
    } else {
        format!("; there are: {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use tonic_types::ErrorDetails;

    fn refused(code: Code, reason: &str) -> Failure {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, REASON_DOMAIN, []);
        Status::with_error_details(code, "no", details).into()
    }

    fn unreachable(kind: io::ErrorKind) -> Failure {
        let attempts = vec![
            (
                PathBuf::from("/run/user/7/magi/magid.sock"),
                io::Error::from(io::ErrorKind::NotFound),
            ),
            (PathBuf::from("/run/magi/magid.sock"), io::Error::from(kind)),
        ];
        ConnectError { attempts }.into()
    }

    #[test]
    fn each_reason_code_has_its_exit_status() {
        let cases = [
            (Code::NotFound, "no-such-server", ExitStatus::NoSuchThing),
            (
                Code::NotFound,
                "no-such-incarnation",
                ExitStatus::NoSuchThing,
            ),
            (Code::NotFound, "no-such-model", ExitStatus::NoSuchThing),
            (Code::NotFound, "no-such-profile", ExitStatus::NoSuchThing),
            (
                Code::NotFound,
                "no-such-generation",
                ExitStatus::NoSuchThing,
            ),
            (
                Code::FailedPrecondition,
                "ambiguous-model",
                ExitStatus::Failed,
            ),
            (Code::AlreadyExists, "model-exists", ExitStatus::Failed),
            (Code::FailedPrecondition, "model-in-use", ExitStatus::Failed),
            (Code::InvalidArgument, "not-a-model", ExitStatus::Failed),
            (
                Code::InvalidArgument,
                "outside-scan-paths",
                ExitStatus::Failed,
            ),
            (Code::AlreadyExists, "profile-exists", ExitStatus::Failed),
            (
                Code::FailedPrecondition,
                "profile-active",
                ExitStatus::Failed,
            ),
            (
                Code::FailedPrecondition,
                "profile-built-in",
                ExitStatus::Failed,
            ),
            (
                Code::PermissionDenied,
                "profiles-read-only",
                ExitStatus::NotPermitted,
            ),
            (
                Code::InvalidArgument,
                "invalid-configuration",
                ExitStatus::InvalidConfiguration,
            ),
            (Code::Unavailable, "shutting-down", ExitStatus::Busy),
            (Code::ResourceExhausted, "busy", ExitStatus::Busy),
            (Code::Aborted, "generation-changed", ExitStatus::Failed),
            (Code::InvalidArgument, "invalid-argument", ExitStatus::Usage),
        ];
        for (code, reason, expected) in cases {
            assert_eq!(refused(code, reason).exit_status(), expected, "{reason}");
        }
    }

    #[test]
    fn without_a_known_reason_the_code_decides() {
        assert_eq!(
            refused(Code::NotFound, "no-such-moon").exit_status(),
            ExitStatus::NoSuchThing
        );
        let internal = Failure::from(Status::internal("oh"));
        assert_eq!(internal.exit_status(), ExitStatus::Failed);
        let denied = Failure::from(Status::permission_denied("no"));
        assert_eq!(denied.exit_status(), ExitStatus::NotPermitted);
        let late = Failure::from(Status::deadline_exceeded("late"));
        assert_eq!(late.exit_status(), ExitStatus::Busy);
        assert!(late.is_timeout());
    }

    #[test]
    fn a_broken_connection_is_an_unreachable_daemon() {
        let status = Status::from_error(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        let failure = Failure::from(status);
        assert_eq!(failure.exit_status(), ExitStatus::Unreachable);
        assert_eq!(failure.to_string(), "the connection to magid was lost");
    }

    #[test]
    fn a_socket_that_may_not_be_opened_is_not_permitted() {
        let failure = unreachable(io::ErrorKind::PermissionDenied);
        assert_eq!(failure.exit_status(), ExitStatus::NotPermitted);
        assert!(
            failure
                .help()
                .unwrap()
                .contains("sudo usermod -aG magi $USER")
        );
    }

    #[test]
    fn no_daemon_names_every_socket_that_was_tried() {
        let failure = unreachable(io::ErrorKind::ConnectionRefused);
        assert_eq!(failure.exit_status(), ExitStatus::Unreachable);
        let message = failure.to_string();
        assert!(message.contains("/run/user/7/magi/magid.sock"), "{message}");
        assert!(message.contains("/run/magi/magid.sock"), "{message}");
        assert!(failure.help().unwrap().contains("systemctl start magid"));
    }

    #[test]
    fn a_reader_that_has_enough_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(failure.report(), ExitStatus::Done);
    }
}
