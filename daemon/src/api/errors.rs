//! Errors as the API gives them: a status, a message for people, a stable reason.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::supervisor::fleet::AskError;

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
        AskError::ShuttingDown => (Code::Unavailable, "shutting-down"),
        AskError::Busy { .. } => (Code::ResourceExhausted, "busy"),
    };
    status(code, reason, error.to_string())
}

/// A change is refused if it names a generation: none are kept yet, so none can be the current one.
pub(super) fn check_generation(expected: Option<u64>) -> Result<(), Status> {
    match expected {
        None => Ok(()),
        Some(number) => Err(status(
            Code::Aborted,
            "generation-changed",
            format!("cannot apply to generation {number}: this magid keeps no generations"),
        )),
    }
}
