//! Why a model is not where it was.
//!
//! Only a file that is certainly gone may be forgotten. A folder that cannot be read, or that is empty
//! though it had models, says nothing of them: their disk may not be mounted.

use std::path::{Path, PathBuf};

use super::choose::{Left, Sighting};
use super::look::Look;

/// What is said of a model whose file was deleted.
pub(super) const GONE: &str = "its file is gone";

/// What is said of a model in a folder that was a scan path.
pub(super) const OUTSIDE: &str = "it is in no scan path any more";

/// Why a model is not where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Absence {
    /// It may be there again. The model stays.
    Held {
        /// The file or folder that is not as it should be.
        place: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is gone for good, for this reason.
    Gone(String),
}

/// Why there is no model at `path`, whose file was on `device`.
pub(super) fn absence(
    path: &Path,
    device: Option<u64>,
    looks: &[Look],
    sighting: &Sighting,
) -> Absence {
    match sighting.left.get(path) {
        Some(Left::Unsettled) => return held(path, "it is being written".to_owned()),
        Some(Left::Broken(why)) => return held(path, why.clone()),
        Some(Left::Twin(twin)) => {
            return Absence::Gone(format!("it is the same file as {}", twin.display()));
        }
        Some(Left::Part(why)) => return Absence::Gone((*why).to_owned()),
        None => {}
    }
    let looks = looks
        .iter()
        .filter(|look| path.starts_with(&look.root.path));
    let mut absences = looks.map(|look| below(path, device, look));
    let first = absences.next();
    let Some(first) = first else {
        return Absence::Gone(OUTSIDE.to_owned());
    };
    absences
        .find(|absence| matches!(absence, Absence::Gone(_)))
        .unwrap_or(first)
}

/// The same for a path below the scan path of a look.
fn below(path: &Path, device: Option<u64>, look: &Look) -> Absence {
    for place in path.ancestors() {
        if let Some(why) = look.blocked.get(place) {
            return held(place, cannot_look(place, why));
        }
        if let Some(folder) = look.folders.get(place) {
            let is_mount = look.root.path == place || device != Some(folder.place.device);
            return match folder.entries {
                0 if is_mount => held(place, empty(place)),
                _ => Absence::Gone(GONE.to_owned()),
            };
        }
        if look.root.path == place {
            break;
        }
    }
    held(
        &look.root.path,
        cannot_look(&look.root.path, "the look was broken off"),
    )
}

/// What is said of a place that cannot be looked at.
pub(super) fn cannot_look(place: &Path, why: &str) -> String {
    format!("cannot look at {}: {why}", place.display())
}

fn empty(place: &Path) -> String {
    format!(
        "{} is empty, and had models: is its disk mounted? `magictl models delete` forgets them",
        place.display()
    )
}

fn held(place: &Path, reason: String) -> Absence {
    Absence::Held {
        place: place.to_path_buf(),
        reason,
    }
}
