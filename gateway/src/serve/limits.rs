//! How many connections there may be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More connections than this are nobody's clients.
const MAX_CONNECTIONS: u64 = 16_384;

/// Descriptors that connections do not get: magid's socket, listeners, runtimes, the log.
const OTHERS: u64 = 128;

/// Asks for as many descriptors as there may be, and tells how many connections that is enough for: one
/// to the client and one to the server each.
pub fn raise_descriptors() -> u32 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(wanted.min(2 * MAX_CONNECTIONS + OTHERS)),
        maximum: limit.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(_) => limit,
    };
    let descriptors = limit.current.unwrap_or(u64::MAX);
    let connections = (descriptors.saturating_sub(OTHERS) / 2).clamp(1, MAX_CONNECTIONS);
    u32::try_from(connections).unwrap_or(u32::MAX)
}
