//! The line that `systemctl status` shows.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lifecycle::PublicState;
use crate::notify;
use crate::supervisor::board::{Board, Fleet};

/// The shortest time between two lines.
const PACE: Duration = Duration::from_secs(1);

/// Keeps the line in step with the fleet, if there is anybody to show it.
pub(super) async fn run(board: Board) {
    if !notify::is_listened_to() {
        return;
    }
    let mut fleet = board.subscribe();
    let mut shown = String::new();
    loop {
        let line = line(&fleet.borrow_and_update());
        if line != shown {
            notify::status(&line);
            shown = line;
        }
        tokio::time::sleep(PACE).await;
        if fleet.changed().await.is_err() {
            return;
        }
    }
}

fn line(fleet: &Fleet) -> String {
    let mut counts: BTreeMap<PublicState, usize> = BTreeMap::new();
    for (_, row) in fleet.rows.values() {
        *counts.entry(row.view.state).or_default() += 1;
    }
    let total = fleet.rows.len();
    let servers = if total == 1 { "server" } else { "servers" };
    let each: Vec<_> = counts
        .iter()
        .map(|(state, n)| format!("{n} {state}"))
        .collect();
    match each.is_empty() {
        true => "no servers".to_owned(),
        false => format!("{total} {servers}: {}", each.join(", ")),
    }
}
