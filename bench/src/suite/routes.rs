//! Many routes: what a request costs must not depend on how many there are.

use super::{Case, Suite, compare};
use crate::load::{Closed, Requests};
use crate::peer::{Log, Setup};
use crate::report::Row;

pub(super) const SUITE: Suite = Suite {
    name: "routes",
    shows: "10, 1,000 and 10,000 routes by path, requests spread over them",
    run: |context| {
        let cases = COUNTS.map(|count| {
            let wanted = (0..SPREAD).map(|number| {
                let route = number * count / SPREAD;
                format!("/route-{route}/item")
            });
            let load = Closed::new(context.options.connections, Requests::get(wanted, ""));
            let setup = Setup {
                log: Log::Combined,
                routes: count,
                ..Setup::default()
            };
            Case::new(format!("{count} routes"), setup, load)
        });
        let mut rows = compare(context, SUITE.name, &cases);
        compare_with_first_case(&mut rows);
        Ok(rows)
    },
};

/// Numbers of routes; each is compared with the first.
const COUNTS: [usize; 3] = [10, 1_000, 10_000];

/// How many routes requests ask for.
const SPREAD: usize = 500;

/// How many times the CPU time of its own first case a peer needs.
fn compare_with_first_case(rows: &mut [Row]) {
    let cpu = |row: &Row| Some((row.peer, row.cpu_us_per_request?));
    let first_case = rows.first().map(|row| row.case.clone());
    let of_first = rows
        .iter()
        .filter(|row| Some(&row.case) == first_case.as_ref());
    let first: Vec<(&str, f64)> = of_first.filter_map(cpu).collect();
    for row in rows {
        let first = first.iter().find(|(peer, _)| *peer == row.peer);
        if let (Some((_, first)), Some(cpu)) = (first, row.cpu_us_per_request) {
            row.more.insert("to_first_case", cpu / first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_is_compared_with_itself() {
        let row = |case, peer, cpu| Row {
            cpu_us_per_request: Some(cpu),
            ..Row::new("routes", case, peer)
        };
        let mut rows = [
            row("10", "a", 10.0),
            row("10", "b", 20.0),
            row("99", "a", 11.0),
            row("99", "b", 60.0),
        ];
        compare_with_first_case(&mut rows);
        let factors = rows.map(|row| row.more["to_first_case"]);
        assert_eq!(factors, [1.0, 1.0, 1.1, 3.0]);
    }
}
