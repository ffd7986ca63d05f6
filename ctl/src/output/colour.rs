//! Colours of states, on a terminal that wants them.

use std::env;
use std::io::IsTerminal;

use crate::view::{Action, State};

/// A colour of the terminal's own palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Dim,
}

impl Colour {
    /// `text` in this colour.
    pub(crate) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// The colour of a state.
    pub(crate) fn of_state(state: State) -> Option<Self> {
        match state {
            State::Ready => Some(Self::Green),
            State::Starting | State::Draining | State::Stopping | State::Backoff => {
                Some(Self::Yellow)
            }
            State::Failed => Some(Self::Red),
            State::Stopped => Some(Self::Dim),
            State::Unknown => None,
        }
    }

    /// The colour of what a plan does.
    pub(crate) fn of_action(action: Action) -> Option<Self> {
        match action {
            Action::Start => Some(Self::Green),
            Action::Replace | Action::Live => Some(Self::Yellow),
            Action::Stop => Some(Self::Red),
            Action::Keep | Action::Define => Some(Self::Dim),
            Action::Unknown => None,
        }
    }
}

/// Whether `stream` shows colours: a terminal that can, of a user who did not say NO_COLOR.
pub(crate) fn wanted(stream: &impl IsTerminal) -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal() && !is_set("NO_COLOR") && !is_dumb
}
