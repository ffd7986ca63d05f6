//! `magictl stop SERVER… | --all [--hold]`.

use magi_proto::v1::StopServersRequest;

use super::change;
use crate::cli::StopArgs;
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;
use crate::view::State;

/// Asks for it, and waits until each of the servers is stopped or failed.
pub(crate) async fn run(
    client: &Client,
    StopArgs { change: args, hold }: StopArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = StopServersRequest {
        names: args.servers.clone(),
        all: args.all,
        wait: !args.wait.no_wait,
        hold,
        expected_generation: args.expected.generation,
    };
    let mut servers = client.servers();
    let request = servers.stop_servers(with_timeout(request, args.wait.timeout));
    change::run(client, &args, State::Stopped, request, output).await
}
