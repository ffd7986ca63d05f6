//! The key that systemd passes as a file: of a service's environment anybody may be told, of its
//! credentials nobody.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use magid::config::Environment;
use thiserror::Error;

/// The variable, and the name of the credential in its place.
const API_KEY: &str = "MAGI_API_KEY";

/// Where systemd puts them.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where systemd looks for a credential that a unit names without a place, as magi-gateway.service does.
const STORES: [&str; 3] = ["/etc/credstore", "/run/credstore", "/usr/lib/credstore"];

/// The most that is read, in bytes. A longer key is cut, and so is none.
const LIMIT: u64 = 4096;

/// Why a credential cannot be had.
#[derive(Debug, Error)]
#[error(
    "cannot read the credential {}: {reason}; a unit that is not to have one says `LoadCredential=`",
    path.display()
)]
pub struct CredentialError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub reason: io::Error,
}

/// The environment with the key from the credentials, unless it names one itself.
///
/// # Errors
///
/// There is one, and it cannot be read.
pub fn added(environment: Environment) -> Result<Environment, CredentialError> {
    let directory = match environment.get(DIRECTORY) {
        Some(directory) if environment.get(API_KEY).is_none() => Path::new(directory),
        Some(_) | None => return Ok(environment),
    };
    let path = directory.join(API_KEY);
    match read(&path) {
        Ok(key) => Ok(environment.with(API_KEY, key)),
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => Ok(environment),
        Err(_) if is_closed(&path) && is_in_none(&STORES) => Ok(environment),
        Err(reason) => Err(CredentialError { path, reason }),
    }
}

/// Whether nobody can tell if there is such a file. So it is in a container that does not pass on the mounts of
/// its systemd: the folder is there then, and is root's.
fn is_closed(path: &Path) -> bool {
    let found = path.symlink_metadata();
    found.is_err_and(|reason| reason.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether it is certain that there is no key to be passed. In doubt there is one: without it the gateway would be
/// open to everybody on this machine.
fn is_in_none(stores: &[impl AsRef<Path>]) -> bool {
    let mut stores = stores.iter();
    stores.all(|store| matches!(store.as_ref().join(API_KEY).try_exists(), Ok(false)))
}

fn read(path: &Path) -> io::Result<String> {
    let mut key = String::new();
    File::open(path)?.take(LIMIT).read_to_string(&mut key)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(directory: &Path, more: &[(&str, &str)]) -> Environment {
        let directory = directory.display().to_string();
        let more = more
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        more.chain([(DIRECTORY.to_owned(), directory)]).collect()
    }

    #[test]
    fn a_credential_is_the_variable_unless_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let none = added(environment(directory, &[])).unwrap();
        assert_eq!(none.get(API_KEY), None);

        std::fs::write(directory.join(API_KEY), "passed\n").unwrap();
        let passed = added(environment(directory, &[])).unwrap();
        assert_eq!(passed.get(API_KEY).map(str::trim), Some("passed"));
        let named = added(environment(directory, &[(API_KEY, "named")])).unwrap();
        assert_eq!(named.get(API_KEY), Some("named"));
    }

    #[test]
    fn a_key_that_is_in_no_store_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("credstore");
        assert!(is_in_none(&[&store]), "there is no such store");
        std::fs::create_dir(&store).unwrap();
        assert!(is_in_none(&[&store]), "it is empty");
        std::fs::write(store.join(API_KEY), "kept").unwrap();
        assert!(!is_in_none(&[&store]));
        assert!(!is_closed(&store.join(API_KEY)), "it can be told of");
    }

    #[test]
    fn a_credential_that_cannot_be_read_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(API_KEY)).unwrap();
        let refused = added(environment(directory.path(), &[])).unwrap_err();
        assert!(refused.to_string().contains(API_KEY), "{refused}");
    }
}
