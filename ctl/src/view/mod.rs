//! What `-o json` prints, documented in `docs/json.md`: the shapes of [`magi_view`], which the gateway
//! answers too, and here those that only magictl has. Tables are made from the same values.

mod check;
mod fleet;
mod generation;
mod key;
mod list;
mod reload;

pub(crate) use check::{Finding, Level, Port, Ports, Report};
pub(crate) use fleet::{Change, Servers, Status, Version};
pub(crate) use generation::{Diff, Generation, Generations, Pruned, Restored, Verified};
pub(crate) use key::{ClientKey, ClientKeys, CreatedKey};
pub(crate) use list::{Events, Models, Profiles, Requests};
pub(crate) use magi_view::{
    Action, Config, ConfigState, Diagnostic, Event, Exit, Explanation, FinishedRequest, LogLine,
    Logs, Model, Profile, ProfileText, Scan, Server, State, Step, Verdict, Veto,
};
pub(crate) use reload::Reload;
