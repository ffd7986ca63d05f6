//! The folder of generations.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::activation::{self, Activation};
use super::digest::Digest;
use super::disk;
use super::error::{Broken, GetError, NoSuchGeneration, OpenError, WriteError};
use super::generation::{Cause, Content, Generation, Header};
use super::vetoes::{self, Veto, Vetoes};
use super::{replaced, rotation};
use crate::config::MAX_FILE_SIZE;
use crate::files::state::{self, Fault};
use crate::files::{self, TEMPORARY};

/// The largest file that is read, in bytes: two texts, each byte of which may be written as six.
const LIMIT: u64 = 16 * MAX_FILE_SIZE as u64;

const PENDING: &str = "pending.json";
const VETOED: &str = "vetoed.json";
pub(super) const ACTIVATION: &str = "activation.json";

/// All generations, and what belongs to them. Its functions block.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    headers: BTreeMap<u64, Header>,
    /// Those that were broken when the store was opened, and were moved aside.
    aside: BTreeSet<u64>,
    /// What is in `pending.json`.
    pending: Option<Header>,
    vetoes: Vetoes,
    activation: Option<Activation>,
}

/// A change that is being applied, and becomes a generation or nothing.
#[derive(Debug)]
#[must_use = "it is to be committed or abandoned"]
pub struct Pending(Header);

/// What the rotation did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// What was removed, oldest first.
    pub removed: Vec<u64>,
    /// What is kept, newest first.
    pub kept: Vec<u64>,
}

/// Generations that were read back, each with what came of it.
pub type Verified = Vec<(u64, Result<(), Broken>)>;

impl Pending {
    /// The generation that it would be.
    pub fn generation(&self) -> &Header {
        &self.0
    }
}

impl Store {
    /// Opens the store in `folder`, which is made if it is not there. A file that is broken is set aside and
    /// told in the log. What an earlier magid did not bring to an end is removed, but for a change
    /// under way.
    ///
    /// # Errors
    ///
    /// A folder that cannot be read, or a file of a later version.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let names = names(folder).map_err(|reason| OpenError::Unreadable {
            folder: folder.to_path_buf(),
            reason,
        })?;
        let mut store = Self {
            folder: folder.to_path_buf(),
            headers: BTreeMap::new(),
            aside: BTreeSet::new(),
            pending: None,
            vetoes: Vetoes::default(),
            activation: None,
        };
        for name in &names {
            store.take_in(name)?;
        }
        replaced::sweep(folder);
        let text = |name: &str| folder.join(name);
        store.vetoes =
            state::read(&text(VETOED), LIMIT, vetoes::VERSION, Vetoes::parse)?.unwrap_or_default();
        store.activation = state::read(
            &text(ACTIVATION),
            LIMIT,
            activation::VERSION,
            Activation::parse,
        )?;
        let next = store.next();
        let pending = read_pending(&text(PENDING), next)?;
        store.pending = pending.map(|pending| pending.header());
        Ok(store)
    }

    /// Takes in what the folder has under `name`.
    fn take_in(&mut self, name: &str) -> Result<(), OpenError> {
        let path = self.folder.join(name);
        if name.starts_with(TEMPORARY) {
            if let Err(error) = disk::remove(&path) {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
            return Ok(());
        }
        let Some((number, ending)) = numbered(name) else {
            return Ok(());
        };
        let header = match ending {
            Ending::Generation => {
                let parse = |text: &str| parse(text, number);
                state::read(&path, LIMIT, Generation::version(), parse)?
            }
            Ending::Aside => None,
        };
        match header {
            Some(generation) => {
                self.headers.insert(number, generation.header());
            }
            None => {
                self.aside.insert(number);
            }
        }
        Ok(())
    }

    /// All generations, newest first.
    pub fn list(&self) -> impl Iterator<Item = &Header> {
        self.headers.values().rev()
    }

    /// The generation that was applied last.
    pub fn current(&self) -> Option<&Header> {
        self.list().next()
    }

    /// A generation with its texts.
    ///
    /// # Errors
    ///
    /// There is none of this number, or its file was damaged since it was written.
    pub fn get(&self, number: u64) -> Result<Generation, GetError> {
        if !self.headers.contains_key(&number) && !self.aside.contains(&number) {
            return Err(self.no_such(number).into());
        }
        Ok(self.read(number)?)
    }

    fn no_such(&self, number: u64) -> NoSuchGeneration {
        NoSuchGeneration {
            number,
            left: self.headers.keys().rev().copied().collect(),
        }
    }

    fn read(&self, number: u64) -> Result<Generation, Broken> {
        let path = self.path(number);
        let broken = |why: String| Broken {
            number,
            path: path.clone(),
            why,
        };
        let text = files::read_stable(&path, LIMIT).map_err(|error| broken(error.to_string()))?;
        parse(&text, number).map_err(|fault| match fault {
            Fault::Newer(version) => broken(format!("a later magid wrote it, version {version}")),
            Fault::Broken(why) => broken(why),
        })
    }

    /// Reads generations back, all or one, and compares the digests of their texts. Newest first.
    ///
    /// # Errors
    ///
    /// There is none of this number.
    pub fn verify(&self, number: Option<u64>) -> Result<Verified, NoSuchGeneration> {
        let known: BTreeSet<u64> = self.headers.keys().chain(&self.aside).copied().collect();
        let asked = match number {
            Some(number) if known.contains(&number) => BTreeSet::from([number]),
            Some(number) => return Err(self.no_such(number)),
            None => known,
        };
        let verify = |number: u64| (number, self.read(number).map(drop));
        Ok(asked.into_iter().rev().map(verify).collect())
    }

    /// Writes down what is about to be applied, before any process is touched. It takes the place of
    /// a change that was neither committed nor abandoned.
    ///
    /// # Errors
    ///
    /// It could not be written, or be read back. Nothing was changed.
    pub fn begin(
        &mut self,
        content: Content,
        cause: Cause,
        summary: &str,
        now: Timestamp,
    ) -> Result<Pending, WriteError> {
        let generation = Generation::new(self.next(), content, cause, summary, now);
        // If this fails in the middle, nobody may commit one change in the name of another.
        self.pending = None;
        self.put(self.folder.join(PENDING), &generation)?;
        self.pending = Some(generation.header());
        Ok(Pending(generation.header()))
    }

    /// Makes a change the current generation. All of it is on the disk already, so this needs no room there.
    /// Returns its number.
    ///
    /// # Errors
    ///
    /// The change stays pending, and the former generation is the current one.
    pub fn commit(&mut self, change: Pending) -> Result<u64, WriteError> {
        let Pending(header) = change;
        let number = header.number;
        if self.pending.as_ref() != Some(&header) {
            return Err(WriteError::Displaced(number));
        }
        let path = self.path(number);
        let renamed = disk::rename(&self.folder.join(PENDING), &path);
        renamed.map_err(|reason| WriteError::Failed { path, reason })?;
        self.pending = None;
        self.headers.insert(number, header);
        // It is the newest from here on. If the name is lost with the power, it is pending again.
        if let Err(error) = disk::sync(&self.folder) {
            tracing::warn!("cannot be sure of generation {number} after a loss of power: {error}");
        }
        Ok(number)
    }

    /// Forgets a change. One that was vetoed is to be remembered first, with [`Self::veto`].
    ///
    /// # Errors
    ///
    /// The next magid will find it interrupted.
    pub fn abandon(&mut self, change: Pending) -> Result<(), WriteError> {
        if self.pending.as_ref() != Some(&change.0) {
            return Ok(());
        }
        self.pending = None;
        let path = self.folder.join(PENDING);
        let removed = disk::remove(&path).and_then(|()| disk::sync(&self.folder));
        removed.map_err(|reason| WriteError::Failed { path, reason })
    }

    /// A change that an earlier magid was applying when it ended: processes may be of the one or the
    /// other configuration. To be abandoned before the files are applied anew.
    pub fn interrupted(&self) -> Option<Pending> {
        self.pending.clone().map(Pending)
    }

    /// Makes a change that touches no process the current generation. It takes the place of a change that
    /// was neither committed nor abandoned. Returns its number.
    ///
    /// # Errors
    ///
    /// It could not be written, or be read back; the former generation is the current one.
    pub fn record(
        &mut self,
        content: Content,
        cause: Cause,
        summary: &str,
        now: Timestamp,
    ) -> Result<u64, WriteError> {
        self.pending = None;
        let path = self.folder.join(PENDING);
        disk::remove(&path).map_err(|reason| WriteError::Failed { path, reason })?;
        let generation = Generation::new(self.next(), content, cause, summary, now);
        let number = generation.number;
        self.put(self.path(number), &generation)?;
        self.headers.insert(number, generation.header());
        Ok(number)
    }

    /// Writes a generation and reads it back. What is not the same then is removed.
    fn put(&self, path: PathBuf, generation: &Generation) -> Result<(), WriteError> {
        write(&path, generation.text())?;
        let read = files::read_stable(&path, LIMIT).ok();
        let read = read.and_then(|text| Generation::parse(&text).ok());
        if read.as_ref() == Some(generation) {
            return Ok(());
        }
        // If it stays, it is set aside when the store is opened.
        let _ = disk::remove(&path);
        Err(WriteError::Different(path))
    }

    /// Removes what the rotation does not keep, or with `dry_run` only says so. The current
    /// generation is always kept.
    ///
    /// # Errors
    ///
    /// One could not be removed; those before it were.
    pub fn prune(&mut self, dry_run: bool) -> Result<Pruned, WriteError> {
        let all: Vec<_> = self.list().map(|h| (h.number, h.applied_at)).collect();
        let kept = rotation::kept(&all);
        let numbers = self.headers.keys().copied();
        let removed: Vec<u64> = numbers.filter(|number| !kept.contains(number)).collect();
        if !dry_run && !removed.is_empty() {
            for number in &removed {
                let path = self.path(*number);
                disk::remove(&path).map_err(|reason| WriteError::Failed { path, reason })?;
                self.headers.remove(number);
            }
            // Without this some may be back after a loss of power, and are removed the next time.
            let _ = disk::sync(&self.folder);
        }
        Ok(Pruned { removed, kept })
    }

    /// Why a content is not to be tried by itself.
    pub fn vetoed(&self, digest: &Digest) -> Option<&Veto> {
        self.vetoes.of(digest)
    }

    /// Remembers that a content was refused or vetoed.
    ///
    /// # Errors
    ///
    /// It could not be written, and is remembered for as long as this magid runs.
    pub fn veto(&mut self, veto: Veto) -> Result<(), WriteError> {
        self.vetoes = self.vetoes.with(veto);
        write(&self.folder.join(VETOED), self.vetoes.text())
    }

    /// Forgets that a content was refused or vetoed, since somebody asked for it.
    ///
    /// # Errors
    ///
    /// It could not be written: the next magid would remember it.
    pub fn forget(&mut self, digest: &Digest) -> Result<(), WriteError> {
        if self.vetoes.of(digest).is_none() {
            return Ok(());
        }
        self.vetoes = self.vetoes.without(digest);
        write(&self.folder.join(VETOED), self.vetoes.text())
    }

    /// What was activated last.
    pub fn activation(&self) -> Option<&Activation> {
        self.activation.as_ref()
    }

    /// Remembers which profile is active, and by what.
    ///
    /// # Errors
    ///
    /// It could not be written: what was activated before still is.
    pub fn activate(&mut self, activation: Activation) -> Result<(), WriteError> {
        if self.activation.as_ref() == Some(&activation) {
            return Ok(());
        }
        write(&self.folder.join(ACTIVATION), activation.text())?;
        self.activation = Some(activation);
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(file_name(number))
    }

    /// The number of the next generation: none is ever given twice, not even that of a broken one.
    fn next(&self) -> u64 {
        let newest = self.headers.keys().chain(&self.aside).max();
        newest.map_or(1, |newest| newest + 1)
    }
}

fn write(path: &Path, text: serde_json::Result<String>) -> Result<(), WriteError> {
    let written = text
        .map_err(io::Error::from)
        .and_then(|text| disk::replace(path, text.as_bytes()));
    written.map_err(|reason| WriteError::Failed {
        path: path.to_path_buf(),
        reason,
    })
}

/// The generations in the state directory, newest first, each with what is wrong with it: for those who only
/// look. Blocks.
pub fn peek(state_dir: &Path) -> Vec<(u64, Result<(), String>)> {
    let folder = state_dir.join(super::FOLDER);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| match numbered(entry.file_name().to_str()?)? {
        (number, Ending::Generation) => Some(number),
        (_, Ending::Aside) => None,
    });
    let mut kept: Vec<_> = numbers
        .map(|number| (number, read_back(&folder.join(file_name(number)), number)))
        .collect();
    kept.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    kept
}

fn read_back(path: &Path, number: u64) -> Result<(), String> {
    let text = files::read_stable(path, LIMIT).map_err(|error| error.to_string())?;
    match parse(&text, number) {
        Ok(_) => Ok(()),
        Err(Fault::Newer(version)) => Err(format!("a later magid wrote it, in version {version}")),
        Err(Fault::Broken(why)) => Err(why),
    }
}

fn file_name(number: u64) -> String {
    format!("{number:08}.json")
}

/// Reads the generation `number`.
fn parse(text: &str, number: u64) -> Result<Generation, Fault> {
    let generation = Generation::parse(text)?;
    match generation.number == number {
        true => Ok(generation),
        false => Err(Fault::Broken(format!(
            "it is of generation {}",
            generation.number
        ))),
    }
}

/// Reads the change under way.
fn read_pending(path: &Path, next: u64) -> Result<Option<Generation>, OpenError> {
    let parse = |text: &str| {
        let generation = Generation::parse(text)?;
        match (next..u64::MAX).contains(&generation.number) {
            true => Ok(generation),
            false => Err(Fault::Broken(format!(
                "generation {} cannot come after {}",
                generation.number,
                next - 1
            ))),
        }
    };
    Ok(state::read(path, LIMIT, Generation::version(), parse)?)
}

/// What the name of a file says that is numbered.
#[derive(Clone, Copy)]
enum Ending {
    Generation,
    Aside,
}

fn numbered(name: &str) -> Option<(u64, Ending)> {
    let (number, ending) = name.split_once('.')?;
    let ending = match ending {
        "json" => Ending::Generation,
        state::ASIDE => Ending::Aside,
        _ => return None,
    };
    let number = number.parse().ok()?;
    // Another spelling of a number would be another file of the same generation; and after the last
    // number there is none.
    let is_ours = name.starts_with(&format!("{number:08}.")) && (1..u64::MAX).contains(&number);
    is_ours.then_some((number, ending))
}

/// The names in the folder, which is made if it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    disk::folder(folder)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        // A name that is no text is none of ours.
        names.extend(entry?.file_name().into_string());
    }
    Ok(names)
}
