//! Ports: which are spoken for, and who has them.
//!
//! Gathering is one look at the sockets that listen and at who holds them. All else is judged from that
//! and from the definitions: the table that `magictl ports` shows, and what of it cannot work.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;

use nix::unistd::{Pid, getpgid};

use super::facts::{Facts, Running};
use super::finding::{Check, Finding, Place};
use super::words::{count, names};
use crate::plan::Definition;
use crate::process::sockets::{self, Holder};

/// The first port that everybody may take.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// One port, or several in a row of which the same is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRow {
    /// The port, or the first.
    pub port: u16,
    /// The last.
    pub last: u16,
    /// Whose it is: a server; of a port that anybody may get, nobody.
    pub owner: Option<String>,
    /// Whether the configuration cannot do without it.
    pub is_required: bool,
    /// Where its health is asked for.
    pub health: Option<String>,
    /// What is there.
    pub state: PortState,
    /// Why it cannot be as it should.
    pub conflict: Option<String>,
}

/// What is on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nothing, and it is nobody's.
    Free,
    /// Nothing, and it is kept for a server.
    Reserved,
    /// A server of ours listens.
    Listening {
        /// The server.
        server: String,
        /// Its process.
        pid: u32,
    },
    /// Somebody else listens.
    Held(Holder),
}

/// What the table is made from.
#[derive(Debug)]
struct Claims<'f> {
    /// Servers by the port that they always have.
    fixed: BTreeMap<u16, &'f Definition>,
    range: RangeInclusive<u16>,
    host: IpAddr,
    running: &'f [Running],
}

impl<'f> Claims<'f> {
    fn of(facts: &'f Facts) -> Self {
        let definitions = facts.read.definitions.values();
        let fixed = definitions.filter_map(|d| Some((d.launch.port?, d)));
        Self {
            fixed: fixed.collect(),
            range: facts.daemon.llama_server.port_range.clone(),
            host: facts.daemon.llama_server.host,
            running: &facts.running,
        }
    }

    /// The ports for servers that have none of their own.
    fn shared(&self) -> impl Iterator<Item = u16> {
        self.range
            .clone()
            .filter(|port| !self.fixed.contains_key(port))
    }

    fn health(&self, port: u16) -> Option<String> {
        let host = match self.host {
            IpAddr::V4(host) if host.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(host) if host.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            host => host,
        };
        Some(format!("http://{}/health", SocketAddr::new(host, port)))
    }

    /// What is said of one port, with those who hold it.
    fn row(&self, port: u16, held: &BTreeMap<u16, Vec<Holder>>) -> PortRow {
        let fixed = self.fixed.get(&port);
        let own = |holder: &Holder| {
            let mut running = self.running.iter();
            running.find(|running| running.endpoint.port() == port && is_of(holder, running))
        };
        let holders = held.get(&port).map(Vec::as_slice).unwrap_or_default();
        let stranger = holders.iter().find(|holder| own(holder).is_none());
        let ours = holders.iter().find_map(own);
        let owner = fixed.map(|definition| definition.name.to_string());
        let state = match (stranger, ours) {
            (Some(holder), _) => PortState::Held(holder.clone()),
            (None, Some(running)) => PortState::Listening {
                server: running.server.clone(),
                pid: running.pid,
            },
            (None, None) if owner.is_some() => PortState::Reserved,
            (None, None) => PortState::Free,
        };
        let conflict = match (&owner, &state) {
            (Some(owner), PortState::Held(holder)) => {
                Some(format!("server {owner} cannot listen: {holder} does"))
            }
            (Some(owner), PortState::Listening { server, .. }) if owner != server => Some(format!(
                "server {owner} cannot listen while server {server} does"
            )),
            (None, PortState::Held(holder)) if ours.is_some() => Some(format!(
                "{holder} listens beside a server, and gets half of its requests"
            )),
            _ => None,
        };
        let owner = owner.or_else(|| ours.map(|running| running.server.clone()));
        PortRow {
            port,
            last: port,
            is_required: fixed.is_some_and(|definition| definition.autostart),
            health: owner.as_ref().and_then(|_| self.health(port)),
            owner,
            state,
            conflict,
        }
    }

    fn rows(&self, held: &BTreeMap<u16, Vec<Holder>>) -> Vec<PortRow> {
        let running = self.running.iter().map(|running| running.endpoint.port());
        let ports = self.fixed.keys().copied().chain(self.range.clone());
        let ports: BTreeSet<u16> = ports.chain(running).collect();
        let mut rows: Vec<PortRow> = Vec::new();
        for port in ports {
            let row = self.row(port, held);
            match rows.last_mut() {
                Some(last) if last.goes_on_with(&row) => last.last = port,
                Some(_) | None => rows.push(row),
            }
        }
        rows
    }
}

impl PortRow {
    fn goes_on_with(&self, next: &Self) -> bool {
        self.state == PortState::Free
            && next.state == PortState::Free
            && self.last.checked_add(1) == Some(next.port)
    }
}

/// A process that may not be looked into is taken for the server that magid says is there.
fn is_of(holder: &Holder, running: &Running) -> bool {
    let group = |pid| getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?))).ok();
    match holder.pid {
        None => true,
        Some(pid) if pid == running.pid => true,
        // Whatever an incarnation starts is in its process group.
        Some(pid) => group(pid).is_some_and(|of| of.as_raw().unsigned_abs() == running.pid),
    }
}

/// Who listens on ports of `host`.
fn held(host: IpAddr) -> io::Result<BTreeMap<u16, Vec<Holder>>> {
    let mut listening = sockets::listening()?;
    listening.retain(|socket| {
        let bound = socket.local.ip();
        host.is_unspecified()
            || bound.is_unspecified()
            || bound.to_canonical() == host.to_canonical()
    });
    let holders = sockets::holders(&listening.iter().map(|socket| socket.inode).collect())?;
    let mut held: BTreeMap<u16, Vec<Holder>> = BTreeMap::new();
    for socket in listening {
        let unknown = Holder {
            pid: None,
            command: None,
        };
        let holder = holders.get(&socket.inode).cloned().unwrap_or(unknown);
        let of_port = held.entry(socket.local.port()).or_default();
        if !of_port.contains(&holder) {
            of_port.push(holder);
        }
    }
    Ok(held)
}

/// Every port that the configuration speaks of or that a server has. Blocks.
pub(super) fn table(facts: &Facts) -> Vec<PortRow> {
    let claims = Claims::of(facts);
    // Who cannot look sees no holders, as for a process of another user.
    claims.rows(&held(claims.host).unwrap_or_default())
}

/// What is written down makes sense by itself.
pub(super) fn ports(facts: &Facts) -> Vec<Finding> {
    let claims = Claims::of(facts);
    let definitions = || facts.read.definitions.values();
    let mut findings = Vec::new();
    let low = |port: u16| port < FIRST_UNPRIVILEGED && facts.account.uid != 0;
    for (port, definition) in claims.fixed.iter().filter(|(port, _)| low(**port)) {
        let what = format!("server {} may not listen on port {port}", definition.name);
        let finding = Finding::error(Check::Ports, what)
            .because(format!(
                "ports below {FIRST_UNPRIVILEGED} are root's, and magid runs as {}",
                facts.account.name
            ))
            .help("write another `port`")
            .at(Place::of_definition(&definition.defined_at));
        findings.push(finding);
    }
    let without = definitions().filter(|d| d.launch.port.is_none());
    let (at_once, in_all) = without.fold((0, 0), |(at_once, in_all), definition| {
        (at_once + usize::from(definition.autostart), in_all + 1)
    });
    findings.extend(judge_room(
        &claims,
        claims.shared().count(),
        at_once,
        in_all,
        Check::Ports,
    ));
    if findings.is_empty() {
        let (first, last) = claims.range.into_inner();
        let what = format!(
            "{} fixed, {first} to {last} for {}",
            claims.fixed.len(),
            count(in_all, "server")
        );
        findings.push(Finding::ok(Check::Ports, what));
    }
    findings
}

/// Whether `room` ports are enough for `at_once` servers that start by themselves, and for all.
fn judge_room(
    claims: &Claims<'_>,
    room: usize,
    at_once: usize,
    in_all: usize,
    check: Check,
) -> Option<Finding> {
    let (first, last) = (claims.range.start(), claims.range.end());
    let what = |servers| {
        format!(
            "cannot give {} a port each: {first} to {last} has {room} for them",
            count(servers, "server")
        )
    };
    let finding = if at_once > room {
        Finding::error(check, what(at_once))
    } else if in_all > room {
        Finding::warning(check, what(in_all)).because("not all of them can run at a time")
    } else {
        return None;
    };
    Some(finding.help("widen [llama_server] port_range"))
}

/// Nobody else is on the ports.
pub(super) fn conflicts(facts: &Facts) -> Vec<Finding> {
    let claims = Claims::of(facts);
    if let Some(finding) = judge_host(claims.host, TcpListener::bind((claims.host, 0)).err()) {
        return vec![finding];
    }
    let held = match held(claims.host) {
        Ok(held) => held,
        Err(error) => {
            let finding = Finding::skipped(Check::PortConflicts, "cannot tell who listens where");
            return vec![finding.because(error.to_string())];
        }
    };
    let rows = claims.rows(&held);
    let mut findings: Vec<_> = rows
        .iter()
        .filter_map(|row| judge_row(row, &claims))
        .collect();
    let strangers = rows.iter().filter(|row| row.owner.is_none());
    let strangers: Vec<_> = strangers
        .filter(|row| matches!(row.state, PortState::Held(_)))
        .collect();
    let without = facts
        .read
        .definitions
        .values()
        .filter(|d| d.launch.port.is_none());
    let at_once = without.filter(|d| d.autostart).count();
    let room = claims.shared().count().saturating_sub(strangers.len());
    if !strangers.is_empty() {
        findings.extend(judge_room(
            &claims,
            room,
            at_once,
            at_once,
            Check::PortConflicts,
        ));
    }
    if findings.is_empty() {
        let mut finding = Finding::ok(Check::PortConflicts, "nobody else is on a port of ours");
        if !strangers.is_empty() {
            finding.what = "nobody else is on a port that a server needs".to_owned();
            let taken = strangers.iter().map(|row| row.port);
            finding.why = format!("taken in the range, and passed over: {}", names(taken));
        }
        findings.push(finding);
    }
    findings
}

fn judge_row(row: &PortRow, claims: &Claims<'_>) -> Option<Finding> {
    let conflict = row.conflict.as_ref()?;
    let definition = claims.fixed.get(&row.port);
    let help = match &row.state {
        PortState::Held(Holder { pid: Some(pid), .. }) => {
            format!("end that process (`kill {pid}`), or write another `port`")
        }
        PortState::Held(Holder { pid: None, .. }) => {
            format!(
                "see whose it is as root: `ss -ltnp 'sport = :{}'`; or write another `port`",
                row.port
            )
        }
        PortState::Listening { server, .. } => {
            format!("`magictl stop {server}`, or write another `port`")
        }
        PortState::Free | PortState::Reserved => String::new(),
    };
    let finding = Finding::error(
        Check::PortConflicts,
        format!("port {}: {conflict}", row.port),
    )
    .help(help)
    .at(definition.and_then(|definition| Place::of_definition(&definition.defined_at)));
    Some(finding)
}

fn judge_host(host: IpAddr, error: Option<io::Error>) -> Option<Finding> {
    let error = error?;
    Some(
        Finding::error(
            Check::PortConflicts,
            format!("no server can listen on {host}"),
        )
        .because(error.to_string())
        .help("set [llama_server] host to an address of this machine"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;
    use crate::check::tests::facts_of;

    const PROFILE: &str = "[servers.x]\nmodel = \"/m.gguf\"\nport = 9001\n\
                           [servers.y]\nmodel = \"/m.gguf\"\n\
                           [servers.z]\nmodel = \"/m.gguf\"\nport = 9005\nautostart = false\n";

    fn facts() -> (tempfile::TempDir, Facts) {
        let daemon = "active_profile = \"a\"\n[llama_server]\nport_range = [9001, 9004]\n";
        facts_of(daemon, &[("a", PROFILE)])
    }

    fn stranger() -> Holder {
        Holder {
            pid: Some(1),
            command: Some("nginx".to_owned()),
        }
    }

    fn running(server: &str, port: u16, pid: u32) -> Running {
        Running {
            server: server.to_owned(),
            pid,
            endpoint: SocketAddr::new([127, 0, 0, 1].into(), port),
            is_ready: true,
        }
    }

    #[test]
    fn fixed_ports_are_reserved_and_the_free_ones_in_a_row_are_one_row() {
        let (_dir, facts) = facts();
        let rows = Claims::of(&facts).rows(&BTreeMap::new());
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.port, row.last, &row.state, row.is_required))
            .collect();
        assert_eq!(
            told,
            [
                (9001, 9001, &PortState::Reserved, true),
                (9002, 9004, &PortState::Free, false),
                (9005, 9005, &PortState::Reserved, false),
            ]
        );
        assert_eq!(
            rows[0].health.as_deref(),
            Some("http://127.0.0.1:9001/health")
        );
    }

    #[test]
    fn a_stranger_on_a_fixed_port_is_a_conflict_and_in_the_range_it_is_not() {
        let (_dir, facts) = facts();
        let held = BTreeMap::from([(9001, vec![stranger()]), (9003, vec![stranger()])]);
        let rows = Claims::of(&facts).rows(&held);
        let conflicts: Vec<_> = rows.iter().filter(|row| row.conflict.is_some()).collect();
        assert_eq!(conflicts.len(), 1);
        let finding = judge_row(conflicts[0], &Claims::of(&facts)).unwrap();
        assert_eq!(finding.level, Level::Error);
        assert!(finding.what.contains("nginx (pid 1)"), "{}", finding.what);
        assert!(finding.help.contains("kill 1"));
        assert_eq!(finding.place.unwrap().line, Some(1));
        assert_eq!(
            rows.iter().map(|row| row.port).collect::<Vec<_>>(),
            [9001, 9002, 9003, 9004, 9005]
        );
    }

    #[test]
    fn our_own_server_on_its_port_is_no_conflict() {
        let (_dir, mut facts) = facts();
        let us = std::process::id();
        let holder = Holder {
            pid: Some(us),
            command: None,
        };
        facts.running = vec![running("x", 9001, us), running("y", 9002, us)];
        let held = BTreeMap::from([(9001, vec![holder.clone()]), (9002, vec![holder])]);
        let rows = Claims::of(&facts).rows(&held);
        assert!(rows.iter().all(|row| row.conflict.is_none()), "{rows:?}");
        assert_eq!(rows[1].owner.as_deref(), Some("y"));
        facts.running = vec![running("y", 9001, us)];
        let rows = Claims::of(&facts).rows(&held_by(us));
        assert!(rows[0].conflict.as_ref().unwrap().contains("server y"));
    }

    fn held_by(pid: u32) -> BTreeMap<u16, Vec<Holder>> {
        let holder = Holder {
            pid: Some(pid),
            command: None,
        };
        BTreeMap::from([(9001, vec![holder])])
    }

    #[test]
    fn a_stranger_beside_our_server_is_a_conflict() {
        let (_dir, mut facts) = facts();
        let us = std::process::id();
        facts.running = vec![running("y", 9002, us)];
        let mut held = held_by(us);
        let own = held.remove(&9001).unwrap().remove(0);
        held.insert(9002, vec![own, stranger()]);
        let rows = Claims::of(&facts).rows(&held);
        let row = rows.iter().find(|row| row.port == 9002).unwrap();
        assert!(
            row.conflict
                .as_ref()
                .unwrap()
                .contains("half of its requests")
        );
    }

    #[test]
    fn a_range_with_too_few_ports_is_told() {
        let (_dir, facts) = facts();
        let claims = Claims::of(&facts);
        let level = |room, at_once, in_all| {
            judge_room(&claims, room, at_once, in_all, Check::Ports).map(|finding| finding.level)
        };
        assert_eq!(level(2, 2, 2), None);
        assert_eq!(level(2, 2, 3), Some(Level::Warning));
        assert_eq!(level(2, 3, 3), Some(Level::Error));
    }

    #[test]
    fn a_listener_of_ours_is_found_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = held([127, 0, 0, 1].into()).unwrap();
        assert_eq!(held[&port][0].pid, Some(std::process::id()));
    }

    #[test]
    fn an_address_of_another_machine_is_told() {
        let error = TcpListener::bind("192.0.2.1:0").err();
        let finding = judge_host("192.0.2.1".parse().unwrap(), error).unwrap();
        assert_eq!(finding.level, Level::Error);
        assert!(judge_host("127.0.0.1".parse().unwrap(), None).is_none());
    }
}
