//! Property test: any conversation becomes a valid request with every word of it, or an error that names the field.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::validator::{Refuses, validate};
use super::*;

/// The models, with what each refuses, as the service says it.
fn models() -> Vec<(&'static str, Refuses)> {
    let mistral = || Refuses { prefill: true, text_beside_results: true, cache_points: true, ..Refuses::default() };
    vec![
        (CLAUDE, Refuses { temperature_with_top_p: true, prefill_ending_in_white_space: true, ..Refuses::default() }),
        (CLAUDE_5, Refuses { sampling: true, top_k: true, prefill: true, forced_tools: true, ..Refuses::default() }),
        (NOVA, Refuses { more_stop_sequences_than: Some(4), ..Refuses::default() }),
        (
            "amazon.nova-micro-v1:0",
            Refuses { images: true, documents: true, more_stop_sequences_than: Some(4), ..Refuses::default() },
        ),
        (LLAMA, Refuses { images: true, forced_tools: true, top_k: true, cache_points: true, ..Refuses::default() }),
        (MISTRAL, Refuses { top_k: true, ..mistral() }),
        (MISTRAL_7B, Refuses { system: true, images: true, tools: true, ..mistral() }),
    ]
}

/// A text that often says nothing, has odd characters, or ends in white space.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zß漢 ]{1,12}[a-z]",
        1 => Just(String::new()),
        1 => Just(" \n\t".to_owned()),
        1 => "[a-z]{1,5}[ \n]",
        1 => any::<String>(),
    ]
}

fn content(is_user: bool) -> BoxedStrategy<Value> {
    let part = || {
        let text = (text(), option::weighted(0.1, Just(json!({"type": "ephemeral"})))).prop_map(|(text, cache)| {
            let mut part = json!({"type": "text", "text": text});
            if let Some(cache) = cache {
                part["cache_control"] = cache;
            }
            part
        });
        if !is_user {
            return text.boxed();
        }
        prop_oneof![
            6 => text,
            1 => Just(json!({"type": "image_url", "image_url": {"url": GIF}})),
            1 => Just(json!({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}})),
        ]
        .boxed()
    };
    prop_oneof![3 => text().prop_map(Value::String), 1 => Just(Value::Null), 2 => vec(part(), 0..5).prop_map(Value::Array)]
        .boxed()
}

/// A few messages that belong together: what one says, or calls with all their results, in any order and with others between.
fn passage() -> impl Strategy<Value = Vec<Value>> {
    let said =
        |role: &'static str, is_user| content(is_user).prop_map(move |content| vec![json!({"role": role, "content": content})]);
    let results = vec((text(), "[a-z|]{1,3}"), 1..4).prop_flat_map(|results| Just(results).prop_shuffle());
    let calls = (content(false), results, option::of(text()), any::<u32>()).prop_map(|(content, results, between, number)| {
        let id = |name: &str, place: usize| format!("{name}-{number}-{place}");
        let calls = results.iter().enumerate().map(|(place, (_, name))| {
            json!({"id": id(name, place), "type": "function", "function": {"name": "look", "arguments": "{\"at\": [1, 2.5]}"}})
        });
        let mut messages = vec![json!({"role": "assistant", "content": content, "tool_calls": calls.collect::<Vec<_>>()})];
        messages.extend(between.map(|text| json!({"role": "developer", "content": text})));
        let results = results.iter().enumerate().rev();
        messages.extend(results.map(
            |(place, (text, name))| json!({"role": "tool", "tool_call_id": id(name, place), "content": format!("found {text}")}),
        ));
        messages
    });
    prop_oneof![
        4 => said("user", true),
        3 => said("assistant", false),
        1 => said("system", false),
        1 => said("developer", false),
        2 => calls,
    ]
}

fn parameters() -> impl Strategy<Value = Value> {
    let tools = prop_oneof![3 => Just(json!([tool("look"), tool("go")])), 1 => Just(Value::Null)];
    let choice = prop_oneof![
        6 => Just(Value::Null),
        1 => Just(json!("auto")),
        1 => Just(json!("none")),
        1 => Just(json!("required")),
        1 => Just(json!({"type": "function", "function": {"name": "go"}})),
    ];
    (
        tools,
        choice,
        option::weighted(0.2, 0.0..=1.2_f64),
        option::weighted(0.2, 0.0..=1.0_f64),
        option::weighted(0.1, 1..200_u32),
        option::weighted(0.5, 1..5000_u32),
        vec("[a-z\n]{0,2}", 0..6),
        option::weighted(0.2, text()),
    )
        .prop_map(|(tools, choice, temperature, top_p, top_k, max_tokens, stop, system)| {
            json!({"tools": tools, "tool_choice": choice, "temperature": temperature, "top_p": top_p, "top_k": top_k,
                   "max_tokens": max_tokens, "stop": stop, "system": system})
        })
}

fn conversation() -> impl Strategy<Value = Value> {
    (vec(passage(), 0..8), parameters()).prop_map(|(passages, mut conversation)| {
        conversation["messages"] = passages.into_iter().flatten().collect();
        conversation
    })
}

/// Returns every text below a value that says something, sorted: of the wanted field, or of all that are plain content.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                match inner {
                    Value::String(text) if ["text", "content", "system"].contains(&name.as_str()) => found.push(text.clone()),
                    _ if ["tools", "toolConfig", "stop"].contains(&name.as_str()) => {}
                    _ => texts(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn all_texts(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    texts(value, &mut found);
    found.retain(|text| text.chars().any(|character| !character.is_whitespace() && !character.is_control()));
    found.sort();
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_conversation_keeps_the_rules_and_its_words_or_is_refused_by_name(conversation in conversation()) {
        for (model, refuses) in models() {
            match ask(model, &conversation, &Settings::default()) {
                Ok(request) => {
                    prop_assert_eq!(validate(&request, &refuses), Ok(()), "{} {}", model, request);
                    prop_assert_eq!(all_texts(&request), all_texts(&conversation), "{} {}", model, request);
                }
                Err(error) => {
                    let field = error.split_once(": ").unwrap().0;
                    let name = field.split(['[', '.']).next().unwrap();
                    prop_assert!(name == "messages" || conversation.get(name).is_some(), "{} {}", model, error);
                }
            }
        }
    }

    #[test]
    fn an_ordinary_conversation_is_taken_by_every_model(
        texts in vec("[a-z]{1,9}", 1..9), instructions in vec("[a-z]{1,9}", 0..3), max_tokens in 16..4096_u32,
    ) {
        let role = |place: usize| if (texts.len() - place) % 2 == 1 { "user" } else { "assistant" };
        let messages = texts.iter().enumerate().map(|(place, text)| json!({"role": role(place), "content": text}));
        // The user begins, and has the last word.
        let messages = [json!({"role": "user", "content": "Hello"})].into_iter().chain(messages);
        for (model, refuses) in models() {
            let instructions = instructions.iter().filter(|_| !refuses.system).map(|text| json!({"role": "system", "content": text}));
            let messages: Vec<_> = instructions.chain(messages.clone()).collect();
            let request = ask(model, &json!({"messages": messages, "max_tokens": max_tokens}), &Settings::default());
            prop_assert_eq!(request.and_then(|request| validate(&request, &refuses)), Ok(()));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..200), cut in 0..400_usize) {
        drop(Conversation::parse(&bytes));
        let whole = with(json!({"tools": [tool("look")], "stop": ["x"]})).to_string();
        drop(Conversation::parse(&whole.as_bytes()[..cut.min(whole.len())]));
    }
}

#[test]
fn a_good_share_of_the_conversations_is_taken() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let conversations = (0..300).map(|_| conversation().new_tree(&mut runner).unwrap().current());
    let taken = conversations.filter(|conversation| ask(NOVA, conversation, &Settings::default()).is_ok()).count();
    assert!((60..240).contains(&taken), "{taken} of 300");
}

#[test]
fn the_validator_finds_what_it_is_there_for() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let broken = |messages: Value| json!({"messages": messages, "inferenceConfig": {"maxTokens": 1}});
    let used = json!({"toolUse": {"toolUseId": "a", "name": "look", "input": {}}});
    for (messages, rule) in [
        (json!([]), "is empty"),
        (json!([{"role": "assistant", "content": [{"text": "x"}]}]), "user begins"),
        (json!([user(json!([{"text": "x"}])), user(json!([{"text": "y"}]))]), "alternate"),
        (json!([user(json!([{"text": " "}]))]), "blank"),
        (json!([user(json!([]))]), "is empty"),
        (json!([user(json!([{"text": "x"}])), {"role": "assistant", "content": [used]}]), "without results"),
        (
            json!([user(json!([{"text": "x"}])), {"role": "assistant", "content": [used]}, user(json!([{"text": "y"}]))]),
            "expected toolResult",
        ),
        (json!([user(json!([{"document": {"format": "pdf", "name": "d", "source": {"bytes": "AA=="}}}]))]), "text block"),
    ] {
        let error = validate(&broken(messages), &Refuses::default()).unwrap_err();
        assert!(error.contains(rule), "{error}");
    }
    assert_eq!(validate(&broken(json!([user(json!([{"text": "x"}]))])), &Refuses::default()), Ok(()));
}
