//! Memory of processes, as the kernel counts it.

use std::fs::read_to_string;

/// Memory of a process and its children, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// What is in memory, what is shared counted fully in each process.
    pub(crate) rss: u64,
    /// The same, what is shared counted once in all.
    pub(crate) pss: u64,
}

impl Memory {
    /// Of a process and all that it has started.
    pub(crate) fn of(pid: u32) -> Self {
        let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let rollup = rollup.expect("a process may read of those it has started");
        let value = |name: &str| -> u64 {
            let mut lines = rollup.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let mut sum = Self {
            rss: value("Rss:"),
            pss: value("Pss:"),
        };
        let children = read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        for child in children.unwrap_or_default().split_whitespace() {
            let child = Self::of(child.parse().expect("the kernel lists process ids"));
            sum.rss += child.rss;
            sum.pss += child.pss;
        }
        sum
    }
}
