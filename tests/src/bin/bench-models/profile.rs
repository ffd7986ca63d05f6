//! What it costs to have many servers.

use std::path::Path;

use magi_proto::v1::{ReloadRequest, ReloadVerdict};
use magi_tests::harness::{Fleet, faulty_llama_server, llama_server, peak_memory};
use tokio::time::Instant;

use crate::engine;
use crate::folder;
use crate::registry::mebibytes;
use crate::table::{Figure, median, milliseconds};

/// How many servers there are: as many as a profile may have.
const SERVERS: usize = 1000;

/// How often each is done.
const TIMES: usize = 15;

/// The server that is edited.
const EDITED: &str = "edited";

/// Measures, and leaves magid stopped.
pub(crate) async fn measure(fleet: &mut Fleet, figures: &mut Vec<Figure>) {
    eprintln!("planning {SERVERS} servers");
    let real = llama_server();
    if let Some(real) = &real {
        fleet.set("llama_server.path", real.display().to_string());
    }
    let select = format!("[[select]]\npattern = \"model-*\"\nlimit = {SERVERS}\n");
    fleet.save_text(&select);
    fleet.start().await;
    plan(fleet, "one `[[select]]`", figures).await;
    fleet.terminate().await;

    fleet.save_text(&tables(SERVERS));
    fleet.start().await;
    plan(fleet, "tables", figures).await;
    let lists = whole(fleet, &["status"]).await;
    figures.push(Figure::new(
        format!("`magictl status` of {SERVERS} servers"),
        "ms",
        lists,
    ));
    record(fleet, figures).await;
    reload(
        fleet,
        &faulty_llama_server(),
        "a faulty llama-server",
        figures,
    )
    .await;
    // The faulty one cannot tell its flags to `magictl check`.
    if let Some(real) = &real {
        reload(fleet, real, "a real llama-server", figures).await;
        let checks = whole(fleet, &["check"]).await;
        figures.push(
            Figure::new(
                format!("`magictl check` of {SERVERS} servers"),
                "ms",
                checks,
            )
            .at_most(10_000.0),
        );
    }
    figures.push(Figure::new(
        format!("peak of magid's memory with {SERVERS} servers as well, after all this"),
        "MiB",
        vec![mebibytes(peak_memory(fleet.pid()))],
    ));
    fleet.terminate().await;
}

/// So many servers, each with a model of the registry; none is started.
fn tables(count: usize) -> String {
    let table = |number| {
        let model = folder::name(number);
        format!("[servers.\"s-{number:04}\"]\nmodel = \"{model}\"\nautostart = false\n\n")
    };
    (0..count).map(table).collect()
}

async fn plan(fleet: &Fleet, written_as: &str, figures: &mut Vec<Figure>) {
    let empty = median(&whole(fleet, &["daemon", "version"]).await);
    let plans = whole(fleet, &["plan"]).await;
    let beyond = plans.into_iter().map(|time| time - empty).collect();
    let mut asked = Vec::new();
    for _ in 0..TIMES {
        asked.push(ask(fleet, true).await);
    }
    figures.extend([
        Figure::new(format!("`magictl plan` of {SERVERS} servers as {written_as}, beyond `magictl daemon version`"), "ms", beyond).at_most(50.0),
        Figure::new("the same plan, asked by gRPC", "ms", asked).at_most(50.0),
    ]);
}

/// How long a reload takes, or only its plan.
async fn ask(fleet: &Fleet, dry_run: bool) -> f64 {
    let request = ReloadRequest {
        dry_run,
        wait: true,
        expected_generation: None,
    };
    let begin = Instant::now();
    let answer = fleet.daemon().reload(request).await;
    let time = milliseconds(begin);
    let answer = answer.expect("magid answers").into_inner();
    let expected = match dry_run {
        true => ReloadVerdict::Planned,
        false => ReloadVerdict::Applied,
    };
    assert_eq!(answer.verdict(), expected);
    assert_eq!(answer.steps.len(), SERVERS);
    time
}

/// How long a command takes, each time.
async fn whole(fleet: &Fleet, args: &[&str]) -> Vec<f64> {
    let mut values = Vec::new();
    for _ in 0..TIMES {
        let begin = Instant::now();
        fleet.magictl(args).await.expect_code(0);
        values.push(milliseconds(begin));
    }
    values
}

/// What a reload that touches no process takes beyond a plan: it is applied, and recorded.
async fn record(fleet: &Fleet, figures: &mut Vec<Figure>) {
    let (mut beyond, text) = (Vec::new(), tables(SERVERS));
    for number in 1..=TIMES {
        fleet.save_text(&format!("{text}priority = {number}\n"));
        let plan = ask(fleet, true).await;
        beyond.push(ask(fleet, false).await - plan);
    }
    figures.push(Figure::new(format!("recording and applying one edit of {SERVERS} servers that touches no process, beyond its plan"), "ms", beyond).at_most(10.0));
}

/// From an edit of one running server to the verdict, beyond what the server takes by itself.
async fn reload(fleet: &mut Fleet, program: &Path, what: &str, figures: &mut Vec<Figure>) {
    eprintln!("reloading {what}");
    let model = fleet.make_model(EDITED);
    let loads = engine::load_times(program, &model, fleet.port(0), TIMES).await;
    let own = median(&loads);
    let text = tables(SERVERS - 1);
    let save = |context: usize| {
        let table = format!(
            "[servers.{EDITED}]\nmodel = {model:?}\nllama_server = {program:?}\nctx_size = {context}\n\
             args = [\"-t\", \"1\", \"-tb\", \"1\"]\n"
        );
        fleet.save_text(&format!("{text}{table}"));
    };
    save(512);
    fleet.magictl(&["reload"]).await.expect_code(0);
    let mut values = Vec::new();
    for number in 1..=TIMES {
        let begin = Instant::now();
        save(512 + number);
        let reload = fleet.magictl(&["reload", "-o", "json"]).await;
        values.push(milliseconds(begin) - own);
        assert_eq!(reload.expect_code(0).json()["verdict"], "applied");
    }
    figures.extend([
        Figure::new(format!("save and `magictl reload` of one line for {what} among {SERVERS} servers, beyond its own load"), "ms", values).at_most(250.0),
        Figure::new(format!("own load of {what}, started by hand"), "ms", loads),
    ]);
}
