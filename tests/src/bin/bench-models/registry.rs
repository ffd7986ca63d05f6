//! What it costs to know many models.

use std::fs;
use std::time::Duration;

use magi_proto::v1::{ListModelsRequest, ModelTier, RescanModelsRequest};
use magi_tests::harness::{Fleet, peak_memory};
use tokio::time::{Instant, sleep};

use crate::folder::{self, LARGE_MODELS, MODELS};
use crate::table::{Figure, median, milliseconds};

/// How often magid is started.
const STARTS: usize = 7;

/// How often it is told to look again.
const RESCANS: usize = 20;

/// How often it is looked at while it looks.
const LOOK: Duration = Duration::from_millis(2);

/// What is compared with what others take, in milliseconds.
pub(crate) struct Scans {
    pub(crate) first: f64,
    pub(crate) unchanged: f64,
}

/// Measures, and leaves magid stopped with the models known.
pub(crate) async fn measure(fleet: &mut Fleet, figures: &mut Vec<Figure>) -> Scans {
    fleet.save_text("# no servers\n");
    // Before the first one is measured, the files have been read once.
    first_scan(fleet).await;
    fleet.terminate().await;
    eprintln!("scanning {MODELS} models");
    let (mut first, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        first.push(first_scan(fleet).await);
        let known = rescan(fleet).await;
        assert_eq!(known, MODELS);
        peaks.push(mebibytes(peak_memory(fleet.pid())));
        fleet.terminate().await;
    }
    let mut restarts = Vec::new();
    for _ in 0..STARTS {
        let begin = Instant::now();
        fleet.start().await;
        list(fleet).await;
        restarts.push(milliseconds(begin));
        fleet.terminate().await;
    }
    fleet.start().await;
    // The scan of the start may not have ended.
    rescan(fleet).await;
    let (mut unchanged, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..RESCANS {
        let begin = Instant::now();
        rescan(fleet).await;
        unchanged.push(milliseconds(begin));
    }
    for _ in 0..STARTS {
        let begin = Instant::now();
        list(fleet).await;
        lists.push(milliseconds(begin));
    }
    let scans = Scans {
        first: median(&first),
        unchanged: median(&unchanged),
    };
    figures.extend([
        Figure::new(
            format!("start of magid without a registry, until {MODELS} headers are read"),
            "ms",
            first,
        )
        .at_most(1000.0),
        Figure::new(
            "peak of its memory after that and a second scan",
            "MiB",
            peaks,
        )
        .at_most(64.0),
        Figure::new("scan when nothing changed", "ms", unchanged).at_most(100.0),
        Figure::new(
            "start of magid with a registry, until `magictl models list` has all",
            "ms",
            restarts,
        ),
        Figure::new("`magictl models list`, whole process", "ms", lists),
        Figure::new(
            "peak of its memory after all this",
            "MiB",
            vec![mebibytes(peak_memory(fleet.pid()))],
        )
        .at_most(64.0),
    ]);
    fleet.terminate().await;
    scans
}

/// Measures headers with large vocabularies, in a fleet of their own.
pub(crate) async fn large_headers(figures: &mut Vec<Figure>) {
    let mut fleet = Fleet::new();
    fleet.save_text("# no servers\n");
    eprintln!("writing {LARGE_MODELS} models with large vocabularies");
    folder::fill_large(&fleet.path("models"));
    first_scan(&mut fleet).await;
    fleet.terminate().await;
    let mut values = Vec::new();
    for _ in 0..STARTS {
        values.push(first_scan(&mut fleet).await);
        fleet.terminate().await;
    }
    figures.push(Figure::new(
        format!("start of magid without a registry, until {LARGE_MODELS} headers of 4 MB are read"),
        "ms",
        values,
    ));
}

/// Starts magid as if for the first time, and gives the time until it has looked at everything.
async fn first_scan(fleet: &mut Fleet) -> f64 {
    // There is none before the first start.
    let _ = fs::remove_dir_all(fleet.path("state"));
    let begin = Instant::now();
    fleet.start().await;
    let few = ListModelsRequest {
        tier: ModelTier::Powerful.into(),
        only_enabled: true,
    };
    loop {
        let answer = fleet.models().list_models(few).await;
        if answer
            .expect("magid answers")
            .get_ref()
            .scanned_at
            .is_some()
        {
            return milliseconds(begin);
        }
        sleep(LOOK).await;
    }
}

/// Has magid look again, and gives how many models it knows.
async fn rescan(fleet: &Fleet) -> usize {
    let report = fleet.models().rescan_models(RescanModelsRequest {}).await;
    report.expect("magid answers").get_ref().total as usize
}

async fn list(fleet: &Fleet) {
    let listed = fleet.magictl(&["models", "list"]).await.expect_code(0);
    let rows = listed.stdout.lines().count();
    assert!(rows >= MODELS, "{rows} lines for {MODELS} models");
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
