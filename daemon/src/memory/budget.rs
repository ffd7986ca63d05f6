//! How much memory there is for all servers together.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::devices::Device;
use crate::config::{MemoryConfig, RamBudget, VramBudget};

/// What an automatic budget leaves of main memory, and the least that it is.
const RAM_LEFT: u64 = 10;
const LEAST_RAM: u64 = 1 << 30;

/// What an automatic budget leaves of a device.
const DEVICE_LEFT: u64 = 20;

/// The most that is read of one file of the kernel: a machine with many containers has many mounts.
const MOST: u64 = 4 << 20;

/// How much memory there is for all servers together, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Main memory.
    pub ram: u64,
    /// Memory of each device. One that is not here may be used by one server at a time.
    pub devices: BTreeMap<String, u64>,
    /// Whether all devices are known that servers may use.
    pub devices_known: bool,
    /// How many servers may be loaded at a time. 0: no limit.
    pub max_loaded: u32,
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    /// Main memory, in bytes; the limit of our cgroup, or of one above it, if that is lower.
    ram: u64,
}

impl Budget {
    /// The budget by `config`. `devices` are those of each build of llama-server that was asked, None
    /// for one that did not tell.
    pub(super) fn new<'a>(
        config: &MemoryConfig,
        machine: Machine,
        devices: impl IntoIterator<Item = Option<&'a Vec<Device>>>,
    ) -> Self {
        let mut budget = Self {
            ram: match config.ram {
                RamBudget::Auto => (machine.ram - machine.ram / RAM_LEFT).max(LEAST_RAM),
                RamBudget::Bytes(bytes) => bytes,
            },
            devices: BTreeMap::new(),
            devices_known: true,
            max_loaded: config.max_loaded,
        };
        match &config.vram {
            VramBudget::Devices(devices) => budget.devices.clone_from(devices),
            VramBudget::Auto => devices.into_iter().for_each(|told| budget.add(told)),
        }
        budget
    }

    fn add(&mut self, told: Option<&Vec<Device>>) {
        let Some(devices) = told else {
            self.devices_known = false;
            return;
        };
        for device in devices {
            let room = device.total - device.total / DEVICE_LEFT;
            self.devices.insert(device.name.clone(), room);
        }
    }
}

impl Machine {
    /// Looks at it. Blocks. What cannot be read limits nothing.
    pub(super) fn read() -> Self {
        let total = read("/proc/meminfo".as_ref()).and_then(|text| total(&text));
        let limit = read("/proc/self/cgroup".as_ref())
            .zip(read("/proc/self/mountinfo".as_ref()))
            .and_then(|(cgroups, mounts)| limit(&cgroups, &mounts, read));
        Self {
            ram: total.unwrap_or(u64::MAX).min(limit.unwrap_or(u64::MAX)),
        }
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// All main memory, from `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let figure = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = figure.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The lowest limit of the cgroups that we are in, and of all above them. On a hybrid machine there are
/// two hierarchies, and either may have the memory controller.
fn limit(cgroups: &str, mounts: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let hierarchies = mounts.lines().filter_map(Hierarchy::of);
    let limits = hierarchies.flat_map(|hierarchy| {
        let path = cgroups.lines().find_map(|line| hierarchy.cgroup(line));
        let folder = hierarchy.folder(path.unwrap_or("/"));
        let above: Vec<_> = folder
            .ancestors()
            .take_while(|folder| folder.starts_with(&hierarchy.mount))
            .filter_map(|folder| read(&folder.join(hierarchy.file))?.trim().parse().ok())
            .collect();
        above
    });
    limits.min()
}

/// A mounted hierarchy of cgroups that may limit memory.
struct Hierarchy {
    /// The cgroup that is mounted.
    root: PathBuf,
    /// Where.
    mount: PathBuf,
    /// The file with the limit.
    file: &'static str,
}

impl Hierarchy {
    /// `32 24 0:27 / /sys/fs/cgroup/memory rw,… shared:9 - cgroup cgroup rw,memory`.
    fn of(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mount: Vec<_> = mount.split(' ').collect();
        let kind: Vec<_> = kind.split(' ').collect();
        let file = match (*kind.first()?, kind.get(2)) {
            ("cgroup2", _) => "memory.max",
            ("cgroup", Some(options)) if options.split(',').any(|word| word == "memory") => {
                "memory.limit_in_bytes"
            }
            _ => return None,
        };
        Some(Self {
            root: unescape(mount.get(3)?).into(),
            mount: unescape(mount.get(4)?).into(),
            file,
        })
    }

    /// The path of our cgroup, if `4:memory:/system.slice` or `0::/user.slice` is of this hierarchy.
    fn cgroup<'a>(&self, line: &'a str) -> Option<&'a str> {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let is_ours = match self.file {
            "memory.max" => number == "0" && controllers.is_empty(),
            _ => controllers
                .split(',')
                .any(|controller| controller == "memory"),
        };
        is_ours.then_some(path)
    }

    /// The folder of a cgroup. One that is not below what is mounted here, as in a container that shows
    /// only its own, is what is mounted.
    fn folder(&self, cgroup: &str) -> PathBuf {
        match Path::new(cgroup).strip_prefix(&self.root) {
            Ok(below) if !cgroup.contains("..") => self.mount.join(below),
            Ok(_) | Err(_) => self.mount.clone(),
        }
    }
}

/// A path as mountinfo writes it: with `\040` for a space, and so on.
fn unescape(path: &str) -> String {
    let mut parts = path.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) if byte.is_ascii() => {
                plain.push(byte.into());
                plain.push_str(&part[3..]);
            }
            Some(_) | None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn auto(ram: u64) -> u64 {
        Budget::new(&MemoryConfig::default(), Machine { ram }, []).ram
    }

    #[test]
    fn an_automatic_budget_leaves_a_tenth_and_is_at_least_a_gibibyte() {
        assert_eq!(auto(20 * GIB), 18 * GIB);
        assert_eq!(auto(GIB), GIB);
        assert_eq!(auto(0), GIB);
    }

    #[test]
    fn devices_are_those_of_all_builds() {
        let device = |name: &str| Device {
            name: name.to_owned(),
            total: 200,
        };
        let (cuda, vulkan) = (vec![device("CUDA0")], vec![device("Vulkan0")]);
        let config = MemoryConfig::default();
        let machine = Machine { ram: GIB };
        let both = Budget::new(&config, machine, [Some(&cuda), Some(&vulkan)]);
        let expected = [("CUDA0".to_owned(), 190), ("Vulkan0".to_owned(), 190)];
        assert_eq!(both.devices, expected.into());
        assert!(both.devices_known);
        assert!(!Budget::new(&config, machine, [Some(&cuda), None]).devices_known);
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let meminfo = "MemTotal:       24684084 kB\nMemFree:        18148056 kB\n";
        assert_eq!(total(meminfo), Some(24_684_084 * 1024));
        assert_eq!(total("MemTotal: many kB"), None);
        assert!(Machine::read().ram > 0);
    }

    fn limit_of(cgroups: &str, mounts: &str, files: &[(&str, &str)]) -> Option<u64> {
        limit(cgroups, mounts, |path| {
            let file = files.iter().find(|(name, _)| path == Path::new(name));
            file.map(|(_, text)| format!("{text}\n"))
        })
    }

    const UNIFIED: &str = "25 24 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_lowest_limit_of_a_cgroup_and_those_above_it_counts() {
        let files = [
            (
                "/sys/fs/cgroup/system.slice/magid.service/memory.max",
                "max",
            ),
            ("/sys/fs/cgroup/system.slice/memory.max", "4096"),
            ("/sys/fs/cgroup/memory.max", "8192"),
            ("/memory.max", "1"),
        ];
        let limit = limit_of("0::/system.slice/magid.service\n", UNIFIED, &files);
        assert_eq!(limit, Some(4096));
    }

    #[test]
    fn of_a_hybrid_machine_both_hierarchies_count() {
        let mounts = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
            33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cgroups = "4:memory:/a/b\n1:cpu:/\n0::/\n";
        let files = [
            (
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "9223372036854771712",
            ),
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "77"),
            ("/sys/fs/cgroup/unified/memory.max", "99"),
        ];
        assert_eq!(limit_of(cgroups, mounts, &files), Some(77));
    }

    #[test]
    fn in_a_container_what_is_mounted_is_ours() {
        let mounts = "25 24 0:22 /docker/abc /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n";
        let files = [("/sys/fs/cg roup/memory.max", "55")];
        for ours in ["0::/docker/abc\n", "0::/\n", "0::/../..\n", ""] {
            assert_eq!(limit_of(ours, mounts, &files), Some(55), "{ours}");
        }
    }

    #[test]
    fn nothing_limits_where_there_are_no_cgroups() {
        assert_eq!(limit_of("", "", &[]), None);
        assert_eq!(limit_of("0::/", UNIFIED, &[]), None);
        assert_eq!(limit_of("::", "- cgroup2\n a - \n", &[]), None);
    }
}
