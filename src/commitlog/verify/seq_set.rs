//! The set of sequence numbers seen so far.

use std::collections::BTreeMap;

/// Numbers, as the ranges that they make: one range where all came in order.
#[derive(Debug, Default)]
pub(super) struct SeqSet {
    /// First to last number of each range; no two touch.
    ranges: BTreeMap<u64, u64>,
}

impl SeqSet {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.ranges.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    pub(super) fn insert(&mut self, number: u64) {
        if self.contains(number) {
            return;
        }
        let (mut first, mut last) = (number, number);
        if let Some((before, before_last)) = self.ranges.range(..number).next_back().map(|(first, last)| (*first, *last))
            && before_last + 1 == number
        {
            first = before;
        }
        if let Some(after_last) = self.ranges.remove(&(number + 1)) {
            last = after_last;
        }
        self.ranges.insert(first, last);
    }

    /// Returns the ranges up to a number that have not come.
    pub(super) fn gaps(&self, to: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut next = 1;
        for (first, last) in &self.ranges {
            if *first > next {
                gaps.push((next, (*first - 1).min(to)));
            }
            next = last + 1;
        }
        gaps.push((next, to));
        gaps.retain(|(first, last)| first <= last);
        gaps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_set(numbers in prop::collection::vec(1..40_u64, 0..60), to in 0..45_u64) {
            let mut seen = SeqSet::default();
            let set: BTreeSet<_> = numbers.iter().copied().collect();
            for number in numbers {
                seen.insert(number);
            }
            prop_assert!((1..50).all(|number| seen.contains(number) == set.contains(&number)));
            let missing: Vec<_> = seen.gaps(to).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(missing, (1..=to).filter(|number| !set.contains(number)).collect::<Vec<_>>());
            let is_apart = |(one, next): (&u64, &u64)| *one + 1 < *next;
            prop_assert!(seen.ranges.values().zip(seen.ranges.keys().skip(1)).all(is_apart));
        }
    }
}
