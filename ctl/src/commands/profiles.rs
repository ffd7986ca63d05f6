//! `magictl profiles [list|show|create|delete|activate]`.

use std::fs::File;
use std::io::{self, Read};

use clap::{Args, Subcommand};
use magi_proto::v1::{
    ActivateProfileRequest, CreateProfileRequest, DeleteProfileRequest, GetProfileRequest,
    ListProfilesRequest,
};
use tonic::Status;

use super::apply::{self, ApplyArgs};
use crate::cli::Format;
use crate::client::{Client, read, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::table::{Cell, Fit, Table};
use crate::output::text::{printable, printable_lines};
use crate::output::{Output, narrate, words};
use crate::view::{Profile, ProfileText, Profiles};

/// No profile that a person wrote is longer: it was the wrong file.
const MAX_PROFILE_BYTES: u64 = 1 << 20;

/// What about profiles.
#[derive(Debug, Args)]
pub(crate) struct ProfilesArgs {
    #[command(subcommand)]
    command: Option<ProfilesCommand>,
}

/// The verbs of profiles.
#[derive(Debug, Subcommand)]
enum ProfilesCommand {
    /// Lists profiles
    List,
    /// Prints the text of a profile
    Show(NameArgs),
    /// Writes a new profile, and prints its path
    Create(CreateArgs),
    /// Deletes the file of a profile that is not active
    Delete(NameArgs),
    /// Makes a profile the active one, and applies what differs
    Activate(ActivateArgs),
}

/// Which profile.
#[derive(Debug, Args)]
struct NameArgs {
    /// The stem of its file
    name: String,
}

/// What to write.
#[derive(Debug, Args)]
struct CreateArgs {
    /// The stem of its file
    name: String,
    /// The file to take the text from, - for stdin [default: a text that says how to go on]
    #[arg(long, value_name = "FILE", conflicts_with = "copy_of")]
    from: Option<String>,
    /// The profile to copy, with its comments
    #[arg(long, value_name = "NAME")]
    copy_of: Option<String>,
    /// What it is for, in one line
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Which profile, and how.
#[derive(Debug, Args)]
struct ActivateArgs {
    /// The stem of its file
    name: String,
    #[command(flatten)]
    apply: ApplyArgs,
}

/// Runs the verb.
pub(crate) async fn run(
    client: &Client,
    args: ProfilesArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    match args.command.unwrap_or(ProfilesCommand::List) {
        ProfilesCommand::List => list(client, output).await?,
        ProfilesCommand::Show(args) => show(client, args.name, output).await?,
        ProfilesCommand::Create(args) => create(client, args, output).await?,
        ProfilesCommand::Delete(args) => delete(client, args.name).await?,
        ProfilesCommand::Activate(args) => return activate(client, args, output).await,
    }
    Ok(ExitStatus::Done)
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = client
        .profiles()
        .list_profiles(read(ListProfilesRequest {}))
        .await?;
    let shown = Profiles::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&shown),
        Format::Jsonl => output.objects(&shown.profiles),
        Format::Table => {
            let table = table(&shown.profiles);
            output.lines(&table.render(output.size().0, output.colours))
        }
    }
}

/// A row per profile, and below it why it could not be activated.
fn table(profiles: &[Profile]) -> Table<5> {
    let mut table = Table::new([
        ("NAME", Fit::Cut(12)),
        ("STATE", Fit::Whole),
        ("SERVERS", Fit::Number),
        ("MEMORY", Fit::Number),
        ("DESCRIPTION", Fit::Prose),
    ]);
    for profile in profiles {
        let is_valid = profile.errors.is_empty();
        let servers = is_valid.then_some(profile.servers.len());
        let memory = is_valid.then(|| words::bytes(profile.memory_bytes));
        let cells = [
            profile.name.as_str().into(),
            state(profile),
            servers.into(),
            memory.into(),
            profile.description.as_deref().unwrap_or_default().into(),
        ];
        let errors = profile.errors.iter();
        let below = errors
            .map(|error| Cell::coloured(&words::brief(error), Some(Colour::Red)))
            .collect();
        table.row(cells, below);
    }
    table
}

fn state(profile: &Profile) -> Cell {
    let facts = [
        (profile.active, "active"),
        (!profile.errors.is_empty(), "invalid"),
        (profile.built_in, "built-in"),
    ];
    let words: Vec<_> = facts
        .iter()
        .filter_map(|(holds, word)| holds.then_some(*word))
        .collect();
    let colour = match (profile.errors.is_empty(), profile.active) {
        (false, _) => Some(Colour::Red),
        (true, true) => Some(Colour::Green),
        (true, false) => None,
    };
    match words.is_empty() {
        true => Cell::from("-"),
        false => Cell::coloured(&words.join(", "), colour),
    }
}

async fn show(client: &Client, name: String, output: Output) -> Result<(), Failure> {
    let request = GetProfileRequest { name };
    let answer = client.profiles().get_profile(read(request)).await?;
    let shown = ProfileText::from_wire(answer.into_inner())
        .ok_or_else(|| Status::internal("the answer has no profile"))?;
    match output.format {
        Format::Json => output.document(&shown)?,
        Format::Jsonl => output.objects([&shown])?,
        Format::Table if output.is_terminal => {
            output.bytes(printable_lines(&shown.text).as_bytes())?;
        }
        // A copy of the file, byte for byte.
        Format::Table => output.bytes(shown.text.as_bytes())?,
    }
    for error in &shown.profile.errors {
        narrate(format_args!("{}\n", words::diagnostic(error)));
    }
    Ok(())
}

async fn create(client: &Client, args: CreateArgs, output: Output) -> Result<(), Failure> {
    let text = args.from.as_deref().map(text_of).transpose()?;
    let request = CreateProfileRequest {
        name: args.name,
        text,
        copy_of: args.copy_of,
        description: args.description,
    };
    let answer = client.profiles().create_profile(request).await?;
    let profile = answer.into_inner().profile;
    let profile = profile.ok_or_else(|| Status::internal("the answer has no profile"))?;
    let profile = Profile::from(profile);
    match output.format {
        Format::Json => output.document(&profile),
        Format::Jsonl => output.objects([&profile]),
        Format::Table => {
            let path = profile.path.as_deref().unwrap_or_default();
            output.lines(&[printable(path)])
        }
    }
}

/// The text of a file, or of stdin.
fn text_of(file: &str) -> Result<String, Failure> {
    let text = match file {
        "-" => bounded(io::stdin().lock()),
        file => File::open(file).and_then(bounded),
    };
    text.map_err(|source| Failure::Input {
        what: match file {
            "-" => "stdin".to_owned(),
            file => file.to_owned(),
        },
        source,
    })
}

fn bounded(reader: impl Read) -> io::Result<String> {
    let mut text = String::new();
    reader
        .take(MAX_PROFILE_BYTES + 1)
        .read_to_string(&mut text)?;
    match text.len() as u64 > MAX_PROFILE_BYTES {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too long for a profile",
        )),
        false => Ok(text),
    }
}

async fn delete(client: &Client, name: String) -> Result<(), Failure> {
    let request = DeleteProfileRequest { name: name.clone() };
    client.profiles().delete_profile(request).await?;
    narrate(format_args!("profile {} is deleted", printable(&name)));
    Ok(())
}

async fn activate(
    client: &Client,
    args: ActivateArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let ActivateArgs { name, apply } = args;
    let request = ActivateProfileRequest {
        name,
        dry_run: apply.dry_run,
        wait: apply.waits(),
        expected_generation: apply.expected.generation,
    };
    let mut profiles = client.profiles();
    let request = profiles.activate_profile(with_timeout(request, apply.wait.timeout));
    apply::run(client, &apply, request, output).await
}
