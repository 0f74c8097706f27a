//! JSON to the SDK's documents and back. The SDK's own conversion is not in its stable part.

use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value};

/// Returns a JSON object as a document.
pub(super) fn of_object(object: &Map<String, Value>) -> Document {
    Document::Object(object.iter().map(|(name, value)| (name.clone(), of_value(value))).collect())
}

fn of_value(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(bool) => Document::Bool(*bool),
        Value::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Number::PosInt(number),
            (None, Some(number)) => Number::NegInt(number),
            (None, None) => Number::Float(number.as_f64().expect("a number is an integer or a float")),
        }),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(items) => Document::Array(items.iter().map(of_value).collect()),
        Value::Object(object) => of_object(object),
    }
}

/// Returns a document as JSON.
pub(super) fn to_value(document: Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(bool) => Value::Bool(bool),
        Document::Number(Number::PosInt(number)) => number.into(),
        Document::Number(Number::NegInt(number)) => number.into(),
        // What is no number in JSON cannot have come out of any; it is `null` then, as JSON has it.
        Document::Number(Number::Float(number)) => number.into(),
        Document::String(text) => Value::String(text),
        Document::Array(items) => items.into_iter().map(to_value).collect(),
        Document::Object(object) => Value::Object(object.into_iter().map(|(name, inner)| (name, to_value(inner))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_kind_of_value_comes_back_as_it_went() {
        let value = json!({"a": null, "b": [true, false, {}], "c": {"d": "text", "e": []},
                           "f": [0, u64::MAX, -1, i64::MIN, 0.5, -1e300, 1.0]});
        assert_eq!(to_value(of_object(value.as_object().unwrap())), value);
    }
}
