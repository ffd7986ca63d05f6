//! `docs/man/*.5`: the same tables as man pages.

use magi_man::Page;

use super::{File, GATEWAY, Key, MAGID, PROFILE, markdown};

const VALUES: &str = "The file is TOML. A time is `\"500ms\"`, `\"90s\"`, `\"2m\"`, `\"1h 30m\"`, `\"1d\"` or whole \
    seconds. A size is bytes, or a number with `B`, `KiB`, `MiB`, `GiB`, `TiB`, `KB`, `MB`, `GB` or `TB`. A path is \
    relative to the file unless its key says otherwise, and `~` is not expanded. An unknown key is an error, \
    told with file, line, column and what to write instead; nothing is changed then.";

/// The page of each file, with the file.
pub(in crate::config) fn pages() -> [(&'static File, Page); 3] {
    [
        (&MAGID, magid()),
        (&PROFILE, profile()),
        (&GATEWAY, gateway()),
    ]
}

fn magid() -> Page {
    let mut page = Page::of_file("magid.toml", "how magid itself works");
    begin(
        &mut page,
        &MAGID,
        &["/etc/magi/magid.toml", "~/.config/magi/magid.toml"],
    );
    page.paragraph(
        "Saving the file applies it, all but what takes a restart of magid, which is named; `magictl reload` does \
         so at once and says what came of it. Variables of the environment win over it: see `magid`(8).",
    );
    keys(&mut page, &MAGID);
    page.see_also(&[
        "magid(8)",
        "magi-profile(5)",
        "gateway.toml(5)",
        "magictl-reload(1)",
        "magictl-check(1)",
    ]);
    page
}

fn profile() -> Page {
    let mut page = Page::of_file("magi-profile", "which models magid serves, and how");
    begin(
        &mut page,
        &PROFILE,
        &[
            "/etc/magi/profiles/NAME.toml",
            "~/.config/magi/profiles/NAME.toml",
        ],
    );
    page.paragraph(
        "One profile is active: the one that was activated last, by `magictl profiles activate`, `active_profile` in \
         magid.toml or the variable `MAGI_PROFILE`. Saving its file replaces exactly the servers that the edit \
         changes. Without any profile every enabled model is served on demand.",
    );
    keys(&mut page, &PROFILE);
    page.see_also(&[
        "magid(8)",
        "magid.toml(5)",
        "magictl-profiles(1)",
        "magictl-plan(1)",
    ]);
    page
}

fn gateway() -> Page {
    let mut page = Page::of_file("gateway.toml", "how magi-gateway is reached, and by whom");
    begin(
        &mut page,
        &GATEWAY,
        &["/etc/magi/gateway.toml", "~/.config/magi/gateway.toml"],
    );
    page.paragraph(
        "Saving the file applies it, all but `listen`, which takes a restart of the gateway. Variables of the \
         environment win over it: see `magi-gateway`(8).",
    );
    keys(&mut page, &GATEWAY);
    page.see_also(&["magi-gateway(8)", "magictl-keys(1)", "magid.toml(5)"]);
    page
}

fn begin(page: &mut Page, file: &File, places: &[&str]) {
    page.section("SYNOPSIS");
    for place in places {
        page.paragraph(place);
    }
    page.section("DESCRIPTION")
        .paragraph(file.about)
        .paragraph(VALUES);
}

/// What several tables share is told once.
fn keys(page: &mut Page, file: &File) {
    page.section("KEYS");
    let mut told: Vec<&'static [Key]> = Vec::new();
    for table in file.tables {
        page.part(&markdown::heading(table.place).replace('`', ""));
        page.paragraph(table.about);
        for group in table.groups.iter().copied() {
            match group {
                [first, .., last] if told.iter().any(|other| std::ptr::eq(*other, group)) => {
                    let (first, last) = (first.name, last.name);
                    page.paragraph(&format!(
                        "Also the keys from `{first}` to `{last}`, as above."
                    ));
                }
                group => {
                    told.push(group);
                    for key in group {
                        let (value, default) = (markdown::value(key), markdown::default(key));
                        let details = format!(
                            "Value: {value}. Default: {default}. Example: `{}`.",
                            key.example
                        );
                        page.term(key.name, &[key.about, &details]);
                    }
                }
            }
        }
    }
}
