//! The grammar of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::apply::ApplyArgs;
use crate::commands::check::CheckArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::daemon::DaemonArgs;
use crate::commands::diff::DiffArgs;
use crate::commands::events::EventsArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::history::HistoryArgs;
use crate::commands::keys::KeysArgs;
use crate::commands::logs::LogsArgs;
use crate::commands::models::ModelsArgs;
use crate::commands::ports::PortsArgs;
use crate::commands::profiles::ProfilesArgs;
use crate::commands::reload::PlanArgs;
use crate::commands::requests::RequestsArgs;
use crate::commands::restore::RestoreArgs;
use crate::commands::rollback::RollbackArgs;
use crate::commands::run::RunArgs;
use crate::commands::status::StatusArgs;
use crate::output::times;

/// Controls magid, which serves a fleet of llama-servers
#[derive(Debug, Parser)]
#[command(name = "magictl", version, max_term_width = 100)]
#[command(after_help = EXIT_STATUS_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS_HELP: &str = "\
Exit status: 0 done, 1 failed, 2 usage, 3 a server named to `status` is not ready, \
4 no such thing, 69 magid unreachable, 75 busy or timed out, 77 not permitted, \
78 invalid configuration and nothing changed.";

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The daemon's socket [default: $MAGI_SOCKET, else the user's own, else /run/magi/magid.sock]
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// How results are printed
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        global = true,
        value_enum,
        default_value_t
    )]
    pub(crate) output: Format,
}

/// How results are printed on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// One JSON document
    Json,
    /// One JSON object a line, also for what never ends
    Jsonl,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows what runs, what does not, and why
    Status(StatusArgs),
    /// Shows everything about one server, with its exact command line
    Explain(ExplainArgs),
    /// Starts servers, and waits until they are ready or failed
    Start(ChangeArgs),
    /// Stops servers, and waits until they are gone
    Stop(StopArgs),
    /// Replaces running servers by new processes, and starts the others
    Restart(ChangeArgs),
    /// Has a server ready, and asks it or talks to it
    Run(RunArgs),
    /// Reads the configuration again and applies what changed
    Reload(ApplyArgs),
    /// Shows what `reload` would do
    Plan(PlanArgs),
    /// Lists and changes what is known of models
    Models(ModelsArgs),
    /// Lists, writes and activates profiles
    Profiles(ProfilesArgs),
    /// Lists the configurations that were applied
    History(HistoryArgs),
    /// Shows what differs between two generations
    Diff(DiffArgs),
    /// Applies an earlier generation again
    Rollback(RollbackArgs),
    /// Writes files of an earlier generation back, and applies nothing
    Restore(RestoreArgs),
    /// Tells what is wrong, or will be, with or without magid
    Check(CheckArgs),
    /// Shows every port: whose it is, and who listens there
    Ports(PortsArgs),
    /// Lists, makes and deletes keys for the gateway
    Keys(KeysArgs),
    /// Prints the output of a server
    Logs(LogsArgs),
    /// Prints what happened
    Events(EventsArgs),
    /// Prints the requests that gateways have finished
    Requests(RequestsArgs),
    /// Asks or ends the daemon itself
    Daemon(DaemonArgs),
    /// Prints a completion script for a shell
    Completions(CompletionsArgs),
}

/// Which servers `start`, `stop` and `restart` are about.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Names or aliases
    #[arg(
        value_name = "SERVER",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    pub(crate) servers: Vec<String>,
    /// All servers
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) expected: ExpectedArgs,
}

/// Which servers to stop, and how.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) change: ChangeArgs,
    /// Refuse requests for them too, until they are started
    #[arg(long)]
    pub(crate) hold: bool,
}

/// What a command takes for granted.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ExpectedArgs {
    /// Change nothing unless this generation is in force
    #[arg(long = "expect-generation", value_name = "N")]
    pub(crate) generation: Option<u64>,
}

/// How long to wait for what a command set in motion.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct WaitArgs {
    /// Only ask, and do not wait for the outcome
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait at most this long, for example 90s or 2m
    #[arg(long, value_name = "DURATION", value_parser = times::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        let words = std::iter::once("magictl").chain(line.split_whitespace());
        Cli::try_parse_from(words).map_err(|error| error.kind())
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_manual_is_accepted() {
        for line in [
            "status",
            "status alpha beta --watch",
            "explain alpha",
            "start alpha beta",
            "start --all --no-wait",
            "stop alpha --timeout 90s",
            "stop --all --hold",
            "restart --all --timeout 2m",
            "run alpha",
            "run alpha hi -n 8 --system short --timeout 2m",
            "reload",
            "reload --dry-run -v",
            "reload --no-wait",
            "reload --expect-generation 7",
            "restart --all --expect-generation 7",
            "plan --verbose",
            "models",
            "models --tier fast --enabled",
            "models list --tier powerful",
            "models show x",
            "models rescan",
            "models set x --tier auto --thinking=true --enabled=false",
            "models create x.gguf --name x",
            "models delete x",
            "profiles",
            "profiles list",
            "profiles show demo",
            "profiles create demo --from - --description text",
            "profiles create demo --copy-of other",
            "profiles delete demo",
            "profiles activate demo --timeout 2m",
            "profiles activate demo --dry-run --expect-generation 7",
            "history",
            "history --verify",
            "history --verify 6",
            "history --prune --dry-run",
            "diff",
            "diff 7 --since 5",
            "diff 7 --files",
            "rollback 6 --no-wait",
            "rollback 6 --dry-run -v",
            "restore 6",
            "restore 6 magid.toml --dry-run",
            "check --critical --live",
            "check production ./magid.toml --config /x/magid.toml",
            "ports --config /x/magid.toml",
            "keys",
            "keys list --config /x/gateway.toml",
            "keys create app --scope inference --scope read --model qwen*,llama",
            "keys create app --scope inference,admin --print",
            "keys delete app",
            "logs alpha -f -n 100",
            "logs alpha --incarnation 4",
            "events -f -n 5 alpha",
            "requests",
            "requests -f alpha",
            "daemon version",
            "daemon stop --timeout 1m",
            "completions zsh",
            "-o json status",
            "status -o jsonl --socket /run/x.sock",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn a_change_names_servers_or_all_and_never_both() {
        assert_eq!(
            parse("stop").unwrap_err(),
            ErrorKind::MissingRequiredArgument
        );
        assert_eq!(
            parse("stop --all alpha").unwrap_err(),
            ErrorKind::ArgumentConflict
        );
    }

    #[test]
    fn a_plan_has_nothing_to_wait_for() {
        assert_eq!(
            parse("plan --timeout 3s").unwrap_err(),
            ErrorKind::UnknownArgument
        );
        let line = "reload --dry-run --timeout 3s";
        assert_eq!(parse(line).unwrap_err(), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for line in [
            "profiles create demo --from x --copy-of other",
            "diff 7 --since 5 --files",
            "history --verify --prune",
            "rollback 6 --dry-run --no-wait",
            "models --enabled show x",
        ] {
            assert_eq!(
                parse(line).unwrap_err(),
                ErrorKind::ArgumentConflict,
                "{line}"
            );
        }
        for line in ["models set x", "history --dry-run", "rollback", "restore"] {
            assert_eq!(
                parse(line).unwrap_err(),
                ErrorKind::MissingRequiredArgument,
                "{line}"
            );
        }
    }

    #[test]
    fn commands_that_do_not_exist_yet_are_refused() {
        for line in ["pull x", "daemon upgrade"] {
            assert_eq!(
                parse(line).unwrap_err(),
                ErrorKind::InvalidSubcommand,
                "{line}"
            );
        }
        assert_eq!(
            parse("start --hold alpha").unwrap_err(),
            ErrorKind::UnknownArgument
        );
    }
}
