//! Which cores the proxy has, and which the load.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of each side. Apart, so that the load does not take the proxy's, and so that the
/// kernel does not move it while it is measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Of the proxy; any when empty.
    pub(crate) proxy: Vec<usize>,
    /// Of the load and the origin; any when empty.
    pub(crate) load: Vec<usize>,
}

impl Places {
    /// The first `workers` cores for the proxy and the rest for the load; anywhere when there are
    /// too few for that, or when it is not wanted.
    pub(crate) fn choose(workers: usize, wanted: bool) -> Self {
        Self::split(allowed(), workers, wanted)
    }

    /// Those of both.
    pub(crate) fn all(&self) -> Vec<usize> {
        match self.proxy.is_empty() {
            // Nothing is kept to a part of them.
            true => allowed(),
            false => [&self.proxy[..], &self.load].concat(),
        }
    }

    fn split(mut proxy: Vec<usize>, workers: usize, wanted: bool) -> Self {
        if !wanted || proxy.len() <= workers {
            return Self::default();
        }
        let load = proxy.split_off(workers);
        Self { proxy, load }
    }
}

/// The cores that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Keeps this thread, and what it starts from now on, to these cores.
pub(crate) fn pin(cpus: &[usize]) {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    if !cpus.is_empty() {
        let _ = sched_setaffinity(None, &set); // the kernel may forbid it; the figures only spread more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_gets_what_the_proxy_leaves() {
        let places = Places::split(vec![0, 1, 2, 3], 1, true);
        assert_eq!(places.all(), [0, 1, 2, 3]);
        assert_eq!((places.proxy, places.load), (vec![0], vec![1, 2, 3]));
        let crowded = Places::split(vec![0, 1], 2, true);
        assert!(crowded.proxy.is_empty() && crowded.load.is_empty());
        assert!(Places::split(vec![0, 1], 1, false).proxy.is_empty());
    }
}
