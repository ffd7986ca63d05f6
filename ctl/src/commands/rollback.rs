//! `magictl rollback N`.

use clap::Args;
use magi_proto::v1::RollbackRequest;

use super::apply::{self, ApplyArgs};
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;

/// What to go back to, and how.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The generation, as `history` numbers it
    #[arg(value_name = "N")]
    number: u64,
    #[command(flatten)]
    apply: ApplyArgs,
}

/// Writes the profile of the generation back, makes it active and applies it.
pub(crate) async fn run(
    client: &Client,
    args: RollbackArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let RollbackArgs { number, apply } = args;
    let request = RollbackRequest {
        number,
        dry_run: apply.dry_run,
        wait: apply.waits(),
        expected_generation: apply.expected.generation,
    };
    let mut generations = client.generations();
    let request = generations.rollback(with_timeout(request, apply.wait.timeout));
    apply::run(client, &apply, request, output).await
}
