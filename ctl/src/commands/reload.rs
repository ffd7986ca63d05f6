//! `magictl reload [--dry-run]` and `magictl plan`.

use clap::Args;
use magi_proto::v1::ReloadRequest;

use super::apply::{self, ApplyArgs};
use crate::cli::{ExpectedArgs, WaitArgs};
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;

/// How to show a plan.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Also list the servers that stay as they are
    #[arg(short, long)]
    verbose: bool,
}

impl From<PlanArgs> for ApplyArgs {
    fn from(args: PlanArgs) -> Self {
        Self {
            dry_run: true,
            verbose: args.verbose,
            wait: WaitArgs {
                no_wait: true,
                timeout: None,
            },
            expected: ExpectedArgs { generation: None },
        }
    }
}

/// Reads the files again, and prints what is done, or would be.
pub(crate) async fn run(
    client: &Client,
    args: ApplyArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = ReloadRequest {
        dry_run: args.dry_run,
        wait: args.waits(),
        expected_generation: args.expected.generation,
    };
    let mut daemon = client.daemon();
    let request = daemon.reload(with_timeout(request, args.wait.timeout));
    apply::run(client, &args, request, output).await
}
