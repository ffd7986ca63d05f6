//! Who listens where, and who is connected.
//!
//! `/proc/net/tcp` and `tcp6` list every socket of our network namespace with its inode, and
//! `/proc/PID/fd` names the inodes that a process holds. Together they tell whether the process that
//! answers on an endpoint is the incarnation itself: llama-server binds with `SO_REUSEPORT`, so two of
//! them can listen on one port, and each answers half of the requests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::procfs;
use super::tree::{Scope, Tree};

/// The kernel's number for an established connection.
const ESTABLISHED: u8 = 0x01;
/// The kernel's number for a listening socket.
const LISTEN: u8 = 0x0a;

/// The longest line of a table that is read; the kernel writes about 150 bytes.
const LONGEST_LINE: u64 = 1024;

/// One TCP socket of our network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Where it is bound.
    pub local: SocketAddr,
    /// The other end; unspecified for one that listens.
    pub remote: SocketAddr,
    /// What `/proc/PID/fd` calls it.
    pub inode: u64,
    state: u8,
}

/// A process that listens on an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its pid, if we may see it.
    pub pid: Option<u32>,
    /// The name of its program, if we may see it.
    pub command: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, &self.command) {
            (Some(pid), Some(command)) => write!(f, "{command} (pid {pid})"),
            (Some(pid), None) => write!(f, "pid {pid}"),
            (None, _) => f.write_str("a process that magid may not see"),
        }
    }
}

/// Whether an endpoint belongs to an incarnation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Every socket that listens there is held by its tree, and there is one.
    Own,
    /// Nobody listens there.
    Nobody,
    /// Somebody else listens there, alone or too.
    Stranger(Holder),
    /// It cannot be told.
    Unverified {
        /// What could not be read, and the permission that is missing.
        why: String,
    },
}

/// The sockets that accept connections to `address` and `port`: those bound to it, and those bound to
/// every address. For an unspecified `address`, all that listen on the port.
///
/// # Errors
///
/// If a table cannot be read or has an unknown form.
pub fn listeners(address: IpAddr, port: u16) -> io::Result<Vec<Socket>> {
    let covers = |bound: IpAddr| {
        address.is_unspecified()
            || bound.is_unspecified()
            || bound.to_canonical() == address.to_canonical()
    };
    sockets(|socket| {
        socket.state == LISTEN && socket.local.port() == port && covers(socket.local.ip())
    })
}

/// All sockets that accept connections.
///
/// # Errors
///
/// If a table cannot be read or has an unknown form.
pub fn listening() -> io::Result<Vec<Socket>> {
    sockets(|socket| socket.state == LISTEN)
}

/// Who holds each of these sockets, by inode, as far as we may see it. Blocks for one read of all of
/// `/proc`.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn holders(wanted: &BTreeSet<u64>) -> io::Result<BTreeMap<u64, Holder>> {
    let mut found = BTreeMap::new();
    for stat in procfs::processes()? {
        let held = held_by(stat.pid).unwrap_or_default();
        for inode in held.into_iter().filter(|inode| wanted.contains(inode)) {
            found.entry(inode).or_insert_with(|| Holder {
                pid: Some(stat.pid),
                command: Some(stat.comm.to_string()),
            });
        }
    }
    Ok(found)
}

/// The connections to `port` that are open, seen from the side that listened.
///
/// # Errors
///
/// If a table cannot be read or has an unknown form.
pub fn established(port: u16) -> io::Result<BTreeSet<Socket>> {
    Ok(
        sockets(|socket| socket.state == ESTABLISHED && socket.local.port() == port)?
            .into_iter()
            .collect(),
    )
}

/// Tells whether what listens on `address` and `port` is the incarnation of `tree`, and nobody else.
/// Blocks for some reads of `/proc`.
pub fn verify(address: IpAddr, port: u16, tree: &Tree) -> Verification {
    let unverified = |what: &str, error: &io::Error| Verification::Unverified {
        why: format!("cannot read {what}: {error}{}", permission(error)),
    };
    let mut wanted = match listeners(address, port) {
        Ok(sockets) if sockets.is_empty() => return Verification::Nobody,
        Ok(sockets) => inodes(&sockets),
        Err(error) => return unverified("/proc/net/tcp", &error),
    };
    // Nearly always the main process holds them all.
    let mut unreadable = None;
    remove_held(&mut wanted, tree.main.pid, &mut unreadable);
    if wanted.is_empty() && unreadable.is_none() {
        return Verification::Own;
    }
    match tree.members(Scope::Owned) {
        Ok(members) => {
            for member in members.iter().filter(|member| member.pid != tree.main.pid) {
                remove_held(&mut wanted, member.pid, &mut unreadable);
            }
        }
        Err(error) => return unverified("/proc", &error),
    }
    if wanted.is_empty() {
        return Verification::Own;
    }
    match (holder_of(&wanted), unreadable) {
        (Ok(holder), None) => Verification::Stranger(holder),
        (Ok(holder), Some(_)) if holder.pid.is_some() => Verification::Stranger(holder),
        (Ok(_), Some((pid, error))) => unverified(&format!("/proc/{pid}/fd"), &error),
        (Err(error), _) => unverified("/proc", &error),
    }
}

/// Who listens on `address` and `port`; `None` if nobody does. Blocks for a read of all of `/proc` if
/// somebody does.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn holder(address: IpAddr, port: u16) -> io::Result<Option<Holder>> {
    let sockets = listeners(address, port)?;
    if sockets.is_empty() {
        return Ok(None);
    }
    holder_of(&inodes(&sockets)).map(Some)
}

fn inodes(sockets: &[Socket]) -> BTreeSet<u64> {
    sockets.iter().map(|socket| socket.inode).collect()
}

fn permission(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; magid must run as the user of that process, or with CAP_SYS_PTRACE, and llama-server without \
             file capabilities"
        }
        _ => "",
    }
}

fn remove_held(wanted: &mut BTreeSet<u64>, pid: u32, unreadable: &mut Option<(u32, io::Error)>) {
    match procfs::vanishing(held_by(pid)) {
        Ok(held) => wanted.retain(|inode| !held.iter().flatten().any(|held| held == inode)),
        Err(error) => *unreadable = Some((pid, error)),
    }
}

/// The inodes of the sockets that `pid` holds. Cheap, where [`established`] has the kernel walk a table
/// that grows with the machine's memory.
///
/// # Errors
///
/// If the process is gone, or is another user's.
pub fn held_by(pid: u32) -> io::Result<Vec<u64>> {
    let mut held = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor that is closed meanwhile is not held.
        let Some(target) = procfs::vanishing(std::fs::read_link(entry?.path()))? else {
            continue;
        };
        let inode: Option<u64> = target.to_str().and_then(|target| {
            target
                .strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        });
        held.extend(inode);
    }
    Ok(held)
}

fn holder_of(wanted: &BTreeSet<u64>) -> io::Result<Holder> {
    for stat in procfs::processes()? {
        // Of processes that we may not look into we know nothing; others may still hold it.
        let held = held_by(stat.pid).unwrap_or_default();
        if held.iter().any(|inode| wanted.contains(inode)) {
            return Ok(Holder {
                pid: Some(stat.pid),
                command: Some(stat.comm.to_string()),
            });
        }
    }
    Ok(Holder {
        pid: None,
        command: None,
    })
}

fn sockets(wanted: impl Fn(&Socket) -> bool) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let file = match File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6 has no such table, and then no such sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {
                continue;
            }
            Err(error) => return Err(error),
        };
        read_table(file, &mut |socket| {
            if wanted(&socket) {
                found.push(socket);
            }
        })?;
    }
    Ok(found)
}

fn read_table(file: File, each: &mut dyn FnMut(Socket)) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = String::new();
    let mut is_heading = true;
    while reader.by_ref().take(LONGEST_LINE).read_line(&mut line)? > 0 {
        if !is_heading {
            each(Socket::parse(&line).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("unknown form: {}", line.trim()),
                )
            })?);
        }
        is_heading = false;
        line.clear();
    }
    Ok(())
}

impl Socket {
    /// Parses one line of a table: `0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 UID 0 INODE …`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = parse_address(fields.next()?)?;
        let remote = parse_address(fields.next()?)?;
        let state = u8::from_str_radix(fields.next()?, 16).ok()?;
        let inode = fields.nth(5)?.parse().ok()?;
        Some(Self {
            local,
            remote,
            inode,
            state,
        })
    }
}

/// An address is written as numbers of 32 bits in the byte order of the machine.
fn parse_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    if !address.is_ascii() {
        return None;
    }
    let word = |index: usize| {
        let digits = address.get(index * 8..index * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for index in 0..4 {
                octets[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::process::{Identity, Token};

    fn tree_of(pid: u32) -> Tree {
        Tree {
            token: Token::random().unwrap(),
            main: Identity::of(pid).unwrap().unwrap(),
        }
    }

    fn written(address: SocketAddr) -> String {
        let words = |octets: &[u8]| -> String {
            octets
                .chunks(4)
                .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
                .collect()
        };
        let ip = match address.ip() {
            IpAddr::V4(ip) => words(&ip.octets()),
            IpAddr::V6(ip) => words(&ip.octets()),
        };
        format!("{ip}:{:04X}", address.port())
    }

    #[test]
    fn a_line_of_the_kernel_is_understood() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 20716 1 0000000000000000 100 0 0 10 0";
        let socket = Socket::parse(line).unwrap();
        assert_eq!(socket.local, "127.0.0.1:8080".parse().unwrap());
        assert_eq!((socket.state, socket.inode), (LISTEN, 20716));
    }

    #[test]
    fn our_own_listener_is_own_and_anothers_is_a_strangers() {
        for address in ["127.0.0.1", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            let listener = TcpListener::bind((address, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let us = std::process::id();
            assert_eq!(verify(address, port, &tree_of(us)), Verification::Own);
            let Verification::Stranger(holder) = verify(address, port, &tree_of(1)) else {
                panic!("{address} is not ours to pid 1");
            };
            assert_eq!(holder.pid, Some(us));
            drop(listener);
            assert_eq!(verify(address, port, &tree_of(us)), Verification::Nobody);
        }
    }

    #[test]
    fn a_listener_on_every_address_takes_part_in_each() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(
            listeners("127.0.0.1".parse().unwrap(), port).unwrap().len(),
            1
        );
        assert_eq!(
            holder("127.0.0.1".parse().unwrap(), port)
                .unwrap()
                .unwrap()
                .pid,
            Some(std::process::id())
        );
        let narrow = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = narrow.local_addr().unwrap().port();
        assert_eq!(listeners("127.0.0.2".parse().unwrap(), port).unwrap(), []);
        assert_eq!(
            listeners("0.0.0.0".parse().unwrap(), port).unwrap().len(),
            1
        );
    }

    #[test]
    fn a_connection_is_seen_once_from_the_side_that_listened() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(established(port).unwrap().is_empty());
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let connections = established(port).unwrap();
        assert_eq!(connections.len(), 1);
        assert_eq!(
            connections.first().unwrap().remote,
            client.local_addr().unwrap()
        );
    }

    proptest! {
        #[test]
        fn every_address_is_read_as_it_was_written(v6: bool, bits: [u8; 16], port: u16) {
            let ip: IpAddr = if v6 {
                Ipv6Addr::from(bits).into()
            } else {
                Ipv4Addr::new(bits[0], bits[1], bits[2], bits[3]).into()
            };
            let address = SocketAddr::new(ip, port);
            prop_assert_eq!(parse_address(&written(address)), Some(address));
        }
    }
}
