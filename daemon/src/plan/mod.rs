//! The difference between what is defined and what should be, as steps per server.
//!
//! [`plan()`] is pure, and [`compare()`] is the one place that decides whether an edit needs a new
//! incarnation: what reaches the process (its binary, its arguments, its environment, its endpoint,
//! its model) does; everything else is applied to the server as it runs.

mod compare;
mod definition;

use std::collections::BTreeMap;

use crate::name::ServerName;

pub use compare::{Difference, compare};
pub use definition::{ApiKeys, Definition, Identity, Launch, Model, OWN_FLAGS, Replace, Traffic};

/// What is done to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepAction {
    /// Nothing.
    Keep,
    /// Its settings change; its process, if it has one, stays.
    Live,
    /// Its incarnation is drained, and a new one started.
    Replace,
    /// It is started.
    Start,
    /// It is drained, stopped and forgotten.
    Stop,
    /// It is new or changed, and stays stopped.
    Define,
}

/// How an incarnation is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The new one gets ready beside the old one, and takes over.
    BlueGreen,
    /// The old one is drained and stopped before the new one is started.
    DrainRestart,
}

impl Method {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue-green",
            Self::DrainRestart => "drain-restart",
        }
    }
}

/// What is done to one server, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The server.
    pub server: ServerName,
    /// What is done.
    pub action: StepAction,
    /// How it is replaced, if it is.
    pub method: Option<Method>,
    /// Why, each a phrase such as `ctx_size: 4096 -> 8192`.
    pub reasons: Vec<String>,
}

/// A server as it is now, as far as a plan looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Current<'a> {
    /// What it was defined as.
    pub definition: &'a Definition,
    /// Whether it should run.
    pub wanted: bool,
    /// Whether an operator stopped it, which outlives a changed definition.
    pub held_back: bool,
    /// The port of its running incarnation.
    pub port: Option<u16>,
}

/// The steps from `current` to `desired`, sorted by name: one for each server of either.
///
/// `remembered` names servers that an operator stopped before they were defined (again).
pub fn plan<'a>(
    current: &BTreeMap<ServerName, Current<'a>>,
    desired: &'a BTreeMap<ServerName, Definition>,
    remembered: impl Fn(&ServerName) -> bool,
) -> Vec<Step> {
    let mut steps: Vec<Step> = desired
        .iter()
        .map(|(name, definition)| match current.get(name) {
            Some(current) => changed(name, *current, definition),
            None => added(name, definition, remembered(name)),
        })
        .collect();
    let removed = current.keys().filter(|name| !desired.contains_key(*name));
    steps.extend(removed.map(|name| {
        step(
            name,
            StepAction::Stop,
            vec!["it is no longer defined".to_owned()],
        )
    }));
    steps.sort_by(|a, b| a.server.cmp(&b.server));
    steps
}

fn added(name: &ServerName, definition: &Definition, stopped_by_operator: bool) -> Step {
    let (action, why) = if stopped_by_operator {
        (StepAction::Define, "new; an operator stopped it before")
    } else if definition.autostart {
        (StepAction::Start, "new")
    } else {
        (StepAction::Define, "new, with autostart = false")
    };
    step(name, action, vec![why.to_owned()])
}

fn changed(name: &ServerName, current: Current<'_>, definition: &Definition) -> Step {
    let difference = compare(current.definition, definition, current.port);
    let starts_now = definition.autostart
        && !current.definition.autostart
        && !current.wanted
        && !current.held_back;
    match difference {
        Difference::None => step(name, StepAction::Keep, Vec::new()),
        Difference::Live(reasons) | Difference::Launch(reasons) if starts_now => {
            step(name, StepAction::Start, reasons)
        }
        Difference::Live(reasons) => step(name, StepAction::Live, reasons),
        Difference::Launch(reasons) if current.wanted => step(name, StepAction::Replace, reasons),
        Difference::Launch(reasons) => step(name, StepAction::Define, reasons),
    }
}

fn step(server: &ServerName, action: StepAction, reasons: Vec<String>) -> Step {
    Step {
        server: server.clone(),
        action,
        method: None,
        reasons,
    }
}

impl StepAction {
    /// Whether the process of a server is made or ended by it.
    pub fn touches_a_process(self) -> bool {
        match self {
            Self::Replace | Self::Start | Self::Stop => true,
            Self::Keep | Self::Live | Self::Define => false,
        }
    }
}

#[cfg(test)]
mod tests;
