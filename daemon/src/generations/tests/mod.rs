//! Tests of the store, and what the tests of its parts share.

mod kill;
pub(super) mod power;
mod store;

use jiff::Timestamp;

use super::{ActiveProfile, Content, StoredFile};

/// So many seconds after some day.
pub(super) fn at(seconds: i64) -> Timestamp {
    const SOME_DAY: i64 = 1_780_000_000;
    Timestamp::from_second(SOME_DAY.wrapping_add(seconds)).unwrap()
}

/// magid.toml and a profile with these texts.
pub(super) fn content(daemon: &str, profile: &str) -> Content {
    let file = |path: &str, text: &str| StoredFile {
        path: path.into(),
        text: text.to_owned(),
    };
    Content {
        daemon: Some(file("/etc/magi/magid.toml", daemon)),
        profile: Some(ActiveProfile {
            name: "development".to_owned(),
            file: Some(file("/etc/magi/profiles/development.toml", profile)),
        }),
    }
}
