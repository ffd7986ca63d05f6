//! What is told of making room, with the numbers.

use std::time::Duration;

use super::{Holder, Standing};
use crate::memory::{Bytes, Demand, Shortage};

/// The most servers that one sentence names.
const NAMED: usize = 3;

/// What is done for a server that asks for room.
pub fn making<'a>(
    shortage: &Shortage,
    victims: impl IntoIterator<Item = (&'a Holder, Option<&'a Demand>)>,
) -> String {
    let victims = victims.into_iter().map(|(holder, has)| victim(holder, has));
    format!("{shortage}; makes room by stopping {}", listed(victims))
}

/// What a server that is stopped is stopped for.
pub fn made_by(holder: &Holder, has: Option<&Demand>, asks: &str, shortage: &Shortage) -> String {
    let victim = victim(holder, has);
    format!("{victim} makes room for {asks}, which {shortage}")
}

/// Why a server that asks for room has to wait. Without what changes all the time: it is a state.
pub fn waiting(shortage: &Shortage) -> String {
    format!("{shortage}; no idle server could make enough room")
}

/// Why a server does not make room.
pub fn kept(holder: &Holder) -> String {
    match holder.standing {
        Standing::Idle(since) => format!("idle for {}, and not needed or not enough", short(since)),
        Standing::Fresh(_) => "it got ready only now".to_owned(),
        Standing::Busy { in_flight, waiting } => {
            format!("{in_flight} in flight, {waiting} waiting")
        }
        Standing::InUse => "in use".to_owned(),
        Standing::Pinned => "pinned".to_owned(),
        Standing::Underway => "not ready".to_owned(),
        Standing::Leaving => "on its way out".to_owned(),
    }
}

fn victim(holder: &Holder, has: Option<&Demand>) -> String {
    let Holder {
        server, priority, ..
    } = holder;
    let idle = match holder.standing {
        Standing::Idle(since) => format!("idle for {}, ", short(since)),
        Standing::Fresh(_)
        | Standing::Busy { .. }
        | Standing::InUse
        | Standing::Pinned
        | Standing::Underway
        | Standing::Leaving => String::new(),
    };
    let has = has.map(amounts).unwrap_or_default();
    format!("{server} ({idle}priority {priority}{has})")
}

fn amounts(demand: &Demand) -> String {
    let ram = (demand.ram > 0).then_some(("RAM", demand.ram));
    let devices = demand.devices.iter();
    let devices = devices.map(|(device, &bytes)| (device.as_str(), bytes));
    ram.into_iter()
        .chain(devices)
        .map(|(of, bytes)| format!(", {} of {of}", Bytes(bytes)))
        .collect()
}

/// The first of them, and how many more there are.
fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<_> = all.collect();
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>();
    let named = named.join(", ");
    match all.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named}, and {more} more"),
    }
}

/// A time in its two largest units.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}
