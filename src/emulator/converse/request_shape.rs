//! The shape of a Converse request: its members, taken one by one, and the service's words for one that does not fit.
//!
//! Unlike the schemas of the embedding models, which list all that is wrong, the front end stops at the first finding.

use serde_json::{Map, Value};

use crate::emulator::response::Refusal;

/// A value of the request, and where it is: `messages.1.member.role`, counted from 1 as the service's front end does.
pub(super) struct Node {
    place: String,
    value: Value,
}

/// The members of an object.
pub(super) struct Members {
    place: String,
    members: Map<String, Value>,
}

impl Node {
    /// Begins with all of a request.
    pub(super) fn of(request: Value) -> Self {
        Self { place: String::new(), value: request }
    }

    pub(super) fn object(self) -> Result<Members, Refusal> {
        match self.value {
            Value::Object(members) => Ok(Members { place: self.place, members }),
            other => Err(not_convertible(&other, "a structure")),
        }
    }

    /// Takes a union: an object with exactly one member, which says what it is.
    pub(super) fn union(self) -> Result<(String, Node), Refusal> {
        let members = self.object()?;
        let (place, count) = (members.place, members.members.len());
        // The service's own words for a union of two have not been seen.
        let wrong = || constraint(&place, "Member must have exactly one member set");
        let (key, value) = members.members.into_iter().next().filter(|_| count == 1).ok_or_else(wrong)?;
        Ok((key.clone(), Node { place: below(&place, &key), value }))
    }

    pub(super) fn list(self) -> Result<Vec<Node>, Refusal> {
        match self.value {
            Value::Array(items) => {
                let place = self.place;
                let node = |(index, value)| Node { place: format!("{place}.{}.member", index + 1), value };
                Ok(items.into_iter().enumerate().map(node).collect())
            }
            other => Err(not_convertible(&other, "a list")),
        }
    }

    pub(super) fn text(self) -> Result<String, Refusal> {
        match self.value {
            Value::String(text) => Ok(text),
            other => Err(not_convertible(&other, "a String")),
        }
    }

    /// Takes a text of `min` to `max` characters.
    pub(super) fn text_of(self, min: usize, max: usize) -> Result<String, Refusal> {
        let place = self.place.clone();
        let text = self.text()?;
        let length = text.chars().count();
        if length < min {
            return Err(bound(&place, &text, &format!("length greater than or equal to {min}")));
        }
        if length > max {
            return Err(constraint(&place, &format!("Member must have length less than or equal to {max}")));
        }
        Ok(text)
    }

    /// Takes a text of 1 to `max` characters, all of them letters, digits or among `marks`.
    pub(super) fn name(self, max: usize, marks: &str) -> Result<String, Refusal> {
        let place = self.place.clone();
        let name = self.text_of(1, max)?;
        if name.chars().all(|character| character.is_ascii_alphanumeric() || marks.contains(character)) {
            return Ok(name);
        }
        let pattern = format!("Member must satisfy regular expression pattern: [a-zA-Z0-9{marks}]+");
        Err(valued(&place, &name, &pattern))
    }

    /// Takes one of these names.
    pub(super) fn choice(self, choices: &[&'static str]) -> Result<&'static str, Refusal> {
        let place = self.place.clone();
        let found = self.text()?;
        let known = choices.iter().find(|choice| **choice == found);
        known
            .copied()
            .ok_or_else(|| valued(&place, &found, &format!("Member must satisfy enum value set: [{}]", choices.join(", "))))
    }

    pub(super) fn flag(self) -> Result<bool, Refusal> {
        self.value.as_bool().ok_or_else(|| not_convertible(&self.value, "a Boolean"))
    }

    /// Takes a whole number of at least 1.
    pub(super) fn at_least_one(self) -> Result<u64, Refusal> {
        match (self.value.as_u64(), self.value.as_i64()) {
            (Some(number @ 1..), _) => Ok(number),
            (Some(_), _) | (_, Some(_)) => Err(bound(&self.place, &self.value.to_string(), "value greater than or equal to 1")),
            _ => Err(not_convertible(&self.value, "an Integer")),
        }
    }

    /// Takes a number from 0 to 1.
    pub(super) fn share(self) -> Result<f64, Refusal> {
        let number = self.value.as_f64().ok_or_else(|| not_convertible(&self.value, "a Float"))?;
        if number < 0.0 {
            return Err(bound(&self.place, &format!("{number:?}"), "value greater than or equal to 0"));
        }
        if number > 1.0 {
            return Err(bound(&self.place, &format!("{number:?}"), "value less than or equal to 1"));
        }
        Ok(number)
    }

    /// Takes bytes, which are in base64.
    pub(super) fn bytes(self) -> Result<Vec<u8>, Refusal> {
        use base64::Engine as _;
        let text = self.text()?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(text);
        decoded.map_err(|_| serialization("the bytes are not valid base64"))
    }

    /// Takes whatever JSON is here.
    pub(super) fn json(self) -> Value {
        self.value
    }

    /// Refuses what breaks a bound of the service's model.
    pub(super) fn refuse(&self, rule: &str) -> Refusal {
        constraint(&self.place, rule)
    }
}

impl Members {
    /// Takes a member; `None` where there is none, or `null`.
    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let value = self.members.remove(key).filter(|value| !value.is_null())?;
        Some(Node { place: below(&self.place, key), value })
    }

    /// Takes a member that must be there.
    pub(super) fn need(&mut self, key: &str) -> Result<Node, Refusal> {
        self.take(key).ok_or_else(|| constraint(&below(&self.place, key), "Member must not be null"))
    }

    /// Refuses members that nobody took: a name written wrong must not pass for one left out.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(key) => Err(unknown(&self.place, key)),
        }
    }
}

/// A member that the service's model does not have.
pub(super) fn unknown(place: &str, key: &str) -> Refusal {
    let place = if place.is_empty() { "#".to_owned() } else { format!("#/{}", place.replace('.', "/")) };
    Refusal::validation(format!(
        "Malformed input request: {place}: extraneous key [{key}] is not permitted, please reformat your input and try again."
    ))
}

/// A member of a union that the service's model does not have.
pub(super) fn unknown_member(node: &Node, key: &str) -> Refusal {
    let place = node.place.strip_suffix(key).map_or("", |place| place.trim_end_matches('.'));
    unknown(place, key)
}

fn below(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

fn constraint(place: &str, rule: &str) -> Refusal {
    Refusal::validation(format!("1 validation error detected: Value at '{place}' failed to satisfy constraint: {rule}"))
}

fn valued(place: &str, value: &str, rule: &str) -> Refusal {
    Refusal::validation(format!("1 validation error detected: Value '{value}' at '{place}' failed to satisfy constraint: {rule}"))
}

fn bound(place: &str, value: &str, bound: &str) -> Refusal {
    valued(place, value, &format!("Member must have {bound}"))
}

fn not_convertible(found: &Value, wanted: &str) -> Refusal {
    let found = match found {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    };
    serialization(&format!("{found} can not be converted to {wanted}"))
}

fn serialization(message: &str) -> Refusal {
    Refusal::new(hyper::StatusCode::BAD_REQUEST, "SerializationException", message.to_owned())
}
