//! Output and memory that a supervisor should bear.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use super::fault::Faults;
use super::log;

const FLOOD_LINE: &[u8] =
    b"0.00.000.000 I srv         flood: the quick brown fox jumps over the lazy dog again and again\n";

/// Makes the output and takes the memory that `faults` ask for.
pub(super) fn make(faults: &Faults) {
    for line in &faults.print {
        log::raw(format!("{line}\n").as_bytes());
    }
    if faults.invalid_utf8 {
        log::raw(b"0.00.000.000 I srv         bytes: \xff\xfe\x80\xc3(\n");
    }
    if faults.nuls {
        log::raw(b"0.00.000.000 I srv          nuls: \0\0here\0\n");
    }
    if let Some(bytes) = faults.long_line {
        long_line(bytes);
    }
    if let Some(bytes) = faults.allocate {
        allocate(bytes);
    }
    if faults.partial_line {
        log::raw(b"0.00.000.000 I srv       partial: this line never en");
    }
    if let Some(rate) = faults.flood {
        flood(rate);
    }
}

fn long_line(bytes: u64) {
    let chunk = [b'x'; 64 * 1024];
    let mut left = bytes as usize;
    while left > 0 {
        let now = left.min(chunk.len());
        log::raw(&chunk[..now]);
        left -= now;
    }
    log::raw(b"\n");
}

/// Writes from a thread of its own, so that a full disk or pipe stalls nothing but the flood.
fn flood(bytes_per_second: u64) {
    const PERIOD: Duration = Duration::from_millis(10);
    let chunk = FLOOD_LINE.repeat(1024);
    thread::spawn(move || {
        loop {
            let mut left = match bytes_per_second {
                0 => usize::MAX,
                rate => (rate / 100) as usize,
            };
            while left > 0 {
                let now = left.min(chunk.len());
                log::raw(&chunk[..now]);
                left -= now;
            }
            thread::sleep(PERIOD);
        }
    });
}

/// Takes memory for good. It is filled, because untouched pages cost nothing.
fn allocate(bytes: u64) {
    black_box(vec![0x55_u8; bytes as usize].leak());
}
