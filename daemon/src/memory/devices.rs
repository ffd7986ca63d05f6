//! The devices that a llama-server can use, from what it prints of them.

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The name by which llama-server knows it, as `CUDA0`.
    pub name: String,
    /// All its memory, in bytes.
    pub total: u64,
}

/// The line before the devices.
const HEADING: &str = "Available devices:";

/// Reads what `llama-server --list-devices` prints. None: that is no list of devices.
///
/// Devices that have no memory of their own, as BLAS, are left out.
pub(super) fn parse(text: &str) -> Option<Vec<Device>> {
    let mut lines = text.lines().skip_while(|line| line.trim() != HEADING);
    lines.next()?;
    let devices = lines.filter_map(device);
    Some(devices.filter(|device| device.total > 0).collect())
}

/// `  CUDA0: NVIDIA GeForce RTX 3090 (24135 MiB, 23545 MiB free)`. A description may have anything in it,
/// also colons and parentheses.
fn device(line: &str) -> Option<Device> {
    let (name, rest) = line.trim().split_once(": ")?;
    let figures = rest.strip_suffix(" free)")?.rsplit_once('(')?.1;
    let (total, _free) = figures.split_once(", ")?;
    let mebibytes: u64 = total.strip_suffix(" MiB")?.parse().ok()?;
    Some(Device {
        name: name.to_owned(),
        total: mebibytes.saturating_mul(1 << 20),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_the_memory_of_devices_are_read() {
        let text = "ggml_cuda_init: found 2 CUDA devices:\n  Device 0: NVIDIA GeForce RTX 3090\n\
            Available devices:\n  CUDA0: NVIDIA GeForce RTX 3090 (24135 MiB, 23545 MiB free)\n  \
            Vulkan0: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24000 MiB free)\n  \
            BLAS: OpenBLAS (0 MiB, 0 MiB free)\n";
        let devices = parse(text).unwrap();
        let seen: Vec<_> = devices
            .iter()
            .map(|device| (device.name.as_str(), device.total >> 20))
            .collect();
        assert_eq!(seen, [("CUDA0", 24_135), ("Vulkan0", 24_560)]);
    }

    #[test]
    fn a_build_without_devices_has_none() {
        assert_eq!(parse("Available devices:\n  (none)\n"), Some(vec![]));
    }

    #[test]
    fn what_is_no_list_tells_nothing() {
        for text in [
            "",
            "error: invalid argument: --list-devices",
            "usage:\n  A: b (1 MiB, 1 MiB free)",
        ] {
            assert_eq!(parse(text), None);
        }
    }

    #[test]
    fn absurd_lines_are_left_out() {
        let text =
            "Available devices:\nA: x (99999999999999999999 MiB, 1 MiB free)\nB:\nC: (1 MiB free)";
        assert_eq!(parse(text), Some(vec![]));
    }
}
