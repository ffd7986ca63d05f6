//! Sentences about servers and about the configuration.

use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::text::{printable, printable_lines};
use super::times;
use crate::view::{Diagnostic, Exit, Server, State, Veto};

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
    match rendered.is_empty() {
        true => brief(diagnostic),
        false => rendered,
    }
}

/// An error or warning in one line: its place, its message, and what to write instead.
pub(crate) fn brief(diagnostic: &Diagnostic) -> String {
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

/// Who had a change taken back, and why, as `beta: startup-timeout: not ready after 2m00s`.
pub(crate) fn veto(veto: &Veto) -> String {
    let detail = veto.detail.iter().map(|detail| format!(": {detail}"));
    let detail: String = detail.collect();
    printable(&format!("{}: {}{detail}", veto.server, veto.reason))
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

/// Tokens per second: two digits are enough to compare.
pub(crate) fn speed(tokens_per_second: f64) -> String {
    match tokens_per_second < 9.95 {
        true => format!("{tokens_per_second:.1}"),
        false => format!("{tokens_per_second:.0}"),
    }
}

/// A number of bytes for a narrow column, in powers of 1024, as `4.4G`.
pub(crate) fn short_bytes(bytes: u64) -> String {
    scaled(bytes, 1024.0, ["K", "M", "G", "T"])
}

/// A count for a narrow column, in powers of 1000, as `7.6B`.
pub(crate) fn short_count(count: u64) -> String {
    scaled(count, 1000.0, ["K", "M", "B", "T"])
}

fn scaled(value: u64, step: f64, units: [&'static str; 4]) -> String {
    let mut shown = value as f64;
    let mut unit = "";
    for larger in units {
        if shown < step {
            break;
        }
        shown /= step;
        unit = larger;
    }
    // Two digits are enough to tell models apart; below ten the second is a decimal.
    match unit.is_empty() || shown >= 9.95 {
        true => format!("{shown:.0}{unit}"),
        false => format!("{shown:.1}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use magi_proto::v1;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn failed() -> Server {
        let server = v1::Server {
            name: "beta".to_owned(),
            state: v1::ServerState::Failed.into(),
            reason: "model-missing".to_owned(),
            detail: "no /models/x.gguf\u{1b}[2J".to_owned(),
            ..Default::default()
        };
        server.into()
    }

    fn exit(exit: v1::Exit) -> Exit {
        exit.into()
    }

    #[test]
    fn a_failure_says_why_and_when_it_is_tried_again() {
        let mut server = failed();
        server.next_try = Some(at(340));
        assert_eq!(
            news(&server, at(100)),
            "beta: failed: model-missing: no /models/x.gguf; next try in 4m00s"
        );
        let overdue = "failed: model-missing: no /models/x.gguf; next try now";
        assert_eq!(situation(&server, at(340)), overdue);
    }

    #[test]
    fn a_ready_server_says_where() {
        let mut server = failed();
        server.state = State::Ready;
        server.pid = Some(7);
        server.endpoint = Some("http://[::1]:8080".to_owned());
        assert_eq!(
            news(&server, at(0)),
            "beta: ready at http://[::1]:8080, pid 7"
        );
    }

    #[test]
    fn endings_name_the_signal_the_status_or_the_stage() {
        let class = || "unknown".to_owned();
        let signal = |number| {
            let signal = Some(number);
            ending(&exit(v1::Exit {
                class: class(),
                signal,
                ..Default::default()
            }))
        };
        assert_eq!(signal(9), "unknown: SIGKILL (signal 9)");
        assert_eq!(signal(64), "unknown: signal 64");
        let by_itself = exit(v1::Exit {
            class: class(),
            code: Some(3),
            detail: "oh".to_owned(),
            ..Default::default()
        });
        assert_eq!(ending(&by_itself), "unknown: exit status 3: oh");
        let never_ran = exit(v1::Exit {
            class: "spawn-failed".to_owned(),
            exec_stage: Some("executing".to_owned()),
            ..Default::default()
        });
        assert_eq!(
            ending(&never_ran),
            "spawn-failed: it never ran, executing failed"
        );
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn narrow_columns_get_two_digits_and_a_letter() {
        assert_eq!(short_bytes(0), "0");
        assert_eq!(short_bytes(415_182_688), "396M");
        assert_eq!(short_bytes(4_683_073_536), "4.4G");
        assert_eq!(short_count(494_032_768), "494M");
        assert_eq!(short_count(7_615_616_512), "7.6B");
        assert_eq!(short_count(9_970_000_000), "10B");
    }
}
