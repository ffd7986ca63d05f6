//! Tests of the configuration as a whole: texts in, values or diagnostics out.

mod broken;

use std::path::Path;

use super::*;

/// The places of an ordinary user.
fn locations() -> Locations {
    Locations::find(&LocationInput {
        env: &environment(&[("HOME", "/home/u")]),
        explicit_config: None,
        is_root: false,
        current_dir: Path::new("/work"),
    })
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

fn file(text: &str) -> SourceFile {
    SourceFile {
        path: "/etc/magi/profiles/x.toml".into(),
        text: text.to_owned(),
    }
}

fn daemon(text: &str, variables: &[(&str, &str)]) -> Result<ParsedDaemon, Vec<Diagnostic>> {
    let file = SourceFile {
        path: "/etc/magi/magid.toml".into(),
        text: text.to_owned(),
    };
    parse_daemon(Some(&file), &environment(variables), &locations())
}

fn profile(text: &str) -> Result<Profile, Vec<Diagnostic>> {
    let daemon = daemon("", &[]).unwrap().daemon;
    parse_profile("x", &file(text), &daemon).map(|parsed| parsed.profile)
}
