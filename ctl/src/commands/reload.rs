//! `magictl reload [--dry-run]` and `magictl plan`.

use clap::Args;
use magi_proto::v1::ReloadRequest;
use tonic::Response;

use super::change::tell_failure;
use super::waiting::{self, Audience};
use crate::cli::{Format, WaitArgs};
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::table::{Cell, Fit, Table};
use crate::output::text::printable;
use crate::output::{Output, narrate, words};
use crate::view::{Action, Reload, State, Verdict};

/// How to reload.
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    /// Only show what would be done
    #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
    dry_run: bool,
    /// Also list the servers that stay as they are
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How to show a plan.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Also list the servers that stay as they are
    #[arg(short, long)]
    verbose: bool,
}

impl From<PlanArgs> for ReloadArgs {
    fn from(args: PlanArgs) -> Self {
        Self {
            dry_run: true,
            verbose: args.verbose,
            wait: WaitArgs {
                no_wait: true,
                timeout: None,
            },
        }
    }
}

/// Reads the files again, and prints what is done, or would be.
pub(crate) async fn run(
    client: &Client,
    args: ReloadArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let waits = !args.dry_run && !args.wait.no_wait;
    let request = ReloadRequest {
        dry_run: args.dry_run,
        wait: waits,
        expected_generation: None,
    };
    let mut daemon = client.daemon();
    let request = daemon.reload(with_timeout(request, args.wait.timeout));
    let answer = match waits {
        true => waiting::narrated(client, Audience::All, request).await,
        false => request.await.map(Response::into_inner),
    };
    let reload = match (answer.map_err(Failure::from), args.wait.timeout) {
        (Ok(answer), _) => Reload::from(answer),
        (Err(failure), Some(timeout)) if failure.is_timeout() => {
            return waiting::time_is_up(client, Audience::All, timeout).await;
        }
        (Err(failure), _) => return Err(failure),
    };
    print(&reload, args.verbose, output)?;
    Ok(conclude(&reload))
}

fn print(reload: &Reload, verbose: bool, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.document(reload),
        Format::Jsonl => output.objects(&reload.steps),
        Format::Table => output.lines(&render(reload, verbose, output.size().0, output.colours)),
    }
}

/// The steps as a table; what stays is only counted, unless `verbose`.
fn render(reload: &Reload, verbose: bool, width: usize, colours: bool) -> Vec<String> {
    let is_shown = |action| verbose || action != Action::Keep;
    let (shown, kept): (Vec<_>, Vec<_>) =
        reload.steps.iter().partition(|step| is_shown(step.action));
    let mut lines = Vec::new();
    if !shown.is_empty() {
        let mut table = Table::new([
            ("ACTION", Fit::Whole),
            ("SERVER", Fit::Cut(12)),
            ("WHY", Fit::Prose),
        ]);
        for step in shown {
            let action = Cell::coloured(step.action.word(), Colour::of_action(step.action));
            let why = step.reasons.join("; ");
            table.row(
                [action, step.server.as_str().into(), why.as_str().into()],
                Vec::new(),
            );
        }
        lines = table.render(width, colours);
    }
    if !kept.is_empty() {
        lines.push(format!("{} unchanged", kept.len()));
    }
    lines
}

/// Tells what else there is to know, and judges.
fn conclude(reload: &Reload) -> ExitStatus {
    for warning in &reload.warnings {
        narrate(format_args!("{}", words::diagnostic(warning)));
    }
    for key in &reload.overridden {
        narrate(format_args!(
            "overridden by the environment: {}",
            printable(key)
        ));
    }
    for key in &reload.needs_restart {
        narrate(format_args!(
            "changed, and in force once magid is restarted: {}",
            printable(key)
        ));
    }
    match reload.verdict {
        Verdict::Refused => {
            for error in &reload.errors {
                narrate(format_args!("{}\n", words::diagnostic(error)));
            }
            narrate(format_args!(
                "magictl: the configuration is invalid; nothing was changed"
            ));
            ExitStatus::InvalidConfiguration
        }
        Verdict::Unchanged => {
            narrate(format_args!("nothing to do: this is what runs already"));
            touched(reload)
        }
        Verdict::Applied | Verdict::Planned | Verdict::Unknown => touched(reload),
    }
}

/// Whether every server that was touched is as it should be.
fn touched(reload: &Reload) -> ExitStatus {
    let failed = reload
        .servers
        .iter()
        .filter(|server| server.state == State::Failed);
    let mut status = ExitStatus::Done;
    for server in failed {
        tell_failure(server);
        status = ExitStatus::Failed;
    }
    status
}
