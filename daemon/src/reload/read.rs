//! Reading and validating all of the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::lookup::{self, ModelFiles};
use super::status::Told;
use crate::config::{
    self, DaemonConfig, Diagnostic, Environment, Locations, MAX_FILE_SIZE, Origin, Profile,
    ScanPath, ServerConfig, SourceFile,
};
use crate::files::{ReadError, read_stable};
use crate::lifecycle::Policy;
use crate::name::ServerName;
use crate::plan::{Definition, Launch, Model};

/// Inactive profiles that are looked at.
const MOST_PROFILES: usize = 200;

/// What reading starts from.
pub(super) struct Inputs {
    pub(super) locations: Locations,
    pub(super) environment: Environment,
    pub(super) scan_paths: Vec<PathBuf>,
    /// What magid.toml said when it was last right: a profile is read even if magid.toml is wrong, so
    /// that all errors are told at once.
    pub(super) last_good: DaemonConfig,
}

/// The bytes that a configuration consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    daemon: Option<String>,
    profile_path: PathBuf,
    profile: Option<String>,
    /// What is told of profiles that are not active.
    inactive: Vec<Told>,
    /// The binary and the model that were found for each server: one that comes is a change as good as
    /// an edit.
    found: BTreeMap<ServerName, (PathBuf, Result<PathBuf, String>)>,
}

/// What reading has brought.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) content: Content,
    /// magid.toml, if it is right.
    pub(super) daemon: Option<DaemonConfig>,
    /// The name of the active profile, if there is one.
    pub(super) profile: Option<String>,
    pub(super) definitions: BTreeMap<ServerName, Definition>,
    pub(super) errors: Vec<Told>,
    pub(super) warnings: Vec<Told>,
    pub(super) overridden: Vec<String>,
    /// Folders in which a model that is missing may turn up.
    pub(super) awaited: Vec<PathBuf>,
    sources: Vec<SourceFile>,
    models_at: BTreeMap<ServerName, Origin>,
}

impl Content {
    /// Whether there is a profile with something in it. An editor that saves may leave it missing or
    /// empty for a moment, so such a change is left to somebody who asks for it.
    pub(super) fn may_be_applied_by_an_event(&self) -> bool {
        self.profile
            .as_ref()
            .is_some_and(|text| !config::is_blank(text))
    }

    /// What to tell of a change that is not applied by an event.
    pub(super) fn withheld(&self) -> Option<Told> {
        let what = match &self.profile {
            None => "is gone",
            Some(text) if config::is_blank(text) => "is empty",
            Some(_) => return None,
        };
        let message = format!("the active profile {} {what}", self.profile_path.display());
        let help = "what runs goes on running; `magictl reload` applies it as it is";
        Some(Told::new(&Diagnostic::warning(message, help), &[]))
    }
}

impl Read {
    /// A reading that did not come to an end.
    pub(super) fn failed(why: &str) -> Self {
        let error = Diagnostic::error(format!("cannot read the configuration: {why}"), "");
        let mut read = Self::empty();
        read.errors.push(Told::new(&error, &[]));
        read
    }

    fn empty() -> Self {
        Self {
            content: Content {
                daemon: None,
                profile_path: PathBuf::new(),
                profile: None,
                inactive: Vec::new(),
                found: BTreeMap::new(),
            },
            daemon: None,
            profile: None,
            definitions: BTreeMap::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            overridden: Vec::new(),
            awaited: Vec::new(),
            sources: Vec::new(),
            models_at: BTreeMap::new(),
        }
    }

    /// Tells of models that are missing, each at its place.
    pub(super) fn missing_models(&self, missing: &[(ServerName, String)]) -> Vec<Told> {
        let tell = |(server, why): &(ServerName, String)| {
            let message = format!("cannot find the model of server {server}: {why}");
            let error =
                Diagnostic::error(message, "write a path or the name of a file that is there");
            let error = match self.models_at.get(server) {
                Some(origin) => error.at(origin.clone()),
                None => error,
            };
            Told::new(&error, &self.sources)
        };
        missing.iter().map(tell).collect()
    }

    fn fail(&mut self, diagnostics: &[Diagnostic]) {
        let told = diagnostics.iter().map(|d| Told::new(d, &self.sources));
        let told: Vec<_> = told.collect();
        self.errors.extend(told);
    }

    fn warn(&mut self, diagnostics: &[Diagnostic]) {
        let told = diagnostics.iter().map(|d| Told::new(d, &self.sources));
        let told: Vec<_> = told.collect();
        self.warnings.extend(told);
    }
}

/// Reads and validates everything. Blocks.
pub(super) fn read(inputs: &Inputs) -> Read {
    let mut read = Read::empty();
    let mut daemon = read_daemon(inputs, &mut read);
    if let Some(daemon) = &mut daemon
        && !inputs.scan_paths.is_empty()
    {
        daemon.scan_paths = command_line_paths(&inputs.scan_paths);
    }
    let in_force = daemon.clone().unwrap_or_else(|| inputs.last_good.clone());
    if let Some(profile) = read_profile(&in_force, &mut read) {
        define(&profile, &in_force, inputs, &mut read);
        read.profile = Some(profile.name);
    }
    check_inactive_profiles(&in_force, &mut read);
    read.daemon = daemon;
    read
}

/// Tells of profiles that could not be activated. They are nobody's problem yet.
fn check_inactive_profiles(daemon: &DaemonConfig, read: &mut Read) {
    let Ok(entries) = std::fs::read_dir(&daemon.profiles_dir) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths.iter().take(MOST_PROFILES) {
        let is_profile = path.extension().is_some_and(|ending| ending == "toml");
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = name.filter(|name| is_profile && !name.starts_with('.')) else {
            continue;
        };
        if name == daemon.active_profile.name {
            continue;
        }
        let errors = match source(path) {
            Ok(Some(file)) => config::parse_profile(name, &file, daemon).err(),
            Ok(None) => None,
            Err(error) => Some(vec![error]),
        };
        if let Some(first) = errors.as_ref().and_then(|errors| errors.first()) {
            let message = format!("profile {name} cannot be activated: {}", first.message);
            let warning = Diagnostic::warning(message, first.help.clone());
            let warning = match &first.origin {
                Some(origin) => warning.at(origin.clone()),
                None => warning,
            };
            read.content.inactive.push(Told::new(&warning, &[]));
        }
    }
    read.warnings.extend(read.content.inactive.clone());
}

fn command_line_paths(paths: &[PathBuf]) -> Vec<ScanPath> {
    let written = |path: &PathBuf| ScanPath {
        path: path.clone(),
        written_down: true,
    };
    paths.iter().map(written).collect()
}

fn read_daemon(inputs: &Inputs, read: &mut Read) -> Option<DaemonConfig> {
    let path = &inputs.locations.config_file;
    let file = match source(path) {
        Ok(file) => file,
        Err(error) => {
            read.fail(&[error]);
            return None;
        }
    };
    read.content.daemon = file.as_ref().map(|file| file.text.clone());
    let parsed = config::parse_daemon(file.as_ref(), &inputs.environment, &inputs.locations);
    read.sources.extend(file);
    match parsed {
        Ok(parsed) => {
            read.warn(&parsed.warnings);
            read.overridden = parsed.overridden;
            Some(parsed.daemon)
        }
        Err(errors) => {
            read.fail(&errors);
            None
        }
    }
}

fn read_profile(daemon: &DaemonConfig, read: &mut Read) -> Option<Profile> {
    let name = &daemon.active_profile.name;
    let path = daemon.profiles_dir.join(format!("{name}.toml"));
    read.content.profile_path.clone_from(&path);
    let file = match source(&path) {
        Ok(Some(file)) => file,
        Ok(None) => {
            read.warn(&[no_profile(daemon, &path)]);
            return None;
        }
        Err(error) => {
            read.fail(&[error]);
            return None;
        }
    };
    read.content.profile = Some(file.text.clone());
    let parsed = config::parse_profile(name, &file, daemon);
    read.sources.push(file);
    match parsed {
        Ok(parsed) => {
            read.warn(&parsed.warnings);
            Some(parsed.profile)
        }
        Err(errors) => {
            read.fail(&errors);
            None
        }
    }
}

fn no_profile(daemon: &DaemonConfig, path: &Path) -> Diagnostic {
    Diagnostic::warning(
        format!(
            "there is no active profile: {} does not exist",
            path.display()
        ),
        format!(
            "write it, or set active_profile to one of those in {}",
            daemon.profiles_dir.display()
        ),
    )
}

/// Reads a file. None: there is none.
fn source(path: &Path) -> Result<Option<SourceFile>, Diagnostic> {
    match read_stable(path, MAX_FILE_SIZE as u64) {
        Ok(text) => Ok(Some(SourceFile {
            path: path.to_path_buf(),
            text,
        })),
        Err(ReadError::Missing(_)) => Ok(None),
        Err(error) => {
            let origin = Origin {
                file: path.into(),
                line: 1,
                column: 1,
            };
            Err(Diagnostic::error(error.to_string(), "").at(origin))
        }
    }
}

fn define(profile: &Profile, daemon: &DaemonConfig, inputs: &Inputs, read: &mut Read) {
    let models = ModelFiles::search(&daemon.scan_paths);
    let unreadable: Vec<Diagnostic> = models
        .unreadable
        .iter()
        .map(|(path, error)| {
            let message = format!("cannot look for models in {}: {error}", path.display());
            Diagnostic::warning(message, "make it readable, or take it out of scan_paths")
        })
        .collect();
    read.warn(&unreadable);
    let search_path = inputs.environment.get("PATH");
    let folder = profile.path.parent().unwrap_or(Path::new("/"));
    for (name, server) in &profile.servers {
        let engine = server.llama_server.as_ref();
        let engine = engine.unwrap_or(&daemon.llama_server.path);
        let model = Model {
            written: server.model.clone(),
            file: models.find(&server.model, folder),
        };
        if model.file.is_err() {
            read.awaited
                .extend(folders_of(&server.model, folder, daemon));
        }
        let engine = lookup::program(engine, search_path);
        let found = (engine.clone(), model.file.clone());
        read.content.found.insert(name.clone(), found);
        let definition = definition(server, daemon, engine, model);
        read.definitions.insert(name.clone(), definition);
        read.models_at.insert(name.clone(), server.model_at.clone());
    }
}

/// Where a model that is missing would be.
fn folders_of(model: &str, folder: &Path, daemon: &DaemonConfig) -> Vec<PathBuf> {
    if model.contains('/') {
        let parent = folder.join(model).parent().map(Path::to_path_buf);
        return parent.into_iter().collect();
    }
    daemon
        .scan_paths
        .iter()
        .map(|scan| scan.path.clone())
        .collect()
}

fn definition(
    server: &ServerConfig,
    daemon: &DaemonConfig,
    engine: PathBuf,
    model: Model,
) -> Definition {
    let settings = server.settings.entries();
    let mut arguments = server.settings.argv();
    arguments.extend(server.args.iter().cloned());
    Definition {
        name: server.name.clone(),
        aliases: server.aliases.clone(),
        autostart: server.autostart,
        priority: 0,
        replace: crate::plan::Replace::Auto,
        launch: Launch {
            engine,
            model,
            host: daemon.llama_server.host,
            port: server.port,
            settings: settings
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            arguments,
            env: server.env.clone(),
        },
        policy: Policy {
            restart: server.restart.clone(),
            max_startup_time: daemon.llama_server.max_startup_time,
            drain_timeout: daemon.llama_server.drain_timeout,
            stop_timeout: daemon.llama_server.stop_timeout,
        },
        defined_at: format!(
            "{}:{}",
            server.defined_at.file.display(),
            server.defined_at.line
        ),
    }
}
