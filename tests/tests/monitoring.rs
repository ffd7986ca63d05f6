//! The dashboard and the rules for Prometheus, against what a gateway tells: a metric that gets another
//! name fails here rather than leaving a graph empty.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use magi_tests::harness::{Call, Fleet, Gateway, Server, chat_with, program, skipped};
use magi_tests::page;
use serde_json::Value;

/// A file of the folder packaging.
fn packaging(file: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.with_file_name("packaging").join(file)
}

fn read(file: &str) -> String {
    let path = packaging(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a gateway tells whose server has answered.
async fn scrape() -> String {
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let gateway = Gateway::start(&fleet).await;
    fleet.ready("alpha").await;
    chat_with(&gateway.url(), "alpha").await.unwrap();
    let scrape = Call::get("/metrics").answer(&gateway.url()).await.unwrap();
    scrape.expect(200).text
}

/// The names of the series of a scrape: those of its families, with what their kind adds.
fn names(scrape: &str) -> BTreeSet<String> {
    let families = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "));
    families
        .filter_map(|family| family.split_once(' '))
        .flat_map(|(name, kind)| {
            let endings: &[&str] = match kind {
                "counter" => &["_total"],
                "histogram" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            endings.iter().map(move |ending| format!("{name}{ending}"))
        })
        .collect()
}

/// The metrics of magi that a text speaks of.
fn spoken_of(text: &str) -> BTreeSet<String> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_inside(c));
    let ours = words.filter(|word| word.starts_with("magi_") || word.starts_with("llamacpp:"));
    ours.map(str::to_owned).collect()
}

/// The panels of the dashboard.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("grafana/magi.json")).unwrap();
    dashboard["panels"].as_array().unwrap().clone()
}

/// The expressions of the dashboard, with something in the place of the interval.
fn dashboard_expressions() -> Vec<String> {
    let mut expressions = Vec::new();
    for panel in panels() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            expressions.push(expression.replace("$__rate_interval", "1m"));
        }
    }
    assert!(expressions.len() > 20, "{expressions:?}");
    expressions
}

#[tokio::test]
async fn every_metric_of_the_dashboard_and_the_rules_is_one_that_is_told() {
    let scrape = scrape().await;
    let told = names(&scrape);
    for file in [
        "grafana/magi.json",
        "prometheus/magi.rules.yml",
        "prometheus/magi.rules.test.yml",
    ] {
        let spoken_of = spoken_of(&read(file));
        assert!(spoken_of.len() > 8, "{file}: {spoken_of:?}");
        let unknown: Vec<_> = spoken_of.difference(&told).collect();
        assert!(
            unknown.is_empty(),
            "{file} has {unknown:?}, which is not in {told:?}"
        );
    }
}

#[test]
fn every_panel_is_its_own_and_of_the_chosen_gateways() {
    let ids: BTreeSet<_> = panels().iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels().len());
    for expression in dashboard_expressions() {
        let scoped = expression.contains(r#"job="$job", instance=~"$instance""#);
        assert!(scoped, "{expression} is of everybody");
    }
}

#[test]
fn the_page_tells_of_every_alert_and_of_what_is_recorded() {
    let (rules, page) = (
        read("prometheus/magi.rules.yml"),
        read("../docs/monitoring.md"),
    );
    let of = |line: &str, what: &str| line.trim_start().strip_prefix(what).map(str::to_owned);
    let named = rules
        .lines()
        .filter_map(|l| of(l, "- alert: ").or_else(|| of(l, "- record: ")));
    let untold: Vec<_> = named
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(untold.is_empty(), "{untold:?}");
}

/// Runs promtool, which says what is wrong.
fn promtool(arguments: &[&str], input: &str) {
    let mut promtool = Command::new("promtool")
        .args(arguments)
        .current_dir(packaging("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let told = [&output.stdout[..], &output.stderr[..]].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {told}");
}

fn has_promtool() -> bool {
    let there = Command::new("promtool").arg("--version").output().is_ok();
    if !there {
        skipped("there is no promtool: install the package prometheus");
    }
    there
}

#[test]
fn promtool_finds_nothing_wrong_with_the_rules() {
    if !has_promtool() {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"], "");
    promtool(&["check", "rules", "magi.rules.yml"], "");
    promtool(&["test", "rules", "magi.rules.test.yml"], "");
}

#[test]
fn promtool_understands_the_dashboard() {
    if !has_promtool() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let quoted = |text: &String| Value::from(text.as_str());
    let expressions = dashboard_expressions();
    let rules = expressions.iter().enumerate();
    let rules = rules.map(|(n, e)| format!("  - {{record: 'panel:{n}', expr: {}}}\n", quoted(e)));
    let rules: String = rules.collect();
    fs::write(&file, format!("groups:\n- name: panels\n  rules:\n{rules}")).unwrap();
    promtool(
        &["check", "rules", "--lint=none", file.to_str().unwrap()],
        "",
    );
}

#[tokio::test]
async fn the_commands_of_the_page_work() {
    if !has_promtool() {
        return;
    }
    let mut fleet = Fleet::new();
    fleet.save(&[Server::faulty("alpha")]);
    fleet.start().await;
    let gateway = Gateway::start(&fleet).await;
    fleet.ready("alpha").await;
    let programs = program("magictl").parent().unwrap().to_path_buf();
    let path = std::env::join_paths([&programs, Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for commands in page::commands("monitoring.md").unwrap().into_iter().rev() {
        let commands = commands.replace("http://127.0.0.1:8000", &gateway.url());
        let output = tokio::process::Command::new("sh")
            .args(["-ec", &commands])
            .current_dir(packaging("").parent().unwrap())
            .env_clear()
            .env("PATH", &path)
            .env("MAGI_SOCKET", fleet.socket())
            .output()
            .await
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {told}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_what_is_told() {
    if !has_promtool() {
        return;
    }
    // It reads the older text format, in which counters have their whole name, and dislikes names of
    // llama-server with a colon, which are not ours to change.
    let scrape = scrape().await;
    let lines = scrape
        .lines()
        .filter(|line| !line.contains("llamacpp:") && *line != "# EOF");
    let counters: Vec<_> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::new();
    for line in lines {
        let counter = counters.iter().find(|name| {
            let rest = line
                .strip_prefix("# TYPE ")
                .or(line.strip_prefix("# HELP "));
            rest.is_some_and(|rest| rest.split(' ').next() == Some(**name))
        });
        match counter {
            Some(name) => text += &line.replacen(name, &format!("{name}_total"), 1),
            None => text += line,
        }
        text.push('\n');
    }
    promtool(&["check", "metrics"], &text);
}
