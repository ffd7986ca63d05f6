//! Narration of what servers do while a command waits for them.
//!
//! On a terminal every server that is on its way has a line with a spinner, and a bar where the load
//! is known. Elsewhere each change of state is one line.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::text::printable;
use super::{narrate, words};
use crate::view::{Change, Server, State};

const SPINNER_INTERVAL: Duration = Duration::from_millis(100);

/// Tells on stderr how servers change.
pub(crate) struct Narrator {
    /// What was last told of each server.
    told: BTreeMap<String, (State, String)>,
    /// Absent where stderr is no terminal.
    bars: Option<Bars>,
}

impl Narrator {
    /// One that has told nothing yet.
    pub(crate) fn new() -> Self {
        let bars = io::stderr().is_terminal().then(|| Bars {
            all: MultiProgress::new(),
            by_server: BTreeMap::new(),
        });
        Self {
            told: BTreeMap::new(),
            bars,
        }
    }

    /// Takes note of how a server is at first. Only one that is on its way is worth a word: the
    /// command may have been quicker than the watch.
    pub(crate) fn begin(&mut self, change: &Change) {
        match &change.server {
            Some(server) if !server.state.is_passing() => {
                let state = (server.state, server.reason.clone());
                self.told.insert(server.name.clone(), state);
            }
            Some(_) | None => self.change(change),
        }
    }

    /// Tells a change.
    pub(crate) fn change(&mut self, change: &Change) {
        if let Some(server) = &change.server {
            self.server(server);
        }
        if let Some(name) = &change.removed {
            self.told.remove(name);
            self.say(name, &format!("{}: gone", printable(name)));
        }
    }

    fn server(&mut self, server: &Server) {
        let state = (server.state, server.reason.clone());
        let is_news = self.told.insert(server.name.clone(), state.clone()) != Some(state);
        if let Some(bars) = &mut self.bars
            && server.state.is_passing()
        {
            bars.show(server);
        } else if is_news {
            self.say(&server.name, &words::news(server, Timestamp::now()));
        }
    }

    /// A line that stays, in place of the server's spinner.
    fn say(&mut self, name: &str, line: &str) {
        match &mut self.bars {
            Some(bars) => bars.settle(name, line),
            None => narrate(format_args!("{line}")),
        }
    }
}

struct Bars {
    all: MultiProgress,
    by_server: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, server: &Server) {
        let bar = self
            .by_server
            .entry(server.name.clone())
            .or_insert_with(|| {
                let bar = self.all.add(ProgressBar::new(100));
                bar.enable_steady_tick(SPINNER_INTERVAL);
                bar
            });
        bar.set_style(style(server.load_percent.is_some()));
        bar.set_position(u64::from(server.load_percent.unwrap_or(0).min(100)));
        bar.set_message(words::news(server, Timestamp::now()));
    }

    fn settle(&mut self, name: &str, line: &str) {
        if let Some(bar) = self.by_server.remove(name) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        // Nobody to tell is no reason to stop waiting.
        let _ = self.all.println(line);
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // The results come next, on lines of their own.
        for bar in self.by_server.values() {
            bar.finish_and_clear();
        }
    }
}

fn style(has_bar: bool) -> ProgressStyle {
    let template = match has_bar {
        true => "{spinner} {bar:20} {wide_msg}",
        false => "{spinner} {wide_msg}",
    };
    ProgressStyle::with_template(template).expect("the template is a constant that parses")
}
