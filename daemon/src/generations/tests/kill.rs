//! A magid that is killed at each step, and a disk that is full from each step on.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{at, content, power};
use crate::generations::{
    Activation, Cause, ChosenBy, Digest, Pending, Store, Verified, Veto, WriteError,
};

type Operation = fn(&mut Store) -> Result<(), WriteError>;

/// What a magid does with its store, one operation after the other. Each changes at most one thing that
/// can be seen.
const OPERATIONS: &[Operation] = &[
    |store| record(store, "first"),
    |store| record(store, "second"),
    |store| begin(store, "third").map(drop),
    |store| {
        let pending = store.interrupted().expect("it was begun");
        store.commit(pending).map(drop)
    },
    |store| begin(store, "vetoed").map(drop),
    |store| veto(store, "vetoed"),
    |store| {
        let pending = store.interrupted().expect("it was begun");
        store.abandon(pending)
    },
    |store| activate(store, "production"),
    |store| activate(store, "development"),
    |store| store.forget(&Digest::of(&content("", "vetoed"))),
    |store| (0..12).try_for_each(|_| record(store, "many")),
    |store| store.prune(false).map(drop),
    |store| record(store, "last"),
];

fn begin(store: &mut Store, text: &str) -> Result<Pending, WriteError> {
    store.begin(content("", text), Cause::Edit, "", at(0))
}

fn record(store: &mut Store, text: &str) -> Result<(), WriteError> {
    let content = content("", text);
    store.record(content, Cause::Reload, "", at(0)).map(drop)
}

fn veto(store: &mut Store, text: &str) -> Result<(), WriteError> {
    store.veto(Veto {
        digest: Digest::of(&content("", text)),
        by: Some("qwen".to_owned()),
        why: "it did not get ready".to_owned(),
        at: at(0),
    })
}

fn activate(store: &mut Store, profile: &str) -> Result<(), WriteError> {
    store.activate(Activation {
        profile: profile.to_owned(),
        by: ChosenBy::Activation,
        variable: None,
        key: None,
    })
}

/// What can be seen of a store: whether the content is vetoed, what is active, what is current.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    vetoed: bool,
    active: Option<String>,
    current: Option<u64>,
    generations: usize,
}

fn seen(store: &Store) -> Seen {
    Seen {
        vetoed: store.vetoed(&Digest::of(&content("", "vetoed"))).is_some(),
        active: store.activation().map(|active| active.profile.clone()),
        current: store.current().map(|current| current.number),
        generations: store.list().count(),
    }
}

/// What is seen is what was there before the operation, or after it, or, if the operation has several
/// steps of its own, in between.
fn assert_between(now: &Seen, before: &Seen, after: &Seen) {
    assert!(now.vetoed == before.vetoed || now.vetoed == after.vetoed);
    assert!(now.active == before.active || now.active == after.active);
    assert!(
        (before.current..=after.current).contains(&now.current),
        "{now:?}"
    );
    let (few, many) = match before.generations < after.generations {
        true => (before.generations, after.generations),
        false => (after.generations, before.generations),
    };
    assert!((few..=many).contains(&now.generations), "{now:?}");
}

fn assert_sound(verified: Verified) {
    assert!(
        verified.iter().all(|(_, result)| result.is_ok()),
        "{verified:?}"
    );
}

/// Opens a copy of the store in `folder`.
fn copy(folder: &Path) -> (TempDir, Store) {
    let dir = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// Calls `check` with what each operation leaves behind on a disk that fails from each of its steps on,
/// and with what was to be seen before and after it.
fn for_each_step(check: impl Fn(TempDir, Store, &Seen, &Seen)) {
    let dir = TempDir::new().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    let mut failures = 0;
    for operation in OPERATIONS {
        let (_kept, mut done) = copy(dir.path());
        operation(&mut done).unwrap();
        let [before, after] = [&store, &done].map(seen);
        for steps in 0.. {
            let (dir, mut store) = copy(dir.path());
            power::fails_after(steps);
            let _ = operation(&mut store);
            if !power::is_back() {
                break;
            }
            failures += 1;
            check(dir, store, &before, &after);
        }
        operation(&mut store).unwrap();
    }
    assert!(failures > 4 * OPERATIONS.len(), "{failures}");
}

#[test]
fn whatever_step_magid_is_killed_at_there_is_one_of_both_generations() {
    for_each_step(|dir, store, before, after| {
        drop(store);
        let mut store = Store::open(dir.path()).unwrap();
        assert_between(&seen(&store), before, after);
        assert_sound(store.verify(None).unwrap());
        let names = std::fs::read_dir(dir.path()).unwrap();
        let mut names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(names.all(|name| name.ends_with(".json")));
        // A change under way may become a generation still, or not.
        let newest = store.current().map_or(0, |current| current.number);
        if let Some(change) = store.interrupted() {
            let (_dir, mut other) = copy(dir.path());
            other.abandon(other.interrupted().unwrap()).unwrap();
            assert_eq!(other.current().map_or(0, |current| current.number), newest);
            assert_eq!(store.commit(change).unwrap(), newest + 1);
        }
        record(&mut store, "next").unwrap();
        assert_sound(store.verify(None).unwrap());
    });
}

#[test]
fn whatever_step_the_disk_is_full_at_nothing_is_lost_and_all_goes_on_once_it_is_not() {
    for_each_step(|dir, mut store, before, after| {
        assert_between(&seen(&store), before, after);
        record(&mut store, "next").unwrap();
        let known = seen(&store);
        drop(store);
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(
            store.interrupted().map(|change| change.generation().number),
            None
        );
        let now = seen(&store);
        // Only what could not be written may be forgotten.
        assert_eq!(
            (now.current, now.generations),
            (known.current, known.generations)
        );
        assert_between(
            &Seen {
                current: before.current,
                generations: before.generations,
                ..now
            },
            before,
            after,
        );
        assert_sound(store.verify(None).unwrap());
    });
}

/// Where the store is that `a_magid_that_never_ends` writes to.
const FOLDER: &str = "MAGI_TEST_GENERATIONS";

#[test]
#[ignore = "it is the process that the next test kills"]
fn a_magid_that_never_ends() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let mut store = Store::open(Path::new(&folder)).unwrap();
    loop {
        println!("one more");
        record(&mut store, "text").unwrap();
        veto(&mut store, "vetoed").unwrap();
        store.prune(false).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_a_store_that_can_be_used() {
    let dir = TempDir::new().unwrap();
    let mut newest = 0;
    for lines in 1..=12 {
        let mut magid = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("generations::tests::kill::a_magid_that_never_ends")
            .env(FOLDER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(magid.stdout.take().unwrap());
        let told = out
            .lines()
            .map(Result::unwrap)
            .filter(|line| line.ends_with("one more"));
        assert_eq!(told.take(lines).count(), lines);
        magid.kill().unwrap();
        magid.wait().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_sound(store.verify(None).unwrap());
        let current = store.current().map_or(0, |current| current.number);
        assert!(current + 1 >= newest + lines as u64);
        newest = current;
    }
}
