//! A vector as the text that the service sent, checked once.

use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

/// A vector of the length and of the numbers that were asked for, as a JSON array without white space.
///
/// The numbers are never parsed and printed again: that costs more than the rest of a call together, and would change the text. Clones
/// share the text: it is what every chunk with the same text gets.
#[derive(Debug, Clone)]
pub struct Vector(Arc<RawValue>);

/// What the numbers of a vector are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Finite as `f32`.
    Float,
    /// Integers from -128 to 127: a quantised number each, or eight bits.
    Int8,
    /// Integers from 0 to 255: a quantised number each, or eight bits.
    Uint8,
    /// 0 or 1.
    Bit,
}

/// Says what is wrong with a vector.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadVector {
    /// Another length than the model was asked for.
    #[error("a vector has {found} numbers instead of {expected}")]
    Length {
        /// Numbers in the vector.
        found: usize,
        /// Numbers asked for.
        expected: u32,
    },
    /// Something else than the numbers that were asked for.
    #[error("element {index} of a vector is no {expected}")]
    Element {
        /// Its index, from 0.
        index: usize,
        /// What should be there.
        expected: Number,
    },
    /// Something that is no array.
    #[error("a vector is no array of numbers")]
    NotAnArray,
}

impl Vector {
    /// Checks a vector's text in one pass and keeps it.
    ///
    /// # Errors
    /// When it is no array of `length` such numbers.
    pub fn check(text: &RawValue, length: u32, number: Number) -> Result<Self, BadVector> {
        let inner = text.get().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(BadVector::NotAnArray)?;
        let mut elements = Elements { inner: inner.as_bytes(), number, found: 0, start: 0, is_small: true, is_spaced: false };
        if !inner.trim_ascii().is_empty() {
            elements.scan()?;
        }
        if usize::try_from(length) != Ok(elements.found) {
            return Err(BadVector::Length { found: elements.found, expected: length });
        }
        if elements.is_spaced {
            let compact = text.get().chars().filter(|character| !character.is_ascii_whitespace()).collect();
            return Ok(Self(RawValue::from_string(compact).expect("an array of numbers without its white space").into()));
        }
        Ok(Self(text.to_owned().into()))
    }

    /// Returns the JSON array.
    #[must_use]
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }
}

/// The elements of an array, as far as they have been seen.
///
/// That the text is JSON is known, so what begins like a number is one, and only the commas and the exponents need to be found.
/// That is done eight bytes at a time, because a vector has some twenty thousand: four times as fast as a look at each byte.
struct Elements<'a> {
    inner: &'a [u8],
    number: Number,
    found: usize,
    /// Where the element begins that is being read.
    start: usize,
    /// Whether that element has no exponent, or one below zero.
    is_small: bool,
    is_spaced: bool,
}

impl Elements<'_> {
    fn scan(&mut self) -> Result<(), BadVector> {
        let (words, rest) = self.inner.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            let mut stops = stops(u64::from_le_bytes(*word));
            while stops != 0 {
                self.stop(index * 8 + stops.trailing_zeros() as usize / 8)?;
                stops &= stops - 1;
            }
        }
        for (index, byte) in (words.len() * 8..).zip(rest) {
            if is_stop(*byte) {
                self.stop(index)?;
            }
        }
        self.end(self.inner.len())
    }

    /// Looks at a byte that is no plain part of a number.
    fn stop(&mut self, at: usize) -> Result<(), BadVector> {
        if self.inner[at] == b',' {
            self.end(at)
        } else {
            self.is_small &= self.inner.get(at + 1) == Some(&b'-');
            Ok(())
        }
    }

    /// Ends the element that is being read.
    fn end(&mut self, at: usize) -> Result<(), BadVector> {
        let element = &self.inner[self.start..at];
        let trimmed = element.trim_ascii();
        let fits = match self.number {
            // `f32::MAX` has 39 digits: a number of fewer characters that no exponent makes larger is within.
            Number::Float if self.is_small && trimmed.len() < 39 => matches!(trimmed.first(), Some(b'-' | b'0'..=b'9')),
            // JSON has no infinities, but `1e39` is one as `f32`.
            Number::Float => parsed::<f32>(trimmed).is_some_and(f32::is_finite),
            Number::Int8 => parsed::<i8>(trimmed).is_some(),
            Number::Uint8 => parsed::<u8>(trimmed).is_some(),
            Number::Bit => matches!(trimmed, b"0" | b"1"),
        };
        if !fits {
            return Err(BadVector::Element { index: self.found, expected: self.number });
        }
        self.is_spaced |= trimmed.len() < element.len();
        (self.found, self.start, self.is_small) = (self.found + 1, at + 1, true);
        Ok(())
    }
}

/// A comma, or a byte with the bit that letters and brackets have and digits, signs and points have not.
fn is_stop(byte: u8) -> bool {
    byte == b',' || byte & 0x40 != 0
}

/// Returns eight bytes with the highest bit set in those that are stops, and no other bit.
fn stops(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low_bits = EACH * 0x7f;
    let zero_at_comma = word ^ (EACH * u64::from(b','));
    // No byte carries into the next: without their highest bits two of them add up to 0xfe at most.
    let is_comma = !(((zero_at_comma & low_bits) + low_bits) | zero_at_comma | low_bits);
    is_comma | ((word << 1) & (EACH * 0x80))
}

fn parsed<T: std::str::FromStr>(number: &[u8]) -> Option<T> {
    std::str::from_utf8(number).ok()?.parse().ok()
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Float => "finite 32-bit number",
            Self::Int8 => "integer from -128 to 127",
            Self::Uint8 => "integer from 0 to 255",
            Self::Bit => "bit, which is 0 or 1",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check_as(text: &str, length: u32, number: Number) -> Result<String, BadVector> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        Vector::check(&raw, length, number).map(|vector| vector.as_raw().get().to_owned())
    }

    fn check(text: &str, length: u32) -> Result<String, BadVector> {
        check_as(text, length, Number::Float)
    }

    #[test]
    fn numbers_pass_through_as_they_were_sent() {
        assert_eq!(check("[0.10,-1E-7,3,-0.0]", 4).unwrap(), "[0.10,-1E-7,3,-0.0]");
        assert_eq!(check("[1,\n 2]", 2).unwrap(), "[1,2]");
        assert_eq!(check("[ 1e2 ]", 1).unwrap(), "[1e2]");
        assert_eq!(check_as("[1, -128]", 2, Number::Int8).unwrap(), "[1,-128]");
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        assert_eq!(check("[1,2]", 3), Err(BadVector::Length { found: 2, expected: 3 }));
        assert_eq!(check("[]", 1), Err(BadVector::Length { found: 0, expected: 1 }));
        assert_eq!(check_as("[1,2]", 16, Number::Uint8), Err(BadVector::Length { found: 2, expected: 16 }));
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        let refused = Err(BadVector::Element { index: 1, expected: Number::Float });
        for bad in
            ["[1,null]", "[1,\"NaN\"]", "[1,\"2\"]", "[1,[2]]", "[1,1e39]", "[1,1E+39]", "[1,-1e400]", "[1,{}]", "[1,true]"]
        {
            assert_eq!(check(bad, 2), refused, "{bad}");
        }
        assert_eq!(check(&format!("[1,{}]", "9".repeat(39)), 2), refused);
        assert_eq!(check("{\"a\":1}", 1), Err(BadVector::NotAnArray));
    }

    #[test]
    fn an_integer_out_of_its_bounds_is_refused_and_so_is_one_with_a_point() {
        let bounds = [(Number::Int8, "-128", "127"), (Number::Uint8, "0", "255"), (Number::Bit, "0", "1")];
        for (number, least, most) in bounds {
            check_as(&format!("[{least},{most}]"), 2, number).unwrap();
        }
        for (number, bad) in
            [(Number::Int8, "128"), (Number::Uint8, "-1"), (Number::Bit, "2"), (Number::Int8, "1.0"), (Number::Bit, "null")]
        {
            let refused = Err(BadVector::Element { index: 1, expected: number });
            assert_eq!(check_as(&format!("[0,{bad}]"), 2, number), refused, "{bad}");
        }
    }

    /// Anything that JSON can hold in an array, more often numbers than not.
    fn element() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => any::<f32>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| serde_json::to_string(&n).unwrap()),
            3 => "-?[1-9][0-9]{0,40}(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            1 => Just("[1,2]".to_owned()),
            1 => Just("{\"a\":1,\"b\":2}".to_owned()),
            1 => Just("null".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_finite_vector_passes(numbers in proptest::collection::vec(any::<f32>().prop_filter("finite", |n| n.is_finite()), 1..50)) {
            let text = serde_json::to_string(&numbers).unwrap();
            prop_assert_eq!(check(&text, u32::try_from(numbers.len()).unwrap()).unwrap(), text);
        }

        #[test]
        fn the_first_element_that_is_no_finite_number_is_named(
            elements in proptest::collection::vec(element(), 1..30), space in "[ \n]{0,2}"
        ) {
            let bad = elements.iter().position(|element| !element.parse::<f32>().is_ok_and(f32::is_finite));
            let spaced = format!("[{space}{}]", elements.join(&format!(",{space}")));
            let found = check(&spaced, u32::try_from(elements.len()).unwrap());
            match bad {
                None => prop_assert_eq!(found.unwrap(), format!("[{}]", elements.join(","))),
                Some(index) => prop_assert_eq!(found, Err(BadVector::Element { index, expected: Number::Float })),
            }
        }
    }
}
