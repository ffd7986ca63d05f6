//! Where the files are.

use super::*;

const XDG: &[(&str, &str)] = &[
    ("HOME", "/home/u"),
    ("XDG_CONFIG_HOME", "/c"),
    ("XDG_STATE_HOME", "/s"),
    ("XDG_RUNTIME_DIR", "/run/user/1000"),
    ("XDG_CACHE_HOME", "/cache"),
];

const SYSTEMD: &[(&str, &str)] = &[
    ("HOME", "/home/u"),
    ("STATE_DIRECTORY", "/var/lib/other:/var/lib/second"),
    ("RUNTIME_DIRECTORY", "/run/other"),
    ("LOGS_DIRECTORY", "/var/log/other"),
    ("CONFIGURATION_DIRECTORY", "/etc/other"),
];

/// Configuration, state, sockets, logs, profiles.
fn paths(found: &Locations) -> [&str; 5] {
    [
        &found.config_file,
        &found.state_dir,
        &found.runtime_dir,
        &found.log_dir,
        &found.profiles_dir,
    ]
    .map(|path| path.to_str().unwrap())
}

const SYSTEM: [&str; 5] = [
    "/etc/magi/magid.toml",
    "/var/lib/magi",
    "/run/magi",
    "/var/log/magi",
    "/etc/magi/profiles",
];

#[test]
fn root_has_the_places_of_the_system() {
    let found = find(XDG, None, true);
    assert_eq!(paths(&found), SYSTEM);
    let models = [Path::new("/models"), Path::new("/var/lib/magi/models")];
    assert_eq!(found.default_scan_paths, models);
}

#[test]
fn an_account_without_a_home_has_the_places_of_the_system() {
    assert_eq!(paths(&find(&[], None, false)), SYSTEM);
}

#[test]
fn a_user_has_the_xdg_directories() {
    let found = find(XDG, None, false);
    assert_eq!(
        paths(&found),
        [
            "/c/magi/magid.toml",
            "/s/magi",
            "/run/user/1000/magi",
            "/s/magi/log",
            "/c/magi/profiles"
        ]
    );
    let models = [
        "/home/u/models",
        "/cache/llama.cpp",
        "/cache/huggingface/hub",
    ]
    .map(Path::new);
    assert_eq!(found.default_scan_paths, models);
}

#[test]
fn a_user_with_nothing_but_a_home_has_them_too() {
    let state = "/home/u/.local/state/magi";
    assert_eq!(
        paths(&find(
            &[("HOME", "/home/u"), ("XDG_STATE_HOME", "relative")],
            None,
            false
        )),
        [
            "/home/u/.config/magi/magid.toml",
            state,
            &format!("{state}/run"),
            &format!("{state}/log"),
            "/home/u/.config/magi/profiles"
        ]
    );
}

#[test]
fn what_systemd_passes_wins() {
    assert_eq!(
        paths(&find(SYSTEMD, None, false)),
        [
            "/etc/other/magid.toml",
            "/var/lib/other",
            "/run/other",
            "/var/log/other",
            "/etc/other/profiles"
        ]
    );
    let one = [("HOME", "/home/u"), ("STATE_DIRECTORY", "/var/lib/magi")];
    assert_eq!(paths(&find(&one, None, false)), SYSTEM);
}

#[test]
fn a_users_own_systemd_keeps_the_users_configuration() {
    let variables = [XDG, &[("STATE_DIRECTORY", "/s/m")]].concat();
    let found = find(&variables, None, false);
    assert_eq!(found.config_file, Path::new("/c/magi/magid.toml"));
    assert_eq!(found.log_dir, Path::new("/s/m/log"));
}

#[test]
fn a_file_on_the_command_line_has_its_profiles_beside_it() {
    let found = find(XDG, Some("conf/m.toml"), false);
    assert_eq!(found.config_file, Path::new("/srv/conf/m.toml"));
    assert_eq!(found.profiles_dir, Path::new("/srv/conf/profiles"));
    assert_eq!(found.state_dir, Path::new("/s/magi"));
    assert_eq!(
        find(SYSTEMD, Some("/m.toml"), true).profiles_dir,
        Path::new("/profiles")
    );
}

#[test]
fn a_key_moves_what_is_inside_the_state_directory_along() {
    let daemon = daemon("state_dir = \"../state\"\n", &[]).unwrap().daemon;
    assert_eq!(daemon.state_dir, Path::new("/etc/magi/../state"));
    assert_eq!(daemon.log_dir, Path::new("/etc/magi/../state/log"));
    assert_eq!(daemon.runtime_dir, Path::new("/etc/magi/../state/run"));
}
