//! The kinds of values, and what to write for each.

use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::glob::Glob;
use super::{ApiKeys, ConcurrentStarts, GatewayRights, OnFailure, RamBudget, Replace, VramBudget};
use crate::gguf::{Kind, Tier};
use crate::lifecycle::RestartMode;

/// No duration is longer: sums of them must stay far from overflow.
const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A value of a key.
pub(super) trait Value: Sized {
    /// What to write, in the user's words.
    const EXPECTED: &'static str;

    /// The value, if it is one.
    fn read(value: &DeValue<'_>) -> Option<Self>;
}

/// A value that an environment variable can hold too.
pub(super) trait Word: Value {
    /// The value, if `text` is one.
    fn parse(text: &str) -> Option<Self>;
}

/// A text with at least one character.
pub(super) struct Text(pub(super) String);

/// What a profile calls a model.
pub(super) struct ModelName(pub(super) String);

/// A duration above zero.
pub(super) struct Positive(pub(super) Duration);

/// A size in bytes, above zero.
pub(super) struct Size(pub(super) u64);

/// The first and the last port of a range.
pub(super) struct Ports(pub(super) u16, pub(super) u16);

/// A whole number.
pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_bool()
    }
}

/// Text that may be empty.
impl Value for String {
    const EXPECTED: &'static str = "text in quotes";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Value for Text {
    const EXPECTED: &'static str = "text in quotes, not empty";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Word for Text {
    fn parse(text: &str) -> Option<Self> {
        (!text.trim().is_empty()).then(|| Self(text.to_owned()))
    }
}

impl Value for ModelName {
    const EXPECTED: &'static str = "in quotes the name of a model, of a file under a scan path, or a path; `~` is not expanded";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let path = PathBuf::read(value)?.into_os_string();
        path.into_string().ok().map(Self)
    }
}

impl Value for PathBuf {
    // A shell would have expanded `~`; a file called `~` is not what was meant.
    const EXPECTED: &'static str = "a path in quotes; `~` is not expanded";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Word for PathBuf {
    fn parse(text: &str) -> Option<Self> {
        let home = text == "~" || text.starts_with("~/");
        (!home && !text.trim().is_empty()).then(|| Self::from(text))
    }
}

impl Value for NonZeroU16 {
    const EXPECTED: &'static str = "a port from 1 to 65535";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::new(integer(value)?.try_into().ok()?)
    }
}

impl Word for NonZeroU16 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for NonZeroU32 {
    const EXPECTED: &'static str = "a whole number from 1";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::new(integer(value)?.try_into().ok()?)
    }
}

/// How many failures are too many; 0 if no number is. Each of them is remembered, so there is a bound.
#[derive(Clone, Copy)]
pub(super) struct MaxFailures(pub(super) u32);

impl Value for MaxFailures {
    const EXPECTED: &'static str = "a whole number from 0 to 1000; with 0 magid never gives up";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let count = integer(value)?.try_into().ok()?;
        (count <= 1000).then_some(Self(count))
    }
}

/// How many of something; 0 has a meaning of its own.
impl Value for u32 {
    const EXPECTED: &'static str = "a whole number from 0; with 0 there is no limit";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        integer(value)?.try_into().ok()
    }
}

/// How many requests may wait. Each keeps a connection and what it has sent, so there is a bound.
pub(super) struct QueueLength(pub(super) u32);

impl Value for QueueLength {
    const EXPECTED: &'static str = "a whole number from 0 to 10000; with 0 none waits";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let length = integer(value)?.try_into().ok()?;
        (length <= 10_000).then_some(Self(length))
    }
}

impl Value for i32 {
    const EXPECTED: &'static str = "a whole number such as 10 or -5";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        integer(value)?.try_into().ok()
    }
}

impl Value for IpAddr {
    const EXPECTED: &'static str = "an address such as \"127.0.0.1\" or \"::1\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::parse(value.as_str()?)
    }
}

impl Word for IpAddr {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for Ports {
    const EXPECTED: &'static str = "two ports, the lower first: [8080, 8099]";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let [first, last] = &**value.as_array()? else {
            return None;
        };
        let first = NonZeroU16::read(first.get_ref())?.get();
        let last = NonZeroU16::read(last.get_ref())?.get();
        (first <= last).then_some(Self(first, last))
    }
}

impl Value for ConcurrentStarts {
    const EXPECTED: &'static str = "true, false or a whole number from 1";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_bool() {
            Some(true) => Some(Self::Unlimited),
            Some(false) => Some(Self::Limited(NonZeroU32::MIN)),
            None => NonZeroU32::read(value).map(Self::Limited),
        }
    }
}

impl Word for ConcurrentStarts {
    fn parse(text: &str) -> Option<Self> {
        match &*text.to_ascii_lowercase() {
            "true" => Some(Self::Unlimited),
            "false" => Some(Self::Limited(NonZeroU32::MIN)),
            number => number.parse().ok().map(Self::Limited),
        }
    }
}

impl Value for RestartMode {
    const EXPECTED: &'static str = "\"always\", \"on-failure\" or \"never\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let word = value.as_str()?;
        let mut modes = [Self::Always, Self::OnFailure, Self::Never].into_iter();
        modes.find(|mode| mode.code() == word)
    }
}

impl Value for OnFailure {
    const EXPECTED: &'static str = "\"rollback\" or \"keep\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "rollback" => Some(Self::Rollback),
            "keep" => Some(Self::Keep),
            _ => None,
        }
    }
}

impl Value for ApiKeys {
    const EXPECTED: &'static str = "\"auto\" or \"none\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

impl Value for GatewayRights {
    const EXPECTED: &'static str = "\"serve\" or \"administer\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "serve" => Some(Self::Serve),
            "administer" => Some(Self::Administer),
            _ => None,
        }
    }
}

impl Value for Replace {
    const EXPECTED: &'static str = "\"auto\", \"blue-green\" or \"drain-restart\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "auto" => Some(Self::Auto),
            "blue-green" => Some(Self::BlueGreen),
            "drain-restart" => Some(Self::DrainRestart),
            _ => None,
        }
    }
}

impl Value for Tier {
    const EXPECTED: &'static str =
        "\"fast\", \"balanced\" or \"powerful\", or several of them in a list";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "fast" => Some(Self::Fast),
            "balanced" => Some(Self::Balanced),
            "powerful" => Some(Self::Powerful),
            _ => None,
        }
    }
}

impl Value for Kind {
    const EXPECTED: &'static str =
        "\"chat\", \"vision\", \"embedding\" or \"rerank\", or several of them in a list";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str()? {
            "chat" => Some(Self::Chat),
            "vision" => Some(Self::Vision),
            "embedding" => Some(Self::Embedding),
            "rerank" => Some(Self::Rerank),
            _ => None,
        }
    }
}

impl Value for Glob {
    const EXPECTED: &'static str = "in quotes letters, digits, '.', '_', '-', ':' and '/', with * for any characters \
         and ? for one, or several such patterns in a list";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::new(value.as_str()?)
    }
}

impl Value for Duration {
    const EXPECTED: &'static str = "a time such as \"90s\", \"2m\" or \"500ms\", or whole seconds";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str() {
            Some(text) => duration(text),
            None => seconds(integer(value)?.try_into().ok()?),
        }
    }
}

impl Value for Positive {
    const EXPECTED: &'static str =
        "a time above zero such as \"90s\", \"2m\" or \"500ms\", or whole seconds";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        Self::above_zero(Duration::read(value)?)
    }
}

impl Word for Positive {
    fn parse(text: &str) -> Option<Self> {
        let whole_seconds = || seconds(text.parse().ok()?);
        Self::above_zero(duration(text).or_else(whole_seconds)?)
    }
}

impl Positive {
    fn above_zero(duration: Duration) -> Option<Self> {
        (!duration.is_zero()).then_some(Self(duration))
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds)).filter(|&duration| duration <= MAX_DURATION)
}

/// Numbers with units: `90s`, `1m30s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, unit, next) = quantity(rest)?;
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = next.trim_start();
    }
    (total <= MAX_DURATION).then_some(total)
}

impl Value for Size {
    const EXPECTED: &'static str = "a size such as \"512KiB\", \"64MiB\" or \"4GiB\", or bytes";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        let bytes = match value.as_str() {
            Some(text) => size(text.trim())?,
            None => integer(value)?.try_into().ok()?,
        };
        (bytes > 0).then_some(Self(bytes))
    }
}

impl Value for RamBudget {
    const EXPECTED: &'static str = "\"auto\", or a size such as \"24GiB\"";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        match value.as_str() {
            Some("auto") => Some(Self::Auto),
            Some(_) | None => Size::read(value).map(|size| Self::Bytes(size.0)),
        }
    }
}

/// Only the word: a table is read by key.
impl Value for VramBudget {
    const EXPECTED: &'static str =
        "\"auto\", or a size for each device: { CUDA0 = \"22GiB\", CUDA1 = \"10GiB\" }";

    fn read(value: &DeValue<'_>) -> Option<Self> {
        (value.as_str() == Some("auto")).then_some(Self::Auto)
    }
}

fn size(text: &str) -> Option<u64> {
    let (number, unit, rest) = quantity(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    rest.is_empty().then_some(number.checked_mul(bytes)?)
}

/// The number, the unit and what follows.
fn quantity(text: &str) -> Option<(u64, &str, &str)> {
    let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let rest = rest.trim_start();
    let (unit, rest) = rest.split_at(
        rest.find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len()),
    );
    Some((number.parse().ok()?, unit, rest))
}
