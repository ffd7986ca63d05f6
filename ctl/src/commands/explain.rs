//! `magictl explain SERVER`.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use magi_proto::v1::ExplainServerRequest;
use tonic::Status;

use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::facts::Facts;
use crate::output::text::{printable, shell_quoted};
use crate::output::{Output, times, words};
use crate::view::{Explanation, Server};

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// Name or alias
    server: String,
}

/// Prints everything that is known of the server.
pub(crate) async fn run(
    client: &Client,
    args: ExplainArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = ExplainServerRequest { name: args.server };
    let answer = client
        .servers()
        .explain_server(read(request))
        .await?
        .into_inner();
    let explanation = Explanation::from_wire(answer)
        .ok_or_else(|| Status::internal("the answer has no server"))?;
    match output.format {
        Format::Json => output.document(&explanation)?,
        Format::Jsonl => output.objects([&explanation])?,
        Format::Table => output.lines(&render(&explanation, output.colours, Timestamp::now()))?,
    }
    Ok(ExitStatus::Done)
}

/// One fact a line, under the question it answers.
fn render(explanation: &Explanation, colours: bool, now: Timestamp) -> Vec<String> {
    let server = &explanation.server;
    let mut facts = Facts::default();
    facts.add("server", [names(server)]);
    facts.add_painted("state", state(server, now), state_colour(server, colours));
    facts.add("notes", server.notes.clone());
    facts.add("should run", [should_run(explanation)]);
    facts.add(
        "model",
        [server.model.clone()]
            .into_iter()
            .chain(model_id(server))
            .chain(server.model_path.clone()),
    );
    facts.add("endpoint", server.endpoint.clone());
    facts.add("process", process(explanation));
    facts.add("memory", memory(explanation));
    facts.add("priority", [explanation.priority.to_string()]);
    facts.add("room", room(explanation));
    facts.add("requests", requests(server, now));
    facts.add("idle", idle(explanation, now));
    facts.add("restarts", restarts(explanation));
    facts.add("last exit", last_exit(server, now));
    facts.add("log", explanation.log_path.clone());
    facts.add("defined at", explanation.defined_at.clone());
    facts.add(
        "environment",
        explanation
            .env
            .iter()
            .map(|(key, value)| format!("{key}={}", shell_quoted(value))),
    );
    let mut lines = facts.into_lines();
    if !explanation.argv.is_empty() {
        lines.push("command line".to_owned());
        lines.extend(command_line(&explanation.argv));
    }
    lines
}

fn names(server: &Server) -> String {
    if server.aliases.is_empty() {
        return printable(&server.name);
    }
    printable(&format!(
        "{} (also {})",
        server.name,
        server.aliases.join(", ")
    ))
}

fn state(server: &Server, now: Timestamp) -> String {
    let mut text = words::situation(server, now);
    if let Some(since) = server.state_since {
        text.push_str(&format!(" (for {})", times::since(since, now)));
    }
    text
}

fn state_colour(server: &Server, colours: bool) -> Option<Colour> {
    Colour::of_state(server.state).filter(|_| colours)
}

/// The registry's name, where the profile has another one.
fn model_id(server: &Server) -> Option<String> {
    let id = server.model_id.as_ref().filter(|id| **id != server.model)?;
    Some(format!("{id} in the registry"))
}

/// What it has, what it needs, and what there is for all.
fn memory(explanation: &Explanation) -> Vec<String> {
    let server = &explanation.server;
    let resident = server
        .memory
        .map(|bytes| format!("{} resident", words::bytes(bytes)));
    let needed = server
        .memory_needed
        .map(|bytes| match &server.memory_source {
            Some(source) => format!("{} needed ({source})", words::bytes(bytes)),
            None => format!("{} needed", words::bytes(bytes)),
        });
    let devices = explanation
        .device_memory
        .iter()
        .map(|(device, &bytes)| format!("{} needed of {device}", words::bytes(bytes)));
    let all = (explanation.memory_budget > 0).then(|| {
        format!(
            "{} of {} reserved by all servers",
            words::bytes(explanation.memory_reserved),
            words::bytes(explanation.memory_budget)
        )
    });
    resident
        .into_iter()
        .chain(needed)
        .chain(devices)
        .chain(all)
        .collect()
}

/// Whom it makes room for, and who made room for it.
fn room(explanation: &Explanation) -> Vec<String> {
    let pinned = explanation
        .pin
        .then(|| "it is pinned, and never makes room for another".to_owned());
    let decided = explanation.making_room.iter().cloned();
    pinned.into_iter().chain(decided).collect()
}

/// What gateways say of its use.
fn requests(server: &Server, now: Timestamp) -> Vec<String> {
    let count = server.in_flight.map(|in_flight| {
        let waiting = server.waiting.unwrap_or(0);
        format!("{in_flight} in flight, {waiting} waiting")
    });
    let speed = server
        .tokens_per_second
        .map(|speed| format!("the last answer came at {} tokens/s", words::speed(speed)));
    let used = server
        .last_used
        .map(|at| format!("last used {} ago", times::since(at, now)));
    let held = server
        .held
        .then(|| "refused until it is started: it was stopped with --hold".to_owned());
    let all = [count, speed, used, held];
    all.into_iter().flatten().collect()
}

/// How long it may be idle, and how long it still will.
fn idle(explanation: &Explanation, now: Timestamp) -> Option<String> {
    let timeout = Duration::try_from_secs_f64(explanation.idle_timeout_seconds?).ok()?;
    let limit = format!("stopped after {} without a request", times::short(timeout));
    Some(match explanation.idle_stop_at {
        Some(at) => format!("{limit}: in {}", times::since(now, at)),
        None => limit,
    })
}

fn should_run(explanation: &Explanation) -> String {
    let answer = if explanation.should_run { "yes" } else { "no" };
    match explanation.should_run_because.as_str() {
        "" => answer.to_owned(),
        "profile" => format!("{answer}: the profile says so"),
        "operator" => format!("{answer}: it was asked for by hand"),
        "not-autostarted" => format!("{answer}: autostart is off, and nobody started it"),
        other => format!("{answer}: {}", printable(other)),
    }
}

fn process(explanation: &Explanation) -> Option<String> {
    let server = &explanation.server;
    let incarnation = server.incarnation?;
    let Some(pid) = server.pid else {
        return Some(format!("none; the last incarnation was {incarnation}"));
    };
    let mut text = format!("pid {pid}, incarnation {incarnation}");
    let children: Vec<_> = explanation
        .tree
        .iter()
        .filter(|&&other| other != pid)
        .collect();
    if !children.is_empty() {
        let children: Vec<_> = children.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", with {}", children.join(" ")));
    }
    Some(text)
}

fn restarts(explanation: &Explanation) -> Vec<String> {
    let mut facts = vec![
        format!(
            "{}, policy {}",
            explanation.server.restarts,
            printable(&explanation.restart_policy)
        ),
        match explanation.max_failures {
            0 => "magid never gives up (max_failures = 0)".to_owned(),
            most => format!(
                "{} of {most} failures that open the breaker",
                explanation.failures
            ),
        },
    ];
    if let Some(delay) = explanation
        .next_delay_seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
    {
        facts.push(format!("the next one would wait {}", times::short(delay)));
    }
    facts
}

fn last_exit(server: &Server, now: Timestamp) -> Vec<String> {
    let Some(exit) = &server.last_exit else {
        return Vec::new();
    };
    let ago = exit
        .at
        .map_or_else(String::new, |at| format!(", {} ago", times::since(at, now)));
    let mut lines = vec![
        format!("incarnation {}{ago}", exit.incarnation),
        words::ending(exit),
    ];
    lines.extend(words::last_lines(exit));
    lines
}

/// The command line for a shell, an option with its value on each line.
fn command_line(argv: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut takes_value = false;
    for word in argv {
        let is_option = word.starts_with('-');
        match lines.last_mut() {
            Some(line) if takes_value && !is_option => {
                line.push(' ');
                line.push_str(&shell_quoted(word));
            }
            _ => lines.push(shell_quoted(word)),
        }
        takes_value = is_option;
    }
    let last = lines.len().saturating_sub(1);
    let indented = lines.iter().enumerate().map(|(number, line)| {
        let indent = if number == 0 { "    " } else { "        " };
        let more = if number < last { " \\" } else { "" };
        format!("{indent}{line}{more}")
    });
    indented.collect()
}
