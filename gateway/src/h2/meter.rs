//! Counts the frames of an HTTP/2 connection that cost the gateway work and the client nothing.
//!
//! Each kind has a bucket of tokens that fills again with time, and with what the
//! gateway sends: who receives many frames has much to acknowledge. The crate h2
//! limits the rest: streams, header blocks, CONTINUATION and small or empty DATA frames.
//!
//! Pure: only frame heads are looked at, and `now` comes from outside.

use std::time::{Duration, Instant};

/// What a client did too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// Requests that it reset, or made us reset (CVE-2023-44487, CVE-2025-8671).
    Resets,
    /// PING (CVE-2019-9512).
    Pings,
    /// SETTINGS (CVE-2019-9515).
    Settings,
    /// WINDOW_UPDATE.
    WindowUpdates,
    /// PRIORITY and PRIORITY_UPDATE (CVE-2019-9513).
    Priorities,
    /// Frames of kinds that we do not know.
    Unknown,
}

impl Excess {
    pub(super) const ALL: [Self; 6] = [
        Self::Resets,
        Self::Pings,
        Self::Settings,
        Self::WindowUpdates,
        Self::Priorities,
        Self::Unknown,
    ];

    /// As metrics and logs name it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::WindowUpdates => "window_updates",
            Self::Priorities => "priorities",
            Self::Unknown => "unknown_frames",
        }
    }

    /// So many at once, and so many more a second.
    fn allowance(self, resets: u32) -> (u32, u32) {
        match self {
            Self::Resets => (resets, resets.div_ceil(10)),
            // gRPC clients measure the bandwidth with pings, browsers the time of a round.
            Self::Pings => (100, 10),
            Self::Settings => (20, 1),
            Self::WindowUpdates => (1000, 100),
            Self::Priorities => (200, 20),
            Self::Unknown => (100, 10),
        }
    }
}

/// Counts the frames of a connection.
#[derive(Debug)]
pub struct Meter {
    incoming: Frames,
    outgoing: Frames,
    buckets: [Bucket; Excess::ALL.len()],
    filled: Instant,
    /// Why h2 itself has ended the connection.
    goodbye: Option<&'static str>,
}

/// In thousandths of a token, so that a millisecond counts.
#[derive(Debug)]
struct Bucket {
    tokens: u32,
    most: u32,
    per_second: u32,
}

const TOKEN: u32 = 1000;

impl Meter {
    /// For a connection whose client has sent nothing yet, and may reset so many streams at once.
    pub fn new(resets: u32, now: Instant) -> Self {
        let bucket = |kind: Excess| {
            let (most, per_second) = kind.allowance(resets);
            let most = most.saturating_mul(TOKEN);
            Bucket {
                tokens: most,
                most,
                per_second,
            }
        };
        Self {
            incoming: Frames::after(PREFACE.len()),
            outgoing: Frames::after(0),
            buckets: Excess::ALL.map(bucket),
            filled: now,
            goodbye: None,
        }
    }

    /// Hears what the client sends, the preface included, in any pieces; what there was too much of.
    pub fn received(&mut self, bytes: &[u8], now: Instant) -> Option<Excess> {
        self.fill(now);
        let (buckets, mut excess) = (&mut self.buckets, None);
        self.incoming.read(bytes, |frame| {
            let kind = match frame.kind {
                DATA | HEADERS | CONTINUATION => return,
                RST_STREAM => Excess::Resets,
                PING => Excess::Pings,
                SETTINGS => Excess::Settings,
                WINDOW_UPDATE => Excess::WindowUpdates,
                PRIORITY | PRIORITY_UPDATE => Excess::Priorities,
                _ => Excess::Unknown,
            };
            if !buckets[kind as usize].take() {
                excess = excess.or(Some(kind));
            }
        });
        excess
    }

    /// Hears what is sent to the client.
    pub fn sent(&mut self, bytes: &[u8]) -> Option<Excess> {
        let (buckets, goodbye) = (&mut self.buckets, &mut self.goodbye);
        let mut excess = None;
        self.outgoing.read(bytes, |frame| {
            let mut add = |kind: Excess, tokens| buckets[kind as usize].add(tokens);
            if frame.kind == DATA {
                // It is acknowledged for its stream and its connection, and may be measured.
                add(Excess::WindowUpdates, 4 * TOKEN);
                add(Excess::Pings, TOKEN);
            }
            if matches!(frame.kind, DATA | HEADERS) && frame.flags & END_STREAM != 0 {
                add(Excess::Resets, TOKEN / 2);
            }
            // "No error" is what follows an answer that did not wait for the request's body.
            let reset = frame.kind == RST_STREAM && frame.start != [0; 4];
            if reset && !buckets[Excess::Resets as usize].take() {
                excess = Some(Excess::Resets);
            }
            if frame.kind == GOAWAY {
                let debug = frame.start.get(GOAWAY_FIXED..).unwrap_or_default();
                let known = KNOWN.iter().find(|(told, _)| told.as_bytes() == debug);
                *goodbye = known.map(|(_, reason)| *reason);
            }
        });
        excess
    }

    /// Which limit made h2 end the connection, as it told the client.
    pub(super) fn goodbye(&self) -> Option<&'static str> {
        self.goodbye
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_millis();
        let Ok(passed) = u32::try_from(passed) else {
            self.filled = now;
            return self
                .buckets
                .iter_mut()
                .for_each(|one| one.tokens = one.most);
        };
        self.filled += Duration::from_millis(passed.into());
        for bucket in &mut self.buckets {
            bucket.add(passed.saturating_mul(bucket.per_second));
        }
    }
}

impl Bucket {
    fn take(&mut self) -> bool {
        let left = self.tokens.checked_sub(TOKEN);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }

    fn add(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(self.most);
    }
}

/// Finds the frames in a stream of bytes that comes in pieces.
#[derive(Debug)]
struct Frames {
    /// Bytes that are of no interest.
    skip: usize,
    head: [u8; HEAD + START],
    filled: usize,
}

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame<'a> {
    kind: u8,
    flags: u8,
    length: usize,
    /// The start of its payload, where that matters.
    start: &'a [u8],
}

impl Frames {
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD + START],
            filled: 0,
        }
    }

    fn read(&mut self, mut bytes: &[u8], mut hear: impl FnMut(Frame<'_>)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (self.wanted() - self.filled).min(bytes.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.wanted() {
                let frame = self.frame();
                let skip = HEAD + frame.length - self.filled;
                hear(frame);
                self.skip = skip;
                self.filled = 0;
            }
        }
    }

    /// Resets and farewells are understood with the start of their payload.
    fn wanted(&self) -> usize {
        let frame = self.frame();
        match frame.kind {
            RST_STREAM | GOAWAY if self.filled >= HEAD => HEAD + frame.length.min(START),
            _ => HEAD,
        }
    }

    fn frame(&self) -> Frame<'_> {
        let (head, start) = self.head.split_at(HEAD);
        Frame {
            kind: head[3],
            flags: head[4],
            length: u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
            start: &start[..self.filled.saturating_sub(HEAD)],
        }
    }
}

/// What h2 tells in the debug data of a GOAWAY, and how metrics and logs name it.
const KNOWN: [(&str, &str); 5] = [
    ("too_many_resets", "resets"),
    ("too_many_internal_resets", "resets"),
    ("too_many_data_frames", "data_frames"),
    ("too_many_continuations", "continuations"),
    ("header_list_way_too_large", "headers"),
];

/// What a client sends first (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of a frame's head.
const HEAD: usize = 9;

/// So much is kept of a payload: the code of a RST_STREAM, the debug data of a GOAWAY.
const START: usize = GOAWAY_FIXED + 32;

/// The last stream and the code.
const GOAWAY_FIXED: usize = 8;

/// Kinds of frames (RFC 9113, section 6, and RFC 9218, section 7.1).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const PRIORITY_UPDATE: u8 = 0x10;

/// A flag of DATA and HEADERS.
const END_STREAM: u8 = 0x1;

#[cfg(test)]
mod tests;
