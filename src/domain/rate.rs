//! The price row by which a call is billed.

use std::fmt;

/// How urgent a call was, as the service says where it serves several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// The standard one.
    #[default]
    Default,
    /// Cheaper, and served when there is room.
    Flex,
    /// Dearer, and served first.
    Priority,
    /// Bought beforehand.
    Reserved,
    /// A word of the service's that is not known here.
    Other,
}

/// What, beside its tokens, says what a call costs: calls of one rate can be summed up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rate {
    /// The tier that served it.
    pub tier: Tier,
    /// Whether its prompt was so long that the model has a price of its own for it.
    pub is_long: bool,
}

/// Follows the tier where a prompt was long.
const LONG: &str = "+long";

impl Tier {
    /// Reads the service's word.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "" | "default" => Self::Default,
            "flex" => Self::Flex,
            "priority" => Self::Priority,
            "reserved" => Self::Reserved,
            _ => Self::Other,
        }
    }

    /// Returns the service's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Flex => "flex",
            Self::Priority => "priority",
            Self::Reserved => "reserved",
            Self::Other => "other",
        }
    }
}

impl From<Tier> for Rate {
    fn from(tier: Tier) -> Self {
        Self { tier, is_long: false }
    }
}

impl Rate {
    /// Reads what [`to_string`](ToString::to_string) wrote.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (tier, is_long) = text.strip_suffix(LONG).map_or((text, false), |tier| (tier, true));
        Self { tier: Tier::of(tier), is_long }
    }
}

/// `default`, `flex+long`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tier.as_str())?;
        f.write_str(if self.is_long { LONG } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_it_was_written() {
        for tier in [Tier::Default, Tier::Flex, Tier::Priority, Tier::Reserved, Tier::Other] {
            for is_long in [false, true] {
                let rate = Rate { tier, is_long };
                assert_eq!(Rate::of(&rate.to_string()), rate);
            }
        }
        assert_eq!((Rate::of(""), Tier::of("ultrafast")), (Rate::default(), Tier::Other));
    }
}
