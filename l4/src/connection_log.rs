//! Which connections there were, and how they ended: one of so many, a JSON object a line.
//!
//! ```text
//! thread: every nth connection that ends -> a line in its own buffer -> LineLog's bounded queue -> file
//! ```

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use chassis::telemetry::SampledLog;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::serve::Ending;

/// A connection or session that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) listener: &'a str,
    pub(crate) client: SocketAddr,
    /// What the client has connected to.
    pub(crate) service: SocketAddr,
    /// What it has asked for.
    pub(crate) name: Option<&'a str>,
    pub(crate) cluster: Option<&'a str>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) ending: Ending,
    /// Octets from the client.
    pub(crate) up: u64,
    /// Octets to the client.
    pub(crate) down: u64,
    /// Until an endpoint had it.
    pub(crate) setup: Option<Duration>,
    pub(crate) duration: Duration,
}

/// As it is written; what is not known is left out.
#[derive(Serialize)]
struct Line<'a> {
    time: Text<fmt::Arguments<'a>>,
    listener: &'a str,
    client: SocketAddr,
    service: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    ending: &'static str,
    up: u64,
    down: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup_ms: Option<f64>,
    duration_ms: f64,
}

/// Written as text.
struct Text<T>(T);

thread_local! {
    /// Connections of this thread since the last that was logged.
    static UNLOGGED: Cell<u32> = const { Cell::new(0) };
}

impl Event<'_> {
    /// Logs it, if it is its turn.
    pub(crate) fn log(&self, log: &SampledLog) {
        let mut unlogged = UNLOGGED.get();
        log.turn(&mut unlogged, |line| self.write(SystemTime::now(), line));
        UNLOGGED.set(unlogged);
    }

    fn write(&self, now: SystemTime, out: &mut Vec<u8>) {
        let time = Timestamp::try_from(now).unwrap_or_default();
        let Self {
            listener,
            client,
            service,
            name,
            cluster,
            endpoint,
            up,
            down,
            ..
        } = *self;
        let line = Line {
            time: Text(format_args!("{time:.3}")),
            listener,
            client,
            service,
            name,
            cluster,
            endpoint,
            ending: self.ending.name(),
            up,
            down,
            setup_ms: self.setup.map(millis),
            duration_ms: millis(self.duration),
        };
        // Into a buffer, and without a map: it cannot fail.
        let _ = serde_json::to_writer(out, &line);
    }
}

/// With three digits after the point.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_documented() {
        let address = |text: &str| text.parse().expect("it is one");
        let event = Event {
            listener: "https",
            client: address("198.51.100.7:50123"),
            service: address("192.0.2.1:443"),
            name: Some("api.example.com"),
            cluster: Some("web"),
            endpoint: Some(address("10.0.0.11:443")),
            ending: Ending::Done,
            up: 517,
            down: 48_211,
            setup: Some(Duration::from_micros(1_234)),
            duration: Duration::from_millis(80),
        };
        let line = |event: Event<'_>| {
            let mut line = Vec::new();
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_120);
            event.write(now, &mut line);
            String::from_utf8(line).expect("it is text")
        };
        assert_eq!(
            line(event),
            r#"{"time":"2023-11-14T22:13:20.120Z","listener":"https","client":"198.51.100.7:50123","service":"192.0.2.1:443","name":"api.example.com","cluster":"web","endpoint":"10.0.0.11:443","ending":"done","up":517,"down":48211,"setup_ms":1.234,"duration_ms":80.0}"#
        );
        let refused = Event {
            name: None,
            cluster: None,
            endpoint: None,
            setup: None,
            ending: Ending::Denied,
            ..event
        };
        assert!(line(refused).contains(r#""service":"192.0.2.1:443","ending":"denied","up""#));
    }
}
