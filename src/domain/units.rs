//! Numbers with a unit, so that one cannot be taken for another.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

/// A number of model tokens, billed or estimated. Not a number of characters: there is no `From<usize>`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenCount(u64);

impl TokenCount {
    /// Takes a number that already counts tokens.
    #[must_use]
    pub const fn new(tokens: u64) -> Self {
        Self(tokens)
    }

    /// Returns the number of tokens.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl Add for TokenCount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for TokenCount {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for TokenCount {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Add::add)
    }
}

impl fmt::Display for TokenCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An amount of money, counted in millionths of a millionth of a US dollar: a token of the cheapest model costs 20,000 of them, so
/// that sums are exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Usd(u64);

impl Usd {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Takes a number of dollars; less than nothing is nothing.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, which is what is wanted")]
    pub fn new(dollars: f64) -> Self {
        Self((dollars * 1e12).round() as u64)
    }

    /// Returns the number of dollars.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact up to 9,000 dollars, and to a cent far beyond")]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e12
    }

    /// Takes a number of millionths of a millionth.
    #[must_use]
    pub const fn from_parts(parts: u64) -> Self {
        Self(parts)
    }

    /// Returns the number of millionths of a millionth.
    #[must_use]
    pub const fn parts(self) -> u64 {
        self.0
    }

    /// Returns so many times the amount.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// Returns what is left when `other` is taken away.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Usd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Usd {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Usd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Dollars with cents, and below a dollar with as many digits as show two that count.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zeros = 12_usize.saturating_sub(self.0.checked_ilog10().map_or(12, |digits| digits as usize));
        let digits = if self.0 == 0 { 2 } else { (zeros + 1).clamp(2, 12) };
        write!(f, "${:.digits$}", self.dollars())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_with_cents_or_with_two_digits_that_count() {
        let check = |dollars, shown: &str| assert_eq!(Usd::new(dollars).to_string(), shown);
        check(0.0, "$0.00");
        check(1234.5, "$1234.50");
        check(1.0, "$1.00");
        check(0.25, "$0.25");
        check(0.0123, "$0.012");
        check(0.000_000_02, "$0.000000020");
        check(-1.0, "$0.00");
        assert_eq!(format!("{}", Usd::from_parts(1)), "$0.000000000001");
    }

    #[test]
    fn sums_are_exact_and_do_not_overflow() {
        let tenth: Usd = std::iter::repeat_n(Usd::new(0.000_000_1), 1_000_000).sum();
        assert_eq!(tenth, Usd::new(0.1));
        assert_eq!(Usd::new(1e30) + Usd::new(1.0), Usd::new(f64::MAX));
        assert_eq!(Usd::new(1.0).less(Usd::new(2.0)), Usd::ZERO);
        assert_eq!(Usd::new(0.5).times(3), Usd::new(1.5));
    }
}
