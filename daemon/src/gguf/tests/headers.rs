//! The format: what is read, and what is refused.

use std::io::{self, Read, Seek, SeekFrom};

use super::*;

#[test]
fn versions_two_and_three_are_read_alike() {
    let three = llama();
    let two = llama().version(2);
    assert_eq!(facts(&two), facts(&three));
}

#[test]
fn other_versions_and_other_files_are_told() {
    let version = |version: u32| refusal(&llama().version(version).bytes()).to_string();
    assert_eq!(
        version(1),
        "it has version 1 of the format, and only 2 and 3 are known"
    );
    assert_eq!(
        version(4),
        "it has version 4 of the format, and only 2 and 3 are known"
    );
    assert!(version(3_u32.swap_bytes()).starts_with("its numbers are big-endian"));
    assert!(matches!(refusal(b"PK\x03\x04...."), GgufError::Foreign));
    assert!(matches!(refusal(&[0; 64]), GgufError::Foreign));
}

#[test]
fn a_file_that_is_cut_anywhere_is_incomplete() {
    let whole = llama().texts("tokenizer.ggml.tokens", &["a", "b"]);
    let header = whole.header().len();
    let bytes = whole.bytes();
    for length in 0..bytes.len() {
        let error = refusal(&bytes[..length]);
        assert!(error.may_be_incomplete(), "at {length}: {error}");
        let is_cut_in_header = matches!(error, GgufError::HeaderCut { .. });
        assert_eq!(is_cut_in_header, length < header, "at {length}: {error}");
    }
}

#[test]
fn a_cut_file_is_told_with_its_numbers() {
    let bytes = llama().bytes();
    let needed = bytes.len();
    let length = needed - 100;
    assert_eq!(
        refusal(&bytes[..length]).to_string(),
        format!(
            "it ends at byte {length}, its tensors need {needed}: it may still be being copied"
        )
    );
}

#[test]
fn a_file_that_shrinks_while_it_is_read_is_incomplete() {
    let bytes = llama().bytes();
    let error = read(io::Cursor::new(&bytes[..100]), bytes.len() as u64, "x").unwrap_err();
    assert!(
        matches!(error, GgufError::HeaderCut { length: 100 }),
        "{error}"
    );
}

#[test]
fn counts_that_lie_are_refused_at_once() {
    let with = |at: usize, count: u64| {
        let mut bytes = llama().bytes();
        bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
        refusal(&bytes)
    };
    for count in [1 << 20, 1 << 40, u64::MAX] {
        assert!(matches!(with(8, count), GgufError::TooMany { .. }));
        assert!(matches!(with(16, count), GgufError::TooMany { .. }));
        assert!(matches!(with(24, count), GgufError::TooMany { .. }));
    }
    let array = |kind, count| {
        let file = llama().array("x", kind, count, &[]);
        refusal(&file.bytes())
    };
    for kind in [0, 4, 8, 10] {
        assert!(matches!(array(kind, 1 << 29), GgufError::HeaderCut { .. }));
        assert!(matches!(array(kind, u64::MAX), GgufError::TooMany { .. }));
    }
    let text = llama().raw("x", 8, &u64::MAX.to_le_bytes());
    assert!(matches!(
        refusal(&text.bytes()),
        GgufError::HeaderCut { .. }
    ));
}

#[test]
fn what_breaks_the_format_is_refused_with_its_place() {
    let refused = |file: Gguf, expected: &str| {
        let error = refusal(&file.bytes());
        assert!(matches!(error, GgufError::Invalid { .. }), "{error}");
        assert!(error.to_string().ends_with(expected), "{error}");
    };
    let tensor = |sizes: &[u64], kind| Gguf::of("llama").tensor("a", sizes, kind);
    refused(
        llama().number("general.type", 1).number("general.type", 1),
        "two keys are the same",
    );
    refused(
        llama().tensor("output_norm.weight", &[1], F32),
        "two tensors have the same name",
    );
    refused(llama().aligned(24), "its alignment is no power of two");
    refused(
        llama().aligned(1).number("x", 0).array("y", 9, 1, &[]),
        "an array in an array",
    );
    refused(llama().raw("x", 13, &[]), "a value of an unknown kind");
    refused(
        tensor(&[1; 5], F32),
        "a tensor has more than four dimensions",
    );
    refused(
        tensor(&[100], Q4_K),
        "the row of a tensor is no multiple of its blocks",
    );
    refused(
        tensor(&[1], 4),
        "a tensor has a type that llama.cpp has given up",
    );
    let huge = |sizes: &[u64]| Gguf::of("llama").sized("a", sizes, F32, 0);
    refused(
        huge(&[u64::MAX, 2]),
        "a tensor has more elements than can be counted",
    );
    refused(huge(&[u64::MAX]), "a tensor is larger than any file");
    for offset in [0, 32, 64, u64::MAX] {
        let moved = llama().tensor("a", &[32], F32).at(offset);
        refused(moved, "a tensor is not where the one before it ends");
    }
}

#[test]
fn an_alignment_of_the_files_own_is_kept() {
    assert_eq!(facts(&llama().aligned(4096)).tensor_bytes, 34_816);
}

#[test]
fn what_is_no_text_is_read_as_far_as_it_is() {
    let name = [&7_u64.to_le_bytes()[..], b"a\xffb\x1bc\nd"].concat();
    let file = llama().raw("general.name", 8, &name);
    assert_eq!(facts(&file).name.unwrap(), "a\u{fffd}bcd");
}

#[test]
fn a_type_that_is_not_known_yet_is_counted_by_its_place() {
    let known = llama().tensor("z", &[256], F32);
    let file = llama()
        .number("general.file_type", 15)
        .sized("new.weight", &[256, 4], 99, 640)
        .tensor("z", &[256], F32);
    let read = facts(&file);
    assert_eq!(read.tensor_bytes, facts(&known).tensor_bytes + 640);
    assert_eq!(read.quantization.value, "Q4_K_M");
    let last = llama().sized("new.weight", &[256, 4], 99, 640);
    assert_eq!(
        facts(&last).tensor_bytes,
        facts(&llama()).tensor_bytes + 640
    );
}

#[test]
fn a_long_vocabulary_is_passed_over() {
    let tokens: Vec<_> = (0..20_000).map(|at| format!("token-{at}")).collect();
    let tokens: Vec<_> = tokens.iter().map(String::as_str).collect();
    let file = llama()
        .texts("tokenizer.ggml.tokens", &tokens)
        .numbers("tokenizer.ggml.scores", &vec![0; 200_000])
        .text("tokenizer.huggingface.json", &"x".repeat(1_000_000));
    let bytes = file.bytes();
    let mut source = Counted {
        inner: io::Cursor::new(&bytes),
        read: 0,
    };
    let facts = read(&mut source, bytes.len() as u64, "x").unwrap();
    assert_eq!(facts.shape.vocabulary, 20_000);
    assert!(
        source.read < bytes.len() / 2,
        "{} bytes were read",
        source.read
    );
}

#[test]
fn a_source_that_gives_little_at_a_time_is_read_alike() {
    let file = llama().text("general.name", "some name");
    let bytes = file.bytes();
    let slow = read(
        Slow(io::Cursor::new(&bytes)),
        bytes.len() as u64,
        "file.gguf",
    );
    assert_eq!(slow.unwrap(), facts(&file));
}

/// Counts what is read of a source.
struct Counted<'a> {
    inner: io::Cursor<&'a Vec<u8>>,
    read: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Gives one byte at a time.
struct Slow<'a>(io::Cursor<&'a Vec<u8>>);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

impl Seek for Slow<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}
