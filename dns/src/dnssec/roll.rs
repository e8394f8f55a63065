//! How keys follow each other: pure, with the time as an argument.
//!
//! ```text
//! ZSK (pre-publish, RFC 6781, 4.1.1.1):  published --all know it--> active --its successor is--> retired --> gone
//! KSK (double-DS, RFC 6781, 4.1.2):      announced --parent has its DS--> active --> retired --> gone
//! ```
//!
//! A step is made only when every cache has lost what the step before replaced: "all know it" is the longest TTL of the
//! zone and a margin for what is under way. A key that is announced is in no DNSKEY set: CDS and CDNSKEY records tell the
//! parent of it, and it becomes active only after somebody has said that the parent has its DS record.

use serde::{Deserialize, Serialize};

use super::key::{Algorithm, Role};

/// The keys of a zone, and what is to happen with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ring {
    /// How they sign.
    pub(crate) algorithm: Algorithm,
    /// Since when the zone is signed; 0 when it is not any more.
    pub(crate) signed_since: u64,
    /// The keys.
    pub(crate) keys: Vec<Entry>,
    /// Roles whose keys are to be replaced as soon as that can be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) wanted: Vec<Role>,
    /// The longest TTL that a cache may still go by.
    pub(crate) longest: Longest,
}

/// A key, and what it is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// What it signs.
    pub(crate) role: Role,
    /// The number that signatures name it by.
    pub(crate) tag: u16,
    /// What it is at.
    pub(crate) stage: Stage,
    /// Since when.
    pub(crate) since: u64,
    /// When the parent was seen to have its DS record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen: Option<u64>,
    /// The key itself, as PKCS #8 in base64.
    pub(crate) private: Secret,
}

/// Why no other key can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replaced {
    /// It was asked for, and no server has heeded it yet.
    Wanted,
    /// Another takes its place, or has.
    UnderWay {
        /// The one that comes or goes.
        tag: u16,
        /// What it is at.
        stage: Stage,
        /// When that ends, in seconds since 1970; none while it waits for `ds-seen`.
        next: Option<u64>,
    },
}

/// What a key is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// A KSK that the parent is told of.
    Announced,
    /// A ZSK that is in the DNSKEY set, and does not sign yet.
    Published,
    /// It signs.
    Active,
    /// It signs no more. A ZSK is still in the DNSKEY set, and a KSK's DS record still at the parent.
    Retired,
}

/// The longest TTL, also of what was served before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Longest {
    /// In seconds.
    pub(crate) ttl: u32,
    /// Since when everything that is served has a shorter one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<(u32, u64)>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret(pub(crate) String);

/// How long everything takes, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long a ZSK signs; for ever when it is not set.
    pub(crate) zsk_lifetime: Option<u64>,
    /// How long a KSK signs; for ever when it is not set.
    pub(crate) ksk_lifetime: Option<u64>,
    /// How long it may take until every server answers from what is new.
    pub(crate) propagation: u64,
    /// The TTL of the parent's DS records.
    pub(crate) ds_ttl: u64,
    /// The longest TTL that the zone has now.
    pub(crate) longest_ttl: u32,
}

/// A new key: its tag and private part.
pub(crate) type Made = (u16, Secret);

impl Ring {
    /// One without keys; [`next`] makes them.
    pub(crate) fn new(algorithm: Algorithm, now: u64) -> Self {
        Self {
            algorithm,
            signed_since: now,
            keys: Vec::new(),
            wanted: Vec::new(),
            longest: Longest::default(),
        }
    }

    /// Those that are in the DNSKEY set.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Entry> {
        self.keys.iter().filter(|key| match key.role {
            Role::Ksk => key.stage == Stage::Active,
            Role::Zsk => key.stage != Stage::Announced,
        })
    }

    /// Those whose DS records the parent should have: none before every cache knows the zone to be signed.
    pub(crate) fn announced(&self, now: u64, timing: &Timing) -> impl Iterator<Item = &Entry> {
        let ready = now >= self.announced_from(timing);
        self.keys
            .iter()
            .filter(move |key| ready && key.role == Role::Ksk)
    }

    /// From when on the parent may have DS records: then no cache has anything without signatures.
    pub(crate) fn announced_from(&self, timing: &Timing) -> u64 {
        self.signed_since + self.wait(timing)
    }

    /// How long it takes until no cache has what was served before.
    fn wait(&self, timing: &Timing) -> u64 {
        u64::from(self.longest.ttl.max(timing.longest_ttl)) + timing.propagation
    }

    /// Notes that the parent has the DS record of the KSK that is announced, or else of the active one; its tag.
    pub(crate) fn saw_ds(&mut self, now: u64) -> Option<u16> {
        let ksks = || [Stage::Announced, Stage::Active].into_iter();
        let at = ksks().find_map(|stage| self.position(Role::Ksk, stage))?;
        let key = &mut self.keys[at];
        key.seen = key.seen.or(Some(now));
        Some(key.tag)
    }

    /// Asks for another key.
    ///
    /// # Errors
    /// When the one that there is is being replaced already, or somebody has asked: a key more is seldom meant, and would
    /// take its turn long after.
    pub(crate) fn want(&mut self, role: Role, now: u64, timing: &Timing) -> Result<(), Replaced> {
        if self.wanted.contains(&role) {
            return Err(Replaced::Wanted);
        }
        let replacing = self.keys.iter().filter(|key| key.role == role);
        for key in replacing.filter(|key| key.stage != Stage::Active) {
            let next = self.next_step(key, timing);
            // A retired key whose time has passed is gone but for a server that removes it.
            if key.stage != Stage::Retired || next.is_none_or(|next| now < next) {
                let (tag, stage) = (key.tag, key.stage);
                return Err(Replaced::UnderWay { tag, stage, next });
            }
        }
        self.wanted.push(role);
        Ok(())
    }

    /// When a key that replaces another, or is replaced, takes its next step; none while it waits for somebody.
    fn next_step(&self, key: &Entry, timing: &Timing) -> Option<u64> {
        match key.stage {
            Stage::Announced => key
                .seen
                .map(|seen| seen + timing.ds_ttl + timing.propagation),
            Stage::Published | Stage::Retired => Some(key.since + self.wait(timing)),
            Stage::Active => None,
        }
    }

    fn position(&self, role: Role, stage: Stage) -> Option<usize> {
        let is = |key: &Entry| (key.role, key.stage) == (role, stage);
        self.keys.iter().position(is)
    }

    fn enter(&mut self, at: usize, stage: Stage, now: u64) {
        self.keys[at].stage = stage;
        self.keys[at].since = now;
    }
}

/// What holds at `now`, and when to ask again. It does nothing twice: what it returned, it returns again until time has
/// passed. Without a change of TTLs or a wish, nothing happens before the time that it returns.
///
/// # Errors
/// When a key cannot be made.
pub(crate) fn next<E>(
    ring: &Ring,
    now: u64,
    timing: &Timing,
    make: &mut dyn FnMut(Role) -> Result<Made, E>,
) -> Result<(Ring, Option<u64>), E> {
    let mut ring = ring.clone();
    if ring.signed_since == 0 {
        // It is again, and caches have it without signatures.
        ring.signed_since = now;
    }
    // What a clock that was ahead has written counts from now on.
    for key in &mut ring.keys {
        key.since = key.since.min(now);
    }
    ring.longest = ring.longest.at(now, timing);
    let wait = ring.wait(timing);
    let mut wakes = vec![ring.announced_from(timing), ring.longest.forgotten(timing)];
    for role in [Role::Ksk, Role::Zsk] {
        // A step may make another possible: after a first key, the next may be wanted already.
        for _ in 0..MOST_STEPS {
            let before = ring.clone();
            wakes.extend(step(&mut ring, role, wait, now, timing, make)?);
            if ring == before {
                break;
            }
        }
    }
    let wake = wakes.into_iter().filter(|wake| *wake > now).min();
    Ok((ring, wake))
}

/// More than follow each other at one time.
const MOST_STEPS: usize = 8;

/// Moves the keys of a role; when it is to be asked again.
fn step<E>(
    ring: &mut Ring,
    role: Role,
    wait: u64,
    now: u64,
    timing: &Timing,
    make: &mut dyn FnMut(Role) -> Result<Made, E>,
) -> Result<Option<u64>, E> {
    let mut add = |ring: &mut Ring, stage| -> Result<(), E> {
        let (tag, private) = make(role)?;
        ring.keys.push(Entry {
            role,
            tag,
            stage,
            since: now,
            seen: None,
            private,
        });
        Ok(())
    };
    let coming = match role {
        Role::Ksk => Stage::Announced,
        Role::Zsk => Stage::Published,
    };
    if let Some(at) = ring.position(role, Stage::Retired) {
        let gone = ring.next_step(&ring.keys[at], timing);
        if gone.is_some_and(|gone| now < gone) {
            // One after the other.
            return Ok(gone);
        }
        ring.keys.remove(at);
    }
    let Some(active) = ring.position(role, Stage::Active) else {
        add(ring, Stage::Active)?;
        let lifetime = lifetime(role, timing);
        return Ok(lifetime.map(|lifetime| begin(now, lifetime, wait)));
    };
    if let Some(at) = ring.position(role, coming) {
        let ready = ring.next_step(&ring.keys[at], timing);
        if ready.is_some_and(|ready| now >= ready) {
            ring.enter(active, Stage::Retired, now);
            ring.enter(at, Stage::Active, now);
            return Ok(Some(now + wait));
        }
        return Ok(ready);
    }
    let due = lifetime(role, timing).map(|lifetime| begin(ring.keys[active].since, lifetime, wait));
    let wanted = ring.wanted.iter().position(|wanted| *wanted == role);
    if wanted.is_none() && due.is_none_or(|due| now < due) {
        return Ok(due);
    }
    if let Some(wanted) = wanted {
        ring.wanted.remove(wanted);
    }
    add(ring, coming)?;
    Ok((role == Role::Zsk).then_some(now + wait))
}

fn lifetime(role: Role, timing: &Timing) -> Option<u64> {
    match role {
        Role::Ksk => timing.ksk_lifetime,
        Role::Zsk => timing.zsk_lifetime,
    }
}

/// When the successor of a key must come, so that it is ready at the end of the key's lifetime.
fn begin(active_since: u64, lifetime: u64, wait: u64) -> u64 {
    active_since + lifetime.saturating_sub(wait)
}

impl Stage {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Announced => "announced",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }
}

impl Longest {
    /// What caches may go by at `now`.
    fn at(self, now: u64, timing: &Timing) -> Self {
        let current = timing.longest_ttl;
        let fresh = Self {
            ttl: current,
            until: None,
        };
        if current >= self.ttl {
            return fresh;
        }
        // It became shorter: what was served before is kept for as long as that said.
        match self.until {
            Some((below, _)) if below != current => {}
            Some((_, since)) if now >= since + u64::from(self.ttl) + timing.propagation => {
                return fresh;
            }
            Some(_) => return self,
            None => {}
        }
        Self {
            ttl: self.ttl,
            until: Some((current, now)),
        }
    }

    fn forgotten(&self, timing: &Timing) -> u64 {
        self.until.map_or(0, |(_, since)| {
            since + u64::from(self.ttl) + timing.propagation
        })
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests;
