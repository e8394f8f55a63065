//! Which of several servers has a key.

use std::sync::Arc;

use super::server::Server;

/// The server of a key: the one with the highest score (Thaler and Ravishankar, 1998). When a server goes, its keys alone
/// move, and evenly.
pub(super) fn owner<'a>(servers: &'a [Arc<Server>], key: &str) -> Option<&'a Arc<Server>> {
    match servers {
        [one] => Some(one),
        _ => servers
            .iter()
            .max_by_key(|server| score(server.name(), key)),
    }
}

/// The same in every process and version: FNV-1a over both, then the finaliser of `SplitMix64`, because the
/// upper bits of the former alone are too alike.
fn score(server: &str, key: &str) -> u64 {
    let bytes = server.bytes().chain([0]).chain(key.bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best<'a>(servers: &[&'a str], key: &str) -> &'a str {
        servers
            .iter()
            .max_by_key(|server| score(server, key))
            .expect("there is one")
    }

    #[test]
    fn keys_are_dealt_out_evenly_and_only_those_of_a_server_that_goes_move() {
        let all = ["a:6379", "b:6379", "c:6379", "d:6379"];
        let mut counts = [0; 4];
        for number in 0..40_000 {
            let key = format!("tidegate:profile:{number}");
            let before = best(&all, &key);
            let place = all.iter().position(|server| *server == before).unwrap();
            counts[place] += 1;
            let after = best(&all[..3], &key);
            assert!(before == "d:6379" || before == after);
        }
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{counts:?}");
        }
    }
}
