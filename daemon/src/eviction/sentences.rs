//! What is told of making room, with the numbers.

use std::time::Duration;

use super::{Holder, Standing, Want};
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

/// How long a server has waited for room, of the time after which those that are in use make some.
pub fn patience(want: &Want) -> String {
    let waited = short(want.waited);
    match want.swap_after {
        Some(_) if !want.is_awaited => {
            format!("it was asked for {waited} ago, and nobody waits: none that is in use goes")
        }
        Some(patience) => format!("it has waited for {waited}; its swap_after is {patience:?}"),
        None => {
            format!("it has waited for {waited}; its swap_after is 0: none that is in use goes")
        }
    }
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

/// The same, if servers that are in use will make room for it.
pub fn waiting_for_turn(shortage: &Shortage) -> String {
    let waiting = waiting(shortage);
    format!("{waiting}; what is in use makes some when swap_after is over")
}

/// Why a server does not make room.
pub fn kept(holder: &Holder) -> String {
    let served = short(holder.served);
    match holder.standing {
        Standing::Idle(since) => format!("idle for {}, and not needed or not enough", short(since)),
        Standing::Fresh(_) => "it got ready only now".to_owned(),
        Standing::Busy { in_flight, waiting } => {
            format!("{in_flight} in flight, {waiting} waiting, has served for {served}")
        }
        Standing::InUse => format!("in use, has served for {served}"),
        Standing::Recalled => "in use, and was had go on".to_owned(),
        Standing::Pinned => "pinned".to_owned(),
        Standing::Underway => "not ready".to_owned(),
        Standing::Leaving => "on its way out".to_owned(),
    }
}

fn victim(holder: &Holder, has: Option<&Demand>) -> String {
    let Holder {
        server, priority, ..
    } = holder;
    let served = short(holder.served);
    let how = match holder.standing {
        Standing::Idle(since) => format!("idle for {}, ", short(since)),
        Standing::Busy { in_flight, waiting } => {
            format!("{in_flight} in flight, {waiting} waiting, served for {served}, ")
        }
        Standing::InUse => format!("in use, served for {served}, "),
        Standing::Fresh(_)
        | Standing::Recalled
        | Standing::Pinned
        | Standing::Underway
        | Standing::Leaving => String::new(),
    };
    let has = has.map(amounts).unwrap_or_default();
    format!("{server} ({how}priority {priority}{has})")
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
