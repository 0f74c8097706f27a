//! Request bodies, compared with a model's JSON schema in the service's words.
//!
//! The service runs a Java schema validator in front of the models and strings its findings together without a
//! separator: `Malformed input request: #: required key [a] not found#: extraneous key [b] is not permitted, please …`.

use serde_json::{Map, Value};

use super::response::Refusal;

/// The members of a request, and what is wrong with them so far.
///
/// Readers take a member out and give back something usable either way: what they found wrong is in the list, and
/// [`finish`](Self::finish) refuses the request if there is any.
pub(super) struct Members {
    /// Where they are in the request, as `#` or `#/singleEmbeddingParams`.
    place: String,
    members: Map<String, Value>,
    violations: Vec<String>,
}

impl Members {
    /// Begins with all of a request.
    pub(super) fn of(request: Value) -> Result<Self, Refusal> {
        match request {
            Value::Object(members) => Ok(Self { place: "#".to_owned(), members, violations: Vec::new() }),
            other => Err(malformed(&[wrong_type("#", "JSONObject", &other)])),
        }
    }

    /// Notes members that are missing, then members that have no business here.
    pub(super) fn expect(&mut self, required: &[&str], optional: &[&str]) {
        let missing = required.iter().filter(|key| !self.members.contains_key(**key));
        let place = &self.place;
        self.violations.extend(missing.map(|key| format!("{place}: required key [{key}] not found")));
        let known = |key: &str| required.contains(&key) || optional.contains(&key);
        let extraneous = self.members.keys().filter(|key| !known(key));
        self.violations.extend(extraneous.map(|key| format!("{place}: extraneous key [{key}] is not permitted")));
    }

    /// Notes a member that is missing although others make it required.
    pub(super) fn demand(&mut self, key: &str) {
        if !self.has(key) {
            self.note(format!("{}: required key [{key}] not found", self.place));
        }
    }

    /// Notes a violation.
    pub(super) fn note(&mut self, violation: impl Into<String>) {
        self.violations.push(violation.into());
    }

    /// Says whether the request has this member.
    pub(super) fn has(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    /// Takes an object and reads its members; what is wrong with them is wrong with the request.
    pub(super) fn object<T>(&mut self, key: &str, read: impl FnOnce(&mut Members) -> T) -> Option<T> {
        match self.members.remove(key)? {
            Value::Object(members) => {
                let mut inner = Self { place: self.at(key), members, violations: Vec::new() };
                let taken = read(&mut inner);
                self.violations.append(&mut inner.violations);
                Some(taken)
            }
            other => self.wrong(wrong_type(&self.at(key), "JSONObject", &other)),
        }
    }

    /// Takes a text of 1 to `max` characters.
    pub(super) fn text(&mut self, key: &str, max: usize) -> String {
        match self.members.remove(key) {
            Some(Value::String(text)) => {
                // Without the place, unlike everything else: so it is recorded for the one text of a Titan request.
                self.violations.extend(wrong_length(&text, max));
                text
            }
            Some(other) => self.wrong(wrong_type(&self.at(key), "String", &other)),
            None => String::new(),
        }
    }

    /// Takes 1 to `max_items` texts of 1 to `max` characters each.
    pub(super) fn texts(&mut self, key: &str, max_items: usize, max: usize) -> Vec<String> {
        let place = self.at(key);
        let items = match self.members.remove(key) {
            Some(Value::Array(items)) => items,
            Some(other) => return self.wrong(wrong_type(&place, "JSONArray", &other)),
            None => return Vec::new(),
        };
        if items.is_empty() {
            self.note(format!("{place}: expected minimum item count: 1, found: 0"));
        } else if items.len() > max_items {
            self.note(format!("{place}: expected maximum item count: {max_items}, found: {}", items.len()));
        }
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => {
                    self.violations.extend(wrong_length(&text, max).map(|wrong| format!("{place}/{index}: {wrong}")));
                    texts.push(text);
                }
                other => self.note(wrong_type(&format!("{place}/{index}"), "String", &other)),
            }
        }
        texts
    }

    /// Takes one of the names in `choices`; the first where there is none.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> T {
        match self.members.remove(key) {
            Some(value) => self.chosen(&self.at(key), &value, choices),
            None => choices[0].1,
        }
    }

    /// Takes a list of names in `choices`, each at most once; `None` where there is no list.
    pub(super) fn choices<T: Copy + PartialEq>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<Vec<T>> {
        let place = self.at(key);
        let items = match self.members.remove(key)? {
            Value::Array(items) => items,
            other => return self.wrong(wrong_type(&place, "JSONArray", &other)),
        };
        if items.is_empty() {
            self.note(format!("{place}: expected minimum item count: 1, found: 0"));
        }
        let mut chosen = Vec::with_capacity(choices.len());
        for (index, item) in items.iter().enumerate() {
            let choice = self.chosen(&format!("{place}/{index}"), item, choices);
            if !chosen.contains(&choice) {
                chosen.push(choice);
            }
        }
        Some(chosen)
    }

    /// Takes one of the numbers `allowed`; the first where there is none.
    pub(super) fn number(&mut self, key: &str, allowed: &[usize]) -> usize {
        let place = self.at(key);
        let Some(value) = self.members.remove(key) else { return allowed[0] };
        if !value.is_u64() && !value.is_i64() {
            return self.wrong(wrong_type(&place, "Integer", &value));
        }
        let found = allowed.iter().find(|&&number| value.as_u64() == Some(number as u64));
        if found.is_none() {
            self.note(format!("{place}: {value} is not a valid enum value"));
        }
        found.copied().unwrap_or_default()
    }

    /// Takes a whole number of at least 1; `None` where there is none.
    pub(super) fn at_least_one(&mut self, key: &str) -> Option<u64> {
        let place = self.at(key);
        let value = self.members.remove(key)?;
        match value.as_u64() {
            Some(number @ 1..) => Some(number),
            _ if value.is_u64() || value.is_i64() => self.wrong(format!("{place}: {value} is not greater or equal to 1")),
            _ => self.wrong(wrong_type(&place, "Integer", &value)),
        }
    }

    /// Takes a truth value; `default` where there is none.
    pub(super) fn flag(&mut self, key: &str, default: bool) -> bool {
        match self.members.remove(key) {
            Some(Value::Bool(flag)) => flag,
            Some(other) => self.wrong(wrong_type(&self.at(key), "Boolean", &other)),
            None => default,
        }
    }

    /// Refuses the request if anything was wrong with it.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        if self.violations.is_empty() { Ok(()) } else { Err(malformed(&self.violations)) }
    }

    fn at(&self, key: &str) -> String {
        format!("{}/{key}", self.place)
    }

    fn chosen<T: Copy>(&mut self, place: &str, value: &Value, choices: &[(&str, T)]) -> T {
        match value.as_str() {
            None => self.note(wrong_type(place, "String", value)),
            Some(name) => match choices.iter().find(|(known, _)| *known == name) {
                Some((_, choice)) => return *choice,
                None => self.note(format!("{place}: {name} is not a valid enum value")),
            },
        }
        choices[0].1
    }

    fn wrong<T: Default>(&mut self, violation: String) -> T {
        self.note(violation);
        T::default()
    }
}

/// A body that is not JSON at all.
pub(super) fn not_json() -> Refusal {
    Refusal::validation("Malformed input request, please reformat your input and try again.")
}

fn malformed(violations: &[String]) -> Refusal {
    Refusal::validation(format!("Malformed input request: {}, please reformat your input and try again.", violations.concat()))
}

fn wrong_type(place: &str, expected: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "Null",
        Value::Bool(_) => "Boolean",
        Value::Number(number) if number.is_f64() => "BigDecimal",
        Value::Number(_) => "Integer",
        Value::String(_) => "String",
        Value::Array(_) => "JSONArray",
        Value::Object(_) => "JSONObject",
    };
    format!("{place}: expected type: {expected}, found: {found}")
}

/// Lengths are counted in characters. Counting is skipped where even the bytes are few enough.
fn wrong_length(text: &str, max: usize) -> Option<String> {
    if text.is_empty() {
        return Some("expected minLength: 1, actual: 0".to_owned());
    }
    let characters = if text.len() > max { text.chars().count() } else { 0 };
    (characters > max).then(|| format!("expected maxLength: {max}, actual: {characters}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(request: Value, read: impl FnOnce(&mut Members), violations: &str) {
        let mut members = Members::of(request).unwrap();
        read(&mut members);
        let expected = format!("Malformed input request: {violations}, please reformat your input and try again.");
        assert_eq!(members.finish().unwrap_err().message, expected);
    }

    #[test]
    fn violations_are_strung_together() {
        let read = |members: &mut Members| {
            members.expect(&["inputText"], &["dimensions"]);
            members.number("dimensions", &[1024, 512]);
        };
        check(
            json!({"x": 1, "dimensions": 3}),
            read,
            "#: required key [inputText] not found#: extraneous key [x] is not permitted#/dimensions: 3 is not a valid enum value",
        );
    }

    #[test]
    fn a_wrong_type_is_named_as_java_names_it() {
        check(json!({"t": []}), |m| drop(m.text("t", 9)), "#/t: expected type: String, found: JSONArray");
        check(json!({"t": 1.5}), |m| drop(m.texts("t", 9, 9)), "#/t: expected type: JSONArray, found: BigDecimal");
        check(json!({"t": ["a", null]}), |m| drop(m.texts("t", 9, 9)), "#/t/1: expected type: String, found: Null");
        check(json!({"t": "yes"}), |m| _ = m.flag("t", true), "#/t: expected type: Boolean, found: String");
        check(json!({"t": {}}), |m| _ = m.number("t", &[1]), "#/t: expected type: Integer, found: JSONObject");
        check(json!({"t": 0}), |m| _ = m.at_least_one("t"), "#/t: 0 is not greater or equal to 1");
    }

    #[test]
    fn what_is_wrong_inside_an_object_is_placed_there() {
        let read = |members: &mut Members| {
            members.object("inner", |inner| {
                inner.expect(&["a"], &["b"]);
                inner.number("b", &[1]);
            });
        };
        check(
            json!({"inner": {"b": 2, "c": 3}}),
            read,
            "#/inner: required key [a] not found#/inner: extraneous key [c] is not permitted#/inner/b: 2 is not a valid enum value",
        );
        check(json!({"inner": 1}), read, "#/inner: expected type: JSONObject, found: Integer");
    }

    #[test]
    fn a_length_is_counted_in_characters() {
        let read = |members: &mut Members| drop(members.texts("t", 9, 3));
        check(json!({"t": ["äöü", "äöüß"]}), read, "#/t/1: expected maxLength: 3, actual: 4");
    }

    #[test]
    fn a_request_that_is_no_object_is_refused() {
        let refusal = Members::of(json!([])).err().unwrap();
        assert!(refusal.message.contains("#: expected type: JSONObject, found: JSONArray"), "{}", refusal.message);
    }
}
