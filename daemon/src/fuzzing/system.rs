//! What processes say of themselves: to us over HTTP, and to the kernel.

use crate::process::probe::{Props, Slot, read_answer};
use crate::process::procfs::{Stat, variable};
use crate::process::sockets::Socket;

/// More than a sentence about an answer needs, in bytes.
const LONGEST_SENTENCE: usize = 2_000;

/// The body of an answer to `/slots` or `/props`.
///
/// # Panics
///
/// If a promise is broken.
pub fn answers(data: &[u8]) {
    match read_answer::<Vec<Slot>>(data) {
        Ok(slots) => assert!(slots.len() <= data.len()),
        Err(error) => assert_is_a_sentence(&error.to_string()),
    }
    match read_answer::<Props>(data) {
        Ok(props) => assert!(props.build_info.len() <= data.len()),
        Err(error) => assert_is_a_sentence(&error.to_string()),
    }
}

fn assert_is_a_sentence(text: &str) {
    assert!(!text.is_empty() && text.len() <= LONGEST_SENTENCE);
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// Lines of `/proc`, in which processes may choose their names and environments.
///
/// # Panics
///
/// If a promise is broken.
pub fn proc(data: &[u8]) {
    if let Some(stat) = Stat::parse(data) {
        assert!(
            !stat.comm.to_string().contains(char::is_control),
            "{:?}",
            stat.comm
        );
        let _ = stat.is_live();
    }
    assert_a_name_shifts_nothing(data);
    if let Some(value) = variable(data, "MAGI") {
        assert!(!value.contains(&0));
    }
    let text = String::from_utf8_lossy(data);
    if let Some(socket) = Socket::parse(&text) {
        assert!(text.contains(&socket.inode.to_string()));
    }
}

fn assert_a_name_shifts_nothing(name: &[u8]) {
    let rest = b") S 7 40 40 0 -1 0 11 0 12 0 13 14 0 0 20 0 3 0 999 1 2 3\n";
    let line = [b"42 (", name, rest].concat();
    let stat = Stat::parse(&line).expect("it is a line of the kernel's");
    assert_eq!((stat.pid, stat.ppid, stat.start_time), (42, 7, 999));
}
