//! One small hash for everything the emulator derives from a text.
//!
//! Fixed for good: the same text gives the same vector on every machine and in every build. It has to be fast (a text of
//! 2,000 characters has as many features), not hard to reverse, so it is a multiply-xor fold finished by splitmix64.

/// An odd constant with well spread bits: the golden ratio in 64 bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Takes one more value into a running hash.
pub(super) const fn fold(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(23) ^ value).wrapping_mul(SPREAD)
}

/// Spreads every bit of `hash` over all 64 (the finaliser of splitmix64); never maps two inputs to one output.
pub(super) const fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Returns the hash of a text, eight bytes at a step.
pub(super) fn text(text: &str) -> u64 {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let hash = words.iter().fold(text.len() as u64, |hash, word| fold(hash, u64::from_le_bytes(*word)));
    finish(rest.iter().fold(hash, |hash, &byte| fold(hash, u64::from(byte))))
}

/// An endless row of numbers that follow from `seed` (splitmix64).
pub(super) fn sequence(seed: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |step: u64| finish(seed.wrapping_add(step.wrapping_mul(SPREAD))))
}

/// Returns where in `0..len` a hash falls, from its high half.
pub(super) fn place(hash: u64, len: usize) -> usize {
    // Scaling instead of a remainder: no division, and no bias worth the name below 2^32.
    usize::try_from(((hash >> 32) * len as u64) >> 32).expect("it is below `len`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_text_never_changes() {
        assert_eq!(text("a"), 14_982_829_420_773_881_481);
        assert_eq!(text("riverbed"), 2_204_148_787_928_117_278);
    }

    #[test]
    fn places_are_spread_evenly() {
        let mut places = [0u32; 16];
        sequence(7).take(16_000).for_each(|hash| places[place(hash, 16)] += 1);
        assert!(places.iter().all(|&hits| (800..1200).contains(&hits)), "{places:?}");
    }
}
