//! Ports for one fleet, so that tests that run at the same time do not meet.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::ops::RangeInclusive;

/// Below the ports that Linux gives out by itself.
const FIRST: u16 = 20_000;
const RANGES: u16 = 120;

/// How many ports a fleet has.
pub(super) const PER_FLEET: u16 = 100;

/// A range of ports that no other fleet of any test has, for as long as it lives.
pub(super) struct Ports {
    /// The ports, both ends included.
    pub range: RangeInclusive<u16>,
    _claim: File,
}

impl Ports {
    /// Claims the first range that is free.
    pub(super) fn claim() -> Self {
        let folder = env::temp_dir().join("magi-test-ports");
        fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
        for index in 0..RANGES {
            let first = FIRST + index * PER_FLEET;
            let file = File::create(folder.join(first.to_string()))
                .expect("the folder for temporary files is writable");
            if file.try_lock().is_err() {
                continue;
            }
            let range = first..=first + PER_FLEET - 1;
            if range.clone().all(is_free) {
                return Self {
                    range,
                    _claim: file,
                };
            }
        }
        panic!("cannot find {PER_FLEET} free ports in a row from {FIRST} on");
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
