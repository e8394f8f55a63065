//! What Tidegate is to reach, and beside whom: the only place where goals stand.

use crate::peer::OURS;
use crate::report::Row;

/// A figure of a case that is to be at most so much.
#[derive(Debug)]
pub(crate) struct Goal {
    /// The suite.
    pub(crate) suite: &'static str,
    case: &'static str,
    /// What the figure is.
    pub(crate) of: Of,
    most: f64,
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Of {
    /// The case's ratio, Tidegate's over this peer's.
    Peer(&'static str),
    /// Tidegate's CPU time over that of its own first case.
    Itself,
    /// Tidegate's requests that failed.
    Errors,
    /// Tidegate's CPU time for a request, in microseconds.
    CpuMicros,
}

/// All goals.
pub(crate) const GOALS: &[Goal] = &[
    goal("plain", "80 B", Of::Peer("nginx"), 0.9),
    goal("bodies", "100 KB", Of::Peer("nginx"), 0.6),
    goal("post", "100 KB", Of::Peer("nginx"), 0.6),
    goal("short", "80 B", Of::Peer("nginx"), 1.1),
    goal("tls", "full handshake", Of::Peer("nginx"), 1.0),
    goal("tls", "keep-alive", Of::Peer("nginx"), 1.0),
    goal("h2", "80 B", Of::Peer("nginx"), 1.0),
    goal("policy", "ES256", Of::Peer("nginx"), 1.2), // which does without the tokens
    goal("policy", "ES256", Of::Peer("nginx-njs"), 0.1),
    goal("routes", "10000 routes", Of::Itself, 1.1),
    goal("idle", "connections", Of::Peer("nginx"), 2.0),
    goal("tail", "80 %", Of::Peer("nginx"), 1.2),
    goal("reload", "1 a second", Of::Errors, 0.0),
    goal("users", "cached profile", Of::Peer("parts"), 2.0),
    goal("users", "login", Of::Peer("parts"), 1.1),
    goal("users", "refresh", Of::CpuMicros, 500.0), // 2,000 a second and core
    goal("dns", "10,000 names", Of::Peer("gdnsd"), 1.0),
    goal("dns", "100,000 names", Of::Peer("gdnsd"), 1.0),
    goal("dns", "100,000 names", Of::Itself, 1.1),
    goal("dns", "9 % not there", Of::Peer("gdnsd"), 1.0),
    goal("dns", "geo by ECS", Of::Peer("gdnsd"), 1.0),
    goal("dns", "signed", Of::Peer("nsd"), 1.0),
    goal("dns", "all cores", Of::Peer("gdnsd"), 1.0),
    goal("l4", "16 MB", Of::Peer("haproxy-splice"), 1.0),
    goal("l4", "connection a request", Of::Peer("haproxy"), 1.0),
    goal("l4", "80 B", Of::Peer("haproxy"), 1.0),
    goal("l4", "connection by Host", Of::Peer("haproxy"), 1.0),
    goal("l4", "connections", Of::Peer("haproxy"), 1.0),
];

const fn goal(suite: &'static str, case: &'static str, of: Of, most: f64) -> Goal {
    Goal {
        suite,
        case,
        of,
        most,
    }
}

/// The goals of a case.
pub(crate) fn goals_of(suite: &str, case: &str) -> impl Iterator<Item = &'static Goal> {
    GOALS
        .iter()
        .filter(move |goal| goal.suite == suite && goal.case == case)
}

impl Goal {
    /// Such as `nginx 0.9: met`, with what these rows say.
    pub(crate) fn judged(&self, rows: &[Row]) -> String {
        let most = self.most;
        let wanted = match self.of {
            Of::Peer(peer) => format!("{peer} {most:.1}"),
            Of::Itself => format!("itself {most:.1}"),
            Of::Errors => format!("errors {most}"),
            Of::CpuMicros => format!("{most} us"),
        };
        let judgement = match self.is_met(rows) {
            Some(true) => "met",
            Some(false) => "missed",
            None => "not measured",
        };
        format!("{wanted}: {judgement}")
    }

    /// Judges what is shown, which has two digits; `None` when it was not measured.
    fn is_met(&self, rows: &[Row]) -> Option<bool> {
        let row = |peer| {
            let mut rows = rows.iter();
            rows.find(|row| (row.suite, &*row.case, row.peer) == (self.suite, self.case, peer))
        };
        let value = match self.of {
            Of::Peer(peer) => row(peer)?.compared()?.1,
            Of::Itself => *row(OURS)?.more.get("to_first_case")?,
            Of::Errors => row(OURS)?.errors as f64,
            Of::CpuMicros => row(OURS)?.cpu_us_per_request?,
        };
        Some((value * 100.0).round() <= (self.most * 100.0).round())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{BALANCERS, DNS_SERVERS, PEERS, USER_SERVICES};
    use crate::suite::SUITES;

    fn judged(goal: &Goal, rows: &[Row]) -> String {
        goal.judged(rows)
    }

    #[test]
    fn a_goal_is_met_at_what_is_shown() {
        let goal = goal("plain", "80 B", Of::Peer("nginx"), 0.9);
        let rows = |ratio| {
            let row = Row::new("plain", "80 B", "nginx");
            let cpu_ratio = Some(ratio);
            [Row { cpu_ratio, ..row }]
        };
        assert_eq!(judged(&goal, &rows(0.904)), "nginx 0.9: met");
        assert_eq!(judged(&goal, &rows(0.91)), "nginx 0.9: missed");
        assert_eq!(judged(&goal, &[]), "nginx 0.9: not measured");
    }

    #[test]
    fn one_error_misses_a_goal_of_none() {
        let goal = goal("reload", "1 a second", Of::Errors, 0.0);
        let mut row = Row::new("reload", "1 a second", OURS);
        assert_eq!(judged(&goal, &[row.clone()]), "errors 0: met");
        row.errors = 1;
        assert_eq!(judged(&goal, &[row]), "errors 0: missed");
    }

    #[test]
    fn a_goal_of_time_is_of_tidegates_own() {
        let goal = goal("users", "refresh", Of::CpuMicros, 500.0);
        let row = |peer, cpu| Row {
            cpu_us_per_request: Some(cpu),
            ..Row::new("users", "refresh", peer)
        };
        let rows = |cpu| [row(OURS, cpu), row("parts", 100.0)];
        assert_eq!(judged(&goal, &rows(499.0)), "500 us: met");
        assert_eq!(judged(&goal, &rows(501.0)), "500 us: missed");
    }

    #[test]
    fn goals_are_of_suites_and_peers_that_there_are() {
        for goal in GOALS {
            assert!(SUITES.iter().any(|suite| suite.name == goal.suite));
            if let Of::Peer(name) = goal.of {
                let peers = PEERS.iter().chain(USER_SERVICES);
                let mut peers = peers.chain(DNS_SERVERS).chain(BALANCERS);
                assert!(peers.any(|peer| peer.name == name), "{name}");
            }
        }
    }
}
