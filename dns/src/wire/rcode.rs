//! Response codes.

/// It went well.
pub const NOERROR: u16 = 0;
/// The query cannot be understood.
pub const FORMERR: u16 = 1;
/// We cannot answer by our own doing.
pub const SERVFAIL: u16 = 2;
/// There is no such name.
pub const NXDOMAIN: u16 = 3;
/// This kind of query is not served.
pub const NOTIMP: u16 = 4;
/// Not ours to answer.
pub const REFUSED: u16 = 5;
/// The name that a DNAME record makes is too long (RFC 6672, 2.2).
pub const YXDOMAIN: u16 = 6;
/// Not an authority, or a signature is wrong (RFC 8945, 5.2).
pub const NOTAUTH: u16 = 9;
/// The version of EDNS is not known (RFC 6891, 6.1.3); its upper bits stand in the OPT record.
pub const BADVERS: u16 = 16;
/// The cookie is missing or not ours (RFC 7873, 8).
pub const BADCOOKIE: u16 = 23;

/// The name of a code, for metrics and people.
pub fn name(code: u16) -> &'static str {
    match code {
        NOERROR => "NOERROR",
        FORMERR => "FORMERR",
        SERVFAIL => "SERVFAIL",
        NXDOMAIN => "NXDOMAIN",
        NOTIMP => "NOTIMP",
        REFUSED => "REFUSED",
        YXDOMAIN => "YXDOMAIN",
        NOTAUTH => "NOTAUTH",
        BADVERS => "BADVERS",
        BADCOOKIE => "BADCOOKIE",
        _ => "OTHER",
    }
}
