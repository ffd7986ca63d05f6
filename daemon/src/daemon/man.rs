//! magid(8).

use clap::CommandFactory;
use magi_man::Page;

use super::Arguments;

/// Variables, and the key of magid.toml that each wins over.
const VARIABLES: [(&str, &str); 11] = [
    ("MAGI_PROFILE, ACTIVE_PROFILE", "`active_profile`"),
    (
        "MODEL_SCAN_PATH, PRAXIS_MODEL_PATH",
        "`scan_paths`, separated by colons",
    ),
    ("REGISTRY_PATH", "`registry`"),
    ("LLAMA_SERVER_PATH", "`path` of [llama_server]"),
    ("LLAMA_SERVER_HOST", "`host`"),
    ("MODEL_PORT_RANGE_START", "the first of `port_range`"),
    ("MODEL_PORT_RANGE_END", "the last of `port_range`"),
    (
        "MODEL_MAX_STARTUP_TIME, MAX_STARTUP_TIME",
        "`max_startup_time`",
    ),
    ("READINESS_CHECK_INTERVAL", "`readiness_check_interval`"),
    ("MODEL_CONCURRENT_STARTS", "`concurrent_starts`"),
    (
        "LOG_LEVEL",
        "how much magid logs: `error`, `warn`, `info`, `debug` or `trace`",
    ),
];

fn page() -> Page {
    let mut page = Page::of_program(Arguments::command(), "8");
    page.section("ENVIRONMENT")
        .paragraph("What is set wins over `magid.toml`(5), and magid names the keys. Of several names the first that is set counts.");
    for (variable, key) in VARIABLES {
        page.term(variable, &[key]);
    }
    page.section("SIGNALS")
        .term(
            "SIGHUP",
            &["Reads the configuration again, as `magictl reload` does."],
        )
        .term(
            "SIGTERM, SIGINT",
            &["Drains and stops all servers, and ends. Another one leaves them less time."],
        );
    page.section("FILES")
        .paragraph("Run by a user, magid has the places of the XDG base directories instead.")
        .term(
            "/etc/magi/magid.toml",
            &["How magid itself works; see `magid.toml`(5)."],
        )
        .term(
            "/etc/magi/profiles/",
            &["Which models are served; see `magi-profile`(5)."],
        )
        .term(
            "/var/lib/magi/",
            &["What was applied, what is known of models, which processes there are."],
        )
        .term(
            "/var/log/magi/",
            &["What servers wrote; see `magictl-logs`(1)."],
        )
        .term(
            "/run/magi/magid.sock",
            &["For members of the group `magi`: everything."],
        )
        .term(
            "/run/magi/gateway.sock",
            &["For members of the group `magi-gateway`: what `[control] gateway` says."],
        )
        .term(
            "/models, /var/lib/magi/models",
            &["Where models are looked for unless `scan_paths` says otherwise."],
        );
    page.section("EXIT STATUS")
        .term("0", &["It was told to end, and every server is gone."])
        .term("1", &["It cannot run, or a server could not be stopped."])
        .term("78", &["magid.toml or a variable is invalid."]);
    page.section("JOURNAL").paragraph(
        "Output of servers has the fields `MAGI_SERVER` and `MAGI_INCARNATION`: `journalctl -u magid MAGI_SERVER=alpha`.",
    );
    page.see_also(&[
        "magictl(1)",
        "magid.toml(5)",
        "magi-profile(5)",
        "magi-gateway(8)",
    ]);
    page
}

#[test]
fn the_man_page_is_in_step_with_the_command_line() {
    page().keep();
}

#[test]
fn every_variable_of_the_readers_is_in_the_man_page() {
    let text = page().text().replace("\\-", "-");
    let readers = include_str!("../config/read_daemon.rs");
    let variables = readers.split('"').filter(|word| {
        let is_letter = |c: char| c.is_ascii_uppercase() || c == '_';
        word.len() > 4 && word.contains('_') && word.chars().all(is_letter)
    });
    for variable in variables {
        assert!(text.contains(variable), "{variable}");
    }
}
