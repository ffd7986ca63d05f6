//! The store as a whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::{Duration, Instant};

use super::{at, content};
use crate::generations::{
    Broken, Cause, Content, GetError, NoSuchGeneration, OpenError, Store, WriteError,
};

fn record(store: &mut Store, text: &str) -> u64 {
    let content = content("", text);
    store
        .record(content, Cause::Edit, "1 replaced", at(0))
        .unwrap()
}

fn numbers(store: &Store) -> Vec<u64> {
    store.list().map(|header| header.number).collect()
}

fn opened(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("generations")).unwrap()
}

fn file(dir: &TempDir, number: u64) -> std::path::PathBuf {
    dir.path().join(format!("generations/{number:08}.json"))
}

#[test]
fn generations_count_from_one_and_come_back_with_their_texts() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    assert_eq!(store.current(), None);
    for (number, text) in (1..).zip(["first", "second", "first"]) {
        assert_eq!(record(&mut store, text), number);
    }
    let store = opened(&dir);
    assert_eq!(numbers(&store), [3, 2, 1]);
    let [third, first] = [3, 1].map(|number| store.get(number).unwrap());
    assert_eq!(third.content, content("", "first"));
    assert_eq!(third.digest, first.digest);
    assert_eq!(store.current(), Some(&third.header()));
}

#[test]
fn files_are_for_magid_and_its_group() {
    let dir = TempDir::new().unwrap();
    record(&mut opened(&dir), "");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&file(&dir, 1)) & !0o640, 0);
    assert_eq!(mode(&dir.path().join("generations")) & !0o750, 0);
}

#[test]
fn a_change_is_no_generation_until_it_is_committed() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    record(&mut store, "first");
    let change = store.begin(content("", "second"), Cause::Activate, "", at(0));
    let change = change.unwrap();
    assert_eq!((change.generation().number, numbers(&store)), (2, vec![1]));
    store.abandon(change).unwrap();
    assert!(opened(&dir).interrupted().is_none());
    // Its number is free again: it never was a generation.
    assert_eq!(record(&mut store, "third"), 2);
}

#[test]
fn a_change_that_another_took_the_place_of_is_not_committed_in_its_name() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    let begin = |store: &mut Store, text| store.begin(content("", text), Cause::Edit, "", at(0));
    let first = begin(&mut store, "first").unwrap();
    let second = begin(&mut store, "second").unwrap();
    assert!(matches!(store.commit(first), Err(WriteError::Displaced(1))));
    store.commit(second).unwrap();
    assert_eq!(store.get(1).unwrap().content, content("", "second"));
}

#[test]
fn a_generation_that_is_not_there_says_which_are() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    record(&mut store, "");
    record(&mut store, "");
    let missing = NoSuchGeneration {
        number: 7,
        left: vec![2, 1],
    };
    assert!(matches!(store.get(7), Err(GetError::NoSuch(error)) if error == missing));
    assert_eq!(store.verify(Some(7)), Err(missing));
}

#[test]
fn a_generation_that_is_damaged_later_is_told_and_the_others_are_used() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    record(&mut store, "port = 1");
    record(&mut store, "port = 1");
    let text = fs::read_to_string(file(&dir, 1)).unwrap();
    fs::write(file(&dir, 1), text.replace("port = 1", "port = 2")).unwrap();
    let verified = store.verify(None).unwrap();
    assert_eq!(verified[0], (2, Ok(())));
    let Err(Broken { why, .. }) = &verified[1].1 else {
        panic!("it is broken");
    };
    assert!(why.contains("digest"));
    assert!(matches!(store.get(1), Err(GetError::Broken(_))));
}

#[test]
fn a_generation_that_is_broken_at_the_start_is_set_aside_and_its_number_not_given_again() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    for _ in 0..3 {
        record(&mut store, "");
    }
    fs::write(file(&dir, 3), "{\"version\": 1").unwrap();
    fs::copy(file(&dir, 1), file(&dir, 2)).unwrap();
    for _ in 0..2 {
        let store = opened(&dir);
        assert_eq!(numbers(&store), [1]);
        let broken = store.verify(None).unwrap().into_iter();
        let broken = broken.filter_map(|(number, result)| result.err().map(|_| number));
        assert_eq!(broken.collect::<Vec<_>>(), [3, 2]);
        assert!(matches!(store.get(3), Err(GetError::Broken(_))));
    }
    assert!(file(&dir, 3).with_extension("broken").exists());
    assert_eq!(record(&mut opened(&dir), ""), 4);
}

#[test]
fn a_file_of_a_later_version_is_refused_and_not_touched() {
    for name in [
        "00000001.json",
        "pending.json",
        "vetoed.json",
        "activation.json",
    ] {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("generations").join(name);
        opened(&dir);
        fs::write(&path, r#"{"version": 2}"#).unwrap();
        let opened = Store::open(path.parent().unwrap());
        assert!(matches!(opened, Err(OpenError::Newer(_))), "{name}");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"version": 2}"#);
    }
}

#[test]
fn what_others_put_into_the_folder_stays_there() {
    let dir = TempDir::new().unwrap();
    opened(&dir);
    let names = [
        "1.json",
        "00000000.json",
        "notes.txt",
        "18446744073709551615.json",
        "x.broken",
    ];
    for name in names {
        fs::write(dir.path().join("generations").join(name), "").unwrap();
    }
    let mut store = opened(&dir);
    assert_eq!(record(&mut store, ""), 1);
    assert!(
        names
            .iter()
            .all(|name| dir.path().join("generations").join(name).exists())
    );
}

#[test]
fn a_change_under_way_that_cannot_come_next_is_set_aside() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    record(&mut store, "");
    let pending = dir.path().join("generations/pending.json");
    fs::copy(file(&dir, 1), &pending).unwrap();
    assert!(opened(&dir).interrupted().is_none());
    assert!(pending.with_extension("broken").exists());
}

#[test]
fn what_the_rotation_does_not_keep_is_removed_and_only_told_on_a_dry_run() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    for _ in 0..15 {
        record(&mut store, "");
    }
    let told = store.prune(true).unwrap();
    assert_eq!(told.removed, [1, 2, 3, 4, 5]);
    assert_eq!(numbers(&store).len(), 15);
    assert_eq!(store.prune(false).unwrap(), told);
    assert_eq!(numbers(&opened(&dir)), told.kept);
    assert!(store.prune(false).unwrap().removed.is_empty());
}

/// Texts as large as those of a thousand servers.
fn large() -> Content {
    content(
        &"# nothing\n".repeat(100),
        &"[servers.x]\nport = 1\n".repeat(5_000),
    )
}

#[test]
fn backups_and_looking_at_all_of_them_take_no_time() {
    let dir = TempDir::new().unwrap();
    let mut store = opened(&dir);
    let record = |store: &mut Store| {
        let began = Instant::now();
        store.record(large(), Cause::Edit, "", at(0)).unwrap();
        began.elapsed()
    };
    // The fastest: others use the disk too.
    let recorded = (0..21).map(|_| record(&mut store)).min().unwrap();
    let began = Instant::now();
    store.verify(None).unwrap();
    let verified = began.elapsed();
    println!("a record: {recorded:?}, 21 verified: {verified:?}");
    // Without optimisation a few times as long as in a released magid.
    assert!(recorded < Duration::from_millis(50), "{recorded:?}");
    assert!(verified < Duration::from_secs(1), "{verified:?}");
}
