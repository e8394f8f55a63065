//! Counters of which every thread has its own copy.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// A row of counters for each thread; adding touches only the own row, reading sums all rows.
///
/// Rows start on their own pair of cache lines, so that threads do not slow
/// each other down. Threads beyond the number of cores share rows, which stays
/// correct.
#[derive(Debug)]
pub struct Cells {
    cells: Box<[Line]>,
    lines_a_row: usize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Line([AtomicU64; COUNTERS_A_LINE]);

const COUNTERS_A_LINE: usize = 16;

/// Rows: the cores of the machine, at least 1, at most 64.
static ROWS: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get().min(64)));

static NEXT_ROW: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static ROW: usize = NEXT_ROW.fetch_add(1, Relaxed) % *ROWS;
}

impl Cells {
    /// `counters` counters, all zero.
    pub fn new(counters: usize) -> Self {
        let lines_a_row = counters.div_ceil(COUNTERS_A_LINE).max(1);
        Self {
            cells: (0..lines_a_row * *ROWS).map(|_| Line::default()).collect(),
            lines_a_row,
        }
    }

    /// Adds to a counter.
    pub fn add(&self, counter: usize, amount: u64) {
        let row = ROW.with(|row| *row);
        self.cell(row, counter).fetch_add(amount, Relaxed);
    }

    /// The sum of a counter over all threads.
    pub fn sum(&self, counter: usize) -> u64 {
        (0..*ROWS)
            .map(|row| self.cell(row, counter).load(Relaxed))
            .fold(0, u64::wrapping_add)
    }

    fn cell(&self, row: usize, counter: usize) -> &AtomicU64 {
        let line = row * self.lines_a_row + counter / COUNTERS_A_LINE;
        &self.cells[line].0[counter % COUNTERS_A_LINE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_add_up() {
        let cells = Cells::new(20);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|at| cells.add(at % 20, 2)));
            }
        });
        assert!((0..20).all(|counter| cells.sum(counter) == 8 * 50 * 2));
    }
}
