//! Signed zones (DNSSEC): keys, signatures, and what denies that a name or type is there.
//!
//! ```text
//! key file -> roll::next: which keys are at what -> DNSKEY, CDS, CDNSKEY sets of the zone, and a ZoneSigner
//! zone + ZoneSigner -> answer::compile: each answer a second time, with signatures, for clients that want them
//! name that is not there, or below a wildcard -> online: one signature for the name that was asked
//! ```
//!
//! Names are denied compactly (RFC 9824): an NSEC record of the name itself says which types it has, and tells of no other
//! name. For names of the zone it is signed with the rest; for names that are not there, when they are asked for.
//!
//! This module knows no sockets. `answer` knows of it who signs ([`Signers`], [`ZoneSigner`], and `online` for queries) and the
//! canonical forms that are signed, and nothing of keys and when they change.

pub(crate) mod canonical;
mod command;
mod config;
mod file;
mod keeper;
mod key;
pub(crate) mod online;
mod roll;
mod settings;
mod sign;
mod signers;
mod zones;

pub use self::config::{DnssecConfig, ZoneDnssecConfig};
pub use self::key::{Algorithm, Key, KeyError, Role};
pub use self::sign::{Signatures, Times, ZoneSigner};
pub use self::signers::Signers;

pub(crate) use self::command::{KeysArgs, main};
pub(crate) use self::keeper::keep;
pub(crate) use self::key::SIGNATURE;
pub(crate) use self::sign::Job;
pub(crate) use self::zones::{Keys, SignedZones, Signing, Unusable, unix_now};
