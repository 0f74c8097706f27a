//! What the service refuses, in its words.

use super::*;

const PROFILED: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const CLAUDE_5: &str = "global.anthropic.claude-sonnet-5";
const CLAUDE_5_5: &str = "us.anthropic.claude-sonnet-5-5";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const MISTRAL: &str = "mistral.mistral-large-3-675b-instruct";
const MIXTRAL: &str = "mistral.mixtral-8x7b-instruct-v0:1";
const GPT_OSS: &str = "openai.gpt-oss-120b-1:0";

const START: &str =
    "A conversation must start with a user message. Try again with a conversation that starts with a user message.";
const NO_SYSTEM: &str = "This model doesn't support system messages. Try again without a system message or use a model that supports \
                         system messages.";

async fn check(model: &str, cases: &[(Value, &str)]) {
    let (_emulator, client) = start().await;
    for (body, message) in cases {
        let failure = converse(&client, model, body).await.expect_err(&format!("{message}: {body}"));
        assert_refused(&failure, message);
        let failure = converse_stream(&client, model, body).await.expect_err("a stream is refused like an object");
        assert_eq!((failure.code(), failure.message()), (Some("ValidationException"), Some(*message)));
    }
}

fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

fn tools() -> Value {
    json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]})
}

fn used(id: &str) -> Value {
    json!({"toolUse": {"toolUseId": id, "name": "weather", "input": {}}})
}

fn found(id: &str) -> Value {
    json!({"toolResult": {"toolUseId": id, "content": [{"text": "rain"}]}})
}

fn document(name: &str) -> Value {
    json!({"document": {"name": name, "format": "txt", "source": {"bytes": "b3R0ZXJz"}}})
}

#[tokio::test]
async fn models_are_named_as_the_service_names_them() {
    let (_emulator, client) = start().await;
    let refused = async |model: &str| converse(&client, model, &question("Hello!")).await.unwrap_err();
    assert_refused(&refused("us.does-not-exist-model-v1:0").await, "The provided model identifier is invalid.");
    assert_refused(
        &refused("anthropic.claude-haiku-4-5-20251001-v1:0").await,
        "Invocation of model ID anthropic.claude-haiku-4-5-20251001-v1:0 with on-demand throughput isn\u{2019}t supported. Retry your \
         request with the ID or ARN of an inference profile that contains this model.",
    );
    assert_refused(
        &refused("amazon.titan-embed-text-v2:0").await,
        "This action doesn't support the model that you provided. Try again with a supported text or chat model.",
    );
    let arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0";
    for model in
        [NOVA, "us.amazon.nova-micro-v1:0", CLAUDE, arn, LLAMA, MISTRAL, MIXTRAL, GPT_OSS, "deepseek.v3.2", "qwen.qwen3-32b-v1:0"]
    {
        assert_eq!(text(&converse(&client, model, &question("Hello!")).await.unwrap()), "Hello!", "{model}");
    }
}

#[tokio::test]
async fn turns_begin_with_the_user_and_alternate() {
    let alternate = "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between \
                     user and assistant roles and try again.";
    let cases = [
        (json!({"messages": []}), START),
        (json!({}), START),
        (json!({"messages": [turn("assistant", "a")]}), START),
        (json!({"messages": [turn("user", "a"), turn("user", "b")]}), alternate),
        (json!({"messages": [turn("user", "a"), turn("assistant", "b"), turn("assistant", "c")]}), alternate),
        (json!({"messages": [turn("user", "a"), turn("system", "b")]}), NO_SYSTEM),
    ];
    check(NOVA, &cases).await;
}

#[tokio::test]
async fn blank_texts_and_empty_turns_are_named_by_their_place() {
    let cases = [
        (
            question(" \n\t"),
            "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and try again.",
        ),
        (
            json!({"messages": [turn("user", "a"), {"role": "assistant", "content": [{"text": "b"}, {"text": ""}]}, turn("user", "c")]}),
            "The text field in the ContentBlock object at messages.1.content.1 is blank. Add text to the text field, and try again.",
        ),
        (
            json!({"messages": [{"role": "user", "content": []}]}),
            "The content field in the Message object at messages.0 is empty. Add a ContentBlock object to the content field and try \
             again.",
        ),
        (
            with(question("a"), "system", json!([{"text": " "}])),
            "The text field in the SystemContentBlock object at system.0 is blank. Add text to the text field, and try again.",
        ),
    ];
    check(NOVA, &cases).await;
}

#[tokio::test]
async fn tool_uses_and_results_pair_up() {
    let conversation = |turns: Value| json!({"messages": turns, "toolConfig": tools()});
    let asked = json!({"role": "assistant", "content": [used("t-1"), used("t-2")]});
    let cases = [
        (
            conversation(json!([turn("user", "a"), asked, {"role": "user", "content": [found("t-2")]}])),
            "Expected toolResult blocks at messages.2.content for the following Ids: t-1",
        ),
        (
            conversation(json!([turn("user", "a"), asked, turn("user", "b")])),
            "Expected toolResult blocks at messages.2.content for the following Ids: t-1, t-2",
        ),
        (
            conversation(json!([{"role": "user", "content": [found("t-1")]}])),
            "The number of toolResult blocks at messages.0.content exceeds the number of toolUse blocks of previous turn.",
        ),
        (
            json!({"messages": [turn("user", "a"), asked, {"role": "user", "content": [found("t-1"), found("t-2")]}]}),
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        ),
        (
            conversation(json!([
                turn("user", "a"),
                {"role": "assistant", "content": [used("t-1")]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "t-1", "content": [], "status": "error"}}]}
            ])),
            "The content field at messages.2.content.0.toolResult cannot be empty when status value is error.",
        ),
    ];
    check(NOVA, &cases).await;
}

#[tokio::test]
async fn some_models_keep_words_and_tools_apart() {
    let conversation = |use_beside: Vec<Value>, result_beside: Vec<Value>| {
        let uses: Vec<_> = use_beside.into_iter().chain([used("t-1")]).collect();
        let results: Vec<_> = [found("t-1")].into_iter().chain(result_beside).collect();
        let turns = json!([turn("user", "a"), {"role": "assistant", "content": uses}, {"role": "user", "content": results}]);
        json!({"messages": turns, "toolConfig": tools()})
    };
    let said = || vec![json!({"text": "well"})];
    let use_refused = "messages.1.content: Conversation blocks and tool use blocks cannot be provided in the same turn.";
    let result_refused = "messages.2.content: Conversation blocks and tool result blocks cannot be provided in the same turn.";
    check(MISTRAL, &[(conversation(said(), vec![]), use_refused), (conversation(vec![], said()), result_refused)]).await;
    check(LLAMA, &[(conversation(said(), vec![]), use_refused)]).await;
    let (_emulator, client) = start().await;
    converse(&client, LLAMA, &conversation(vec![], said())).await.unwrap();
    for model in [NOVA, CLAUDE] {
        converse(&client, model, &conversation(said(), said())).await.unwrap();
    }
}

#[tokio::test]
async fn tools_are_refused_by_models_without_them() {
    let any = json!({"tools": tools()["tools"], "toolChoice": {"any": {}}});
    let one = json!({"tools": tools()["tools"], "toolChoice": {"tool": {"name": "weather"}}});
    check(MIXTRAL, &[(with(question("a"), "toolConfig", tools()), "This model doesn't support tool use.")]).await;
    let cases = [
        (
            with(question("a"), "toolConfig", any),
            "This model doesn't support the toolConfig.toolChoice.any field. Remove toolConfig.toolChoice.any and try again.",
        ),
        (
            with(question("a"), "toolConfig", one),
            "This model doesn't support the toolConfig.toolChoice.tool field. Remove toolConfig.toolChoice.tool and try again.",
        ),
    ];
    check(LLAMA, &cases).await;
    check(CLAUDE_5_5, &cases).await;
}

#[tokio::test]
async fn documents_and_images_have_their_rules() {
    let content = |blocks: Value| json!({"messages": [{"role": "user", "content": blocks}]});
    let image = json!({"image": {"format": "png", "source": {"bytes": "AA=="}}});
    let many = |block: &dyn Fn(usize) -> Value, count| {
        content((0..count).map(block).chain([json!({"text": "a"})]).collect::<Vec<_>>().into())
    };
    let cases = [
        (
            content(json!([document("report")])),
            "A text block must be included when using documents. Add a text block and retry your request.",
        ),
        (
            content(json!([{"text": "a"}, document("report"), document("report")])),
            "Messages can not contain duplicate document names",
        ),
        (
            content(json!([{"text": "a"}, document("report_1.pdf")])),
            "The document file name can only contain alphanumeric characters, whitespace characters, hyphens, parentheses, and square \
             brackets. The name can't contain more than one consecutive whitespace character.",
        ),
        (
            json!({"messages": [turn("user", "a"), {"role": "assistant", "content": [document("report"), {"text": "a"}]}]}),
            "This model doesn't support the document field for assistant messages. Remove document and try again.",
        ),
        (
            many(&|index| document(&format!("report {index}")), 6),
            "The messages contain 6 documents. The maximum number of documents is 5.",
        ),
        (many(&|_| image.clone(), 21), "The messages contain 21 images. The maximum number of images is 20."),
    ];
    check("amazon.nova-lite-v1:0", &cases).await;
    let without = "This model doesn't support the image field for user messages. Remove image and try again.";
    let no_documents = "This model doesn't support the document field for user messages. Remove document and try again.";
    let cases =
        [(content(json!([{"text": "a"}, image])), without), (content(json!([{"text": "a"}, document("a")])), no_documents)];
    check(NOVA, &cases).await;
}

#[tokio::test]
async fn system_texts_are_refused_by_models_without_them() {
    check(MIXTRAL, &[(with(question("a"), "system", json!([{"text": "b"}])), NO_SYSTEM)]).await;
}

#[tokio::test]
async fn sampling_parameters_are_refused_where_they_are_not_taken() {
    let inference = |value: Value| with(question("a"), "inferenceConfig", value);
    let both = "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use \
                only one.";
    check(PROFILED, &[(inference(json!({"temperature": 0.5, "topP": 0.9})), both)]).await;
    let deprecated = |name: &str| format!("The model returned the following errors: `{name}` is deprecated for this model.");
    let cases = [
        (inference(json!({"temperature": 0.5})), deprecated("temperature")),
        (inference(json!({"topP": 0.5})), deprecated("top_p")),
        (with(question("a"), "additionalModelRequestFields", json!({"top_k": 5})), deprecated("top_k")),
    ];
    check(CLAUDE_5, &cases.each_ref().map(|(body, message)| (body.clone(), message.as_str()))).await;
    let (_emulator, client) = start().await;
    converse(&client, CLAUDE_5, &inference(json!({"temperature": 1.0}))).await.unwrap();
    converse(&client, NOVA, &inference(json!({"temperature": 0.0, "topP": 0.9}))).await.unwrap();
}

#[tokio::test]
async fn limits_of_inference_parameters_are_kept() {
    let inference = |value: Value| with(question("a"), "inferenceConfig", value);
    let error = |value: &str, at: &str, rule: &str| {
        format!(
            "1 validation error detected: Value '{value}' at 'inferenceConfig.{at}' failed to satisfy constraint: Member must have {rule}"
        )
    };
    let cases = [
        (
            inference(json!({"maxTokens": 10_001})),
            "The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum tokens value that is lower \
             than 10000."
                .to_owned(),
        ),
        (inference(json!({"maxTokens": 0})), error("0", "maxTokens", "value greater than or equal to 1")),
        (inference(json!({"temperature": 99.0})), error("99.0", "temperature", "value less than or equal to 1")),
        (inference(json!({"topP": -0.5})), error("-0.5", "topP", "value greater than or equal to 0")),
        (
            inference(json!({"stopSequences": ["a", "b", "c", "d", "e"]})),
            "The maximum number of stop sequences is 4, but 5 were provided.".to_owned(),
        ),
    ];
    check(NOVA, &cases.each_ref().map(|(body, message)| (body.clone(), message.as_str()))).await;
    let unsupported = "This model doesn't support the stopSequences field. Remove stopSequences and try again.";
    let minimum = "The model returned the following errors: Invalid 'max_output_tokens': integer below minimum value. Expected a value \
                   >= 16, but got 8 instead.";
    let cases = [(inference(json!({"stopSequences": ["x"]})), unsupported), (inference(json!({"maxTokens": 8})), minimum)];
    check("openai.gpt-6-luna", &cases).await;
}

#[tokio::test]
async fn cache_points_are_refused_where_nothing_is_cached_and_beyond_four() {
    let point = json!({"cachePoint": {"type": "default"}});
    let content = |points: usize| {
        let blocks: Vec<_> = std::iter::once(json!({"text": "a"})).chain(std::iter::repeat_n(point.clone(), points)).collect();
        json!({"messages": [{"role": "user", "content": blocks}]})
    };
    let unsupported = "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more \
                       information.";
    check(LLAMA, &[(content(1), unsupported)]).await;
    let many = "The model returned the following errors: A maximum of 4 blocks with cache_control may be provided. Found 5.";
    check(CLAUDE, &[(content(5), many)]).await;
}

#[tokio::test]
async fn unknown_fields_wrong_names_and_missing_members_are_refused() {
    let extraneous = |place: &str, key: &str| {
        format!(
            "Malformed input request: {place}: extraneous key [{key}] is not permitted, please reformat your input and try again."
        )
    };
    let cases = [
        (with(question("a"), "max_tokens", json!(5)), extraneous("#", "max_tokens")),
        (with(question("a"), "inferenceConfig", json!({"max_tokens": 5})), extraneous("#/inferenceConfig", "max_tokens")),
        (
            json!({"messages": [{"role": "user", "content": [{"txt": "a"}]}]}),
            extraneous("#/messages/1/member/content/1/member", "txt"),
        ),
        (
            json!({"messages": [turn("bot", "a")]}),
            "1 validation error detected: Value 'bot' at 'messages.1.member.role' failed to satisfy constraint: Member must satisfy \
             enum value set: [user, assistant, system]"
                .to_owned(),
        ),
        (
            json!({"messages": [{"content": [{"text": "a"}]}]}),
            "1 validation error detected: Value at 'messages.1.member.role' failed to satisfy constraint: Member must not be null"
                .to_owned(),
        ),
        (
            with(question("a"), "additionalModelRequestFields", json!({"top_k": 5})),
            format!("The model returned the following errors: {}", extraneous("#", "top_k")),
        ),
        (
            with(question("a"), "toolConfig", json!({"tools": []})),
            "1 validation error detected: Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater \
             than or equal to 1"
                .to_owned(),
        ),
    ];
    check(NOVA, &cases.each_ref().map(|(body, message)| (body.clone(), message.as_str()))).await;
    let foreign = "The model returned the following errors: top_p: Extra inputs are not permitted";
    check(CLAUDE, &[(with(question("a"), "additionalModelRequestFields", json!({"top_p": 0.5})), foreign)]).await;
}

#[tokio::test]
async fn a_wrong_type_is_a_serialization_error() {
    let (_emulator, client) = start().await;
    let failure = converse(&client, NOVA, &json!({"messages": [{"role": "user", "content": [{"text": 1}]}]})).await.unwrap_err();
    let expected = (Some("SerializationException"), Some("NUMBER_VALUE can not be converted to a String"));
    assert_eq!((failure.code(), failure.message()), expected);
}

#[tokio::test]
async fn thinking_has_its_rules_and_newer_models_take_no_prefill() {
    let thinking = |budget: u64, more: Value| {
        let mut body = with(
            question("a"),
            "additionalModelRequestFields",
            json!({"thinking": {"type": "enabled", "budget_tokens": budget}}),
        );
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    };
    let any = json!({"tools": tools()["tools"], "toolChoice": {"any": {}}});
    let cases = [
        (
            thinking(512, json!({})),
            "The model returned the following errors: thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            thinking(2_048, json!({"inferenceConfig": {"maxTokens": 2_048}})),
            "The model returned the following errors: `max_tokens` must be greater than `thinking.budget_tokens`.",
        ),
        (
            thinking(2_048, json!({"toolConfig": any})),
            "The model returned the following errors: Thinking may not be enabled when tool_choice forces tool use.",
        ),
        (
            json!({"messages": [turn("user", "a"), turn("assistant", "It is ")]}),
            "The model returned the following errors: messages: final assistant content cannot end with trailing whitespace",
        ),
    ];
    check(CLAUDE, &cases).await;
    let prefilled = json!({"messages": [turn("user", "a"), turn("assistant", "It is")]});
    let refused = "The model returned the following errors: This model does not support assistant message prefill. The conversation \
                   must end with a user message.";
    check("us.anthropic.claude-sonnet-4-6", &[(prefilled.clone(), refused)]).await;
    let (_emulator, client) = start().await;
    converse(&client, CLAUDE, &prefilled).await.unwrap();
}

#[tokio::test]
async fn a_request_beyond_the_context_is_too_long() {
    let long = question(&"word ".repeat(32_001));
    check(MIXTRAL, &[(long, "The model returned the following errors: Input is too long for requested model.")]).await;
}
