//! Smooth weighted round robin, written out once as a list of turns.
//!
//! nginx's algorithm: at each turn every member gains its weight, the one with
//! the most is chosen and loses the sum of all weights. So {5, 1, 1} gives
//! a a b a c a a, and never a a a a a b c. Doing it ahead makes a pick one
//! addition, without a lock.

/// The longest list; weights are scaled down to fit.
const MAX_TURNS: u64 = 4096;

/// The turns of members with these weights; weight 0 gets none.
pub fn turns(weights: &[u32]) -> Box<[u32]> {
    let weights = reduce(weights);
    let total: i64 = weights.iter().sum();
    let mut gained = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            for (gain, weight) in gained.iter_mut().zip(&weights) {
                *gain += weight;
            }
            let mut chosen = 0;
            for member in 1..weights.len() {
                if gained[member] > gained[chosen] {
                    chosen = member;
                }
            }
            gained[chosen] -= total;
            u32::try_from(chosen).unwrap_or(0)
        })
        .collect()
}

/// The smallest weights of the same proportions, rounded when the list would be too long.
fn reduce(weights: &[u32]) -> Vec<i64> {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    let total: u64 = weights
        .iter()
        .map(|weight| u64::from(weight / divisor))
        .sum();
    weights
        .iter()
        .map(|weight| {
            let reduced = u64::from(weight / divisor);
            let fitted = match (total > MAX_TURNS, reduced) {
                (false, _) | (_, 0) => reduced,
                (true, _) => (reduced * MAX_TURNS / total).max(1),
            };
            i64::try_from(fitted).unwrap_or(1)
        })
        .collect()
}

fn gcd(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => gcd(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heavy_members_are_spread() {
        assert_eq!(*turns(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*turns(&[500, 100, 100]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*turns(&[1, 1]), [0, 1]);
        assert_eq!(*turns(&[0, 3]), [1]);
        assert!(turns(&[0, 0]).is_empty());
        assert!(turns(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn everyone_gets_the_own_share(weights in prop::collection::vec(0u32..30, 1..8)) {
            let list = turns(&weights);
            let divisor = weights.iter().copied().fold(0, gcd).max(1);
            for (member, weight) in weights.iter().enumerate() {
                let count = list.iter().filter(|turn| **turn as usize == member).count();
                prop_assert_eq!(count, (weight / divisor) as usize);
            }
        }

        #[test]
        fn the_list_stays_short(weights in prop::collection::vec(0u32..1_000_000, 1..50)) {
            let list = turns(&weights);
            prop_assert!(list.len() <= MAX_TURNS as usize + weights.len());
            for (member, weight) in weights.iter().enumerate() {
                prop_assert_eq!(*weight > 0, list.contains(&u32::try_from(member).unwrap()));
            }
        }
    }
}
