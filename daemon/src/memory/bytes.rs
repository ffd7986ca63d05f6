//! Amounts of memory, as people read them.

use std::fmt;

/// An amount of memory in bytes, shown as `4.1 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut amount = self.0 as f64 / 1024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next();
        // What would be rounded up to 1024 of a unit is one of the next.
        while amount >= 1023.95
            && let Some(next) = units.next()
        {
            amount /= 1024.0;
            unit = Some(next);
        }
        match self.0 {
            0..1024 => write!(f, "{} B", self.0),
            _ => write!(f, "{amount:.1} {}", unit.unwrap_or(&"EiB")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_shown_in_the_unit_that_fits() {
        let shown = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (4_402_341_478, "4.1 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in shown {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
