//! What the chat models answer, and what it costs.

use std::num::NonZeroUsize;

use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, ConversationRole, DocumentBlock, DocumentFormat, DocumentSource, GuardrailConfiguration,
    GuardrailTrace, InferenceConfiguration, Message, StopReason, SystemContentBlock,
};
use riverbed::emulator::{Fault, Operation};

use super::*;

#[tokio::test]
async fn a_question_is_answered_from_the_document_and_a_summary_leads_with_its_beginning() {
    let (_emulator, client) = start().await;
    let output = converse(&client, NOVA, &about(LEAVE, "When is lunch served?")).await.unwrap();
    assert_eq!((text(&output).as_str(), output.stop_reason()), ("Lunch is served at noon.", &StopReason::EndTurn));
    let output = converse(&client, NOVA, &about(LEAVE, "Summarise the document in two sentences.")).await.unwrap();
    let summary = text(&output);
    assert!(
        summary.starts_with("Parents may take up to twelve weeks of paid leave. ") && !summary.contains("Lunch"),
        "{summary}"
    );
}

#[tokio::test]
async fn what_the_sdks_builders_write_is_what_the_emulator_reads() {
    let (emulator, client) = start().await;
    emulator.record(NonZeroUsize::MIN);
    let source = DocumentSource::Bytes(Blob::new("Otters swim. Alders grow."));
    let document = DocumentBlock::builder().name("river").format(DocumentFormat::Md).source(source).build().unwrap();
    let message = Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Document(document))
        .content(ContentBlock::Text("What grows?".to_owned()))
        .build()
        .unwrap();
    let point = CachePointBlock::builder().r#type(CachePointType::Default).build().unwrap();
    let output = client
        .converse()
        .model_id(CLAUDE)
        .system(SystemContentBlock::Text("Be brief.".to_owned()))
        .system(SystemContentBlock::CachePoint(point))
        .messages(message)
        .inference_config(InferenceConfiguration::builder().max_tokens(100).temperature(0.5).stop_sequences("END").build())
        .guardrail_config(
            GuardrailConfiguration::builder()
                .guardrail_identifier("abc123")
                .guardrail_version("DRAFT")
                .trace(GuardrailTrace::Enabled)
                .build(),
        )
        .request_metadata("team", "people")
        .send()
        .await
        .unwrap();
    assert_eq!(text(&output), "Alders grow.");
    let request = emulator.requests().pop().unwrap();
    assert_eq!((request.operation, request.model_id.as_deref()), (Some(Operation::Converse), Some(CLAUDE)));
    assert_eq!(request.body["inferenceConfig"]["maxTokens"], 100);
    assert_eq!(request.texts, ["Be brief.", "What grows?"]);
}

#[tokio::test]
async fn usage_and_counts_are_those_of_the_texts() {
    let (emulator, client) = start().await;
    // The recorded call of the reference: seven tokens.
    let mut body = question("Hello!");
    body["system"] = json!([{"text": "You are a chatbot."}]);
    let output = converse(&client, NOVA, &body).await.unwrap();
    let usage = output.usage().unwrap();
    assert_eq!((usage.input_tokens(), usage.output_tokens(), usage.total_tokens()), (7, 2, 9));
    assert!(output.metrics().unwrap().latency_ms() >= 0);
    let counts = emulator.counts();
    assert_eq!((counts.calls, counts.texts, counts.tokens), (1, 0, 0), "nothing was embedded");
    assert_eq!((counts.chat.calls, counts.chat.streams, counts.chat.input_tokens, counts.chat.output_tokens), (1, 0, 7, 2));
}

#[tokio::test]
async fn latency_is_waited_and_reported_in_the_body() {
    let latency = Duration::from_millis(30);
    let (_emulator, client) = start_with(emulator::EmulatorConfig { latency, ..emulator::EmulatorConfig::default() }).await;
    assert!(converse(&client, NOVA, &question("Hello!")).await.unwrap().metrics().unwrap().latency_ms() >= 30);
}

#[tokio::test]
async fn an_answer_is_cut_at_its_limit_and_at_a_stop_sequence() {
    let (_emulator, client) = start().await;
    let mut body = about(LEAVE, "Summarise it.");
    let whole = text(&converse(&client, NOVA, &body).await.unwrap());
    body["inferenceConfig"] = json!({"maxTokens": 5});
    let output = converse(&client, NOVA, &body).await.unwrap();
    let cut = text(&output);
    assert!(whole.starts_with(&cut) && cut.len() < whole.len() && !cut.is_empty(), "{cut}");
    assert_eq!((output.stop_reason(), output.usage().unwrap().output_tokens()), (&StopReason::MaxTokens, 5));

    body["inferenceConfig"] = json!({"stopSequences": ["zebra", "weeks"]});
    body["additionalModelResponseFieldPaths"] = json!(["/stop_sequence"]);
    let output = converse(&client, NOVA, &body).await.unwrap();
    assert_eq!((text(&output).as_str(), output.stop_reason()), ("Parents may take up to twelve ", &StopReason::StopSequence));
    let fields = output.additional_model_response_fields().unwrap().as_object().unwrap();
    assert_eq!(fields["stop_sequence"].as_string(), Some("weeks"));
}

#[tokio::test]
async fn every_stop_reason_comes_on_demand() {
    let (emulator, client) = start().await;
    let reasons = [
        "end_turn",
        "tool_use",
        "max_tokens",
        "stop_sequence",
        "guardrail_intervened",
        "content_filtered",
        "malformed_model_output",
        "malformed_tool_use",
        "model_context_window_exceeded",
        "not_known_yet",
    ];
    for reason in reasons {
        emulator.script([Fault::Stop { reason: reason.to_owned() }]);
        let output = converse(&client, NOVA, &about(LEAVE, "When is lunch served?")).await.unwrap();
        assert_eq!(output.stop_reason().as_str(), reason);
        let expected = match reason {
            "guardrail_intervened" => "Sorry, the model cannot answer this question.",
            "malformed_model_output" | "malformed_tool_use" => "",
            "content_filtered" | "max_tokens" | "model_context_window_exceeded" => "Lunch is ser",
            _ => "Lunch is served at noon.",
        };
        assert_eq!(text(&output), expected, "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_the_context_ends_with_it() {
    let (_emulator, client) = start().await;
    let model = "mistral.mixtral-8x7b-instruct-v0:1";
    // Two tokens each, and some for the question: less than forty are left for twenty of them.
    let body = about(&"Otters. ".repeat(15_980), "Summarise it in 20 sentences.");
    let output = converse(&client, model, &body).await.unwrap();
    assert_eq!(output.stop_reason(), &StopReason::ModelContextWindowExceeded);
    let usage = output.usage().unwrap();
    assert!(usage.total_tokens() <= 32_000 && usage.total_tokens() > 31_900, "{usage:?}");
}

#[tokio::test]
async fn a_repeated_prefix_is_read_from_the_cache() {
    let (emulator, client) = start().await;
    let ask = async |asked: &str| {
        let system = format!("Answer from this. {}", "The river has otters. ".repeat(1_000));
        let mut body = question(asked);
        body["system"] = json!([{"text": system}, {"cachePoint": {"type": "default", "ttl": "1h"}}]);
        let output = converse(&client, CLAUDE, &body).await.unwrap();
        let usage = output.usage().unwrap().clone();
        (usage.input_tokens(), usage.cache_read_input_tokens(), usage.cache_write_input_tokens(), usage)
    };
    let (input, read, written, usage) = ask("Who swims?").await;
    assert_eq!((input, read), (3, Some(0)));
    assert_eq!(usage.cache_details()[0].ttl().as_str(), "1h");
    assert!(written > Some(4_096));
    assert_eq!(usage.total_tokens(), input + usage.output_tokens() + written.unwrap());
    let (input, read, written_again, _) = ask("Who is in the river?").await;
    assert_eq!((input, read, written_again), (6, written, Some(0)));
    let chat = emulator.counts().chat;
    assert_eq!(Some(i32::try_from(chat.cache_read_tokens).unwrap()), read);
    assert_eq!(chat.cache_read_tokens, chat.cache_write_tokens);
    assert_eq!(chat.input_tokens, 9);
}

#[tokio::test]
async fn a_tool_is_used_when_it_is_asked_for_and_its_result_answers() {
    let (_emulator, client) = start().await;
    let schema = json!({"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}, "required": ["place"]});
    let config = json!({"tools": [
        {"toolSpec": {"name": "get_time", "inputSchema": {"json": {"type": "object"}}}},
        {"toolSpec": {"name": "get_weather", "description": "The weather", "inputSchema": {"json": schema}}},
    ]});
    let body = |text: &str| json!({"messages": [turn("user", text)], "toolConfig": config});
    let output = converse(&client, NOVA, &body("Please get the weather in Oslo for 3 days.")).await.unwrap();
    assert_eq!(output.stop_reason(), &StopReason::ToolUse);
    let used = blocks(&output)[0].as_tool_use().unwrap();
    assert_eq!(used.name(), "get_weather");
    let days = used.input().as_object().unwrap()["days"].as_number().unwrap();
    assert!((days.to_f64_lossy() - 3.0).abs() < f64::EPSILON, "{days:?}");
    assert!(used.input().as_object().unwrap()["place"].as_string().unwrap().contains("Oslo"));

    let mut answered = body("Please get the weather in Oslo for 3 days.");
    let turns = answered["messages"].as_array_mut().unwrap();
    let result = json!({"toolUseId": used.tool_use_id(), "content": [{"text": "It is noon. The weather in Oslo is wet."}]});
    turns.push(json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": used.tool_use_id(), "name": "get_weather", "input": {}}}]}));
    turns.push(json!({"role": "user", "content": [{"toolResult": result}]}));
    let output = converse(&client, NOVA, &answered).await.unwrap();
    assert_eq!((text(&output).as_str(), output.stop_reason()), ("The weather in Oslo is wet.", &StopReason::EndTurn));

    assert_eq!(converse(&client, NOVA, &body("Who swims?")).await.unwrap().stop_reason(), &StopReason::EndTurn);
    let mut forced = body("Who swims?");
    forced["toolConfig"]["toolChoice"] = json!({"tool": {"name": "get_time"}});
    let output = converse(&client, NOVA, &forced).await.unwrap();
    assert_eq!(blocks(&output)[0].as_tool_use().unwrap().name(), "get_time");
}

#[tokio::test]
async fn an_answer_follows_a_json_schema() {
    let (_emulator, client) = start().await;
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}, "sure": {"type": "boolean"}}});
    let mut body = about(LEAVE, "When is lunch served?");
    body["outputConfig"] =
        json!({"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema.to_string()}}}});
    let answer: Value = serde_json::from_str(&text(&converse(&client, NOVA, &body).await.unwrap())).unwrap();
    assert_eq!(answer, json!({"answer": "Lunch is served at noon.", "sure": true}));
}

#[tokio::test]
async fn a_model_thinks_when_it_is_told_to() {
    let (emulator, client) = start().await;
    let mut body = question("Who swims?");
    body["additionalModelRequestFields"] = json!({"thinking": {"type": "enabled", "budget_tokens": 1_024}});
    let output = converse(&client, CLAUDE, &body).await.unwrap();
    let thought = blocks(&output)[0].as_reasoning_content().unwrap().as_reasoning_text().unwrap();
    assert!(thought.text().contains("Who swims?") && thought.signature().is_some());
    assert_eq!(text(&output), "Who swims?");
    assert!(output.usage().unwrap().output_tokens() > 10, "thoughts are billed");

    emulator.script([Fault::Reasoning]);
    let output = converse(&client, NOVA, &question("Who swims?")).await.unwrap();
    assert!(blocks(&output)[0].is_reasoning_content());
}

#[tokio::test]
async fn a_guardrail_blocks_only_calls_that_bring_one_and_says_why() {
    let (emulator, client) = start().await;
    emulator.fault_where("weapons", Fault::Guardrail { word: "weapons".to_owned() });
    let mut body = question("Tell me about weapons.");
    assert_eq!(converse(&client, NOVA, &body).await.unwrap().stop_reason(), &StopReason::EndTurn);
    body["guardrailConfig"] = json!({"guardrailIdentifier": "abc123", "guardrailVersion": "1", "trace": "enabled"});
    let output = converse(&client, NOVA, &body).await.unwrap();
    assert_eq!(output.stop_reason(), &StopReason::GuardrailIntervened);
    assert_eq!(text(&output), "Sorry, the model cannot answer this question.");
    assert_eq!(output.usage().unwrap().total_tokens(), 0);
    let trace = output.trace().unwrap().guardrail().unwrap();
    let policy = trace.input_assessment().unwrap()["abc123"].word_policy().unwrap();
    assert_eq!(policy.custom_words()[0].r#match(), "weapons");

    body["guardrailConfig"]["trace"] = json!("disabled");
    assert!(converse(&client, NOVA, &body).await.unwrap().trace().is_none());
    let mut other = question("Tell me about otters.");
    other["guardrailConfig"] = body["guardrailConfig"].clone();
    assert_eq!(converse(&client, NOVA, &other).await.unwrap().stop_reason(), &StopReason::EndTurn);
}

#[tokio::test]
async fn the_faults_of_the_embedding_side_are_those_of_chat() {
    let (emulator, client) = start().await;
    let ask = async || converse(&client, NOVA, &question("Hello!")).await;
    emulator.script([Fault::Throttle, Fault::internal(), Fault::Gateway { status: 502 }]);
    for (status, code) in [(429, Some("ThrottlingException")), (500, Some("InternalServerException")), (502, None)] {
        let failure = ask().await.unwrap_err();
        assert_eq!((failure.raw_response().unwrap().status().as_u16(), failure.code()), (status, code));
    }
    emulator.script([Fault::Reset, Fault::CutBody, Fault::NotJson]);
    assert!(matches!(ask().await.unwrap_err(), SdkError::DispatchFailure(_)));
    for _ in 0..2 {
        assert!(!matches!(ask().await.unwrap_err(), SdkError::DispatchFailure(_)), "a body came, but no answer in it");
    }
    emulator.script([Fault::NoTokenCount, Fault::WrongDimensions]);
    // The SDK makes up a usage of nothing where there is none.
    assert_eq!(ask().await.unwrap().usage().unwrap().total_tokens(), 0);
    assert_eq!(text(&ask().await.unwrap()), "Hello!");
    emulator.fault_where("POISON", Fault::validation("no"));
    assert_refused(&converse(&client, NOVA, &question("some POISON")).await.unwrap_err(), "no");
    assert_eq!(emulator.counts().chat.calls, 9);
}

#[tokio::test]
async fn a_call_reserves_what_its_answer_may_cost_until_it_is_answered() {
    let tokens = "1000/min window".parse().unwrap();
    let (emulator, client) = start_with(emulator::EmulatorConfig { tokens, ..emulator::EmulatorConfig::default() }).await;
    let mut body = question("Hello!");
    body["inferenceConfig"] = json!({"maxTokens": 600});
    emulator.hold();
    let both = futures::future::join(converse(&client, NOVA, &body), converse(&client, NOVA, &body));
    let release = async {
        tokio::time::timeout(PATIENCE, emulator.called(2)).await.unwrap();
        emulator.release();
    };
    let ((one, other), ()) = tokio::join!(both, release);
    let refused = [one, other].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    let [refused] = refused.as_slice() else { panic!("{refused:?}") };
    assert_eq!(refused.code(), Some("ThrottlingException"));
    assert_eq!(refused.message(), Some("Too many tokens, please wait before trying again."));
    // The first has given back all but its few tokens.
    converse(&client, NOVA, &body).await.unwrap();
    assert_eq!(emulator.counts().chat.output_tokens, 4);
}
