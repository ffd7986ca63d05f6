//! Generations: what was applied, numbered, and kept.
//!
//! Files are the truth, generations their history and their backup. A [`Generation`] is immutable: the
//! texts of magid.toml and of the active profile, as they were when they were applied. The
//! [`Store`] keeps them in a folder, one file each, beside more:
//!
//! | file | what |
//! |---|---|
//! | `NNNNNNNN.json` | a generation |
//! | `pending.json` | the generation that a change under way will be |
//! | `vetoed.json` | content that a server vetoed, by digest |
//! | `activation.json` | which profile is active, and by what |
//! | `replaced/` | texts of files that were in no generation when they were written back |
//!
//! A change that touches processes is written down whole before it touches any ([`Store::begin`]). What
//! makes it a generation later is that its file gets another name ([`Store::commit`]): a step that is
//! done or not done, and needs no room on the disk. So whenever magid is killed, and however full the
//! disk is, there is the former generation or the new one. The next magid finds a change that was under way
//! ([`Store::interrupted`]), forgets it and applies the files as they are.
//!
//! All functions of the store block. It has one owner.

/// The folder of generations, in the state directory.
pub const FOLDER: &str = "generations";

mod activation;
mod diff;
mod digest;
mod disk;
mod error;
mod generation;
mod masked;
mod replaced;
mod restore;
mod rotation;
mod store;
#[cfg(test)]
mod tests;
mod vetoes;

pub use activation::{Activation, ChosenBy, activated, active_profile};
pub use diff::{Side, diff};
pub use digest::{Digest, NoDigest};
pub use error::{
    Broken, GetError, KeepError, NoSuchGeneration, OpenError, RestoreError, WriteError,
};
pub use generation::{ActiveProfile, Cause, Content, FileSize, Generation, Header, StoredFile};
pub use restore::Restored;
pub use rotation::{DAILY, RECENT, WEEKLY, kept};
pub use store::{Pending, Pruned, Store, Verified, peek};
pub use vetoes::Veto;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use vetoes::Vetoes;
