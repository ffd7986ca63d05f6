//! The file of the registry.
//!
//! `models` is for people: what there is, what a user said of it, and when it was seen. What magid
//! itself needs follows, a line each: `facts` of the models, and of all `files` what their headers said
//! when they had that size and time; a file that still has them is not opened again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::look::Stamp;
use super::merge::{Models, guessed_tier};
use super::model::{Availability, Model, ModelId, Overrides};
use super::scan::KnownFile;
use crate::files::state::{self, Fault, NewerVersion};
use crate::gguf::{Facts, Kind, Tier, TierRule};

const VERSION: u32 = 1;

/// More than the files of as many models take as are ever looked at.
const LIMIT: u64 = 256 * 1024 * 1024;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stored {
    /// When the last scan ended that brought anything.
    pub(super) scanned_at: Option<Timestamp>,
    /// The models.
    pub(super) models: Models,
    /// The models that a user deleted.
    pub(super) excluded: BTreeSet<PathBuf>,
    /// What the headers of files said.
    pub(super) files: Arc<HashMap<PathBuf, KnownFile>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelText<'a> {
    id: &'a ModelId,
    path: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<&'a [PathBuf]>,
    mmproj: Option<&'a Path>,
    size_bytes: u64,
    modified: Timestamp,
    quantization: &'a str,
    tier: Tier,
    thinking: bool,
    enabled: bool,
    kind: Kind,
    architecture: &'a str,
    context_length: Option<u32>,
    parameters: u64,
    overrides: &'a Overrides,
    first_seen: Timestamp,
    last_seen: Option<Timestamp>,
    unavailable: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whole {
    scanned_at: Option<Timestamp>,
    models: Vec<ModelRead>,
    excluded: BTreeSet<PathBuf>,
    facts: HashMap<ModelId, Facts>,
    files: HashMap<PathBuf, FileText>,
}

/// What counts of a model's text; the rest follows from it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelRead {
    id: ModelId,
    path: PathBuf,
    files: Option<Vec<PathBuf>>,
    mmproj: Option<PathBuf>,
    size_bytes: u64,
    modified: Timestamp,
    overrides: Overrides,
    first_seen: Timestamp,
    last_seen: Option<Timestamp>,
    unavailable: Option<String>,
}

/// A file. With neither facts nor a problem it is the only file of a model, and has its facts.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileText {
    size: u64,
    modified: Timestamp,
    device: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Reads the file. None: there is none, or it was set aside. Blocks.
///
/// # Errors
///
/// A later magid wrote it.
pub(super) fn read(path: &Path, tiers: &TierRule) -> Result<Option<Stored>, NewerVersion> {
    state::read(path, LIMIT, VERSION, |text| parse(text, tiers))
}

/// Reads the file as it is: nothing is set aside. For those who only look. Blocks.
pub(super) fn peek(path: &Path, tiers: &TierRule) -> Option<Stored> {
    let text = crate::files::read_stable(path, LIMIT).ok()?;
    parse(&text, tiers).ok()
}

/// Writes the file as a whole. Blocks.
///
/// # Errors
///
/// Whatever the system says; what was there stays.
pub(super) fn write(path: &Path, stored: &Stored) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    crate::files::replace_by(path, |out| write_to(out, stored))
}

/// Writes the text of the file, which is too long to be made in memory first.
pub(crate) fn write_to(out: &mut dyn Write, stored: &Stored) -> io::Result<()> {
    let scanned_at = serde_json::to_string(&stored.scanned_at)?;
    write!(
        out,
        "{{\n  \"version\": {VERSION},\n  \"scannedAt\": {scanned_at},\n"
    )?;
    write!(out, "  \"models\": [")?;
    for (number, model) in stored.models.values().enumerate() {
        out.write_all(if number == 0 { b"" } else { b"," })?;
        let text = serde_json::to_string_pretty(&ModelText::of(model, stored.scanned_at))?;
        for line in text.lines() {
            write!(out, "\n    {line}")?;
        }
    }
    let excluded = serde_json::to_string(&stored.excluded)?;
    write!(out, "\n  ],\n  \"excluded\": {excluded}")?;
    let models = || stored.models.values();
    section(
        out,
        "facts",
        models().map(|model| (&model.id, &*model.facts)),
    )?;
    let of_models: HashMap<_, _> = models().map(|model| (&model.path, &model.facts)).collect();
    let mut files: Vec<_> = stored.files.iter().collect();
    files.sort_by_key(|(path, _)| path.as_os_str());
    let files = files.into_iter().map(|(path, file)| {
        let facts = of_models.get(path).copied();
        (path, FileText::of(file, facts))
    });
    section(out, "files", files)?;
    out.write_all(b"\n}\n")
}

/// Writes one more member of the object: an object with a line for each entry.
fn section<K: Serialize, V: Serialize>(
    out: &mut dyn Write,
    name: &str,
    entries: impl Iterator<Item = (K, V)>,
) -> io::Result<()> {
    write!(out, ",\n  \"{name}\": {{")?;
    for (number, (key, value)) in entries.enumerate() {
        let before: &[u8] = if number == 0 { b"\n    " } else { b",\n    " };
        out.write_all(before)?;
        serde_json::to_writer(&mut *out, &key)?;
        out.write_all(b": ")?;
        serde_json::to_writer(&mut *out, &value)?;
    }
    out.write_all(b"\n  }")
}

/// Reads the text of the file.
pub(crate) fn parse(text: &str, tiers: &TierRule) -> Result<Stored, Fault> {
    let mut whole: Whole = state::parse(text, VERSION)?;
    let mut models = Models::new();
    let mut paths = HashSet::new();
    for model in whole.models {
        let Some(facts) = whole.facts.remove(&model.id) else {
            return Err(Fault::Broken(format!("`facts` lacks {}", model.id)));
        };
        if !paths.insert(model.path.clone()) {
            return Err(Fault::Broken(format!("{} has another's path", model.id)));
        }
        let model = model.with(facts, tiers);
        models.insert(model.id.clone(), Arc::new(model));
    }
    let of_models: HashMap<_, _> = models
        .values()
        .map(|model| (&model.path, &model.facts))
        .collect();
    let files = whole.files.into_iter().map(|(path, file)| {
        let facts = of_models.get(&path).copied();
        let known = file.known(facts)?;
        Ok((path, known))
    });
    let files = files.collect::<Result<_, Fault>>()?;
    Ok(Stored {
        scanned_at: whole.scanned_at,
        excluded: whole.excluded,
        files: Arc::new(files),
        models,
    })
}

impl<'a> ModelText<'a> {
    fn of(model: &'a Model, scanned_at: Option<Timestamp>) -> Self {
        Self {
            id: &model.id,
            path: &model.path,
            files: (model.files.len() > 1).then_some(&model.files),
            mmproj: model.mmproj.as_deref(),
            size_bytes: model.size_bytes,
            modified: model.modified,
            quantization: &model.facts.quantization.value,
            tier: model.tier(),
            thinking: model.thinking(),
            enabled: model.enabled(),
            kind: model.facts.kind.value,
            architecture: &model.facts.architecture,
            context_length: model.facts.context_length,
            parameters: model.facts.parameters,
            overrides: &model.overrides,
            first_seen: model.first_seen,
            last_seen: model.last_seen.or(scanned_at),
            unavailable: match &model.availability {
                Availability::Available => None,
                Availability::Unavailable(why) => Some(why),
            },
        }
    }
}

impl ModelRead {
    fn with(self, facts: Facts, tiers: &TierRule) -> Model {
        let availability = self.unavailable;
        Model {
            guessed_tier: guessed_tier(&facts, tiers),
            facts: Arc::new(facts),
            id: self.id,
            files: match self.files {
                Some(files) if files.len() > 1 => files,
                Some(_) | None => vec![self.path.clone()],
            },
            path: self.path,
            mmproj: self.mmproj,
            size_bytes: self.size_bytes,
            modified: self.modified,
            overrides: self.overrides,
            first_seen: self.first_seen,
            last_seen: self.last_seen.filter(|_| availability.is_some()),
            availability: availability.map_or(Availability::Available, Availability::Unavailable),
        }
    }
}

impl FileText {
    fn of(file: &KnownFile, of_model: Option<&Arc<Facts>>) -> Self {
        let facts = file.header.as_ref().ok();
        Self {
            size: file.stamp.size,
            modified: file.stamp.modified,
            device: file.device,
            facts: facts
                .filter(|_| facts != of_model)
                .map(|facts| (**facts).clone()),
            problem: file.header.as_ref().err().cloned(),
        }
    }

    fn known(self, of_model: Option<&Arc<Facts>>) -> Result<KnownFile, Fault> {
        let header = match (self.facts, self.problem, of_model) {
            (Some(facts), None, _) => Ok(Arc::new(facts)),
            (None, Some(problem), _) => Err(problem),
            (None, None, Some(facts)) => Ok(facts.clone()),
            (None, None, None) | (Some(_), Some(_), _) => {
                return Err(Fault::Broken("a file has facts or a problem".to_owned()));
            }
        };
        let stamp = Stamp {
            size: self.size,
            modified: self.modified,
        };
        Ok(KnownFile {
            stamp,
            device: self.device,
            header,
        })
    }
}
