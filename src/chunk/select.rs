//! Chooses the boundaries; the rules are in the [module above](super).

use std::collections::VecDeque;

use super::boundary::{Border, Rank};

/// Reads borders in order and passes on those to cut at. What it keeps spans little more than one limit, however long the text.
#[derive(Debug)]
pub(super) struct Cutter {
    /// The greatest weight between two cuts.
    limit: u64,
    /// How far around it a border must be the highest.
    reach: u64,
    /// Weight before the last cut.
    last: u64,
    /// The borders since the last cut.
    waiting: VecDeque<Border>,
    /// Weight and rank of those of the last `reach` that no later one outranks, hence from the highest to the lowest.
    ridge: VecDeque<(u64, Rank)>,
    /// The border that outranks all of `reach` before it and, so far, all after it.
    peak: Option<u64>,
}

impl Cutter {
    /// Begins a text, whose start counts as the first cut.
    pub(super) fn new(limit: u64) -> Self {
        let ridge = VecDeque::from([(0, Rank::EDGE)]);
        Self { limit, reach: limit / 6, last: 0, waiting: VecDeque::new(), ridge, peak: None }
    }

    /// Takes the next border and passes on what is now known to be a cut.
    pub(super) fn push(&mut self, border: Border, mut cut: impl FnMut(Border)) {
        self.advance(border.weight, border.rank, &mut cut);
        self.waiting.push_back(border);
    }

    /// Ends a text of `weight` and passes on the cuts that are left. The end itself is none of them.
    pub(super) fn finish(&mut self, weight: u64, mut cut: impl FnMut(Border)) {
        self.advance(weight, Rank::EDGE, &mut cut);
        self.fill(weight, &mut cut);
    }

    fn advance(&mut self, weight: u64, rank: Rank, cut: &mut impl FnMut(Border)) {
        if let Some(peak) = self.peak.take_if(|peak| weight - *peak > self.reach) {
            self.fill(peak, cut);
            if self.last < peak {
                let position = self.waiting.partition_point(|border| border.weight < peak);
                self.take(position, cut);
            }
        }
        // All peaks before this are settled, so there is none to wait for, and memory to spare.
        self.fill(weight.saturating_sub(self.reach), cut);

        while self.ridge.pop_front_if(|(old, _)| weight - *old > self.reach).is_some() {}
        while self.ridge.pop_back_if(|(_, lower)| *lower < rank).is_some() {}
        if self.ridge.is_empty() {
            self.peak = Some(weight);
        }
        self.ridge.push_back((weight, rank));
    }

    /// Cuts until what is left before `weight` keeps to the limit (rule 2).
    fn fill(&mut self, weight: u64, cut: &mut impl FnMut(Border)) {
        while weight.saturating_sub(self.last) > self.limit && !self.waiting.is_empty() {
            let middle = self.waiting.partition_point(|border| border.weight <= self.last + self.limit / 2);
            let end = self.waiting.partition_point(|border| border.weight <= self.last + self.limit);
            // Of equals the first, for which `max_by_key` must go backwards. Only a unit that cannot be divided leaves no choice.
            let highest = (middle..end).rev().max_by_key(|&position| self.waiting[position].rank);
            self.take(highest.unwrap_or(end.saturating_sub(1)), cut);
        }
    }

    /// Cuts at one of the waiting borders and forgets those before it.
    fn take(&mut self, position: usize, cut: &mut impl FnMut(Border)) {
        if let Some(border) = self.waiting.drain(..=position).next_back() {
            self.last = border.weight;
            cut(border);
        }
    }
}
