//! A vector as the text that the service sent, checked once.

use serde_json::value::RawValue;

/// A vector of finite numbers of the length that was asked for, as a JSON array without white space.
///
/// The numbers are never parsed and printed again: that costs more than the rest of a call together, and would change the text.
#[derive(Debug, Clone)]
pub struct Vector(Box<RawValue>);

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
    /// Something that is no finite 32-bit float.
    #[error("element {index} of a vector is no finite 32-bit number")]
    NotFinite {
        /// Where it stands, from 0.
        index: usize,
    },
    /// Something that is no array.
    #[error("a vector is no array of numbers")]
    NotAnArray,
}

impl Vector {
    /// Checks a vector's text in one pass and keeps it.
    ///
    /// # Errors
    /// When it is no array of `dimensions` numbers that are finite as `f32`.
    pub fn check(numbers: &RawValue, dimensions: u32) -> Result<Self, BadVector> {
        let text = numbers.get();
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or(BadVector::NotAnArray)?;
        let found = count(inner.as_bytes())?;
        if usize::try_from(dimensions) != Ok(found) {
            return Err(BadVector::Length { found, expected: dimensions });
        }
        if inner.bytes().any(|byte| byte.is_ascii_whitespace()) {
            let compact = text.chars().filter(|character| !character.is_ascii_whitespace()).collect();
            return Ok(Self(RawValue::from_string(compact).expect("an array of numbers without its white space")));
        }
        Ok(Self(numbers.to_owned()))
    }

    /// Returns the JSON array.
    #[must_use]
    pub fn as_raw(&self) -> &RawValue {
        &self.0
    }
}

/// Counts the numbers between the brackets of an array. One pass over the bytes: a vector has some twenty thousand.
fn count(inner: &[u8]) -> Result<usize, BadVector> {
    if inner.trim_ascii().is_empty() {
        return Ok(0);
    }
    let mut found = 0;
    let mut start = 0;
    let mut is_plain = true;
    for (at, byte) in inner.iter().enumerate() {
        match byte {
            b'0'..=b'9' | b'.' | b'-' => {}
            b',' => {
                end(&inner[start..at], is_plain, found)?;
                (found, start, is_plain) = (found + 1, at + 1, true);
            }
            _ => is_plain = false,
        }
    }
    end(&inner[start..], is_plain, found)?;
    Ok(found + 1)
}

/// Holds one element to being a number that `f32` holds. JSON has no infinities, but `1e39` is one as `f32`.
fn end(number: &[u8], is_plain: bool, index: usize) -> Result<(), BadVector> {
    // `f32::MAX` has 39 digits: a number of fewer characters and no exponent is within.
    if is_plain && (1..39).contains(&number.len()) {
        return Ok(());
    }
    let number = std::str::from_utf8(number.trim_ascii()).ok().and_then(|number| number.parse::<f32>().ok());
    if number.is_some_and(f32::is_finite) { Ok(()) } else { Err(BadVector::NotFinite { index }) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, dimensions: u32) -> Result<String, BadVector> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        Vector::check(&raw, dimensions).map(|vector| vector.as_raw().get().to_owned())
    }

    #[test]
    fn numbers_pass_through_as_they_were_sent() {
        assert_eq!(check("[0.10,-1E-7,3,-0.0]", 4).unwrap(), "[0.10,-1E-7,3,-0.0]");
        assert_eq!(check("[1,\n 2]", 2).unwrap(), "[1,2]");
    }

    #[test]
    fn a_vector_of_another_length_is_refused() {
        assert_eq!(check("[1,2]", 3), Err(BadVector::Length { found: 2, expected: 3 }));
        assert_eq!(check("[]", 1), Err(BadVector::Length { found: 0, expected: 1 }));
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        for bad in ["[1,null]", "[1,\"NaN\"]", "[1,[2]]", "[1,1e39]", "[1,-1e400]", "[1,{}]", "[1,true]"] {
            assert_eq!(check(bad, 2), Err(BadVector::NotFinite { index: 1 }), "{bad}");
        }
        let long = format!("[1,{}]", "9".repeat(39));
        assert_eq!(check(&long, 2), Err(BadVector::NotFinite { index: 1 }));
        assert_eq!(check("{\"a\":1}", 1), Err(BadVector::NotAnArray));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_finite_vector_passes(numbers in proptest::collection::vec(any::<f32>().prop_filter("finite", |n| n.is_finite()), 1..50)) {
            let text = serde_json::to_string(&numbers).unwrap();
            prop_assert_eq!(check(&text, u32::try_from(numbers.len()).unwrap()).unwrap(), text);
        }
    }
}
