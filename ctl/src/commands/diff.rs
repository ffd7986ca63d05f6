//! `magictl diff [N] [--since M] [--files]`.

use clap::Args;
use magi_proto::v1::DiffGenerationsRequest;

use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::text::printable;
use crate::output::{Output, narrate};
use crate::view::Diff;

/// What to compare.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The newer generation [default: the one in force]
    #[arg(value_name = "N")]
    number: Option<u64>,
    /// The older generation [default: the one before]
    #[arg(long, value_name = "M", conflicts_with = "files")]
    since: Option<u64>,
    /// Compare with the files as they are now
    #[arg(long)]
    files: bool,
}

/// Prints a unified diff.
pub(crate) async fn run(
    client: &Client,
    args: DiffArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = DiffGenerationsRequest {
        number: args.number,
        since: args.since,
        with_files: args.files,
    };
    let answer = client.generations().diff_generations(read(request)).await?;
    let shown = Diff::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&shown)?,
        Format::Jsonl => output.objects([&shown])?,
        Format::Table if shown.diff.is_empty() => narrate(format_args!("nothing differs")),
        Format::Table => {
            let lines = shown.diff.lines();
            let lines: Vec<_> = lines.map(|line| painted(line, output.colours)).collect();
            output.lines(&lines)?;
        }
    }
    Ok(ExitStatus::Done)
}

fn painted(line: &str, colours: bool) -> String {
    let line = printable(line);
    match colour_of(&line) {
        Some(colour) if colours => colour.paint(&line),
        Some(_) | None => line,
    }
}

fn colour_of(line: &str) -> Option<Colour> {
    let is_place = ["---", "+++", "@@"]
        .iter()
        .any(|mark| line.starts_with(mark));
    match line.chars().next() {
        _ if is_place => Some(Colour::Dim),
        Some('+') => Some(Colour::Green),
        Some('-') => Some(Colour::Red),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_green_and_what_went_is_red() {
        let colours = [
            "+++ b",
            "--- a",
            "@@ -1 +1 @@",
            "+b = 1",
            "-a = 1",
            " c = 1",
            "",
        ]
        .map(colour_of);
        let dim = Some(Colour::Dim);
        let [green, red] = [Some(Colour::Green), Some(Colour::Red)];
        assert_eq!(colours, [dim, dim, dim, green, red, None, None]);
        assert_eq!(painted("+\u{1b}[2Jb", true), "\u{1b}[32m+b\u{1b}[0m");
    }
}
