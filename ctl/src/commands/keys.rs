//! `magictl keys [list|create|delete]`.
//!
//! It edits gateway.toml, which a gateway that runs takes at once; magid has no part in it. A key is shown
//! when it is made, and never again: the file has its hash.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use magid::config::{
    Diagnostic, Environment, GatewayConfig, Glob, Key, KeyHash, LocationInput, Locations,
    MAX_FILE_SIZE, Scope, SourceFile, has_key, key_block, new_key, parse_gateway, with_key,
    without_key,
};
use magid::files::{ReadError, RewriteError, read_stable, rewrite};
use nix::unistd::Group;
use thiserror::Error;

use super::subject::reach;
use crate::cli::Format;
use crate::failure::{ExitStatus, Failure};
use crate::output::table::{Fit, Table};
use crate::output::text::printable;
use crate::output::{Output, narrate};
use crate::view::{ClientKey, ClientKeys, CreatedKey};

/// The group that the gateway of this system runs in.
const GATEWAY: &str = "magi-gateway";

/// Who may do anything with a file of keys but its owner and its group.
const OTHERS: u32 = 0o007;

/// How often, and how long each time, another magictl that changes keys is waited for.
const LOOKS: u32 = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// What about keys.
#[derive(Debug, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Option<KeysCommand>,
    /// The file [default: gateway.toml beside the magid.toml of the magid that runs, or would]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// The verbs of keys.
#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Lists keys, without the keys themselves
    List,
    /// Makes a key, and shows it once
    Create(CreateArgs),
    /// Deletes a key: what carries it is refused from now on
    Delete(NameArgs),
}

impl KeysCommand {
    /// Whether it writes into the file.
    fn is_change(&self) -> bool {
        match self {
            Self::List => false,
            Self::Create(args) => !args.print,
            Self::Delete(_) => true,
        }
    }
}

/// Which key.
#[derive(Debug, Args)]
struct NameArgs {
    /// Its name
    name: String,
}

/// What the key is to be good for.
#[derive(Debug, Args)]
struct CreateArgs {
    /// Its name, which logs show
    name: String,
    /// What it may do
    #[arg(
        long = "scope",
        value_name = "SCOPE",
        value_delimiter = ',',
        default_value = "inference"
    )]
    scopes: Vec<ScopeWord>,
    /// Servers, aliases or models that it may be used with, such as qwen* [default: all]
    #[arg(long = "model", value_name = "PATTERN", value_delimiter = ',', value_parser = pattern)]
    models: Vec<Glob>,
    /// Only print the key and what belongs into gateway.toml
    #[arg(long)]
    print: bool,
}

/// A scope on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ScopeWord {
    /// Requests to models
    Inference,
    /// Looking at servers, models, profiles and metrics
    Read,
    /// Changing them
    Admin,
}

/// Why the keys are as they were.
#[derive(Debug, Error)]
pub(crate) enum KeysError {
    /// There is none to delete.
    #[error("no such key: {}", printable(.0))]
    NoSuchKey(String),
    /// There is one of that name.
    #[error("there is a key {} already: delete it first, or give another name", printable(.0))]
    KeyExists(String),
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] RewriteError),
    /// The file cannot be made, or be kept from others.
    #[error("cannot write {}: {source}", .path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else changes them, and does not come to an end.
    #[error("cannot change {}: another magictl is about to", .0.display())]
    Busy(PathBuf),
    /// The system has no random numbers.
    #[error("cannot read random numbers: {0}")]
    Random(io::Error),
    /// The file would not be valid.
    #[error("{} stays as it is: {}", .path.display(), .errors.join("\n"))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong.
        errors: Vec<String>,
    },
}

impl KeysError {
    /// What the process ends with.
    pub(crate) fn exit_status(&self) -> ExitStatus {
        let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        match self {
            Self::NoSuchKey(_) => ExitStatus::NoSuchThing,
            Self::Invalid { .. } => ExitStatus::InvalidConfiguration,
            Self::Busy(_) => ExitStatus::Busy,
            Self::Write(RewriteError::ReadOnly { .. } | RewriteError::NotOurs { .. }) => {
                ExitStatus::NotPermitted
            }
            Self::Read(ReadError::Unreadable { reason, .. }) if denied(reason) => {
                ExitStatus::NotPermitted
            }
            Self::Make { source, .. } if denied(source) => ExitStatus::NotPermitted,
            Self::KeyExists(_)
            | Self::Read(_)
            | Self::Write(_)
            | Self::Make { .. }
            | Self::Random(_) => ExitStatus::Failed,
        }
    }
}

/// Runs the verb.
pub(crate) async fn run(
    socket: Option<&Path>,
    args: KeysArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let command = args.command.unwrap_or(KeysCommand::List);
    let path = locate(socket, args.config).await;
    // Held until the file is written: another one who read it meanwhile would write it without our change.
    let _lock = match command.is_change() {
        true => Some(lock(&path)?),
        false => None,
    };
    let file = KeyFile::open(path)?;
    match command {
        KeysCommand::List => list(&file, output)?,
        KeysCommand::Create(args) => create(&file, args, output)?,
        KeysCommand::Delete(args) => delete(&file, &args.name)?,
    }
    Ok(ExitStatus::Done)
}

/// gateway.toml of the magid that answers, else of the one that this user would run.
async fn locate(socket: Option<&Path>, explicit: Option<PathBuf>) -> PathBuf {
    if let Some(file) = explicit {
        return file;
    }
    let subject = reach(socket, None).await.subject;
    let running = subject.magid.as_ref().map(|magid| &*magid.config_file);
    let locations = Locations::find(&LocationInput {
        env: &subject.environment,
        explicit_config: running.filter(|path| path.is_absolute()),
        is_root: rustix::process::geteuid().is_root(),
        current_dir: &subject.current_dir,
    });
    locations.gateway_file()
}

fn list(file: &KeyFile, output: Output) -> Result<(), Failure> {
    let config = file.parse(&file.text)?;
    let keys = ClientKeys {
        file: file.path.display().to_string(),
        keys: config.keys.iter().map(ClientKey::from).collect(),
    };
    match output.format {
        Format::Json => output.document(&keys),
        Format::Jsonl => output.objects(&keys.keys),
        Format::Table if keys.keys.is_empty() => {
            narrate(format_args!(
                "there are no keys in {}",
                printable(&keys.file)
            ));
            Ok(())
        }
        Format::Table => {
            let mut table = Table::new([
                ("NAME", Fit::Whole),
                ("SCOPES", Fit::Whole),
                ("MODELS", Fit::Prose),
            ]);
            for key in &keys.keys {
                let cells = [
                    key.name.as_str().into(),
                    key.scopes.join(", ").as_str().into(),
                    key.models.join(", ").as_str().into(),
                ];
                table.row(cells, Vec::new());
            }
            output.lines(&table.render(output.size().0, output.colours))
        }
    }
}

fn create(file: &KeyFile, args: CreateArgs, output: Output) -> Result<(), Failure> {
    let secret = new_key(&random()?);
    let mut scopes: Vec<_> = args.scopes.into_iter().map(Scope::from).collect();
    scopes.sort();
    scopes.dedup();
    let key = Key {
        hash: KeyHash::of(&secret),
        scopes,
        models: match args.models.is_empty() {
            true => Vec::from_iter(Glob::new("*")),
            false => args.models,
        },
        name: args.name,
    };
    if has_key(&file.text, &key.name) {
        return Err(KeysError::KeyExists(key.name).into());
    }
    let text = with_key(&file.text, &key);
    file.parse(&text)?;
    if !args.print {
        file.write(&text)?;
    }
    let created = CreatedKey {
        secret,
        file: (!args.print).then(|| file.path.display().to_string()),
        key: ClientKey::from(&key),
    };
    match output.format {
        Format::Json => output.document(&created)?,
        Format::Jsonl => output.objects([&created])?,
        Format::Table => output.lines(std::slice::from_ref(&created.secret))?,
    }
    let path = printable(&file.path.display().to_string());
    match args.print {
        true => narrate(format_args!(
            "write this into {path}:\n\n{}",
            key_block(&key)
        )),
        false => narrate(format_args!(
            "this key is not shown again. Its hash is in {path}, which a gateway that runs takes at once:\n\n{}",
            key_block(&key)
        )),
    }
    Ok(())
}

fn delete(file: &KeyFile, name: &str) -> Result<(), Failure> {
    let Some(text) = without_key(&file.text, name) else {
        // A file that is no TOML has keys that cannot be seen.
        file.parse(&file.text)?;
        return Err(KeysError::NoSuchKey(name.to_owned()).into());
    };
    file.parse(&text)?;
    file.write(&text)?;
    narrate(format_args!("deleted key {}", printable(name)));
    Ok(())
}

/// gateway.toml as it was found. One that is not there is empty.
struct KeyFile {
    path: PathBuf,
    text: String,
    is_there: bool,
}

impl KeyFile {
    fn open(path: PathBuf) -> Result<Self, KeysError> {
        let (text, is_there) = match read_stable(&path, MAX_FILE_SIZE as u64) {
            Ok(text) => (text, true),
            Err(ReadError::Missing(_)) => (String::new(), false),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            path,
            text,
            is_there,
        })
    }

    /// What the file would say. What variables say where magictl runs is not what they say for the gateway.
    fn parse(&self, text: &str) -> Result<GatewayConfig, KeysError> {
        let source = SourceFile {
            path: self.path.clone(),
            text: text.to_owned(),
        };
        let env = Environment::default();
        let locations = Locations::find(&LocationInput {
            env: &env,
            explicit_config: None,
            is_root: true,
            current_dir: Path::new("/"),
        });
        let render = |error: &Diagnostic| error.to_string();
        match parse_gateway(Some(&source), &env, &locations) {
            Ok(parsed) => Ok(parsed.gateway),
            Err(errors) => Err(KeysError::Invalid {
                path: self.path.clone(),
                errors: errors.iter().map(render).collect(),
            }),
        }
    }

    /// Replaces the file as a whole. Nobody but its owner and its group can read it afterwards.
    fn write(&self, text: &str) -> Result<(), KeysError> {
        let closed = match self.is_there {
            true => close(&self.path),
            false => make(&self.path),
        };
        closed.map_err(|source| KeysError::Make {
            path: self.path.clone(),
            source,
        })?;
        Ok(rewrite(&self.path, text)?)
    }
}

/// Takes it from others, among whom the gateway may have been. Else owner and group stay as somebody wanted
/// them.
fn close(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 & !OTHERS))?;
    share(&File::open(path)?)
}

/// The right to change the file, until it is dropped. The folder is what is locked: the file is replaced
/// by each change.
fn lock(path: &Path) -> Result<File, KeysError> {
    let folder = folder(path);
    let failed = |source| KeysError::Make {
        path: path.to_path_buf(),
        source,
    };
    fs::create_dir_all(folder).map_err(failed)?;
    let file = File::open(folder).map_err(failed)?;
    for _ in 0..LOOKS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
    }
    Err(KeysError::Busy(path.to_path_buf()))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        None => Path::new("/"),
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
    }
}

/// Makes it, for its owner alone; root's also for the gateway.
fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    share(&file)
}

/// Lets the gateway of this system read what is root's.
fn share(file: &File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let Some(group) = Group::from_name(GATEWAY)? else {
        return Ok(());
    };
    fchown(file, None, Some(group.gid.as_raw()))?;
    file.set_permissions(Permissions::from_mode(0o640))
}

fn random() -> Result<[u8; 24], KeysError> {
    let mut bytes = [0; 24];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(KeysError::Random)?;
    Ok(bytes)
}

fn pattern(text: &str) -> Result<Glob, String> {
    Glob::new(text).ok_or_else(|| {
        "a pattern has letters, digits, '.', '_', '-', ':' and '/', * for any characters and ? for one"
            .to_owned()
    })
}

impl From<ScopeWord> for Scope {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Inference => Self::Inference,
            ScopeWord::Read => Self::Read,
            ScopeWord::Admin => Self::Admin,
        }
    }
}
