//! A packet of DNS: any bytes are answered without a panic, never for longer than the client takes,
//! what is answered can be read by somebody else, and in a batch it is the same.
#![no_main]

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use chassis::config::load;
use dns::answer::{
    Choice, Choose, Client, Limits, Options, Pending, PolicyId, Snapshot, compile_signed,
};
use dns::dnssec::{Algorithm, Key, Role, Signatures, Signers, Times, ZoneSigner};
use dns::guard::{CookieSecret, Cookies};
use dns::wire::QueryName;
use dns::{Config, zone};
use domain::base::Message;
use libfuzzer_sys::fuzz_target;

const CONFIG: &str = r#"
[admin]
address = "127.0.0.1:0"
[[zone]]
name = "example"
file = "example.zone"
[[zone.record]]
name = "near"
type = "A"
policy = "any"
[[zone]]
name = "sub.example"
ns = ["ns1.example."]
"#;

const ZONE: &str = r#"
$TTL 1h
@ SOA ns1 host 1 2 3 4 5
@ NS ns1
ns1 A 192.0.2.1
a MX 10 a
a A 192.0.2.2
b CNAME a
*.w MX 10 x.w
*.w CAA 0 issue "x"
*.c CNAME a
d NS ns.d
ns.d A 192.0.2.3
e DNAME d.e.f.test.
big TXT "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
big TXT "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
big TXT "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
"#;

#[derive(Debug)]
struct Any;

impl Choose for Any {
    fn policy(&self, _: &str) -> Option<PolicyId> {
        Some(PolicyId(0))
    }
    fn names(&self) -> Vec<String> {
        Vec::new()
    }
    fn variants(&self, _: PolicyId, _: u16) -> Vec<Vec<Vec<u8>>> {
        vec![vec![vec![192, 0, 2, 1]], vec![]]
    }
    fn choose(&self, _: PolicyId, _: u16, client: Client) -> Choice {
        let variant = Some(u32::from(client.prefix) % 4);
        Choice { variant, scope: client.prefix, site: None }
    }
}

fn snapshot() -> Snapshot {
    let folder = std::env::temp_dir().join(format!("dns-packet-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("there is room for a folder");
    let path = folder.join("dns.toml");
    std::fs::write(folder.join("example.zone"), ZONE).expect("it can be written");
    std::fs::write(&path, CONFIG).expect("it can be written");
    let mut loaded = load::<Config>(&path).expect("it is sound");
    let read = zone::read(&loaded.config.zone, &mut loaded.sources);
    assert!(read.mistakes.is_empty(), "{:?}", read.mistakes);
    let key = |role| {
        let pkcs8 = Algorithm::Ed25519.generate().expect("there are random numbers");
        Arc::new(Key::new(role, Algorithm::Ed25519, &pkcs8).expect("it was just made"))
    };
    let times = Times { now: 1_800_000_000, validity: 1000, refresh: 100 };
    // The first zone is signed; the one below it is not.
    let made = Arc::new(Signatures::default());
    let apex = read.zones[0].apex.clone();
    let signer = ZoneSigner::new(apex, vec![key(Role::Ksk)], key(Role::Zsk), times, made);
    // Few enough for the limit to be met too.
    let signers = Signers::new(vec![Some(Arc::new(signer)), None], 20_000);
    compile_signed(&read.zones, &signers, Arc::new(Any)).expect("it is sound")
}

fuzz_target!(|packet: &[u8]| {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    static COOKIES: OnceLock<Cookies> = OnceLock::new();
    let snapshot = SNAPSHOT.get_or_init(snapshot);
    let cookies = COOKIES.get_or_init(|| {
        let secret = CookieSecret::from_hex("e5e973e5a6b2a43f48e7dc849e37bfcf");
        Cookies::shared(vec![secret.expect("it is one")], false)
    });
    let mut name = QueryName::default();
    let mut out = [0; 65_535];
    for tcp in [false, true] {
        let options = Options { cookies: Some(cookies), now: 1_559_731_985, identity: b"fuzz" };
        let keepalive = tcp.then_some(100);
        let limits = Limits { tcp, padded: tcp, keepalive, options, ..Limits::udp(1232) };
        let client = IpAddr::from([192, 0, 2, 53]);
        let answer = snapshot.respond(packet, client, limits, &mut name, &mut out);
        let mut batch = [Pending::default(), Pending::default()];
        batch[1].read(packet);
        let mut again = vec![0; 65_535];
        let in_batch = snapshot.look_up(&mut batch).respond(1, packet, client, limits, &mut again);
        assert_eq!(in_batch, answer);
        assert_eq!(again[..answer.len], out[..answer.len]);
        if answer.len == 0 {
            assert!(packet.len() < 12 || packet[2] & 0x80 != 0, "only responses get silence");
            continue;
        }
        assert!(tcp || answer.len <= 1232);
        let said = &out[..answer.len];
        assert_eq!(said[..2], packet[..2]);
        assert!(said[2] & 0x80 != 0, "it is a response");
        let message = Message::from_octets(said).expect("it has a header");
        let (_, answers, authorities, additionals) = message.sections().expect("it can be read");
        let records = answers.chain(authorities).chain(additionals);
        let counts = message.header_counts();
        let told = usize::from(counts.ancount()) + usize::from(counts.nscount()) + usize::from(counts.arcount());
        let mut found = 0;
        for record in records {
            let record = record.expect("every record can be read");
            let record = record.to_record::<domain::rdata::AllRecordData<_, _>>();
            record.expect("its data too");
            found += 1;
        }
        assert_eq!(found, told);
    }
});
