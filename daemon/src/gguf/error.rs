//! Why a file cannot be used.

use std::io;

/// Why a file cannot be used. Each reads as the end of a sentence: "cannot use FILE: …".
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The system refuses to read it.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// The system's word.
        reason: io::Error,
    },
    /// It is something else.
    #[error("it does not begin as a GGUF file does")]
    Foreign,
    /// It was made for machines that write numbers the other way round.
    #[error("its numbers are big-endian: `gguf-convert-endian FILE little` converts it")]
    BigEndian,
    /// Its version of the format is too old or too new.
    #[error("it has version {version} of the format, and only 2 and 3 are known")]
    Version {
        /// What it says.
        version: u32,
    },
    /// It ends before its header does.
    #[error("it ends at byte {length}, within its header: it may still be being copied")]
    HeaderCut {
        /// Its length in bytes.
        length: u64,
    },
    /// It ends before its tensors do.
    #[error("it ends at byte {length}, its tensors need {needed}: it may still be being copied")]
    TensorsCut {
        /// Its length in bytes.
        length: u64,
        /// What it would have at least, in bytes.
        needed: u64,
    },
    /// It has more of something than any model has.
    #[error("at byte {at} it speaks of {count} {what}, and {most} are the most that is read")]
    TooMany {
        /// Where it says so.
        at: u64,
        /// Of what.
        what: &'static str,
        /// How many.
        count: u64,
        /// How many would be read.
        most: u64,
    },
    /// It breaks a rule of the format.
    #[error("at byte {at} it breaks the format: {what}")]
    Invalid {
        /// Where, roughly.
        at: u64,
        /// Which rule.
        what: &'static str,
    },
}

impl GgufError {
    /// Whether the file may become a good one by itself, because it is still being written.
    pub fn may_be_incomplete(&self) -> bool {
        match self {
            Self::HeaderCut { .. } | Self::TensorsCut { .. } => true,
            Self::Unreadable { .. }
            | Self::Foreign
            | Self::BigEndian
            | Self::Version { .. }
            | Self::TooMany { .. }
            | Self::Invalid { .. } => false,
        }
    }
}
