//! A disk that fails from a certain step on: full, or without a magid that would write to it.

use std::cell::Cell;
use std::io;
use std::path::Path;

use crate::files::TEMPORARY;

thread_local! {
    static STEPS_LEFT: Cell<Option<u32>> = const { Cell::new(None) };
    static FAILED: Cell<bool> = const { Cell::new(false) };
}

/// So many steps of this thread succeed, and none after them.
pub(super) fn fails_after(steps: u32) {
    STEPS_LEFT.set(Some(steps));
}

/// All steps succeed again. Whether there was one that did not.
pub(super) fn is_back() -> bool {
    STEPS_LEFT.take();
    FAILED.take()
}

/// A step that is done or not done.
pub(in crate::generations) fn step() -> io::Result<()> {
    match STEPS_LEFT.get() {
        None => Ok(()),
        Some(0) => {
            FAILED.set(true);
            Err(io::ErrorKind::StorageFull.into())
        }
        Some(left) => {
            STEPS_LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// The steps of replacing a file, which may end in the middle of writing the new one, or before the
/// new one has the name of the old.
pub(in crate::generations) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    step()?;
    let fresh = path.with_file_name(format!("{TEMPORARY}fresh"));
    step().inspect_err(|_| std::fs::write(&fresh, &content[..content.len() / 2]).unwrap())?;
    step().inspect_err(|_| std::fs::write(&fresh, content).unwrap())
}
