//! Where an incarnation of a server sits.
//!
//! A server that is replaced without a gap has two incarnations for a while: the one that serves, and
//! its successor. Each has a seat of its own, and with it a task, a record on disk, a port and an
//! account of memory. What people call the server is whoever has the seat that serves: the board
//! shows that one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::name::ServerName;

/// What stands between the name and the lane. No name of a server can contain it.
const MARK: char = '~';

/// A server and one of the lanes in which it can run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat {
    /// The server.
    pub server: ServerName,
    lane: u8,
}

impl Seat {
    /// The seat that a server has unless it is being replaced.
    pub fn first(server: ServerName) -> Self {
        Self { server, lane: 0 }
    }

    /// The first seat of `server` that is not `taken`. None: it has no more.
    pub fn free(server: &ServerName, taken: impl Fn(&Self) -> bool) -> Option<Self> {
        let seats = (0..=u8::MAX).map(|lane| Self {
            server: server.clone(),
            lane,
        });
        seats.into_iter().find(|seat| !taken(seat))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, lane) = match text.split_once(MARK) {
            Some((name, lane)) => (name, lane.parse().ok().filter(|lane| *lane > 0)?),
            None => (text, 0),
        };
        let server = ServerName::new(name).ok()?;
        let seat = Self { server, lane };
        // A lane such as `01` would be a second name for the same seat.
        (seat.to_string() == text).then_some(seat)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lane {
            0 => write!(f, "{}", self.server),
            lane => write!(f, "{}{MARK}{lane}", self.server),
        }
    }
}

/// The numbers of the incarnations of one server, which all its seats draw from.
#[derive(Clone, Debug)]
pub struct Numbers(Arc<AtomicU64>);

impl Numbers {
    /// Numbers after `last`.
    pub fn after(last: u64) -> Self {
        Self(Arc::new(AtomicU64::new(last)))
    }

    /// The newest one that was drawn.
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Draws the next one.
    pub fn draw(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ServerName {
        ServerName::new(name).unwrap()
    }

    #[test]
    fn a_seat_is_read_back_as_it_was_written() {
        let first = Seat::first(name("qwen2.5"));
        let second = Seat::free(&name("qwen2.5"), |seat| *seat == first).unwrap();
        assert_eq!(first.to_string(), "qwen2.5");
        assert_eq!(second.to_string(), "qwen2.5~1");
        assert_eq!(Seat::parse("qwen2.5"), Some(first));
        assert_eq!(Seat::parse("qwen2.5~1"), Some(second));
    }

    #[test]
    fn no_text_but_its_own_leads_to_a_seat() {
        for text in ["a~0", "a~01", "a~", "~1", "a~1~2", "a~256", "a~+1", ""] {
            assert_eq!(Seat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn no_number_is_drawn_twice() {
        let numbers = Numbers::after(7);
        assert_eq!(numbers.clone().draw(), 8);
        assert_eq!(numbers.draw(), 9);
        assert_eq!(numbers.last(), 9);
    }
}
