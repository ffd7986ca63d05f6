//! `magictl run`, with a daemon and a llama-server that say what was prepared.
#![allow(missing_docs)]

#[allow(dead_code)]
mod fake;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use fake::{Fake, Run, Script};
use magi_proto::v1::EnsureReadyResponse;
use serde_json::{Value, json};
use tonic::Code;

const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

const ANSWER: &str = "\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"grüß \"}}]}\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"dich\\u001b[2J\"}}]}\n\n\
data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\
\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2},\"timings\":{\"predicted_per_second\":41.66}}\n\n\
data: [DONE]\n\n";

/// A llama-server that gives these answers, one a connection, and passes on what it was asked.
fn llama_server(answers: Vec<String>) -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, asked) = channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            serve(stream, &answer, &sender);
        }
    });
    (endpoint, asked)
}

fn serve(mut stream: TcpStream, answer: &str, asked: &Sender<Value>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    let body = loop {
        let count = stream.read(&mut buffer).unwrap();
        request.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((_, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_str::<Value>(body) {
            break json!({ "head": text, "body": body });
        }
    };
    // Whoever asked may have read enough already.
    let _ = asked.send(body);
    let _ = stream.write_all(answer.as_bytes());
}

fn fake(answers: Vec<String>) -> (Fake, Receiver<Value>) {
    let (endpoint, asked) = llama_server(answers);
    let fake = Fake::new(Script {
        ready: EnsureReadyResponse {
            server: "alpha".to_owned(),
            incarnation: 3,
            endpoint,
            api_key: Some("hunter2".to_owned()),
        },
        ..Default::default()
    });
    (fake, asked)
}

fn whole_answer() -> String {
    format!("{HEAD}{ANSWER}")
}

/// Runs magictl with this on its stdin.
fn piped(fake: &Fake, args: &[&str], stdin: &str) -> Run {
    let mut child = fake
        .command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(stdin.as_bytes()).unwrap();
    drop(pipe);
    Run::new(child.wait_with_output().unwrap())
}

#[test]
fn an_answer_goes_to_stdout_and_its_speed_to_stderr() {
    let (fake, asked) = fake(vec![whole_answer()]);
    let run = fake.magictl(&["run", "alpha", "hi", "-n", "8", "--system", "be brief"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
    // Exactly as it came: stdout is no terminal.
    assert_eq!(run.stdout, "grüß dich\u{1b}[2J\n");
    assert!(run.stderr.starts_with("2 tokens at 42 tokens/s"), "{run:?}");
    let asked = asked.recv().unwrap();
    assert!(asked["head"].as_str().unwrap().contains("Bearer hunter2"));
    assert_eq!(asked["body"]["max_tokens"], 8);
    let said = json!([
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": "hi" },
    ]);
    assert_eq!(asked["body"]["messages"], said);
}

#[test]
fn what_is_piped_in_is_asked_or_follows_what_is() {
    let (fake, asked) = fake(vec![whole_answer(), whole_answer()]);
    assert_eq!(piped(&fake, &["run", "alpha"], "why?\n").exit, Some(0));
    let asked_first = asked.recv().unwrap();
    assert_eq!(asked_first["body"]["messages"][0]["content"], "why?");
    let run = piped(&fake, &["run", "alpha", "what is this?"], "fn main() {}\n");
    assert_eq!(run.exit, Some(0), "{run:?}");
    assert_eq!(
        asked.recv().unwrap()["body"]["messages"][0]["content"],
        "what is this?\n\nfn main() {}"
    );
    let run = piped(&fake, &["run", "alpha"], "\n");
    assert_eq!(run.exit, Some(2), "{run:?}");
    assert!(run.stderr.contains("nothing to ask"), "{run:?}");
}

#[test]
fn json_has_the_answer_and_what_it_took() {
    let (fake, _asked) = fake(vec![whole_answer()]);
    let run = fake.magictl(&["run", "alpha", "hi", "-o", "json"]);
    let told: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(told["content"], "grüß dich\u{1b}[2J");
    assert_eq!(told["server"], "alpha");
    assert_eq!(told["incarnation"], 3);
    assert_eq!(told["finishReason"], "stop");
    assert_eq!(told["promptTokens"], 9);
    assert_eq!(told["tokens"], 2);
    assert_eq!(told["tokensPerSecond"], 41.66);
    assert!(told["reasoning"].is_null());
}

#[test]
fn an_answer_without_its_end_is_a_failure() {
    let cut = ANSWER.split("data: [DONE]").next().unwrap();
    let (fake, _asked) = fake(vec![format!("{HEAD}{cut}")]);
    let run = fake.magictl(&["run", "alpha", "hi"]);
    assert_eq!(run.exit, Some(1), "{run:?}");
    assert!(run.stdout.starts_with("grüß dich"), "{run:?}");
    assert!(
        run.stderr.contains("alpha: the answer broke off"),
        "{run:?}"
    );
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_server() {
    let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n\
        {\"error\":{\"code\":400,\"message\":\"it is too long\"}}";
    let (fake, _asked) = fake(vec![refusal.to_owned()]);
    let run = fake.magictl(&["run", "alpha", "hi"]);
    assert_eq!(run.exit, Some(1), "{run:?}");
    assert_eq!(
        run.stderr,
        "magictl: alpha: the server refused: it is too long\n"
    );
}

#[test]
fn a_server_that_is_replaced_in_between_is_asked_for_again() {
    let loading = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\r\n{}";
    let (fake, _asked) = fake(vec![loading.to_owned(), String::new(), whole_answer()]);
    let run = fake.magictl(&["run", "alpha", "hi"]);
    assert_eq!(run.exit, Some(0), "{run:?}");
}

#[test]
fn a_server_that_cannot_be_had_says_why() {
    for (code, reason, exit) in [
        (Code::NotFound, "no-such-server", 4),
        (Code::FailedPrecondition, "held", 1),
        (Code::FailedPrecondition, "does-not-fit", 1),
        (Code::Unavailable, "model-invalid", 1),
        (Code::Unavailable, "shutting-down", 75),
        (Code::ResourceExhausted, "busy", 75),
    ] {
        let fake = Fake::refusing(code, reason, "cannot do it\n    last line", &[]);
        let run = fake.magictl(&["run", "alpha", "hi"]);
        assert_eq!(run.exit, Some(exit), "{reason}: {run:?}");
    }
    let fake = Fake::refusing(Code::Unavailable, "model-invalid", "it ended:\n    oh", &[]);
    let run = fake.magictl(&["run", "alpha", "hi"]);
    assert_eq!(run.stderr, "magictl: it ended:\n    oh\n");
}
