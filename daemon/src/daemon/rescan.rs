//! A look at the models where no magid runs: `magictl models rescan`, as before the first start in a
//! container. It has the lock meanwhile, so no magid begins between what it read and what it writes.

use super::{Arguments, DaemonError, lock, prepare};
use crate::config::Environment;
use crate::registry::{RegistryConfig, look_alone};
use magi_proto::v1;

/// Looks for models where the magid of this environment would, and writes what is found where it will
/// read it. Returns what was found, and why it could not be written if so.
///
/// # Errors
///
/// The configuration is wrong, the state folder cannot be used, or a magid runs on it.
pub async fn rescan(
    environment: &Environment,
) -> Result<(v1::RescanModelsResponse, Option<String>), DaemonError> {
    let arguments = Arguments::default();
    let current_dir = prepare::current_dir()?;
    let locations = prepare::locations(&arguments, environment, &current_dir);
    let config = prepare::read_config(&arguments, environment, &locations)?;
    prepare::make_folder("state", &config.state_dir)?;
    let _lock = lock::take(&config.state_dir)?;
    let looked = look_alone(RegistryConfig {
        scan_paths: config.scan_paths,
        file: config.registry,
        tiers: config.tiers,
    });
    let (report, unwritten) = looked.await.map_err(|error| DaemonError::System {
        what: "look for models",
        reason: std::io::Error::other(error),
    })?;
    Ok(((&report).into(), unwritten))
}
