//! What a look at the scan paths brought.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::ScanPath;
use crate::gguf::Facts;

/// What is seen of one scan path.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The scan path.
    pub(super) root: ScanPath,
    /// There is no such folder.
    pub(super) is_missing: bool,
    /// The folders that were read.
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    /// Files and folders that could not be looked at, and why.
    pub(super) blocked: BTreeMap<PathBuf, String>,
    /// The files that may be models.
    pub(super) files: Vec<SeenFile>,
    /// The newest revision of each repository of the Hugging Face hub.
    pub(super) newest: BTreeMap<PathBuf, String>,
    /// Folders outside that symlinks to files lead to.
    pub(super) outside: Vec<PathBuf>,
    /// Whether some of it is on a file system of which no events come.
    pub(super) is_remote: bool,
}

/// A folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// How many entries it has, of any kind.
    pub(super) entries: usize,
    /// Which folder it is.
    pub(super) place: Place,
    /// When an entry last came or went.
    pub(super) modified: Timestamp,
}

/// A file that may be a model, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct SeenFile {
    /// Its path below the scan path.
    pub(super) path: PathBuf,
    /// What changes when it is written.
    pub(super) stamp: Stamp,
    /// Which file it is, whatever its path.
    pub(super) place: Place,
    /// Whether its path is a symlink.
    pub(super) is_link: bool,
    /// What its header says.
    pub(super) header: Header,
}

/// What changes when a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// In bytes.
    pub(super) size: u64,
    /// When it was last written.
    pub(super) modified: Timestamp,
}

/// Which file or folder something is, whatever its path. A hint: on network file systems it can
/// change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What the header of a file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Header {
    /// This.
    Facts(Arc<Facts>),
    /// It cannot be used.
    Broken(String),
    /// Somebody seems to be writing it still.
    Unsettled,
}

impl Look {
    /// A look that saw nothing so far.
    pub(super) fn nothing(root: &ScanPath) -> Self {
        Self {
            root: root.clone(),
            is_missing: false,
            folders: BTreeMap::new(),
            blocked: BTreeMap::new(),
            files: Vec::new(),
            newest: BTreeMap::new(),
            outside: Vec::new(),
            is_remote: false,
        }
    }

    /// A look that could not be taken.
    pub(super) fn blocked(root: &ScanPath, why: String) -> Self {
        let mut look = Self::nothing(root);
        look.blocked.insert(root.path.clone(), why);
        look.is_remote = true;
        look
    }
}
