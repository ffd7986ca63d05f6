//! Errors as the API gives them: a status, a message for people, a stable reason.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::lifecycle::ExitClass;
use crate::reload::ReloadError;
use crate::supervisor::fleet::{AskError, DemandError};

/// The domain of the reasons.
const DOMAIN: &str = "magi";

/// A status with a reason.
pub(super) fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// The request itself is wrong.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, "invalid-argument", message)
}

/// magid ends.
pub(super) fn shutting_down() -> Status {
    ask(AskError::ShuttingDown)
}

/// What kept a server from being asked for something.
pub(super) fn ask(error: AskError) -> Status {
    let (code, reason) = match &error {
        AskError::NoSuchServer { .. } => (Code::NotFound, "no-such-server"),
        AskError::GenerationChanged { .. } => (Code::Aborted, "generation-changed"),
        AskError::ShuttingDown => (Code::Unavailable, "shutting-down"),
        AskError::Busy { .. } => (Code::ResourceExhausted, "busy"),
    };
    status(code, reason, error.to_string())
}

/// What keeps a server from getting ready for a request.
pub(super) fn demand(error: DemandError) -> Status {
    let message = error.to_string();
    match error {
        DemandError::Ask(error) => ask(error),
        DemandError::Held { .. } => status(Code::FailedPrecondition, "held", message),
        DemandError::Stopped { reason, .. } => status(Code::Unavailable, reason.code(), message),
        DemandError::Failed {
            class: class @ ExitClass::DoesNotFit,
            ..
        } => status(Code::FailedPrecondition, class.code(), message),
        DemandError::Failed {
            class,
            last_lines,
            retry_in,
            ..
        } => {
            let mut details = ErrorDetails::with_error_info(class.code(), DOMAIN, HashMap::new());
            if !last_lines.is_empty() {
                details.set_debug_info(last_lines, "the last lines of its output");
            }
            if retry_in.is_some() {
                details.set_retry_info(retry_in);
            }
            Status::with_error_details(Code::Unavailable, message, details)
        }
    }
}

/// What kept a configuration from being applied.
pub(super) fn reload(error: ReloadError) -> Status {
    let message = error.to_string();
    match error {
        ReloadError::Ask(error) => ask(error),
        ReloadError::NoSuchProfile { .. } => status(Code::NotFound, "no-such-profile", message),
        ReloadError::Generation {
            is_broken: true, ..
        } => status(Code::DataLoss, "broken-generation", message),
        ReloadError::Generation {
            is_broken: false, ..
        } => status(Code::NotFound, "no-such-generation", message),
        ReloadError::Unrecorded(_) => status(Code::Internal, "unwritten", message),
    }
}

/// Something that is not permitted, with the command that would help.
pub(super) fn with_command(reason: &str, message: String, command: String) -> Status {
    let metadata = HashMap::from([("command".to_owned(), command)]);
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(Code::PermissionDenied, message, details)
}
