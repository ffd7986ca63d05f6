//! What an end that nobody asked for means: the kernel's word on it, read together with the last
//! lines of output.
//!
//! The phrases are those that llama-server b11434 was seen to print, and for devices those in the
//! sources of ggml's backends. They are looked for from the last line back, and the line that decided
//! is told, so a wrong guess can be seen to be one.

use super::exit::{Exit, ExitClass, ExitStatus};

/// What is known of an end.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// The kernel's word.
    pub status: ExitStatus,
    /// Whether it had been ready.
    pub reached_ready: bool,
    /// Its last lines of output, oldest first.
    pub lines: &'a [String],
    /// Processes that the kernel killed for want of memory while it lived.
    pub oom_kills_during_life: u64,
}

const SIGILL: i32 = 4;
const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;

/// Phrases, in lower case, and what they mean. Earlier rows are looked for first: an allocation on a
/// device that failed is followed by a model that failed to load.
const PHRASES: &[(ExitClass, &[&str])] = &[
    (
        ExitClass::OutOfMemoryDevice,
        &[
            "cudamalloc failed: out of memory",
            "cuda error: out of memory",
            "hip error: out of memory",
            "erroroutofdevicememory",
            "failed to allocate cuda",
            "failed to allocate vulkan",
            "failed to allocate rocm",
            "unable to allocate cuda",
            "unable to allocate vulkan",
            "unable to allocate rocm",
            "vk_error_out_of_device_memory",
        ],
    ),
    (
        ExitClass::OutOfMemoryHost,
        &[
            "std::bad_alloc",
            "failed to allocate cpu",
            "unable to allocate cpu",
            "failed to allocate buffer of size",
            "cannot allocate memory",
            "failed to allocate compute buffers",
            "insufficient memory",
        ],
    ),
    (
        ExitClass::Bind,
        &[
            "couldn't bind http server socket",
            "could not bind http server socket",
            "couldn't bind to server socket",
            "address already in use",
        ],
    ),
    (
        ExitClass::BadArguments,
        &[
            "error: invalid argument",
            "error: unknown argument",
            "error while handling argument",
            "expected value for argument",
            "error parsing",
            "to show complete usage, run with -h",
        ],
    ),
    (
        ExitClass::ModelMissing,
        &["no such file or directory", "failed to open gguf file"],
    ),
    (
        ExitClass::ModelInvalid,
        &[
            "invalid magic",
            "error loading model",
            "failed to load model",
            "exiting due to model loading error",
            "unknown model architecture",
            "tensor data is out of bounds",
        ],
    ),
    (ExitClass::Assert, &["ggml_assert", "ggml_abort"]),
];

/// The end, with its class, the line that decided it and the last lines of output.
pub fn classify(evidence: &Evidence<'_>) -> Exit {
    let (class, detail) = decide(evidence);
    let superfluous = evidence.lines.len().saturating_sub(Exit::LAST_LINES);
    Exit {
        class,
        status: Some(evidence.status),
        detail,
        exec_stage: None,
        prospect: class.prospect(),
        last_lines: evidence.lines[superfluous..].to_vec(),
    }
}

fn decide(evidence: &Evidence<'_>) -> (ExitClass, String) {
    match evidence.status {
        ExitStatus::Code(0) => (
            ExitClass::Unknown,
            "it exited with status 0, and nobody had asked it to".to_owned(),
        ),
        ExitStatus::Code(code) => by_output(evidence).unwrap_or_else(|| {
            (
                ExitClass::Unknown,
                last_complaint(evidence, &format!("status {code}")),
            )
        }),
        ExitStatus::Signal(SIGILL) => (
            ExitClass::IllegalInstruction,
            "this build of llama-server needs instructions that the CPU lacks".to_owned(),
        ),
        ExitStatus::Signal(SIGABRT) => by_output(evidence)
            .filter(|(class, _)| is_memory(*class))
            .unwrap_or_else(|| (ExitClass::Assert, assertion(evidence))),
        ExitStatus::Signal(SIGKILL) if evidence.oom_kills_during_life > 0 => (
            ExitClass::OutOfMemoryHost,
            "killed while the kernel was killing processes for want of memory".to_owned(),
        ),
        ExitStatus::Signal(_) => (
            ExitClass::Signal,
            last_complaint(evidence, "nobody here sent it"),
        ),
        ExitStatus::Unknown => (
            ExitClass::Unknown,
            "it was not a child of this magid, so nobody knows how it ended".to_owned(),
        ),
    }
}

/// A server that was ready cannot have failed to load: only what can come later is looked for.
fn by_output(evidence: &Evidence<'_>) -> Option<(ExitClass, String)> {
    let rows = PHRASES.iter().filter(|(class, _)| {
        !evidence.reached_ready || is_memory(*class) || *class == ExitClass::Assert
    });
    for (class, phrases) in rows {
        // The phrases that say most come first.
        let deciding = phrases.iter().find_map(|phrase| {
            let mut lines = evidence.lines.iter().rev();
            lines.find(|line| line.to_lowercase().contains(phrase))
        });
        if let Some(line) = deciding {
            return Some((*class, shortened(line)));
        }
    }
    None
}

fn is_memory(class: ExitClass) -> bool {
    matches!(
        class,
        ExitClass::OutOfMemoryHost | ExitClass::OutOfMemoryDevice
    )
}

fn assertion(evidence: &Evidence<'_>) -> String {
    let line = evidence
        .lines
        .iter()
        .rev()
        .find(|line| line.contains("GGML_ASSERT"));
    line.map_or_else(
        || last_complaint(evidence, "aborted"),
        |line| shortened(line),
    )
}

/// How it ended, and the last line that llama-server marked as an error.
fn last_complaint(evidence: &Evidence<'_>, how: &str) -> String {
    let is_error = |line: &&String| line.contains(" E ") || line.starts_with("error");
    match evidence.lines.iter().rev().find(is_error) {
        Some(line) => format!("{how}; its last error: {}", shortened(line)),
        None => how.to_owned(),
    }
}

/// The longest detail, in characters.
const LONGEST: usize = 300;

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class_of(status: ExitStatus, reached_ready: bool, output: &str) -> ExitClass {
        let lines: Vec<String> = output.lines().map(str::to_owned).collect();
        let evidence = Evidence {
            status,
            reached_ready,
            lines: &lines,
            oom_kills_during_life: 0,
        };
        classify(&evidence).class
    }

    /// Captured from llama-server b11434, unless marked otherwise.
    #[test]
    fn what_llama_server_prints_is_understood() {
        let table = [
            (
                "error: invalid argument: --bad-flag",
                ExitClass::BadArguments,
            ),
            (
                "-c,    --ctx-size N      size of the prompt context\n\n\nto show complete usage, run with -h",
                ExitClass::BadArguments,
            ),
            (
                "0.00.004.324 E gguf_init_from_reader: invalid magic characters: '???J', expected 'GGUF'\n\
                 0.00.004.331 E llama_model_load: error loading model: llama_model_loader: failed to load model from garbage.gguf\n\
                 0.00.004.554 E srv  llama_server: exiting due to model loading error",
                ExitClass::ModelInvalid,
            ),
            (
                "0.00.014.331 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8080",
                ExitClass::Bind,
            ),
            // From ggml-cuda.cu.
            (
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory\n\
                 llama_model_load: error loading model: unable to allocate CUDA0 buffer",
                ExitClass::OutOfMemoryDevice,
            ),
            ("nothing that is known", ExitClass::Unknown),
        ];
        for (output, class) in table {
            assert_eq!(
                class_of(ExitStatus::Code(1), false, output),
                class,
                "{output}"
            );
        }
    }

    #[test]
    fn signals_are_told_apart() {
        assert_eq!(
            class_of(ExitStatus::Signal(11), true, ""),
            ExitClass::Signal
        );
        assert_eq!(
            class_of(ExitStatus::Signal(4), false, ""),
            ExitClass::IllegalInstruction
        );
        let assertion = "/src/ggml.c:12: GGML_ASSERT(x > 0) failed";
        assert_eq!(
            class_of(ExitStatus::Signal(6), true, assertion),
            ExitClass::Assert
        );
        let cuda = "CUDA error: out of memory";
        assert_eq!(
            class_of(ExitStatus::Signal(6), true, cuda),
            ExitClass::OutOfMemoryDevice
        );
    }

    #[test]
    fn a_server_that_was_ready_did_not_fail_to_load() {
        let old = "error loading model";
        assert_eq!(class_of(ExitStatus::Code(1), true, old), ExitClass::Unknown);
    }

    #[test]
    fn a_kill_while_the_kernel_was_short_of_memory_is_told_as_that() {
        let evidence = Evidence {
            status: ExitStatus::Signal(9),
            reached_ready: true,
            lines: &[],
            oom_kills_during_life: 1,
        };
        assert_eq!(classify(&evidence).class, ExitClass::OutOfMemoryHost);
    }
}
