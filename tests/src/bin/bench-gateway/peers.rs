//! What the gateway is compared with, and a server that answers at once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use magi_tests::harness::{Call, Fleet, send};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// Somebody who answers requests. Dropped, he is told to end.
pub(super) struct Peer {
    pub(super) name: &'static str,
    pub(super) url: String,
    child: Option<Child>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // A master that is killed would leave its workers behind.
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            send(pid, Signal::SIGTERM);
        }
    }
}

impl Peer {
    /// One who is there already.
    pub(super) fn there(name: &'static str, url: &str) -> Self {
        Self {
            name,
            url: url.to_owned(),
            child: None,
        }
    }
}

const ANSWER: &str = r#"{"choices":[{"finish_reason":"stop","index":0,"text":" fast"}],"object":"text_completion","usage":{"completion_tokens":1,"prompt_tokens":2}}"#;

/// What both nginx have in common: many requests on a connection, and bodies in memory.
const HTTP: &str = "access_log off; keepalive_requests 1000000000; client_max_body_size 64m; \
                    client_body_buffer_size 2m;";

/// A program that looks like llama-server to magid, and answers at once: nginx. Gives its path.
pub(super) fn fast_server(fleet: &Fleet) -> PathBuf {
    let folder = fleet.path("fast");
    fs::create_dir_all(&folder).expect("the directory is writable");
    let path = folder.join("fast-llama-server");
    let temporary = temporary(&folder);
    let folder = folder.display();
    let script = format!(
        r#"#!/bin/sh
[ "$1" = "--version" ] && {{ echo "version: 1 (fast)"; exit 0; }}
port=
while [ $# -gt 0 ]; do [ "$1" = "--port" ] && port=$2; shift; done
[ -n "$port" ] || exit 0
cat > {folder}/nginx.conf <<'EOF'
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 4096; }}
http {{ {HTTP} {temporary}
  server {{
    listen 127.0.0.1:PORT;
    default_type application/json;
    location = /health {{ return 200 '{{"status":"ok"}}'; }}
    location = /slots {{ return 200 '[{{"id":0,"is_processing":false}}]'; }}
    location / {{ return 200 '{ANSWER}'; }}
  }}
}}
EOF
sed -i "s/PORT/$port/" {folder}/nginx.conf
exec nginx -e {folder}/errors -c {folder}/nginx.conf
"#
    );
    fs::write(&path, script).expect("the directory is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

/// nginx before the server at port `to`, with connections that are kept. `folder` is for its files.
pub(super) fn nginx(fleet: &Fleet, folder: &str, to: u16, port: u16) -> Peer {
    let folder = fleet.path(folder);
    fs::create_dir_all(&folder).expect("the directory is writable");
    let temporary = temporary(&folder);
    let shown = folder.display();
    let configuration = format!(
        r#"daemon off; worker_processes 2; pid {shown}/pid; error_log {shown}/errors;
events {{ worker_connections 4096; }}
http {{ {HTTP} {temporary}
  upstream server {{ server 127.0.0.1:{to}; keepalive 64; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://server; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"#
    );
    let file = folder.join("nginx.conf");
    fs::write(&file, configuration).expect("the directory is writable");
    let mut command = Command::new("nginx");
    command
        .arg("-e")
        .arg(folder.join("errors"))
        .arg("-c")
        .arg(file);
    started("nginx", command, port)
}

fn temporary(folder: &Path) -> String {
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let lines = kinds.map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()));
    lines.join(" ")
}

/// llama.cpp's own router, with the model of the server `real` loaded.
pub(super) async fn router(fleet: &Fleet, llama_server: &Path, port: u16) -> Peer {
    let folder = fleet.path("router");
    fs::create_dir_all(&folder).expect("the directory is writable");
    fs::copy(fleet.make_model("real"), folder.join("real.gguf")).expect("a file can be copied");
    let mut command = Command::new(llama_server);
    command
        .arg("--models-dir")
        .arg(&folder)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .args(["-t", "1", "-tb", "1", "-np", "8", "-c", "8192", "--no-ui"]);
    let peer = started("llama.cpp's router", command, port);
    let body = json!({ "model": "real", "prompt": "hi", "max_tokens": 1 });
    let call = Call::post("/v1/completions", &body);
    let pause = Duration::from_millis(100);
    for _ in 0..300 {
        match call.answer(&peer.url).await {
            Ok(answer) if answer.status.is_success() => return peer,
            Ok(_) | Err(_) => sleep(pause).await,
        }
    }
    panic!("the router does not load the model");
}

fn started(name: &'static str, mut command: Command, port: u16) -> Peer {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    Peer {
        name,
        url: format!("http://127.0.0.1:{port}"),
        child: Some(child),
    }
}
