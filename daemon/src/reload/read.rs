//! Reading and validating all of the configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::define::{define, problems};
use super::status::Told;
use crate::config::{
    self, BUILTIN, DaemonConfig, Diagnostic, Environment, Locations, MAX_FILE_SIZE, Origin,
    Profile, SourceFile,
};
use crate::files::{ReadError, read_stable};
use crate::generations::{self, Activation, ActiveProfile, StoredFile};
use crate::name::ServerName;
use crate::plan::{Definition, Launch};
use crate::registry::Snapshot;

/// What reading starts from.
pub(crate) struct Inputs {
    pub(crate) locations: Locations,
    pub(crate) environment: Environment,
    pub(crate) scan_paths: Vec<PathBuf>,
    /// What magid.toml said when it was last right: a profile is read even if magid.toml is wrong, so
    /// that all errors are told at once.
    pub(crate) last_good: DaemonConfig,
    /// The models that there are.
    pub(crate) models: Arc<Snapshot>,
    /// Which profile is meant.
    pub(crate) choice: Choice,
    /// Texts of a generation, to be taken in place of those of the files.
    pub(crate) instead: Option<Instead>,
}

/// Which profile is meant.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// The one that is active: by what was activated last, or by a variable or a key that changed since.
    Active(Option<Activation>),
    /// The one that is to be activated.
    Activate(String),
}

/// Texts of a generation, to be taken in place of those of the files.
#[derive(Clone, Debug)]
pub(crate) struct Instead {
    pub(crate) content: generations::Content,
    /// Whether magid.toml is meant too.
    pub(crate) with_daemon: bool,
}

/// What a configuration consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The name of the profile that was asked for, whether there is one or not.
    asked: String,
    /// The texts.
    pub(crate) files: generations::Content,
    /// What is told of profiles that are not active.
    inactive: Vec<Told>,
    /// What was found for each server: a binary or a model that comes is a change as good as an edit.
    pub(crate) found: BTreeMap<ServerName, Launch>,
}

/// What reading has brought.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) content: Content,
    /// magid.toml, if it is right.
    pub(crate) daemon: Option<DaemonConfig>,
    /// The name of the active profile, if there is one.
    pub(crate) profile: Option<String>,
    /// What that profile is for.
    pub(crate) description: Option<String>,
    pub(crate) definitions: BTreeMap<ServerName, Definition>,
    /// The servers that a `[[select]]` makes.
    pub(crate) selected: BTreeSet<ServerName>,
    pub(crate) errors: Vec<Told>,
    pub(crate) warnings: Vec<Told>,
    pub(crate) overridden: Vec<String>,
    /// What is to be stored about which profile is active, once it is applied.
    pub(crate) activation: Option<Activation>,
    /// Folders in which a model that is missing may turn up.
    pub(crate) awaited: Vec<PathBuf>,
    sources: Vec<SourceFile>,
    pub(crate) models_at: BTreeMap<ServerName, Origin>,
}

impl Content {
    /// The text of the active profile's file.
    fn profile(&self) -> Option<&StoredFile> {
        self.files.profile.as_ref()?.file.as_ref()
    }

    /// Whether the same binaries and models were found. What is known of a model may have grown.
    pub(crate) fn stands_on_the_same_as(&self, other: &Self) -> bool {
        let files = |launch: &Launch| {
            let Launch { engine, model, .. } = launch;
            let file = model.file.as_ref().ok().cloned();
            (engine.clone(), file, model.shards.clone(), model.identity)
        };
        let mine = self
            .found
            .iter()
            .map(|(name, launch)| (name, files(launch)));
        mine.eq(other
            .found
            .iter()
            .map(|(name, launch)| (name, files(launch))))
    }

    /// Whether there is a profile with something in it. An editor that saves may leave it missing or
    /// empty for a moment, so such a change is left to somebody who asks for it.
    pub(crate) fn may_be_applied_by_an_event(&self) -> bool {
        match &self.files.profile {
            Some(ActiveProfile {
                file: Some(file), ..
            }) => !config::is_blank(&file.text),
            Some(ActiveProfile { file: None, name }) => name == BUILTIN,
            None => false,
        }
    }

    /// What to tell of a change that is not applied by an event.
    pub(crate) fn withheld(&self) -> Option<Told> {
        if self.may_be_applied_by_an_event() {
            return None;
        }
        let message = match self.profile() {
            Some(file) => format!("the active profile {} is empty", file.path.display()),
            None => format!("the active profile {} is gone", self.asked),
        };
        let help = "what runs goes on running; `magictl reload` applies it as it is";
        Some(Told::new(&Diagnostic::warning(message, help), &[]))
    }
}

impl Read {
    /// Whether a model of a server was not found that a scan may find.
    pub(crate) fn misses_a_model(&self) -> bool {
        let mut models = self.definitions.values().map(|server| &server.launch.model);
        models.any(|model| model.file.is_err() && !model.written.contains('/'))
    }

    /// Whether a `[[select]]` makes a server of a model that is not there.
    pub(crate) fn selects_what_is_away(&self) -> bool {
        let mut servers = self.definitions.iter();
        servers
            .any(|(name, server)| server.launch.model.file.is_err() && self.selected.contains(name))
    }

    /// The servers that are written down and whose models are not there, and why.
    pub(crate) fn models_that_are_missing(&self) -> Vec<(ServerName, String)> {
        let servers = self.definitions.iter();
        let missing = servers.filter_map(|(name, server)| {
            let why = server.launch.model.file.as_ref().err()?;
            let is_written = !self.selected.contains(name);
            is_written.then(|| (name.clone(), why.clone()))
        });
        missing.collect()
    }

    /// A reading that did not come to an end.
    pub(crate) fn failed(why: &str) -> Self {
        let error = Diagnostic::error(format!("cannot read the configuration: {why}"), "");
        let mut read = Self::empty();
        read.errors.push(Told::new(&error, &[]));
        read
    }

    fn empty() -> Self {
        Self {
            content: Content {
                asked: String::new(),
                files: generations::Content::default(),
                inactive: Vec::new(),
                found: BTreeMap::new(),
            },
            daemon: None,
            profile: None,
            description: None,
            definitions: BTreeMap::new(),
            selected: BTreeSet::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            overridden: Vec::new(),
            activation: None,
            awaited: Vec::new(),
            sources: Vec::new(),
            models_at: BTreeMap::new(),
        }
    }

    /// Tells of models that are missing, each at its place.
    pub(crate) fn missing_models(&self, missing: &[(ServerName, String)]) -> Vec<Told> {
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

    pub(crate) fn fail(&mut self, diagnostics: &[Diagnostic]) {
        let told = diagnostics.iter().map(|d| Told::new(d, &self.sources));
        let told: Vec<_> = told.collect();
        self.errors.extend(told);
    }

    pub(crate) fn warn(&mut self, diagnostics: &[Diagnostic]) {
        let told = diagnostics.iter().map(|d| Told::new(d, &self.sources));
        let told: Vec<_> = told.collect();
        self.warnings.extend(told);
    }
}

/// Reads and validates everything. Blocks.
pub(crate) fn read(inputs: &Inputs) -> Read {
    let mut read = Read::empty();
    let mut daemon = read_daemon(inputs, &mut read);
    if let Some(daemon) = &mut daemon
        && !inputs.scan_paths.is_empty()
    {
        daemon.scan_paths = config::written_scan_paths(&inputs.scan_paths);
    }
    let in_force = daemon.clone().unwrap_or_else(|| inputs.last_good.clone());
    let name = chosen_profile(inputs, &in_force, &mut read);
    read.content.asked.clone_from(&name);
    if let Some(profile) = read_profile(&name, &in_force, inputs, &mut read) {
        define(&profile, &in_force, inputs, &mut read);
        read.description = profile.description;
        read.profile = Some(profile.name);
    }
    read.warn(&problems(&inputs.models));
    check_inactive_profiles(&in_force, &name, &mut read);
    read.daemon = daemon;
    read
}

/// Reads one profile with magid.toml as it is in force. Blocks.
pub(crate) fn preview(inputs: &Inputs, name: &str) -> Read {
    let mut read = Read::empty();
    if let Some(profile) = read_profile(name, &inputs.last_good, inputs, &mut read) {
        define(&profile, &inputs.last_good, inputs, &mut read);
        read.description = profile.description;
        read.profile = Some(profile.name);
    }
    read
}

/// The name of the profile that is meant. If nobody ever chose one and there is none of the usual name,
/// it is the built-in one.
fn chosen_profile(inputs: &Inputs, daemon: &DaemonConfig, read: &mut Read) -> String {
    if let Some(instead) = &inputs.instead
        && let Some(profile) = &instead.content.profile
    {
        read.activation = Some(activation(&profile.name, daemon));
        return profile.name.clone();
    }
    let asked = &daemon.active_profile;
    match &inputs.choice {
        Choice::Activate(name) => {
            read.activation = Some(activation(name, daemon));
            name.clone()
        }
        Choice::Active(stored) => {
            let (variable, key) = (asked.variable(), asked.key.as_deref());
            read.activation = generations::active_profile(stored.as_ref(), variable, key);
            match &read.activation {
                Some(activation) => activation.profile.clone(),
                None if profile_path(daemon, &asked.name).exists() => asked.name.clone(),
                None => BUILTIN.to_owned(),
            }
        }
    }
}

fn activation(profile: &str, daemon: &DaemonConfig) -> Activation {
    Activation {
        profile: profile.to_owned(),
        by: generations::ChosenBy::Activation,
        variable: daemon.active_profile.variable().map(str::to_owned),
        key: daemon.active_profile.key.clone(),
    }
}

/// The file of a profile.
pub(crate) fn profile_path(daemon: &DaemonConfig, name: &str) -> PathBuf {
    daemon.profiles_dir.join(format!("{name}.toml"))
}

/// Tells of profiles that could not be activated. They are nobody's problem yet.
fn check_inactive_profiles(daemon: &DaemonConfig, active: &str, read: &mut Read) {
    for name in super::profiles::names(&daemon.profiles_dir) {
        if name == active {
            continue;
        }
        let errors = match source(&profile_path(daemon, &name)) {
            Ok(Some(file)) => config::parse_profile(&name, &file, daemon).err(),
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

fn read_daemon(inputs: &Inputs, read: &mut Read) -> Option<DaemonConfig> {
    let path = &inputs.locations.config_file;
    let instead = inputs.instead.as_ref();
    let instead = instead.filter(|instead| instead.with_daemon);
    let file = match instead {
        Some(instead) => Ok(instead.content.daemon.as_ref().map(source_of)),
        None => source(path),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            read.fail(&[error]);
            return None;
        }
    };
    read.content.files.daemon = file.as_ref().map(stored);
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

fn read_profile(
    name: &str,
    daemon: &DaemonConfig,
    inputs: &Inputs,
    read: &mut Read,
) -> Option<Profile> {
    let path = profile_path(daemon, name);
    let instead = inputs.instead.as_ref();
    let instead = instead.and_then(|instead| instead.content.profile.as_ref());
    let file = match instead {
        Some(profile) => Ok(profile.file.as_ref().map(source_of)),
        None => source(&path),
    };
    let file = match file {
        Ok(file) => file,
        Err(error) => {
            read.fail(&[error]);
            return None;
        }
    };
    read.content.files.profile = Some(ActiveProfile {
        name: name.to_owned(),
        file: file.as_ref().map(stored),
    });
    let Some(file) = file else {
        if name == BUILTIN {
            return Some(config::builtin(&daemon.restart));
        }
        read.content.files.profile = None;
        read.warn(&[no_profile(daemon, &path)]);
        return None;
    };
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

fn stored(file: &SourceFile) -> StoredFile {
    StoredFile {
        path: file.path.clone(),
        text: file.text.clone(),
    }
}

fn source_of(file: &StoredFile) -> SourceFile {
    SourceFile {
        path: file.path.clone(),
        text: file.text.clone(),
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
pub(crate) fn source(path: &Path) -> Result<Option<SourceFile>, Diagnostic> {
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
