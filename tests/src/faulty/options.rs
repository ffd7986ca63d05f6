//! The command line: the part of llama-server's that a supervisor uses, and the faults.

use std::path::PathBuf;
use std::str::FromStr;
use std::{env, fs, io};

use super::fault::Faults;

/// Faults by environment, separated by `;`.
const FAULTS_VARIABLE: &str = "MAGI_FAULTS";

/// What was asked for.
#[derive(Debug)]
pub(super) struct Options {
    /// The model's file.
    pub model: PathBuf,
    /// The address to listen on.
    pub host: String,
    /// The port to listen on.
    pub port: u16,
    /// How many slots it has.
    pub slots: usize,
    /// What goes wrong.
    pub faults: Faults,
    /// Where starts and ends are written down.
    pub record: Option<PathBuf>,
}

/// Why the command line is refused: the text that llama-server prints for it.
#[derive(Debug)]
pub(super) struct Refused(pub String);

impl Options {
    /// Reads arguments as llama-server does, but passes over those it does not know.
    pub(super) fn parse(args: impl Iterator<Item = String>) -> Result<Self, Refused> {
        let mut options = Self {
            model: PathBuf::new(),
            host: "127.0.0.1".into(),
            port: 8080,
            slots: 4,
            faults: Faults::default(),
            record: None,
        };
        let mut args = args;
        while let Some(flag) = args.next() {
            let mut value = || {
                args.next()
                    .ok_or_else(|| refuse(&flag, "expected value for argument"))
            };
            match flag.as_str() {
                "-m" | "--model" => options.model = value()?.into(),
                "--host" => options.host = value()?,
                "--port" => options.port = number(&flag, &value()?)?,
                "-np" | "--parallel" => options.slots = number(&flag, &value()?)?,
                "--record" => options.record = Some(value()?.into()),
                "--fault" => options.add_fault(&flag, &value()?)?,
                "--faults-from" => options.add_faults_of(&flag, &value()?)?,
                "--bad-flag" => return Err(Refused(format!("error: invalid argument: {flag}"))),
                _ => {}
            }
        }
        if let Ok(faults) = env::var(FAULTS_VARIABLE) {
            for text in faults.split(';') {
                options.add_fault(FAULTS_VARIABLE, text.trim())?;
            }
        }
        if options.model.as_os_str().is_empty() {
            return Err(Refused(
                "error: this one is no router: it needs --model".into(),
            ));
        }
        Ok(options)
    }

    fn add_fault(&mut self, flag: &str, text: &str) -> Result<(), Refused> {
        self.faults
            .add(text)
            .map_err(|error| refuse(flag, &format!("{error:#}")))
    }

    /// Adds the faults of a file, one a line, so that a test can change what goes wrong without
    /// changing the command line. Without the file nothing goes wrong.
    fn add_faults_of(&mut self, flag: &str, path: &str) -> Result<(), Refused> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(refuse(flag, &error.to_string())),
        };
        text.lines().try_for_each(|line| self.add_fault(flag, line))
    }
}

fn refuse(flag: &str, why: &str) -> Refused {
    Refused(format!("error while handling argument \"{flag}\": {why}"))
}

fn number<T: FromStr>(flag: &str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| refuse(flag, "stoi"))
}
