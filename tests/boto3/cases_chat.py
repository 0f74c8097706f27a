"""Converse and ConverseStream: answers, streams, tools, refusals, quotas."""

import json

from bed import case, equal, refused

NOVA = "amazon.nova-micro-v1:0"
LITE = "amazon.nova-lite-v1:0"
CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
MIXTRAL = "mistral.mixtral-8x7b-instruct-v0:1"

DOCUMENT = "Parents may take twelve weeks of leave. Lunch is served at noon. The request goes to the people team."

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a place",
    "inputSchema": {"json": {"type": "object", "properties": {"place": {"type": "string"}, "days": {"type": "integer"}}}},
}


def user(*content):
    return {"role": "user", "content": [{"text": block} if isinstance(block, str) else block for block in content]}


def assistant(*content):
    return {**user(*content), "role": "assistant"}


def about(question):
    return [user(f"{question}\n<document>\n{DOCUMENT}\n</document>")]


def said(answer):
    return "".join(block.get("text", "") for block in answer["output"]["message"]["content"])


def streamed(client, **parameters):
    """Returns the events of a stream as pairs of name and payload."""
    stream = client.converse_stream(**parameters)["stream"]
    return [pair for event in stream for pair in event.items()]


# Answers.


@case
def a_question_is_answered_from_the_document_with_usage_and_latency(emulator):
    answer = emulator.client().converse(modelId=NOVA, messages=about("When is lunch served?"))
    equal(said(answer), "Lunch is served at noon.")
    equal(answer["stopReason"], "end_turn")
    usage = answer["usage"]
    equal(usage["totalTokens"], usage["inputTokens"] + usage["outputTokens"])
    assert answer["metrics"]["latencyMs"] >= 0


@case
def the_recorded_call_has_the_tokens_that_it_had(emulator):
    answer = emulator.client().converse(
        modelId=NOVA, messages=[user("Hello!")], system=[{"text": "You are a chatbot."}], inferenceConfig={}
    )
    equal(answer["usage"]["inputTokens"], 7)


@case
def an_answer_ends_at_its_limit_and_at_a_stop_sequence(emulator):
    client = emulator.client()
    cut = client.converse(modelId=NOVA, messages=about("When is lunch served?"), inferenceConfig={"maxTokens": 2})
    equal((said(cut), cut["stopReason"], cut["usage"]["outputTokens"]), ("Lunch is", "max_tokens", 2))
    stopped = client.converse(
        modelId=NOVA,
        messages=about("When is lunch served?"),
        inferenceConfig={"stopSequences": ["served"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
    )
    equal((said(stopped), stopped["stopReason"]), ("Lunch is ", "stop_sequence"))
    equal(stopped["additionalModelResponseFields"], {"stop_sequence": "served"})


@case
def an_attached_document_is_read(emulator):
    document = {"document": {"name": "handbook", "format": "md", "source": {"bytes": DOCUMENT.encode()}}}
    answer = emulator.client().converse(modelId=CLAUDE, messages=[user(document, "To whom does the request go?")])
    equal(said(answer), "The request goes to the people team.")


@case
def a_repeated_prefix_is_read_from_the_cache(emulator):
    client = emulator.client()
    # Of its own: what other cases put into the cache is still there.
    system = [{"text": "An outsider asks. " + "The river has otters. " * 1_000}, {"cachePoint": {"type": "default"}}]
    first, second = [client.converse(modelId=CLAUDE, messages=[user("Who swims?")], system=system)["usage"] for _ in range(2)]
    equal((first["cacheReadInputTokens"], second["cacheWriteInputTokens"]), (0, 0))
    equal(first["cacheWriteInputTokens"], second["cacheReadInputTokens"])
    assert first["cacheWriteInputTokens"] > 4_096, first


@case
def a_model_thinks_when_it_is_told_to(emulator):
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1_024}}
    answer = emulator.client().converse(modelId=CLAUDE, messages=[user("Who swims?")], additionalModelRequestFields=thinking)
    thought = answer["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]
    assert "Who swims?" in thought["text"] and thought["signature"], thought


# Tools.


@case
def a_tool_is_used_and_its_result_answers(emulator):
    client = emulator.client()
    messages = [user("Get the weather in Oslo for 3 days.")]
    config = {"tools": [{"toolSpec": WEATHER}]}
    answer = client.converse(modelId=NOVA, messages=messages, toolConfig=config)
    used = answer["output"]["message"]["content"][0]["toolUse"]
    equal((answer["stopReason"], used["name"], used["input"]["days"]), ("tool_use", "get_weather", 3))
    result = {"toolUseId": used["toolUseId"], "content": [{"text": "Noon strikes. The weather in Oslo is wet."}]}
    messages += [answer["output"]["message"], user({"toolResult": result})]
    answer = client.converse(modelId=NOVA, messages=messages, toolConfig=config)
    equal((said(answer), answer["stopReason"]), ("The weather in Oslo is wet.", "end_turn"))


@case
def a_streamed_tool_use_puts_its_input_together(emulator):
    config = {"tools": [{"toolSpec": WEATHER}], "toolChoice": {"any": {}}}
    events = streamed(emulator.client(), modelId=NOVA, messages=[user("Who swims in 3 rivers?")], toolConfig=config)
    start = next(payload for name, payload in events if name == "contentBlockStart")
    equal(start["start"]["toolUse"]["name"], "get_weather")
    fragments = [payload["delta"]["toolUse"]["input"] for name, payload in events if name == "contentBlockDelta"]
    equal(json.loads("".join(fragments)), {"days": 3, "place": "Who swims in 3 rivers?"})


# Streams.


@case
def a_stream_says_what_the_object_says_in_the_order_of_the_service(emulator):
    client = emulator.client()
    messages = about("Summarise the document.")
    answer = client.converse(modelId=NOVA, messages=messages)
    events = streamed(client, modelId=NOVA, messages=messages)
    kinds = [name for name, _ in events]
    equal(kinds[0], "messageStart")
    equal(kinds[-3:], ["contentBlockStop", "messageStop", "metadata"])
    equal(set(kinds[1:-3]), {"contentBlockDelta"})
    equal("".join(payload["delta"]["text"] for name, payload in events if name == "contentBlockDelta"), said(answer))
    equal(events[-2][1]["stopReason"], answer["stopReason"])
    equal(events[-1][1]["usage"], answer["usage"])


# Refusals.


@case
def what_the_service_refuses_is_refused_in_its_words_by_both_operations(emulator):
    client = emulator.client()
    document = {"document": {"name": "handbook", "format": "txt", "source": {"bytes": b"otters"}}}
    start = "A conversation must start with a user message. Try again with a conversation that starts with a user message."
    alternate = (
        "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between user and "
        "assistant roles and try again."
    )
    system = "This model doesn't support system messages. Try again without a system message or use a model that supports system messages."
    limit = "The maximum tokens you requested exceeds the model limit of 10000. Try again with a maximum tokens value that is lower than 10000."
    both = (
        "The model returned the following errors: `temperature` and `top_p` cannot both be specified for this model. Please use "
        "only one."
    )
    blank = "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and try again."
    cases = [
        ("us.does-not-exist-model-v1:0", [user("a")], {}, "The provided model identifier is invalid."),
        ("anthropic.claude-haiku-4-5-20251001-v1:0", [user("a")], {}, "Invocation of model ID anthropic.claude-haiku-4-5-20251001-v1:0 …"),
        ("amazon.titan-embed-text-v2:0", [user("a")], {}, "This action doesn't support the model that you provided. …"),
        (NOVA, [assistant("a")], {}, start),
        (NOVA, [user("a"), user("b")], {}, alternate),
        (NOVA, [user(" ")], {}, blank),
        (LITE, [user(document)], {}, "A text block must be included when using documents. Add a text block and retry your request."),
        (LITE, [user(document, "a", document)], {}, "Messages can not contain duplicate document names"),
        (NOVA, [user("a")], {"inferenceConfig": {"maxTokens": 10_001}}, limit),
        (MIXTRAL, [user("a")], {"system": [{"text": "b"}]}, system),
        (CLAUDE, [user("a")], {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, both),
    ]
    for model, messages, parameters, message in cases:
        for operation in [client.converse, client.converse_stream]:
            with refused(400, "ValidationException", message):
                operation(modelId=model, messages=messages, **parameters)


@case
def a_tool_use_without_its_result_is_refused(emulator):
    used = {"toolUse": {"toolUseId": "t-1", "name": "get_weather", "input": {}}}
    messages = [user("a"), assistant(used), user("b")]
    with refused(400, "ValidationException", "Expected toolResult blocks at messages.2.content for the following Ids: t-1"):
        emulator.client().converse(modelId=NOVA, messages=messages, toolConfig={"tools": [{"toolSpec": WEATHER}]})


# Throttles.


@case
def a_throttled_chat_is_retried_by_botos_own_rules(emulator):
    emulator.script("429", "429")
    equal(said(emulator.client(attempts=3).converse(modelId=NOVA, messages=[user("Hello!")])), "Hello!")
    emulator.script("429")
    with refused(429, "ThrottlingException", "Too many requests, please wait before trying again."):
        emulator.client().converse_stream(modelId=NOVA, messages=[user("Hello!")])


@case
def the_most_that_an_answer_may_cost_is_asked_of_the_quota(emulator):
    emulator.set(tokens="1000/min window")
    client = emulator.client()
    with refused(429, "ThrottlingException", "Too many tokens, please wait before trying again."):
        client.converse(modelId=NOVA, messages=[user("Hello!")], inferenceConfig={"maxTokens": 1_000})
    for _ in range(3):
        client.converse(modelId=NOVA, messages=[user("Hello!")], inferenceConfig={"maxTokens": 900})
