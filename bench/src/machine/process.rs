//! CPU time and memory of a process and all that it has started.

use std::fs::{read_dir, read_to_string};
use std::ops::{AddAssign, Sub};

/// CPU time, in the kernel's clock ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Spent in the program.
    pub(crate) user: u64,
    /// Spent in the kernel on its behalf.
    pub(crate) system: u64,
}

impl Usage {
    /// Of a process, its children, and the children that it has waited for: a worker that a
    /// reload has replaced still counts.
    pub(crate) fn of(root: u32) -> Self {
        let mut sum = Self::default();
        for pid in tree(root) {
            let stat = read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            sum += Self::parse(&stat).unwrap_or_default();
        }
        sum
    }

    /// Of this process alone, without those that it has started.
    pub(crate) fn of_this_process() -> Self {
        let stat = read_to_string("/proc/self/stat").unwrap_or_default();
        let parsed = Self::own(&stat);
        parsed.unwrap_or_default()
    }

    /// Microseconds.
    pub(crate) fn micros(self) -> f64 {
        let ticks = (self.user + self.system) as f64;
        ticks * 1e6 / rustix::param::clock_ticks_per_second() as f64
    }

    /// From `/proc/PID/stat`, with the children that were waited for.
    fn parse(stat: &str) -> Option<Self> {
        let [user, system, waited_user, waited_system] = fields(stat)?;
        Some(Self {
            user: user + waited_user,
            system: system + waited_system,
        })
    }

    /// From `/proc/PID/stat`, without them.
    fn own(stat: &str) -> Option<Self> {
        let [user, system, ..] = fields(stat)?;
        Some(Self { user, system })
    }
}

/// `utime`, `stime`, `cutime` and `cstime`, fields 14 to 17. The second field is the name of the
/// program, which may hold blanks and parentheses.
fn fields(stat: &str) -> Option<[u64; 4]> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields = rest.split(' ').skip(11).take(4);
    let fields: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
    fields?.try_into().ok()
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// Memory of a process and its children, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// What is in memory; what is shared counts fully in each process.
    pub(crate) rss: u64,
    /// The same; what is shared counts once in all.
    pub(crate) pss: u64,
}

impl Memory {
    /// Of a process and all that it has started.
    pub(crate) fn of(root: u32) -> Self {
        let mut sum = Self::default();
        for pid in tree(root) {
            let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let one = Self::parse(&rollup);
            sum.rss += one.rss;
            sum.pss += one.pss;
        }
        sum
    }

    /// From `/proc/PID/smaps_rollup`.
    fn parse(rollup: &str) -> Self {
        let bytes = |name: &str| {
            let mut lines = rollup.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            value.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        Self {
            rss: bytes("Rss:"),
            pss: bytes("Pss:"),
        }
    }
}

/// A process and all that it has started, also through others.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let tasks = read_dir(format!("/proc/{}/task", found[at]));
        for task in tasks.into_iter().flatten().flatten() {
            let children = read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let usage = Usage::parse(stat).expect("it is a stat line");
        assert_eq!((usage.user, usage.system), (103, 24));
        assert_eq!(Usage::parse("42 (short) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let rollup =
            "55d0-7ffe ---p 0 0 [rollup]\nRss:    1024 kB\nPss:     512 kB\nPss_Dirty: 9 kB\n";
        let memory = Memory::parse(rollup);
        assert_eq!((memory.rss, memory.pss), (1 << 20, 1 << 19));
        assert_eq!(Memory::parse(""), Memory::default());
    }

    #[test]
    fn a_child_belongs_to_the_tree() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let tree = tree(std::process::id());
        let _ = child.kill();
        let _ = child.wait();
        assert!(tree.contains(&child.id()), "{tree:?}");
        assert!(Memory::of(std::process::id()).pss > 0);
    }
}
