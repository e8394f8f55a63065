//! Plots: bars of a suite's main figure, drawn by hand.

use std::fmt::Write;

use super::Row;
use crate::peer::OURS;

/// A bar's height, with the gap below it.
const LINE: usize = 22;
/// Width of the longest bar.
const WIDTH: f64 = 420.0;
/// Where bars begin.
const LEFT: usize = 250;

/// A plot of CPU time a request, or of what the suite measures in its place; `None` when no row
/// has any.
pub(super) fn plot(suite: &str, rows: &[&Row]) -> Option<String> {
    let (unit, value) = main_figure(rows)?;
    let values: Vec<(&Row, f64)> = rows
        .iter()
        .filter_map(|row| Some((*row, value(row)?)))
        .collect();
    let most = values
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = 40 + values.len() * LINE;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-weight=\"bold\">{}: {unit} (shorter is better)</text>\n",
        escaped(suite)
    );
    for (at, (row, value)) in values.iter().enumerate() {
        let top = 32 + at * LINE;
        let base = top + 14;
        let width = value / most * WIDTH;
        let colour = if row.peer == OURS {
            "#0a7d8c"
        } else {
            "#b8c4ca"
        };
        let label = escaped(&format!("{}, {}", row.case, row.peer));
        let _ = write!(
            text,
            "<text x=\"{end}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\n\
             <rect x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" height=\"17\" fill=\"{colour}\"/>\n\
             <text x=\"{after:.1}\" y=\"{base}\">{value:.1}</text>\n",
            end = LEFT - 8,
            after = LEFT as f64 + width + 6.0,
        ); // text takes everything
    }
    text += "</svg>\n";
    Some(text)
}

/// What a row shows of the main figure.
type Value = fn(&Row) -> Option<f64>;

/// What the suite is about, with its unit.
fn main_figure(rows: &[&Row]) -> Option<(&'static str, Value)> {
    let figures: [(&'static str, Value); 3] = [
        ("KiB a connection", |row| {
            Some(row.more.get("bytes_per_connection")? / 1024.0)
        }),
        ("99.9th percentile, us", |row| {
            row.p999_us.filter(|_| row.more.contains_key("rate"))
        }),
        ("CPU time a request, us", |row| row.cpu_us_per_request),
    ];
    figures
        .into_iter()
        .find(|(_, value)| rows.iter().any(|row| value(row).is_some()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
