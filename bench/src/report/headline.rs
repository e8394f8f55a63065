//! The headline table: the lines that stand for a whole run, a column a peer. Wins and losses look alike.

use super::Row;
use crate::goal::{Of, goals_of};
use crate::peer::{OURS, PEERS};

/// A line.
#[derive(Debug)]
pub(super) struct Headline {
    text: &'static str,
    /// The suite that it is of.
    pub(super) suite: &'static str,
    /// The case of the suite.
    pub(super) case: &'static str,
    /// What is shown.
    pub(super) shown: Shown,
    /// The peers that are in it; all when there is none.
    peers: &'static [&'static str],
}

/// What a line shows of the peers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shown {
    /// Tidegate's over theirs.
    Ratio,
    /// How much more CPU time than in their own first case they need.
    Growth,
    /// How many of their requests failed.
    Errors,
}

/// All lines, in their order.
pub(super) const HEADLINES: &[Headline] = &[
    ratio("keep-alive, 80 B", "plain", "80 B"),
    ratio("answers of 100 KB", "bodies", "100 KB"),
    ratio("requests of 100 KB", "post", "100 KB"),
    ratio("a connection a request", "short", "80 B"),
    ratio("TLS, full handshakes", "tls", "full handshake"),
    ratio("TLS, keep-alive", "tls", "keep-alive"),
    ratio("HTTP/2 over TLS", "h2", "80 B"),
    ratio("gRPC, unary calls", "grpc", "80 B"),
    ratio("WebSocket, 64 B there and back", "websocket", "64 B"),
    Headline {
        peers: &["nginx", "pingora"],
        ..ratio(
            "1,000 routes, JWT, rate limit, log (nginx without JWT, pingora with nothing of it)",
            "policy",
            "ES256",
        )
    },
    Headline {
        peers: &["nginx-njs"],
        ..ratio(
            "the same (njs verifies each token, Tidegate remembers them)",
            "policy",
            "ES256",
        )
    },
    Headline {
        shown: Shown::Growth,
        ..ratio(
            "10,000 routes over 10, each its own",
            "routes",
            "10000 routes",
        )
    },
    ratio("a waiting connection", "idle", "connections"),
    ratio("slowest of 1,000 at 80 % load", "tail", "80 %"),
    Headline {
        shown: Shown::Errors,
        ..ratio("a reload a second, each its own", "reload", "1 a second")
    },
];

const fn ratio(text: &'static str, suite: &'static str, case: &'static str) -> Headline {
    Headline {
        text,
        suite,
        case,
        shown: Shown::Ratio,
        peers: &[],
    }
}

/// What stands where nothing was measured.
pub(super) const NOTHING: &str = "–";

/// Headings and cells.
pub(super) fn table(rows: &[Row]) -> Vec<Vec<String>> {
    let peers = PEERS.iter().map(|peer| peer.name);
    let headings = ["", "of"].into_iter().chain(peers).chain(["goal, at most"]);
    let headings = headings.map(str::to_owned).collect();
    let lines = HEADLINES.iter().map(|headline| headline.line(rows));
    [headings].into_iter().chain(lines).collect()
}

impl Headline {
    /// The rows that it is of.
    pub(super) fn rows<'a>(&self, rows: &'a [Row]) -> impl Iterator<Item = &'a Row> {
        rows.iter()
            .filter(|row| (row.suite, &*row.case) == (self.suite, self.case))
    }

    fn line(&self, rows: &[Row]) -> Vec<String> {
        let cells = PEERS.iter().map(|peer| {
            let row = self.rows(rows).find(|row| row.peer == peer.name);
            let row = row.filter(|row| self.is_about(row.peer));
            row.and_then(|row| self.cell(row))
                .unwrap_or_else(|| NOTHING.into())
        });
        let goals = goals_of(self.suite, self.case).filter(|goal| match goal.of {
            Of::Peer(peer) => self.is_about(peer),
            Of::Itself | Of::Errors | Of::CpuMicros => true,
        });
        let goals: Vec<String> = goals.map(|goal| goal.judged(rows)).collect();
        let start = [self.text, self.what(rows)].map(str::to_owned);
        start
            .into_iter()
            .chain(cells)
            .chain([goals.join("; ")])
            .collect()
    }

    fn is_about(&self, peer: &str) -> bool {
        peer == OURS || self.peers.is_empty() || self.peers.contains(&peer)
    }

    fn what(&self, rows: &[Row]) -> &'static str {
        match self.shown {
            Shown::Errors => "errors",
            Shown::Growth => "CPU time",
            Shown::Ratio => {
                let compared = self.rows(rows).find_map(Row::compared);
                compared.map_or(NOTHING, |(what, _)| what)
            }
        }
    }

    fn cell(&self, row: &Row) -> Option<String> {
        match self.shown {
            Shown::Errors => Some(row.errors.to_string()),
            Shown::Growth => Some(format!("{:.2}", row.more.get("to_first_case")?)),
            Shown::Ratio if row.peer == OURS => own(row),
            Shown::Ratio => compared(row),
        }
    }
}

/// Tidegate's own figure, with its unit.
fn own(row: &Row) -> Option<String> {
    match row.compared()?.0 {
        "memory" => {
            let bytes = row.more.get("bytes_per_connection")?;
            Some(format!("{:.1} KiB", bytes / 1024.0))
        }
        "p99.9" => Some(format!("{:.1} ms", row.p999_us? / 1000.0)),
        _ => Some(format!("{:.1} us", row.cpu_us_per_request?)),
    }
}

/// The ratio in a word: rounds on both sides of 1 are no difference.
fn compared(row: &Row) -> Option<String> {
    let (what, ratio) = row.compared()?;
    let range = row.cpu_ratio_range.filter(|_| what == "CPU time");
    let [min, max] = range.unwrap_or([ratio, ratio]);
    let word = match (ratio * 100.0).round() {
        _ if min < 1.0 && max > 1.0 => "even",
        100.0 => "even",
        rounded if rounded < 100.0 => "less",
        _ => "more",
    };
    Some(format!("{ratio:.2} {word}"))
}
