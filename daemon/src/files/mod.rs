//! Files as a daemon has to treat them: read while others write them, replaced as a whole, watched.

mod atomic;
mod fingerprint;
mod hints;
mod read;
mod rewrite;
mod sample;
pub mod state;

pub use atomic::{TEMPORARY, create, replace, replace_by, sweep};
pub use fingerprint::Fingerprint;
pub use hints::{Hints, Watch, any_changed, take_over};
pub use read::{ReadError, read_stable, read_stable_bytes};
pub use rewrite::{Rewrite, RewriteError, rewrite};
pub use sample::{Fate, Sample};
