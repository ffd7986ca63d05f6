//! `magictl check`.

use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use magi_proto::v1::{EnsureReadyRequest, ExplainServerRequest};
use magid::check::{self, Magid, Running, live};
use magid::supervisor::key::ApiKey;
use tokio::sync::oneshot;

use super::subject::{Reached, reach};
use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::text::{printable, wrap};
use crate::output::{Output, narrate};
use crate::view::{Finding, Level, Report};

/// The width of a check's name, with its gap.
const NAME_WIDTH: usize = 16;

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Names of profiles, or files: whether they can be read, and nothing else
    #[arg(value_name = "FILE", conflicts_with = "live")]
    files: Vec<String>,
    /// Print only what is wrong
    #[arg(long)]
    critical: bool,
    /// Also ask each ready server for one token
    #[arg(long)]
    live: bool,
    /// The configuration file [default: that of the magid that runs, else the one it would read]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs every check, and prints what came of it.
pub(crate) async fn run(
    socket: Option<&Path>,
    args: CheckArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let Reached {
        mut subject,
        client,
    } = reach(socket, args.config).await;
    let client = match args.live {
        true => Some(client?),
        false => None,
    };
    subject.files = args.files;
    let magid = subject.magid.clone();
    let (sender, checked) = oneshot::channel();
    thread::spawn(move || sender.send(check::run(subject)));
    let (checked, asked) = tokio::join!(checked, ask(client.as_ref(), magid));
    let mut checked = checked.map_err(|_| Failure::Late)?;
    checked.findings.extend(asked?);
    let is_invalid = checked.is_configuration_invalid();
    let report = Report::from(checked);
    print(&report, args.critical, output)?;
    Ok(match (report.ok, is_invalid) {
        (true, _) => ExitStatus::Done,
        (false, true) => ExitStatus::InvalidConfiguration,
        (false, false) => ExitStatus::Failed,
    })
}

/// Asks each ready server for what it is there for.
async fn ask(
    client: Option<&Client>,
    magid: Option<Magid>,
) -> Result<Vec<check::Finding>, Failure> {
    let Some(client) = client else {
        return Ok(Vec::new());
    };
    let servers = magid.map(|magid| magid.servers).unwrap_or_default();
    let mut targets = Vec::new();
    for server in servers.into_iter().filter(|server| server.is_ready) {
        // One that is gone meanwhile is not ready.
        targets.extend(target(client, server).await);
    }
    Ok(live::live(targets).await)
}

/// How a server that is ready is asked. Its key is told to those who serve, like this request.
async fn target(client: &Client, running: Running) -> Option<live::Target> {
    let server = running.server;
    let request = ExplainServerRequest {
        name: server.clone(),
    };
    let explained = client.servers().explain_server(read(request)).await.ok()?;
    let request = EnsureReadyRequest {
        server: server.clone(),
    };
    let ready = client.gateways().ensure_ready(read(request)).await.ok()?;
    let ready = ready.into_inner();
    Some(live::Target {
        server,
        endpoint: ready.endpoint.strip_prefix("http://")?.parse().ok()?,
        api_key: ready.api_key.as_deref().map(ApiKey::from),
        purpose: live::Purpose::of(&explained.into_inner().argv),
    })
}

fn print(report: &Report, critical: bool, output: Output) -> Result<(), Failure> {
    let is_shown = |finding: &&Finding| !critical || finding.critical;
    let shown: Vec<&Finding> = report.checks.iter().filter(is_shown).collect();
    match output.format {
        Format::Json if critical => output.document(&Report {
            checks: shown.into_iter().cloned().collect(),
            ..report.clone()
        }),
        Format::Json => output.document(report),
        Format::Jsonl => output.objects(shown),
        Format::Table => {
            let marks = Marks {
                symbols: output.is_terminal && is_utf8(),
                colours: output.colours,
            };
            output.lines(&render(&shown, marks, output.size().0))?;
            if !critical {
                narrate(format_args!("{}", summary(report)));
            }
            Ok(())
        }
    }
}

fn summary(report: &Report) -> String {
    let count = |number: usize, noun: &str| match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    };
    format!(
        "{}, {} in {} ms",
        count(report.errors, "error"),
        count(report.warnings, "warning"),
        report.duration_ms
    )
}

/// How levels are marked.
#[derive(Clone, Copy, Debug)]
struct Marks {
    symbols: bool,
    colours: bool,
}

impl Marks {
    fn of(self, level: Level) -> String {
        let (symbol, colour) = match level {
            Level::Ok => ("✓", Colour::Green),
            Level::Skipped => ("-", Colour::Dim),
            Level::Warning => ("!", Colour::Yellow),
            Level::Error => ("✗", Colour::Red),
        };
        let mark = match self.symbols {
            true => symbol.to_owned(),
            false => format!("{:<7}", level.word()),
        };
        match self.colours {
            true => colour.paint(&mark),
            false => mark,
        }
    }
}

/// A line for each check, and below it what there is to tell of its findings.
fn render(findings: &[&Finding], marks: Marks, width: usize) -> Vec<String> {
    let groups = findings.chunk_by(|a, b| a.check == b.check);
    groups
        .flat_map(|group| render_check(group, marks, width))
        .collect()
}

fn render_check(findings: &[&Finding], marks: Marks, width: usize) -> Vec<String> {
    let level = findings.iter().map(|finding| finding.level).max();
    let level = level.unwrap_or(Level::Ok);
    let worst: Vec<_> = findings
        .iter()
        .filter(|finding| finding.level == level)
        .collect();
    let headline = match &worst[..] {
        [only] => only.what.clone(),
        several if level <= Level::Skipped => {
            let all = several.iter().map(|finding| &*finding.what);
            all.collect::<Vec<_>>().join("; ")
        }
        several => format!("{} {}s", several.len(), level.word()),
    };
    let check = findings.first().map_or("", |finding| finding.check);
    let mut lines = vec![format!(
        "{} {check:<NAME_WIDTH$}{}",
        marks.of(level),
        printable(&headline)
    )];
    for finding in findings {
        let is_headline = worst.len() == 1 && finding.level == level;
        if finding.level != Level::Ok || finding.why.is_some() {
            lines.extend(details(finding, is_headline, width));
        }
    }
    lines
}

/// Paths and commands are for copying: they are never wrapped.
fn details(finding: &Finding, is_headline: bool, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut prose = |text: &str| {
        let wrapped = wrap(&printable(text), width.saturating_sub(4));
        lines.extend(wrapped.into_iter().map(|line| format!("    {line}")));
    };
    if !is_headline {
        prose(&format!("{}: {}", finding.level.word(), finding.what));
    }
    if let Some(why) = &finding.why {
        prose(why);
    }
    if let Some(place) = place(finding) {
        lines.push(format!("    at {}", printable(&place)));
    }
    if let Some(help) = &finding.help {
        lines.push(format!("    help: {}", printable(help)));
    }
    lines
}

/// `FILE:LINE:COLUMN`, as far as it is known.
fn place(finding: &Finding) -> Option<String> {
    let numbers = [finding.line, finding.column].into_iter().flatten();
    let numbers: String = numbers.map(|number| format!(":{number}")).collect();
    Some(format!("{}{numbers}", finding.file.as_ref()?))
}

/// Whether the terminal's language is written in UTF-8.
fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(|name| {
        let value = std::env::var(name).ok()?;
        (!value.is_empty()).then_some(value)
    });
    set.is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, what: &str) -> Finding {
        Finding {
            check: "models",
            level,
            what: what.to_owned(),
            why: None,
            help: None,
            file: None,
            line: None,
            column: None,
            critical: level == Level::Error,
        }
    }

    fn rendered(findings: &[Finding]) -> String {
        let marks = Marks {
            symbols: false,
            colours: false,
        };
        let findings: Vec<_> = findings.iter().collect();
        render(&findings, marks, 60).join("\n")
    }

    #[test]
    fn a_check_is_a_line_and_what_is_wrong_is_below_it() {
        let mut wrong = finding(Level::Error, "cannot find the model of server x");
        wrong.why =
            Some("there is no x.gguf under /models, and a lot more is to be said".to_owned());
        wrong.help = Some("write a path".to_owned());
        wrong.file = Some("/etc/magi/profiles/a.toml".to_owned());
        wrong.line = Some(2);
        wrong.column = Some(9);
        insta::assert_snapshot!(rendered(&[wrong]), @"
        error   models          cannot find the model of server x
            there is no x.gguf under /models, and a lot more is to
            be said
            at /etc/magi/profiles/a.toml:2:9
            help: write a path
        ");
    }

    #[test]
    fn several_findings_are_counted_and_each_is_told() {
        let several = [
            finding(Level::Error, "one"),
            finding(Level::Warning, "two"),
            finding(Level::Error, "three"),
        ];
        insta::assert_snapshot!(rendered(&several), @"
        error   models          2 errors
            error: one
            warning: two
            error: three
        ");
        let well = [finding(Level::Ok, "one"), finding(Level::Ok, "two")];
        assert_eq!(rendered(&well), "ok      models          one; two");
    }
}
