//! Accepted requests, and their Converse form.

use serde_json::{Value, json};

use super::*;

/// Holds the messages, and the system text, that come out.
fn check_turns(model: &str, messages: Value, system: Value, expected: Value) {
    let mut conversation = said(messages);
    conversation["tools"] = json!([tool("look")]);
    let request = ask(model, &conversation, &guarded()).unwrap();
    assert_eq!(request["messages"], expected, "{conversation}");
    assert_eq!(request.get("system").cloned().unwrap_or(Value::Null), system, "{conversation}");
}

/// Holds everything else that comes out.
fn check_fields(model: &str, fields: Value, expected: Value) {
    let mut request = ask(model, &with(fields.clone()), &Settings::default()).unwrap();
    let object = request.as_object_mut().unwrap();
    assert_eq!(object.remove("messages"), Some(json!([{"role": "user", "content": [{"text": "Hello"}]}])));
    assert_eq!(request, expected, "{fields}");
}

#[test]
fn instructions_go_to_system_wherever_they_are() {
    check_turns(
        CLAUDE,
        json!([
            {"role": "system", "content": "One."},
            {"role": "user", "content": "Hello"},
            {"role": "developer", "content": [{"type": "text", "text": "Two."}, {"type": "text", "text": " \n"}]},
            {"role": "user", "content": "again"},
            {"role": "system", "content": [{"type": "text", "text": "Three."}, {"type": "guarded_text", "text": "Four."}]},
            {"role": "system", "content": ""}
        ]),
        json!([{"text": "One."}, {"text": "Two."}, {"text": "Three."}, {"guardContent": {"text": {"text": "Four."}}}]),
        json!([{"role": "user", "content": [{"text": "Hello"}, {"text": "again"}]}]),
    );
    let request = with(json!({"system": "Zero.", "messages": [
        {"role": "user", "content": "Hello"}, {"role": "system", "content": "One."}
    ]}));
    assert_eq!(ask(CLAUDE, &request, &Settings::default()).unwrap()["system"], json!([{"text": "Zero."}, {"text": "One."}]));
}

#[test]
fn instructions_between_a_call_and_its_result_are_in_nobodys_way() {
    check_turns(
        CLAUDE,
        json!([
            {"role": "user", "content": "Where?"},
            call("c1", ""),
            {"role": "system", "content": "Be brief."},
            result("c1", "here")
        ]),
        json!([{"text": "Be brief."}]),
        json!([
            {"role": "user", "content": [{"text": "Where?"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1", "name": "look", "input": {}}}]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "here"}]}}]}
        ]),
    );
}

#[test]
fn neighbours_of_one_role_become_one_turn_and_what_is_empty_is_left_out() {
    check_turns(
        CLAUDE,
        json!([
            {"role": "user", "content": "a"},
            {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "\t"}, {"type": "text", "text": " c "}]},
            {"role": "assistant", "content": ""},
            {"role": "assistant", "content": null},
            {"role": "user", "content": []},
            {"role": "user", "content": "d"},
            {"role": "assistant", "content": "e"},
            {"role": "user", "content": "\u{1f}"},
            {"role": "assistant", "content": [{"type": "text", "text": "f"}]},
            {"role": "user", "content": "g"}
        ]),
        Value::Null,
        json!([
            {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": " c "}, {"text": "d"}]},
            {"role": "assistant", "content": [{"text": "e"}, {"text": "f"}]},
            {"role": "user", "content": [{"text": "g"}]}
        ]),
    );
}

#[test]
fn images_and_documents_go_along_as_bytes() {
    let bytes = |uri: &str| uri.split_once(',').unwrap().1.to_owned();
    check_turns(
        NOVA,
        json!([{"role": "user", "content": [
            {"type": "text", "text": "Compare."},
            {"type": "image_url", "image_url": {"url": GIF, "detail": "auto"}},
            {"type": "image_url", "image_url": GIF},
            {"type": "file", "file": {"file_data": PDF, "filename": "report.pdf"}},
            {"type": "file", "file": {"file_data": PDF, "filename": "report.pdf"}}
        ]}]),
        Value::Null,
        json!([{"role": "user", "content": [
            {"text": "Compare."},
            {"image": {"format": "gif", "source": {"bytes": bytes(GIF)}}},
            {"image": {"format": "gif", "source": {"bytes": bytes(GIF)}}},
            {"document": {"format": "pdf", "name": "document 1", "source": {"bytes": bytes(PDF)}}},
            {"document": {"format": "pdf", "name": "document 2", "source": {"bytes": bytes(PDF)}}}
        ]}]),
    );
}

#[test]
fn calls_and_results_are_paired_and_results_stand_first() {
    check_turns(
        CLAUDE,
        json!([
            {"role": "user", "content": "Both, please."},
            {"role": "assistant", "content": "I look.", "refusal": null, "annotations": [], "audio": null, "function_call": null,
             "tool_calls": [
                {"id": "c1", "index": 0, "type": "function", "function": {"name": "look", "arguments": "{\"at\":{\"x\":1.5,\"y\":[null,true]}}"}},
                {"id": "c2", "function": {"name": "look", "arguments": ""}}
            ]},
            {"role": "assistant", "content": "One moment."},
            {"role": "user", "content": "Quick!"},
            {"role": "tool", "tool_call_id": "c2", "name": "look", "content": [{"type": "text", "text": "b"}, {"type": "image_url", "image_url": GIF}]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"found\":1}"}
        ]),
        Value::Null,
        json!([
            {"role": "user", "content": [{"text": "Both, please."}]},
            {"role": "assistant", "content": [
                {"text": "I look."},
                {"text": "One moment."},
                {"toolUse": {"toolUseId": "c1", "name": "look", "input": {"at": {"x": 1.5, "y": [null, true]}}}},
                {"toolUse": {"toolUseId": "c2", "name": "look", "input": {}}}
            ]},
            {"role": "user", "content": [
                {"toolResult": {"toolUseId": "c2", "content": [
                    {"text": "b"}, {"image": {"format": "gif", "source": {"bytes": GIF.split_once(',').unwrap().1}}}
                ]}},
                {"toolResult": {"toolUseId": "c1", "content": [{"text": "{\"found\":1}"}]}},
                {"text": "Quick!"}
            ]}
        ]),
    );
}

#[test]
fn an_id_that_bedrock_does_not_take_is_replaced_on_both_sides_alike() {
    let long = "x".repeat(65);
    for id in ["call 1", "ü", "a|b", long.as_str()] {
        let conversation = json!({"tools": [tool("look")], "messages": [
            {"role": "user", "content": "Where?"}, call(id, "{}"), result(id, "here")
        ]});
        let request = ask(CLAUDE, &conversation, &Settings::default()).unwrap();
        let called = &request["messages"][1]["content"][0]["toolUse"]["toolUseId"];
        assert_eq!(called, &request["messages"][2]["content"][0]["toolResult"]["toolUseId"]);
        let called = called.as_str().unwrap();
        assert!(called.starts_with("call-") && called.len() == 37, "{called}");
    }
}

#[test]
fn reasoning_goes_back_as_it_was_signed_and_before_the_text() {
    check_turns(
        CLAUDE,
        json!([
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Because.", "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "AAEC"}
            ]},
            {"role": "user", "content": "Really?"}
        ]),
        Value::Null,
        json!([
            {"role": "user", "content": [{"text": "Why?"}]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}},
                {"reasoningContent": {"redactedContent": "AAEC"}},
                {"text": "Because."}
            ]},
            {"role": "user", "content": [{"text": "Really?"}]}
        ]),
    );
}

#[test]
fn a_refusal_of_the_assistant_is_what_it_said() {
    for message in [
        json!({"role": "assistant", "content": null, "refusal": "I cannot."}),
        json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot."}]}),
    ] {
        check_turns(
            NOVA,
            json!([{"role": "user", "content": "Do it."}, message, {"role": "user", "content": "Why?"}]),
            Value::Null,
            json!([
                {"role": "user", "content": [{"text": "Do it."}]},
                {"role": "assistant", "content": [{"text": "I cannot."}]},
                {"role": "user", "content": [{"text": "Why?"}]}
            ]),
        );
    }
}

#[test]
fn a_model_that_goes_on_from_the_assistants_words_is_given_them() {
    check_turns(
        CLAUDE,
        json!([{"role": "user", "content": "JSON!"}, {"role": "assistant", "content": "{\"a\":"}]),
        Value::Null,
        json!([{"role": "user", "content": [{"text": "JSON!"}]}, {"role": "assistant", "content": [{"text": "{\"a\":"}]}]),
    );
}

#[test]
fn a_guarded_text_is_for_the_guardrail() {
    let conversation = said(json!([{"role": "user", "content": [{"type": "guarded_text", "text": "Hello"}]}]));
    let request = ask(NOVA, &conversation, &guarded()).unwrap();
    assert_eq!(request["messages"][0]["content"], json!([{"guardContent": {"text": {"text": "Hello"}}}]));
    assert_eq!(request["guardrailConfig"], json!({"guardrailIdentifier": "gr1", "guardrailVersion": "3", "trace": "enabled"}));
}

#[test]
fn cache_points_stand_where_they_are_asked_for() {
    let cached = |text: &str, control: Value| json!({"type": "text", "text": text, "cache_control": control});
    let conversation = said(json!([
        {"role": "system", "content": [cached("Always.", json!({"type": "ephemeral"}))]},
        {"role": "user", "content": [cached("The document.", json!({"ttl": "1h"})), {"type": "text", "text": "The question."}]},
    ]));
    let request = ask(CLAUDE, &conversation, &Settings { cache_system: true, ..Settings::default() }).unwrap();
    assert_eq!(request["system"], json!([{"text": "Always."}, {"cachePoint": {"type": "default"}}]));
    let point = json!({"cachePoint": {"type": "default", "ttl": "1h"}});
    assert_eq!(request["messages"][0]["content"], json!([{"text": "The document."}, point, {"text": "The question."}]));
}

#[test]
fn the_system_text_is_cached_where_the_model_can() {
    let conversation = with(json!({"system": "Always."}));
    let settings = Settings { cache_system: true, ..Settings::default() };
    let system = |model| ask(model, &conversation, &settings).unwrap()["system"].clone();
    assert_eq!(system(NOVA), json!([{"text": "Always."}, {"cachePoint": {"type": "default"}}]));
    assert_eq!(system(LLAMA), json!([{"text": "Always."}]));
    assert!(ask(NOVA, &with(json!({})), &settings).unwrap().get("system").is_none());
}

#[test]
fn parameters_go_to_their_places() {
    check_fields(CLAUDE, json!({}), json!({"inferenceConfig": {"maxTokens": 1024}}));
    check_fields(CLAUDE, json!({"max_tokens": 5, "max_completion_tokens": 5}), json!({"inferenceConfig": {"maxTokens": 5}}));
    check_fields(CLAUDE, json!({"max_completion_tokens": 64_000}), json!({"inferenceConfig": {"maxTokens": 64_000}}));
    check_fields(
        NOVA,
        json!({"temperature": 0, "top_p": 0.9, "stop": "END"}),
        json!({"inferenceConfig": {"maxTokens": 1024, "temperature": 0.0, "topP": 0.9, "stopSequences": ["END"]}}),
    );
    check_fields(
        LLAMA,
        json!({"stop": ["", "\n", "END"], "temperature": 1.0}),
        json!({"inferenceConfig": {"maxTokens": 1024, "temperature": 1.0, "stopSequences": ["\n", "END"]}}),
    );
    check_fields(CLAUDE, json!({"top_p": 0.5}), json!({"inferenceConfig": {"maxTokens": 1024, "topP": 0.5}}));
    let top_k = |fields: Value| json!({"inferenceConfig": {"maxTokens": 1024}, "additionalModelRequestFields": fields});
    check_fields(CLAUDE, json!({"top_k": 40}), top_k(json!({"top_k": 40})));
    check_fields(MISTRAL_7B, json!({"top_k": 40}), top_k(json!({"top_k": 40})));
    check_fields(NOVA, json!({"top_k": 40}), top_k(json!({"inferenceConfig": {"topK": 40}})));
    // What such a model does anyway.
    check_fields(CLAUDE_5, json!({"temperature": 1}), json!({"inferenceConfig": {"maxTokens": 1024}}));
}

#[test]
fn what_says_nothing_changes_nothing() {
    check_fields(
        CLAUDE,
        json!({
            "model": null, "system": null, "max_tokens": null, "max_completion_tokens": null, "temperature": null, "top_p": null,
            "top_k": null, "stop": null, "tools": null, "tool_choice": null, "parallel_tool_calls": null, "response_format": null,
            "reasoning_effort": null, "metadata": null, "service_tier": null, "stream": null, "n": null, "frequency_penalty": null,
            "presence_penalty": null, "logprobs": null, "store": null
        }),
        json!({"inferenceConfig": {"maxTokens": 1024}}),
    );
    check_fields(
        CLAUDE,
        json!({
            "stream": true, "n": 1, "frequency_penalty": 0, "presence_penalty": 0.0, "logprobs": false, "store": false, "tools": [],
            "tool_choice": "auto", "parallel_tool_calls": false, "stop": [], "service_tier": "auto", "response_format": {"type": "text"},
            "metadata": {}
        }),
        json!({"inferenceConfig": {"maxTokens": 1024}}),
    );
}

#[test]
fn effort_goes_where_the_model_has_it() {
    let effort = json!({"reasoning_effort": "low"});
    let mut expected = json!({"inferenceConfig": {"maxTokens": 1024}});
    expected["outputConfig"] = json!({"effort": "low"});
    check_fields(CLAUDE_5, effort.clone(), expected.clone());
    expected.as_object_mut().unwrap().remove("outputConfig");
    expected["additionalModelRequestFields"] = json!({"reasoning_effort": "low"});
    check_fields(GPT_OSS, effort.clone(), expected.clone());
    expected["additionalModelRequestFields"] = json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}});
    check_fields(NOVA_2, effort, expected);
}

#[test]
fn labels_tier_and_schema_have_places_of_their_own() {
    check_fields(
        CLAUDE,
        json!({"metadata": {"team": "search", "cost-centre": ""}, "service_tier": "flex"}),
        json!({"inferenceConfig": {"maxTokens": 1024}, "requestMetadata": {"team": "search", "cost-centre": ""}, "serviceTier": {"type": "flex"}}),
    );
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": false});
    check_fields(
        CLAUDE,
        json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "strict": true, "schema": schema}}}),
        json!({"inferenceConfig": {"maxTokens": 1024}, "outputConfig": {"textFormat": {
            "type": "json_schema",
            "structure": {"jsonSchema": {"schema": schema.to_string(), "name": "n", "description": "d"}}
        }}}),
    );
}

#[test]
fn tools_go_along_with_their_schemas() {
    let empty = json!({"json": {"type": "object", "properties": {}}});
    let schema = json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "number"}}});
    check_fields(
        CLAUDE,
        json!({"tools": [
            tool("look"),
            {"function": {"name": "_go-2", "description": "Goes.", "parameters": schema, "strict": true}},
            {"type": "function", "function": {"name": "stay", "description": "", "parameters": {}, "strict": false}}
        ]}),
        json!({"inferenceConfig": {"maxTokens": 1024}, "toolConfig": {"tools": [
            {"toolSpec": {"name": "look", "inputSchema": empty}},
            {"toolSpec": {"name": "_go-2", "description": "Goes.", "inputSchema": {"json": schema}, "strict": true}},
            {"toolSpec": {"name": "stay", "inputSchema": empty}}
        ]}}),
    );
}

#[test]
fn the_choice_among_tools_goes_along() {
    let choose = |model: &str, more: Value| {
        let mut fields = json!({"tools": [tool("look")]});
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request = ask(model, &with(fields), &Settings::default()).unwrap();
        (request["toolConfig"]["toolChoice"].clone(), request["additionalModelRequestFields"]["tool_choice"].clone())
    };
    let named = json!({"type": "function", "function": {"name": "look"}});
    assert_eq!(choose(CLAUDE, json!({"tool_choice": "auto"})), (Value::Null, Value::Null));
    assert_eq!(choose(CLAUDE, json!({"tool_choice": "required"})), (json!({"any": {}}), Value::Null));
    assert_eq!(choose(MISTRAL, json!({"tool_choice": "required"})), (json!({"any": {}}), Value::Null));
    assert_eq!(choose(NOVA, json!({"tool_choice": named})), (json!({"tool": {"name": "look"}}), Value::Null));
    for (choice, kind) in [(json!("auto"), "auto"), (json!("required"), "any")] {
        let expected = json!({"type": kind, "disable_parallel_tool_use": true});
        assert_eq!(choose(CLAUDE, json!({"tool_choice": choice, "parallel_tool_calls": false})), (Value::Null, expected));
    }
    let expected = json!({"type": "tool", "name": "look", "disable_parallel_tool_use": true});
    assert_eq!(choose(CLAUDE, json!({"tool_choice": named, "parallel_tool_calls": false})), (Value::Null, expected));
    // A model that knows of no tools calls none.
    check_fields(
        CLAUDE,
        json!({"tools": [tool("look")], "tool_choice": "none"}),
        json!({"inferenceConfig": {"maxTokens": 1024}}),
    );
}

#[test]
fn an_estimate_counts_all_that_the_model_reads() {
    let conversation = Conversation::parse(
        json!({"system": "12345", "tools": [tool("look")], "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "1234567"},
                {"type": "image_url", "image_url": GIF},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,MTIz"}},
                {"type": "file", "file": {"file_data": PDF}}
            ]},
            call("c1", "{}"), result("c1", "12")
        ]})
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let model = ModelId::try_from(NOVA.to_owned()).unwrap();
    let request = translate(&conversation, &model, Traits::resolve(&model, None).unwrap(), &Settings::default()).unwrap();
    let tokens = request.input_tokens(|text| crate::domain::TokenCount::new(text.len() as u64));
    let tool = "look".len() + r#"{"type":"object","properties":{}}"#.len();
    let call = "look".len() + "{}".len();
    assert_eq!(tokens.get(), (5 + 7 + 1600 + 3 + 1 + tool + call + 2) as u64);
}

/// Returns the request that is made of a conversation, as it is in a file, and what was noted of it.
fn noted(model: &str, file: &[u8]) -> (Value, Vec<String>) {
    let model = ModelId::try_from(model.to_owned()).unwrap();
    let conversation = Conversation::parse(file).unwrap();
    let request = translate(&conversation, &model, Traits::resolve(&model, None).unwrap(), &Settings::default()).unwrap();
    (serde_json::to_value(&request).unwrap(), request.notes)
}

fn note_of(model: &str, conversation: &Value) -> (Value, Vec<String>) {
    noted(model, conversation.to_string().as_bytes())
}

#[test]
fn what_openais_clients_always_send_is_left_out_with_a_note_and_changes_nothing_else() {
    let (plain, none) = note_of(CLAUDE, &with(json!({})));
    assert!(none.is_empty());
    for (field, value) in [
        ("seed", json!(7)),
        ("store", json!(true)),
        ("stream_options", json!({"include_usage": true})),
        ("prompt_cache_key", json!("k")),
        ("prompt_cache_retention", json!("24h")),
        ("verbosity", json!("low")),
        ("prediction", json!({"type": "content", "content": "x"})),
        ("top_logprobs", json!(0)),
        ("service_tier", json!("scale")),
        ("reasoning_effort", json!("low")),
    ] {
        let (request, notes) = note_of(CLAUDE, &with(json!({field: value})));
        assert_eq!(request, plain, "{field}");
        assert!(notes.len() == 1 && notes[0].starts_with(&format!("{field}: ")), "{notes:?}");
    }
    let neutral = json!({"n": 1, "logprobs": false, "store": false, "stream": true, "modalities": ["text"], "logit_bias": {},
                         "functions": [], "function_call": "auto", "parallel_tool_calls": true, "user": "", "seed": null});
    assert_eq!(note_of(CLAUDE, &with(neutral)), (plain, Vec::new()));
}

#[test]
fn a_user_field_is_a_label_where_bedrock_accepts_it() {
    let (request, notes) =
        note_of(CLAUDE, &with(json!({"user": "alice@example.com", "safety_identifier": "a1", "metadata": {"team": "x"}})));
    assert_eq!(request["requestMetadata"], json!({"team": "x", "user": "alice@example.com", "safety_identifier": "a1"}));
    assert!(notes.is_empty());
    let (request, notes) = note_of(CLAUDE, &with(json!({"user": "älice"})));
    assert!(request.get("requestMetadata").is_none() && notes[0].starts_with("user: "), "{notes:?}");
}

#[test]
fn a_word_for_effort_that_the_model_has_not_becomes_the_nearest_below_it() {
    let effort = |model: &str, word: &str| {
        let (request, notes) = note_of(model, &with(json!({"reasoning_effort": word})));
        let sent = [
            &request["outputConfig"]["effort"],
            &request["additionalModelRequestFields"]["reasoning_effort"],
            &request["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"],
        ];
        let sent = sent.into_iter().find_map(Value::as_str).map(ToOwned::to_owned);
        (sent.unwrap_or_default(), notes.len())
    };
    let sonnet = "us.anthropic.claude-sonnet-4-6";
    for (model, word, sent, notes) in [
        (CLAUDE_5, "max", "max", 0),
        (CLAUDE_5, "xhigh", "xhigh", 0),
        ("anthropic.claude-opus-4-8", "xhigh", "xhigh", 0),
        ("anthropic.claude-opus-4-8", "max", "xhigh", 1),
        (sonnet, "xhigh", "high", 1),
        (sonnet, "max", "max", 0),
        (sonnet, "minimal", "low", 1),
        (sonnet, "none", "", 1),
        ("anthropic.claude-opus-4-5-20251101-v1:0", "max", "high", 1),
        (NOVA_2, "high", "medium", 1),
        (GPT_OSS, "xhigh", "high", 1),
        ("global.openai.gpt-6-sol", "max", "max", 0),
        ("global.openai.gpt-5.6-sol", "xhigh", "xhigh", 0),
        (LLAMA, "low", "", 1),
        (CLAUDE, "max", "", 1),
    ] {
        assert_eq!(effort(model, word), (sent.to_owned(), notes), "{model} {word}");
    }
}

#[test]
fn thinking_goes_to_the_model_in_its_own_words() {
    let thinking = |model: &str, field: Value| {
        let (request, notes) = note_of(model, &with(json!({"thinking": field, "max_tokens": 8000})));
        (request["additionalModelRequestFields"]["thinking"].clone(), notes.len())
    };
    let budget = json!({"type": "enabled", "budget_tokens": 4096});
    assert_eq!(thinking(CLAUDE, budget.clone()), (budget.clone(), 0));
    assert_eq!(thinking("anthropic.claude-opus-4-8", budget.clone()), (json!({"type": "adaptive"}), 1));
    assert_eq!(thinking(CLAUDE_5, json!({"type": "disabled"})), (Value::Null, 1), "it always thinks");
    assert_eq!(thinking(NOVA, budget), (Value::Null, 1), "it is not told to");
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_question() {
    let file = with(json!({})).to_string();
    let plain = noted(CLAUDE, file.as_bytes());
    let utf8 = [b"\xef\xbb\xbf".as_slice(), file.as_bytes(), b"\r\n"].concat();
    let units =
        |write: fn(u16) -> [u8; 2]| "\u{feff}".encode_utf16().chain(file.encode_utf16()).flat_map(write).collect::<Vec<_>>();
    for marked in [utf8, units(u16::to_le_bytes), units(u16::to_be_bytes)] {
        assert_eq!(noted(CLAUDE, &marked), plain);
    }
}

#[test]
fn a_call_without_arguments_has_none_however_that_is_written() {
    for arguments in [json!(""), json!(" "), json!(null), json!("null"), json!("{}"), json!({})] {
        let mut called = call("a", "");
        called["tool_calls"][0]["function"]["arguments"] = arguments.clone();
        let mut conversation = said(json!([{"role": "user", "content": "x"}, called, result("a", "1")]));
        conversation["tools"] = json!([tool("look")]);
        let (request, _) = note_of(CLAUDE, &conversation);
        assert_eq!(request["messages"][1]["content"][0]["toolUse"]["input"], json!({}), "{arguments}");
    }
    let mut called = call("a", "");
    called["tool_calls"][0]["function"] = json!({"name": "look", "arguments": {"at": 1}});
    let mut conversation = said(json!([{"role": "user", "content": "x"}, called, result("a", "1")]));
    conversation["tools"] = json!([tool("look")]);
    assert_eq!(note_of(CLAUDE, &conversation).0["messages"][1]["content"][0]["toolUse"]["input"], json!({"at": 1}));
}

#[test]
fn a_tool_that_has_nothing_to_say_is_heard() {
    for content in [json!(""), json!(" \n"), json!(null), json!([]), json!([{"type": "text", "text": ""}])] {
        let silent = json!({"role": "tool", "tool_call_id": "a", "content": content});
        let mut conversation = said(json!([{"role": "user", "content": "x"}, call("a", "{}"), silent]));
        conversation["tools"] = json!([tool("look")]);
        let (request, _) = note_of(CLAUDE, &conversation);
        assert_eq!(request["messages"][2]["content"], json!([{"toolResult": {"toolUseId": "a", "content": []}}]), "{content}");
    }
}

#[test]
fn cache_control_is_taken_wherever_clients_write_it() {
    let conversation = json!({
        "cache_control": {"type": "ephemeral"},
        "tools": [{"type": "function", "function": {"name": "look"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Look.", "cache_control": {"type": "ephemeral"}},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "function": {"name": "look", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1", "cache_control": {"type": "ephemeral"}}]},
        ]
    });
    let (request, notes) = note_of(CLAUDE, &conversation);
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(request["system"], json!([{"text": "Be brief."}, point]));
    assert_eq!(request["toolConfig"]["tools"][1], json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    assert_eq!(request["messages"][0]["content"], json!([{"text": "Look."}, point]));
    assert_eq!(request["messages"][2]["content"], json!([{"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}}, point]));
    assert!(notes.is_empty(), "{notes:?}");
    let (request, notes) = note_of(LLAMA, &conversation);
    assert!(!request.to_string().contains("cachePoint") && notes.len() == 4, "{notes:?}");
    let (request, notes) = note_of(NOVA, &conversation);
    assert_eq!((request["toolConfig"]["tools"][1].clone(), notes.len()), (point, 1), "{notes:?}");
}

#[test]
fn values_in_a_schema_are_data_even_where_they_look_like_schemas() {
    let object = json!({"type": "object"});
    let schema = json!({"type": "object", "additionalProperties": false, "properties": {
        "a": {"enum": [object], "const": object, "default": object, "examples": [object]},
        "enum": {"type": "string"},
    }});
    let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
    let (request, _) = note_of(CLAUDE, &with(format));
    assert_eq!(request["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"], schema.to_string());
}

#[test]
fn what_is_about_an_answer_or_says_who_speaks_is_left_out_with_a_note() {
    let conversation = said(json!([
        {"role": "user", "content": "x", "name": "Ann"},
        {"role": "assistant", "content": "y", "annotations": [{"type": "url_citation"}], "reasoning_content": "Hm.", "audio": null},
        {"role": "user", "content": "z"},
    ]));
    let (request, notes) = note_of(CLAUDE, &conversation);
    assert!(request["messages"].as_array().unwrap().len() == 3 && !request.to_string().contains("Hm."));
    for (note, field) in notes.iter().zip(["messages.name", "messages.annotations", "messages.reasoning_content"]) {
        assert!(note.starts_with(&format!("{field}: ")), "{notes:?}");
    }
    assert_eq!(notes.len(), 3);
    let mut strict = with(json!({"tools": [{"function": {"name": "a", "strict": true}}], "parallel_tool_calls": false}));
    let (request, notes) = note_of(NOVA, &strict);
    assert!(request["toolConfig"]["tools"][0]["toolSpec"].get("strict").is_none() && notes.len() == 2, "{notes:?}");
    strict["parallel_tool_calls"] = Value::Null;
    assert_eq!(note_of(CLAUDE, &strict).0["toolConfig"]["tools"][0]["toolSpec"]["strict"], json!(true));
}

#[test]
fn what_a_configuration_wishes_for_counts_where_the_conversation_does_not_say() {
    let settings = Settings {
        tier: Some(TierWish::Flex),
        latency: Some(Latency::Optimized),
        metadata: [("team".to_owned(), "search".to_owned())].into(),
        effort: Some(EffortWish::Medium),
        cache_system: true,
        cache_ttl: Some(Ttl::OneHour),
        thinking: Some(ThinkingWish::Adaptive),
        ..Settings::default()
    };
    let model = "us.anthropic.claude-sonnet-4-6";
    let request = ask(model, &with(json!({"system": "Brief."})), &settings).unwrap();
    assert_eq!(
        request,
        json!({
            "system": [{"text": "Brief."}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
            "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
            "inferenceConfig": {"maxTokens": 1024},
            "additionalModelRequestFields": {"thinking": {"type": "adaptive"}},
            "requestMetadata": {"team": "search"},
            "serviceTier": {"type": "flex"},
            "performanceConfig": {"latency": "optimized"},
            "outputConfig": {"effort": "medium"},
        })
    );
    let said = with(json!({"service_tier": "priority", "reasoning_effort": "low", "metadata": {"team": "ads"},
                           "thinking": {"type": "disabled"}}));
    let request = ask(model, &said, &settings).unwrap();
    assert_eq!(request["serviceTier"], json!({"type": "priority"}));
    assert_eq!(request["outputConfig"]["effort"], "low");
    assert_eq!(request["requestMetadata"], json!({"team": "ads"}));
    assert_eq!(request["additionalModelRequestFields"]["thinking"], json!({"type": "disabled"}));
}
