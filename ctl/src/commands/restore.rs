//! `magictl restore N [FILE]`.

use clap::Args;
use magi_proto::v1::RestoreFilesRequest;

use crate::cli::Format;
use crate::client::Client;
use crate::failure::{ExitStatus, Failure};
use crate::output::text::printable;
use crate::output::{Output, narrate};
use crate::view::Restored;

/// What to write back.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The generation, as `history` numbers it
    #[arg(value_name = "N")]
    number: u64,
    /// A path, magid.toml, or the name of the profile [default: all]
    file: Option<String>,
    /// Only show what would be written
    #[arg(long)]
    dry_run: bool,
}

/// Writes the files, and prints the paths of those that changed.
pub(crate) async fn run(
    client: &Client,
    args: RestoreArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = RestoreFilesRequest {
        number: args.number,
        file: args.file,
        dry_run: args.dry_run,
    };
    let answer = client.generations().restore_files(request).await?;
    let restored = Restored::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&restored)?,
        Format::Jsonl => output.objects([&restored])?,
        Format::Table => {
            let paths = restored.written.iter();
            output.lines(&paths.map(|path| printable(path)).collect::<Vec<_>>())?;
        }
    }
    for path in &restored.unchanged {
        narrate(format_args!("{} is like that already", printable(path)));
    }
    for path in &restored.kept {
        narrate(format_args!(
            "what was in a file is in no generation; it is kept in {}",
            printable(path)
        ));
    }
    if !args.dry_run && !restored.written.is_empty() {
        narrate(format_args!(
            "magid takes them as any edit of the files; `magictl reload` tells the verdict"
        ));
    }
    Ok(ExitStatus::Done)
}
