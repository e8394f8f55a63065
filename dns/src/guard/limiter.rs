//! Response rate limiting: how many answers the addresses of one network get, so that nobody is flooded with what
//! others ask in its name.
//!
//! ```text
//! network and kind of answer -> keyed hash -> one line of the table: 8 slots
//! slot = tag 24 bits | when its network has made up for all answers, 40 bits of microseconds
//! ```
//!
//! This is the generic cell rate algorithm: an answer moves that time on by `1 / limit`, and is held back when it is a second
//! away. A slot whose time is past says nothing, and is free for whoever comes: nothing is ever tidied up. The table has a
//! fixed size, and all threads share it without a lock.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use ipnet::IpNet;
use siphasher::sip::SipHasher13;

/// What one configuration allows.
#[derive(Clone, Debug)]
pub struct Limiter {
    table: Arc<Table>,
    /// Microseconds from one answer to the next.
    apart: u64,
    slip: u32,
    ipv4: u32,
    ipv6: u32,
    /// In ascending order, and none within another.
    exempt: Box<[IpNet]>,
}

/// Which answers are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Records that were asked for.
    Answer,
    /// There are none: no such name or type, or other servers know.
    Nothing,
    /// An error.
    Error,
}

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without its records, so that whoever is there asks again over TCP.
    Slip,
    /// It is not sent.
    Drop,
}

/// What every network has got; it outlives reloads.
#[derive(Debug)]
pub struct Table {
    lines: Box<[Line]>,
    key: [u8; 16],
    began: Instant,
}

/// The slots of one line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line([AtomicU64; SLOTS]);

const SLOTS: usize = 8;
/// 512 KiB: 65,536 networks that have just got an answer.
const LINES: usize = 8192;
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;
/// What a network may have in advance, in microseconds.
const BURST: u64 = 1_000_000;
/// A slot cannot be so far ahead, though clocks of threads differ by a batch: its time is past.
const FARTHEST: u64 = 2 * BURST;

impl Default for Table {
    fn default() -> Self {
        Self {
            lines: (0..LINES).map(|_| Line::default()).collect(),
            key: rand::random(),
            began: Instant::now(),
        }
    }
}

impl Table {
    /// The time for [`Limiter::judge`], in microseconds.
    pub fn time(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.began);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

impl Limiter {
    /// `limit` answers a second, from 1 to 1,000,000, for each network of so many bits; every `slip`th that is held back is
    /// sent without records, and none with 0.
    pub fn new(table: Arc<Table>, limit: u32, slip: u32, bits: [u8; 2], exempt: &[IpNet]) -> Self {
        let [ipv4, ipv6] = bits.map(u32::from);
        let mut exempt = IpNet::aggregate(&exempt.to_vec());
        exempt.sort();
        Self {
            table,
            apart: BURST.div_ceil(u64::from(limit.max(1))),
            slip,
            ipv4: ipv4.min(32),
            ipv6: ipv6.min(128),
            exempt: exempt.into(),
        }
    }

    /// The table in which it counts.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Judges an answer to a client at a time of the [`Table`]. `held` counts what a thread has held back.
    pub fn judge(&self, client: IpAddr, kind: Kind, now: u64, held: &mut u32) -> Verdict {
        // Who is exempt uses up nothing of its network either.
        if self.is_exempt(client) || self.admit(self.hash(client, kind), now) {
            return Verdict::Send;
        }
        *held = held.wrapping_add(1);
        match self.slip {
            0 => Verdict::Drop,
            slip if held.is_multiple_of(slip) => Verdict::Slip,
            _ => Verdict::Drop,
        }
    }

    fn hash(&self, client: IpAddr, kind: Kind) -> u64 {
        let mut hashed = [0; 18];
        let (family, network) = match client {
            IpAddr::V4(v4) => (4, u128::from(v4.to_bits() & mask(32, self.ipv4) as u32)),
            IpAddr::V6(v6) => (6, v6.to_bits() & mask(128, self.ipv6)),
        };
        hashed[..16].copy_from_slice(&network.to_be_bytes());
        hashed[16] = family;
        hashed[17] = kind as u8;
        SipHasher13::new_with_key(&self.table.key).hash(&hashed)
    }

    /// Counts an answer, if there may be one more.
    fn admit(&self, hash: u64, now: u64) -> bool {
        let line = &self.table.lines[hash as usize % LINES];
        let tag = hash & !TIME;
        loop {
            let (slot, found, debt) = line.find(tag, now);
            if debt + self.apart > BURST {
                return false;
            }
            // Where every slot is taken, the one with the least debt is shared: too few answers rather than too many.
            let tag = if debt == 0 { tag } else { found & !TIME };
            let next = tag | (now + debt + self.apart) & TIME;
            if slot
                .compare_exchange_weak(found, next, Relaxed, Relaxed)
                .is_ok()
            {
                return true;
            }
        }
    }

    fn is_exempt(&self, client: IpAddr) -> bool {
        let after = self.exempt.partition_point(|net| net.network() <= client);
        let before = after.checked_sub(1).and_then(|at| self.exempt.get(at));
        before.is_some_and(|net| net.contains(&client))
    }
}

impl Line {
    /// The slot of a tag, or the one that is free or nearest to it; what stands in it, and its debt in microseconds.
    fn find(&self, tag: u64, now: u64) -> (&AtomicU64, u64, u64) {
        let mut best = (&self.0[0], 0, u64::MAX);
        for slot in &self.0 {
            let found = slot.load(Relaxed);
            // Modulo 2^40, twelve days.
            let ahead = found.wrapping_sub(now) & TIME;
            let debt = if ahead > FARTHEST { 0 } else { ahead };
            if debt > 0 && found & !TIME == tag {
                return (slot, found, debt);
            }
            if debt < best.2 {
                best = (slot, found, debt);
            }
        }
        best
    }
}

/// The upper `bits` of so many.
fn mask(of: u32, bits: u32) -> u128 {
    let all = u128::MAX >> (128 - of);
    all & !all.checked_shr(bits).unwrap_or(0)
}

#[cfg(test)]
mod tests;
