//! The repository as a user has it who has just cloned it, and commands in it as he types them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use magi_tests::tiny_model;
use tempfile::TempDir;

use super::{Dockerd, PATH, since};
use crate::cargo::{self, workspace};
use crate::narrate::say;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

/// What the container is called, as docker-compose 1.29 does: commands that are waited for use docker
/// itself, since compose takes longer than most of what they do.
const PROJECT: &str = "magitest";
const CONTAINER: &str = "magitest_magi_1";

/// The shipped profile would do, but two processors are too few for threads that spin.
const PROFILE: &str = "\
[defaults]
ctx_size = 2048
args = [\"-t\", \"1\", \"-tb\", \"1\"]

[servers.alpha]
model = \"alpha\"
parallel = 1

[servers.beta]
model = \"beta\"
parallel = 1
";

/// Compiling takes as long as all other tests together, and is what they begin with.
const CARGO: &str = r#"FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends binutils
COPY magid magi-gateway magictl /programs/
RUN printf '%s\n' '#!/bin/sh -e' \
    'for member in $(sed -n "s/^members = \[\(.*\)\]/\1/p" Cargo.toml | tr -d "\",")' \
    'do cat "$member/Cargo.toml" "$member/src/"*.rs; done' 'cat Cargo.lock .cargo/config.toml' \
    'mkdir -p target/release && cp /programs/* target/release/' > /usr/local/bin/cargo \
    && chmod +x /usr/local/bin/cargo
"#;

/// The folder of a user: the repository, `~/models`, and a docker with compose.
pub(super) struct Project<'a> {
    dockerd: &'a Dockerd,
    home: TempDir,
    programs: PathBuf,
    llama_server: PathBuf,
}

impl<'a> Project<'a> {
    /// Makes it, with the programs and the llama-server in these folders, and without a model.
    pub(super) fn make(dockerd: &'a Dockerd, programs: &Path, llama_server: &Path) -> Result<Self> {
        let home = tempfile::Builder::new().prefix("magi").tempdir()?;
        let project = Self {
            dockerd,
            programs: home.path().join("programs"),
            llama_server: llama_server.to_path_buf(),
            home,
        };
        for folder in [&project.folder(), &project.models(), &project.programs] {
            fs::create_dir_all(folder)?;
        }
        let copy = "git ls-files -z --cached --others --exclude-standard | \
                    xargs -0 cp --parents -t \"$TO\"";
        let mut cp = Command::new("sh");
        cp.args(["-c", copy]).env("TO", project.folder());
        cargo::run(cp.current_dir(workspace()))?;
        for name in ["magid", "magi-gateway", "magictl"] {
            // As they are shipped: a debug build has hundreds of megabytes of symbols.
            let mut strip = Command::new("strip");
            strip.arg(programs.join(name)).arg("-o");
            let done = strip.arg(project.programs.join(name)).status();
            if !done.context("cannot run strip")?.success() {
                bail!("there is no {name} in {}", programs.display());
            }
        }
        project.install_compose()?;
        Ok(project)
    }

    /// Has `docker compose` be docker-compose, where that is what there is.
    fn install_compose(&self) -> Result<()> {
        let plugin = "#!/bin/sh\n\
            [ \"$1\" != docker-cli-plugin-metadata ] || exec echo \
            '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"magi\",\"Version\":\"1.29\"}'\n\
            shift\nexec docker-compose \"$@\"\n";
        let folder = self.home.path().join(".docker/cli-plugins");
        fs::create_dir_all(&folder)?;
        let file = folder.join("docker-compose");
        fs::write(&file, plugin)?;
        Ok(fs::set_permissions(
            file,
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )?)
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.home.path().join("magi")
    }

    fn models(&self) -> PathBuf {
        self.home.path().join("models")
    }

    /// Puts a model that says `word` into `~/models`.
    pub(super) fn make_model(&self, word: &str) -> Result<()> {
        Ok(tiny_model(
            &self.models().join(format!("{word}.gguf")),
            word,
        )?)
    }

    /// Writes the profile, changed by `change`.
    pub(super) fn save_profile(&self, change: impl FnOnce(&str) -> String) -> Result<()> {
        let file = "packaging/docker/config/profiles/development.toml";
        let file = self.folder().join(file);
        fs::create_dir_all(file.parent().context("it has a folder")?)?;
        Ok(fs::write(file, change(PROFILE))?)
    }

    /// An image that is called as that of Rust, with a cargo that only sees whether all that it would
    /// compile is there, and has the programs ready.
    pub(super) fn make_cargo(&self) -> Result<()> {
        let folder = self.home.path().join("cargo");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("Dockerfile"), CARGO)?;
        let programs = self.programs.display();
        let folder = folder.display();
        self.run(&format!(
            "cp {programs}/* {folder} && DOCKER_BUILDKIT=1 docker build -q -t rust:1.95-bookworm {folder}"
        ))?;
        Ok(())
    }

    /// Runs commands as a user types them. Tells what they wrote on stdout.
    ///
    /// # Errors
    ///
    /// One does not end with 0.
    pub(super) fn run(&self, commands: &str) -> Result<String> {
        let ran = self.tried(commands)?;
        if ran.code != Some(0) {
            bail!(
                "`{}` ended with {:?}:\n{}",
                commands.trim(),
                ran.code,
                ran.told
            );
        }
        Ok(ran.stdout)
    }

    /// The same, and it has to end with this status. Tells all that was written.
    pub(super) fn refused(&self, commands: &str, code: i32) -> Result<String> {
        let ran = self.tried(commands)?;
        if ran.code != Some(code) {
            bail!(
                "`{commands}` ended with {:?}, not {code}:\n{}",
                ran.code,
                ran.told
            );
        }
        Ok(ran.told)
    }

    fn tried(&self, commands: &str) -> Result<Ran> {
        let commands = commands.trim();
        say(&commands.replace('\n', "; "));
        let mut shell = self.dockerd.beside("sh");
        shell
            .args(["-ec", commands])
            .current_dir(self.folder())
            .env("HOME", self.home.path())
            .env("PATH", PATH)
            .env("COMPOSE_PROJECT_NAME", PROJECT)
            .env("MAGI_BIN_DIR", &self.programs)
            .env("LLAMA_SERVER_DIR", &self.llama_server)
            .env("CONTAINER", CONTAINER)
            .env("MAGI", format!("docker exec {CONTAINER}"))
            .stdin(Stdio::null());
        let output = shell.output().context("cannot run sh")?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        Ok(Ran {
            code: output.status.code(),
            told: format!("{stdout}{stderr}"),
            stdout,
        })
    }

    /// Waits until the commands end with 0, and tells how long that took.
    pub(super) fn wait(&self, what: &str, commands: &str) -> Result<Duration> {
        let began = Timestamp::now();
        loop {
            let ran = self.tried(commands)?;
            let waited = since(began);
            if ran.code == Some(0) {
                return Ok(waited);
            }
            if waited > PATIENCE {
                bail!("it is not so that {what}:\n{}", ran.told);
            }
            sleep(PAUSE);
        }
    }

    /// Removes everything but images in use: this docker is nobody else's. Also what a test left that was
    /// killed, whose .env is gone.
    pub(super) fn clear(&self) {
        let _ = self.tried(
            "docker ps -aq | xargs -r docker rm -f -v; docker volume prune -f; docker network prune -f; \
             docker image prune -f",
        );
    }
}

/// What ran.
struct Ran {
    code: Option<i32>,
    stdout: String,
    /// All that was written.
    told: String,
}
