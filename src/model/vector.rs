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
        let mut found = 0;
        if !inner.trim_ascii().is_empty() {
            for (index, number) in inner.split(',').enumerate() {
                if !is_finite(number.as_bytes()) {
                    return Err(BadVector::NotFinite { index });
                }
                found = index + 1;
            }
        }
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

/// Returns whether a JSON value's text is a number that `f32` holds. JSON has no infinities, but `1e39` is one as `f32`.
fn is_finite(number: &[u8]) -> bool {
    let number = number.trim_ascii();
    // `f32::MAX` has 39 digits: a number of fewer characters and no exponent is within.
    let plain = |byte: &u8| byte.is_ascii_digit() || *byte == b'.' || *byte == b'-';
    if (1..39).contains(&number.len()) && number.iter().all(plain) {
        return true;
    }
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<f32>().ok());
    number.is_some_and(f32::is_finite)
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
