//! What the memory of a server depends on, and the name of all that.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::breakdown::{Beside, Breakdown, Parts};
use super::devices::Device;
use super::estimate::estimate;
use super::fit;
use super::model_use::{Devices, GpuLayers, ModelUse};
use crate::gguf::Facts;

/// What the memory of a server depends on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// The llama-server binary.
    pub engine: PathBuf,
    /// The files of the model, the first shard first.
    pub model: Vec<PathBuf>,
    /// What the header of the model says, if it could be read.
    pub facts: Option<Arc<Facts>>,
    /// The projector that is loaded with it. It may be named in `arguments` as well.
    pub projector: Option<PathBuf>,
    /// The arguments of llama-server.
    pub arguments: Vec<String>,
    /// What is added to its environment.
    pub env: BTreeMap<String, String>,
}

/// The name of one set of [`Inputs`] with the files as they are: 32 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

/// Flags of which memory does not depend, and that may differ between incarnations of one server.
const IGNORED: [&str; 7] = [
    "-m",
    "--model",
    "-a",
    "--alias",
    "--host",
    "--port",
    "--api-key",
];

/// Inputs, with what was seen of their files.
#[derive(Clone, Debug)]
pub(super) struct Assessed {
    pub(super) inputs: Inputs,
    pub(super) key: Key,
    /// Names the engine and its environment, on which its devices depend.
    pub(super) engine: Key,
    pub(super) model_use: ModelUse,
    pub(super) beside: Beside,
    /// The llama-fit-params of the same build.
    pub(super) fit: Option<PathBuf>,
    file_bytes: u64,
}

impl Assessed {
    /// Looks at the files. Blocks.
    pub(super) fn of(inputs: Inputs) -> Self {
        let model_use = ModelUse::from_arguments(&inputs.arguments);
        let mut others: Vec<_> = inputs.projector.iter().chain(&model_use.beside).collect();
        others.sort();
        others.dedup();
        let fit = fit::program_beside(&inputs.engine);

        let mut engine = Name::default();
        engine.file(&inputs.engine);
        inputs
            .env
            .iter()
            .for_each(|(variable, value)| engine.words([variable, value]));
        let mut key = engine.clone();
        fit.iter().for_each(|program| _ = key.file(program));
        let file_bytes = inputs
            .model
            .iter()
            .fold(0, |sum, path| key.file(path).saturating_add(sum));
        let files = others
            .iter()
            .fold(0, |sum, path| key.file(path).saturating_add(sum));
        key.words(distinguishing(&inputs.arguments));

        let facts = inputs.facts.as_ref();
        Self {
            beside: Beside {
                vocabulary: facts.map(|facts| facts.shape.vocabulary),
                files,
                tensors: facts.map_or(0, |facts| tensors(facts, &inputs.model, file_bytes)),
            },
            key: key.finish(),
            engine: engine.finish(),
            model_use,
            fit,
            file_bytes,
            inputs,
        }
    }

    /// Whether it may use devices, if there are any.
    pub(super) fn may_use_devices(&self) -> bool {
        self.model_use.gpu_layers != GpuLayers::Count(0) && self.model_use.devices != Devices::None
    }

    /// What it needs by the header of its model; without one, what its files have.
    pub(super) fn estimate(&self, devices: &[Device]) -> Breakdown {
        match &self.inputs.facts {
            Some(facts) => {
                let facts = Facts {
                    tensor_bytes: self.beside.tensors,
                    ..(**facts).clone()
                };
                estimate(&facts, &self.model_use, devices)
            }
            None => Breakdown {
                host: Parts {
                    model: self.file_bytes,
                    ..Parts::default()
                },
                ..Breakdown::default()
            },
        }
    }
}

/// The bytes of all tensors. The header of a shard knows only its own.
fn tensors(facts: &Facts, files: &[PathBuf], file_bytes: u64) -> u64 {
    match files.len() {
        0 | 1 => facts.tensor_bytes,
        _ => facts.tensor_bytes.max(file_bytes),
    }
}

/// The arguments without those that are ignored, and their values.
fn distinguishing(arguments: &[String]) -> impl Iterator<Item = &String> {
    let mut is_value = false;
    arguments.iter().filter(move |argument| {
        let is_ignored = std::mem::take(&mut is_value) || {
            is_value = IGNORED.contains(&argument.as_str());
            is_value
        };
        !is_ignored
    })
}

/// A name in the making: FNV-1a with 128 bits, which will be the same in every later build of magid.
#[derive(Clone)]
struct Name(u128);

impl Default for Name {
    fn default() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Name {
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn words<'a>(&mut self, words: impl IntoIterator<Item = &'a String>) {
        words
            .into_iter()
            .for_each(|word| self.bytes(word.as_bytes()));
    }

    /// Takes in a file as it is now, and tells its size; 0 if there is none.
    fn file(&mut self, path: &Path) -> u64 {
        use std::os::unix::ffi::OsStrExt as _;
        self.bytes(path.as_os_str().as_bytes());
        let Ok(meta) = fs::metadata(path) else {
            self.bytes(b"missing");
            return 0;
        };
        // Inodes change on network file systems with every mount.
        self.bytes(format!("{} {}.{}", meta.size(), meta.mtime(), meta.mtime_nsec()).as_bytes());
        meta.size()
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // No path, argument or variable has a NUL: it ends each of them.
        for &byte in bytes.iter().chain(&[0]) {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(Self::PRIME);
        }
    }

    fn finish(&self) -> Key {
        Key(format!("{:032x}", self.0))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        match text.len() == 32 && text.bytes().all(is_digit) {
            true => Ok(Self(text)),
            false => Err("a key has 32 hexadecimal digits"),
        }
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(folder: &Path, arguments: &str) -> Inputs {
        Inputs {
            engine: folder.join("llama-server"),
            model: vec![folder.join("model.gguf")],
            arguments: arguments.split(' ').map(str::to_owned).collect(),
            ..Inputs::default()
        }
    }

    fn key(folder: &Path, arguments: &str) -> Key {
        Assessed::of(inputs(folder, arguments)).key
    }

    #[test]
    fn a_key_stands_for_the_settings_and_the_files_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let key = |arguments| key(folder.path(), arguments);
        let before = key("-c 1 --port 1");
        assert_eq!(before, key("--port 2 -c 1"));
        assert_ne!(before, key("-c 2"));
        assert_ne!(key("-c 12"), key("-c 1 2"));
        fs::write(folder.path().join("model.gguf"), "weights").unwrap();
        let written = key("-c 1");
        assert_ne!(before, written);
        fs::write(folder.path().join("llama-fit-params"), "program").unwrap();
        assert_ne!(written, key("-c 1"));
    }

    #[test]
    fn a_projector_that_is_named_twice_is_loaded_once() {
        let folder = tempfile::tempdir().unwrap();
        let projector = folder.path().join("mmproj.gguf");
        fs::write(&projector, "12345").unwrap();
        let mut inputs = inputs(folder.path(), &format!("--mmproj {}", projector.display()));
        inputs.projector = Some(projector);
        assert_eq!(Assessed::of(inputs).beside.files, 5);
    }

    #[test]
    fn a_model_without_a_header_needs_what_its_files_have() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.gguf"), "weights").unwrap();
        let assessed = Assessed::of(inputs(folder.path(), "-c 1"));
        assert_eq!(assessed.estimate(&[]).host.model, 7);
    }
}
