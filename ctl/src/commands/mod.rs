//! The verbs, one file each.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod daemon;
pub(crate) mod diff;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod models;
pub(crate) mod ports;
pub(crate) mod profiles;
pub(crate) mod reload;
pub(crate) mod requests;
pub(crate) mod restart;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;

mod change;
mod follow;
mod subject;
mod waiting;
mod watch;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;

/// Runs the command.
pub(crate) async fn run(cli: Cli) -> Result<ExitStatus, Failure> {
    let output = Output::new(cli.global.output);
    let connect = || Client::connect(cli.global.socket.as_deref());
    match cli.command {
        Command::Status(args) => status::run(&connect().await?, args, output).await,
        Command::Explain(args) => explain::run(&connect().await?, args, output).await,
        Command::Start(args) => start::run(&connect().await?, args, output).await,
        Command::Stop(args) => stop::run(&connect().await?, args, output).await,
        Command::Restart(args) => restart::run(&connect().await?, args, output).await,
        Command::Reload(args) => reload::run(&connect().await?, args, output).await,
        Command::Plan(args) => reload::run(&connect().await?, args.into(), output).await,
        Command::Models(args) => models::run(cli.global.socket.as_deref(), args, output).await,
        Command::Profiles(args) => profiles::run(&connect().await?, args, output).await,
        Command::History(args) => history::run(&connect().await?, args, output).await,
        Command::Diff(args) => diff::run(&connect().await?, args, output).await,
        Command::Rollback(args) => rollback::run(&connect().await?, args, output).await,
        Command::Restore(args) => restore::run(&connect().await?, args, output).await,
        Command::Check(args) => check::run(cli.global.socket.as_deref(), args, output).await,
        Command::Ports(args) => ports::run(cli.global.socket.as_deref(), args, output).await,
        Command::Keys(args) => keys::run(cli.global.socket.as_deref(), args, output).await,
        Command::Logs(args) => logs::run(&connect().await?, args, output).await,
        Command::Events(args) => events::run(&connect().await?, args, output).await,
        Command::Run(args) => run::run(&connect().await?, args, output).await,
        Command::Requests(args) => requests::run(&connect().await?, args, output).await,
        Command::Daemon(args) => daemon::run(&connect().await?, args, output).await,
        Command::Completions(args) => completions::run(&args, output),
    }
}
