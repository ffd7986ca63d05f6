//! What a check found.

use crate::config::Origin;
use crate::reload::Told;

/// A thing that is checked. The order is that of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// magid.toml and the profiles can be read.
    Syntax,
    /// Each server's model is there.
    Models,
    /// Ports that are written down, and the range for the others.
    Ports,
    /// What files say of each other: the active profile exists.
    CrossFile,
    /// Ports that somebody else holds.
    PortConflicts,
    /// magid may read the models.
    ModelAccess,
    /// llama-server is there and runs.
    LlamaServer,
    /// llama-server knows the flags it is given.
    Flags,
    /// The fleet fits into memory.
    Memory,
    /// What is to be locked into memory may be.
    MemoryLock,
    /// There are enough file descriptors.
    Descriptors,
    /// magid may use its folders, and not everybody may.
    Folders,
    /// Secrets are nobody else's.
    Secrets,
    /// Nobody gets by the gateway's keys.
    Keys,
    /// No variable stands in the way.
    Environment,
    /// Processes can be held and told apart.
    Processes,
    /// What was applied before can be gone back to.
    Backups,
    /// Each ready server answers.
    Live,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// All is well.
    Ok,
    /// It could not be looked at.
    Skipped,
    /// It works, and deserves a look.
    Warning,
    /// It does not work.
    Error,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: Option<usize>,
    /// The column in characters, from 1.
    pub column: Option<usize>,
}

/// What a check found: one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How bad it is.
    pub level: Level,
    /// What is so, in one line.
    pub what: String,
    /// Why it matters or how it came about. May be empty.
    pub why: String,
    /// What to do. May be empty.
    pub help: String,
    /// Where it is written, if it is.
    pub place: Option<Place>,
}

impl Check {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Models => "models",
            Self::Ports => "ports",
            Self::CrossFile => "cross-file",
            Self::PortConflicts => "port-conflicts",
            Self::ModelAccess => "model-access",
            Self::LlamaServer => "llama-server",
            Self::Flags => "flags",
            Self::Memory => "memory",
            Self::MemoryLock => "memory-lock",
            Self::Descriptors => "descriptors",
            Self::Folders => "folders",
            Self::Secrets => "secrets",
            Self::Keys => "keys",
            Self::Environment => "environment",
            Self::Processes => "processes",
            Self::Backups => "backups",
            Self::Live => "live",
        }
    }

    /// Whether an error of it is one that a reload would refuse.
    pub fn is_of_configuration(self) -> bool {
        match self {
            Self::Syntax | Self::Models | Self::Ports | Self::CrossFile => true,
            Self::PortConflicts
            | Self::ModelAccess
            | Self::LlamaServer
            | Self::Flags
            | Self::Memory
            | Self::MemoryLock
            | Self::Descriptors
            | Self::Folders
            | Self::Secrets
            | Self::Keys
            | Self::Environment
            | Self::Processes
            | Self::Backups
            | Self::Live => false,
        }
    }
}

impl Level {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Finding {
    /// All is well.
    pub fn ok(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Level::Ok, what)
    }

    /// It could not be looked at, and why.
    pub fn skipped(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Level::Skipped, what)
    }

    /// It works, and deserves a look.
    pub fn warning(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Level::Warning, what)
    }

    /// It does not work.
    pub fn error(check: Check, what: impl Into<String>) -> Self {
        Self::new(check, Level::Error, what)
    }

    pub(super) fn new(check: Check, level: Level, what: impl Into<String>) -> Self {
        Self {
            check,
            level,
            what: what.into(),
            why: String::new(),
            help: String::new(),
            place: None,
        }
    }

    /// The same with a reason.
    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// The same with what to do.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The same at a place of the configuration.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// What the configuration's reader told.
    pub(super) fn told(check: Check, level: Level, told: &Told) -> Self {
        let place = (!told.file.is_empty()).then(|| Place {
            file: told.file.clone(),
            line: Some(told.line),
            column: Some(told.column),
        });
        Self::new(check, level, &*told.message)
            .help(&*told.help)
            .at(place)
    }
}

impl Place {
    /// A file as a whole.
    pub(super) fn file(path: &std::path::Path) -> Option<Self> {
        Some(Self {
            file: path.display().to_string(),
            line: None,
            column: None,
        })
    }

    /// `FILE:LINE`, as definitions know where they are.
    pub(super) fn of_definition(defined_at: &str) -> Option<Self> {
        let (file, line) = defined_at.rsplit_once(':')?;
        Some(Self {
            file: file.to_owned(),
            line: Some(line.parse().ok()?),
            column: None,
        })
    }
}

impl From<Origin> for Place {
    fn from(origin: Origin) -> Self {
        Self {
            file: origin.file.display().to_string(),
            line: Some(origin.line),
            column: Some(origin.column),
        }
    }
}
