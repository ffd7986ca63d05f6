//! What `reload`, `profiles activate` and `rollback` have in common: a request that changes the
//! fleet as a whole, narration while it is carried out, and the verdict.

use std::future::Future;

use clap::Args;
use magi_proto::v1;
use tonic::{Response, Status};

use super::change::{tell_ending, tell_failure};
use super::waiting::{self, Audience};
use crate::cli::{ExpectedArgs, Format, WaitArgs};
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::text::printable;
use crate::output::{Output, narrate, plan, words};
use crate::view::{Reload, State, Verdict, Veto};

/// How to apply a configuration.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// Only show what would be done
    #[arg(long, conflicts_with_all = ["no_wait", "timeout"])]
    pub(super) dry_run: bool,
    /// Also list the servers that stay as they are
    #[arg(short, long)]
    pub(super) verbose: bool,
    #[command(flatten)]
    pub(super) wait: WaitArgs,
    #[command(flatten)]
    pub(super) expected: ExpectedArgs,
}

impl ApplyArgs {
    /// Whether the answer comes when every server that was touched is ready, stopped or failed.
    pub(super) fn waits(&self) -> bool {
        !self.dry_run && !self.wait.no_wait
    }
}

/// Sends `request`, tells what happens, and prints what was done, or would be.
pub(super) async fn run<T: IntoReload>(
    client: &Client,
    args: &ApplyArgs,
    request: impl Future<Output = Result<Response<T>, Status>>,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let answer = match args.waits() {
        true => waiting::narrated(client, Audience::All, request).await,
        false => request.await.map(Response::into_inner),
    };
    let reload = match (answer.map_err(Failure::from), args.wait.timeout) {
        (Ok(answer), _) => answer.into_reload(),
        (Err(failure), Some(timeout)) if failure.is_timeout() => {
            return waiting::time_is_up(client, Audience::All, timeout).await;
        }
        (Err(failure), _) => return Err(failure),
    };
    let reload = reload.ok_or_else(|| Status::internal("the answer has no verdict"))?;
    print(&reload, args.verbose, output)?;
    Ok(conclude(&reload))
}

fn print(reload: &Reload, verbose: bool, output: Output) -> Result<(), Failure> {
    match output.format {
        Format::Json => output.document(reload),
        Format::Jsonl => output.objects(&reload.steps),
        Format::Table => {
            let width = output.size().0;
            output.lines(&plan::render(reload, verbose, width, output.colours))
        }
    }
}

/// Tells what else there is to know, and judges.
fn conclude(reload: &Reload) -> ExitStatus {
    for warning in &reload.warnings {
        narrate(format_args!("{}", words::diagnostic(warning)));
    }
    let keys = [
        ("overridden by the environment", &reload.overridden),
        (
            "changed, and in force once magid is restarted",
            &reload.needs_restart,
        ),
        (
            "different then, and left as it is",
            &reload.daemon_keys_that_differ,
        ),
    ];
    for (what, keys) in keys {
        for key in keys {
            narrate(format_args!("{what}: {}", printable(key)));
        }
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
        Verdict::Vetoed => {
            for veto in &reload.vetoes {
                tell_veto(veto);
            }
            narrate(format_args!(
                "magictl: the change was taken back; {} is in force again",
                in_force(reload)
            ));
            ExitStatus::Failed
        }
        Verdict::Unchanged => {
            narrate(format_args!("nothing to do: this is what runs already"));
            touched(reload)
        }
        Verdict::Applied => {
            if reload.generation.is_some() {
                narrate(format_args!("{} is in force", in_force(reload)));
            }
            touched(reload)
        }
        Verdict::Planned | Verdict::Unknown => touched(reload),
    }
}

fn in_force(reload: &Reload) -> String {
    reload.generation.map_or_else(
        || "what was applied before".to_owned(),
        |number| format!("generation {number}"),
    )
}

/// Who vetoed and why, with the last lines that the server wrote.
fn tell_veto(veto: &Veto) {
    narrate(format_args!("magictl: vetoed by {}", words::veto(veto)));
    if let Some(exit) = &veto.last_exit {
        tell_ending(exit);
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

/// An answer with a verdict. `None` if it has none, which magid never sends.
pub(super) trait IntoReload {
    /// The verdict, and what came of it.
    fn into_reload(self) -> Option<Reload>;
}

impl IntoReload for v1::ReloadResponse {
    fn into_reload(self) -> Option<Reload> {
        Some(self.into())
    }
}

impl IntoReload for v1::ActivateProfileResponse {
    fn into_reload(self) -> Option<Reload> {
        Some(self.reload?.into())
    }
}

impl IntoReload for v1::RollbackResponse {
    fn into_reload(self) -> Option<Reload> {
        Some(Reload {
            daemon_keys_that_differ: self.daemon_keys_that_differ,
            ..self.reload?.into()
        })
    }
}
