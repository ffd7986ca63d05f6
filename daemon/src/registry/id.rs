//! Ids of models.
//!
//! An id is made once, when a file is first found, and then belongs to the file's record: no later
//! file takes it away. It is made of the file's name, so that people can guess it.

use std::path::Path;

use super::hub;
use super::model::ModelId;
use crate::name::MAX_LENGTH;

/// What a model is called whose name has no letter or digit that an id may have.
const NAMELESS: &str = "model";

/// The id for a new model at `path`, which `taken` says of no other: the name of the file; if another
/// model has it, with the folder; else with a hash of the path.
pub(super) fn new_id(path: &Path, taken: impl Fn(&str) -> bool) -> ModelId {
    let name = readable(&stem(path));
    let hash = format!("{:08x}", hash(path) & 0xffff_ffff);
    let plain = shortened(&name, "");
    let suffixes = [readable(&folder(path)), hash.clone()];
    let candidates = std::iter::once(plain)
        .chain(suffixes.iter().map(|suffix| shortened(&name, suffix)))
        .chain((2..).map(|number| shortened(&name, &format!("{hash}-{number}"))));
    candidates
        .filter(|candidate| !taken(candidate))
        .find_map(|candidate| ModelId::new(&candidate).ok())
        .expect("the numbers have no end, and each makes a valid name")
}

/// The name of a file without its ending and the number of its shard.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    without_shard(name).to_owned()
}

/// `a-00001-of-00003` is `a`.
fn without_shard(name: &str) -> &str {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let parts = name
        .rsplit_once("-of-")
        .filter(|(_, count)| digits(count))
        .and_then(|(rest, _)| rest.rsplit_once('-'));
    match parts {
        Some((name, number)) if digits(number) && !name.is_empty() => name,
        Some(_) | None => name,
    }
}

/// The folder that tells two files of one name apart: in a cache of the Hugging Face hub the
/// repository, since the folders below it are named by hashes.
fn folder(path: &Path) -> String {
    let parent = path.parent().unwrap_or(path);
    let repository = hub::repository(path).filter(|repo| repo.snapshot() == parent);
    match repository {
        Some(repository) => repository.name().to_owned(),
        None => {
            let name = parent.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        }
    }
}

/// A text with only the characters that an id may have.
fn readable(text: &str) -> String {
    let mut id = String::new();
    for character in text.chars().flat_map(char::to_lowercase) {
        match character {
            'a'..='z' | '0'..='9' | '.' | '_' => id.push(character),
            _ if !id.ends_with('-') => id.push('-'),
            _ => {}
        }
    }
    let is_edge = |c: char| !c.is_ascii_alphanumeric();
    match id.trim_matches(is_edge) {
        "" => NAMELESS.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// Both, in as many characters as a name may have; the name is cut before the suffix.
fn shortened(name: &str, suffix: &str) -> String {
    let cut = |text: &str, length: usize| text.get(..length).unwrap_or(text).to_owned();
    if suffix.is_empty() {
        return cut(name, MAX_LENGTH);
    }
    let suffix = cut(suffix, MAX_LENGTH / 2);
    let name = cut(name, MAX_LENGTH - 1 - suffix.len());
    format!("{}-{suffix}", name.trim_end_matches(['-', '.', '_']))
}

/// FNV-1a, which stays what it is: ids are kept for years.
fn hash(path: &Path) -> u64 {
    let bytes = path.as_os_str().as_encoded_bytes();
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(path: &str) -> String {
        new_id(Path::new(path), |_| false).to_string()
    }

    #[test]
    fn an_id_is_the_name_of_the_file_as_one_would_write_it() {
        for (path, expected) in [
            (
                "/m/Qwen2.5-0.5B-Instruct-Q2_K.gguf",
                "qwen2.5-0.5b-instruct-q2_k",
            ),
            ("/m/big-00001-of-00003.gguf", "big"),
            ("/m/My  model (v2).gguf", "my-model-v2"),
            ("/m/café.gguf", "caf"),
            ("/m/Ünïcode-7B.gguf", "n-code-7b"),
            ("/m/模型.gguf", "model"),
            ("/m/.gguf", "model"),
            ("/m/-x.gguf", "x"),
            ("/m/a-1-of-3.gguf", "a-1-of-3"),
            ("/m/a--b.gguf", "a-b"),
        ] {
            assert_eq!(id(path), expected, "{path}");
        }
    }

    #[test]
    fn two_files_of_one_name_are_told_apart_by_their_folder_and_then_by_a_hash() {
        let mut taken = BTreeSet::new();
        let mut next = |path: &str| {
            let id = new_id(Path::new(path), |id| taken.contains(id)).to_string();
            assert!(taken.insert(id.clone()));
            id
        };
        assert_eq!(next("/m/a/x.gguf"), "x");
        assert_eq!(next("/m/b/x.gguf"), "x-b");
        assert_eq!(next("/n/b/x.gguf"), "x-99497dc9");
    }

    #[test]
    fn in_the_cache_of_the_hub_the_repository_is_the_folder() {
        let path = "/c/models--org--Repo/snapshots/0123abcd/x.gguf";
        let id = new_id(Path::new(path), |id| id == "x");
        assert_eq!(id.as_str(), "x-org-repo");
    }

    proptest! {
        #[test]
        fn every_path_gets_an_id_that_is_valid_and_not_taken(
            path in ".{0,200}",
            taken in prop::collection::vec(".{0,200}", 0..5),
        ) {
            let mut ids = BTreeSet::new();
            for path in taken.iter().chain([&path, &path, &path, &path]) {
                let id = new_id(Path::new(path), |id| ids.contains(id));
                prop_assert!(ids.insert(id.to_string()));
            }
        }
    }
}
