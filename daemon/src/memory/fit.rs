//! Asking llama-fit-params, which llama.cpp brings beside llama-server, what a server needs.
//!
//! `llama-fit-params --fit-print on` loads a model without its weights, makes a context in it, and prints
//! for each device and for main memory what the weights, the context and the buffers take, in whole MiB:
//!
//! ```text
//! CUDA0 4168 512 304
//! Host 292 0 16
//! ```
//!
//! Tried with build b11434:
//!
//! * It knows the flags of all programs of llama.cpp, and refuses those of llama-server alone. So it is
//!   given only those on which memory depends.
//! * It does not see weights that were repacked for the CPU: it prints 0 for them. So it is told not to
//!   repack, which takes as much.
//! * It has no `--kv-unified`. A context that slots share takes what one slot takes, but for layers that
//!   keep something for each slot; one that they do not share has smaller buffers. So the first is asked
//!   for as one slot and as many, and the larger figures count.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::breakdown::{Breakdown, Parts};
use super::model_use::{ModelUse, long_form};
use super::run::{RunError, printed_by};
use crate::text::one_line;

const PROGRAM: &str = "llama-fit-params";

/// The name of the row of main memory.
const HOST: &str = "Host";

const MIB: u64 = 1 << 20;

/// Flags with a value that are passed on.
#[rustfmt::skip]
const VALUES: [&str; 31] = [
    "-b", "--batch-size", "-ub", "--ubatch-size", "-fa", "--flash-attn",
    "-ctk", "--cache-type-k", "-ctv", "--cache-type-v", "-ngl", "--gpu-layers", "--n-gpu-layers",
    "-dev", "--device", "-sm", "--split-mode", "-ts", "--tensor-split", "-mg", "--main-gpu",
    "-ot", "--override-tensor", "-ncmoe", "--n-cpu-moe", "-ncffn", "--n-cpu-ffn",
    "--override-kv", "--rpc", "-lzm", "--lazy-mode",
];

/// Flags without a value that are passed on.
#[rustfmt::skip]
const SWITCHES: [&str; 10] = [
    "-kvo", "--kv-offload", "-nkvo", "--no-kv-offload", "--swa-full",
    "-cmoe", "--cpu-moe", "--no-host", "--op-offload", "--no-op-offload",
];

/// Why llama-fit-params told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FitError {
    /// It did not come to its end.
    #[error(transparent)]
    Run(#[from] RunError),
    /// It printed something else.
    #[error("cannot find figures in what {} prints, which ends with {last:?}", .program.display())]
    NoFigures {
        /// The program.
        program: PathBuf,
        /// The last line.
        last: String,
    },
}

/// The llama-fit-params of the same build as a llama-server: beside it, or beside what it links to.
/// Blocks.
pub(super) fn program_beside(engine: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(engine).ok();
    let places = [Some(engine), real.as_deref()];
    let mut programs = places
        .into_iter()
        .flatten()
        .filter_map(|engine| Some(engine.parent()?.join(PROGRAM)));
    programs.find(|program| program.is_file())
}

/// What a llama-server needs that is started with these arguments.
///
/// # Errors
///
/// Says why that cannot be told.
pub(super) async fn breakdown(
    program: &Path,
    model: &Path,
    arguments: &[String],
    env: &BTreeMap<String, String>,
    ending: &CancellationToken,
) -> Result<Breakdown, FitError> {
    let model_use = ModelUse::from_arguments(arguments);
    let mut whole = Breakdown::default();
    for slots in slots_to_ask_for(&model_use) {
        let args = command_line(model, arguments, &model_use, slots);
        let text = printed_by(program, args, env.clone(), ending).await?;
        let breakdown = parse(&text).ok_or_else(|| FitError::NoFigures {
            program: program.to_path_buf(),
            last: one_line(text.trim_end().lines().next_back().unwrap_or_default()),
        })?;
        whole.enlarge(&breakdown);
    }
    Ok(whole)
}

fn slots_to_ask_for(model_use: &ModelUse) -> Vec<u32> {
    match (model_use.is_unified(), model_use.slots()) {
        (true, slots) if slots > 1 => vec![1, slots],
        (_, slots) => vec![slots],
    }
}

fn command_line(
    model: &Path,
    arguments: &[String],
    model_use: &ModelUse,
    slots: u32,
) -> Vec<OsString> {
    let mut line = vec![OsString::from("--model"), model.into()];
    let mut add = |words: &[&str]| line.extend(words.iter().map(OsString::from));
    add(&["--fit-print", "on", "--no-repack"]);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let flag = long_form(argument);
        if SWITCHES.contains(&flag.as_str()) {
            add(&[&flag]);
        } else if VALUES.contains(&flag.as_str())
            && let Some(value) = rest.next()
        {
            add(&[&flag, value]);
        }
    }
    let per_slot = model_use
        .ctx_per_slot
        .map(|tokens| tokens.saturating_mul(model_use.slots()));
    let tokens = model_use.ctx_size.or(per_slot).unwrap_or(0);
    add(&["--ctx-size", &tokens.to_string()]);
    add(&["--parallel", &slots.to_string()]);
    line
}

/// Reads the rows among whatever else was printed. None: there is none of main memory.
fn parse(text: &str) -> Option<Breakdown> {
    let mut devices: BTreeMap<_, _> = text.lines().filter_map(row).collect();
    let host = devices.remove(HOST)?;
    Some(Breakdown { host, devices })
}

/// `Host 258 128 42 `.
fn row(line: &str) -> Option<(String, Parts)> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let &[name, model, context, compute] = words.as_slice() else {
        return None;
    };
    let [model, context, compute]: [u64; 3] = [
        model.parse().ok()?,
        context.parse().ok()?,
        compute.parse().ok()?,
    ];
    // They were rounded down. On a device on which nothing is put, there is nothing to be rounded.
    let unused = name != HOST && (model, context, compute) == (0, 0, 0);
    let bytes = |mebibytes: u64| match unused {
        true => 0,
        false => mebibytes.saturating_add(1).saturating_mul(MIB),
    };
    let parts = Parts {
        model: bytes(model),
        context: bytes(context),
        compute: bytes(compute),
    };
    Some((name.to_owned(), parts))
}

impl Breakdown {
    /// Takes the larger figures of both.
    fn enlarge(&mut self, other: &Self) {
        self.host.enlarge(&other.host);
        for (name, parts) in &other.devices {
            self.devices.entry(name.clone()).or_default().enlarge(parts);
        }
    }
}

impl Parts {
    fn enlarge(&mut self, other: &Self) {
        self.model = self.model.max(other.model);
        self.context = self.context.max(other.context);
        self.compute = self.compute.max(other.compute);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &str) -> String {
        let arguments: Vec<_> = arguments.split_whitespace().map(str::to_owned).collect();
        let model_use = ModelUse::from_arguments(&arguments);
        let line = command_line(Path::new("m"), &arguments, &model_use, model_use.slots());
        line.join(&OsString::from(" ")).into_string().unwrap()
    }

    #[test]
    fn figures_are_read_among_lines_of_a_log() {
        let text = "0.00.004.591 I llama_fit_params: printing estimated memory in MiB to stdout ...\n\
            warning: no usable GPU found\nCUDA0 4168 512 304 \nCUDA1 0 0 0 \nHost 292 0 16 \n";
        let breakdown = parse(text).unwrap();
        assert_eq!(breakdown.host.model, 293 * MIB);
        assert_eq!(
            breakdown.devices["CUDA0"].total(),
            (4168 + 512 + 304 + 3) * MIB
        );
        assert_eq!(breakdown.devices["CUDA1"].total(), 0);
    }

    #[test]
    fn what_has_no_figures_tells_nothing() {
        for text in [
            "",
            "-c 4096 -ngl 99",
            "CUDA0 1 2 3",
            "Host 1 2",
            "Host -1 2 3",
            "Host 1 2 99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_flags_on_which_memory_depends_are_passed_on() {
        assert_eq!(
            line(
                "--alias a --port 80 --metrics -ctk q8_0 --jinja --n_gpu_layers 9 --mmproj p -nkvo -np 2 -c 512"
            ),
            "--model m --fit-print on --no-repack -ctk q8_0 --n-gpu-layers 9 -nkvo --ctx-size 512 --parallel 2"
        );
        assert!(line("--kv-unified-per-slot 100").ends_with("--ctx-size 400 --parallel 4"));
        assert!(line("-ctk").ends_with("--no-repack --ctx-size 0 --parallel 4"));
    }

    #[test]
    fn a_shared_context_is_asked_for_in_two_ways() {
        let asked = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            slots_to_ask_for(&ModelUse::from_arguments(&words))
        };
        assert_eq!(asked(""), [1, 4]);
        assert_eq!(asked("-np 3"), [3]);
        assert_eq!(asked("-np 3 --kv-unified"), [1, 3]);
        assert_eq!(asked("-np 1 --kv-unified"), [1]);
    }
}
