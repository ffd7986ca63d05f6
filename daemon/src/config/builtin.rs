//! The profile that magid has without any file: a folder of models is enough.

use super::diagnostic::SourceFile;
use super::profile::Profile;
use super::read_profile::read_text;
use crate::lifecycle::RestartPolicy;

/// Its name, which no file can have.
pub const BUILTIN: &str = "builtin";

/// What a file with the same meaning would say.
pub const BUILTIN_TEXT: &str = "\
# The profile that magid has without any file. To have another one:
# magictl profiles create NAME, and write [servers.NAME] or [[select]] into it.
description = \"Every enabled model, on demand\"

# A server for every enabled model, named after it. It is started when it is asked for.
[[select]]
# For a model that was trained for fewer tokens it is as many as those.
ctx_size = 8192
# Whoever tries one model after the other gets the memory of those before back.
idle_timeout = \"15m\"
";

/// The profile. `restart` is how servers are restarted where no profile says otherwise.
pub fn builtin(restart: &RestartPolicy) -> Profile {
    let file = SourceFile {
        path: BUILTIN.into(),
        text: BUILTIN_TEXT.to_owned(),
    };
    let read = read_text(BUILTIN, &file, restart);
    read.expect("the text is a valid profile").profile
}
