//! `magictl status [SERVER…] [--watch]`.

use clap::Args;
use jiff::Timestamp;
use magi_proto::v1::GetStatusRequest;

use super::watch;
use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::text::{printable, wrap};
use crate::output::{Output, servers, times, words};
use crate::view::{Config, ConfigState, State, Status};

/// Which servers, and for how long.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Names or aliases [default: all]; exit status 3 if one of them is not ready
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
    /// Go on showing changes
    #[arg(short, long)]
    watch: bool,
}

/// Prints the state of the fleet.
pub(crate) async fn run(
    client: &Client,
    args: StatusArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    if args.watch {
        return watch::run(client, &args.servers, output).await;
    }
    let status = fetch(client, &args.servers).await?;
    match output.format {
        Format::Json => output.document(&status)?,
        Format::Jsonl => output.objects(&status.servers)?,
        Format::Table => {
            let width = output.size().0;
            output.lines(&render(&status, width, output.colours, Timestamp::now()))?;
        }
    }
    let is_named = !args.servers.is_empty();
    if is_named
        && status
            .servers
            .iter()
            .any(|server| server.state != State::Ready)
    {
        return Ok(ExitStatus::NotReady);
    }
    Ok(ExitStatus::Done)
}

/// The status, with the named servers only, if any are named.
pub(super) async fn fetch(client: &Client, names: &[String]) -> Result<Status, Failure> {
    let answer = client
        .daemon()
        .get_status(read(GetStatusRequest {}))
        .await?;
    select(answer.into_inner().into(), names)
}

fn select(mut status: Status, names: &[String]) -> Result<Status, Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !status.servers.iter().any(|server| server.is_called(name)))
    {
        return Err(Failure::NoSuchServer {
            name: unknown.clone(),
            known: status
                .servers
                .into_iter()
                .map(|server| server.name)
                .collect(),
        });
    }
    if !names.is_empty() {
        status
            .servers
            .retain(|server| names.iter().any(|name| server.is_called(name)));
    }
    Ok(status)
}

/// What is wrong with the configuration, then the table of servers.
pub(super) fn render(status: &Status, width: usize, colours: bool, now: Timestamp) -> Vec<String> {
    let mut lines = head(status, width, colours, now);
    lines.extend(in_force(status));
    lines.extend(addresses(status));
    if !status.servers.is_empty() {
        lines.extend(servers::table(&status.servers, now).render(width, colours));
    } else if let Some(advice) = advice(status) {
        lines.extend(wrap(&printable(&advice), width));
    }
    lines.extend(foot(&status.config, width));
    lines
}

/// What is wrong, if the files on disk are not what runs.
fn head(status: &Status, width: usize, colours: bool, now: Timestamp) -> Vec<String> {
    match status.config.state {
        ConfigState::Applied | ConfigState::NoProfile | ConfigState::Unknown => Vec::new(),
        ConfigState::Invalid => invalid(&status.config, width, colours, now),
        ConfigState::Vetoed => vetoed(status, width, colours, now),
    }
}

fn invalid(config: &Config, width: usize, colours: bool, now: Timestamp) -> Vec<String> {
    let since = config.since.map_or_else(String::new, |since| {
        format!(" for {}", times::since(since, now))
    });
    let title =
        format!("the configuration on disk is invalid{since}; the last good one stays in force:");
    let mut lines = alarm(&title, width, colours);
    for error in &config.errors {
        lines.extend(words::diagnostic(error).lines().map(str::to_owned));
        lines.push(String::new());
    }
    lines
}

fn vetoed(status: &Status, width: usize, colours: bool, now: Timestamp) -> Vec<String> {
    let config = &status.config;
    let ago = config.since.map_or_else(String::new, |since| {
        format!(" {} ago", times::since(since, now))
    });
    let stays = status.generation.map_or_else(
        || "the last good one".to_owned(),
        |number| format!("generation {number}"),
    );
    let title = format!(
        "the configuration on disk was taken back{ago}, because a server did not get ready with \
         it; {stays} stays in force:"
    );
    let mut lines = alarm(&title, width, colours);
    for veto in &config.vetoes {
        lines.extend(wrap(&words::veto(veto), width));
    }
    let advice = "mend the file, or try it again with `magictl reload`";
    lines.extend(wrap(advice, width));
    lines.push(String::new());
    lines
}

/// What nobody should overlook, and an empty line.
fn alarm(title: &str, width: usize, colours: bool) -> Vec<String> {
    let mut lines: Vec<String> = wrap(title, width)
        .iter()
        .map(|line| match colours {
            true => Colour::Red.paint(line),
            false => line.clone(),
        })
        .collect();
    lines.push(String::new());
    lines
}

/// What is applied, once something is.
fn in_force(status: &Status) -> Option<String> {
    let generation = status.generation?;
    let profile = match &status.profile {
        Some(profile) => format!("profile {profile}"),
        None => "no profile".to_owned(),
    };
    Some(printable(&format!("{profile}, generation {generation}")))
}

/// Where gateways serve all of it.
fn addresses(status: &Status) -> Option<String> {
    let gateways = status.gateways.iter();
    let addresses: Vec<_> = gateways.flat_map(|gateway| &gateway.addresses).collect();
    let listed = addresses
        .into_iter()
        .map(String::as_str)
        .collect::<Vec<_>>();
    (!listed.is_empty()).then(|| printable(&format!("served at {}", listed.join(", "))))
}

/// What to do when there are no servers.
fn advice(status: &Status) -> Option<String> {
    let config = &status.config;
    let profiles = config
        .profiles_dir
        .as_deref()
        .unwrap_or("the profiles folder");
    match (&status.profile, config.state) {
        (Some(profile), ConfigState::Applied) => Some(format!(
            "no servers: profile {profile} defines none; write a table [servers.NAME] with \
             model = \"…\" into {profiles}/{profile}.toml"
        )),
        (None, ConfigState::NoProfile | ConfigState::Applied) => Some(format!(
            "no active profile: write one into {profiles}, and its name as active_profile into {}",
            config.config_path.as_deref().unwrap_or("magid.toml"),
        )),
        (Some(_), ConfigState::NoProfile) => None,
        (_, ConfigState::Invalid | ConfigState::Vetoed | ConfigState::Unknown) => {
            Some("no servers".to_owned())
        }
    }
}

/// What deserves a look.
fn foot(config: &Config, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for warning in &config.warnings {
        let text = words::diagnostic(warning);
        lines.push(String::new());
        lines.extend(text.lines().map(str::to_owned));
    }
    if !config.needs_restart.is_empty() {
        let keys = config.needs_restart.join(", ");
        let text = format!("changed, and in force once magid is restarted: {keys}");
        lines.push(String::new());
        lines.extend(wrap(&printable(&text), width));
    }
    lines
}
