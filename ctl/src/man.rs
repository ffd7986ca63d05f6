//! magictl(1) and the pages of its commands.

use clap::CommandFactory;
use magi_man::Page;

use crate::cli::Cli;

fn pages() -> Vec<Page> {
    let mut pages = Page::of_commands(Cli::command(), "1");
    let (magictl, commands) = pages.split_first_mut().expect("magictl has a page");
    main(magictl);
    for command in commands {
        command.see_also(&["magictl(1)", "magid(8)"]);
    }
    pages
}

fn main(page: &mut Page) {
    page.section("EXIT STATUS")
        .term("0", &["Done."])
        .term("1", &["Something failed."])
        .term("2", &["The command line is wrong."])
        .term("3", &["A server that was named to `status` is not ready."])
        .term(
            "4",
            &["There is no such server, model, profile or generation."],
        )
        .term(
            "69",
            &["magid does not answer; the message tells which sockets were tried."],
        )
        .term("75", &["magid is busy or ends, or the time is up."])
        .term(
            "77",
            &["That is not permitted; the message tells the command that would help."],
        )
        .term(
            "78",
            &["The configuration is invalid, and nothing was changed."],
        );
    page.section("ENVIRONMENT")
        .term(
            "MAGI_SOCKET",
            &["The socket of magid, if `--socket` does not say it."],
        )
        .term("NO_COLOR", &["If set, nothing is coloured."]);
    page.section("FILES")
        .term(
            "/run/magi/magid.sock",
            &["The socket of the system's magid. Members of the group `magi` may use it."],
        )
        .term(
            "$XDG_RUNTIME_DIR/magi/magid.sock",
            &["That of a user's own magid, which is tried first."],
        );
    page.section("EXAMPLES")
        .term(
            "magictl status --watch",
            &["What runs, what does not, and why."],
        )
        .term(
            "magictl plan",
            &["What the files that were edited would change."],
        )
        .term(
            "magictl reload",
            &["The same, now, with the verdict as exit status."],
        )
        .term(
            "magictl run qwen2.5-7b \"hi\"",
            &["Has the model ready, and prints its answer."],
        )
        .term(
            "magictl -o json status | jq '.servers[].state'",
            &["For scripts."],
        );
    page.see_also(&[
        "magid(8)",
        "magi-gateway(8)",
        "magid.toml(5)",
        "magi-profile(5)",
        "gateway.toml(5)",
    ]);
}

#[test]
fn the_man_pages_are_in_step_with_the_grammar() {
    for page in pages() {
        page.keep();
    }
}

#[test]
fn no_page_tells_of_a_command_that_is_gone() {
    let ours: Vec<_> = pages().iter().map(|page| page.file().to_owned()).collect();
    for entry in std::fs::read_dir(magi_man::folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            !name.starts_with("magictl") || ours.contains(&name),
            "delete docs/man/{name}"
        );
    }
}
