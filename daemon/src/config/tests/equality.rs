//! Configurations that mean the same are equal; one changed server is that one.

use proptest::prelude::*;

use super::*;

/// Keys of a server, and the same with the default made explicit.
const KEYS: &[&str] = &[
    "autostart = true",
    "autostart = false",
    "priority = -3",
    "idle_timeout = \"15m\"",
    "pin = true",
    "max_in_flight = 0",
    "max_queue = 0",
    "max_wait = 30",
    "swap_after = 20",
    "replace = \"drain-restart\"",
    "ctx_size = 4096",
    "ctx_size = 4_096",
    "embeddings = false",
    "flash_attn = true",
    "port = 9000",
    "aliases = [\"x\", \"y/z\"]",
    "args = [\"--top-k\", \"40\"]",
    "args = []",
    "env = { A = \"1\", B = \"2\" }",
    "env = { B = \"2\", A = \"1\" }",
    "restart = { policy = \"always\", max_failures = 5 }",
    "restart.max_delay = \"30s\"",
];

fn name(key: &str) -> &str {
    key.split(['=', '.']).next().unwrap().trim()
}

/// Some keys, each at most once, in any order.
fn keys() -> impl Strategy<Value = Vec<&'static str>> {
    let some = prop::sample::subsequence(KEYS, 0..=KEYS.len());
    let once = some.prop_map(|mut keys| {
        keys.dedup_by_key(|key| name(key));
        keys
    });
    once.prop_shuffle()
}

/// The same server, written in one of several ways.
fn written(keys: &[&str], noise: &[&str]) -> String {
    let mut text = "[servers.a]\n".to_owned();
    for (key, noise) in keys
        .iter()
        .chain(&["model = \"m\""])
        .zip(noise.iter().cycle())
    {
        text.push_str(&noise.replace('@', key));
    }
    text
}

const NOISE: &[&str] = &[
    "@\n",
    "\n\n  @   # why\n",
    "# before\n@\r\n",
    "\t@\t\n#after\n",
];

fn noise() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(NOISE), 1..5)
}

proptest! {
    #[test]
    fn order_white_space_and_comments_mean_nothing(
        (keys, shuffled) in keys().prop_flat_map(|keys| (Just(keys.clone()), Just(keys).prop_shuffle())),
        noise in noise(),
    ) {
        let plain = profile(&written(&keys, &["@\n"])).unwrap();
        prop_assert_eq!(plain, profile(&written(&shuffled, &noise)).unwrap());
    }

    #[test]
    fn servers_in_any_order_are_the_same_and_a_changed_one_is_that_one(
        keys in keys(),
        order in Just(["a", "b", "c"]).prop_shuffle(),
        changed in 0..3usize,
    ) {
        let others: Vec<_> = keys.iter().filter(|key| !["port", "aliases"].contains(&name(key))).collect();
        let body: String = others.iter().map(|key| format!("{key}\n")).collect();
        let one = |server: &str, more: &str| format!("[servers.{server}]\nmodel = \"m\"\n{more}{body}");
        let before = profile(&["a", "b", "c"].map(|server| one(server, "")).concat()).unwrap();
        let edited = ["a", "b", "c"][changed];
        let more = |server| if server == edited { "threads = 7\n" } else { "" };
        let after = profile(&order.map(|server| one(server, more(server))).concat()).unwrap();
        for (name, server) in &before.servers {
            prop_assert_eq!(after.servers[name] == *server, name.as_str() != edited);
        }
    }
}

#[test]
fn a_default_made_explicit_means_nothing() {
    let explicit = "autostart = true\npriority = 0\nidle_timeout = 0\npin = false\nmax_queue = 64\nmax_wait = 300\nswap_after = 10\nreplace = \"auto\"\naliases = []\nargs = []\n\
                    env = {}\nrestart = { policy = \"always\", initial_delay = 0.5 }\n";
    let explicit = explicit.replace("0.5", "\"500ms\"");
    assert_eq!(server(&explicit), server(""));
    let parsed = daemon(
        "[restart]\nreset_after = \"10m\"\n[liveness]\ninterval = 10\n",
        &[],
    );
    assert_eq!(parsed, daemon("", &[]));
}

#[test]
fn a_moved_definition_is_the_same_definition() {
    assert_eq!(server("\n\n\n"), server(""));
    let moved = profile("\n\n[servers.a]\n\nmodel = \"m\"\n").unwrap();
    let moved = &moved.servers.into_values().next().unwrap();
    assert_eq!((moved.defined_at.line, moved.model_at.line), (3, 5));
    assert_eq!(*moved, super::server(""));
}
