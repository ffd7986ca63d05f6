use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::config::{RamBudget, VramBudget};

const MIB: u64 = 1 << 20;

/// What a process takes beside its model, if nothing is known of its vocabulary.
const PROCESS: u64 = 24 * MIB + 160_000 * 512;

/// A folder with a model of a byte, and programs that say what a test wants.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            folder: TempDir::new().unwrap(),
        };
        bench.program("llama-server", "echo 'Available devices:'; echo '  (none)'");
        fs::write(bench.path("model.gguf"), "m").unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a program there. It is written by another process: while we have a file open for writing,
    /// what other tests start has it too, and it cannot be executed.
    fn program(&self, name: &str, script: &str) {
        let text = self.path("script");
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mut install = Command::new("install");
        install.args(["-m", "755"]).arg(text).arg(self.path(name));
        assert!(install.status().unwrap().success());
    }

    /// Has llama-fit-params say that a model takes so many MiB, and count how often it is asked.
    fn fit(&self, mebibytes: u64) {
        let asked = self.path("asked");
        let script = format!("echo >> {}; echo 'Host {mebibytes} 0 0'", asked.display());
        self.program("llama-fit-params", &script);
    }

    fn asked(&self) -> usize {
        fs::read(self.path("asked")).map_or(0, |bytes| bytes.len())
    }

    async fn memory(&self, mebibytes: u64) -> MemoryHandle {
        let config = MemoryConfig {
            ram: RamBudget::Bytes(PROCESS + mebibytes * MIB),
            ..MemoryConfig::default()
        };
        MemoryHandle::spawn(config, self.folder.path()).await
    }

    fn inputs(&self) -> Inputs {
        Inputs {
            engine: self.path("llama-server"),
            model: vec![self.path("model.gguf")],
            arguments: vec!["--parallel".into(), "1".into()],
            ..Inputs::default()
        }
    }

    fn request(&self, name: &str, priority: i32) -> Request {
        Request {
            account: Account::new(name),
            priority,
            inputs: self.inputs(),
        }
    }
}

type Told = watch::Receiver<Option<Shortage>>;

fn reserve(
    memory: &MemoryHandle,
    request: Request,
) -> (JoinHandle<Result<Reservation, Never>>, Told) {
    let (on_wait, told) = watch::channel(None);
    let memory = memory.clone();
    let reserved = tokio::spawn(async move { memory.reserve(request, &on_wait).await });
    (reserved, told)
}

/// Waits until the reservation waits for room, and says for what.
async fn shortage(told: &mut Told) -> String {
    let shortage = told.wait_for(Option::is_some).await.unwrap();
    shortage.as_ref().unwrap().to_string()
}

/// What is reserved.
fn demand(memory: &MemoryHandle, reservation: &Reservation) -> Demand {
    let rows = memory.snapshot().rows.into_iter();
    let mut own = rows.filter(|row| row.account == reservation.account);
    own.next().unwrap().demand
}

/// Waits until what an account has is exact.
async fn exact(memory: &MemoryHandle, name: &str) -> Demand {
    loop {
        let snapshot = memory.snapshot();
        let row = snapshot
            .rows
            .iter()
            .find(|row| row.account.as_str() == name)
            .unwrap();
        if row.demand.source == Source::Fit {
            return row.demand.clone();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_fits_by_estimate_is_granted_at_once_and_corrected_later() {
    let bench = Bench::new();
    let go = bench.path("go");
    let wait = format!("until [ -e {} ]; do sleep 0.01; done", go.display());
    bench.program("llama-fit-params", &format!("{wait}; echo 'Host 99 0 0'"));
    let memory = bench.memory(100).await;
    let reserved = reserve(&memory, bench.request("a", 0))
        .0
        .await
        .unwrap()
        .unwrap();
    assert_eq!(demand(&memory, &reserved).source, Source::Estimate);
    fs::write(go, "").unwrap();
    // Each of the three figures may have been rounded down by a MiB.
    assert_eq!(exact(&memory, "a").await.ram, PROCESS + 102 * MIB);
}

#[tokio::test]
async fn a_server_that_does_not_fit_by_estimate_is_decided_by_the_exact_figure() {
    let bench = Bench::new();
    bench.fit(10);
    // A tenth is added to an estimate, which is more than there is.
    let memory = bench.memory(0).await;
    memory.configure(MemoryConfig {
        ram: RamBudget::Bytes(PROCESS + 13 * MIB - 1),
        ..MemoryConfig::default()
    });
    let fs_model = fs::File::options()
        .write(true)
        .open(bench.path("model.gguf"))
        .unwrap();
    fs_model.set_len(20 * MIB).unwrap();
    let never = reserve(&memory, bench.request("a", 0))
        .0
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(never.0.needs, PROCESS + 13 * MIB);
    memory.configure(MemoryConfig {
        ram: RamBudget::Bytes(PROCESS + 13 * MIB),
        ..MemoryConfig::default()
    });
    let reserved = reserve(&memory, bench.request("a", 0))
        .0
        .await
        .unwrap()
        .unwrap();
    assert_eq!(demand(&memory, &reserved).source, Source::Fit);
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn a_server_waits_with_the_numbers_until_there_is_room() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    let first = reserve(&memory, bench.request("a", 0)).0.await.unwrap();
    assert!(first.is_ok());
    let (second, mut told) = reserve(&memory, bench.request("b", 0));
    let shortage = shortage(&mut told).await;
    assert!(shortage.ends_with("are reserved"), "{shortage}");
    drop(first);
    assert!(second.await.unwrap().is_ok());
    assert_eq!(*told.borrow(), None);
}

#[tokio::test]
async fn a_reservation_that_is_abandoned_is_withdrawn() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    let first = reserve(&memory, bench.request("a", 0)).0.await.unwrap();
    assert!(first.is_ok());
    let (second, mut told) = reserve(&memory, bench.request("b", 9));
    shortage(&mut told).await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    drop(first);
    assert!(memory.snapshot().rows.is_empty());
}

#[tokio::test]
async fn of_servers_that_start_together_the_higher_priority_has_the_memory() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    let expected = [("high", 5), ("low", 1)];
    memory.expect(
        expected
            .map(|(name, priority)| (Account::new(name), priority))
            .to_vec(),
    );
    let (_low, mut told) = reserve(&memory, bench.request("low", 1));
    let high = reserve(&memory, bench.request("high", 5)).0.await.unwrap();
    assert!(high.is_ok());
    shortage(&mut told).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_waiting_for_ever_for_one_that_never_asks() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    memory.expect(vec![(Account::new("lost"), 9)]);
    let mut request = bench.request("a", 0);
    // No program is run: while one is, the paused clock would run on.
    request.inputs.arguments = vec!["--device".into(), "none".into()];
    assert!(reserve(&memory, request).0.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_was_found_out_is_known_after_a_restart() {
    let bench = Bench::new();
    bench.fit(50);
    let memory = bench.memory(1000).await;
    let (name, account) = ("a", Account::new("a"));
    let reserved = reserve(&memory, bench.request(name, 0)).0.await.unwrap();
    assert!(reserved.is_ok());
    exact(&memory, name).await;
    memory.observe(&account, 200 * MIB);
    drop(memory);
    let file = bench.path(FILE);
    while !fs::read_to_string(&file).is_ok_and(|text| text.contains("209715200")) {
        tokio::task::yield_now().await;
    }
    let memory = bench.memory(1000).await;
    let known = memory.needs(vec![bench.inputs()]).await;
    assert_eq!(known[0].source, Source::Observed);
    assert_eq!(known[0].ram, 200 * MIB);
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn a_running_server_is_corrected_upwards_only() {
    let bench = Bench::new();
    let memory = bench.memory(1000).await;
    let account = Account::new("a");
    let reserved = reserve(&memory, bench.request("a", 0)).0.await.unwrap();
    let reserved = reserved.unwrap();
    let before = demand(&memory, &reserved);
    memory.observe(&account, 1);
    assert_eq!(memory.snapshot().rows[0].demand, before);
    memory.observe(&account, 2000 * MIB);
    assert_eq!(memory.snapshot().rows[0].demand.ram, 2000 * MIB);
}

#[tokio::test]
async fn a_server_that_asks_anew_keeps_what_it_has_until_that_is_decided() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    let first = reserve(&memory, bench.request("a", 1)).0.await.unwrap();
    let (_low, mut told) = reserve(&memory, bench.request("low", 0));
    shortage(&mut told).await;
    let second = reserve(&memory, bench.request("a", 1)).0.await.unwrap();
    drop(first);
    assert!(told.borrow().is_some());
    drop(second);
    told.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test]
async fn what_was_met_running_is_given_back_like_all_else() {
    let bench = Bench::new();
    let memory = bench.memory(100).await;
    let met = Demand {
        ram: 9000 * MIB,
        devices: BTreeMap::new(),
        source: Source::Observed,
    };
    let survivor = memory.adopt(Account::new("a"), met);
    let (other, mut told) = reserve(&memory, bench.request("b", 0));
    shortage(&mut told).await;
    drop(survivor);
    assert!(other.await.unwrap().is_ok());
}

#[tokio::test]
async fn settings_for_which_nothing_can_be_told_are_asked_for_once() {
    let bench = Bench::new();
    let asked = bench.path("asked");
    bench.program(
        "llama-fit-params",
        &format!("echo >> {}; exit 1", asked.display()),
    );
    let memory = bench.memory(1000).await;
    for _ in 0..2 {
        let needs = memory.exact_needs(bench.inputs()).await;
        assert_eq!(needs.source, Source::Estimate);
    }
    assert_eq!(bench.asked(), 1);
}

#[tokio::test]
async fn devices_have_the_budget_that_llama_server_tells() {
    let bench = Bench::new();
    let device = "  CUDA0: NVIDIA (X) (1000 MiB, 900 MiB free)";
    bench.program(
        "llama-server",
        &format!("echo 'Available devices:'; echo '{device}'"),
    );
    bench.program(
        "llama-fit-params",
        "echo 'CUDA0 2000 0 0'; echo 'Host 5 0 0'",
    );
    let memory = bench.memory(5000).await;
    let placed = memory.exact_needs(bench.inputs()).await;
    assert_eq!(memory.snapshot().budget.devices["CUDA0"], 950 * MIB);
    // llama-server would put on the device only what fits there.
    assert_eq!(placed.devices["CUDA0"], 950 * MIB);
    let mut inputs = bench.inputs();
    inputs.arguments.extend(["-ngl".into(), "all".into()]);
    let needs = memory.exact_needs(inputs).await;
    assert!(memory.could_fit(&needs).is_err());
    memory.configure(MemoryConfig {
        vram: VramBudget::Devices([("CUDA0".to_owned(), 9000 * MIB)].into()),
        ..MemoryConfig::default()
    });
    assert!(memory.could_fit(&needs).is_ok());
}
