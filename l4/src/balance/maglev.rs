//! Maglev hashing with weights (Eisenbud et al., NSDI 2016, 3.4): a table that leads from a flow to an endpoint.
//!
//! Two balancers that have the same endpoints have the same table, whatever order they know them in. When an endpoint
//! goes, nearly all others keep their flows.

/// A table of slots, each an endpoint's place in the list that it was built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maglev {
    slots: Box<[u32]>,
}

impl Maglev {
    /// Slots that are enough for some hundred endpoints with shares within 1 %; a prime.
    pub const SLOTS: u32 = 65_537;

    /// A table of so many slots, a prime, for endpoints with a name and a weight each. Weight 0 gets no slot.
    ///
    /// Each endpoint takes its turns in an order of all slots that only its name decides; one whose weight is half of
    /// another's takes half as many.
    pub fn new(endpoints: &[(&str, u32)], slots: u32) -> Self {
        let size = u64::from(slots);
        let most = endpoints.iter().map(|(_, weight)| *weight).max();
        let most = u64::from(most.unwrap_or(0));
        let mut order: Vec<usize> = (0..endpoints.len())
            .filter(|at| endpoints[*at].1 > 0)
            .collect();
        // Not as they are listed: another balancer may list them differently.
        order.sort_unstable_by_key(|at| endpoints[*at].0);
        let mut turns: Vec<Turn> = order
            .iter()
            .map(|at| Turn::new(*at, endpoints[*at], size))
            .collect();
        let mut table = vec![NONE; slots as usize];
        let mut left = if turns.is_empty() { 0 } else { table.len() };
        while left > 0 {
            for turn in &mut turns {
                turn.gained += turn.weight;
                if turn.gained < most {
                    continue;
                }
                turn.gained -= most;
                let slot = turn.next_free(&table, size);
                table[slot] = turn.endpoint;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Self {
            slots: table.into(),
        }
    }

    /// The endpoint of a flow with this hash; none when no endpoint has a weight.
    pub fn get(&self, hash: u64) -> Option<usize> {
        // The upper half of the product: as even as a remainder, without a division.
        let slot = (u128::from(hash) * self.slots.len() as u128) >> 64;
        let endpoint = *self.slots.get(slot as usize)?;
        (endpoint != NONE).then_some(endpoint as usize)
    }

    /// Every slot, for tables that the kernel looks up; [`u32::MAX`] where there is no endpoint.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }
}

const NONE: u32 = u32::MAX;

/// An endpoint that fills its slots.
struct Turn {
    endpoint: u32,
    weight: u64,
    gained: u64,
    at: u64,
    step: u64,
}

impl Turn {
    fn new(endpoint: usize, (name, weight): (&str, u32), slots: u64) -> Self {
        Self {
            endpoint: endpoint as u32,
            weight: weight.into(),
            gained: 0,
            at: stable_hash(name.as_bytes(), 0) % slots,
            step: stable_hash(name.as_bytes(), 1) % (slots - 1) + 1,
        }
    }

    fn next_free(&mut self, table: &[u32], slots: u64) -> usize {
        loop {
            let slot = self.at as usize;
            self.at = (self.at + self.step) % slots;
            if table[slot] == NONE {
                return slot;
            }
        }
    }
}

/// FNV-1a, then the finish of MurmurHash3: the same in every process and version, which a table that two machines
/// share needs. Names come from the configuration, so that nobody chooses collisions.
pub fn stable_hash(bytes: &[u8], seed: u64) -> u64 {
    let begin = 0xCBF2_9CE4_8422_2325 ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = bytes.iter().fold(begin, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    let hash = (hash ^ hash >> 33).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|at| format!("10.0.0.{at}:443")).collect()
    }

    fn table(names: &[String], weight: impl Fn(usize) -> u32) -> Maglev {
        let endpoints: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(at, name)| (&**name, weight(at)))
            .collect();
        Maglev::new(&endpoints, Maglev::SLOTS)
    }

    fn shares(table: &Maglev, count: usize) -> Vec<f64> {
        let mut shares = vec![0.0; count];
        for slot in table.slots() {
            shares[*slot as usize] += 1.0 / table.slots().len() as f64;
        }
        shares
    }

    #[test]
    fn shares_follow_the_weights() {
        let names = names(10);
        let weights = [1, 2, 3, 4, 5, 10, 20, 50, 100, 0];
        let table = table(&names, |at| weights[at]);
        for (share, weight) in shares(&table, 10).into_iter().zip(weights) {
            let want = f64::from(weight) / 195.0;
            assert!((share - want).abs() <= want * 0.02, "{share} for {want}");
        }
    }

    #[test]
    fn few_other_flows_move_when_an_endpoint_goes() {
        let names = names(10);
        let before = table(&names, |_| 1);
        for gone in 0..10 {
            let after = table(&names, |at| u32::from(at != gone));
            let pairs = before.slots().iter().zip(after.slots());
            let moved = pairs.filter(|(before, after)| **before != gone as u32 && before != after);
            let moved = moved.count() as f64 / before.slots().len() as f64;
            assert!(moved <= 0.02, "{moved} of all moved when {gone} went");
        }
    }

    #[test]
    fn hashes_lead_to_every_slot() {
        let table = table(&names(3), |_| 1);
        let mut counts = [0; 3];
        for flow in 0..30_000u32 {
            let endpoint = table
                .get(stable_hash(&flow.to_be_bytes(), 7))
                .expect("there are some");
            counts[endpoint] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_700..10_300).contains(count)),
            "{counts:?}"
        );
        assert!(table.get(u64::MAX).is_some());
        assert_eq!(Maglev::new(&[("a", 0)], 7).get(5), None);
        assert_eq!(Maglev::new(&[], 7).get(5), None);
    }

    proptest! {
        #[test]
        fn the_order_of_the_list_does_not_matter(weights in prop::collection::vec(0u32..20, 1..8), turn in 0usize..8) {
            let names = names(weights.len());
            let list: Vec<_> = names.iter().map(|name| &**name).zip(weights).collect();
            let mut turned = list.clone();
            turned.rotate_left(turn % list.len());
            let (one, other) = (Maglev::new(&list, 251), Maglev::new(&turned, 251));
            for hash in (0..251u64).map(|slot| slot * (u64::MAX / 251) + 9) {
                let one = one.get(hash).map(|at| list[at].0);
                prop_assert_eq!(one, other.get(hash).map(|at| turned[at].0));
            }
        }
    }
}
