//! What was applied before can be gone back to.

use super::facts::Facts;
use super::finding::{Check, Finding};
use super::words::count;
use crate::generations;

/// Every generation that is kept can be read, and is what it was.
pub(super) fn backups(facts: &Facts) -> Vec<Finding> {
    judge(generations::peek(&facts.daemon.state_dir))
}

fn judge(kept: Vec<(u64, Result<(), String>)>) -> Vec<Finding> {
    let total = kept.len();
    let broken = kept.into_iter().filter_map(|(number, result)| {
        let why = result.err()?;
        let what = format!("generation {number} cannot be used");
        let help = "put a copy of its file back, or remove it; the others are as good as ever";
        Some(
            Finding::warning(Check::Backups, what)
                .because(why)
                .help(help),
        )
    });
    let broken: Vec<Finding> = broken.collect();
    if !broken.is_empty() {
        return broken;
    }
    let what = match total {
        0 => "nothing was applied yet".to_owned(),
        _ => format!("{} verified", count(total, "generation")),
    };
    vec![Finding::ok(Check::Backups, what)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::finding::Level;

    #[test]
    fn a_generation_that_cannot_be_used_is_named() {
        let found = judge(vec![(7, Ok(())), (6, Err("it was cut".to_owned()))]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].level, Level::Warning);
        assert!(found[0].what.contains('6'));
        assert_eq!(judge(vec![(7, Ok(()))])[0].level, Level::Ok);
    }
}
