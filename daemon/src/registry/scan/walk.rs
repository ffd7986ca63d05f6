//! Walking through the folders of a scan path.

use std::collections::{HashSet, VecDeque};
use std::fs::{self, DirEntry, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use nix::sys::statfs::{self, FsType};

use super::super::hub;
use super::super::look::{Folder, Header, Look, Place, SeenFile, Stamp};
use crate::config::ScanPath;

/// How deep folders are searched.
const DEPTH: usize = 16;

/// How many files and folders are looked at under one scan path.
const ENTRIES: usize = 200_000;

/// How many files that may be models are taken from one scan path.
const FILES: usize = 50_000;

/// How many folders outside are remembered.
const OUTSIDE: usize = 256;

/// A revision's name has 40 characters.
const REVISION: u64 = 256;

/// Looks at everything below a scan path; no file is opened. `progress` grows meanwhile. Blocks.
pub(in super::super) fn walk(root: &ScanPath, progress: &AtomicU64) -> Look {
    let mut walk = Walk {
        look: Look::nothing(root),
        seen: HashSet::new(),
        links: VecDeque::new(),
        budget: ENTRIES,
        progress,
    };
    if let Err(error) = fs::metadata(&root.path)
        && error.kind() == io::ErrorKind::NotFound
    {
        walk.look.is_missing = true;
        walk.look.is_remote = root.written_down;
        walk.block(&root.path, "there is no such folder");
        return walk.look;
    }
    walk.folder(&root.path, DEPTH);
    // Symlinks come last: of two paths to a folder the one without a symlink counts.
    while let Some((folder, depth)) = walk.links.pop_front() {
        walk.folder(&folder, depth);
    }
    walk.find_remote();
    walk.look
}

/// What changes when the file is written.
pub(super) fn stamp(meta: &Metadata) -> Stamp {
    Stamp {
        size: meta.size(),
        modified: modified(meta),
    }
}

struct Walk<'a> {
    look: Look,
    /// The folders that were read. A loop of symlinks leads to one of them.
    seen: HashSet<Place>,
    /// Symlinks to folders that are not followed yet.
    links: VecDeque<(PathBuf, usize)>,
    budget: usize,
    progress: &'a AtomicU64,
}

impl Walk<'_> {
    fn folder(&mut self, path: &Path, depth: usize) {
        let read = fs::metadata(path).and_then(|meta| Ok((meta, fs::read_dir(path)?)));
        let (meta, entries) = match read {
            Ok(read) => read,
            Err(error) => return self.block(path, &told(&error)),
        };
        if !self.seen.insert(place(&meta)) {
            return;
        }
        if depth == 0 {
            return self.block(path, "it is too deep in folders");
        }
        let Some(entries) = self.entries(path, entries) else {
            return;
        };
        let folder = Folder {
            entries: entries.len(),
            place: place(&meta),
            modified: modified(&meta),
        };
        self.look.folders.insert(path.to_path_buf(), folder);
        self.revisions(path);
        for entry in entries {
            self.entry(path, &entry, depth);
        }
    }

    /// The entries of a folder, in an order that is always the same.
    fn entries(&mut self, path: &Path, entries: fs::ReadDir) -> Option<Vec<DirEntry>> {
        let mut all = Vec::new();
        for entry in entries {
            match entry {
                _ if self.budget == 0 => {
                    self.block(path, "there are too many files to look at all of them");
                    return None;
                }
                Ok(entry) => all.push(entry),
                Err(error) => {
                    self.block(path, &told(&error));
                    return None;
                }
            }
            self.budget -= 1;
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        all.sort_by_key(DirEntry::file_name);
        Some(all)
    }

    fn entry(&mut self, folder: &Path, entry: &DirEntry, depth: usize) {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || is_blobs(folder, &name) {
            return;
        }
        let path = entry.path();
        let may_be_model = path.extension().is_some_and(|ending| ending == "gguf");
        let kind = match entry.file_type() {
            Ok(kind) => kind,
            Err(error) => return self.block(&path, &told(&error)),
        };
        if !(kind.is_dir() || kind.is_symlink() || may_be_model) {
            return;
        }
        if path.to_str().is_none() {
            return self.block(&path, "its name is not valid UTF-8: rename it");
        }
        if kind.is_dir() {
            return self.folder(&path, depth - 1);
        }
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => self.links.push_back((path, depth - 1)),
            Ok(meta) if may_be_model => self.file(path, &meta, kind.is_symlink()),
            Ok(_) => {}
            Err(error) => self.block(&path, &told(&error)),
        }
    }

    fn file(&mut self, path: PathBuf, meta: &Metadata, is_link: bool) {
        if !meta.is_file() {
            return self.block(&path, "it is not a regular file");
        }
        if self.look.files.len() == FILES {
            let folder = path.parent().unwrap_or(&path);
            return self.block(folder, "there are too many models to look at all of them");
        }
        if is_link && self.look.outside.len() < OUTSIDE && hub::repository(&path).is_none() {
            let target = fs::canonicalize(&path).ok();
            let folder = target.and_then(|target| target.parent().map(Path::to_path_buf));
            self.look.outside.extend(folder);
        }
        self.look.files.push(SeenFile {
            path,
            stamp: stamp(meta),
            place: place(meta),
            is_link,
            header: Header::Unsettled,
        });
    }

    /// Remembers the newest revision, if the folder is a repository of the hub.
    fn revisions(&mut self, folder: &Path) {
        if !is_repository(folder) {
            return;
        }
        let mut revision = String::new();
        let file = fs::File::open(folder.join("refs/main"));
        let read = file.and_then(|file| file.take(REVISION).read_to_string(&mut revision));
        if read.is_ok() {
            let revision = revision.trim().to_owned();
            self.look.newest.insert(folder.to_path_buf(), revision);
        }
    }

    fn block(&mut self, path: &Path, why: &str) {
        self.look.blocked.insert(path.to_path_buf(), why.to_owned());
    }

    /// Finds out whether any of the folders is on a network file system.
    fn find_remote(&mut self) {
        let mut devices = HashSet::new();
        let mut folders = self.look.folders.iter();
        let is_remote =
            folders.any(|(path, folder)| devices.insert(folder.place.device) && is_remote(path));
        self.look.is_remote |= is_remote;
    }
}

fn is_repository(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str());
    name.is_some_and(hub::is_repository)
}

/// Whether an entry holds the files of a repository by names that say nothing.
fn is_blobs(folder: &Path, name: &std::ffi::OsStr) -> bool {
    name == hub::BLOBS && is_repository(folder)
}

/// Whether the folder is on a file system whose changes elsewhere cause no events here.
fn is_remote(folder: &Path) -> bool {
    /// From linux/magic.h, as far as nix does not name them.
    const CIFS: FsType = FsType(0xff53_4d42);
    const SMB2: FsType = FsType(0xfe53_4d42);
    const CEPH: FsType = FsType(0x00c3_6400);
    const PLAN_9: FsType = FsType(0x0102_1997);
    const REMOTE: [FsType; 8] = [
        statfs::NFS_SUPER_MAGIC,
        statfs::SMB_SUPER_MAGIC,
        statfs::FUSE_SUPER_MAGIC,
        statfs::AFS_SUPER_MAGIC,
        CIFS,
        SMB2,
        CEPH,
        PLAN_9,
    ];
    statfs::statfs(folder).is_ok_and(|info| REMOTE.contains(&info.filesystem_type()))
}

fn place(meta: &Metadata) -> Place {
    Place {
        device: meta.dev(),
        inode: meta.ino(),
    }
}

/// A time that no calendar has counts as the beginning of time.
fn modified(meta: &Metadata) -> Timestamp {
    let nanoseconds = i32::try_from(meta.mtime_nsec()).unwrap_or(0);
    Timestamp::new(meta.mtime(), nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is a symlink that leads nowhere".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied: magid's user must be able to read it".to_owned()
        }
        _ => error.to_string(),
    }
}
