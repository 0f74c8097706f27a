//! Rejected requests, and the field that each error names.

use serde_json::{Value, json};

use super::*;

/// Holds that a request is refused with these words at this field.
fn check(model: &str, conversation: Value, field: &str, words: &str) {
    let error = ask(model, &conversation, &Settings::default()).expect_err(&conversation.to_string());
    let (found, problem) = error.split_once(": ").unwrap();
    assert!(found == field && problem.contains(words), "expected {field}: …{words}…, found {error}");
}

fn check_messages(model: &str, messages: Value, field: &str, words: &str) {
    let mut conversation = said(messages);
    conversation["tools"] = json!([tool("look")]);
    check(model, conversation, field, words);
}

/// Holds that a part of the user's is refused.
fn check_part(model: &str, part: Value, field: &str, words: &str) {
    check(model, said(json!([{"role": "user", "content": [{"type": "text", "text": "Hello"}, part]}])), field, words);
}

#[test]
fn what_is_no_request() {
    let check = |text: &str, field: &str, words: &str| {
        let refusal = Conversation::parse(text.as_bytes()).unwrap_err();
        assert!(refusal.field == field && refusal.problem.contains(words), "{refusal}");
    };
    check("", "the file", "EOF");
    check("{\"messages\":[", "the file", "EOF");
    check("{} {}", "the file", "trailing");
    check("7", "the request", "invalid type");
    check("{\"messages\":7}", "messages", "invalid type");
    check("{\"messages\":[{\"content\":\"x\"}]}", "messages[0]", "role");
    check("{\"messages\":[{\"role\":\"robot\"}]}", "messages[0].role", "robot");
    check("{\"messages\":[{\"role\":\"function\"}]}", "messages[0].role", "function");
    check("{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages[0].content", "a string or a list of parts");
    check("{\"messages\":[],\"messages\":[]}", "the request", "duplicate field `messages`");
    check("{\"model\":\"two words\"}", "model", "two words");
    check("{\"temprature\":1}", "temprature", "unknown field");
    check("{\"max_tokens\":-1}", "max_tokens", "-1");
    check("{\"stop\":7}", "stop", "string");
    check("{\"tool_choice\":\"maybe\"}", "tool_choice", "maybe");
}

#[test]
fn what_is_no_part() {
    let check = |part: &str, field: &str, words: &str| {
        let text = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":[{part}]}}]}}");
        let refusal = Conversation::parse(text.as_bytes()).unwrap_err();
        assert!(refusal.field == field && refusal.problem.contains(words), "{refusal}");
    };
    check("\"Hello\"", "messages[0].content[0]", "struct");
    check("{\"text\":\"x\"}", "messages[0].content[0]", "type");
    check("{\"type\":\"input_audio\",\"text\":\"x\"}", "messages[0].content[0].type", "input_audio");
    check("{\"type\":\"text\"}", "messages[0].content[0]", "lacks its `text`");
    check("{\"type\":\"text\",\"text\":\"x\",\"file\":{}}", "messages[0].content[0]", "`file` does not belong");
    check("{\"type\":\"text\",\"text\":\"x\",\"txt\":\"y\"}", "messages[0].content[0].txt", "unknown field");
    check("{\"type\":\"image_url\",\"image_url\":{\"uri\":\"x\"}}", "messages[0].content[0].image_url.uri", "unknown field");
    check(
        "{\"type\":\"text\",\"text\":\"x\",\"cache_control\":{\"ttl\":\"2h\"}}",
        "messages[0].content[0].cache_control.ttl",
        "2h",
    );
}

#[test]
fn nobody_asks() {
    check(CLAUDE, json!({}), "messages", "the user says nothing");
    check(CLAUDE, json!({"messages": []}), "messages", "the user says nothing");
    check_messages(CLAUDE, json!([{"role": "system", "content": "Be brief."}]), "messages", "the user says nothing");
    check_messages(CLAUDE, json!([{"role": "user", "content": " \n"}]), "messages", "the user says nothing");
    check_messages(
        CLAUDE,
        json!([{"role": "user", "content": ""}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "x"}]),
        "messages[1].role",
        "the assistant speaks first",
    );
}

#[test]
fn the_model_does_not_go_on() {
    let prefill = |text: &str| json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": text}]);
    check_messages(CLAUDE_5, prefill("{"), "messages[1]", "does not go on");
    check_messages(MISTRAL, prefill("{"), "messages[1]", "does not go on");
    check_messages(CLAUDE, prefill("{\n"), "messages[1].content", "white space");
    let thinking = json!({"role": "assistant", "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]});
    check_messages(CLAUDE, json!([{"role": "user", "content": "x"}, thinking]), "messages[1]", "without a text");
}

#[test]
fn the_model_takes_no_system_text() {
    for model in [MISTRAL_7B, "mistral.mixtral-8x7b-instruct-v0:1", TITAN] {
        check(model, with(json!({"system": "Be brief."})), "system", "no system text");
        let messages =
            json!([{"role": "user", "content": "x"}, {"role": "developer", "content": [{"type": "text", "text": "y"}]}]);
        check(model, said(messages), "messages[1].content[0]", "no system text");
        assert!(ask(model, &with(json!({"system": " "})), &Settings::default()).is_ok());
    }
    let image =
        json!([{"role": "system", "content": [{"type": "image_url", "image_url": GIF}]}, {"role": "user", "content": "x"}]);
    check(CLAUDE, said(image), "messages[0].content[0]", "is no text");
}

#[test]
fn the_model_does_not_see_or_read() {
    let image = json!({"type": "image_url", "image_url": GIF});
    let file = json!({"type": "file", "file": {"file_data": PDF}});
    check_part(LLAMA, image.clone(), "messages[0].content[1].image_url", "sees no images");
    check_part("amazon.nova-micro-v1:0", image, "messages[0].content[1].image_url", "sees no images");
    check_part("amazon.nova-micro-v1:0", file.clone(), "messages[0].content[1].file", "reads no documents");
    check(CLAUDE, said(json!([{"role": "user", "content": [file]}])), "messages[0].content[0].file", "needs a text");
}

#[test]
fn what_only_the_user_may_send() {
    let by_assistant = |part: Value| json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": [part]}]);
    let image = json!({"type": "image_url", "image_url": GIF});
    check_messages(CLAUDE, by_assistant(image), "messages[1].content[0].image_url", "only from the user");
    let file = json!({"type": "file", "file": {"file_data": PDF}});
    check_messages(CLAUDE, by_assistant(file), "messages[1].content[0].file", "only from the user");
    check_messages(
        CLAUDE,
        by_assistant(json!({"type": "guarded_text", "text": "x"})),
        "messages[1].content[0]",
        "can be guarded",
    );
    check_part(CLAUDE, json!({"type": "refusal", "refusal": "No."}), "messages[0].content[1]", "the assistant's");
    check_part(CLAUDE, json!({"type": "guarded_text", "text": "x"}), "messages[0].content[1]", "no guardrail");
}

#[test]
fn nothing_is_fetched() {
    let image = json!({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}});
    check_part(CLAUDE, image, "messages[0].content[1].image_url", "nothing is fetched");
}

#[test]
fn too_many_images_documents_and_cache_points() {
    let many = |part: Value, times: usize| {
        let mut parts = vec![json!({"type": "text", "text": "x"})];
        parts.extend(vec![part; times]);
        said(json!([{"role": "user", "content": parts}]))
    };
    let image = json!({"type": "image_url", "image_url": GIF});
    let file = json!({"type": "file", "file": {"file_data": PDF}});
    let cached = json!({"type": "text", "text": "x", "cache_control": {}});
    for (part, most, words) in [(image, 20, "hold 21 images"), (file, 5, "hold 6 documents"), (cached, 4, "hold 5 cache points")]
    {
        assert!(ask(CLAUDE, &many(part.clone(), most), &Settings::default()).is_ok());
        check(CLAUDE, many(part, most + 1), "messages", words);
    }
}

#[test]
fn calls_without_results_and_results_without_calls() {
    let user = || json!({"role": "user", "content": "x"});
    let tool_calls = |rest: &[Value]| Value::Array([&[user()], rest].concat());
    check_messages(CLAUDE, tool_calls(&[call("a", "{}")]), "messages[1].tool_calls[0]", "has no result");
    check_messages(CLAUDE, tool_calls(&[call("a", "{}"), user()]), "messages[1].tool_calls[0]", "has no result");
    check_messages(
        CLAUDE,
        tool_calls(&[call("a", "{}"), result("a", "1"), result("a", "2")]),
        "messages[3].tool_call_id",
        "of one that has its result already",
    );
    check_messages(CLAUDE, tool_calls(&[result("a", "1")]), "messages[1].tool_call_id", "of no call");
    check_messages(CLAUDE, tool_calls(&[call("a", "{}"), result("b", "1")]), "messages[2].tool_call_id", "of no call");
    check_messages(
        CLAUDE,
        tool_calls(&[call("a", "{}"), result("a", "1"), call("a", "{}"), result("a", "1")]),
        "messages[3].tool_calls[0].id",
        "of another call",
    );
    let unnamed = json!({"role": "tool", "content": "1"});
    check_messages(CLAUDE, tool_calls(&[call("a", "{}"), unnamed]), "messages[2].tool_call_id", "is missing");
    check_messages(CLAUDE, tool_calls(&[call("", "{}")]), "messages[1].tool_calls[0].id", "is empty");
    // Mistral's own template has no place for it.
    check_messages(MISTRAL, tool_calls(&[call("a", "{}"), result("a", "1"), user()]), "messages[3].content", "nothing beside");
}

#[test]
fn arguments_that_are_not_one_object() {
    for arguments in ["[]", "7", "{", "{}{}", "\"x\"", "{\"a\":1e999}"] {
        let messages = json!([{"role": "user", "content": "x"}, call("a", arguments), result("a", "1")]);
        check_messages(CLAUDE, messages, "messages[1].tool_calls[0].function.arguments", "not one JSON object");
    }
}

#[test]
fn results_that_no_tool_gives() {
    let messages = |part: Value| json!([{"role": "user", "content": "x"}, call("a", "{}"), {"role": "tool", "tool_call_id": "a", "content": [part]}]);
    let image = || json!({"type": "image_url", "image_url": GIF});
    check_messages(MISTRAL, messages(image()), "messages[2].content[0].image_url", "in results of tools");
    let file = json!({"type": "file", "file": {"file_data": PDF}});
    check_messages(CLAUDE, messages(file), "messages[2].content[0]", "only texts and images");
}

#[test]
fn tools_that_bedrock_does_not_take() {
    let long = "x".repeat(65);
    for name in ["", "two words", "a.b", "ü", long.as_str()] {
        check(CLAUDE, with(json!({"tools": [tool(name)]})), "tools[0].function.name", "1 to 64");
    }
    check(CLAUDE, with(json!({"tools": [tool("a"), tool("b"), tool("a")]})), "tools[2].function.name", "another tool");
    check(CLAUDE, with(json!({"tools": [{"type": "web_search"}]})), "tools[0].type", "web_search");
    check("deepseek.r1-v1:0", with(json!({"tools": [tool("a")]})), "tools", "takes no tools");
    let list = json!({"function": {"name": "a", "parameters": {"type": "array"}}});
    check(CLAUDE, with(json!({"tools": [list]})), "tools[0].function.parameters.type", "`object`");
    check(CLAUDE, said(json!([{"role": "user", "content": "x"}, call("a", "{}"), result("a", "1")])), "tools", "is missing");
    let mut named = said(json!([{"role": "user", "content": "x"}, call("a", "{}"), result("a", "1")]));
    named["messages"][1]["tool_calls"][0]["function"]["name"] = json!("look up");
    check(CLAUDE, named, "messages[1].tool_calls[0].function.name", "1 to 64");
}

#[test]
fn choices_that_bedrock_does_not_take() {
    let choose = |choice: Value| with(json!({"tools": [tool("look")], "tool_choice": choice}));
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    check(LLAMA, choose(json!("required")), "tool_choice", "cannot be made");
    check(MISTRAL, choose(named("look")), "tool_choice", "cannot be made");
    for choice in [json!("required"), named("look")] {
        check(CLAUDE_5, choose(choice), "tool_choice", "cannot be made");
    }
    check(CLAUDE, choose(named("see")), "tool_choice.function.name", "none of the `tools`");
    check(CLAUDE, with(json!({"tool_choice": "required"})), "tool_choice", "no `tools`");
    let mut used = said(json!([{"role": "user", "content": "x"}, call("a", "{}"), result("a", "1")]));
    used["tools"] = json!([tool("look")]);
    used["tool_choice"] = json!("none");
    check(CLAUDE, used, "tool_choice", "cannot be `none`");
}

#[test]
fn fields_of_other_roles() {
    let user = |field: &str, value: Value| {
        let mut message = json!({"role": "user", "content": "x"});
        message[field] = value;
        json!([message])
    };
    let calls = call("a", "{}")["tool_calls"].clone();
    check_messages(CLAUDE, user("tool_calls", calls), "messages[0].tool_calls", "only the assistant");
    check_messages(CLAUDE, user("tool_call_id", json!("a")), "messages[0].tool_call_id", "only a message");
    check_messages(CLAUDE, user("refusal", json!("No.")), "messages[0].refusal", "only the assistant");
    let thinking = json!([{"type": "thinking", "thinking": "Hm.", "signature": "s"}]);
    check_messages(CLAUDE, user("thinking_blocks", thinking.clone()), "messages[0].thinking_blocks", "only the assistant");
    check_messages(CLAUDE, user("audio", json!({"id": "x"})), "messages[0].audio", "leave it out");
    check_messages(CLAUDE, user("function_call", json!({"name": "x"})), "messages[0].function_call", "`tool_calls`");
    let back = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "thinking_blocks": thinking}]);
    check_messages(NOVA, back, "messages[1].thinking_blocks[0]", "no reasoning");
    let broken = json!([{"role": "user", "content": "x"}, {"role": "assistant", "thinking_blocks": [{"type": "redacted_thinking", "data": "%"}]}]);
    check_messages(CLAUDE, broken, "messages[1].thinking_blocks[0].data", "not base64");
}

#[test]
fn parameters_that_the_model_does_not_take() {
    for model in [CLAUDE_5, "anthropic.claude-opus-4-7", "anthropic.claude-sonnet-5", "openai.gpt-6-sol"] {
        check(model, with(json!({"temperature": 0.5})), "temperature", "no sampling parameters");
        check(model, with(json!({"top_p": 1})), "top_p", "no sampling parameters");
        check(model, with(json!({"temperature": 1, "top_p": 0.5})), "top_p", "no sampling parameters");
        check(model, with(json!({"top_k": 5})), "top_k", "no such parameter");
    }
    for model in [CLAUDE, "anthropic.claude-opus-4-1-20250805-v1:0", "anthropic.claude-sonnet-4-6"] {
        check(model, with(json!({"temperature": 0.5, "top_p": 0.5})), "top_p", "not both");
    }
    check(LLAMA, with(json!({"top_k": 5})), "top_k", "no such parameter");
    check(NOVA, with(json!({"top_k": 129})), "top_k", "1 to 128");
    check(CLAUDE, with(json!({"top_k": 0})), "top_k", "is 0");
    check(CLAUDE, with(json!({"temperature": 1.5})), "temperature", "0 to 1");
    check(CLAUDE, with(json!({"temperature": -0.5})), "temperature", "0 to 1");
    check(CLAUDE, with(json!({"top_p": 2})), "top_p", "0 to 1");
    check("openai.gpt-6-luna", with(json!({"stop": "END"})), "stop", "takes none");
    check(NOVA, with(json!({"stop": ["1", "2", "3", "4", "5"]})), "stop", "4 at most");
    check(CLAUDE, with(json!({"stop": ["END", "\n"]})), "stop[1]", "white space");
    check(CLAUDE_5, with(json!({"reasoning_effort": "hard"})), "reasoning_effort", "low, medium, high");
    let thinking = |tokens: u32| with(json!({"thinking": {"type": "enabled", "budget_tokens": tokens}, "max_tokens": 3000}));
    check(CLAUDE, thinking(1_023), "thinking", "1024 or more");
    check(CLAUDE, thinking(3_000), "thinking", "fewer than the 3000");
    check(CLAUDE, with(json!({"thinking": {"type": "adaptive"}})), "thinking", "a number of tokens");
    check(CLAUDE, with(json!({"thinking": {"type": "hard"}})), "thinking", "budget_tokens");
}

#[test]
fn numbers_of_tokens_that_the_model_does_not_take() {
    check(CLAUDE, with(json!({"max_tokens": 0})), "max_tokens", "1 to 64000");
    check(CLAUDE, with(json!({"max_tokens": 64_001})), "max_tokens", "1 to 64000");
    check(NOVA, with(json!({"max_completion_tokens": 10_001})), "max_completion_tokens", "1 to 10000");
    check(GPT_OSS, with(json!({"max_tokens": 15})), "max_tokens", "16 to");
    check("moonshotai.kimi-k3", with(json!({"max_tokens": 15})), "max_tokens", "16 to");
    check(CLAUDE, with(json!({"max_tokens": 5, "max_completion_tokens": 6})), "max_completion_tokens", "leave one out");
}

#[test]
fn what_bedrock_has_nothing_like() {
    for (field, value) in [
        ("n", json!(2)),
        ("frequency_penalty", json!(0.5)),
        ("presence_penalty", json!(-1)),
        ("logprobs", json!(true)),
        ("service_tier", json!("fastest")),
        ("logit_bias", json!({"50256": -100})),
        ("modalities", json!(["text", "audio"])),
        ("functions", json!([{"name": "look"}])),
        ("web_search_options", json!({})),
        ("metadata", Value::Object((0..17).map(|number| (number.to_string(), json!(""))).collect())),
    ] {
        check(CLAUDE, with(json!({field: value})), field, "");
    }
    check(CLAUDE, with(json!({"seeds": 7})), "seeds", "unknown field");
    check(CLAUDE, with(json!({"metadata": {"team": "a\"b"}})), "metadata.team", "ASCII");
}

#[test]
fn forms_of_answers_that_cannot_be_had() {
    let format =
        |schema: Value| with(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}}));
    let closed = json!({"type": "object", "additionalProperties": false});
    check(NOVA, format(closed.clone()), "response_format", "does not hold");
    check(CLAUDE, with(json!({"response_format": {"type": "json_object"}})), "response_format.type", "without a schema");
    check(CLAUDE, with(json!({"response_format": {"type": "json_schema"}})), "response_format.json_schema", "is missing");
    let both = json!({"response_format": {"type": "text", "json_schema": {"schema": closed}}});
    check(CLAUDE, with(both), "response_format.json_schema", "does not belong");
    check(CLAUDE, format(json!({"type": "object"})), "response_format.json_schema.schema", "additionalProperties");
    let inner = json!({"type": "object", "additionalProperties": false, "properties": {"a": {"anyOf": [{"type": "object"}]}}});
    check(CLAUDE, format(inner), "response_format.json_schema.schema.properties.a.anyOf[0]", "additionalProperties");
    // A property may be called as a keyword is, and an object may be one of several types.
    let named = json!({"type": "object", "additionalProperties": false, "properties": {"default": {"type": ["object", "null"]}}});
    check(CLAUDE, format(named), "response_format.json_schema.schema.properties.default", "additionalProperties");
}
