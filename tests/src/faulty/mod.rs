//! A llama-server that fails on command.
//!
//! To a supervisor it looks like the real one: HTTP is up before the model is loaded, `/health`
//! says 503 until then, a SIGTERM while loading is death by signal 15 and later an exit with 0, log
//! lines have the same form, and bad arguments, a bad model and a taken port end it with 1 and the
//! same words. It answers with the stem of its model's file, token by token.
//!
//! What goes wrong is told by `--fault F`, once for each field of
//! [`Faults`], by `--faults-from FILE`, one a
//! line, or by the variable `MAGI_FAULTS`, separated by `;`. Flags it does not know are passed over.

mod ends;
mod fault;
mod http;
mod log;
mod noise;
mod options;
mod slots;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};

pub use fault::{End, Faults};
use http::Server;
use options::{Options, Refused};
use slots::Slots;

/// Between two lines of progress while loading.
const PROGRESS: Duration = Duration::from_millis(100);

/// Runs it with the arguments of this process.
pub fn main() -> ExitCode {
    let end = match ends::play_role() {
        Some(end) => end,
        None => serve(),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error("llama_server", &error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve() -> io::Result<()> {
    log::begin();
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(Refused(text)) => {
            eprintln!("{text}");
            std::process::exit(1);
        }
    };
    if let Some(path) = options.record.clone() {
        ends::record_to(path);
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(options))
}

async fn run(options: Options) -> io::Result<()> {
    log::info("llama_server", "initializing ...");
    let listener = bind(&options).await;
    let word = options.model.file_stem().unwrap_or_default();
    let server = Arc::new(Server {
        model: options.model.display().to_string(),
        word: word.to_string_lossy().into_owned(),
        ready: AtomicBool::new(false),
        slots: Arc::new(Slots::new(options.slots, options.faults.clone())),
    });
    start_faults(&options.faults).await?;
    let address = listener.local_addr()?;
    tokio::spawn(accept(
        listener,
        Arc::clone(&server),
        options.faults.hang_after,
    ));

    load(&options).await;
    if options.faults.never_ready {
        return std::future::pending().await;
    }
    if !options.faults.ignore_sigterm {
        ends::end_on_signals()?;
    }
    server.ready.store(true, Ordering::Release);
    log::info("llama_server", "model loaded");
    log::info("llama_server", &format!("listening on http://{address}"));
    std::future::pending().await
}

async fn bind(options: &Options) -> TcpListener {
    match TcpListener::bind((options.host.as_str(), options.port)).await {
        Ok(listener) => listener,
        Err(_) => {
            let (host, port) = (&options.host, options.port);
            log::error(
                "start",
                &format!("couldn't bind HTTP server socket, hostname: {host}, port: {port}"),
            );
            give_up("exiting due to HTTP server error")
        }
    }
}

fn give_up(why: &str) -> ! {
    log::info("operator()", "operator(): cleaning up before exit...");
    log::error("llama_server", why);
    ends::leave(End::Code(1))
}

/// Sets off the faults that run beside everything else.
async fn start_faults(faults: &Faults) -> io::Result<()> {
    if faults.ignore_sigterm {
        ends::ignore_sigterm()?;
    }
    if faults.grandchild {
        ends::leave_grandchild()?;
    }
    if let Some(port) = faults.hold_port {
        hold(TcpListener::bind(("127.0.0.1", port)).await?);
    }
    if let Some((time, end)) = faults.exit_after {
        later(time, move || ends::leave(end));
    }
    if let Some(time) = faults.sigstop_after {
        later(time, ends::stop_self);
    }
    Ok(())
}

fn later(time: Duration, act: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(time).await;
        act();
    });
}

/// Keeps a port taken for as long as the process lives.
fn hold(listener: TcpListener) {
    tokio::spawn(async move {
        let _listener = listener;
        std::future::pending::<()>().await;
    });
}

/// Serves connections, until it hangs: then those that are open stall too.
async fn accept(listener: TcpListener, server: Arc<Server>, hang_after: Option<Duration>) {
    let hang_at = hang_after.map(|time| Instant::now() + time);
    let hung = async move {
        match hang_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(hung);
    loop {
        // Both arms are cancel-safe: accept loses no connection, and the timer is kept.
        let stream = tokio::select! {
            () = &mut hung => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(move |request| http::answer(Arc::clone(&server), request));
            // A client that goes away is its own business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
    // The listener must stay open: connections are made, and nobody answers.
    std::future::pending::<()>().await;
}

/// Everything between the first line and "model loaded".
async fn load(options: &Options) {
    log::info(
        "load_model",
        &format!("loading model '{}'", options.model.display()),
    );
    noise::make(&options.faults);
    if let Err(why) = look_at(&options.model) {
        log::error("load_model", &why);
        let model = options.model.display();
        log::error("load_model", &format!("failed to load model, '{model}'"));
        give_up("exiting due to model loading error");
    }
    take_time(options.faults.load_time, options.faults.silent).await;
    if let Some(end) = options.faults.exit_loaded {
        ends::leave(end);
    }
}

async fn take_time(time: Duration, silent: bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + PROGRESS)).await;
        if !silent {
            log::info("load_tensors", "still loading");
        }
    }
}

/// The least that a model needs: to be there, and to be a GGUF.
fn look_at(path: &Path) -> Result<(), String> {
    let mut magic = [0; 4];
    let mut file = File::open(path).map_err(|_| {
        format!(
            "gguf_init_from_file: failed to open GGUF file '{}' (No such file or directory)",
            path.display()
        )
    })?;
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == b"GGUF" => Ok(()),
        Ok(()) | Err(_) => {
            Err("gguf_init_from_reader: invalid magic characters, expected 'GGUF'".into())
        }
    }
}
