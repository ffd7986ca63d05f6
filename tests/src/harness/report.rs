//! What a test that fails says about magid.

use std::fmt::Write;
use std::time::Duration;

use magi_proto::v1::{Event, GetStatusRequest, Server};
use tokio::time::timeout;

use super::fleet::Fleet;

/// For a magid that does not answer any more.
const PATIENCE: Duration = Duration::from_secs(3);

/// Lines of magid's output that are shown.
const LINES: usize = 200;

impl Fleet {
    /// Panics with everything that helps to see why. magid's output follows when the fleet is
    /// dropped.
    pub async fn fail(&self, why: &str) -> ! {
        let mut text = format!("{why}\n");
        match timeout(PATIENCE, self.describe(&mut text)).await {
            Ok(()) => {}
            Err(_) => text += "magid does not answer\n",
        }
        let _ = writeln!(text, "processes: {:?}", self.processes());
        panic!("{text}");
    }

    async fn describe(&self, text: &mut String) {
        if !self.is_connected() {
            return;
        }
        match self.daemon().get_status(GetStatusRequest {}).await {
            Ok(status) => {
                let status = status.into_inner();
                let _ = writeln!(text, "config: {:?}", status.config);
                status.servers.iter().for_each(|server| show(text, server));
            }
            Err(status) => *text += &format!("status: {status}\n"),
        }
        match self.events().await {
            Ok(events) => events.iter().for_each(|event| show_event(text, event)),
            Err(status) => *text += &format!("events: {status}\n"),
        }
    }
}

fn show(text: &mut String, server: &Server) {
    let _ = writeln!(
        text,
        "server {}: {} {} {} pid {:?} incarnation {:?} last exit {:?}",
        server.name,
        server.state().as_str_name(),
        server.reason,
        server.detail,
        server.pid,
        server.incarnation,
        server.last_exit,
    );
}

fn show_event(text: &mut String, event: &Event) {
    let server = event.server.as_deref().unwrap_or("-");
    let at = event.at.map(|at| format!("{}.{:09}", at.seconds, at.nanos));
    let _ = writeln!(
        text,
        "event {} {} {server} {} {} {}",
        event.sequence,
        at.unwrap_or_default(),
        event.kind,
        event.reason,
        event.message
    );
}

/// The last lines of a text.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
