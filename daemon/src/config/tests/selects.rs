//! `[[select]]`: which models get a server, and what it is like.

use proptest::prelude::*;

use super::*;
use crate::gguf::{Kind, Tier};
use crate::name::ServerName;

fn model(id: &str, tier: Tier, gigabytes: u64) -> Candidate {
    Candidate {
        id: id.to_owned(),
        tier,
        quantization: "Q4_K_M".to_owned(),
        kind: Kind::Chat,
        size_bytes: gigabytes << 30,
        context_length: Some(32_768),
        enabled: true,
        available: true,
    }
}

fn models() -> Vec<Candidate> {
    vec![
        model("large-q4_k_m", Tier::Powerful, 20),
        model("middle-q4_k_m", Tier::Balanced, 5),
        Candidate {
            quantization: "Q8_0".to_owned(),
            ..model("small-q8_0", Tier::Fast, 2)
        },
        model("tiny-q4_k_m", Tier::Fast, 1),
        Candidate {
            kind: Kind::Embedding,
            context_length: Some(2048),
            ..model("vectors", Tier::Fast, 0)
        },
    ]
}

/// The servers and the lines of warnings of a profile.
fn expand(text: &str, models: &[Candidate]) -> (Vec<String>, Vec<String>) {
    let (servers, warnings) = profile(text).unwrap().expand(models);
    let line = |warning: &Diagnostic| {
        let at = warning.origin.as_ref().unwrap();
        assert_eq!(warning.severity, Severity::Warning);
        format!("{}: {} ({})", at.line, warning.message, warning.help)
    };
    (
        servers.keys().map(ToString::to_string).collect(),
        warnings.iter().map(line).collect(),
    )
}

/// The servers, where nothing is to be warned of.
fn names(text: &str) -> Vec<String> {
    let (names, warnings) = expand(text, &models());
    assert_eq!(warnings, [""; 0], "{text}");
    names
}

#[test]
fn a_select_without_filters_is_every_enabled_model_on_demand() {
    let (servers, _) = profile("[[select]]\n").unwrap().expand(&models());
    assert_eq!(servers.len(), 5);
    for (name, server) in &servers {
        assert_eq!(
            (name.as_str(), &*server.model),
            (&*server.model, name.as_str())
        );
        assert!(!server.autostart && server.aliases.is_empty() && server.port.is_none());
        assert_eq!(
            server.defined_at.to_string(),
            "/etc/magi/profiles/x.toml:1:1"
        );
    }
    let mut models = models();
    models[0].enabled = false;
    let (servers, _) = profile("[[select]]\n").unwrap().expand(&models);
    assert!(!servers.contains_key(&ServerName::new("large-q4_k_m").unwrap()));
}

#[test]
fn a_filter_is_one_value_or_several() {
    assert_eq!(names("[[select]]\ntier = \"powerful\"\n"), ["large-q4_k_m"]);
    assert_eq!(
        names("[[select]]\ntier = [\"powerful\", \"balanced\"]\n"),
        ["large-q4_k_m", "middle-q4_k_m"]
    );
    assert_eq!(
        names("[[select]]\nquantization = \"q8_*\"\n"),
        ["small-q8_0"]
    );
    assert_eq!(
        names("[[select]]\npattern = [\"tiny*\", \"*_0\"]\n"),
        ["small-q8_0", "tiny-q4_k_m"]
    );
    assert_eq!(names("[[select]]\nkind = \"embedding\"\n"), ["vectors"]);
    assert_eq!(
        names(
            "[[select]]\nkind = [\"chat\", \"vision\"]\ntier = \"fast\"\nquantization = \"Q4_?_M\"\n"
        ),
        ["tiny-q4_k_m"]
    );
}

#[test]
fn a_limit_takes_the_smallest_models() {
    assert_eq!(
        names("[[select]]\nkind = \"chat\"\nlimit = 2\n"),
        ["small-q8_0", "tiny-q4_k_m"]
    );
}

#[test]
fn the_first_select_that_matches_a_model_has_it() {
    let text =
        "[[select]]\npattern = \"tiny*\"\npriority = 1\n[[select]]\nkind = \"chat\"\nlimit = 2\n";
    assert_eq!(names(text), ["middle-q4_k_m", "small-q8_0", "tiny-q4_k_m"]);
    let (servers, _) = profile(text).unwrap().expand(&models());
    assert_eq!(
        servers[&ServerName::new("tiny-q4_k_m").unwrap()].priority,
        1
    );
    assert_eq!(servers[&ServerName::new("small-q8_0").unwrap()].priority, 0);
}

#[test]
fn a_select_has_the_keys_of_a_server_and_the_defaults() {
    let profile = profile(
        "[defaults]\nctx_size = 4096\npriority = -1\nautostart = true\n[[select]]\ntier = \"powerful\"\n\
         priority = 5\nreplace = \"blue-green\"\nargs = [\"--x\"]\nenv = { A = \"1\" }\n\
         llama_server = \"/opt/x\"\nrestart = { policy = \"never\" }\nembeddings = true\n",
    );
    let (servers, _) = profile.unwrap().expand(&models());
    let server = servers.into_values().next().unwrap();
    assert_eq!(
        server.settings.argv(),
        ["--ctx-size", "4096", "--embeddings"]
    );
    assert!(server.autostart, "the defaults say so");
    assert_eq!((server.priority, server.replace), (5, Replace::BlueGreen));
    assert_eq!((server.args.len(), server.env.len()), (1, 1));
    assert_eq!(server.llama_server.as_deref(), Some(Path::new("/opt/x")));
    assert_eq!(server.restart.mode, crate::lifecycle::RestartMode::Never);
}

#[test]
fn the_context_is_no_longer_than_the_model_was_trained_for() {
    let context = |keys: &str, trained| {
        let model = Candidate {
            context_length: trained,
            ..model("m", Tier::Fast, 1)
        };
        let (servers, _) = profile(&format!("[[select]]\n{keys}"))
            .unwrap()
            .expand(&[model]);
        let server = servers.into_values().next().unwrap();
        server.settings.get("ctx_size").map(str::to_owned)
    };
    assert_eq!(
        context("ctx_size = 8192\n", Some(2048)).as_deref(),
        Some("2048")
    );
    assert_eq!(
        context("ctx_size = 8192\n", Some(8192)).as_deref(),
        Some("8192")
    );
    assert_eq!(context("ctx_size = 8192\n", None).as_deref(), Some("8192"));
    assert_eq!(context("ctx_size = 0\n", Some(2048)).as_deref(), Some("0"));
    assert_eq!(context("", Some(2048)), None);
    // Each of four requests has a quarter.
    let four = "ctx_size = 16384\nparallel = 4\n";
    assert_eq!(context(four, Some(2048)).as_deref(), Some("8192"));
    assert_eq!(context(four, Some(u32::MAX)).as_deref(), Some("16384"));
}

#[test]
fn a_written_server_keeps_its_names() {
    let text = "[servers.tiny-q4_k_m]\nmodel = \"other.gguf\"\n[servers.b]\nmodel = \"m\"\n\
                aliases = [\"vectors\"]\n[[select]]\ntier = \"fast\"\n";
    let (servers, warnings) = expand(text, &models());
    assert_eq!(servers, ["b", "small-q8_0", "tiny-q4_k_m"]);
    assert_eq!(
        warnings,
        [
            "6: the model vectors has no server of this [[select]]: the name is taken by [servers.b] \
             (rename that server if it is not to serve vectors)",
            "6: the model tiny-q4_k_m has no server of this [[select]]: the name is taken by \
             [servers.tiny-q4_k_m] (rename that server if it is not to serve tiny-q4_k_m)",
        ]
    );
}

#[test]
fn a_written_server_for_the_model_itself_is_no_accident() {
    for model in ["tiny-q4_k_m", "tiny-q4_k_m.gguf"] {
        let text =
            format!("[servers.tiny-q4_k_m]\nmodel = \"{model}\"\nctx_size = 1\n[[select]]\n");
        assert_eq!(names(&text).len(), 5);
    }
}

#[test]
fn a_select_that_makes_no_server_is_told_at_its_place() {
    let (servers, warnings) = expand("\n[[select]]\npattern = \"nothing*\"\n", &models());
    assert!(servers.is_empty());
    assert_eq!(
        warnings,
        [
            "2: no enabled model matches this [[select]] (change what it asks for; `magictl models list` \
          shows what there is)"
        ]
    );
    let (_, warnings) = expand("[[select]]\n[[select]]\ntier = \"fast\"\n", &models());
    assert_eq!(
        warnings,
        [
            "2: every model that this [[select]] matches has a server of an earlier one (put the one that \
          matches fewer models first, or give the other a `limit`)"
        ]
    );
}

#[test]
fn a_model_whose_files_are_away_keeps_its_server() {
    let mut models = models();
    models[1].available = false;
    let (servers, warnings) = expand("[[select]]\ntier = \"balanced\"\n", &models);
    assert_eq!(servers, ["middle-q4_k_m"]);
    assert_eq!(
        warnings,
        [
            "1: the files are not there now of middle-q4_k_m (`magictl models list` says why; servers \
          that there are stay, others come when the files are back)"
        ]
    );
}

#[test]
fn a_model_that_no_server_can_be_named_after_is_told() {
    let strange: Vec<_> = ["a b", "../x", "", "\u{1b}[31m"]
        .map(|id| model(id, Tier::Fast, 1))
        .into();
    let (servers, warnings) = expand("[[select]]\n", &strange);
    assert!(servers.is_empty());
    assert_eq!(
        warnings,
        [
            "1: no server can be named after , \\u{1b}[31m, ../x and 1 more (write [servers.NAME] with \
          this `model`)"
        ]
    );
}

#[test]
fn no_more_servers_come_of_it_than_a_profile_may_have() {
    let many: Vec<_> = (0..MAX_SERVERS + 7)
        .map(|n| model(&format!("m{n}"), Tier::Fast, 1))
        .collect();
    let (servers, warnings) = expand("[servers.a]\nmodel = \"m\"\n[[select]]\n", &many);
    assert_eq!(servers.len(), MAX_SERVERS);
    assert_eq!(
        warnings,
        [
            "3: 8 models that this [[select]] matches have no server: 1000 are allowed (write a `limit`, \
          or match fewer models)"
        ]
    );
}

#[test]
fn the_built_in_profile_serves_every_model_on_demand() {
    let restart = crate::lifecycle::RestartPolicy {
        max_failures: 9,
        ..Default::default()
    };
    let built_in = builtin(&restart);
    assert_eq!(built_in.name, BUILTIN);
    let (servers, warnings) = built_in.expand(&models());
    assert_eq!((servers.len(), warnings.len()), (5, 0));
    for (name, server) in servers {
        let context = if name.as_str() == "vectors" {
            "2048"
        } else {
            "8192"
        };
        assert_eq!(server.settings.get("ctx_size"), Some(context));
        assert!(!server.autostart);
        assert_eq!(server.restart, restart);
    }
    let as_a_file = Profile {
        name: BUILTIN.into(),
        path: BUILTIN.into(),
        ..profile(BUILTIN_TEXT).unwrap()
    };
    assert_eq!(as_a_file, builtin(&Default::default()));
}

#[test]
fn no_file_is_the_built_in_profile() {
    let daemon = daemon("", &[]).unwrap().daemon;
    let file = file("/etc/magi/profiles/builtin.toml", BUILTIN_TEXT);
    let errors = parse_profile(BUILTIN, &file, &daemon).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "/etc/magi/profiles/builtin.toml:1:1: error: a file cannot be the profile `builtin`: magid has \
         it without one (give the file another name)"
    );
}

#[test]
fn what_all_copies_of_a_select_take_is_bounded() {
    let long = "x".repeat(17 * 1024);
    let errors = profile(&format!("[[select]]\nargs = [\"{long}\"]\n")).unwrap_err();
    assert_eq!(
        errors[0].message,
        "cannot have 1000 servers of [[select]] with 17472 bytes each"
    );
    assert!(profile(&format!("[[select]]\nlimit = 9\nargs = [\"{long}\"]\n")).is_ok());
}

const IDS: &[&str] = &["a-q4", "b-q8", "c", "d-q4", "e/f", "g"];

fn any_models() -> impl Strategy<Value = Vec<Candidate>> {
    let any = |id: &&str| {
        let id = (*id).to_owned();
        let tier = prop::sample::select(vec![Tier::Fast, Tier::Balanced, Tier::Powerful]);
        let kind = prop::sample::select(vec![Kind::Chat, Kind::Embedding]);
        let context = prop::option::of(1..10_000_u32);
        (tier, kind, context, 0..4_u64, any::<bool>(), any::<bool>()).prop_map(
            move |(tier, kind, context_length, size_bytes, enabled, available)| Candidate {
                id: id.clone(),
                tier,
                quantization: "Q4_0".to_owned(),
                kind,
                size_bytes,
                context_length,
                enabled,
                available,
            },
        )
    };
    IDS.iter().map(any).collect::<Vec<_>>()
}

const FILTERS: &[&str] = &[
    "",
    "tier = \"fast\"\n",
    "kind = \"chat\"\n",
    "pattern = \"*q4\"\n",
    "pattern = [\"a*\", \"c\"]\nctx_size = 4096\n",
    "quantization = \"Q8*\"\n",
];

fn any_profile() -> impl Strategy<Value = (String, Vec<usize>)> {
    let select = (prop::sample::select(FILTERS), 1..4_usize);
    prop::collection::vec(select, 0..4).prop_map(|selects| {
        let mut text = "[servers.g]\nmodel = \"other\"\n".to_owned();
        for (filter, limit) in &selects {
            text.push_str(&format!("[[select]]\nlimit = {limit}\n{filter}"));
        }
        (text, selects.iter().map(|select| select.1).collect())
    })
}

proptest! {
    #[test]
    fn the_order_of_models_means_nothing_and_limits_hold(
        (models, shuffled) in any_models().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        (text, limits) in any_profile(),
    ) {
        let profile = profile(&text).unwrap();
        let (servers, warnings) = profile.expand(&models);
        prop_assert_eq!((&servers, &warnings), (&profile.expand(&shuffled).0, &profile.expand(&shuffled).1));
        prop_assert!(servers.len() <= 1 + limits.iter().sum::<usize>());
        prop_assert_eq!(&servers[&ServerName::new("g").unwrap()], &profile.servers.into_values().next().unwrap());
        for (name, server) in servers.iter().filter(|(name, _)| name.as_str() != "g") {
            let model = models.iter().find(|model| model.id == name.as_str()).unwrap();
            prop_assert!(model.enabled);
            let context: Option<u32> = server.settings.get("ctx_size").map(|text| text.parse().unwrap());
            prop_assert!(context.is_none_or(|context| context <= model.context_length.unwrap_or(4096)));
        }
    }
}
