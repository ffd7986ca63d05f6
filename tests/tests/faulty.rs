//! The faulty llama-server itself: its faults as they look from outside, and how much it is like the
//! real one where nothing is wrong.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use magi_tests::harness::{
    Chat, Fleet, Resources, ask, faulty_llama_server, is_alive, llama_server, pids_with, send,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// For anything that is going to happen at all.
const DEADLINE: Duration = Duration::from_secs(20);

/// One llama-server, with a directory and ports of its own.
struct Run {
    place: Fleet,
    child: Child,
    endpoint: String,
    log: PathBuf,
}

impl Run {
    fn of(program: &Path, args: &[&str]) -> Self {
        Self::at(Fleet::new(), 0, program, args)
    }

    fn at(place: Fleet, port: u16, program: &Path, args: &[&str]) -> Self {
        let (port, log) = (place.port(port), place.path("log.txt"));
        let child = Command::new(program)
            .arg("-m")
            .arg(place.make_model("alpha"))
            .args(["--port", &port.to_string(), "--slots", "--metrics"])
            .args(args)
            .env("MAGI_TEST", place.dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
            log,
            place,
        }
    }

    fn faulty(faults: &[&str]) -> Self {
        let args: Vec<_> = faults.iter().flat_map(|fault| ["--fault", fault]).collect();
        Self::of(&faulty_llama_server(), &args)
    }

    fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    async fn health(&self) -> Option<u16> {
        let answer = ask(&self.endpoint, "/health", None).await.ok()?;
        Some(answer.status.as_u16())
    }

    async fn ready(self) -> Self {
        until("it is ready", async || self.health().await == Some(200)).await;
        self
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(DEADLINE, self.child.wait()).await.unwrap().unwrap()
    }

    fn output(&self) -> Vec<u8> {
        fs::read(&self.log).unwrap()
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let look = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let came = timeout(DEADLINE, look).await;
    came.unwrap_or_else(|_| panic!("it never came: {what}"));
}

#[tokio::test]
async fn it_ends_with_the_code_or_signal_it_is_told() {
    for (fault, code, signal) in [
        ("exit-after=10ms:code=3", Some(3), None),
        ("exit-after=10ms:signal=11", None, Some(11)),
        ("exit-loaded:code=7", Some(7), None),
        ("exit-loaded:signal=9", None, Some(9)),
    ] {
        let end = Run::faulty(&[fault]).ended().await;
        assert_eq!((end.code(), end.signal()), (code, signal), "{fault}");
    }
}

#[tokio::test]
async fn it_ends_in_the_middle_of_a_stream() {
    let mut run = Run::faulty(&["exit-mid-stream:signal=6"]).ready().await;
    let stream = Chat::start(&run.endpoint, 10).await.unwrap();
    assert!(stream.rest().await.is_err());
    assert_eq!(run.ended().await.signal(), Some(6));
}

#[tokio::test]
async fn it_loads_as_long_as_it_is_told_and_says_503_meanwhile() {
    let run = Run::faulty(&["load-time=300ms"]);
    until("it loads", async || run.health().await == Some(503)).await;
    let run = run.ready().await;
    assert!(String::from_utf8_lossy(&run.output()).contains("still loading"));
    let never = Run::faulty(&["never-ready"]);
    until("it loads", async || never.health().await == Some(503)).await;
}

#[tokio::test]
async fn sigterm_ends_it_as_it_ends_the_real_one() {
    let mut programs = vec![faulty_llama_server()];
    programs.extend(llama_server());
    for program in programs {
        let mut run = Run::of(&program, &["-t", "1", "-tb", "1"]).ready().await;
        // The real one is healthy a moment before it takes signals.
        until("it takes signals", async || {
            String::from_utf8_lossy(&run.output()).contains("listening on")
        })
        .await;
        send(run.pid(), Signal::SIGTERM);
        assert_eq!(run.ended().await.code(), Some(0), "{}", program.display());
    }
    let mut loading = Run::faulty(&["never-ready"]);
    until("it loads", async || loading.health().await == Some(503)).await;
    send(loading.pid(), Signal::SIGTERM);
    assert_eq!(loading.ended().await.signal(), Some(15));
}

#[tokio::test]
async fn it_ignores_sigterm_and_dies_of_sigkill() {
    let mut run = Run::faulty(&["ignore-sigterm"]).ready().await;
    send(run.pid(), Signal::SIGTERM);
    // Signals are delivered in order of their numbers, so it had SIGTERM before it went on.
    assert_eq!(run.health().await, Some(200));
    send(run.pid(), Signal::SIGKILL);
    assert_eq!(run.ended().await.signal(), Some(9));
}

#[tokio::test]
async fn it_stops_itself() {
    let run = Run::faulty(&["sigstop-after=10ms"]);
    until("it is stopped", async || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap();
        stat.contains(") T ")
    })
    .await;
}

#[tokio::test]
async fn its_grandchild_leads_a_session_of_its_own_and_outlives_it() {
    let mut run = Run::faulty(&["grandchild"]).ready().await;
    let mark = run.place.dir().to_str().unwrap().to_owned();
    let others = || {
        let mut others = pids_with(&mark);
        others.retain(|&pid| pid != run.pid());
        others
    };
    until("its grandchild is there", async || others().len() == 1).await;
    let [grandchild] = others()[..] else {
        panic!("there are {:?}", others());
    };
    run.child.kill().await.unwrap();
    send(grandchild, Signal::SIGTERM);
    send(grandchild, Signal::SIGHUP);
    assert!(is_alive(grandchild));
    let stat = fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let session: u32 = fields[3].parse().unwrap();
    assert_ne!(session, std::process::id());
    send(grandchild, Signal::SIGKILL);
}

#[tokio::test]
async fn its_output_is_as_strange_as_it_is_told() {
    let faults = [
        "invalid-utf8",
        "nuls",
        "long-line=10MiB",
        "print=a line of its own",
        "partial-line",
        "exit-loaded",
    ];
    let mut run = Run::faulty(&faults);
    run.ended().await;
    let output = run.output();
    let lines: Vec<_> = output.split(|&byte| byte == b'\n').collect();
    assert!(lines.iter().any(|line| std::str::from_utf8(line).is_err()));
    assert!(lines.iter().any(|line| line.contains(&0)));
    assert!(lines.iter().any(|line| line.len() == 10 << 20));
    assert!(lines.contains(&&b"a line of its own"[..]));
    assert!(lines.last().unwrap().ends_with(b"this line never en"));
}

#[tokio::test]
async fn it_floods_its_output() {
    let run = Run::faulty(&["flood=50MiB"]).ready().await;
    until("much is written", async || {
        fs::metadata(&run.log).unwrap().len() > 20 << 20
    })
    .await;
    assert_eq!(run.health().await, Some(200));
}

#[tokio::test]
async fn it_hangs_with_its_port_open() {
    let run = Run::faulty(&["hang-after=0s"]);
    let address = run.endpoint.strip_prefix("http://").unwrap().to_owned();
    let connects = async || tokio::net::TcpStream::connect(&address).await.is_ok();
    until("it listens", connects).await;
    // It listens a moment before it hangs.
    until("it hangs", async || {
        let asked = timeout(Duration::from_millis(300), run.health()).await;
        asked.is_err()
    })
    .await;
    assert!(connects().await);
}

#[tokio::test]
async fn it_holds_another_port() {
    let place = Fleet::new();
    let held = place.port(1);
    let fault = format!("hold-port={held}");
    let run = Run::at(place, 0, &faulty_llama_server(), &["--fault", &fault]);
    let run = run.ready().await;
    assert!(std::net::TcpListener::bind(("127.0.0.1", held)).is_err());
    drop(run);
}

#[tokio::test]
async fn it_takes_memory() {
    let run = Run::faulty(&["allocate=64MiB"]).ready().await;
    assert!(Resources::of(run.pid()).resident > 64 << 20);
}

#[tokio::test]
async fn its_slot_gets_wedged() {
    let run = Run::faulty(&["wedge=2"]).ready().await;
    let mut stream = Chat::start(&run.endpoint, 10).await.unwrap();
    // What comes before the first token, and two tokens.
    for _ in 0..3 {
        stream.next().await.unwrap().unwrap();
    }
    let next = timeout(Duration::from_millis(300), stream.next()).await;
    assert!(next.is_err());
    let slots = ask(&run.endpoint, "/slots", None).await.unwrap().text;
    let slots: Value = serde_json::from_str(&slots).unwrap();
    assert_eq!(slots[0]["is_processing"], true);
}

/// What the test that there are never two incarnations rests on.
#[tokio::test]
async fn two_with_one_record_are_seen() {
    let place = Fleet::new();
    let record = place.path("record").display().to_string();
    let first = Run::at(place, 0, &faulty_llama_server(), &["--record", &record]);
    let first = first.ready().await;
    assert!(fs::read_to_string(&record).unwrap().starts_with("start "));
    let second = Run::of(&faulty_llama_server(), &["--record", &record]);
    let second = second.ready().await;
    assert!(fs::read_to_string(&record).unwrap().contains("\noverlap "));
    drop((first, second));
}

/// What is asked of both.
const QUESTIONS: [(&str, Option<&str>); 13] = [
    ("/health", None),
    ("/v1/health", None),
    ("/slots", None),
    ("/props", None),
    ("/metrics", None),
    ("/v1/models", None),
    ("/no/such/route", None),
    (
        "/v1/chat/completions",
        Some(r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":3}"#),
    ),
    (
        "/v1/chat/completions",
        Some(r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"stream":true}"#),
    ),
    ("/v1/completions", Some(r#"{"prompt":"hi","max_tokens":3}"#)),
    ("/completion", Some(r#"{"prompt":"hi","n_predict":3}"#)),
    (
        "/completion",
        Some(r#"{"prompt":"hi","n_predict":3,"stream":true}"#),
    ),
    ("/v1/chat/completions", Some("no JSON")),
];

/// Nothing that the faulty one says has a shape that the real one's has not.
#[tokio::test]
async fn it_answers_like_the_real_one() {
    let Some(program) = llama_server() else {
        return;
    };
    let args = ["-t", "1", "-tb", "1", "-np", "1", "-c", "4096"];
    let real = Run::of(&program, &args).ready().await;
    let faulty = Run::faulty(&["token-time=1ms"]).ready().await;
    for (path, body) in QUESTIONS {
        let theirs = ask(&real.endpoint, path, body).await.unwrap();
        let ours = ask(&faulty.endpoint, path, body).await.unwrap();
        let what = format!("{path} {body:?}:\n{ours:?}\n{theirs:?}");
        assert_eq!(ours.status, theirs.status, "{what}");
        assert_eq!(ours.content_type(), theirs.content_type(), "{what}");
        match ours.content_type() {
            "application/json" => assert_within(&parse(&ours.text), &parse(&theirs.text), path),
            "text/event-stream" => assert_stream_within(&ours.text, &theirs.text, path),
            _ => assert_metrics_within(&ours.text, &theirs.text),
        }
    }
    let (theirs, ours) = (busy_slots(&real).await, busy_slots(&faulty).await);
    assert_within(&ours, &theirs, "/slots while it is busy");
    for slots in [ours, theirs] {
        assert!(slots[0]["n_prompt_tokens_processed"].is_u64());
        assert!(slots[0]["next_token"][0]["n_decoded"].is_u64());
    }
}

/// What the slots say in the middle of an answer.
async fn busy_slots(run: &Run) -> Value {
    let mut answer = Chat::start(&run.endpoint, 3000).await.unwrap();
    answer.next().await.unwrap();
    let slots = ask(&run.endpoint, "/slots", None).await.unwrap();
    let slots = parse(&slots.text);
    assert_eq!(slots[0]["is_processing"], true);
    slots
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("no JSON: {error}: {text}"))
}

/// Each key of `ours` is one of `theirs`, with a value of the same type.
fn assert_within(ours: &Value, theirs: &Value, at: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let at = format!("{at}/{key}");
                let Some(theirs) = theirs.get(key) else {
                    panic!("the real one has no {at}");
                };
                assert_within(value, theirs, &at);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let (Some(ours), Some(theirs)) = (ours.first(), theirs.first()) {
                assert_within(ours, theirs, &format!("{at}/0"));
            }
        }
        _ => {
            let same = std::mem::discriminant(ours) == std::mem::discriminant(theirs);
            assert!(same, "{at} is {ours}, and the real one says {theirs}");
        }
    }
}

/// The first, the second and the last message of a stream, and how it ends.
fn assert_stream_within(ours: &str, theirs: &str, at: &str) {
    let (ours, theirs) = (messages(ours), messages(theirs));
    assert_eq!(
        ours.last() == Some(&"[DONE]"),
        theirs.last() == Some(&"[DONE]"),
        "{at}"
    );
    let json = |all: &[&str]| -> Vec<Value> {
        let texts = all.iter().filter(|text| **text != "[DONE]");
        texts.map(|text| parse(text)).collect()
    };
    let (ours, theirs) = (json(&ours), json(&theirs));
    let content = |all: &[Value]| all[all.len() / 2].clone();
    assert_within(&content(&ours), &content(&theirs), at);
    assert_within(ours.last().unwrap(), theirs.last().unwrap(), at);
}

fn messages(stream: &str) -> Vec<&str> {
    let events = stream.split("\n\n").filter(|event| !event.is_empty());
    events
        .map(|event| event.strip_prefix("data: ").expect("an event of data"))
        .collect()
}

fn assert_metrics_within(ours: &str, theirs: &str) {
    for line in ours.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(' ').next().unwrap();
        assert!(
            theirs.contains(&format!("\n{name} ")),
            "{name} is not in {theirs}"
        );
    }
}
