//! Files of state: what is read is what was written, or it is refused.

use crate::files::state::Fault;
use crate::supervisor::record::Record;
use crate::supervisor::seat::Seat;
use crate::supervisor::stopped;

/// More than a sentence about a file needs, in bytes.
const LONGEST_SENTENCE: usize = 2_000;

/// A text as a record of a server, and as the memory of those that were stopped.
///
/// # Panics
///
/// If a promise is broken.
pub fn state_files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let server = Seat::parse("alpha").expect("it is a seat");
    match Record::parse(&server, text) {
        Ok(record) => {
            assert_eq!(record.server, "alpha");
            let written = record.text().expect("it can be written");
            assert_eq!(Record::parse(&server, &written), Ok(record));
            assert!(later(&written, |text| Record::parse(&server, text)));
        }
        Err(fault) => assert_is_told(&fault, text),
    }
    match stopped::parse(text) {
        Ok(stopped) => {
            let written = stopped::text(&stopped).expect("it can be written");
            assert_eq!(stopped::parse(&written), Ok(stopped));
            assert!(later(&written, stopped::parse));
        }
        Err(fault) => assert_is_told(&fault, text),
    }
}

/// Whether the same text of a later version is refused.
fn later<T>(written: &str, parse: impl FnOnce(&str) -> Result<T, Fault>) -> bool {
    let text = written.replacen("\"version\": 1", "\"version\": 2", 1);
    matches!(parse(&text), Err(Fault::Newer(2)))
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
