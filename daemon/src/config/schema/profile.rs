//! The keys of a profile.

use super::magid::inherited_restart;
use super::{Fallback, File, Key, Kind, Place, Table, U32, flag, key};
use Fallback::{Required, Said, Toml};

#[rustfmt::skip]
pub(in crate::config) const PROFILE: File = File {
    title: "profiles/NAME.toml",
    about: "Which models are served, and how. The name of the file is the name of the profile.",
    tables: &[
        Table { place: Place::Root, groups: &[ROOT], about: "The profile itself." },
        Table { place: Place::Header("defaults"), groups: &[DEFAULT_AUTOSTART, COMMON, FLAGS],
            about: "What holds for every server of the profile that does not say it itself. Values and lists are replaced as a whole, `env` and `restart` key by key." },
        Table { place: Place::Named("servers"), groups: &[SERVER, COMMON, FLAGS],
            about: "A server. A name with a dot needs quotes: `[servers.\"qwen2.5-7b\"]`." },
        Table { place: Place::Repeated("select"), groups: &[SELECT, COMMON, FLAGS],
            about: "A server for every enabled model of the registry that matches, named after it. A model must match each filter that is written." },
        Table { place: Place::Value("restart"), groups: &[&RESTART],
            about: "When and how often a server that ended by itself is started again." },
    ],
};

const RESTART: [Key; 7] = inherited_restart();

#[rustfmt::skip]
const ROOT: &[Key] = &[
    key("description", Kind::Text, Said("none"), "\"Two fast models\"", "What the profile is for; `magictl profiles list` shows it."),
];

#[rustfmt::skip]
const DEFAULT_AUTOSTART: &[Key] = &[
    key("autostart", Kind::Boolean, Said("true for a server, false in [[select]]"), "false", "Whether servers run without being asked for."),
];

#[rustfmt::skip]
const SERVER: &[Key] = &[
    key("model", Kind::Path, Required, "\"qwen2.5-7b-instruct-q4_k_m\"",
        "The name of a model in `magictl models list`, the name of a file under `scan_paths`, or a path to a `.gguf`."),
    key("aliases", Kind::List(&Kind::Alias), Toml("[]"), "[\"gpt-4o-mini\"]",
        "Other names for the server; names and aliases are unique in a profile."),
    key("autostart", Kind::Boolean, Toml("true"), "false", "Whether it runs without being asked for."),
    key("port", Kind::Port, Said("one of `port_range`"), "8081", "A port that is always the same."),
];

const TIERS: Kind = Kind::Words(&["fast", "balanced", "powerful"]);
const KINDS: Kind = Kind::Words(&["chat", "vision", "embedding", "rerank"]);

#[rustfmt::skip]
const SELECT: &[Key] = &[
    key("tier", Kind::OneOrList(&TIERS), Said("any"), "\"fast\"", "Only models of this tier, or of one of these."),
    key("quantization", Kind::OneOrList(&Kind::Glob), Said("any"), "[\"Q4_*\", \"Q5_*\"]",
        "Only models of this quantization: `*` stands for any characters, `?` for one."),
    key("pattern", Kind::OneOrList(&Kind::Glob), Said("any"), "\"qwen*\"",
        "Only models with this name: `*` stands for any characters, `?` for one."),
    key("kind", Kind::OneOrList(&KINDS), Said("any"), "[\"chat\", \"vision\"]", "Only models of this kind, or of one of these."),
    key("limit", Kind::Integer(1, u32::MAX as i64), Said("none"), "2", "At most so many servers, for the smallest models that match.").counts("servers"),
    key("autostart", Kind::Boolean, Toml("false"), "true", "Whether they run without being asked for."),
];

#[rustfmt::skip]
const COMMON: &[Key] = &[
    key("priority", Kind::Integer(i32::MIN as i64, i32::MAX as i64), Toml("0"), "10",
        "Servers with a higher one start first, and get memory first."),
    key("idle_timeout", Kind::Time(false), Toml("0"), "\"15m\"",
        "It is stopped after so long without a request, and started by the next one; 0: never."),
    key("pin", Kind::Boolean, Toml("false"), "true", "Whether it is never stopped to make room for another. `idle_timeout` counts all the same."),
    key("swap_after", Kind::Time(false), Toml("\"10s\""), "\"30s\"",
        "How long it waits before servers that are in use make room for it, and how long it serves before it does so for others; 0: neither."),
    key("max_in_flight", U32, Said("`parallel`"), "8", "How many requests the gateway gives it at a time; 0: any number.").counts("requests"),
    key("max_queue", Kind::Integer(0, 10_000), Toml("64"), "16", "How many further requests wait in the gateway; one more is refused.").counts("requests"),
    key("max_wait", Kind::Time(true), Toml("\"5m\""), "\"30s\"", "How long a request waits for the server to get ready and to be free."),
    key("replace", Kind::Words(&["auto", "blue-green", "drain-restart"]), Toml("\"auto\""), "\"drain-restart\"",
        "How a changed server is replaced: the new one beside the old one, after it, or as memory and port allow."),
    key("args", Kind::List(&Kind::Text), Toml("[]"), "[\"--cache-reuse\", \"256\"]",
        "Further arguments for llama-server, as they are."),
    key("env", Kind::Map(&Kind::Text), Toml("{}"), "{ GGML_CUDA_FORCE_MMQ = \"1\" }", "Variables for the process."),
    key("llama_server", Kind::Path, Said("`path` of magid.toml"), "\"/opt/llama-vulkan/bin/llama-server\"",
        "Another llama-server: a path, or a name that is looked up in `PATH`."),
    key("restart", Kind::Restart, Said("that of magid.toml"), "{ policy = \"never\" }",
        "When and how often it is started again; what is not written is as in magid.toml."),
];

#[rustfmt::skip]
const FLAGS: &[Key] = &[
    flag("ctx_size", "8192", "The context of all requests at a time together; 0: what the model was trained for. In `[[select]]` it is cut to that for each of `parallel` requests.").counts("tokens"),
    flag("parallel", "4", "How many requests are answered at a time; they share `ctx_size`.").counts("requests"),
    flag("threads", "8", "Threads that generate.").counts("threads"),
    flag("threads_batch", "16", "Threads that read prompts.").counts("threads"),
    flag("batch_size", "1024", "The most of a prompt that is taken at a time.").counts("tokens"),
    flag("ubatch_size", "256", "The most of a prompt that is computed at a time.").counts("tokens"),
    flag("n_gpu_layers", "\"all\"", "How many layers are on GPUs.").counts("layers"),
    flag("devices", "[\"CUDA0\", \"CUDA1\"]", "The devices to use, as `llama-server --list-devices` calls them."),
    flag("split_mode", "\"row\"", "How a model is spread over several GPUs."),
    flag("tensor_split", "[3, 1]", "How much of it each GPU gets, in proportion."),
    flag("main_gpu", "1", "The GPU that is used where only one is, by its number."),
    flag("cache_type_k", "\"q8_0\"", "The type of the keys in the cache."),
    flag("cache_type_v", "\"q8_0\"", "The type of the values in the cache."),
    flag("flash_attn", "\"on\"", "Whether to use Flash Attention."),
    flag("load_mode", "\"mlock\"", "How the file of the model is loaded; it replaced `--mlock` and `--no-mmap`."),
    flag("mmproj", "\"mmproj-f16.gguf\"", "The projector with which a model takes pictures or sound.").follows("the one beside the model, if there is one"),
    flag("embeddings", "true", "Whether it makes embeddings and nothing else.").follows("true for an embedding model"),
    flag("reranking", "true", "Whether it rates documents.").follows("true for a rerank model"),
    flag("pooling", "\"mean\"", "How the embedding of a text is made of those of its tokens."),
    flag("jinja", "false", "Whether the chat template is taken as Jinja."),
    flag("chat_template", "\"chatml\"", "The chat template: its name or its text."),
    flag("chat_template_file", "\"template.jinja\"", "The file with the chat template."),
];
