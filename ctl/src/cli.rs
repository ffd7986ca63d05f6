//! The grammar of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::completions::CompletionsArgs;
use crate::commands::daemon::DaemonArgs;
use crate::commands::events::EventsArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::logs::LogsArgs;
use crate::commands::reload::{PlanArgs, ReloadArgs};
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
    Stop(ChangeArgs),
    /// Replaces running servers by new processes, and starts the others
    Restart(ChangeArgs),
    /// Reads the configuration again and applies what changed
    Reload(ReloadArgs),
    /// Shows what `reload` would do
    Plan(PlanArgs),
    /// Prints the output of a server
    Logs(LogsArgs),
    /// Prints what happened
    Events(EventsArgs),
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
            "restart --all --timeout 2m",
            "reload",
            "reload --dry-run -v",
            "reload --no-wait",
            "plan --verbose",
            "logs alpha -f -n 100",
            "logs alpha --incarnation 4",
            "events -f -n 5 alpha",
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
    fn commands_that_do_not_exist_yet_are_refused() {
        for line in [
            "run x",
            "profiles",
            "models",
            "history",
            "check",
            "ports",
            "daemon upgrade",
        ] {
            assert_eq!(
                parse(line).unwrap_err(),
                ErrorKind::InvalidSubcommand,
                "{line}"
            );
        }
        assert_eq!(
            parse("stop --hold alpha").unwrap_err(),
            ErrorKind::UnknownArgument
        );
    }
}
