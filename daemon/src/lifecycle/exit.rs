//! How an incarnation ended, and what class of end that is.

use std::fmt;

/// What the kernel says about the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this status.
    Code(i32),
    /// A signal of this number ended it.
    Signal(i32),
    /// It is gone, but it was not our child, so nobody can say how.
    Unknown,
}

/// The class of an end: a stable code, by which the lifecycle decides what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitClass {
    /// It was asked to end, and did.
    Requested,
    /// llama-server does not accept its arguments.
    BadArguments,
    /// The model's file is not there, or cannot be opened.
    ModelMissing,
    /// The model's file is there, and llama-server cannot load it.
    ModelInvalid,
    /// Its address is taken, or cannot be bound.
    Bind,
    /// The host's memory ran out.
    OutOfMemoryHost,
    /// A device's memory ran out.
    OutOfMemoryDevice,
    /// An assertion failed.
    Assert,
    /// The build needs instructions that this CPU lacks.
    IllegalInstruction,
    /// A signal that nobody here sent.
    Signal,
    /// It made no progress towards ready for `max_startup_time`.
    StartupTimeout,
    /// It was ready, and stopped moving.
    Hung,
    /// The model's file was overwritten while it was served.
    ModelOverwritten,
    /// It needs more memory than there is for all servers together.
    DoesNotFit,
    /// It never ran: starting the process failed.
    SpawnFailed,
    /// None of the others.
    Unknown,
}

/// Whether the same thing can be expected to work when it is simply tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// It may: restart with backoff.
    Transient,
    /// Not before something else changes, which may happen unseen: `failed` at once, with the
    /// half-open try.
    Blocked,
    /// Not before the model's file, the binary, the definition or the memory that there is changes:
    /// `failed` at once, and no try until then.
    Permanent,
}

impl ExitClass {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Requested,
        Self::BadArguments,
        Self::ModelMissing,
        Self::ModelInvalid,
        Self::Bind,
        Self::OutOfMemoryHost,
        Self::OutOfMemoryDevice,
        Self::Assert,
        Self::IllegalInstruction,
        Self::Signal,
        Self::StartupTimeout,
        Self::Hung,
        Self::ModelOverwritten,
        Self::DoesNotFit,
        Self::SpawnFailed,
        Self::Unknown,
    ];

    /// The stable code, as the API shows it.
    pub fn code(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::BadArguments => "bad-arguments",
            Self::ModelMissing => "model-missing",
            Self::ModelInvalid => "model-invalid",
            Self::Bind => "bind",
            Self::OutOfMemoryHost => "out-of-memory-host",
            Self::OutOfMemoryDevice => "out-of-memory-device",
            Self::Assert => "assert",
            Self::IllegalInstruction => "illegal-instruction",
            Self::Signal => "signal",
            Self::StartupTimeout => "startup-timeout",
            Self::Hung => "hung",
            Self::ModelOverwritten => "model-overwritten",
            Self::DoesNotFit => "does-not-fit",
            Self::SpawnFailed => "spawn-failed",
            Self::Unknown => "unknown",
        }
    }

    /// What a failure of this class promises for a second try.
    pub fn prospect(self) -> Prospect {
        match self {
            Self::BadArguments
            | Self::ModelMissing
            | Self::ModelInvalid
            | Self::IllegalInstruction
            | Self::ModelOverwritten
            | Self::DoesNotFit => Prospect::Permanent,
            // Whoever holds the port may let go of it, and nothing tells us when.
            Self::Bind => Prospect::Blocked,
            Self::Requested
            | Self::OutOfMemoryHost
            | Self::OutOfMemoryDevice
            | Self::Assert
            | Self::Signal
            | Self::StartupTimeout
            | Self::Hung
            | Self::SpawnFailed
            | Self::Unknown => Prospect::Transient,
        }
    }
}

impl fmt::Display for ExitClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The end of an incarnation, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The class.
    pub class: ExitClass,
    /// What the kernel said. Absent if no process ever ran.
    pub status: Option<ExitStatus>,
    /// One sentence for people: the line of output or the number that decided the class.
    pub detail: String,
    /// What failed, for a process that never ran: "executing", "opening the log file", ….
    pub exec_stage: Option<String>,
    /// What a second try can be expected to bring.
    pub prospect: Prospect,
    /// The last lines of its output, at most [`Exit::LAST_LINES`].
    pub last_lines: Vec<String>,
}

impl Exit {
    /// How many lines of output a failed start carries.
    pub const LAST_LINES: usize = 20;

    /// An end of `class` without a process or output behind it.
    pub fn without_process(class: ExitClass, detail: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            detail: detail.into(),
            exec_stage: None,
            prospect: class.prospect(),
            last_lines: Vec::new(),
        }
    }

    /// Whether it ended by itself with status 0. One that was ended because it failed may well obey
    /// with that status; that is no success.
    pub fn is_success(&self) -> bool {
        let by_itself = match self.class {
            ExitClass::Requested
            | ExitClass::StartupTimeout
            | ExitClass::Hung
            | ExitClass::ModelOverwritten
            | ExitClass::DoesNotFit => false,
            ExitClass::BadArguments
            | ExitClass::ModelMissing
            | ExitClass::ModelInvalid
            | ExitClass::Bind
            | ExitClass::OutOfMemoryHost
            | ExitClass::OutOfMemoryDevice
            | ExitClass::Assert
            | ExitClass::IllegalInstruction
            | ExitClass::Signal
            | ExitClass::SpawnFailed
            | ExitClass::Unknown => true,
        };
        by_itself && self.status == Some(ExitStatus::Code(0))
    }
}
