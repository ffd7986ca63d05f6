//! What an earlier magid left running.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::identity::{Identity, Token, boot_id};
use super::procfs::{self, Stat};
use super::spawn::TOKEN_VARIABLE;
use super::tree::Tree;

/// The trees of live processes that carry one of these tokens, in one look at `/proc`. It sees also
/// what was spawned just before magid died, and whose pid was never written down. It reads the
/// environment of every process that may be read, so it is meant for the start of magid; stop what it
/// finds with [`Scope::Recovery`](super::Scope::Recovery).
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn find_survivors(tokens: &BTreeSet<Token>) -> io::Result<BTreeMap<Token, Tree>> {
    let mut carriers: BTreeMap<Token, Vec<Stat>> = BTreeMap::new();
    let us = std::process::id();
    for stat in procfs::processes()? {
        if stat.pid == us || !stat.is_live() {
            continue;
        }
        if let Some(token) = token_of(stat.pid).filter(|token| tokens.contains(token)) {
            carriers.entry(token).or_default().push(stat);
        }
    }
    let boot_id = boot_id()?;
    let tree = |(token, stats): (Token, Vec<Stat>)| {
        let main = main_of(&stats)?;
        let main = Identity {
            pid: main.pid,
            start_time: main.start_time,
            boot_id: boot_id.clone(),
        };
        Some((token.clone(), Tree { token, main }))
    };
    Ok(carriers.into_iter().filter_map(tree).collect())
}

/// The oldest leader of a process group, which the main process was started as; else the oldest.
fn main_of(stats: &[Stat]) -> Option<&Stat> {
    stats
        .iter()
        .min_by_key(|stat| (Reverse(stat.pgrp == stat.pid), stat.start_time))
}

fn token_of(pid: u32) -> Option<Token> {
    let environment = procfs::environment(pid).ok()?;
    let value = procfs::variable(&environment, TOKEN_VARIABLE)?;
    Token::try_from(String::from_utf8_lossy(value).into_owned()).ok()
}
