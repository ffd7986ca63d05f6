//! Broken configurations: every error at once, each with its place and what to write instead.

use super::*;

/// What is broken, the text, and `line:column message (help)` of each error.
const PROFILES: &[(&str, &str, &[&str])] = &[
    (
        "a key that does not exist",
        "[servers.a]\nmodel = \"m\"\nctx-size = 4096\nfoo = 1\nmlock = true\n",
        &[
            "3:1 unknown key `ctx-size` (write `ctx_size`)",
            "4:1 unknown key `foo` (remove it; what llama-server takes beyond these keys goes into `args`)",
            "5:1 unknown key `mlock` (write `load_mode`)",
        ],
    ),
    (
        "a table that does not exist",
        "[server.a]\nmodel = \"m\"\n[b]\nmodel = \"m\"\n[[routes]]\n",
        &[
            "1:2 unknown key `server` (write `servers`)",
            "3:2 unknown key `b` (write [servers.b])",
            "5:3 unknown key `routes` (remove it; known here: description, defaults, servers, select)",
        ],
    ),
    (
        "a name that TOML splits at its dot",
        "[servers.qwen2.5-7b]\nmodel = \"m\"\n[servers.a.b.c]\nmodel = \"m\"\nport = 8080\n",
        &[
            "1:16 the name qwen2.5-7b is split at its dot (write [servers.\"qwen2.5-7b\"])",
            "3:12 the name a.b.c is split at its dot (write [servers.\"a.b.c\"])",
        ],
    ),
    (
        "values of the wrong type",
        "[servers.a]\nmodel = 3\nparallel = \"four\"\nautostart = \"yes\"\nargs = \"--jinja\"\nflash_attn = 1\n",
        &[
            "2:9 `model` cannot be 3 (write in quotes the name of a model, of a file under a scan path, or a path; `~` is not expanded)",
            "3:12 `parallel` cannot be \"four\" (write a whole number from 1)",
            "4:13 `autostart` cannot be \"yes\" (write true or false)",
            "5:8 `args` cannot be \"--jinja\" (write a list: args = […])",
            "6:14 `flash_attn` cannot be 1 (write true, false, \"on\", \"off\" or \"auto\")",
        ],
    ),
    (
        "values in a list of the wrong type",
        "[servers.a]\nmodel = \"m\"\nargs = [\"--top-k\", 40]\ntensor_split = [1, \"x\"]\ndevices = []\n",
        &[
            "3:20 `args` cannot contain 40 (write text in quotes)",
            "4:16 `tensor_split` cannot be [1, \"x\"] (write a list of numbers: [3, 1])",
            "5:11 `devices` cannot be [] (write a list of names: [\"CUDA0\", \"CUDA1\"])",
        ],
    ),
    (
        "words that are not among the known",
        "[servers.a]\nmodel = \"m\"\nsplit_mode = \"rows\"\ncache_type_k = \"q3\"\nn_gpu_layers = \"most\"\nrestart = { policy = \"sometimes\" }\n",
        &[
            "3:14 `split_mode` cannot be \"rows\" (write \"none\", \"layer\", \"row\" or \"tensor\")",
            "4:16 `cache_type_k` cannot be \"q3\" (write \"f32\", \"f16\", \"bf16\", \"q8_0\", \"q4_0\", \"q4_1\", \"iq4_nl\", \"q5_0\" or \"q5_1\")",
            "5:16 `n_gpu_layers` cannot be \"most\" (write a whole number from 0, or \"auto\" or \"all\")",
            "6:22 `policy` cannot be \"sometimes\" (write \"always\", \"on-failure\" or \"never\")",
        ],
    ),
    (
        "numbers that are too small or too large",
        "[servers.a]\nmodel = \"m\"\nparallel = 0\nport = 65536\nctx_size = 99999999999999999999\n[servers.b]\nmodel = \"m\"\nport = 0\n",
        &[
            "3:12 `parallel` cannot be 0 (write a whole number from 1)",
            "4:8 `port` cannot be 65536 (write a port from 1 to 65535)",
            "5:12 `ctx_size` cannot be 99999999999999999999 (write a whole number from 0)",
            "8:8 `port` cannot be 0 (write a port from 1 to 65535)",
        ],
    ),
    (
        "a server without a model",
        "[servers.a]\nport = 8080\n[servers.b]\nmodel = \" \"\n",
        &[
            "1:10 the server a has no model (write `model`: its name in `magictl models list`, a path, or the name of a file)",
            "4:9 `model` cannot be \" \" (write in quotes the name of a model, of a file under a scan path, or a path; `~` is not expanded)",
        ],
    ),
    (
        "a bad name",
        "[servers.\"a b\"]\nmodel = \"m\"\n[servers.\"-m\"]\nmodel = \"m\"\n",
        &[
            "1:10 the name of a server cannot contain ' ': letters, digits, '.', '_', '-' and ':' are allowed (write another name)",
            "3:10 the name of a server cannot begin with '-': write a letter or a digit first (write another name)",
        ],
    ),
    (
        "a bad alias",
        "[servers.a]\nmodel = \"m\"\naliases = [\"gpt 4\", \"\", 4]\n",
        &[
            "3:12 an alias cannot contain ' ': letters, digits, '.', '_', '-' and ':' are allowed (write another alias)",
            "3:21 an alias cannot be empty (write another alias)",
            "3:25 `aliases` cannot contain 4 (write text in quotes)",
        ],
    ),
    (
        "an alias that is the name of a server",
        "[servers.a]\nmodel = \"m\"\naliases = [\"b\"]\n[servers.b]\nmodel = \"m\"\n",
        &["3:12 the alias b is the name of a server (line 4) (write another alias)"],
    ),
    (
        "an alias twice",
        "[servers.a]\nmodel = \"m\"\naliases = [\"x\", \"x\"]\n[servers.b]\nmodel = \"m\"\naliases = [\"x\"]\n",
        &[
            "3:17 the alias x is taken by a (line 3) (keep one of the two)",
            "6:12 the alias x is taken by a (line 3) (keep one of the two)",
        ],
    ),
    (
        "a port twice",
        "[servers.a]\nmodel = \"m\"\nport = 8080\n[servers.b]\nport = 8080\n",
        &[
            "4:10 the server b has no model (write `model`: its name in `magictl models list`, a path, or the name of a file)",
            "5:8 the port 8080 is taken by a (line 3) (write another port, or none: then magid chooses one)",
        ],
    ),
    (
        "a flag that magid owns",
        "[servers.a]\nmodel = \"m\"\nargs = [\"-m\", \"x\", \"--port=1\", \"--models_dir\", \"x\", \"--no-slots\"]\n",
        &[
            "3:9 `args` cannot contain -m (write `model`)",
            "3:20 `args` cannot contain --port (write `port`)",
            "3:32 `args` cannot contain --models-dir (write `model`)",
            "3:53 `args` cannot contain --no-slots (remove it: magid watches the server by them)",
        ],
    ),
    (
        "a flag that a key sets too",
        "[servers.a]\nmodel = \"m\"\nctx_size = 1\njinja = true\nargs = [\"-c\", \"2\", \"--ctx_size=2\", \"--no-jinja\"]\n",
        &[
            "5:9 `args` cannot contain -c beside `ctx_size` (keep one of the two)",
            "5:20 `args` cannot contain --ctx-size beside `ctx_size` (keep one of the two)",
            "5:36 `args` cannot contain --no-jinja beside `jinja` (keep one of the two)",
        ],
    ),
    (
        "two keys of which llama-server takes one",
        "[defaults]\nchat_template = \"chatml\"\n[servers.a]\nmodel = \"m\"\nchat_template_file = \"t.jinja\"\n",
        &["5:22 `chat_template_file` cannot stand beside `chat_template` (keep one of the two)"],
    ),
    (
        "a variable that magid owns",
        "[servers.a]\nmodel = \"m\"\nenv = { LLAMA_ARG_CTX_SIZE = \"1\", LLAMA_ARG_HOST = \"x\", LLAMA_ARG_TOP_K = \"1\", WATCHDOG_PID = \"1\", \"A=B\" = \"\" }\n",
        &[
            "3:9 `env` cannot contain LLAMA_ARG_CTX_SIZE (write `ctx_size`)",
            "3:35 `env` cannot contain LLAMA_ARG_HOST (write `host` in [llama_server] of magid.toml)",
            "3:57 `env` cannot contain LLAMA_ARG_TOP_K (put its flag into `args`)",
            "3:80 `env` cannot contain WATCHDOG_PID (remove it: it is magid that talks to systemd)",
            "3:100 a variable cannot have the name \"A=B\" (write a name without `=`)",
        ],
    ),
    (
        "a NUL character",
        "[servers.a]\nmodel = \"m\\u0000\"\nargs = [\"\\u0000\"]\nchat_template = \"\\u0000\"\n[servers.a.env]\nA = \"\\u0000\"\n",
        &[
            "2:9 `model` cannot be \"m\\u0000\" (write in quotes the name of a model, of a file under a scan path, or a path; `~` is not expanded)",
            "3:9 `args` cannot contain \"\\u0000\" (write text in quotes)",
            "4:17 `chat_template` cannot be \"\\u0000\" (write text in quotes, not empty)",
            "6:5 `env.A` cannot be \"\\u0000\" (write text in quotes)",
        ],
    ),
    (
        "a home that only a shell knows",
        "[servers.a]\nmodel = \"~/m.gguf\"\nmmproj = \"~/p.gguf\"\nllama_server = \"~/bin/llama-server\"\n",
        &[
            "2:9 `model` cannot be \"~/m.gguf\" (write in quotes the name of a model, of a file under a scan path, or a path; `~` is not expanded)",
            "3:10 `mmproj` cannot be \"~/p.gguf\" (write a path in quotes; `~` is not expanded)",
            "4:16 `llama_server` cannot be \"~/bin/llama-server\" (write a path in quotes; `~` is not expanded)",
        ],
    ),
    (
        "what cannot be a default",
        "[defaults]\nmodel = \"m\"\naliases = [\"x\"]\nport = 8080\n",
        &[
            "2:1 `model` cannot be a default (write it in each server)",
            "3:1 `aliases` cannot be a default (write it in each server)",
            "4:1 `port` cannot be a default (write it in each server)",
        ],
    ),
    (
        "a default that is wrong for every server",
        "[defaults]\nargs = [\"-c\", \"2\"]\nrestart = { initial_delay = \"2m\" }\n[servers.a]\nmodel = \"m\"\nctx_size = 1\n[servers.b]\nmodel = \"m\"\nctx_size = 1\n",
        &[
            "2:9 `args` cannot contain -c beside `ctx_size` (keep one of the two)",
            "3:29 `initial_delay` (120s) cannot be longer than `max_delay` (60s) (make the first wait the shorter one)",
        ],
    ),
    (
        "waits in the wrong order",
        "[servers.a]\nmodel = \"m\"\n[servers.a.restart]\ninitial_delay = \"2s\"\nmax_delay = \"1s\"\nmax_failures = 1001\nreset_after = 0\n",
        &[
            "4:17 `initial_delay` (2s) cannot be longer than `max_delay` (1s) (make the first wait the shorter one)",
            "6:16 `max_failures` cannot be 1001 (write a whole number from 0 to 1000; with 0 magid never gives up)",
            "7:15 `reset_after` cannot be 0 (write a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
        ],
    ),
    (
        "a key twice",
        "[servers.a]\nmodel = \"m\"\nmodel = \"n\"\nctxsize = 1\n[servers.a]\nport = 1\n",
        &[
            "3:1 cannot have `model` twice (keep one of the two)",
            "4:1 unknown key `ctxsize` (write `ctx_size`)",
            "5:10 cannot have `a` twice (keep one of the two)",
        ],
    ),
    (
        "a table in place of a value, and the reverse",
        "servers = 3\ndescription = { a = 1 }\n",
        &[
            "1:11 `servers` cannot be 3 (write [servers.NAME])",
            "2:15 `description` cannot be a table (write text in quotes)",
        ],
    ),
    (
        "a list of servers",
        "[[servers]]\nmodel = \"m\"\n",
        &["1:1 `servers` cannot be a list of tables (write [servers.NAME])"],
    ),
    (
        "text without quotes",
        "[servers.a]\nmodel = m.gguf\nautostart = yes\nparallel = 4x\nport = \"1\"\n",
        &[
            "2:9 cannot read the value m.gguf (write a number, true or false, or text in quotes: \"m.gguf\")",
            "3:13 cannot read the value yes (write a number, true or false, or text in quotes: \"yes\")",
            "4:12 cannot read the value 4x (write a number, true or false, or text in quotes: \"4x\")",
            "5:8 `port` cannot be \"1\" (write a port from 1 to 65535)",
        ],
    ),
    (
        "a value that is missing",
        "[servers.a]\nmodel =\nport\n",
        &[
            "2:8 a value is missing (write one behind the `=`)",
            "3:5 cannot parse this: key with no value (write `=`)",
        ],
    ),
    (
        "a bracket that is not closed",
        "[servers.a\nmodel = \"m\"\n",
        &["1:11 cannot parse this: unclosed table (write `]`)"],
    ),
    (
        "a quote that is not closed",
        "[servers.a]\nmodel = \"m\nport = 1\n",
        &["2:11 cannot parse this: invalid basic string (write `\"`)"],
    ),
    (
        "a list that is not closed",
        "[servers.a]\nmodel = \"m\"\nargs = [\"-x\",\n",
        &["3:14 cannot parse this: unclosed array (write `]`)"],
    ),
    (
        "a select that asks for what there is not",
        "[[select]]\ntier = \"slow\"\nkind = [\"chat\", \"music\"]\npattern = \"{a,b}\"\nlimit = 0\nquantization = []\n[[select]]\nlimits = 2\n",
        &[
            "2:8 `tier` cannot be \"slow\" (write \"fast\", \"balanced\" or \"powerful\", or several of them in a list)",
            "3:17 `kind` cannot contain \"music\" (write \"chat\", \"vision\", \"embedding\" or \"rerank\", or several of them in a list)",
            "4:11 `pattern` cannot be \"{a,b}\" (write in quotes letters, digits, '.', '_', '-', ':' and '/', with * for any characters and ? for one, or several such patterns in a list)",
            "5:9 `limit` cannot be 0 (write a whole number from 1)",
            "6:16 `quantization` cannot have 0 items (write 1 to 100, or leave the key out)",
            "8:1 unknown key `limits` (write `limit`)",
        ],
    ),
    (
        "a select with the keys of one server",
        "[[select]]\nmodel = \"m\"\naliases = [\"x\"]\nport = 8080\ncolor = \"15m\"\n",
        &[
            "2:1 `model` cannot stand in [[select]] (remove it, or write [servers.NAME] for the one server that it is for)",
            "3:1 `aliases` cannot stand in [[select]] (remove it, or write [servers.NAME] for the one server that it is for)",
            "4:1 `port` cannot stand in [[select]] (remove it, or write [servers.NAME] for the one server that it is for)",
            "5:1 unknown key `color` (remove it; what llama-server takes beyond these keys goes into `args`)",
        ],
    ),
    (
        "one select that is no list",
        "[select]\ntier = \"fast\"\n",
        &["1:1 `select` cannot be a table (write [[select]])"],
    ),
    (
        "a select that is no table",
        "select = [3]\n",
        &["1:11 `select` cannot be 3 (write [[select]])"],
    ),
    (
        "two incarnations on one port",
        "[defaults]\nreplace = \"blue-green\"\n[servers.a]\nmodel = \"m\"\nport = 8080\n[servers.b]\nmodel = \"m\"\nport = 8081\nreplace = \"blue-green\"\n[servers.c]\nmodel = \"m\"\nport = 8082\nreplace = \"auto\"\npriority = \"high\"\n[servers.d]\nmodel = \"m\"\nreplace = \"restart\"\n",
        &[
            "5:8 `port` cannot be fixed: `replace` of [defaults] is \"blue-green\" (write replace = \"drain-restart\" in this server, or remove `port`: then magid chooses one)",
            "9:11 `replace` cannot be \"blue-green\" beside a fixed `port` (write \"drain-restart\", or remove `port`: then magid chooses one)",
            "14:12 `priority` cannot be \"high\" (write a whole number such as 10 or -5)",
            "17:11 `replace` cannot be \"restart\" (write \"auto\", \"blue-green\" or \"drain-restart\")",
        ],
    ),
    (
        "requests that wait too long, or too many of them",
        "[servers.a]\nmodel = \"m\"\nidle_timeout = \"soon\"\nmax_queue = 20000\nmax_wait = 0\nmax_in_flight = -1\npin = 1\n",
        &[
            "3:16 `idle_timeout` cannot be \"soon\" (write a time such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "4:13 `max_queue` cannot be 20000 (write a whole number from 0 to 10000; with 0 none waits)",
            "5:12 `max_wait` cannot be 0 (write a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "6:17 `max_in_flight` cannot be -1 (write a whole number from 0; with 0 there is no limit)",
            "7:7 `pin` cannot be 1 (write true or false)",
        ],
    ),
    (
        "letters beyond ASCII before the error",
        "[servers.a]\nmodel = \"m\"\nargs = [\"hé世界\", \"-m\"]\n",
        &["3:17 `args` cannot contain -m (write `model`)"],
    ),
];

const DAEMONS: &[(&str, &str, &[&str])] = &[
    (
        "keys of magid.toml",
        "active_profle = \"x\"\n[control]\ngateway = \"all\"\n[llama_server]\nhots = \"::1\"\napi_key = \"secret\"\n[contrl]\n",
        &[
            "1:1 unknown key `active_profle` (write `active_profile`)",
            "3:11 `gateway` cannot be \"all\" (write \"serve\" or \"administer\")",
            "5:1 unknown key `hots` (write `host`)",
            "6:11 `api_key` cannot be \"secret\" (write \"auto\" or \"none\")",
            "7:2 unknown key `contrl` (write `control`)",
        ],
    ),
    (
        "an address that is none",
        "[llama_server]\nhost = \"localhost\"\n",
        &["2:8 `host` cannot be \"localhost\" (write an address such as \"127.0.0.1\" or \"::1\")"],
    ),
    (
        "ports in the wrong order",
        "[llama_server]\nport_range = [9000, 8000]\n[models]\nscan_paths = \"/models\"\n",
        &[
            "2:14 `port_range` cannot be [9000, 8000] (write two ports, the lower first: [8080, 8099])",
            "4:14 `scan_paths` cannot be \"/models\" (write a list: scan_paths = […])",
        ],
    ),
    (
        "times and sizes",
        "[llama_server]\nmax_startup_time = \"90x\"\nreadiness_check_interval = 0\ndrain_timeout = -1\nstop_timeout = 1.5\n[logs]\nmax_size = \"64\"\nkeep = 0\n",
        &[
            "2:20 `max_startup_time` cannot be \"90x\" (write a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "3:28 `readiness_check_interval` cannot be 0 (write a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "4:17 `drain_timeout` cannot be -1 (write a time such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "5:16 `stop_timeout` cannot be 1.5 (write a time such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "7:12 `max_size` cannot be \"64\" (write a size such as \"512KiB\", \"64MiB\" or \"4GiB\", or bytes)",
            "8:8 `keep` cannot be 0 (write a whole number from 1)",
        ],
    ),
    (
        "counts",
        "[llama_server]\nconcurrent_starts = 0\n[liveness]\nfailures = 0\nstall = \"0s\"\n[restart]\nmax_failures = -1\ninitial_delay = \"2m\"\n",
        &[
            "2:21 `concurrent_starts` cannot be 0 (write true, false or a whole number from 1)",
            "4:12 `failures` cannot be 0 (write a whole number from 1)",
            "5:9 `stall` cannot be \"0s\" (write a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds)",
            "7:16 `max_failures` cannot be -1 (write a whole number from 0 to 1000; with 0 magid never gives up)",
            "8:17 `initial_delay` (120s) cannot be longer than `max_delay` (60s) (make the first wait the shorter one)",
        ],
    ),
    (
        "memory that is none",
        "[memory]\nram = \"much\"\nvram = { CUDA0 = \"22GiB\", CUDA1 = 0 }\nmax_loaded = -1\nswap = 1\n[reload]\non_failure = \"stop\"\n",
        &[
            "2:7 `ram` cannot be \"much\" (write \"auto\", or a size such as \"24GiB\")",
            "3:35 `vram.CUDA1` cannot be 0 (write a size such as \"512KiB\", \"64MiB\" or \"4GiB\", or bytes)",
            "4:14 `max_loaded` cannot be -1 (write a whole number from 0; with 0 there is no limit)",
            "5:1 unknown key `swap` (remove it; known in [memory]: ram, vram, max_loaded)",
            "7:14 `on_failure` cannot be \"stop\" (write \"rollback\" or \"keep\")",
        ],
    ),
    (
        "memory of no device",
        "memory.vram = {}\n",
        &[
            "1:15 `vram` cannot be a table (write \"auto\", or a size for each device: { CUDA0 = \"22GiB\", CUDA1 = \"10GiB\" })",
        ],
    ),
    (
        "tiers in the wrong order",
        "[models.tiers]\nfast = \"20GB\"\nslow = 1\n[models]\nregistry = \"~/r.json\"\n",
        &[
            "2:8 `fast` (20000000000 bytes) cannot be larger than `balanced` (10000000000 bytes) (make the first size the smaller one)",
            "3:1 unknown key `slow` (remove it; known in [models.tiers]: fast, balanced)",
            "5:12 `registry` cannot be \"~/r.json\" (write a path in quotes; `~` is not expanded)",
        ],
    ),
    (
        "the name of a profile",
        "active_profile = \"../secrets\"\nstate_dir = \"\"\n",
        &[
            "1:18 the name of a profile cannot begin with '.': write a letter or a digit first (write the name of a file in profiles/, without `.toml`)",
            "2:13 `state_dir` cannot be \"\" (write a path in quotes; `~` is not expanded)",
        ],
    ),
];

/// `line:column message (help)`
fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let line = |found: &Diagnostic| {
        let at = found.origin.as_ref().unwrap();
        format!(
            "{}:{} {} ({})",
            at.line, at.column, found.message, found.help
        )
    };
    diagnostics.iter().map(line).collect()
}

#[test]
fn every_error_of_a_profile_is_told_with_its_place() {
    for (what, text, expected) in PROFILES {
        assert_eq!(lines(&profile(text).unwrap_err()), *expected, "{what}");
    }
}

#[test]
fn every_error_of_magid_toml_is_told_with_its_place() {
    for (what, text, expected) in DAEMONS {
        assert_eq!(lines(&daemon(text, &[]).unwrap_err()), *expected, "{what}");
    }
}

#[test]
fn bytes_that_are_no_text_are_placed() {
    let error = SourceFile::from_bytes("/x".into(), b"a = 1\nb = \"\xff\"".to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/x:2:6: error: cannot read what is not UTF-8 (save the file as UTF-8)"
    );
}

#[test]
fn a_diagnostic_shows_its_line_but_never_a_secret() {
    let text = "[servers.a]\nmodel = 3\nargs = [\"--api-key\", \"hunter2\", 7]\n";
    let source = file("/etc/magi/profiles/x.toml", text);
    let shown: Vec<_> = profile(text)
        .unwrap_err()
        .iter()
        .map(|error| error.render(Some(&source)))
        .collect();
    assert!(shown[0].contains("2 | model = 3\n"), "{}", shown[0]);
    assert!(
        shown[0].contains("--> /etc/magi/profiles/x.toml:2:9\n"),
        "{}",
        shown[0]
    );
    assert_eq!(shown.len(), 3);
    assert!(!shown.concat().contains("hunter2"));
}

#[test]
fn a_small_file_cannot_become_a_large_profile() {
    let variables: String = (0..5000).map(|n| format!("V{n} = \"1\"\n")).collect();
    let servers = |count| -> String {
        let servers = (0..count).map(|n| format!("[servers.s{n}]\nmodel = \"m\"\n"));
        servers.collect()
    };
    let text = |count| format!("[defaults.env]\n{variables}{}", servers(count));
    assert!(profile(&text(40)).is_ok());
    let error = &profile(&text(900)).unwrap_err()[0];
    assert!(
        error
            .message
            .starts_with("cannot copy `[defaults]` into 900 servers"),
        "{error}"
    );
}

#[test]
fn a_line_too_long_to_be_shown_is_told_by_its_place() {
    let text = format!("x = 1 #{}\n", "x".repeat(1_000_000));
    let errors = profile(&text).unwrap_err();
    let shown = errors[0].render(Some(&file("/etc/magi/profiles/x.toml", &text)));
    assert!(
        shown.contains("--> /etc/magi/profiles/x.toml:1:1"),
        "{shown}"
    );
    assert!(shown.len() < 1000);
}

#[test]
fn of_a_large_file_the_first_syntax_error_is_told() {
    let errors = profile(&format!("[servers]\n{}", "=\n".repeat(500_000))).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].origin.as_ref().unwrap().line, 2);
}
