//! Files of state: what is read is what was written, or it is refused.

use std::fmt::Debug;

use crate::files::state::Fault;
use crate::generations::{Activation, Content, Generation, Side, Vetoes, diff};
use crate::gguf::TierRule;
use crate::memory::estimates;
use crate::registry::store;
use crate::supervisor::record::Record;
use crate::supervisor::seat::Seat;
use crate::supervisor::stopped;

/// A version that no kind has come to yet.
const NEWER: u64 = 99;

/// More than a sentence about a file needs, in bytes.
const LONGEST_SENTENCE: usize = 2_000;

/// A text as each of the files that magid keeps for the next magid.
///
/// # Panics
///
/// If a promise is broken.
pub fn state_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let server = Seat::parse("alpha").expect("it is a seat");
    let record = |text: &str| Record::parse(&server, text);
    if let Some(record) = hold(text, record, |record| record.text().ok()) {
        assert_eq!(record.server, "alpha");
    }
    hold(text, stopped::parse, |stopped| stopped::text(stopped).ok());
    hold(text, Vetoes::parse, |vetoes| vetoes.text().ok());
    hold(text, Activation::parse, |active| active.text().ok());
    hold(text, estimates::parse, |known| estimates::text(known).ok());
    let tiers = TierRule::default();
    hold(
        text,
        |text| store::parse(text, &tiers),
        |stored| {
            let mut written = Vec::new();
            store::write_to(&mut written, stored).ok()?;
            String::from_utf8(written).ok()
        },
    );
    let generation = hold(text, Generation::parse, |generation| generation.text().ok());
    if let Some(generation) = generation {
        assert_can_be_shown(&generation.content);
    }
}

/// The same file of a version that no kind has come to yet.
fn made_newer(text: &str) -> String {
    let mut file: serde_json::Value = serde_json::from_str(text).expect("it is JSON");
    file["version"] = NEWER.into();
    file.to_string()
}

/// Reads a text as one kind of file, and what was read once more after it was written.
fn hold<T: Debug + PartialEq>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, Fault>,
    write: impl FnOnce(&T) -> Option<String>,
) -> Option<T> {
    match parse(text) {
        Ok(read) => {
            let written = write(&read).expect("it can be written");
            assert_eq!(parse(&written).as_ref(), Ok(&read));
            let later = made_newer(&written);
            assert!(matches!(parse(&later), Err(Fault::Newer(NEWER))));
            Some(read)
        }
        Err(fault) => {
            assert_is_told(&fault, text);
            None
        }
    }
}

/// What differs from nothing is all of it, and no character of it does more than be shown.
fn assert_can_be_shown(content: &Content) {
    let side = |content| Side {
        label: "a generation",
        content,
    };
    let nothing = Content::default();
    let shown = diff(side(&nothing), side(content));
    let moves = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
    assert!(!shown.contains(moves), "{shown:?}");
    let lines = content.files().map(|file| file.text.lines().count());
    assert!(shown.lines().count() >= lines.sum());
}

fn assert_is_told(fault: &Fault, text: &str) {
    match fault {
        Fault::Newer(version) => assert!(text.contains(&version.to_string())),
        Fault::Broken(why) => {
            assert!(!why.is_empty() && why.len() <= LONGEST_SENTENCE);
            assert!(!why.contains(char::is_control), "{why:?}");
        }
    }
}
