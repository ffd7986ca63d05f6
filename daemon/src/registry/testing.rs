//! Models for tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::model::{Availability, Model, ModelId, Overrides, Snapshot};
use crate::config::ScanPath;
use crate::gguf::{Basis, Facts, Guess, Kind, Role, Shape, Tier};

/// What the header of a small model says, whose number of parameters is `parameters`.
pub(super) fn facts(parameters: u64) -> Facts {
    Facts {
        role: Role::Model,
        architecture: "llama".to_owned(),
        name: None,
        kind: guess(Kind::Chat),
        quantization: guess("Q8_0".to_owned()),
        milli_bits: 8_500,
        parameters,
        thinking: guess(false),
        context_length: Some(4096),
        tensor_bytes: parameters,
        shape: Shape::default(),
        split: None,
    }
}

fn guess<T>(value: T) -> Guess<T> {
    Guess {
        value,
        basis: Basis::Metadata,
    }
}

/// A model that is there.
pub(super) fn model(id: &str, path: &str) -> Model {
    Model {
        id: ModelId::new(id).unwrap(),
        path: path.into(),
        files: vec![path.into()],
        mmproj: None,
        size_bytes: 1000,
        modified: Timestamp::UNIX_EPOCH,
        facts: Arc::new(facts(1000)),
        guessed_tier: Tier::Fast,
        overrides: Overrides::default(),
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: None,
        availability: Availability::Available,
    }
}

/// A registry of these models, found under `/m`.
pub(super) fn snapshot<const N: usize>(models: [Model; N]) -> Snapshot {
    let models = models.map(|model| (model.id.clone(), Arc::new(model)));
    Snapshot {
        models: models.into_iter().collect(),
        scan_paths: vec![PathBuf::from("/m")],
        ..Snapshot::default()
    }
}

/// The bytes of a GGUF file of this architecture, with one tensor of so many numbers.
pub(super) fn gguf(architecture: &str, parameters: u64, numbers: &[(&str, u32)]) -> Vec<u8> {
    let string = |text: &str| {
        let length = (text.len() as u64).to_le_bytes();
        [&length[..], text.as_bytes()].concat()
    };
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend((numbers.len() as u64 + 1).to_le_bytes());
    bytes.extend(string("general.architecture"));
    bytes.extend(8_u32.to_le_bytes());
    bytes.extend(string(architecture));
    for (key, value) in numbers {
        bytes.extend(string(key));
        bytes.extend(4_u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(string("output.weight"));
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(parameters.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    let data = bytes.len().next_multiple_of(32) as u64 + 4 * parameters;
    bytes.resize(data as usize, 0);
    bytes
}

/// Writes a model with so many parameters, as a file that was there for long.
pub(super) fn write(path: &Path, parameters: u64) {
    write_bytes(path, &gguf("llama", parameters, &[]));
}

/// Writes a file as one that was there for long.
pub(super) fn write_bytes(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    age(path);
}

/// Makes a file one that was written long ago.
pub(super) fn age(path: &Path) {
    use nix::sys::{stat, time::TimeSpec};
    let long_ago = TimeSpec::new(1_700_000_000, 0);
    let follow = stat::UtimensatFlags::FollowSymlink;
    stat::utimensat(nix::fcntl::AT_FDCWD, path, &long_ago, &long_ago, follow).unwrap();
}

/// A scan path that somebody wrote down.
pub(super) fn scan_path(path: &Path) -> ScanPath {
    ScanPath {
        path: path.to_path_buf(),
        written_down: true,
    }
}
