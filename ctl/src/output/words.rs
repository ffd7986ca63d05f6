//! Sentences about servers and about the configuration.

use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::text::{printable, printable_lines};
use super::times;
use crate::view::{Diagnostic, Exit, Server, State};

/// A server's news in one line, as `alpha: ready at http://127.0.0.1:8080, pid 4711`.
pub(crate) fn news(server: &Server, now: Timestamp) -> String {
    let name = &server.name;
    match (server.state, &server.endpoint, server.pid) {
        (State::Ready, Some(endpoint), Some(pid)) => {
            printable(&format!("{name}: ready at {endpoint}, pid {pid}"))
        }
        _ => printable(&format!("{name}: {}", situation(server, now))),
    }
}

/// State, reason, detail and the next try, as
/// `failed: model-missing: /models/x.gguf is not there; next try in 4m00s`.
pub(crate) fn situation(server: &Server, now: Timestamp) -> String {
    let mut text = server.state.word().to_owned();
    if let Some(percent) = server.load_percent {
        text.push_str(&format!(" {percent} %"));
    }
    for part in [Some(&server.reason), server.detail.as_ref()]
        .into_iter()
        .flatten()
    {
        if !part.is_empty() {
            text.push_str(&format!(": {part}"));
        }
    }
    if let Some(next) = server.next_try {
        text.push_str(&match next.duration_since(now).is_positive() {
            true => format!("; next try in {}", times::since(now, next)),
            false => "; next try now".to_owned(),
        });
    }
    printable(&text)
}

/// How an incarnation ended, as `signal: SIGKILL (signal 9): nobody here sent it`.
pub(crate) fn ending(exit: &Exit) -> String {
    let how = match (exit.signal, exit.code, &exit.exec_stage) {
        (Some(number), _, _) => Some(signal(number)),
        (None, Some(code), _) => Some(format!("exit status {code}")),
        (None, None, Some(stage)) => Some(format!("it never ran, {stage} failed")),
        (None, None, None) => None,
    };
    let parts = [Some(&exit.class), how.as_ref(), exit.detail.as_ref()];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    printable(&parts.join(": "))
}

fn signal(number: i32) -> String {
    Signal::try_from(number).map_or_else(
        |_| format!("signal {number}"),
        |signal| format!("{} (signal {number})", signal.as_str()),
    )
}

/// The last lines of an incarnation's output, indented.
pub(crate) fn last_lines(exit: &Exit) -> Vec<String> {
    let lines = exit.last_lines.iter();
    lines
        .map(|line| format!("    {}", printable(line)))
        .collect()
}

/// An error or warning with its source line, as the daemon drew it; else its place and message.
pub(crate) fn diagnostic(diagnostic: &Diagnostic) -> String {
    let rendered = printable_lines(diagnostic.rendered.trim_end());
    if !rendered.is_empty() {
        return rendered;
    }
    let mut text = String::new();
    if let Some(file) = &diagnostic.file {
        text.push_str(file);
        for place in [diagnostic.line, diagnostic.column].into_iter().flatten() {
            text.push_str(&format!(":{place}"));
        }
        text.push_str(": ");
    }
    text.push_str(&diagnostic.message);
    if let Some(help) = &diagnostic.help {
        text.push_str(&format!("; {help}"));
    }
    printable(&text)
}

/// A number of bytes.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if shown < 1024.0 {
            break;
        }
        shown /= 1024.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{shown:.1} {unit}")
    }
}
