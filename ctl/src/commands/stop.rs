//! `magictl stop SERVER… | --all`.

use magi_proto::v1::StopServersRequest;

use super::change;
use crate::cli::ChangeArgs;
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;
use crate::view::State;

/// Asks for it, and waits until each of the servers is stopped or failed.
pub(crate) async fn run(
    client: &Client,
    args: ChangeArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = StopServersRequest {
        names: args.servers.clone(),
        all: args.all,
        wait: !args.wait.no_wait,
        hold: false,
        expected_generation: args.expected.generation,
    };
    let mut servers = client.servers();
    let request = servers.stop_servers(with_timeout(request, args.wait.timeout));
    change::run(client, &args, State::Stopped, request, output).await
}
