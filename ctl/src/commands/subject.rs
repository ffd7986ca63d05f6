//! What `check` and `ports` know before they look: the configuration that is meant, and the magid that
//! answers, if one does. They work without.

use std::path::{Path, PathBuf};
use std::time::Duration;

use magi_proto::v1;
use magi_proto::v1::{GetStatusRequest, GetVersionRequest};
use magid::check::{Magid, Running, Subject};
use tokio::time::timeout;

use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::narrate;
use crate::view::State;

/// How long a magid that may hang is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// The subject, and how magid was reached or not.
pub(super) struct Reached {
    pub(super) subject: Subject,
    pub(super) client: Result<Client, Failure>,
}

/// Asks the magid that answers, if it is one of this configuration.
pub(super) async fn reach(socket: Option<&Path>, config: Option<PathBuf>) -> Reached {
    let asked = timeout(PATIENCE, ask(socket)).await;
    let asked = asked.unwrap_or_else(|_| Err(Failure::Late));
    let current_dir = std::env::current_dir().unwrap_or_default();
    let is_meant = |magid: &Magid| match &config {
        Some(config) => is_same(&current_dir.join(config), &magid.config_file),
        None => true,
    };
    let (magid, client) = match asked {
        Ok((client, magid)) => (Some(magid).filter(is_meant), Ok(client)),
        Err(failure) => {
            // That none is there is nothing to tell: check works without.
            if failure.exit_status() != ExitStatus::Unreachable {
                narrate(format_args!("looking without magid: {failure}"));
            }
            (None, Err(failure))
        }
    };
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let subject = Subject {
        config,
        environment: variables.collect(),
        current_dir,
        magid,
        ..Subject::default()
    };
    Reached { subject, client }
}

async fn ask(socket: Option<&Path>) -> Result<(Client, Magid), Failure> {
    let client = Client::connect(socket).await?;
    let mut daemon = client.daemon();
    let version = daemon.get_version(read(GetVersionRequest {}));
    let version = version.await?.into_inner();
    let status = daemon.get_status(read(GetStatusRequest {}));
    let status = status.await?.into_inner();
    let config_file = status.config.map(|config| config.config_path);
    let magid = Magid {
        pid: version.pid,
        config_file: config_file.unwrap_or_default().into(),
        state_dir: version.state_dir.into(),
        log_dir: version.log_dir.into(),
        profile: status.profile,
        servers: status.servers.into_iter().filter_map(running).collect(),
    };
    Ok((client, magid))
}

fn running(server: v1::Server) -> Option<Running> {
    let endpoint = server.endpoint.as_deref()?.strip_prefix("http://")?;
    Some(Running {
        endpoint: endpoint.parse().ok()?,
        pid: server.pid?,
        is_ready: State::from_wire(server.state) == State::Ready,
        server: server.name,
    })
}

fn is_same(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    real(a) == real(b)
}
