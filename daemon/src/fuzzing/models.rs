//! The headers of model files.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use crate::gguf::{self, Facts, GgufError};

/// More than a sentence about a file needs, in bytes.
const LONGEST_SENTENCE: usize = 2_000;

/// More than any name that is kept has, in bytes.
const LONGEST_NAME: usize = 2_000;

/// A file of this content.
///
/// # Panics
///
/// If a promise is broken.
pub fn gguf(data: &[u8]) {
    match read(Cursor::new(data), data) {
        Ok(facts) => {
            let slowly =
                read(Crumbs(Cursor::new(data)), data).expect("the same bytes are the same file");
            assert_eq!(slowly, facts);
            assert_can_be_kept(&facts, data);
            assert_can_be_grouped(&facts);
        }
        Err(error) => assert_is_a_sentence(&error.to_string()),
    }
}

fn read(source: impl Read + Seek, data: &[u8]) -> Result<Facts, GgufError> {
    gguf::read(source, data.len() as u64, "a-00001-of-00002.gguf")
}

fn assert_can_be_kept(facts: &Facts, data: &[u8]) {
    assert!(facts.tensor_bytes <= data.len() as u64);
    for name in facts.name.iter().chain([&facts.architecture]) {
        assert!(name.len() <= LONGEST_NAME && !name.contains(char::is_control));
    }
    let share = facts.shape.sliding_window.map_or(0, |(_, share)| share);
    assert!(share <= 1000);
    let text = serde_json::to_string(facts).expect("facts are JSON");
    let again: Facts = serde_json::from_str(&text).expect("what was written can be read");
    assert_eq!(again, *facts);
}

fn assert_can_be_grouped(facts: &Facts) {
    let facts = Arc::new(facts.clone());
    let files = [
        ("a-00001-of-00002.gguf", &facts),
        ("a-00002-of-00002.gguf", &facts),
        ("mmproj-a.gguf", &facts),
    ];
    let grouped = gguf::group(&files);
    for model in &grouped.models {
        assert!(!model.files.is_empty() && model.projector.is_none());
    }
    for problem in &grouped.problems {
        assert_is_a_sentence(&problem.reason.to_string());
    }
}

fn assert_is_a_sentence(text: &str) {
    assert!(!text.is_empty() && text.len() <= LONGEST_SENTENCE);
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// A source that gives a few bytes at a time.
struct Crumbs<'a>(Cursor<&'a [u8]>);

impl Read for Crumbs<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(7);
        self.0.read(&mut buffer[..most])
    }
}

impl Seek for Crumbs<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
