//! magi-gateway(8).

use clap::CommandFactory;
use magi_man::Page;

use crate::run::Arguments;

fn page() -> Page {
    let mut page = Page::of_program(Arguments::command(), "8");
    page.section("ENVIRONMENT")
        .paragraph("What is set wins over `gateway.toml`(5).")
        .term("BACKEND_HOST", &["The address to listen on."])
        .term("BACKEND_PORT", &["The port to listen on."])
        .term(
            "MAGI_API_KEY",
            &["One more key, which may do everything. systemd may pass it as a credential of that name."],
        )
        .term("MAGI_ALLOW_OPEN", &["With 1, it listens beyond this machine without keys."])
        .term("MAGI_SOCKET", &["The socket of magid, if `--socket` does not say it."])
        .term("LOG_LEVEL", &["How much it logs: `error`, `warn`, `info`, `debug` or `trace`."]);
    page.section("SIGNALS").term(
        "SIGTERM, SIGINT",
        &["Ends it: no new requests, and 30 s for those that are under way."],
    );
    page.section("FILES")
        .term(
            "/etc/magi/gateway.toml",
            &["Its configuration; see `gateway.toml`(5)."],
        )
        .term(
            "/etc/credstore/MAGI_API_KEY",
            &["The key, if it is to be in no file of /etc/magi."],
        )
        .term(
            "/run/magi/gateway.sock",
            &["The socket of magid for gateways. It need not be there: the gateway waits for it."],
        );
    page.section("EXIT STATUS")
        .term("0", &["It was told to end."])
        .term("1", &["It cannot listen."])
        .term("78", &["Its configuration is invalid."]);
    page.see_also(&[
        "gateway.toml(5)",
        "magid(8)",
        "magictl-keys(1)",
        "magictl-requests(1)",
    ]);
    page
}

#[test]
fn the_man_page_is_in_step_with_the_command_line() {
    page().keep();
}
