//! What good configurations mean.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::lifecycle::{RestartMode, RestartPolicy};

#[test]
fn nothing_at_all_is_the_defaults() {
    let nothing = parse_daemon(None, &Environment::default(), &locations()).unwrap();
    assert_eq!(nothing, daemon("", &[]).unwrap());
    let daemon = nothing.daemon;
    assert_eq!(daemon.active_profile.name, "development");
    assert_eq!(daemon.active_profile.chosen_by, ChosenBy::Default);
    assert_eq!(daemon.llama_server, LlamaServerConfig::default());
    assert_eq!(daemon.restart, RestartPolicy::default());
    assert_eq!(daemon.state_dir, Path::new("/home/u/.local/state/magi"));
    assert!(daemon.scan_paths.iter().all(|path| !path.written_down));
    assert_eq!(nothing.overridden, [""; 0]);
}

#[test]
fn three_lines_are_a_profile() {
    let profile = profile("[servers.alpha]\nmodel = \"alpha.gguf\"\nn_gpu_layers = 99\n").unwrap();
    let (name, server) = profile.servers.first_key_value().unwrap();
    assert_eq!(name.as_str(), "alpha");
    assert!(server.autostart);
    assert_eq!(server.restart, RestartPolicy::default());
    assert_eq!(server.settings.argv(), ["--n-gpu-layers", "99"]);
    assert_eq!(
        server.defined_at.to_string(),
        "/etc/magi/profiles/x.toml:1:10"
    );
    assert_eq!(server.model_at.to_string(), "/etc/magi/profiles/x.toml:2:9");
}

#[test]
fn every_key_becomes_its_flag() {
    let server = server(
        "ctx_size = 1\nparallel = 2\nthreads = 3\nthreads_batch = 4\nbatch_size = 5\n\
         ubatch_size = 6\nn_gpu_layers = \"all\"\ndevices = [\"CUDA0\", \"CUDA1\"]\n\
         split_mode = \"row\"\ntensor_split = [3, 1.5]\nmain_gpu = 0\ncache_type_k = \"q8_0\"\n\
         cache_type_v = \"f16\"\nflash_attn = true\nload_mode = \"mlock\"\nmmproj = \"p.gguf\"\n\
         embeddings = true\nreranking = true\npooling = \"rank\"\njinja = false\n\
         chat_template_file = \"/t.jinja\"\n",
    );
    assert_eq!(
        server.settings.argv().join(" "),
        "--ctx-size 1 --parallel 2 --threads 3 --threads-batch 4 --batch-size 5 --ubatch-size 6 \
         --n-gpu-layers all --device CUDA0,CUDA1 --split-mode row --tensor-split 3,1.5 \
         --main-gpu 0 --cache-type-k q8_0 --cache-type-v f16 --flash-attn on --load-mode mlock \
         --mmproj /etc/magi/profiles/p.gguf --embeddings --reranking --pooling rank --no-jinja \
         --chat-template-file /t.jinja"
    );
    assert_eq!(server.settings.entries().next(), Some(("ctx_size", "1")));
    assert_eq!(server.settings.get("flash_attn"), Some("on"));
}

#[test]
fn what_a_model_is_for_makes_its_flags_unless_the_profile_says_otherwise() {
    use crate::gguf::Kind;
    let flags = |keys: &str, kind, mmproj| server(keys).settings_for(kind, mmproj).argv().join(" ");
    assert_eq!(flags("", Kind::Chat, None), "");
    assert_eq!(flags("", Kind::Embedding, None), "--embeddings");
    assert_eq!(flags("", Kind::Rerank, None), "--reranking");
    assert_eq!(flags("", Kind::Vision, Some("/p.gguf")), "--mmproj /p.gguf");
    assert_eq!(flags("embeddings = false\n", Kind::Embedding, None), "");
    assert_eq!(
        flags("mmproj = \"/own.gguf\"\n", Kind::Vision, Some("/p.gguf")),
        "--mmproj /own.gguf"
    );
    for arg in ["--no-mmproj", "-mm", "--mmproj=/x.gguf"] {
        let keys = format!("args = [\"{arg}\"]\n");
        assert_eq!(flags(&keys, Kind::Vision, Some("/p.gguf")), "", "{arg}");
    }
}

#[test]
fn a_server_says_it_over_the_defaults_tables_key_by_key() {
    let profile = profile(
        "[defaults]\nautostart = false\nctx_size = 1\nembeddings = true\nargs = [\"--x\"]\n\
         llama_server = \"bin/llama-server\"\nenv = { A = \"1\", B = \"1\" }\n\
         restart = { policy = \"never\", max_delay = \"9s\" }\n\
         [servers.own]\nmodel = \"m\"\nautostart = true\nctx_size = 2\nembeddings = false\n\
         args = []\nllama_server = \"llama-server\"\nenv = { B = \"2\" }\n\
         restart = { policy = \"on-failure\" }\n\
         [servers.same]\nmodel = \"m\"\n",
    )
    .unwrap();
    let [own, same] = &profile.servers.values().collect::<Vec<_>>()[..] else {
        panic!("two servers")
    };
    assert!(own.autostart && !same.autostart);
    assert_eq!(own.settings.argv(), ["--ctx-size", "2"]);
    assert_eq!(same.settings.argv(), ["--ctx-size", "1", "--embeddings"]);
    assert_eq!((own.args.len(), same.args.len()), (0, 1));
    assert_eq!(own.llama_server.as_deref(), Some(Path::new("llama-server")));
    let beside = Path::new("/etc/magi/profiles/bin/llama-server");
    assert_eq!(same.llama_server.as_deref(), Some(beside));
    assert_eq!(own.env.values().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(own.restart.mode, RestartMode::OnFailure);
    assert_eq!(own.restart.max_delay, Duration::from_secs(9));
    assert_eq!(same.restart.mode, RestartMode::Never);
}

#[test]
fn times_and_sizes_are_written_with_units_or_without() {
    let seconds = |text: &str| {
        let text = format!("[llama_server]\nstop_timeout = {text}\n");
        daemon(&text, &[])
            .unwrap()
            .daemon
            .llama_server
            .stop_timeout
            .as_secs_f64()
    };
    assert_eq!(seconds("0"), 0.0);
    assert_eq!(seconds("90"), 90.0);
    assert_eq!(seconds("\"500ms\""), 0.5);
    assert_eq!(seconds("\"1m 30s\""), 90.0);
    assert_eq!(seconds("\"2h\""), 7200.0);
    assert_eq!(seconds("\"1d\""), 86400.0);
    let bytes = |text: &str| {
        daemon(&format!("[logs]\nmax_size = {text}\n"), &[])
            .unwrap()
            .daemon
            .logs
            .max_size
    };
    assert_eq!(bytes("1_000"), 1000);
    assert_eq!(bytes("\"4 KiB\""), 4096);
    assert_eq!(bytes("\"64MiB\""), 64 << 20);
    assert_eq!(bytes("\"1GB\""), 1_000_000_000);
}

#[test]
fn a_number_that_overflows_is_an_error() {
    for text in [
        "\"18446744073709551615d\"",
        "\"11y\"",
        "9223372036854775807",
        "\"\"",
        "\"s\"",
    ] {
        assert!(
            daemon(&format!("[llama_server]\nstop_timeout = {text}\n"), &[]).is_err(),
            "{text}"
        );
    }
    for text in ["\"18446744073709551615TiB\"", "-1", "\"0B\""] {
        assert!(
            daemon(&format!("[logs]\nmax_size = {text}\n"), &[]).is_err(),
            "{text}"
        );
    }
}

#[test]
fn a_profile_without_servers_is_worth_a_warning() {
    let daemon = daemon("", &[]).unwrap().daemon;
    let parsed = parse_profile("x", &file("/x.toml", "# nothing yet\n"), &daemon).unwrap();
    assert_eq!(
        parsed.warnings[0].to_string(),
        "warning: the profile x has no servers (write [servers.NAME] with a `model`, or [[select]])"
    );
}

#[test]
fn too_much_is_refused() {
    let servers: String = (0..=MAX_SERVERS)
        .map(|n| format!("[servers.s{n}]\nmodel = \"m\"\n"))
        .collect();
    let errors = profile(&servers).unwrap_err();
    assert_eq!(errors[0].message, "cannot have 1001 servers");
    assert_eq!(errors[0].origin.as_ref().unwrap().line, 2 * MAX_SERVERS + 1);
    let errors = profile(&"#".repeat(MAX_FILE_SIZE + 1)).unwrap_err();
    assert_eq!(errors[0].message, "cannot read a file of 1048577 bytes");
    let errors = profile(&"x = 1\n".repeat(5000)).unwrap_err();
    assert_eq!(errors.len(), 100);
}

#[test]
fn the_environment_wins_and_is_named() {
    let text =
        "active_profile = \"a\"\n[llama_server]\nhost = \"127.0.0.1\"\nport_range = [1, 2]\n";
    let variables = [
        ("MAGI_PROFILE", "b"),
        ("ACTIVE_PROFILE", "c"),
        ("MODEL_SCAN_PATH", "/models:more:"),
        ("LLAMA_SERVER_PATH", "bin/llama-server"),
        ("LLAMA_SERVER_HOST", "::1"),
        ("MODEL_PORT_RANGE_END", "9"),
        ("MAX_STARTUP_TIME", "300"),
        ("READINESS_CHECK_INTERVAL", "500ms"),
        ("MODEL_CONCURRENT_STARTS", "False"),
        ("MODEL_MAX_STARTUP_TIME", ""),
    ];
    let parsed = daemon(text, &variables).unwrap();
    let llama_server = parsed.daemon.llama_server;
    assert_eq!(parsed.daemon.active_profile.name, "b");
    assert_eq!(
        parsed.daemon.active_profile.chosen_by,
        ChosenBy::Variable("MAGI_PROFILE")
    );
    let paths: Vec<_> = parsed
        .daemon
        .scan_paths
        .into_iter()
        .map(|scan| scan.path)
        .collect();
    assert_eq!(paths, [Path::new("/models"), Path::new("/srv/more")]);
    assert_eq!(llama_server.path, Path::new("/srv/bin/llama-server"));
    assert_eq!(llama_server.host.to_string(), "::1");
    assert_eq!(llama_server.port_range, 1..=9);
    assert_eq!(llama_server.max_startup_time.as_secs(), 300);
    assert_eq!(llama_server.readiness_check_interval.as_millis(), 500);
    assert_eq!(
        llama_server.concurrent_starts,
        ConcurrentStarts::Limited(std::num::NonZeroU32::MIN)
    );
    assert_eq!(
        parsed.overridden,
        [
            "active_profile (MAGI_PROFILE)",
            "models.scan_paths (MODEL_SCAN_PATH)",
            "llama_server.path (LLAMA_SERVER_PATH)",
            "llama_server.host (LLAMA_SERVER_HOST)",
            "llama_server.max_startup_time (MAX_STARTUP_TIME)",
            "llama_server.readiness_check_interval (READINESS_CHECK_INTERVAL)",
            "llama_server.concurrent_starts (MODEL_CONCURRENT_STARTS)",
            "llama_server.port_range (MODEL_PORT_RANGE_END)",
        ]
    );
    assert_eq!(
        parsed.warnings[0].to_string(),
        "warning: the variable ACTIVE_PROFILE is not used: MAGI_PROFILE says something else \
         (unset ACTIVE_PROFILE)"
    );
}

#[test]
fn a_bad_variable_is_told_beside_the_errors_of_the_file() {
    let variables = [
        ("MODEL_PORT_RANGE_START", "9000"),
        ("MAX_STARTUP_TIME", "soon"),
    ];
    let errors = daemon("[llama_server]\nhost = 3\n", &variables).unwrap_err();
    let messages: Vec<_> = errors.iter().map(|error| &*error.message).collect();
    assert_eq!(
        messages,
        [
            "`host` cannot be 3",
            "the variable MAX_STARTUP_TIME cannot be \"soon\"",
            "the variables MODEL_PORT_RANGE_START and MODEL_PORT_RANGE_END cannot make a range \
             from 9000 to 8099",
        ]
    );
}

#[test]
fn the_log_level_is_a_variable_in_any_case() {
    let level = |text| environment(&[("LOG_LEVEL", text)]).log_level();
    assert_eq!(level(""), Ok(LogLevel::Info));
    assert_eq!(level("DEBUG"), Ok(LogLevel::Debug));
    assert_eq!(level("Warning"), Ok(LogLevel::Warn));
    assert_eq!(
        level("loud").unwrap_err().message,
        "the variable LOG_LEVEL cannot be \"loud\""
    );
}

#[test]
fn the_registry_is_in_the_state_directory_unless_somebody_says_otherwise() {
    let registry = |text, variables: &[_]| daemon(text, variables).unwrap().daemon.registry;
    assert_eq!(
        registry("", &[]),
        locations().state_dir.join("model_registry.json")
    );
    let written = "state_dir = \"/s\"\n[models]\nregistry = \"r/m.json\"\n";
    assert_eq!(registry(written, &[]), Path::new("/s/r/m.json"));
    let variable = ("REGISTRY_PATH", "here.json");
    assert_eq!(registry(written, &[variable]), Path::new("/srv/here.json"));
    assert_eq!(
        daemon(written, &[variable]).unwrap().overridden,
        ["models.registry (REGISTRY_PATH)"]
    );
}

#[test]
fn memory_is_a_size_or_what_there_is() {
    let memory = |text: &str| {
        daemon(&format!("[memory]\n{text}"), &[])
            .unwrap()
            .daemon
            .memory
    };
    assert_eq!(
        memory("ram = \"auto\"\nvram = \"auto\"\nmax_loaded = 0\n"),
        MemoryConfig::default()
    );
    assert_eq!(memory("ram = \"24GiB\"\n").ram, RamBudget::Bytes(24 << 30));
    let devices = [("CUDA0".to_owned(), 22 << 30), ("CUDA1".to_owned(), 1000)];
    assert_eq!(
        memory("vram = { CUDA1 = 1000, CUDA0 = \"22GiB\" }\n").vram,
        VramBudget::Devices(devices.into())
    );
    assert_eq!(memory("max_loaded = 3\n").max_loaded, 3);
}

#[test]
fn tiers_are_sizes() {
    let text = "[models.tiers]\nfast = \"2GB\"\nbalanced = \"2GiB\"\n";
    let tiers = daemon(text, &[]).unwrap().daemon.tiers;
    assert_eq!((tiers.fast, tiers.balanced), (2_000_000_000, 2 << 30));
    assert_eq!(daemon("", &[]).unwrap().daemon.tiers, Default::default());
}

#[test]
fn folders_that_magid_holds_need_a_restart() {
    let old = daemon("", &[]).unwrap().daemon;
    let new = daemon(
        "active_profile = \"x\"\nstate_dir = \"/s\"\nprofiles_dir = \"p\"\n[logs]\nkeep = 1\n",
        &[],
    );
    let new = new.unwrap().daemon;
    assert_eq!(new.profiles_dir, Path::new("/etc/magi/p"));
    assert_eq!(
        restart_only_differences(&old, &new),
        [
            "state_dir",
            "runtime_dir",
            "log_dir",
            "profiles_dir",
            "models.registry"
        ]
    );
    assert_eq!(restart_only_differences(&new, &new), [""; 0]);
}

#[test]
fn only_white_space_is_blank() {
    assert!(is_blank("") && is_blank(" \r\n\t") && is_blank("\u{feff}\n"));
    assert!(!is_blank("# still here\n"));
}

/// A sample with its keys written down: `#key` is one, `# text` and `#:schema` are comments.
fn uncomment(sample: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with([' ', ':']) => format!("{key}\n"),
        Some(_) | None => format!("{line}\n"),
    };
    sample.lines().map(line).collect()
}

#[test]
fn the_sample_of_magid_toml_says_the_defaults() {
    let sample = include_str!("../../../../config/magid.toml");
    assert_eq!(daemon(sample, &[]), daemon("", &[]));
    let read = |file| parse_daemon(file, &Environment::default(), &find(&[], None, true)).unwrap();
    let uncommented = file("/etc/magi/magid.toml", &uncomment(sample));
    let written = read(Some(&uncommented)).daemon;
    let absent = read(None).daemon;
    assert_eq!(written.active_profile.chosen_by, ChosenBy::File);
    assert!(written.scan_paths.iter().all(|path| path.written_down));
    // Who wrote them down is all that differs.
    let active_profile = absent.active_profile.clone();
    let scan_paths = absent.scan_paths.clone();
    assert_eq!(
        DaemonConfig {
            active_profile,
            scan_paths,
            ..written
        },
        absent
    );
}

const SHIPPED: [&str; 3] = [
    include_str!("../../../../config/profiles/development.toml"),
    include_str!("../../../../config/profiles/production.toml"),
    include_str!("../../../../config/profiles/fast-only.toml"),
];

#[test]
fn the_shipped_profiles_are_good_with_and_without_what_they_show() {
    for sample in SHIPPED {
        let plain = profile(sample).unwrap();
        assert!(plain.servers.is_empty() && plain.description.is_some());
        assert_eq!(profile(&uncomment(sample)).unwrap().servers.len(), 1);
        assert!(sample.starts_with("#:schema ../schema/profile.schema.json\n"));
    }
}

#[test]
fn the_shipped_profiles_take_what_they_say_of_any_models() {
    use crate::gguf::{Kind, Tier};
    let model = |tier: Tier, kind: Kind, number: u64| Candidate {
        id: format!("{tier:?}-{kind:?}-{number}"),
        tier,
        quantization: "Q4_K_M".into(),
        kind,
        size_bytes: number << 30,
        context_length: None,
        enabled: true,
        available: true,
    };
    let tiers = [Tier::Fast, Tier::Balanced, Tier::Powerful];
    let all: Vec<_> = tiers
        .into_iter()
        .flat_map(|tier| [1, 2, 3].map(|number| (tier, number)))
        .flat_map(|(tier, number)| {
            [Kind::Chat, Kind::Embedding].map(|kind| model(tier, kind, number))
        })
        .collect();
    let taken = SHIPPED.map(|text| {
        let (servers, warnings) = profile(text).unwrap().expand(&all);
        assert_eq!(warnings, []);
        assert!(servers.values().all(|server| server.autostart));
        servers
            .into_values()
            .map(|server| server.model)
            .collect::<Vec<_>>()
    });
    let [fast, second] = ["Fast-Chat-1", "Fast-Chat-2"].map(str::to_owned);
    let [balanced, powerful] = ["Balanced-Chat-1", "Powerful-Chat-1"].map(str::to_owned);
    assert_eq!(taken[0], [balanced.clone(), fast.clone(), second.clone()]);
    assert_eq!(taken[1], [balanced, fast.clone(), second.clone(), powerful]);
    assert_eq!(taken[2], [fast, second]);
}

/// They are what fuzzing begins with.
#[test]
fn the_seeds_with_every_key_are_valid() {
    let text = include_str!("../../../../fuzz/corpus/magid_toml/every-key.toml");
    daemon(text, &[]).unwrap();
    let text = include_str!("../../../../fuzz/corpus/profile/every-key.toml");
    let profile = profile(text).unwrap();
    let servers = profile.servers.values();
    let set: BTreeSet<_> = servers
        .flat_map(|server| server.settings.entries())
        .collect();
    let set: BTreeSet<_> = set.into_iter().map(|(key, _)| key).collect();
    let left: Vec<_> = settings::KEYS
        .iter()
        .map(|key| key.name)
        .filter(|key| !set.contains(key))
        .collect();
    assert_eq!(
        left,
        ["reranking", "chat_template"],
        "one is off, one excludes another"
    );
}
