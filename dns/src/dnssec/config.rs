//! Signing, as it is written.

use std::path::PathBuf;

use chassis::config::{Diagnostic, Located, Place};
use chassis::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

use super::key::Algorithm;

/// What signed zones share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DnssecConfig {
    /// The folder with a file of keys for each signed zone, which this program makes. Others must not be able to read
    /// those files, nor write there; servers that answer for the same zone need the same files.
    pub keys: Located<PathBuf>,
    /// How many signatures a thread makes in a second for names that are not there, or for which a wildcard stands.
    /// Beyond that such a query is to be asked again over TCP, and there it gets an error.
    #[serde(default = "default_online_signatures")]
    pub online_signatures: Located<u32>,
}

/// How a zone is signed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ZoneDnssecConfig {
    /// The algorithm of its keys. It cannot be changed while the parent has DS records of them.
    pub algorithm: Located<Algorithm>,
    /// How long signatures hold, from 5s on.
    pub validity: Located<Period>,
    /// Signatures are made anew when they hold no longer than that: from 1s to nine tenths of `validity`.
    pub refresh: Located<Period>,
    /// How long a key signs the zone's records, before the next one takes its place by itself; for ever with `"0s"`.
    pub zsk_lifetime: Located<Period>,
    /// How long a key signs the zone's keys, before the next one is announced; for ever with `"0s"`. The next one takes
    /// its place only after `tidegate dns keys ds-seen`.
    pub ksk_lifetime: Located<Period>,
    /// How long the zone's keys may be kept.
    pub key_ttl: Located<Period>,
    /// The TTL of the DS records in the parent zone.
    pub ds_ttl: Located<Period>,
    /// How long it takes at most until every server of this zone, or of its parent, answers from what is new.
    pub propagation: Located<Period>,
    /// Asks the parent to remove its DS records (RFC 8078, 4). Only when they are gone, and their TTL has passed, this
    /// table can be removed.
    pub withdraw: bool,
}

impl Default for ZoneDnssecConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        let period = |seconds| Located::nowhere(Period::from_secs(seconds));
        Self {
            algorithm: Located::nowhere(Algorithm::default()),
            validity: period(14 * DAY),
            refresh: period(5 * DAY),
            zsk_lifetime: period(90 * DAY),
            ksk_lifetime: period(0),
            key_ttl: period(HOUR),
            ds_ttl: period(DAY),
            propagation: period(HOUR),
            withdraw: false,
        }
    }
}

impl ZoneDnssecConfig {
    /// What cannot be meant.
    pub(crate) fn judge(&self, mistakes: &mut Vec<Diagnostic>) {
        let periods = [
            &self.validity,
            &self.refresh,
            &self.zsk_lifetime,
            &self.ksk_lifetime,
            &self.key_ttl,
            &self.ds_ttl,
            &self.propagation,
        ];
        for period in periods {
            if period.subsec_nanos() != 0 || period.as_secs() > LONGEST {
                mistakes.push(period.wrong("must be whole seconds, and at most 10 years"));
            }
        }
        self.judge_signatures(mistakes);
        for lifetime in [&self.zsk_lifetime, &self.ksk_lifetime] {
            // Two waits and what lies between are needed to follow it.
            let least = 2 * (self.key_ttl.as_secs() + self.propagation.as_secs());
            if lifetime.as_secs() > 0 && lifetime.as_secs() < least {
                let what = "is shorter than it takes to replace a key";
                let help = format!("at least {least}s: twice `key_ttl` and `propagation`");
                mistakes.push(lifetime.wrong(what).help(help));
            }
        }
    }

    fn judge_signatures(&self, mistakes: &mut Vec<Diagnostic>) {
        let (validity, refresh) = (&self.validity, &self.refresh);
        if validity.as_secs() < SHORTEST {
            let what = format!("must be {SHORTEST}s at least");
            let help = "a signature that is over when it arrives shows nothing to anybody";
            mistakes.push(validity.wrong(what).help(help));
        } else if refresh.as_secs() == 0 {
            let what = "must be 1s at least: signatures would be made anew when they are over";
            mistakes.push(refresh.wrong(what));
        } else if refresh.as_secs() * 10 > validity.as_secs() * 9 {
            let help = "signatures are made anew when they hold no longer than `refresh`";
            let wrong = match refresh.place() == Place::default() {
                false => refresh.wrong("must be at most nine tenths of `validity`"),
                // A default is written nowhere.
                true => validity.wrong(format!("is too short for a `refresh` of {}", **refresh)),
            };
            mistakes.push(wrong.help(help));
        }
    }
}

/// Signatures hold so long at least, in seconds: they are made once a second, and answers are kept and on their way for a
/// while.
const SHORTEST: u64 = 5;
/// Ten years, in seconds: times of signatures are compared modulo 2^32 (RFC 4034, 3.1.5).
const LONGEST: u64 = 10 * 365 * 86_400;

fn default_online_signatures() -> Located<u32> {
    Located::nowhere(10_000)
}
