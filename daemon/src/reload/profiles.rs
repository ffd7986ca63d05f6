//! The files of profiles: what there is, and making and deleting them.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::owner::Reloader;
use super::read::{self, Choice, Inputs};
use super::{ReloadHandle, Told};
use crate::blocking::blocking;
use crate::config::{
    self, BUILTIN, BUILTIN_TEXT, DaemonConfig, Diagnostic, EditError, ProfileNameError, SourceFile,
};
use crate::files::{self, RewriteError};
use crate::name::ServerName;
use crate::plan::Definition;
use crate::supervisor::fleet::AskError;

/// So many profiles are looked at.
const MOST_PROFILES: usize = 200;

/// A profile, as it is told of.
#[derive(Clone, Debug)]
pub struct ProfileRecord {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Its file. The built-in one has none.
    pub path: Option<PathBuf>,
    /// Its text; of the built-in one, what a file with the same meaning would say.
    pub text: String,
    /// Whether it is the active one.
    pub is_active: bool,
    /// The servers that it makes of the models that there are.
    pub definitions: Vec<Definition>,
    /// Why it could not be activated.
    pub errors: Vec<Told>,
    /// When its file was last modified.
    pub modified_at: Option<Timestamp>,
}

/// A profile that is to be made.
#[derive(Clone, Debug)]
pub struct NewProfile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: Option<String>,
    /// The profile to copy.
    pub copy_of: Option<String>,
    /// What its description is to be.
    pub description: Option<String>,
}

/// Why nothing was done with the file of a profile.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// magid ends, or is busy.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is none of this name.
    #[error("cannot find a profile named {name:?}; `magictl profiles list` shows them")]
    NoSuchProfile {
        /// The name.
        name: String,
    },
    /// There is one of this name.
    #[error("cannot create the profile {name}: {} is there already", .path.display())]
    Exists {
        /// The name.
        name: String,
        /// Its file.
        path: PathBuf,
    },
    /// It is in use.
    #[error(
        "cannot delete the profile {0}: it is active; `magictl profiles activate` another one first"
    )]
    Active(String),
    /// It has no file.
    #[error("cannot delete the profile {BUILTIN}: it is built in, there is no file")]
    BuiltIn,
    /// No file of a profile can have this name.
    #[error("{0}")]
    Name(#[from] ProfileNameError),
    /// Its text cannot be edited.
    #[error("cannot write the description: {0}")]
    Edit(#[from] EditError),
    /// Its text is wrong.
    #[error("the text is no valid profile:\n{}", rendered(.0))]
    Invalid(Vec<Told>),
    /// The folder may not be written to.
    #[error("cannot write {}: {reason}", .path.display())]
    ReadOnly {
        /// What cannot be written.
        path: PathBuf,
        /// The folder.
        folder: PathBuf,
        /// The system's word.
        reason: String,
    },
    /// The file cannot be written for another reason.
    #[error("{0}")]
    Unwritten(String),
}

fn rendered(errors: &[Told]) -> String {
    let rendered: Vec<_> = errors.iter().map(|error| error.rendered.as_str()).collect();
    rendered.join("\n")
}

pub(super) enum Request {
    List(oneshot::Sender<Vec<ProfileRecord>>),
    Create(
        NewProfile,
        oneshot::Sender<Result<ProfileRecord, ProfileError>>,
    ),
    Delete(String, oneshot::Sender<Result<(), ProfileError>>),
}

impl ReloadHandle {
    /// All profiles, by name.
    ///
    /// # Errors
    ///
    /// If magid ends, or is too busy.
    pub async fn profiles(&self) -> Result<Vec<ProfileRecord>, AskError> {
        self.about_profiles(Request::List).await
    }

    /// Writes a new profile.
    ///
    /// # Errors
    ///
    /// Then there is no new file.
    pub async fn create_profile(&self, new: NewProfile) -> Result<ProfileRecord, ProfileError> {
        self.about_profiles(|reply| Request::Create(new, reply))
            .await?
    }

    /// Deletes the file of a profile.
    ///
    /// # Errors
    ///
    /// Then it is still there.
    pub async fn delete_profile(&self, name: String) -> Result<(), ProfileError> {
        self.about_profiles(|reply| Request::Delete(name, reply))
            .await?
    }

    async fn about_profiles<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, AskError> {
        let (reply, answer) = oneshot::channel();
        self.send(super::Request::Profiles(request(reply)))?;
        answer.await.map_err(|_| AskError::ShuttingDown)
    }
}

/// What the files of profiles are looked at with.
struct Shelf {
    inputs: Inputs,
    active: Option<String>,
}

impl Reloader {
    pub(super) async fn profiles(&mut self, request: Request) {
        let shelf = Shelf {
            active: self.status.borrow().profile.clone(),
            inputs: self.inputs(Choice::Active(None), None),
        };
        // Away from the tasks; whoever asked may not have waited for the answer.
        let done = blocking(move || match request {
            Request::List(reply) => drop(reply.send(shelf.list())),
            Request::Create(new, reply) => drop(reply.send(shelf.create(new))),
            Request::Delete(name, reply) => drop(reply.send(shelf.delete(&name))),
        });
        let _ = done.await;
    }
}

impl Shelf {
    fn daemon(&self) -> &DaemonConfig {
        &self.inputs.last_good
    }

    fn folder(&self) -> &Path {
        &self.daemon().profiles_dir
    }

    fn list(&self) -> Vec<ProfileRecord> {
        let mut names = names(self.folder());
        names.push(BUILTIN.to_owned());
        names.sort();
        names.dedup();
        names.iter().map(|name| self.record(name)).collect()
    }

    fn record(&self, name: &str) -> ProfileRecord {
        let read = read::preview(&self.inputs, name);
        let path = read::profile_path(self.daemon(), name);
        let meta = std::fs::metadata(&path).ok();
        let modified = meta.and_then(|meta| meta.modified().ok());
        let is_active = self.active.as_deref() == Some(name);
        let mut errors = read.errors.clone();
        if !is_active {
            errors.extend(read.missing_models(&read.models_that_are_missing()));
        }
        let file = read.content.files.profile.and_then(|profile| profile.file);
        let is_builtin = name == BUILTIN && file.is_none();
        if !is_builtin && file.is_none() && errors.is_empty() {
            errors.push(Told::new(&leads_nowhere(&path), &[]));
        }
        let text = match is_builtin {
            true => BUILTIN_TEXT.to_owned(),
            false => file.map(|file| file.text).unwrap_or_default(),
        };
        ProfileRecord {
            name: name.to_owned(),
            description: read.description,
            path: (!is_builtin).then_some(path),
            text,
            is_active,
            definitions: read.definitions.into_values().collect(),
            errors,
            modified_at: modified.and_then(|time| Timestamp::try_from(time).ok()),
        }
    }

    fn create(&self, new: NewProfile) -> Result<ProfileRecord, ProfileError> {
        config::check_profile_name(&new.name)?;
        let path = read::profile_path(self.daemon(), &new.name);
        if std::fs::symlink_metadata(&path).is_ok() {
            let name = new.name;
            return Err(ProfileError::Exists { name, path });
        }
        let text = self.text(&new)?;
        let file = SourceFile {
            path: path.clone(),
            text,
        };
        if let Err(errors) = config::parse_profile(&new.name, &file, self.daemon()) {
            let sources = [file];
            let told = errors.iter().map(|error| Told::new(error, &sources));
            return Err(ProfileError::Invalid(told.collect()));
        }
        let made = std::fs::create_dir_all(self.folder());
        made.map_err(|error| self.unwritten(&path, &error))?;
        files::create(&path, &file.text).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ProfileError::Exists {
                name: new.name.clone(),
                path: path.clone(),
            },
            _ => self.unwritten(&path, &error),
        })?;
        Ok(self.record(&new.name))
    }

    fn text(&self, new: &NewProfile) -> Result<String, ProfileError> {
        let description = new.description.as_deref();
        let text = match (&new.text, &new.copy_of) {
            (Some(text), _) => text.clone(),
            (None, Some(name)) => self.text_of(name)?,
            (None, None) => return Ok(config::new_profile(description)),
        };
        match description {
            Some(description) => Ok(config::describe(&text, description)?),
            None => Ok(text),
        }
    }

    fn text_of(&self, name: &str) -> Result<String, ProfileError> {
        if name == BUILTIN {
            return Ok(BUILTIN_TEXT.to_owned());
        }
        self.check_there(name)?;
        let path = read::profile_path(self.daemon(), name);
        match read::source(&path) {
            Ok(Some(file)) => Ok(file.text),
            Ok(None) => Err(no_such(name)),
            Err(error) => Err(ProfileError::Unwritten(error.message)),
        }
    }

    fn delete(&self, name: &str) -> Result<(), ProfileError> {
        if name == BUILTIN {
            return Err(ProfileError::BuiltIn);
        }
        self.check_there(name)?;
        if self.active.as_deref() == Some(name) {
            return Err(ProfileError::Active(name.to_owned()));
        }
        let path = read::profile_path(self.daemon(), name);
        std::fs::remove_file(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_such(name),
            _ => self.unwritten(&path, &error),
        })
    }

    /// A name that is none leads to no file, wherever it points.
    fn check_there(&self, name: &str) -> Result<(), ProfileError> {
        let path = read::profile_path(self.daemon(), name);
        let is_name = ServerName::new(name).is_ok();
        match is_name && std::fs::symlink_metadata(path).is_ok() {
            true => Ok(()),
            false => Err(no_such(name)),
        }
    }

    fn unwritten(&self, path: &Path, error: &io::Error) -> ProfileError {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ProfileError::ReadOnly {
                    path: path.to_path_buf(),
                    folder: self.folder().to_path_buf(),
                    // Of the temporary file that it would have become, nobody knows.
                    reason: io::Error::from(error.kind()).to_string(),
                }
            }
            _ => ProfileError::Unwritten(format!("cannot write {}: {error}", path.display())),
        }
    }
}

impl From<RewriteError> for ProfileError {
    fn from(error: RewriteError) -> Self {
        Self::Unwritten(error.to_string())
    }
}

/// What is wrong with a file that is listed and cannot be found.
fn leads_nowhere(path: &Path) -> Diagnostic {
    let message = format!(
        "cannot find {}: does a symlink lead nowhere?",
        path.display()
    );
    Diagnostic::error(message, "mend the symlink, or `magictl profiles delete` it")
}

fn no_such(name: &str) -> ProfileError {
    ProfileError::NoSuchProfile {
        name: name.to_owned(),
    }
}

/// The names of the files in the folder of profiles.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let name = |path: PathBuf| {
        let is_profile = path.extension().is_some_and(|ending| ending == "toml");
        let name = path.file_stem()?.to_str()?;
        (is_profile && !name.starts_with('.')).then(|| name.to_owned())
    };
    let mut names: Vec<String> = paths.filter_map(name).collect();
    names.sort();
    names.truncate(MOST_PROFILES);
    names
}
