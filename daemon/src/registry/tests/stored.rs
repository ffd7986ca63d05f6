//! The file of the registry.

use super::super::look::Stamp;
use super::super::scan::KnownFile;
use super::super::store::{self, Stored};
use super::super::testing::{facts, model};
use super::*;

const EARLIER: &str = include_str!("../../../../fuzz/corpus/state_files/registry.json");

fn parse(text: &str) -> Result<Stored, crate::files::state::Fault> {
    store::parse(text, &TierRule::default())
}

fn text(stored: &Stored) -> String {
    let mut text = Vec::new();
    store::write_to(&mut text, stored).unwrap();
    String::from_utf8(text).unwrap()
}

/// Should this fail, the file needs a new version, and this magid has to read both.
#[test]
fn a_file_that_an_earlier_magid_wrote_is_read() {
    let stored = parse(EARLIER).unwrap();
    let ids: Vec<_> = stored.models.keys().map(ModelId::as_str).collect();
    assert_eq!(ids, ["big", "small"]);
    assert_eq!(stored.models["big"].files.len(), 2);
    assert_eq!(stored.models["big"].tier(), crate::gguf::Tier::Powerful);
    assert!(!stored.models["small"].enabled());
    assert_eq!(unavailable(&stored.models["small"]), "its file is gone");
    assert_eq!(stored.files.len(), 3);
    assert_eq!(parse(&text(&stored)), Ok(stored));
}

#[test]
fn nothing_is_written_and_read_back_as_nothing() {
    assert_eq!(parse(&text(&Stored::default())), Ok(Stored::default()));
}

#[test]
fn a_file_with_a_problem_and_one_whose_facts_are_not_those_of_its_model_are_kept() {
    let mut stored = Stored::default();
    let known = model("a", "/m/a.gguf");
    stored.models.insert(known.id.clone(), Arc::new(known));
    let file = |header| KnownFile {
        stamp: Stamp {
            size: 1,
            modified: jiff::Timestamp::UNIX_EPOCH,
        },
        device: 1,
        header,
    };
    let files = [
        ("/m/a.gguf", file(Ok(Arc::new(facts(7))))),
        ("/m/b.gguf", file(Err("it is nothing".to_owned()))),
    ];
    stored.files = Arc::new(files.map(|(path, file)| (path.into(), file)).into());
    assert_eq!(parse(&text(&stored)), Ok(stored));
}

#[test]
fn what_contradicts_itself_is_broken() {
    for (from, to) in [
        (r#""id": "small""#, r#""id": "other""#),
        (r#""id": "small""#, r#""id": "../small""#),
        (r#""id": "small""#, r#""id": "big""#),
        (
            "\"path\": \"/models/small.gguf\"",
            "\"path\": \"/models/Big-00001-of-00002.gguf\"",
        ),
        (r#","problem":"it does not begin as a GGUF file does""#, ""),
    ] {
        let text = EARLIER.replacen(from, to, 1);
        assert_ne!(text, EARLIER);
        assert!(parse(&text).is_err(), "{to}");
    }
}
