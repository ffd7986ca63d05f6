//! The faults, and how they are written on a command line.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

/// Everything that goes wrong. By default nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// `load-time=2s`: loading takes that long, with a line of progress each 100 ms.
    pub load_time: Duration,
    /// `silent`: without those lines.
    pub silent: bool,
    /// `exit-after=200ms[:code=3|:signal=9]`: it ends that long after its start.
    pub exit_after: Option<(Duration, End)>,
    /// `exit-loaded[:code=3|:signal=9]`: it ends where it would become ready.
    pub exit_loaded: Option<End>,
    /// `exit-mid-stream[:code=3|:signal=9]`: it ends after the third token of an answer.
    pub exit_mid_stream: Option<End>,
    /// `ignore-sigterm`: SIGTERM does nothing, from the first instruction on.
    pub ignore_sigterm: bool,
    /// `sigstop-after=1s`: it stops itself with SIGSTOP.
    pub sigstop_after: Option<Duration>,
    /// `grandchild`: a process in a session of its own outlives it, and ignores SIGTERM and SIGHUP.
    pub grandchild: bool,
    /// `never-ready`: `/health` says 503 for ever.
    pub never_ready: bool,
    /// `hang-after=0s`: from then on it listens, and accepts nothing.
    pub hang_after: Option<Duration>,
    /// `wedge=2`: every answer stops after so many tokens; its slot stays busy, nothing moves.
    pub wedge: Option<u64>,
    /// `token-time=100ms`: each token takes so long.
    pub token_time: Duration,
    /// `flood=100MiB`: lines of output, so many bytes a second; 0: as fast as they are taken.
    pub flood: Option<u64>,
    /// `print=TEXT`: a line of output while loading. May be given several times.
    pub print: Vec<String>,
    /// `partial-line`: output that no newline ends, while loading.
    pub partial_line: bool,
    /// `invalid-utf8`: a line of output that is not text, while loading.
    pub invalid_utf8: bool,
    /// `nuls`: a line of output with NULs in it, while loading.
    pub nuls: bool,
    /// `long-line=10MiB`: one line of so many bytes, while loading.
    pub long_line: Option<u64>,
    /// `hold-port=8090`: it also listens on that port of 127.0.0.1.
    pub hold_port: Option<u16>,
    /// `allocate=100MiB`: so many bytes are taken and touched while loading.
    pub allocate: Option<u64>,
}

/// How a process ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exits with a status.
    Code(i32),
    /// It sends itself a signal.
    Signal(Signal),
}

impl Faults {
    /// Adds the fault that `text` writes down, in the form told at each field.
    ///
    /// # Errors
    ///
    /// Says what of it cannot be read.
    pub fn add(&mut self, text: &str) -> Result<()> {
        // What is printed may hold the characters that separate options.
        if let Some(line) = text.strip_prefix("print=") {
            self.print.push(line.to_owned());
            return Ok(());
        }
        self.set(text)
            .with_context(|| format!("cannot read fault {text:?}"))
    }

    fn set(&mut self, text: &str) -> Result<()> {
        let (head, option) = match text.split_once(':') {
            Some((head, option)) => (head, Some(option)),
            None => (text, None),
        };
        let (name, value) = head.split_once('=').unwrap_or((head, ""));
        match name {
            "load-time" => self.load_time = duration(value)?,
            "silent" => self.silent = true,
            "exit-after" => self.exit_after = Some((duration(value)?, End::read(option)?)),
            "exit-loaded" => self.exit_loaded = Some(End::read(option)?),
            "exit-mid-stream" => self.exit_mid_stream = Some(End::read(option)?),
            "ignore-sigterm" => self.ignore_sigterm = true,
            "sigstop-after" => self.sigstop_after = Some(duration(value)?),
            "grandchild" => self.grandchild = true,
            "never-ready" => self.never_ready = true,
            "hang-after" => self.hang_after = Some(duration(value)?),
            "wedge" => self.wedge = Some(value.parse()?),
            "token-time" => self.token_time = duration(value)?,
            "flood" => self.flood = Some(size(value)?),
            "partial-line" => self.partial_line = true,
            "invalid-utf8" => self.invalid_utf8 = true,
            "nuls" => self.nuls = true,
            "long-line" => self.long_line = Some(size(value)?),
            "hold-port" => self.hold_port = Some(value.parse()?),
            "allocate" => self.allocate = Some(size(value)?),
            unknown => bail!("there is no fault {unknown:?}"),
        }
        Ok(())
    }
}

impl End {
    fn read(option: Option<&str>) -> Result<Self> {
        let Some(option) = option else {
            return Ok(Self::Code(1));
        };
        match option.split_once('=') {
            Some(("code", code)) => Ok(Self::Code(code.parse()?)),
            Some(("signal", number)) => Ok(Self::Signal(Signal::try_from(number.parse::<i32>()?)?)),
            _ => bail!("write code=N or signal=N instead of {option:?}"),
        }
    }
}

fn duration(text: &str) -> Result<Duration> {
    let (number, unit) = split_unit(text)?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        _ => bail!("{text:?} is no duration: write 200ms, 2s or 1m"),
    })
}

fn size(text: &str) -> Result<u64> {
    let (number, unit) = split_unit(text)?;
    Ok(match unit {
        "" => number,
        "KiB" => number << 10,
        "MiB" => number << 20,
        _ => bail!("{text:?} is no size: write bytes, 4KiB or 10MiB"),
    })
}

fn split_unit(text: &str) -> Result<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Ok((number.parse().context("it needs a number")?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_add_up() {
        let mut faults = Faults::default();
        for text in [
            "exit-after=200ms:code=3",
            "exit-loaded:signal=9",
            "load-time=2s",
            "silent",
            "long-line=10MiB",
            "print=CUDA error: out of memory",
        ] {
            faults.add(text).unwrap();
        }
        let expected = Faults {
            exit_after: Some((Duration::from_millis(200), End::Code(3))),
            exit_loaded: Some(End::Signal(Signal::SIGKILL)),
            load_time: Duration::from_secs(2),
            silent: true,
            long_line: Some(10 << 20),
            print: vec!["CUDA error: out of memory".into()],
            ..Faults::default()
        };
        assert_eq!(faults, expected);
    }

    #[test]
    fn what_is_not_a_fault_is_refused() {
        for text in [
            "",
            "exit-after",
            "exit-after=2h",
            "exit-loaded:when=now",
            "nap",
        ] {
            assert!(Faults::default().add(text).is_err(), "{text}");
        }
    }
}
