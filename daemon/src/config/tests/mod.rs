//! Tests of the configuration as a whole: texts in, values or diagnostics out.

mod broken;
mod equality;
mod gateway;
mod places;
mod reference;
mod selects;
mod values;

use std::path::Path;

use super::*;

/// The places of an ordinary user.
fn locations() -> Locations {
    find(&[("HOME", "/home/u")], None, false)
}

fn find(variables: &[(&str, &str)], config: Option<&str>, is_root: bool) -> Locations {
    Locations::find(&LocationInput {
        env: &environment(variables),
        explicit_config: config.map(Path::new),
        is_root,
        current_dir: Path::new("/srv"),
    })
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    variables.iter().map(owned).collect()
}

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile {
        path: path.into(),
        text: text.to_owned(),
    }
}

fn daemon(text: &str, variables: &[(&str, &str)]) -> Result<ParsedDaemon, Vec<Diagnostic>> {
    let file = file("/etc/magi/magid.toml", text);
    parse_daemon(Some(&file), &environment(variables), &locations())
}

/// A key of a gateway.
const KEY: &str = "\
[[keys]]
name = \"a\"
hash = \"sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\"
scopes = [\"inference\"]
";

fn gateway(text: &str, variables: &[(&str, &str)]) -> Result<ParsedGateway, Vec<Diagnostic>> {
    let file = file("/etc/magi/gateway.toml", text);
    parse_gateway(Some(&file), &environment(variables), &locations())
}

fn profile(text: &str) -> Result<Profile, Vec<Diagnostic>> {
    let daemon = daemon("", &[]).unwrap().daemon;
    let file = file("/etc/magi/profiles/x.toml", text);
    parse_profile("x", &file, &daemon).map(|parsed| parsed.profile)
}

fn server(keys: &str) -> ServerConfig {
    let profile = profile(&format!("[servers.a]\nmodel = \"m\"\n{keys}")).unwrap();
    profile.servers.into_values().next().unwrap()
}
