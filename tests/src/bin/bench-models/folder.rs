//! A folder of many models.

use std::fs;
use std::path::Path;
use std::process::Command;

use magi_tests::model::hollow_model;

/// How many models there are.
pub(crate) const MODELS: usize = 10_000;

/// Tokens of their vocabularies. Their headers have 10 KB.
const WORDS: usize = 260;

/// Models with a vocabulary as large ones have it, and their tokens. Their headers have 4 MB.
pub(crate) const LARGE_MODELS: usize = 100;
const LARGE_WORDS: usize = 150_000;

/// The name of a model, which is also its id.
pub(crate) fn name(number: usize) -> String {
    format!("model-{number:05}-7b-q4_k_m")
}

/// Makes the models, ten in a folder, folders in folders. They are old enough not to be taken for files
/// that somebody writes.
pub(crate) fn fill(folder: &Path) {
    for number in 0..MODELS {
        let (publisher, family) = (number / 1000, number / 10 % 100);
        let folder = folder.join(format!("publisher-{publisher}/family-{family:02}"));
        write(&folder, number, WORDS);
    }
    make_old(folder);
}

/// Makes the models with a large vocabulary.
pub(crate) fn fill_large(folder: &Path) {
    (0..LARGE_MODELS).for_each(|number| write(folder, number, LARGE_WORDS));
    make_old(folder);
}

fn write(folder: &Path, number: usize, words: usize) {
    fs::create_dir_all(folder).expect("the directory is writable");
    let path = folder.join(format!("{}.gguf", name(number)));
    hollow_model(&path, words).expect("the directory is writable");
}

fn make_old(folder: &Path) {
    let mut touch = Command::new("find");
    touch
        .arg(folder)
        .args(["-exec", "touch", "-d", "1 hour ago"]);
    let done = touch.args(["{}", "+"]).status();
    assert!(done.expect("there is `find`").success());
}
