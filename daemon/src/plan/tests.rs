use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::lifecycle::Policy;

fn definition(name: &str) -> Definition {
    Definition {
        name: ServerName::new(name).unwrap(),
        aliases: Vec::new(),
        need: None,
        priority: 0,
        traffic: Traffic::default(),
        replace: Replace::Auto,
        autostart: true,
        launch: Launch {
            engine: PathBuf::from("/usr/bin/llama-server"),
            model: Model {
                file: Ok(PathBuf::from("/models/a.gguf")),
                ..Model::missing("a.gguf", "")
            },
            host: Ipv4Addr::LOCALHOST.into(),
            port: None,
            settings: BTreeMap::from([("ctx_size".to_owned(), "4096".to_owned())]),
            arguments: vec!["--ctx-size".into(), "4096".into()],
            env: BTreeMap::new(),
            api_key: ApiKeys::None,
        },
        policy: Policy::default(),
        defined_at: "p.toml:1".into(),
    }
}

fn one_step(old: &Definition, new: &Definition, port: Option<u16>, wanted: bool) -> Step {
    let current = Current {
        definition: old,
        wanted,
        held_back: false,
        port,
    };
    let desired = BTreeMap::from([(new.name.clone(), new.clone())]);
    let steps = plan(
        &BTreeMap::from([(old.name.clone(), current)]),
        &desired,
        |_| false,
    );
    steps.into_iter().next().unwrap()
}

#[test]
fn moving_a_definition_to_another_line_is_no_edit() {
    let old = definition("a");
    let mut new = old.clone();
    new.defined_at = "p.toml:99".into();
    assert_eq!(
        one_step(&old, &new, Some(8080), true).action,
        StepAction::Keep
    );
}

#[test]
fn each_edit_does_what_the_design_says() {
    use StepAction::{Live, Replace};
    type Edit = fn(&mut Definition);
    let table: [(Edit, StepAction, &str); 17] = [
        (|d| d.priority = 10, Live, "priority: 0 -> 10"),
        (
            |d| d.traffic.idle_timeout = Some(std::time::Duration::from_secs(900)),
            Live,
            "idle_timeout: never -> 900s",
        ),
        (
            |d| d.traffic.max_in_flight = Some(0),
            Live,
            "max_in_flight: parallel -> 0",
        ),
        (|d| d.traffic.pin = true, Live, "pin: false -> true"),
        (
            |d| d.replace = crate::plan::Replace::DrainRestart,
            Live,
            "replace: auto -> drain-restart",
        ),
        (|d| d.autostart = false, Live, "autostart: true -> false"),
        (
            |d| d.aliases.push(crate::name::Alias::new("x").unwrap()),
            Live,
            "aliases",
        ),
        (|d| d.policy.restart.max_failures = 9, Live, "restart"),
        (
            |d| d.policy.stop_timeout *= 2,
            Live,
            "stop_timeout: 10s -> 20s",
        ),
        (
            |d| d.launch.engine = "/opt/llama-server".into(),
            Replace,
            "llama_server: /usr/bin/llama-server -> /opt/llama-server",
        ),
        (
            |d| d.launch.model.file = Ok("/models/b.gguf".into()),
            Replace,
            "model: /models/a.gguf -> /models/b.gguf",
        ),
        (
            |d| d.launch.host = Ipv4Addr::UNSPECIFIED.into(),
            Replace,
            "host: 127.0.0.1 -> 0.0.0.0",
        ),
        (
            |d| d.launch.port = Some(9000),
            Replace,
            "port: 8080 -> 9000",
        ),
        (|d| d.launch.port = Some(8080), Live, "port: any -> 8080"),
        (
            |d| {
                d.launch.settings.insert("ctx_size".into(), "8192".into());
            },
            Replace,
            "ctx_size: 4096 -> 8192",
        ),
        (
            |d| d.launch.arguments.push("--jinja".into()),
            Replace,
            "args",
        ),
        (
            |d| {
                d.launch.env.insert("SECRET".into(), "x".into());
            },
            Replace,
            "env.SECRET",
        ),
    ];
    for (edit, action, reason) in table {
        let old = definition("a");
        let mut new = old.clone();
        edit(&mut new);
        let step = one_step(&old, &new, Some(8080), true);
        assert_eq!(
            (step.action, step.reasons),
            (action, vec![reason.to_owned()])
        );
    }
}

#[test]
fn a_model_that_vanished_is_no_edit() {
    let old = definition("a");
    let mut new = old.clone();
    new.launch.model.file = Err("there is no such file".into());
    assert_eq!(one_step(&old, &new, None, true).action, StepAction::Keep);
    assert_eq!(one_step(&new, &old, None, true).action, StepAction::Replace);
}

#[test]
fn a_stopped_server_stays_stopped_when_its_definition_changes() {
    let old = definition("a");
    let mut new = old.clone();
    new.launch.arguments.clear();
    assert_eq!(one_step(&old, &new, None, false).action, StepAction::Define);
}

#[test]
fn a_server_that_an_operator_stopped_is_not_started_when_it_comes_back() {
    let desired = BTreeMap::from([(ServerName::new("a").unwrap(), definition("a"))]);
    let steps = plan(&BTreeMap::new(), &desired, |_| true);
    assert_eq!(steps[0].action, StepAction::Define);
}

#[test]
fn turning_autostart_on_starts_a_server_that_nobody_stopped() {
    let mut old = definition("a");
    old.autostart = false;
    assert_eq!(
        one_step(&old, &definition("a"), None, false).action,
        StepAction::Start
    );
}

#[test]
fn a_server_that_asks_for_a_key_from_now_on_is_replaced() {
    let old = definition("a");
    let mut new = old.clone();
    new.launch.api_key = ApiKeys::Auto;
    let step = one_step(&old, &new, None, true);
    assert_eq!(step.action, StepAction::Replace);
    assert_eq!(step.reasons, ["api_key"]);
}

/// An edit of what is no part of a process.
fn live_edits() -> impl Strategy<Value = fn(&mut Definition)> {
    let edits: [fn(&mut Definition); 7] = [
        |_| {},
        |d| d.priority -= 3,
        |d| d.replace = Replace::DrainRestart,
        |d| d.aliases.push(crate::name::Alias::new("x/y").unwrap()),
        |d| d.policy.restart.max_failures += 1,
        |d| d.policy.drain_timeout *= 2,
        |d| d.defined_at = "q.toml:7".to_owned(),
    ];
    prop::sample::select(edits.to_vec())
}

proptest! {
    /// R21: whatever is said anew about servers that run, as long as it does not reach a process.
    #[test]
    fn nothing_is_replaced_for_what_reaches_no_process(edits in prop::collection::vec(live_edits(), 0..8), port in prop::option::of(1..u16::MAX)) {
        let old = definition("a");
        let mut new = old.clone();
        for edit in &edits {
            edit(&mut new);
        }
        let step = one_step(&old, &new, port, true);
        prop_assert!(!step.action.touches_a_process());
        let same = Definition { defined_at: old.defined_at.clone(), ..new.clone() } == old;
        prop_assert_eq!(step.action == StepAction::Keep, same);
        // And back again.
        let back = one_step(&new, &old, port, true);
        prop_assert_eq!(back.action, step.action);
    }

    /// R21: exactly the changed servers are replaced.
    #[test]
    fn exactly_the_changed_servers_are_replaced(names in proptest::collection::btree_set("[a-z]{1,6}", 1..20), pick: prop::sample::Index) {
        let old: BTreeMap<ServerName, Definition> = names
            .iter()
            .map(|name| (ServerName::new(name).unwrap(), definition(name)))
            .collect();
        let mut new = old.clone();
        let victim = new.keys().nth(pick.index(new.len())).unwrap().clone();
        new.get_mut(&victim).unwrap().launch.arguments.push("--jinja".into());
        let current = old
            .iter()
            .map(|(name, definition)| (name.clone(), Current { definition, wanted: true, held_back: false, port: Some(1) }))
            .collect();
        for step in plan(&current, &new, |_| false) {
            let expected = if step.server == victim { StepAction::Replace } else { StepAction::Keep };
            prop_assert_eq!(step.action, expected);
        }
    }
}
