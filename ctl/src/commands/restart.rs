//! `magictl restart SERVER… | --all`.

use magi_proto::v1::RestartServersRequest;

use super::change;
use crate::cli::ChangeArgs;
use crate::client::{Client, with_timeout};
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;
use crate::view::State;

/// Asks for it, and waits until each of the servers is ready or failed.
pub(crate) async fn run(
    client: &Client,
    args: ChangeArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let request = RestartServersRequest {
        names: args.servers.clone(),
        all: args.all,
        wait: !args.wait.no_wait,
        expected_generation: args.expected.generation,
    };
    let mut servers = client.servers();
    let request = servers.restart_servers(with_timeout(request, args.wait.timeout));
    change::run(client, &args, State::Ready, request, output).await
}
