//! Does an edit need a new incarnation?

use std::collections::BTreeSet;
use std::fmt::Display;
use std::time::Duration;

use super::definition::{Definition, Launch, Model, Traffic};
use crate::lifecycle::Policy;

/// What changed between two definitions of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing that means anything.
    None,
    /// Only what is applied to a running server; the reasons.
    Live(Vec<String>),
    /// Something that reaches the process; the reasons, those of live changes included.
    Launch(Vec<String>),
}

/// Compares two definitions of one server. `port` is that of its running incarnation: a fixed port
/// that it already has, or one that is no longer fixed, is no reason to end it.
///
/// Each structure is taken apart completely, so that a new field cannot be forgotten here.
pub fn compare(old: &Definition, new: &Definition, port: Option<u16>) -> Difference {
    let Definition {
        name: _,
        aliases,
        autostart,
        need: _,
        priority,
        traffic,
        replace,
        launch,
        policy,
        defined_at: _,
    } = new;
    let mut reasons = launch_reasons(&old.launch, launch, port);
    let needs_launch = !reasons.is_empty();
    if old.aliases != *aliases {
        reasons.push("aliases".to_owned());
    }
    note(&mut reasons, "autostart", old.autostart, *autostart);
    note(&mut reasons, "priority", old.priority, *priority);
    note(&mut reasons, "replace", old.replace, *replace);
    traffic_reasons(&mut reasons, &old.traffic, traffic);
    policy_reasons(&mut reasons, &old.policy, policy);
    // The port changed without a need for a new incarnation.
    if !needs_launch && old.launch.port != launch.port {
        reasons.push(format!(
            "port: {} -> {}",
            port_text(old.launch.port),
            port_text(launch.port)
        ));
    }
    match (needs_launch, reasons.is_empty()) {
        (true, _) => Difference::Launch(reasons),
        (false, false) => Difference::Live(reasons),
        (false, true) => Difference::None,
    }
}

fn launch_reasons(old: &Launch, new: &Launch, running_on: Option<u16>) -> Vec<String> {
    let Launch {
        engine,
        model,
        host,
        port,
        settings,
        arguments,
        env,
        api_key,
    } = new;
    let mut reasons = Vec::new();
    note(
        &mut reasons,
        "llama_server",
        old.engine.display().to_string(),
        engine.display().to_string(),
    );
    model_reasons(&mut reasons, &old.model, model);
    note(&mut reasons, "host", old.host, *host);
    // Without a running incarnation there is nothing that could stay where it is.
    let moves = port.is_some() && *port != running_on.or(old.port);
    if moves {
        reasons.push(format!(
            "port: {} -> {}",
            port_text(running_on.or(old.port)),
            port_text(*port)
        ));
    }
    let keys: BTreeSet<&String> = old.settings.keys().chain(settings.keys()).collect();
    for key in keys {
        let (was, is) = (old.settings.get(key), settings.get(key));
        note(&mut reasons, key, value_text(was), value_text(is));
    }
    // A changed key is told by its name; what is left is `args`.
    if old.arguments != *arguments && old.settings == *settings {
        reasons.push("args".to_owned());
    }
    // Values of the environment may be secrets: only the names are told.
    let names: BTreeSet<&String> = old.env.keys().chain(env.keys()).collect();
    for name in names {
        if old.env.get(name) != env.get(name) {
            reasons.push(format!("env.{name}"));
        }
    }
    if old.api_key != *api_key {
        reasons.push("api_key".to_owned());
    }
    reasons
}

/// A model that cannot be found any more is no edit: a server that runs goes on running.
fn model_reasons(reasons: &mut Vec<String>, old: &Model, new: &Model) {
    match (&old.file, &new.file) {
        (Ok(was), Ok(is)) if was != is => {
            reasons.push(format!("model: {} -> {}", was.display(), is.display()));
        }
        (Ok(_), Ok(is)) => {
            let files = old.identity.zip(new.identity);
            if files.is_some_and(|(was, is)| was.was_replaced_by(&is)) {
                reasons.push(format!("model: another file at {}", is.display()));
            }
        }
        (Err(_), Ok(is)) => reasons.push(format!("model: found at {}", is.display())),
        (Ok(_) | Err(_), Err(_)) => {
            note(reasons, "model", old.written.clone(), new.written.clone());
        }
    }
}

fn traffic_reasons(reasons: &mut Vec<String>, old: &Traffic, new: &Traffic) {
    let Traffic {
        idle_timeout,
        pin,
        swap_after,
        max_in_flight,
        max_queue,
        max_wait,
    } = new;
    let never = |timeout: &Option<Duration>| match timeout {
        Some(timeout) => format!("{timeout:?}"),
        None => "never".to_owned(),
    };
    let slots = |count: &Option<u32>| match count {
        Some(count) => count.to_string(),
        None => "parallel".to_owned(),
    };
    let (was, is) = (never(&old.idle_timeout), never(idle_timeout));
    note(reasons, "idle_timeout", was, is);
    note(reasons, "pin", old.pin, *pin);
    let (was, is) = (never(&old.swap_after), never(swap_after));
    note(reasons, "swap_after", was, is);
    let (was, is) = (slots(&old.max_in_flight), slots(max_in_flight));
    note(reasons, "max_in_flight", was, is);
    note(reasons, "max_queue", old.max_queue, *max_queue);
    let (was, is) = (format!("{:?}", old.max_wait), format!("{max_wait:?}"));
    note(reasons, "max_wait", was, is);
}

fn policy_reasons(reasons: &mut Vec<String>, old: &Policy, new: &Policy) {
    let Policy {
        restart,
        max_startup_time,
        drain_timeout,
        stop_timeout,
    } = new;
    if old.restart != *restart {
        reasons.push("restart".to_owned());
    }
    let durations = [
        ("max_startup_time", old.max_startup_time, *max_startup_time),
        ("drain_timeout", old.drain_timeout, *drain_timeout),
        ("stop_timeout", old.stop_timeout, *stop_timeout),
    ];
    for (key, was, is) in durations {
        note(reasons, key, format!("{was:?}"), format!("{is:?}"));
    }
}

fn note<T: PartialEq + Display>(reasons: &mut Vec<String>, key: &str, was: T, is: T) {
    if was != is {
        reasons.push(format!("{key}: {was} -> {is}"));
    }
}

fn value_text(value: Option<&String>) -> String {
    value.map_or_else(|| "unset".to_owned(), Clone::clone)
}

fn port_text(port: Option<u16>) -> String {
    port.map_or_else(|| "any".to_owned(), |port| port.to_string())
}
