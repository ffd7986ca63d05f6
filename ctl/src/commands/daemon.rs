//! `magictl daemon version|stop`.

use std::future::pending;
use std::os::fd::OwnedFd;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use magi_proto::v1::{GetVersionRequest, StopRequest};
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cli::{Format, WaitArgs};
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::{Output, narrate, times};
use crate::poll;
use crate::view::Version;

/// What about the daemon.
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    #[command(subcommand)]
    command: DaemonCommand,
}

/// The verbs of the daemon itself.
#[derive(Debug, Subcommand)]
enum DaemonCommand {
    /// Shows the version of magictl and magid, and where magid keeps its files
    Version,
    /// Stops every server, then magid
    Stop(WaitArgs),
}

/// Runs the verb.
pub(crate) async fn run(
    client: &Client,
    args: DaemonArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    match args.command {
        DaemonCommand::Version => version(client, output).await,
        DaemonCommand::Stop(wait) => stop(client, wait).await,
    }
}

async fn version(client: &Client, output: Output) -> Result<ExitStatus, Failure> {
    let version = fetch(client).await?;
    match output.format {
        Format::Json => output.document(&version)?,
        Format::Jsonl => output.objects([&version])?,
        Format::Table => output.lines(&render(&version, Timestamp::now()))?,
    }
    Ok(ExitStatus::Done)
}

async fn fetch(client: &Client) -> Result<Version, Failure> {
    let answer = client
        .daemon()
        .get_version(read(GetVersionRequest {}))
        .await?;
    Ok(answer.into_inner().into())
}

fn render(version: &Version, now: Timestamp) -> Vec<String> {
    let up = version.started_at.map_or_else(String::new, |started| {
        format!(", up {}", times::since(started, now))
    });
    let facts = [
        ("magictl", Some(env!("CARGO_PKG_VERSION").to_owned())),
        (
            "magid",
            Some(format!("{} (pid {}{up})", version.version, version.pid)),
        ),
        ("environment", version.environment.clone()),
        ("state", version.state_dir.clone()),
        ("logs", version.log_dir.clone()),
    ];
    let known = facts
        .into_iter()
        .filter_map(|(label, fact)| Some((label, fact?)));
    known
        .map(|(label, fact)| format!("{label:<13}{fact}"))
        .collect()
}

/// Asks magid to end, and waits until its process is gone: it goes after its servers.
async fn stop(client: &Client, wait: WaitArgs) -> Result<ExitStatus, Failure> {
    let pid = fetch(client).await?.pid;
    // Held before the request, so that it can be no other process of the same number.
    let process = hold(pid);
    client.daemon().stop(read(StopRequest {})).await?;
    if wait.no_wait {
        return Ok(ExitStatus::Done);
    }
    let Some(process) = process else {
        narrate(format_args!(
            "magid is stopping; its process cannot be watched from here"
        ));
        return Ok(ExitStatus::Done);
    };
    narrate(format_args!(
        "waiting for magid (pid {pid}) to stop its servers and end"
    ));
    let time_is_up = async {
        match wait.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => pending().await,
        }
    };
    tokio::select! {
        // A pidfd is readable when its process has ended.
        () = poll::wait(process, PollFlags::IN) => Ok(ExitStatus::Done),
        () = time_is_up => {
            narrate(format_args!("magictl: magid still runs; it goes on stopping"));
            Ok(ExitStatus::Busy)
        }
    }
}

/// Absent if the process is in another namespace, as in a container.
fn hold(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}
