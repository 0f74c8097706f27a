//! When a tool is used, and with what: arguments are filled in from the request after the tool's JSON schema.

use serde_json::{Map, Value, json};

use super::content::Block;
use super::extractive_answer;
use super::question::Prompt;
use super::request::{Choice, Conversation, Tool};

/// Deeper schemas are filled with `null`: one that refers to itself has no bottom.
const MAX_DEPTH: usize = 16;

/// Returns the tool that the request asks for: the one it must use, or one that the last turn names. A turn that brings what a
/// tool found is answered in words.
pub(super) fn pick<'a>(conversation: &'a Conversation, prompt: &Prompt) -> Option<&'a Tool> {
    let tools = conversation.tools.as_ref()?;
    match &tools.choice {
        Choice::Tool(name) => tools.specs.iter().find(|tool| tool.name == *name),
        Choice::Any => tools.specs.iter().find(|tool| names(&prompt.question, tool)).or(tools.specs.first()),
        Choice::Auto => {
            let last = conversation.messages.last()?;
            let answered = last.content.iter().any(|block| matches!(block, Block::ToolResult { .. }));
            tools.specs.iter().find(|tool| !answered && names(&prompt.question, tool))
        }
    }
}

/// Says whether a text names a tool, as it is spelt or in words: `get_weather` or *get the weather*.
fn names(text: &str, tool: &Tool) -> bool {
    let (text, name) = (text.to_lowercase(), tool.name.to_lowercase());
    let mut words = name.split(['_', '-']).filter(|word| word.len() > 2).peekable();
    text.contains(&name) || (words.peek().is_some() && words.all(|word| text.contains(word)))
}

/// Fills a JSON schema with what the request says. The value fits the schema's types, enumerations and required members; bounds
/// of numbers and lengths are kept where they are beside the type.
pub(super) fn fill(schema: &Value, prompt: &Prompt) -> Value {
    let text = extractive_answer::answer(&prompt.question, &prompt.data);
    let numbers = || {
        let all =
            std::iter::once(&prompt.question).chain(&prompt.data).flat_map(|text| text.split(|c: char| !c.is_ascii_digit()));
        all.filter_map(|digits| digits.parse::<i64>().ok())
    };
    Filler { root: schema, text: &text, number: numbers().next().unwrap_or(1) }.value(schema, 0)
}

struct Filler<'a> {
    root: &'a Value,
    text: &'a str,
    number: i64,
}

impl Filler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema["$ref"].as_str().and_then(|at| self.root.pointer(at.strip_prefix('#')?)) {
            return self.value(target, depth + 1);
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(choices) = schema["enum"].as_array().filter(|choices| !choices.is_empty()) {
            let said = choices.iter().find(|choice| choice.as_str().is_some_and(|choice| self.text.contains(choice)));
            return said.unwrap_or(&choices[0]).clone();
        }
        if let Some(first) = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].as_array()?.first()) {
            return self.value(first, depth + 1);
        }
        let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
        match kind.unwrap_or(if schema["properties"].is_object() { "object" } else { "string" }) {
            "object" => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                let filled: Map<_, _> = properties.map(|(name, inner)| (name.clone(), self.value(inner, depth + 1))).collect();
                Value::Object(filled)
            }
            "array" => {
                let items = usize::try_from(schema["minItems"].as_u64().unwrap_or(1)).unwrap_or(1).clamp(1, 16);
                Value::Array(vec![self.value(&schema["items"], depth + 1); items])
            }
            "integer" => json!(self.number.clamp(bound(schema, "minimum", i64::MIN), bound(schema, "maximum", i64::MAX))),
            "number" => {
                let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
                #[expect(clippy::cast_precision_loss, reason = "any number of the right size will do")]
                let number = (self.number as f64).max(low.unwrap_or(f64::MIN)).min(high.unwrap_or(f64::MAX));
                json!(number)
            }
            "boolean" => json!(true),
            "null" => Value::Null,
            _ => {
                let most = schema["maxLength"].as_u64().and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
                Value::String(self.text.chars().take(most).collect())
            }
        }
    }
}

fn bound(schema: &Value, key: &str, otherwise: i64) -> i64 {
    schema[key].as_i64().unwrap_or(otherwise)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(question: &str, data: &str) -> Prompt {
        Prompt { question: question.to_owned(), data: vec![data.to_owned()], ..Prompt::default() }
    }

    #[test]
    fn arguments_fit_the_schema_and_come_from_the_request() {
        let schema = json!({"type": "object", "properties": {
            "where": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}, "unit": {"enum": ["F", "C"]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}, "deep": {"properties": {"yes": {"type": "boolean"}}}
        }, "$defs": {"tag": {"type": "string", "maxLength": 5}}});
        let filled = fill(&schema, &prompt("What is the weather in Oslo?", "Oslo has rain for 12 days."));
        let expected =
            json!({"where": "Oslo has rain for 12 days.", "days": 7, "unit": "F", "tags": ["Oslo "], "deep": {"yes": true}});
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({"type": "object", "properties": {"inner": {"$ref": "#"}}});
        assert!(fill(&schema, &prompt("a", "b"))["inner"].is_object());
        assert_eq!(fill(&json!({"$ref": "#"}), &prompt("a", "b")), Value::Null);
    }

    #[test]
    fn a_tool_is_named_as_it_is_spelt_or_in_words() {
        let tool = Tool { name: "get_weather".to_owned(), description: String::new(), schema: Value::Null };
        for (text, named) in [("use get_weather", true), ("Please get me the weather", true), ("What is for lunch?", false)] {
            assert_eq!(names(text, &tool), named, "{text}");
        }
    }
}
