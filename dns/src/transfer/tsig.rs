//! Signed messages (TSIG, RFC 8945).
//!
//! Of the crate `domain` only the reading of the record is used: its errors are not those of the RFC (a wrong
//! signature is told as FORMERR, and BADTIME is signed over eight octets of time where there are six).

use std::sync::Arc;

use domain::base::iana::Class;
use domain::base::name::ToName;
use domain::base::{Message, ParsedName};
use domain::rdata::tsig::Tsig;
use ring::hmac;
use subtle::ConstantTimeEq;

use super::key::{Key, Keys};
use crate::wire::{HEADER, Header, WANTS_DNSSEC, opt_record, rcode};
use crate::zone::Name;

/// The type of the record.
pub(super) const TSIG: u16 = 250;
/// How far clocks may be apart, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;
/// Messages of a sequence that may follow each other without a signature (RFC 8945, 5.3.1).
const MOST_UNSIGNED: u32 = 99;

/// The signature of a message.
struct Signature {
    /// Where its record begins.
    start: usize,
    key: Name,
    algorithm: Vec<u8>,
    mac: Vec<u8>,
    original_id: u16,
    variables: Variables,
}

/// What is signed beside the message.
#[derive(Clone, Debug, Default)]
struct Variables {
    /// Seconds since 1970, in 48 bits.
    time: u64,
    fudge: u16,
    error: u16,
    other: Vec<u8>,
}

/// What is wrong with the signature of a request.
pub(super) enum Rejected {
    /// It cannot be read: FORMERR.
    Malformed,
    /// The TSIG record of the answer, which may be signed.
    Wrong(Vec<u8>, Why),
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The record cannot be read, or stands where it must not.
    #[error("the TSIG record is broken")]
    Malformed,
    /// It is not there.
    #[error("the message is not signed")]
    Unsigned,
    /// Too many messages follow each other without one.
    #[error("too many messages in a row are not signed")]
    TooManyUnsigned,
    /// Nobody knows the key.
    #[error("the key is not known (BADKEY)")]
    Key,
    /// It is somebody else's, or of another message.
    #[error("the signature is wrong (BADSIG)")]
    Signature,
    /// It was made long ago, or the clocks differ.
    #[error("the time of the signature is too far from ours (BADTIME)")]
    Time,
    /// It was cut.
    #[error("the signature is cut (BADTRUNC)")]
    Cut,
}

impl Why {
    fn code(self) -> u16 {
        match self {
            Self::Malformed | Self::Unsigned | Self::TooManyUnsigned => 1,
            Self::Signature => 16,
            Self::Key => 17,
            Self::Time => 18,
            Self::Cut => 22,
        }
    }
}

/// Signs or verifies messages that follow each other, each with the signature of the one before.
pub struct Chain {
    key: Arc<Key>,
    /// What was signed since the last signature, and that one.
    context: hmac::Context,
    /// Whether the next is the first after the request: then all variables are signed.
    first: bool,
    unsigned: u32,
    /// Of answers; none for requests, which are signed with the ID that they have.
    ids: Option<Ids>,
}

/// The IDs of a request, which differ where it came through a forwarder (RFC 8945, 5.5).
#[derive(Clone, Copy, Debug)]
struct Ids {
    /// In its header, and so in the answer's.
    header: u16,
    /// That it was signed with, and so the answer too.
    original: u16,
}

impl Chain {
    /// Signs a request.
    pub fn request(key: &Arc<Key>, message: &mut Vec<u8>, now: u64) -> Self {
        let mut chain = Self {
            key: key.clone(),
            context: hmac::Context::with_key(&key.hmac),
            first: true,
            unsigned: 0,
            ids: None,
        };
        chain.sign(message, now);
        chain.first = true;
        chain
    }

    /// The chain of the answers to a request.
    fn after(key: &Arc<Key>, signature: &Signature, request: &[u8]) -> Self {
        Self {
            key: key.clone(),
            context: with_mac(key, &signature.mac),
            first: true,
            unsigned: 0,
            ids: Some(Ids {
                header: id_of(request),
                original: signature.original_id,
            }),
        }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Signs the next message: it grows by a record. An answer gets the ID of its request.
    pub fn sign(&mut self, message: &mut Vec<u8>, now: u64) {
        if let Some(ids) = self.ids {
            message[..2].copy_from_slice(&ids.original.to_be_bytes());
        }
        let variables = Variables {
            time: now,
            fudge: FUDGE,
            ..Variables::default()
        };
        let mac = self.mac_of(&[message], &variables);
        let id = id_of(message);
        append(&self.key, &variables, mac.as_ref(), id, message);
        if let Some(ids) = self.ids {
            message[..2].copy_from_slice(&ids.header.to_be_bytes());
        }
        self.continue_after(mac.as_ref());
    }

    /// Verifies the next message, and takes the record out of it.
    ///
    /// # Errors
    /// What is wrong; the message is as it was.
    pub fn verify(&mut self, message: &mut Vec<u8>, now: u64) -> Result<(), Why> {
        let Some(signature) = find(message)? else {
            if self.first {
                return Err(Why::Unsigned);
            }
            if self.unsigned == MOST_UNSIGNED {
                return Err(Why::TooManyUnsigned);
            }
            self.unsigned += 1;
            self.context.update(message);
            return Ok(());
        };
        // An error of the other side that it could not sign.
        match signature.variables.error {
            17 => return Err(Why::Key),
            16 => return Err(Why::Signature),
            _ => {}
        }
        if signature.key != self.key.name || signature.algorithm != self.key.algorithm.wire() {
            return Err(Why::Key);
        }
        let stripped = stripped(message, &signature);
        let mac = self.mac_of(&[&stripped], &signature.variables);
        judge(&self.key, mac.as_ref(), &signature.mac)?;
        if signature.variables.error == 18 || !signature.variables.is_now(now) {
            return Err(Why::Time);
        }
        self.continue_after(&signature.mac);
        *message = stripped;
        Ok(())
    }

    /// Whether a sequence may end here: with a signed message.
    ///
    /// # Errors
    /// When it may not.
    pub fn end(&self) -> Result<(), Why> {
        match self.unsigned {
            0 => Ok(()),
            _ => Err(Why::Unsigned),
        }
    }

    fn mac_of(&self, message: &[&[u8]], variables: &Variables) -> hmac::Tag {
        let mut context = self.context.clone();
        for part in message {
            context.update(part);
        }
        match self.first {
            true => variables.sign(&self.key, &mut context),
            false => variables.sign_times(&mut context),
        }
        context.sign()
    }

    fn continue_after(&mut self, mac: &[u8]) {
        self.context = with_mac(&self.key, mac);
        self.first = false;
        self.unsigned = 0;
    }
}

/// Verifies a request: the chain of its answers, and the message without the record. None when it is not signed.
/// `size` is what we take over UDP, in octets, and `now` in seconds since 1970.
pub(super) fn verify_request(
    keys: &Keys,
    message: &[u8],
    size: u16,
    now: u64,
) -> Result<Option<(Chain, Vec<u8>)>, Rejected> {
    let Some(signature) = find(message).map_err(|_| Rejected::Malformed)? else {
        return Ok(None);
    };
    let key = keys
        .get(&signature.key)
        .filter(|key| signature.algorithm == key.algorithm.wire());
    let Some(key) = key else {
        return Err(signature.rejected_unsigned(Why::Key));
    };
    let stripped = stripped(message, &signature);
    let mut context = hmac::Context::with_key(&key.hmac);
    context.update(&stripped);
    signature.variables.sign(key, &mut context);
    let mac = context.sign();
    let judged = judge(key, mac.as_ref(), &signature.mac);
    let in_time = signature.variables.is_now(now);
    let why = match judged {
        Ok(()) if in_time => {
            let chain = Chain::after(key, &signature, message);
            return Ok(Some((chain, stripped)));
        }
        Ok(()) => Why::Time,
        Err(Why::Malformed) => return Err(Rejected::Malformed),
        Err(Why::Cut) => Why::Cut,
        Err(why) => return Err(signature.rejected_unsigned(why)),
    };
    Err(signature.rejected_signed(key, message, (size, now), why))
}

impl Signature {
    /// RFC 8945, 5.3.2: what has no good key cannot be signed.
    fn rejected_unsigned(self, why: Why) -> Rejected {
        let variables = Variables {
            error: why.code(),
            other: Vec::new(),
            ..self.variables
        };
        let mut record = Vec::new();
        let id = self.original_id;
        write(
            (&self.key, &self.algorithm),
            &variables,
            &[],
            id,
            &mut record,
        );
        Rejected::Wrong(record, why)
    }

    fn rejected_signed(
        self,
        key: &Arc<Key>,
        request: &[u8],
        (size, now): (u16, u64),
        why: Why,
    ) -> Rejected {
        let variables = Variables {
            error: why.code(),
            other: match why {
                Why::Time => now.to_be_bytes()[2..].to_vec(),
                _ => Vec::new(),
            },
            ..self.variables
        };
        let mut answer = error_answer(request, rcode::NOTAUTH, size);
        answer[..2].copy_from_slice(&self.original_id.to_be_bytes());
        let mac = Chain::after(key, &self, request).mac_of(&[&answer], &variables);
        let mut record = Vec::new();
        let id = self.original_id;
        write(
            (&self.key, &self.algorithm),
            &variables,
            mac.as_ref(),
            id,
            &mut record,
        );
        Rejected::Wrong(record, why)
    }
}

impl Rejected {
    /// The whole answer to the request; `size` as before.
    pub(super) fn answer(self, request: &[u8], size: u16) -> Vec<u8> {
        match self {
            Self::Malformed => error_answer(request, rcode::FORMERR, size),
            Self::Wrong(record, _) => {
                let mut answer = error_answer(request, rcode::NOTAUTH, size);
                answer.extend_from_slice(&record);
                answer[11] += 1;
                answer
            }
        }
    }
}

impl Variables {
    fn is_now(&self, now: u64) -> bool {
        now.abs_diff(self.time) <= u64::from(self.fudge)
    }

    /// RFC 8945, 4.3.3.
    fn sign(&self, key: &Key, context: &mut hmac::Context) {
        context.update(&key.name);
        // The class ANY and a TTL of 0.
        context.update(&[0, 255, 0, 0, 0, 0]);
        context.update(key.algorithm.wire());
        self.sign_times(context);
        context.update(&self.error.to_be_bytes());
        context.update(&(self.other.len() as u16).to_be_bytes());
        context.update(&self.other);
    }

    fn sign_times(&self, context: &mut hmac::Context) {
        context.update(&self.time.to_be_bytes()[2..]);
        context.update(&self.fudge.to_be_bytes());
    }
}

fn with_mac(key: &Key, mac: &[u8]) -> hmac::Context {
    let mut context = hmac::Context::with_key(&key.hmac);
    context.update(&(mac.len() as u16).to_be_bytes());
    context.update(mac);
    context
}

/// Compares signatures. Those that were cut are not accepted, and told apart from those that cannot be any
/// (RFC 8945, 5.2.2.1).
fn judge(key: &Key, expected: &[u8], found: &[u8]) -> Result<(), Why> {
    let whole = key.length();
    if found.len() > whole || found.len() < 10.max(whole / 2) {
        return Err(Why::Malformed);
    }
    let same = bool::from(expected[..found.len()].ct_eq(found));
    match (same, found.len() == whole) {
        (true, true) => Ok(()),
        (true, false) => Err(Why::Cut),
        (false, _) => Err(Why::Signature),
    }
}

/// Finds the record, which is the last.
fn find(message: &[u8]) -> Result<Option<Signature>, Why> {
    let read = Message::from_octets(message).map_err(|_| Why::Malformed)?;
    let mut records = read.additional().map_err(|_| Why::Malformed)?;
    loop {
        let start = records.pos();
        let Some(record) = records.next() else {
            return Ok(None);
        };
        let record = record.map_err(|_| Why::Malformed)?;
        if record.rtype().to_int() != TSIG {
            continue;
        }
        let last = records.next().is_none();
        if !last || record.class() != Class::ANY {
            return Err(Why::Malformed);
        }
        let record = record.to_record::<Tsig<&[u8], ParsedName<&[u8]>>>();
        let record = record.map_err(|_| Why::Malformed)?.ok_or(Why::Malformed)?;
        let data = record.data();
        let wire = |name: &ParsedName<&[u8]>| {
            let name = name.to_name::<Vec<u8>>();
            name.into_octets().to_ascii_lowercase()
        };
        let mut time = [0; 8];
        time[2..].copy_from_slice(&data.time_signed().into_octets());
        return Ok(Some(Signature {
            start,
            key: Name::from(&*wire(record.owner())),
            algorithm: wire(data.algorithm()),
            mac: data.mac().to_vec(),
            original_id: data.original_id(),
            variables: Variables {
                time: u64::from_be_bytes(time),
                fudge: data.fudge(),
                error: data.error().to_int(),
                other: data.other().to_vec(),
            },
        }));
    }
}

/// The ID in the header of a message that has one.
fn id_of(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

/// The message as it was before it was signed.
fn stripped(message: &[u8], signature: &Signature) -> Vec<u8> {
    let mut stripped = message[..signature.start].to_vec();
    stripped[..2].copy_from_slice(&signature.original_id.to_be_bytes());
    let count = u16::from_be_bytes([stripped[10], stripped[11]]).saturating_sub(1);
    stripped[10..12].copy_from_slice(&count.to_be_bytes());
    stripped
}

/// Appends a record to a message.
fn append(key: &Key, variables: &Variables, mac: &[u8], id: u16, message: &mut Vec<u8>) {
    write(
        (&key.name, key.algorithm.wire()),
        variables,
        mac,
        id,
        message,
    );
    let count = u16::from_be_bytes([message[10], message[11]]).saturating_add(1);
    message[10..12].copy_from_slice(&count.to_be_bytes());
}

/// Writes a record (RFC 8945, 4.2).
fn write(
    (key, algorithm): (&[u8], &[u8]),
    variables: &Variables,
    mac: &[u8],
    id: u16,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(key);
    out.extend_from_slice(&TSIG.to_be_bytes());
    out.extend_from_slice(&[0, 255, 0, 0, 0, 0]);
    let length = algorithm.len() + 16 + mac.len() + variables.other.len();
    out.extend_from_slice(&(length as u16).to_be_bytes());
    out.extend_from_slice(algorithm);
    out.extend_from_slice(&variables.time.to_be_bytes()[2..]);
    for (field, rest) in [
        (variables.fudge, &[][..]),
        (mac.len() as u16, mac),
        (id, &[]),
        (variables.error, &[]),
        (variables.other.len() as u16, &variables.other),
    ] {
        out.extend_from_slice(&field.to_be_bytes());
        out.extend_from_slice(rest);
    }
}

/// An answer without records, with the question where there is one that can be read, and an OPT record where the request
/// has one (RFC 6891, 7). `size` is what we take over UDP, in octets.
pub(super) fn error_answer(request: &[u8], code: u16, size: u16) -> Vec<u8> {
    let Some(mut header) = Header::read(request) else {
        return Vec::new();
    };
    let question = question(request).unwrap_or_default();
    header.flags = header.flags.echoed();
    header.flags.0 |= code & 0x0F;
    let opt = Message::from_octets(request)
        .ok()
        .and_then(|message| message.opt());
    let additionals = u16::from(opt.is_some());
    header.counts = [u16::from(!question.is_empty()), 0, 0, additionals];
    let mut answer = vec![0; HEADER];
    header.write(&mut answer);
    answer.extend_from_slice(question);
    if let Some(opt) = opt {
        let flags = if opt.dnssec_ok() { WANTS_DNSSEC } else { 0 };
        answer.extend_from_slice(&opt_record(size, code, flags, 0));
    }
    answer
}

/// The question as it came.
pub(super) fn question(message: &[u8]) -> Option<&[u8]> {
    let mut name = crate::wire::QueryName::default();
    let rest = message.get(HEADER..)?;
    let end = name.read(rest)?;
    rest.get(..end + 4)
}

#[cfg(test)]
mod tests;
