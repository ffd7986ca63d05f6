//! What magid does itself, and so refuses in `args` and `env`.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::diagnostic::{Report, quote};
use super::settings::{Key, SettingKeys};

const SECRET: &str = "remove it: the command line of a process is no place for a secret";
const SYSTEMD: &str = "remove it: it is magid that talks to systemd";

/// Flags, and what to do instead.
#[rustfmt::skip]
const FLAGS: &[(&[&str], &str)] = &[
    (&["-m", "--model"], "write `model`"),
    (&["-mu", "--model-url", "-dr", "--docker-repo", "-hf", "-hfr", "--hf-repo", "-hff", "--hf-file"],
        "download the file and write its path as `model`"),
    (&["-mmu", "--mmproj-url"], "download the file and write its path as `mmproj`"),
    (&["-a", "--alias"], "write `aliases`"),
    (&["--host"], "write `host` in [llama_server] of magid.toml"),
    (&["--port"], "write `port`"),
    (&["--reuse-port"], "remove it: the endpoint of a server is its own"),
    (&["--api-prefix", "--ssl-key-file", "--ssl-cert-file"],
        "remove it: magid watches the server at http://HOST:PORT/health"),
    (&["--no-slots", "--no-metrics"], "remove it: magid watches the server by them"),
    (&["--log-file", "--log-disable"], "remove it: `magictl logs` shows the output"),
    (&["--api-key", "--api-key-file", "-hft", "--hf-token"], SECRET),
    (&["-h", "--help", "--usage", "--version", "-cl", "--cache-list", "--list-devices", "--completion-bash"],
        "remove it: llama-server prints it and exits"),
];

/// Beginnings of flags that load a model, or several, other than `model`.
const MODEL_FLAGS: &[&str] = &[
    "--models-",
    "--no-models-",
    "--embd-gemma-",
    "--fim-",
    "--gpt-oss-",
    "--vision-gemma-",
];

/// Variables, and what to do instead. A name that ends in `_` is the beginning of names.
const VARIABLES: &[(&str, &str)] = &[
    ("LLAMA_ARG_", "put its flag into `args`"),
    (
        "LLAMA_API_KEY",
        "remove it: the endpoints of servers have no key",
    ),
    ("LLAMA_SERVER_", "remove it: llama-server sets these itself"),
    ("LLAMA_APP_CMD", "remove it: llama-server sets it itself"),
    (
        "AIP_",
        "remove it: llama-server would take its port from it",
    ),
    ("NOTIFY_SOCKET", SYSTEMD),
    ("WATCHDOG_", SYSTEMD),
    ("LISTEN_", SYSTEMD),
    ("JOURNAL_STREAM", SYSTEMD),
    ("MAGI_", "remove it: magid sets these itself"),
];

/// Reports what `args` must not contain at all.
pub(super) fn check_args(args: &[Spanned<String>], report: &mut Report<'_>) {
    for (index, arg) in args.iter().enumerate() {
        let flag = flag(arg.get_ref());
        let by_name = FLAGS.iter().find(|(flags, _)| flags.contains(&&*flag));
        let help = match by_name {
            Some((_, help)) => help,
            None if MODEL_FLAGS.iter().any(|start| flag.starts_with(start)) => "write `model`",
            None => continue,
        };
        report.error(
            arg.span(),
            format!("`args` cannot contain {}", quote(&flag)),
            help,
        );
        if help == SECRET {
            hide_with_value(args, index, report);
        }
    }
}

/// Hides the argument and the one behind it, which is its value.
fn hide_with_value(args: &[Spanned<String>], index: usize, report: &mut Report<'_>) {
    for arg in args.iter().skip(index).take(2) {
        report.hide(arg.span());
    }
}

/// Reports what `args` says a second time.
pub(super) fn check_repeated(
    args: &[Spanned<String>],
    settings: &SettingKeys,
    report: &mut Report<'_>,
) {
    for arg in args {
        let flag = flag(arg.get_ref());
        let Some(key) = Key::of_flag(&flag).filter(|key| settings.contains_key(key.name)) else {
            continue;
        };
        report.error(
            arg.span(),
            format!(
                "`args` cannot contain {} beside `{}`",
                quote(&flag),
                key.name
            ),
            "keep one of the two",
        );
    }
}

/// Reports variables that magid owns, or that are none.
pub(super) fn check_env(env: &BTreeMap<String, (Range<usize>, String)>, report: &mut Report<'_>) {
    for (name, (span, _)) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("a variable cannot have the name \"{}\"", quote(name));
            report.error(span.clone(), message, "write a name without `=`");
            continue;
        }
        let owned = VARIABLES.iter().find(|(variable, _)| {
            name == variable || variable.ends_with('_') && name.starts_with(variable)
        });
        if let Some((_, help)) = owned {
            let help = match Key::of_variable(name) {
                Some(key) => format!("write `{}`", key.name),
                None => variable_help(name).unwrap_or(help).to_owned(),
            };
            report.error(
                span.clone(),
                format!("`env` cannot contain {}", quote(name)),
                help,
            );
            if name.ends_with("_KEY") {
                report.hide(span.clone());
            }
        }
    }
}

/// What to do instead of the variable of a flag that magid owns.
fn variable_help(variable: &str) -> Option<&'static str> {
    let flag = variable
        .strip_prefix("LLAMA_ARG_")?
        .to_ascii_lowercase()
        .replace('_', "-");
    let flag = format!("--{flag}");
    let by_name = FLAGS.iter().find(|(flags, _)| flags.contains(&&*flag));
    by_name.map(|(_, help)| *help)
}

/// The flag that an argument begins with, as llama-server reads it: `--ctx_size` is `--ctx-size`.
pub(super) fn flag(argument: &str) -> String {
    let flag = argument.split_once('=').map_or(argument, |(flag, _)| flag);
    if flag.starts_with("--") {
        flag.replace('_', "-")
    } else {
        flag.to_owned()
    }
}
