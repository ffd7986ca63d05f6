//! What was measured, as tables.

use tokio::time::Instant;

use crate::peers::{Likeness, Peer};
use crate::registry::Scans;

/// Something that was measured, several times unless it is one value.
pub(crate) struct Figure {
    name: String,
    /// What is promised, if anything is.
    bound: Option<f64>,
    values: Vec<f64>,
    unit: &'static str,
}

impl Figure {
    /// Of values that were measured one after the other.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, values: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            bound: None,
            values: sorted(values),
            unit,
        }
    }

    /// With what is promised.
    pub(crate) fn at_most(mut self, bound: f64) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Whether the promise is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.bound.is_none_or(|bound| self.median() <= bound)
    }

    /// The middle value.
    pub(crate) fn median(&self) -> f64 {
        self.values[self.values.len() / 2]
    }

    fn worst(&self) -> f64 {
        self.values[self.values.len() - 1]
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one of some values.
pub(crate) fn median(values: &[f64]) -> f64 {
    sorted(values.to_vec())[values.len() / 2]
}

/// Milliseconds since then.
pub(crate) fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Prints what is promised and what was measured.
pub(crate) fn print_figures(figures: &[Figure]) {
    println!("| figure | promised | median | worst | of | |");
    println!("|---|---|---|---|---|---|");
    for figure in figures {
        let (bound, kept) = match figure.bound {
            Some(bound) if figure.is_kept() => (format!("{bound} {}", figure.unit), "kept"),
            Some(bound) => (format!("{bound} {}", figure.unit), "MISSED"),
            None => ("—".to_owned(), ""),
        };
        println!(
            "| {} | {bound} | {:.1} {unit} | {:.1} {unit} | {} | {kept} |",
            figure.name,
            figure.median(),
            figure.worst(),
            figure.values.len(),
            unit = figure.unit,
        );
    }
}

/// Prints what others take for the same folder, beside what magid takes.
pub(crate) fn print_ratios(scans: &Scans, peers: &[Peer]) {
    println!("| on the same folder | takes | magid takes | so it takes |");
    println!("|---|---|---|---|");
    for peer in peers {
        let (ours, what) = match peer.likeness {
            Likeness::FirstScan => (scans.first, "from its start to the end of its first scan"),
            Likeness::NothingChanged => (scans.unchanged, "for a scan when nothing changed"),
        };
        println!(
            "| {} | {:.0} ms | {ours:.0} ms {what} | {:.1} × as long |",
            peer.name,
            peer.milliseconds,
            peer.milliseconds / ours
        );
    }
}
