//! The files on disk against what is applied.

use std::path::PathBuf;

use jiff::Timestamp;

use super::{Decision, Verdict};
use crate::config::{Diagnostic, Locations, SourceFile};
use crate::generations;
use crate::name::ServerName;
use crate::supervisor::fleet::Veto;

/// A diagnostic with everything it takes to tell it: the source it is about may be gone by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The file; empty if it is in none.
    pub file: String,
    /// The line, from 1; 0 if it is in no file.
    pub line: usize,
    /// The column in characters, from 1; 0 if it is in no file.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
    /// The same for a terminal.
    pub rendered: String,
}

impl Told {
    /// Tells a diagnostic about one of `sources`, or about none.
    pub fn new(diagnostic: &Diagnostic, sources: &[SourceFile]) -> Self {
        let origin = diagnostic.origin.as_ref();
        let source = origin.and_then(|origin| {
            let mut sources = sources.iter();
            sources.find(|source| *source.path == *origin.file)
        });
        Self {
            file: origin.map_or_else(String::new, |o| o.file.display().to_string()),
            line: origin.map_or(0, |o| o.line),
            column: origin.map_or(0, |o| o.column),
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
            rendered: diagnostic.render(source),
        }
    }
}

/// Whether the files are what is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigState {
    /// They are.
    Applied,
    /// They are refused.
    Invalid,
    /// They are, and say nothing: there is no active profile.
    NoProfile,
    /// They are right, but a server did not get ready with them: what was in force before is.
    Vetoed,
}

/// What `status` tells of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigStatus {
    /// Whether the files are what is applied.
    pub state: ConfigState,
    /// Since when.
    pub since: Timestamp,
    /// Why the files were refused.
    pub errors: Vec<Told>,
    /// The servers that did not get ready with them.
    pub vetoes: Vec<Veto>,
    /// What deserves a look.
    pub warnings: Vec<Told>,
    /// Keys that a variable determines.
    pub overridden: Vec<String>,
    /// Keys that need a restart of magid.
    pub needs_restart: Vec<String>,
    /// The number of the generation that is in force.
    pub generation: Option<u64>,
    /// The profile that is applied.
    pub profile: Option<String>,
    /// magid.toml.
    pub config_file: PathBuf,
    /// The folder of profiles.
    pub profiles_dir: PathBuf,
    /// The llama-server that servers run unless their profile names another one.
    pub engine: PathBuf,
}

impl ConfigStatus {
    pub(super) fn before_the_first(locations: &Locations) -> Self {
        Self {
            state: ConfigState::NoProfile,
            since: Timestamp::now(),
            errors: Vec::new(),
            vetoes: Vec::new(),
            warnings: Vec::new(),
            overridden: Vec::new(),
            needs_restart: Vec::new(),
            generation: None,
            profile: None,
            config_file: locations.config_file.clone(),
            profiles_dir: locations.profiles_dir.clone(),
            engine: PathBuf::new(),
        }
    }

    pub(super) fn refused(&mut self, verdict: &Verdict) {
        if self.state != ConfigState::Invalid {
            self.since = Timestamp::now();
        }
        self.state = ConfigState::Invalid;
        self.errors.clone_from(&verdict.errors);
        self.warnings.clone_from(&verdict.warnings);
    }

    pub(super) fn applied(&mut self, verdict: &Verdict) {
        let state = match verdict.profile {
            Some(_) => ConfigState::Applied,
            None => ConfigState::NoProfile,
        };
        if self.state != state || verdict.decision == Decision::Applied {
            self.since = Timestamp::now();
        }
        self.state = state;
        self.errors.clear();
        self.vetoes.clear();
        self.warnings.clone_from(&verdict.warnings);
        self.overridden.clone_from(&verdict.overridden);
        self.needs_restart.clone_from(&verdict.needs_restart);
        self.profile.clone_from(&verdict.profile);
    }

    pub(super) fn vetoed(&mut self, vetoes: &[Veto]) {
        self.state = ConfigState::Vetoed;
        self.since = Timestamp::now();
        self.errors.clear();
        self.vetoes = vetoes.to_vec();
    }

    /// What a server had vetoed before, read again.
    pub(super) fn vetoed_before(&mut self, veto: &generations::Veto, verdict: &Verdict) {
        let server = veto
            .by
            .as_deref()
            .and_then(|name| ServerName::new(name).ok());
        let vetoes = server.map(|server| Veto {
            server,
            reason: "vetoed-before".to_owned(),
            detail: veto.why.clone(),
            exit: None,
        });
        self.vetoed(vetoes.as_slice());
        self.since = veto.at;
        self.warnings.clone_from(&verdict.warnings);
    }

    /// Adds a warning unless it is there already. True: it was added.
    pub(super) fn warn_once(&mut self, warning: Told) -> bool {
        let is_new = !self.warnings.contains(&warning);
        if is_new {
            self.warnings.push(warning);
        }
        is_new
    }
}
