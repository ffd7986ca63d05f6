//! Requests while the profile is edited: none is lost, and none breaks off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::{Result, ensure};
use magi_tests::harness::{Chat, Fleet, Gateway, Server, chat_with, full, llama_server, send};
use nix::sys::signal::Signal;
use tokio::task::JoinSet;

/// What must never be: a stream that looks complete and is not.
const CLEAN_END: &str = "it ended well, and is not whole";

/// Clients that ask without a pause, streaming and not, until they are stopped.
struct Load {
    clients: JoinSet<Result<()>>,
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
}

impl Load {
    fn start(url: &str, models: &[&'static str], clients: usize) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            is_over: Arc::default(),
            answered: Arc::default(),
        };
        for index in 0..clients {
            let (url, model) = (url.to_owned(), models[index % models.len()]);
            let (is_over, answered) = (load.is_over.clone(), load.answered.clone());
            load.clients.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    ask(&url, model, index % 4 < 2).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        load
    }

    fn answered(&self) -> u32 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until there were so many more answers.
    async fn more(&self, count: u32) {
        let wanted = self.answered() + count;
        while self.answered() < wanted && !self.clients.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// Stops it, and gives the number of answers, all of which were whole.
    async fn end(mut self) -> u32 {
        self.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap().unwrap();
        }
        self.answered()
    }
}

async fn ask(url: &str, model: &str, is_stream: bool) -> Result<()> {
    if !is_stream {
        let said = chat_with(url, model).await?;
        ensure!(said.contains(model), "{model} said {said}");
        return Ok(());
    }
    let text = Chat::with(url, model, 40).await?.rest().await?;
    ensure!(text.contains("[DONE]"), "{CLEAN_END}: {text}");
    ensure!(
        text.contains(model),
        "somebody else than {model} answered: {text}"
    );
    Ok(())
}

/// Edits the context of `alpha` again and again under load; `beta` is never touched.
async fn edited_under_load(alpha: Server, beta: Server, how: &str) {
    let mut fleet = Fleet::new();
    let with = |size: u32| [alpha.clone().set("ctx_size", size), beta.clone()];
    fleet.save(&with(2048));
    fleet.start().await;
    let mut before = fleet.all_ready(2).await;
    let gateway = Gateway::start(&fleet).await;
    let load = Load::start(&gateway.url(), &["alpha", "beta"], 8);
    for round in 0..full(4, 20) {
        load.more(20).await;
        fleet.save_at_once(&with(2304 + 256 * (round % 2)));
        let after = fleet.ready_again(&before["alpha"]).await;
        before.insert("alpha".to_owned(), after);
    }
    load.more(20).await;
    let answered = load.end().await;
    assert_eq!(fleet.ready("beta").await.pid, before["beta"].pid);
    magi_tests::figure!("{answered} answers during edits ({how}), none lost");
}

#[tokio::test]
async fn servers_that_are_replaced_beside_themselves_lose_no_request() {
    let Some(program) = llama_server() else {
        return;
    };
    let real = |name| Server::real(name, &program).set("ctx_size", 2048);
    edited_under_load(real("alpha"), real("beta"), "blue-green").await;
}

#[tokio::test]
async fn servers_that_are_drained_first_lose_no_request() {
    let alpha = Server::faulty("alpha")
        .fault("token-time=2ms")
        .set("replace", "drain-restart");
    edited_under_load(alpha, Server::faulty("beta"), "drain-restart").await;
}

/// Asks without a pause through what breaks now and then, until told to stop: gives how many answers were
/// whole and how many were not, none of which looked whole.
async fn ask_through(url: String, model: &'static str, is_over: Arc<AtomicBool>) -> (u32, u32) {
    let (mut whole, mut broken) = (0, 0);
    while !is_over.load(Ordering::Relaxed) {
        match ask(&url, model, true).await {
            Ok(()) => whole += 1,
            Err(error) => {
                assert!(!error.to_string().contains(CLEAN_END), "{error:#}");
                broken += 1;
                // A gateway that is not there refuses thousands of times a second.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    (whole, broken)
}

#[tokio::test]
async fn what_is_killed_breaks_its_own_streams_and_no_others() {
    let Some(program) = llama_server() else {
        return;
    };
    let mut fleet = Fleet::new();
    let real = |name| Server::real(name, &program).set("ctx_size", 2048);
    fleet.set("restart.initial_delay", "50ms");
    fleet.set("restart.max_failures", 0);
    fleet.save(&[real("alpha"), real("beta")]);
    fleet.start().await;
    let mut alpha = fleet.all_ready(2).await.remove("alpha").unwrap();
    let (steady, mut shaken) = (Gateway::start(&fleet).await, Gateway::new(&fleet, 1));
    shaken.spawn();
    shaken.attached(&fleet).await;
    let is_over = Arc::new(AtomicBool::new(false));
    // Nobody touches beta, nor the gateway that its clients use.
    let untouched = Load::start(&steady.url(), &["beta"], 4);
    let through_killed_server = ask_through(steady.url(), "alpha", is_over.clone());
    let through_killed_gateway = ask_through(shaken.url(), "beta", is_over.clone());
    let shaking = async {
        for _ in 0..full(3, 20) {
            untouched.more(20).await;
            send(alpha.pid(), Signal::SIGKILL);
            shaken.kill().await;
            shaken.spawn();
            shaken.attached(&fleet).await;
            alpha = fleet.ready_again(&alpha).await;
        }
        untouched.more(20).await;
        is_over.store(true, Ordering::Relaxed);
    };
    let ((), server, gateway) =
        tokio::join!(shaking, through_killed_server, through_killed_gateway);
    let answered = untouched.end().await;
    assert!(server.0 > 0 && gateway.0 > 0, "{server:?} {gateway:?}");
    magi_tests::figure!(
        "{answered} answers beside a server and a gateway that were killed, none lost; theirs: \
         {} and {} whole, {} and {} broken, each as an error",
        server.0,
        gateway.0,
        server.1,
        gateway.1
    );
}
