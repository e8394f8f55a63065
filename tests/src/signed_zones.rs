//! Zones that are signed, and a server for them.

use std::fs;

use crate::name_server::NameServer;
use crate::validator::ds_records;

/// A signed zone with a delegation to a signed zone and one to a zone that is not, all on this server.
pub fn zones(algorithm: &str, child_ds: &str, more: &str) -> String {
    format!(
        r#"
[dnssec]
keys = "keys"

[[zone]]
name = "example.test"
file = "example.zone"
dnssec = {{ algorithm = "{algorithm}" {more} }}

[[zone.record]]
name = "geo"
type = "A"
policy = "sites"

[[zone.record]]
name = "*.geo"
type = "A"
policy = "sites"

{child_ds}

[[zone]]
name = "secure.example.test"
ns = ["ns"]
dnssec = {{ algorithm = "{algorithm}" }}
record = [
    {{ name = "ns", type = "A", values = ["127.0.0.1"] }},
    {{ name = "www", type = "A", values = ["192.0.2.81"] }},
]

[[zone]]
name = "insecure.example.test"
ns = ["ns"]
record = [
    {{ name = "ns", type = "A", values = ["127.0.0.1"] }},
    {{ name = "www", type = "A", values = ["192.0.2.82"] }},
]

[[site]]
name = "west"

[[site]]
name = "east"

[geo]
networks = {{ "198.51.100.0/24" = "east" }}
default = "west"

[policy.sites.private]
endpoints = [
    {{ address = "192.0.2.91", site = "west" }},
    {{ address = "192.0.2.92", site = "east" }},
]
"#
    )
}

/// Their names.
pub const ZONES: [&str; 3] = [
    "example.test.",
    "secure.example.test.",
    "insecure.example.test.",
];

/// The records of the first.
pub const ZONE: &str = r#"
$TTL 60
@ SOA ns hostmaster 1 1h 1h 1h 30
@ NS ns
@ MX 10 www
@ CAA 0 issue "ca.example"
@ TXT "in" "two"
ns A 127.0.0.1
www A 192.0.2.1
www A 192.0.2.2
www AAAA 2001:db8::1
WwW TXT "Some Text"
_sip._tcp SRV 1 2 5060 WWW
long NAPTR 10 10 "S" "SIP+D2U" "" Www
https HTTPS 1 . alpn=h2,h3
alias CNAME WWW
chain CNAME alias
outside CNAME www.elsewhere.test.
towild CNAME one.wild
tonowhere CNAME nowhere
a.between A 192.0.2.3
*.wild A 192.0.2.4
*.wild MX 5 www
there.wild A 192.0.2.5
*.also CNAME www
tree DNAME forest
a.forest A 192.0.2.6
totree CNAME a.tree
secure NS ns.secure
ns.secure A 127.0.0.1
insecure NS ns.insecure
ns.insecure A 127.0.0.1
"#;

/// A server that signs them by an algorithm.
///
/// # Panics
/// When it does not start.
pub async fn server(algorithm: &str) -> NameServer {
    let configuration = zones(algorithm, "", "");
    NameServer::start(&configuration, |folder| {
        fs::write(folder.join("example.zone"), ZONE).expect("it is there");
    })
    .await
}

/// Lets another process take over.
pub const HANDOVER: &str = "handover = { socket = \"dns.sock\" }\n";

/// The DS records of their keys.
pub fn ds(server: &NameServer) -> Vec<String> {
    ds_records(&server.folder.path().join("dns.toml"))
}

/// Lets the parent have the DS records of its child.
///
/// # Panics
/// When there are none.
pub async fn delegate(server: &NameServer, algorithm: &str) {
    let ds = ds(server);
    let child = ds.iter().find(|record| record.starts_with("secure."));
    let data = child
        .expect("it is there")
        .split_once(" DS ")
        .expect("it is there")
        .1;
    let record =
        format!("[[zone.record]]\nname = \"secure\"\ntype = \"DS\"\nvalues = [\"{data}\"]\n");
    server.configure(&zones(algorithm, &record, ""));
    assert_eq!(server.admin.reload().await.status, 200);
}
