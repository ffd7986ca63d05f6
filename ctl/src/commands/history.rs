//! `magictl history`, with `--verify [N]` or `--prune`.

use clap::Args;
use jiff::tz::TimeZone;
use magi_proto::v1::{ListGenerationsRequest, PruneGenerationsRequest, VerifyGenerationsRequest};

use crate::cli::Format;
use crate::client::{Client, read};
use crate::failure::{ExitStatus, Failure};
use crate::output::colour::Colour;
use crate::output::table::{Cell, Fit, Table};
use crate::output::text::printable;
use crate::output::{Output, narrate, times};
use crate::view::{Generation, Generations, Pruned, Verified};

/// What about the history.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Read one generation back, or all, and compare their digests
    #[arg(long, value_name = "N", num_args = 0..=1, conflicts_with = "prune")]
    verify: Option<Option<u64>>,
    /// Remove the generations that the rotation keeps no longer
    #[arg(long)]
    prune: bool,
    /// Only show what would be removed
    #[arg(long, requires = "prune")]
    dry_run: bool,
}

/// Lists, verifies or prunes.
pub(crate) async fn run(
    client: &Client,
    args: HistoryArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    if let Some(number) = args.verify {
        return verify(client, number, output).await;
    }
    match args.prune {
        true => prune(client, args.dry_run, output).await?,
        false => list(client, output).await?,
    }
    Ok(ExitStatus::Done)
}

async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let answer = client
        .generations()
        .list_generations(read(ListGenerationsRequest {}))
        .await?;
    let shown = Generations::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&shown),
        Format::Jsonl => output.objects(&shown.generations),
        Format::Table if shown.generations.is_empty() => {
            narrate(format_args!("nothing was applied yet"));
            Ok(())
        }
        Format::Table => {
            let table = table(&shown.generations, &TimeZone::system());
            output.lines(&table.render(output.size().0, output.colours))
        }
    }
}

/// A row per generation; the one in force has a star.
fn table(generations: &[Generation], zone: &TimeZone) -> Table<5> {
    let mut table = Table::new([
        ("NUMBER", Fit::Number),
        ("APPLIED", Fit::Whole),
        ("PROFILE", Fit::Cut(8)),
        ("CAUSE", Fit::Whole),
        ("SUMMARY", Fit::Prose),
    ]);
    for generation in generations {
        let number = generation.number;
        let number = match generation.current {
            true => Cell::coloured(&format!("* {number}"), Some(Colour::Green)),
            false => Some(number).into(),
        };
        let cells = [
            number,
            generation
                .applied_at
                .map(|at| times::clock(at, zone))
                .into(),
            generation.profile.as_ref().into(),
            generation.cause.as_str().into(),
            generation.summary.as_str().into(),
        ];
        table.row(cells, Vec::new());
    }
    table
}

async fn verify(
    client: &Client,
    number: Option<u64>,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = VerifyGenerationsRequest { number };
    let answer = client.generations().verify_generations(request).await?;
    let verified = Verified::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&verified)?,
        Format::Jsonl => output.objects([&verified])?,
        Format::Table => output.lines(&findings(&verified))?,
    }
    Ok(match verified.broken.is_empty() {
        true => ExitStatus::Done,
        false => ExitStatus::Failed,
    })
}

fn findings(verified: &Verified) -> Vec<String> {
    let broken = verified.broken.iter();
    let mut lines: Vec<String> = broken
        .map(|broken| printable(&format!("generation {}: {}", broken.number, broken.reason)))
        .collect();
    lines.push(format!(
        "{} verified, {} broken",
        verified.verified.len(),
        verified.broken.len()
    ));
    lines
}

async fn prune(client: &Client, dry_run: bool, output: Output) -> Result<(), Failure> {
    let request = PruneGenerationsRequest { dry_run };
    let answer = client.generations().prune_generations(request).await?;
    let pruned = Pruned::from(answer.into_inner());
    match output.format {
        Format::Json => output.document(&pruned),
        Format::Jsonl => output.objects([&pruned]),
        Format::Table => {
            let removed = if dry_run { "would remove" } else { "removed" };
            output.lines(&[
                format!("{removed}: {}", numbers(&pruned.removed)),
                format!("kept: {}", numbers(&pruned.kept)),
            ])
        }
    }
}

fn numbers(numbers: &[u64]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    match numbers.is_empty() {
        true => "none".to_owned(),
        false => numbers.join(" "),
    }
}
