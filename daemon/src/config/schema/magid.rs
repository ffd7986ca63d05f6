//! The keys of magid.toml.

use super::{Fallback, File, Key, Kind, Place, Table, U32, key};
use Fallback::{Said, Toml};

const SECONDS: Kind = Kind::Time(false);
const POSITIVE: Kind = Kind::Time(true);
const COUNT: Kind = Kind::Integer(1, u32::MAX as i64);

#[rustfmt::skip]
pub(in crate::config) const MAGID: File = File {
    title: "magid.toml",
    about: "How magid itself works. The file need not exist.",
    tables: &[
        Table { place: Place::Root, groups: &[ROOT], about: "Which profile is served, and where things are." },
        Table { place: Place::Header("models"), groups: &[MODELS], about: "Which models there are." },
        Table { place: Place::Header("models.tiers"), groups: &[TIERS], about: "What makes a tier of a model's size: the bytes of its weights. What is larger than both is powerful." },
        Table { place: Place::Header("llama_server"), groups: &[LLAMA_SERVER], about: "How servers are run." },
        Table { place: Place::Header("restart"), groups: &[RESTART], about: "When and how often a server that ended by itself is started again." },
        Table { place: Place::Header("liveness"), groups: &[LIVENESS], about: "What counts as a hang." },
        Table { place: Place::Header("memory"), groups: &[MEMORY], about: "How much memory servers may take together. Mapped weights count in full." },
        Table { place: Place::Header("reload"), groups: &[RELOAD], about: "What a change of the configuration does." },
        Table { place: Place::Header("logs"), groups: &[LOGS], about: "What is kept of the output of servers." },
        Table { place: Place::Header("control"), groups: &[CONTROL], about: "Who may do what." },
    ],
};

#[rustfmt::skip]
const ROOT: &[Key] = &[
    key("active_profile", Kind::ProfileName, Toml("\"development\""), "\"production\"",
        "The profile that is served, unless another was activated since; `MAGI_PROFILE` wins."),
    key("state_dir", Kind::Path, Toml("\"/var/lib/magi\""), "\"/srv/magi\"",
        "What must survive a restart of the machine; a user's is `~/.local/state/magi`."),
    key("runtime_dir", Kind::Path, Toml("\"/run/magi\""), "\"/srv/magi/run\"",
        "Sockets; a user's is `$XDG_RUNTIME_DIR/magi`."),
    key("log_dir", Kind::Path, Toml("\"/var/log/magi\""), "\"/srv/magi/log\"",
        "What servers write; a user's is `log/` in `state_dir`."),
    key("profiles_dir", Kind::Path, Toml("\"profiles\""), "\"/srv/magi/profiles\"",
        "The profiles; by default beside magid.toml."),
];

#[rustfmt::skip]
const MODELS: &[Key] = &[
    key("scan_paths", Kind::List(&Kind::Path), Toml("[\"/models\", \"/var/lib/magi/models\"]"), "[\"/srv/gguf\"]",
        "The folders in which models are looked for; a user's are `~/models`, `~/.cache/llama.cpp` and the Hugging Face cache."),
    key("registry", Kind::Path, Toml("\"model_registry.json\""), "\"/srv/magi/models.json\"",
        "The file with what is known of models and what you say of them, relative to `state_dir`."),
];

#[rustfmt::skip]
const TIERS: &[Key] = &[
    key("fast", Kind::Size, Toml("\"3500MB\""), "\"2GB\"", "The largest fast model."),
    key("balanced", Kind::Size, Toml("\"10GB\""), "\"16GB\"", "The largest balanced model."),
];

#[rustfmt::skip]
const LLAMA_SERVER: &[Key] = &[
    key("path", Kind::Path, Toml("\"llama-server\""), "\"/opt/llama.cpp/bin/llama-server\"",
        "The binary: a name that is looked up in `PATH`, or a path."),
    key("host", Kind::Address, Toml("\"127.0.0.1\""), "\"::1\"", "The address that servers listen on."),
    key("port_range", Kind::PortRange, Toml("[8080, 8099]"), "[9000, 9099]",
        "The first and the last port for servers that name none."),
    key("max_startup_time", POSITIVE, Toml("\"120s\""), "\"5m\"",
        "A start without any progress for this long has failed."),
    key("readiness_check_interval", POSITIVE, Toml("\"2s\""), "\"500ms\"",
        "The longest wait between two questions whether a starting server is ready."),
    key("concurrent_starts", Kind::Either(&Kind::Boolean, &COUNT), Toml("true"), "2",
        "How many servers may load at a time: true for all, false for one, or a number.").counts("servers"),
    key("drain_timeout", SECONDS, Toml("\"30s\""), "\"2m\"",
        "The longest wait for requests in flight before a server is stopped."),
    key("stop_timeout", SECONDS, Toml("\"10s\""), "\"30s\"",
        "The time a server has to end after SIGTERM, before SIGKILL."),
    key("api_key", Kind::Words(&["auto", "none"]), Toml("\"none\""), "\"auto\"",
        "Whether each process asks for a random key, which only gateways are told; then nobody gets past them."),
];

#[rustfmt::skip]
pub(super) const RESTART: &[Key] = &[
    key("policy", Kind::Words(&["always", "on-failure", "never"]), Toml("\"always\""), "\"on-failure\"",
        "Whether a server that ended by itself is started again."),
    key("initial_delay", POSITIVE, Toml("\"500ms\""), "\"2s\"",
        "The wait before the first restart, which doubles with each further one."),
    key("max_delay", POSITIVE, Toml("\"60s\""), "\"5m\"", "The longest wait."),
    key("reset_after", POSITIVE, Toml("\"10m\""), "\"1h\"", "After this long ready, waits and counts begin anew."),
    key("max_failures", Kind::Integer(0, 1000), Toml("5"), "10",
        "With so many failures within `failure_window` magid gives up; 0: never.").counts("failures"),
    key("failure_window", POSITIVE, Toml("\"10m\""), "\"1h\"", "How long a failure counts."),
    key("half_open_after", POSITIVE, Toml("\"5m\""), "\"1h\"", "How long after giving up magid tries once more."),
];

#[rustfmt::skip]
const LIVENESS: &[Key] = &[
    key("interval", POSITIVE, Toml("\"10s\""), "\"30s\"", "The time between two questions whether a ready server is well."),
    key("timeout", POSITIVE, Toml("\"5s\""), "\"10s\"", "The longest wait for the answer."),
    key("failures", COUNT, Toml("3"), "6", "So many missing answers in a row are a hang.").counts("answers"),
    key("stall", POSITIVE, Toml("\"120s\""), "\"5m\"", "A request without any progress for this long is a hang."),
];

#[rustfmt::skip]
const MEMORY: &[Key] = &[
    key("ram", Kind::Either(&Kind::Words(&["auto"]), &Kind::Size), Toml("\"auto\""), "\"24GiB\"",
        "Main memory; `\"auto\"` is what the machine or the cgroup has less 10 %, at least 1 GiB."),
    key("vram", Kind::Either(&Kind::Words(&["auto"]), &Kind::Map(&Kind::Size)), Toml("\"auto\""), "{ CUDA0 = \"22GiB\" }",
        "Memory of each device by the name that `llama-server --list-devices` gives it; `\"auto\"` is what that tells less 5 %."),
    key("max_loaded", U32, Toml("0"), "3", "So many servers may be loaded at a time; 0: any number.").counts("servers"),
];

#[rustfmt::skip]
const RELOAD: &[Key] = &[
    key("on_failure", Kind::Words(&["rollback", "keep"]), Toml("\"rollback\""), "\"keep\"",
        "Whether a change is taken back or kept if a server that it adds or replaces does not get ready."),
];

#[rustfmt::skip]
const LOGS: &[Key] = &[
    key("max_size", Kind::Size, Toml("\"64MiB\""), "\"16MiB\"",
        "The most that is kept of the output of one process; the oldest is given back."),
    key("keep", COUNT, Toml("5"), "20", "Of how many processes of a server the output is kept.").counts("processes"),
];

#[rustfmt::skip]
const CONTROL: &[Key] = &[
    key("gateway", Kind::Words(&["serve", "administer"]), Toml("\"serve\""), "\"administer\"",
        "What may be done over `gateway.sock`: serve requests and read, or everything."),
];

/// The keys of `restart` in a profile, where magid.toml is what holds without them.
pub(super) const fn inherited_restart() -> [Key; 7] {
    let mut keys = [const { key("", Kind::Boolean, Said(""), "", "") }; 7];
    let mut at = 0;
    while at < RESTART.len() {
        let own = &RESTART[at];
        keys[at] = key(
            own.name,
            own.kind,
            Said("that of magid.toml"),
            own.example,
            own.about,
        )
        .counts(own.unit);
        at += 1;
    }
    keys
}
