"""InvokeModel: every family, every shape, every limit."""

import math
import uuid

from bed import case, equal, invoke, refused

TEXT = "Test normalization disabled"  # four tokens, as the service counts them

TITAN_V1 = "amazon.titan-embed-text-v1"
TITAN_V2 = "amazon.titan-embed-text-v2:0"
TITAN_IMAGE = "amazon.titan-embed-image-v1"
NOVA = "amazon.nova-2-multimodal-embeddings-v1:0"
COHERE_ENGLISH = "cohere.embed-english-v3"
COHERE_MULTILINGUAL = "cohere.embed-multilingual-v3"
COHERE_V4 = "cohere.embed-v4:0"
MARENGO_2 = "us.twelvelabs.marengo-embed-2-7-v1:0"
MARENGO_3 = "twelvelabs.marengo-embed-3-0-v1:0"


def nova(text=TEXT, mode="NONE", **parameters):
    parameters = {"embeddingPurpose": "GENERIC_INDEX", "text": {"truncationMode": mode, "value": text}, **parameters}
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": parameters}


def cohere(*texts, **parameters):
    return {"texts": list(texts or [TEXT]), "input_type": "search_document", **parameters}


def marengo_2(text=TEXT, **parameters):
    return {"inputType": "text", "inputText": text, **parameters}


def marengo_3(text=TEXT):
    return {"inputType": "text", "text": {"inputText": text}}


SMALLEST = {
    TITAN_V1: {"inputText": TEXT},
    TITAN_V2: {"inputText": TEXT},
    TITAN_IMAGE: {"inputText": TEXT},
    NOVA: nova(),
    COHERE_ENGLISH: cohere(),
    COHERE_MULTILINGUAL: cohere(),
    COHERE_V4: cohere(),
    MARENGO_2: marengo_2(),
    MARENGO_3: marengo_3(),
}


def is_floats(vector, length):
    equal(len(vector), length)
    assert all(isinstance(number, (int, float)) and math.isfinite(number) for number in vector)
    assert len(set(vector)) > 10, "a vector says something"


def is_whole(vector, length, least, most):
    equal(len(vector), length)
    assert all(isinstance(number, int) and least <= number <= most for number in vector), vector[:8]
    assert len(set(vector)) > 1, "a vector says something"


def malformed(what):
    message = f"Malformed input request: {what}, please reformat your input and try again."
    return refused(400, "ValidationException", message)


def invalid(message):
    return refused(400, "ValidationException", message)


# Names.


@case
def every_model_is_reached_by_its_id_and_by_its_arn(emulator):
    client = emulator.client()
    for model, body in SMALLEST.items():
        invoke(client, model, body)
        if not model.startswith("us."):
            invoke(client, f"arn:aws:bedrock:us-east-1::foundation-model/{model}", body)
    equal(emulator.counts["answered"], {"200": 2 * len(SMALLEST) - 1})


@case
def a_profile_is_reached_by_its_id_and_by_its_arn(emulator):
    client = emulator.client()
    for prefix in ["us", "eu", "global"]:
        invoke(client, f"{prefix}.{COHERE_V4}", cohere())
        invoke(client, f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{prefix}.{COHERE_V4}", cohere())


@case
def a_model_that_does_not_exist_is_a_validation_error(emulator):
    client = emulator.client()
    arn = "arn:aws:bedrock:us-east-1:123456789012"
    for model in [
        "us.does-not-exist-model-v1:0",
        "amazon.titan-embed-text-v2",
        f"us.{TITAN_V2}",
        f"{arn}:application-inference-profile/a1b2c3d4e5f6",
        f"{arn}:inference-profile/{COHERE_V4}",
    ]:
        with refused(400, "ValidationException", "The provided model identifier is invalid.", client.exceptions.ValidationException):
            invoke(client, model, {"inputText": TEXT})


@case
def a_model_that_needs_a_profile_says_so(emulator):
    model = MARENGO_2.removeprefix("us.")
    message = (
        f"Invocation of model ID {model} with on-demand throughput isn\u2019t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )
    with invalid(message):
        invoke(emulator.client(), model, marengo_2())


# Headers.


@case
def an_answer_counts_tokens_and_milliseconds_in_its_head(emulator):
    client = emulator.client()
    tokens = {model: 18 if model == NOVA else 4 for model in SMALLEST}
    for model, body in SMALLEST.items():
        answer = invoke(client, model, body)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        equal((answer["contentType"], headers["content-type"]), ("application/json", "application/json"))
        equal(int(headers["x-amzn-bedrock-input-token-count"]), tokens[model])
        assert int(headers["x-amzn-bedrock-invocation-latency"]) >= 0
        equal(headers["x-riverbed-emulator"], "1")
    equal(emulator.counts["tokens"], sum(tokens.values()))


@case
def every_answer_has_a_request_id_of_its_own(emulator):
    client = emulator.client()
    ids = [invoke(client, TITAN_V2, {"inputText": TEXT})["ResponseMetadata"]["RequestId"] for _ in range(3)]
    equal([str(uuid.UUID(one)) for one in ids], ids)
    equal(len(set(ids)), 3)


@case
def the_latency_that_was_set_is_waited_and_told(emulator):
    emulator.set(latency="80ms")
    headers = invoke(emulator.client(), TITAN_V2, {"inputText": TEXT})["ResponseMetadata"]["HTTPHeaders"]
    assert int(headers["x-amzn-bedrock-invocation-latency"]) >= 80


@case
def a_media_type_that_is_not_json_is_refused(emulator):
    with invalid("The provided Content Type is invalid or not supported for this model"):
        invoke(emulator.client(), TITAN_V2, {"inputText": TEXT}, contentType="application/octet-stream")


@case
def a_body_that_is_no_json_is_refused(emulator):
    with invalid("Malformed input request, please reformat your input and try again."):
        emulator.client().invoke_model(modelId=TITAN_V2, body=b"text", contentType="application/json")


# The families' answers.


@case
def titan_v1_sends_its_vector_once(emulator):
    body = invoke(emulator.client(), TITAN_V1, {"inputText": TEXT})["body"]
    equal((list(body), body["inputTextTokenCount"]), (["embedding", "inputTextTokenCount"], 4))
    is_floats(body["embedding"], 1536)


@case
def titan_v2_sends_its_vector_twice(emulator):
    client = emulator.client()
    body = invoke(client, TITAN_V2, {"inputText": TEXT})["body"]
    equal(list(body), ["embedding", "embeddingsByType", "inputTextTokenCount"])
    equal((body["embeddingsByType"], body["inputTextTokenCount"]), ({"float": body["embedding"]}, 4))
    for dimensions in [256, 512, 1024]:
        is_floats(invoke(client, TITAN_V2, {"inputText": TEXT, "dimensions": dimensions})["body"]["embedding"], dimensions)


@case
def titan_v2_is_of_unit_length_unless_told_otherwise(emulator):
    client = emulator.client()
    length = lambda body: math.hypot(*invoke(client, TITAN_V2, body)["body"]["embedding"])  # noqa: E731
    assert abs(length({"inputText": TEXT}) - 1) < 1e-4
    assert length({"inputText": TEXT, "normalize": False}) > 1.5


@case
def titan_v2_gives_bits_as_one_number_each(emulator):
    client = emulator.client()
    body = invoke(client, TITAN_V2, {"inputText": TEXT, "embeddingTypes": ["binary"]})["body"]
    equal((list(body), list(body["embeddingsByType"])), (["embeddingsByType", "inputTextTokenCount"], ["binary"]))
    is_whole(body["embeddingsByType"]["binary"], 1024, 0, 1)
    body = invoke(client, TITAN_V2, {"inputText": TEXT, "embeddingTypes": ["float", "binary"]})["body"]
    equal(sorted(body["embeddingsByType"]), ["binary", "float"])


@case
def titan_multimodal_has_an_empty_message(emulator):
    client = emulator.client()
    body = invoke(client, TITAN_IMAGE, {"inputText": TEXT})["body"]
    equal((body["message"], body["inputTextTokenCount"], len(body["embedding"])), (None, 4, 1024))
    for length in [256, 384, 1024]:
        request = {"inputText": TEXT, "embeddingConfig": {"outputEmbeddingLength": length}}
        is_floats(invoke(client, TITAN_IMAGE, request)["body"]["embedding"], length)


@case
def nova_answers_with_a_list_of_one(emulator):
    client = emulator.client()
    [only] = invoke(client, NOVA, nova())["body"]["embeddings"]
    equal(only["embeddingType"], "TEXT")
    assert "truncatedCharLength" not in only
    is_floats(only["embedding"], 3072)
    for dimension in [256, 384, 1024, 3072]:
        [only] = invoke(client, NOVA, nova(embeddingDimension=dimension))["body"]["embeddings"]
        is_floats(only["embedding"], dimension)


@case
def nova_says_how_much_it_cut(emulator):
    for mode in ["START", "END"]:
        [only] = invoke(emulator.client(), NOVA, nova("a 7" * 6_000, mode))["body"]["embeddings"]
        assert 0 < only["truncatedCharLength"] < 18_000


@case
def cohere_v3_answers_with_a_list_unless_types_are_asked_for(emulator):
    client = emulator.client()
    for model in [COHERE_ENGLISH, COHERE_MULTILINGUAL]:
        body = invoke(client, model, cohere("one", "two"))["body"]
        equal((body["response_type"], body["texts"], len(body["embeddings"])), ("embeddings_floats", ["one", "two"], 2))
        uuid.UUID(body["id"])
        for vector in body["embeddings"]:
            is_floats(vector, 1024)
        by_type = invoke(client, model, cohere("one", "two", embedding_types=["float"]))["body"]
        equal((by_type["response_type"], by_type["embeddings"]), ("embeddings_by_type", {"float": body["embeddings"]}))


@case
def cohere_v4_answers_with_a_map_though_the_documentation_says_a_list(emulator):
    client = emulator.client()
    body = invoke(client, COHERE_V4, cohere())["body"]
    equal((body["response_type"], list(body["embeddings"])), ("embeddings_by_type", ["float"]))
    is_floats(body["embeddings"]["float"][0], 1536)
    for dimension in [256, 512, 1024, 1536]:
        body = invoke(client, COHERE_V4, cohere(output_dimension=dimension))["body"]
        is_floats(body["embeddings"]["float"][0], dimension)


@case
def cohere_gives_all_five_types(emulator):
    client = emulator.client()
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    for model, dimensions in [(COHERE_ENGLISH, 1024), (COHERE_MULTILINGUAL, 1024), (COHERE_V4, 1536)]:
        vectors = invoke(client, model, cohere(embedding_types=types))["body"]["embeddings"]
        equal(sorted(vectors), sorted(types))
        is_floats(vectors["float"][0], dimensions)
        is_whole(vectors["int8"][0], dimensions, -128, 127)
        is_whole(vectors["uint8"][0], dimensions, 0, 255)
        is_whole(vectors["binary"][0], dimensions // 8, -128, 127)
        is_whole(vectors["ubinary"][0], dimensions // 8, 0, 255)


@case
def ninety_six_texts_come_back_in_their_order(emulator):
    client = emulator.client()
    texts = [f"text number {number}" for number in range(96)]
    for model in [COHERE_ENGLISH, COHERE_V4]:
        of = lambda *texts: invoke(client, model, cohere(*texts, embedding_types=["int8"]))["body"]["embeddings"]["int8"]  # noqa: E731
        every = of(*texts)
        equal(len(every), 96)
        equal([every[95]], of(texts[95]))
    equal(emulator.counts["texts"], 2 * 97)


@case
def marengo_answers_with_a_list_or_with_one(emulator):
    client = emulator.client()
    is_floats(invoke(client, MARENGO_2, marengo_2())["body"]["data"][0]["embedding"], 1024)
    is_floats(invoke(client, MARENGO_3, marengo_3())["body"]["data"]["embedding"], 512)


# Limits and messages.


@case
def an_empty_text_is_refused_by_every_model(emulator):
    client = emulator.client()
    for model, body, place in [
        (TITAN_V1, {"inputText": ""}, ""),
        (TITAN_V2, {"inputText": ""}, ""),
        (TITAN_IMAGE, {"inputText": ""}, ""),
        (NOVA, nova(""), ""),
        (COHERE_ENGLISH, cohere("fine", ""), "#/texts/1: "),
        (COHERE_V4, cohere(""), "#/texts/0: "),
        (MARENGO_2, marengo_2(""), ""),
        (MARENGO_3, marengo_3(""), ""),
    ]:
        with malformed(f"{place}expected minLength: 1, actual: 0"):
            invoke(client, model, body)


@case
def too_many_characters_are_refused_with_both_numbers(emulator):
    client = emulator.client()
    for model in [TITAN_V1, TITAN_V2]:
        with malformed("expected maxLength: 50000, actual: 52611"):
            invoke(client, model, {"inputText": "x" * 52_611})
    with malformed("expected maxLength: 50000, actual: 50001"):
        invoke(client, NOVA, nova("x" * 50_001, "END"))
    for model in [COHERE_ENGLISH, COHERE_MULTILINGUAL]:
        with malformed("#/texts/1: expected maxLength: 2048, actual: 2049"):
            invoke(client, model, cohere("fine", "é" * 2_049, truncate="END"))
        invoke(client, model, cohere("é" * 2_048, truncate="END"))
    equal(emulator.counts["tokens"], 2 * 512)


@case
def too_many_tokens_are_refused_with_both_numbers(emulator):
    client = emulator.client()
    over = "400 Bad Request: Too many input tokens. Max input tokens: {}, request input token count: {}"
    for model, most in [(TITAN_V1, 8_192), (TITAN_V2, 8_192), (TITAN_IMAGE, 128)]:
        invoke(client, model, {"inputText": "word " * most})
        with invalid(over.format(most, most + 1)):
            invoke(client, model, {"inputText": "word " * (most + 1)})
    with invalid(over.format(8_172, 8_173)):
        invoke(client, NOVA, nova("word " * 8_173))
    for model, most in [(COHERE_ENGLISH, 512), (COHERE_V4, 128_000)]:
        text = "7 " * (most + 1)
        with invalid(f"too many tokens: total number of tokens in the prompt cannot exceed {most} - received {most + 1}. …"):
            invoke(client, model, cohere(text, truncate="NONE"))
        invoke(client, model, cohere(text, truncate="END"))


@case
def marengo_refuses_too_many_tokens_or_cuts_where_it_may(emulator):
    client = emulator.client()
    for body in [marengo_2("word " * 78, textTruncate="none")]:
        try:
            invoke(client, MARENGO_2, body)
        except client.exceptions.ValidationException as error:
            assert "has 78 tokens, more than the maximum of 77" in str(error), error
        else:
            raise AssertionError("78 tokens were taken")
    answer = invoke(client, MARENGO_2, marengo_2("word " * 78, textTruncate="end"))
    equal(answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"], "77")
    invoke(client, MARENGO_3, marengo_3("word " * 500))
    try:
        invoke(client, MARENGO_3, marengo_3("word " * 501))
    except client.exceptions.ValidationException as error:
        assert "has 501 tokens, more than the maximum of 500" in str(error), error
    else:
        raise AssertionError("501 tokens were taken")


@case
def too_many_or_no_texts_are_refused(emulator):
    client = emulator.client()
    for model in [COHERE_ENGLISH, COHERE_V4]:
        with malformed("#/texts: expected maximum item count: 96, found: 97"):
            invoke(client, model, cohere(*["x"] * 97))
        with malformed("#/texts: expected minimum item count: 1, found: 0"):
            invoke(client, model, {"texts": [], "input_type": "search_document"})


@case
def keys_that_are_missing_or_too_many_are_named(emulator):
    client = emulator.client()
    with malformed("#: required key [inputText] not found#: extraneous key [x] is not permitted"):
        invoke(client, TITAN_V2, {"x": 1})
    for key in ["dimensions", "normalize", "embeddingTypes"]:
        with malformed(f"#: extraneous key [{key}] is not permitted"):
            invoke(client, TITAN_V1, {"inputText": TEXT, key: 1})
    with malformed("#: extraneous key [output_dimension] is not permitted"):
        invoke(client, COHERE_ENGLISH, cohere(output_dimension=1024))
    with malformed("#: required key [taskType] not found#: required key [singleEmbeddingParams] not found"):
        invoke(client, NOVA, {})
    with malformed("#: required key [inputType] not found"):
        invoke(client, MARENGO_2, {"inputText": TEXT})
    with malformed("#/text: required key [inputText] not found"):
        invoke(client, MARENGO_3, {"inputType": "text", "text": {}})


@case
def values_that_a_model_does_not_know_are_named(emulator):
    client = emulator.client()
    for model, body, place, value in [
        (TITAN_V2, {"inputText": TEXT, "dimensions": 1536}, "dimensions", 1536),
        (TITAN_V2, {"inputText": TEXT, "embeddingTypes": ["int8"]}, "embeddingTypes/0", "int8"),
        (TITAN_IMAGE, {"inputText": TEXT, "embeddingConfig": {"outputEmbeddingLength": 512}}, "embeddingConfig/outputEmbeddingLength", 512),
        (NOVA, nova(embeddingDimension=512), "singleEmbeddingParams/embeddingDimension", 512),
        (NOVA, nova(embeddingPurpose="search_document"), "singleEmbeddingParams/embeddingPurpose", "search_document"),
        (COHERE_V4, {"texts": [TEXT], "input_type": "image"}, "input_type", "image"),
        (COHERE_V4, cohere(output_dimension=384), "output_dimension", 384),
        (MARENGO_2, marengo_2(textTruncate="start"), "textTruncate", "start"),
    ]:
        with malformed(f"#/{place}: {value} is not a valid enum value"):
            invoke(client, model, body)
    equal(emulator.counts["tokens"], 0)


@case
def a_body_above_25_million_bytes_is_refused(emulator):
    message = "1 validation error detected: Value at 'body' failed to satisfy constraint: Member must have length less than or equal to 25000000"
    with invalid(message):
        invoke(emulator.client(), TITAN_V2, {"inputText": "x" * 25_000_000})
