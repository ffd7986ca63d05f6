//! What it costs.

use std::fs;

use tokio::time::Instant;

use super::super::testing::gguf;
use super::*;

const FILES: u64 = 10_000;

/// The memory of this process in KiB, of the kind that `/proc/self/status` calls so.
fn memory(kind: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(kind)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes 10,000 files; for the figures, in release"]
async fn ten_thousand_models_cost_so_much() {
    let folder = TempDir::new().unwrap();
    for number in 0..FILES {
        let path = folder
            .path()
            .join(format!("models/{}/model-{number}.gguf", number % 100));
        let bytes = gguf("llama", 1000 + number, &[("llama.context_length", 4096)]);
        super::super::testing::write_bytes(&path, &bytes);
    }
    let before = memory("VmRSS:");
    let begin = Instant::now();
    let registry = start(folder.path()).await;
    registry.scanned().await;
    println!("first scan: {:?}", begin.elapsed());
    assert_eq!(registry.snapshot().models.len() as u64, FILES);
    // The first scan is followed by one more, since folders were not watched before.
    registry.rescan().await.unwrap();
    for _ in 0..5 {
        let begin = Instant::now();
        registry.rescan().await.unwrap();
        println!("nothing changed: {:?}", begin.elapsed());
    }
    println!(
        "memory: {before} KiB before, {} KiB now, {} KiB at most",
        memory("VmRSS:"),
        memory("VmHWM:")
    );
    let change = OverridesChange {
        enabled: Change::Set(false),
        ..OverridesChange::default()
    };
    let begin = Instant::now();
    registry.set("model-7", change).await.unwrap();
    let file = fs::metadata(folder.path().join("state/registry.json")).unwrap();
    println!(
        "an override is on disk after {:?}, in {} bytes",
        begin.elapsed(),
        file.len()
    );
    drop(registry);
    let begin = Instant::now();
    let registry = start(folder.path()).await;
    println!("a restart has the models after {:?}", begin.elapsed());
    assert!(!registry.snapshot().models["model-7"].enabled());
    registry.scanned().await;
    println!("and has looked after {:?}", begin.elapsed());
    println!(
        "memory: {} KiB now, {} KiB at most",
        memory("VmRSS:"),
        memory("VmHWM:")
    );
}
