//! `magictl ports`.

use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use magid::check;
use tokio::sync::oneshot;

use super::subject::reach;
use crate::cli::Format;
use crate::failure::{ExitStatus, Failure};
use crate::output::Output;
use crate::output::colour::Colour;
use crate::output::table::{Cell, Fit, Table};
use crate::view::{Port, Ports};

/// Which configuration's ports.
#[derive(Debug, Args)]
pub(crate) struct PortsArgs {
    /// The configuration file [default: that of the magid that runs, else the one it would read]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Prints every port.
pub(crate) async fn run(
    socket: Option<&Path>,
    args: PortsArgs,
    output: Output,
) -> Result<ExitStatus, Failure> {
    let subject = reach(socket, args.config).await.subject;
    let (sender, rows) = oneshot::channel();
    thread::spawn(move || sender.send(check::port_table(subject)));
    let rows = rows.await.ok().flatten().ok_or(Failure::Late)?;
    let ports: Vec<Port> = rows.into_iter().map(Port::from).collect();
    let is_conflict = ports.iter().any(|port| port.conflict.is_some());
    match output.format {
        Format::Json => output.document(&Ports { ports })?,
        Format::Jsonl => output.objects(&ports)?,
        Format::Table => output.lines(&render(&ports, output.size().0, output.colours))?,
    }
    Ok(match is_conflict {
        true => ExitStatus::Failed,
        false => ExitStatus::Done,
    })
}

fn render(ports: &[Port], width: usize, colours: bool) -> Vec<String> {
    let mut table = Table::new([
        ("PORT", Fit::Whole),
        ("OWNER", Fit::Cut(12)),
        ("PROTOCOL", Fit::Whole),
        ("REQUIRED", Fit::Whole),
        ("HEALTH", Fit::Cut(20)),
        ("STATE", Fit::Prose),
    ]);
    for port in ports {
        let numbers = match port.last_port == port.port {
            true => port.port.to_string(),
            false => format!("{}-{}", port.port, port.last_port),
        };
        let colour = port.conflict.as_ref().map(|_| Colour::Red);
        let cells = [
            numbers.as_str().into(),
            port.owner.clone().into(),
            port.protocol.into(),
            if port.required {
                "required"
            } else {
                "optional"
            }
            .into(),
            port.health.clone().into(),
            Cell::coloured(&state(port), colour),
        ];
        let conflict = port.conflict.as_ref();
        let below =
            conflict.map(|why| Cell::coloured(&format!("conflict: {why}"), Some(Colour::Red)));
        table.row(cells, below.into_iter().collect());
    }
    table.render(width, colours)
}

fn state(port: &Port) -> String {
    let pid = port.pid.map(|pid| format!("pid {pid}"));
    match (port.state, &port.server) {
        (_, Some(server)) => format!("listening: {server}, {}", pid.unwrap_or_default()),
        ("held", None) => {
            let known = [port.command.clone(), pid];
            let known: Vec<_> = known.into_iter().flatten().collect();
            match known.is_empty() {
                true => "held by a process that cannot be seen".to_owned(),
                false => format!("held by {}", known.join(", ")),
            }
        }
        (state, None) => state.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use magid::check::{PortRow, PortState};
    use magid::process::sockets::Holder;

    use super::*;

    fn row(port: u16, last: u16, owner: Option<&str>, state: PortState) -> PortRow {
        PortRow {
            port,
            last,
            owner: owner.map(str::to_owned),
            is_required: owner.is_some(),
            health: owner.map(|_| format!("http://127.0.0.1:{port}/health")),
            state,
            conflict: None,
        }
    }

    #[test]
    fn every_state_of_a_port_has_its_words() {
        let ours = PortState::Listening {
            server: "alpha".to_owned(),
            pid: 4711,
        };
        let theirs = PortState::Held(Holder {
            pid: Some(812),
            command: Some("nginx".to_owned()),
        });
        let mut taken = row(8081, 8081, Some("beta"), theirs);
        taken.conflict = Some("server beta cannot listen: nginx (pid 812) does".to_owned());
        let rows = [
            row(8080, 8080, Some("alpha"), ours),
            taken,
            row(8082, 8099, None, PortState::Free),
            row(9000, 9000, Some("gamma"), PortState::Reserved),
        ];
        let ports: Vec<_> = rows.into_iter().map(Port::from).collect();
        insta::assert_snapshot!(render(&ports, 100, false).join("\n"), @"
        PORT       OWNER  PROTOCOL  REQUIRED  HEALTH                        STATE
        8080       alpha  http      required  http://127.0.0.1:8080/health  listening: alpha, pid 4711
        8081       beta   http      required  http://127.0.0.1:8081/health  held by nginx, pid 812
            conflict: server beta cannot listen: nginx (pid 812) does
        8082-8099  -      http      optional  -                             free
        9000       gamma  http      required  http://127.0.0.1:9000/health  reserved
        ");
    }
}
