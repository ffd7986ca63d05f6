//! Remembers which gateways are attached, for the next magid: if this one is killed, they go on carrying
//! requests to its servers, and have to be asked before any of those is ended.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::gateways::Gateways;
use crate::blocking::blocking;
use crate::files;
use crate::files::state::{self, NewerVersion};

const VERSION: u32 = 1;
const LIMIT: u64 = 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Attached {
    version: u32,
    /// The ids of the gateways.
    gateways: BTreeSet<String>,
}

/// Reads which gateways were attached. A file that cannot be understood is set aside, told in the log,
/// and counts as none. Blocks.
///
/// # Errors
///
/// A file of a later version.
pub fn read(path: &Path) -> Result<BTreeSet<String>, NewerVersion> {
    let attached = state::read(path, LIMIT, VERSION, |text| {
        state::parse::<Attached>(text, VERSION)
    })?;
    Ok(attached
        .map(|attached| attached.gateways)
        .unwrap_or_default())
}

/// Keeps the file up to date, for as long as magid runs. `former` is what it says now.
pub async fn keep(path: PathBuf, gateways: Gateways, former: BTreeSet<String>) {
    let mut talk = gateways.talk();
    let mut written = former;
    loop {
        talk.mark_unchanged();
        let attached: BTreeSet<String> = gateways
            .list()
            .iter()
            .map(|gateway| gateway.id.clone())
            .collect();
        if attached != written {
            let (path, now) = (path.clone(), attached.clone());
            if let Ok(Err(error)) = blocking(move || write(&path, now)).await {
                tracing::warn!("cannot remember which gateways are attached: {error}");
            }
            written = attached;
        }
        if talk.changed().await.is_err() {
            return;
        }
    }
}

fn write(path: &Path, gateways: BTreeSet<String>) -> io::Result<()> {
    let attached = Attached {
        version: VERSION,
        gateways,
    };
    files::replace(path, serde_json::to_string(&attached)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_attached_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateways.json");
        assert_eq!(read(&path).unwrap(), BTreeSet::new());
        let gateways = BTreeSet::from(["1".to_owned(), "2".to_owned()]);
        write(&path, gateways.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), gateways);
    }
}
