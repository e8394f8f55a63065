//! Who serves a client: weighted rendezvous hashing.
//!
//! Every endpoint draws a lot for every client prefix, and the smallest wins. So an endpoint that leaves
//! gives up its own clients alone, and a weight that grows takes only clients that the growth
//! deserves. Nothing but the endpoint's address, its weight and the prefix goes into a lot: processes,
//! restarts and the order of configuration change nothing.
//!
//! D. Thaler, C. Ravishankar, "A name-based mapping scheme for rendezvous", 1996. The weights are by the
//! logarithmic method of C. Schindelhauer, G. Schomaker, "Weighted distributed hash tables", SPAA 2005:
//! the lot is `-ln(u) / weight` for a uniform `u`, which is exponentially distributed, and the smallest of such
//! is a certain one with the probability of its share of the weights.

use std::net::IpAddr;

/// A client prefix, or an endpoint, as a number without a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// A draw for a prefix: the smaller, the better.
pub(super) type Lot = f64;

impl Key {
    /// The key of the prefix of `bits` that a client's address is in.
    pub(super) fn of_prefix(client: IpAddr, bits: [u8; 2]) -> Self {
        match client.to_canonical() {
            IpAddr::V4(address) => {
                let bits = u32::from(bits[0]);
                let kept = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                Self(mix(0x34 << 56 | u64::from(address.to_bits() & kept)))
            }
            IpAddr::V6(address) => {
                let bits = u32::from(bits[1]);
                let kept = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                Self::of_bits(address.to_bits() & kept)
            }
        }
    }

    /// The key of an endpoint.
    pub(super) fn of_endpoint(address: IpAddr) -> Self {
        let bits = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        Self(mix(Self::of_bits(bits).0 ^ ENDPOINTS))
    }

    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    fn of_bits(bits: u128) -> Self {
        Self(mix(mix((bits >> 64) as u64) ^ bits as u64))
    }

    /// The number from 0 that decides over the spill: uniform over prefixes, and independent of lots.
    pub(super) fn spill(self) -> u64 {
        mix(self.0 ^ SPILL)
    }

    /// The hash that an endpoint's lot is made of.
    pub(super) fn draw(self, endpoint: Self) -> u64 {
        mix(self.0 ^ endpoint.0)
    }
}

// Any constants that differ.
const ENDPOINTS: u64 = 0xd1b5_4a32_d192_ed03;
const SPILL: u64 = 0x8cb9_2ba7_2f3d_8dd7;

/// The finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators",
/// OOPSLA 2014), after its increment, so that 0 is not kept.
const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The lot of a hash for `per_weight`, which is 1 / weight.
pub(super) fn lot(hash: u64, per_weight: f64) -> Lot {
    -ln(uniform(hash)) * per_weight
}

/// Whether the lot of a hash is larger than another for certain. It takes no logarithm: -ln u is 1 - u at least. What
/// rounding could turn around is left open.
pub(super) fn is_larger(hash: u64, per_weight: f64, other: Lot) -> bool {
    const ROUNDING: f64 = 1.0 + 1e-9;
    (1.0 - uniform(hash)) * per_weight > other * ROUNDING
}

/// A number between 0 and 1, both excluded.
#[expect(clippy::cast_precision_loss, reason = "52 bits and a half fit into 53")]
fn uniform(hash: u64) -> f64 {
    const STEP: f64 = 1.0 / (1u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) * STEP
}

/// The natural logarithm of a normal positive number, to about 1e-14.
///
/// The standard library's may differ in the last digit between platforms; this one is made of operations that IEEE 754
/// defines to the bit. With x = m * 2^e, sqrt(1/2) <= m < sqrt(2), and s = (m - 1) / (m + 1):
/// ln x = e ln 2 + 2 (s + s^3/3 + s^5/5 + ...) (Abramowitz and Stegun, 4.1.27).
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
    // Moves the exponent so that the mantissa is around 1.
    let moved = x.to_bits() + (1f64.to_bits() - SQRT_HALF);
    let exponent = i32::try_from(moved >> 52).unwrap_or(0) - 1023;
    let m = f64::from_bits((moved & MANTISSA) + SQRT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 1.0 / 15.0;
    for term in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * square + 1.0 / term;
    }
    f64::from(exponent) * std::f64::consts::LN_2 + 2.0 * s * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for step in 1..1_000_000u64 {
            let x = step as f64 / 1_000_000.0;
            assert!(
                (ln(x) - x.ln()).abs() < 1e-13 * x.ln().abs().max(1.0),
                "{x}"
            );
        }
        for hash in [0, 1 << 12, u64::MAX, u64::MAX - (1 << 12)] {
            let lot = lot(hash, 1.0);
            assert!(lot.is_finite() && lot > 0.0, "{hash}: {lot}");
            assert!((lot + uniform(hash).ln()).abs() < 1e-13, "{hash}");
        }
    }

    #[test]
    fn what_is_larger_for_certain_is_larger() {
        let (mut certain, mut larger) = (0, 0);
        // Small lots, where the two are all but the same, and all others.
        let hashes = (0..20_000).map(|number| mix(number) | (u64::MAX << (number % 64)));
        for hash in hashes.chain((0..20_000).map(mix)) {
            let other = lot(mix(hash), 0.5).min(lot(mix(!hash), 1.0) / 8.0);
            let lot = lot(hash, 1.0);
            assert!(!is_larger(hash, 1.0, other) || lot > other, "{hash}");
            assert!(!is_larger(hash, 1.0, lot) && !is_larger(hash, 1.0, Lot::INFINITY));
            certain += usize::from(is_larger(hash, 1.0, other));
            larger += usize::from(lot > other);
        }
        assert!(
            certain > 0 && certain * 10 > larger * 8,
            "{certain} of {larger}"
        );
    }

    #[test]
    fn lots_are_the_same_in_every_version() {
        let client = Key::of_prefix("192.0.2.77".parse().unwrap(), [24, 48]);
        assert_eq!(
            client,
            Key::of_prefix("192.0.2.0".parse().unwrap(), [24, 48])
        );
        assert_eq!(
            client,
            Key::of_prefix("::ffff:192.0.2.1".parse().unwrap(), [24, 48])
        );
        assert_ne!(
            client,
            Key::of_prefix("192.0.3.0".parse().unwrap(), [24, 48])
        );
        let endpoint = Key::of_endpoint("2001:db8::1".parse().unwrap());
        let drawn = lot(client.draw(endpoint), 0.01);
        // A change of these numbers moves every client of every installation.
        assert_eq!(drawn.to_bits(), 4_580_527_464_668_999_327, "{drawn}");
        assert_eq!(client.spill(), 3_891_780_654_338_363_443);
    }
}
