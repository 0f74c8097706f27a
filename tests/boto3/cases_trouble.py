"""What goes wrong between a client and the service: credentials, clocks, faults, quotas."""

import datetime
import json
import os
import urllib.request
from unittest import mock

import botocore.auth
from bed import broken, case, equal, invoke, refused
from botocore import UNSIGNED
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ConnectionClosedError, IncompleteReadError, ReadTimeoutError, ResponseStreamingError

TITAN = "amazon.titan-embed-text-v2:0"
BODY = {"inputText": "an otter"}
TOKENS = 2


def embed(client, text="an otter"):
    return invoke(client, TITAN, {"inputText": text})


# Credentials.


@case
def a_signature_is_recomputed_for_every_kind_of_path(emulator):
    client = emulator.client()
    cohere = {"texts": ["an otter"], "input_type": "search_query"}
    embed(client)
    invoke(client, "cohere.embed-english-v3", cohere)
    invoke(client, "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.cohere.embed-v4:0", cohere)
    embed(emulator.client(token="a session's token"))
    embed(emulator.client(region="eu-central-1"))


@case
def a_wrong_secret_is_found_out(emulator):
    with refused(403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. …"):
        embed(emulator.client(secret="another"))
    # Of other keys nobody knows the secret.
    embed(emulator.client(key="AKIDANYOTHER", secret="another"))


@case
def a_body_or_a_path_that_was_changed_after_signing_is_found_out(emulator):
    def change_body(request, **_):
        request.body = request.body.replace(b"otter", b"badger")
        request.headers["Content-Length"] = str(len(request.body))

    def change_path(request, **_):
        request.url = request.url.replace("v2%3A0", "v1")

    for change in [change_body, change_path]:
        client = emulator.client()
        client.meta.events.register("before-send.bedrock-runtime.InvokeModel", change)
        with refused(403, "InvalidSignatureException"):
            embed(client)


@case
def a_clock_that_is_off_is_found_out(emulator):
    real = botocore.auth.get_current_datetime
    for minutes, message in [(-10, "Signature expired: …"), (10, "Signature not yet current: …")]:
        off = datetime.timedelta(minutes=minutes)
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda *given, **named: real(*given, **named) + off):
            with refused(403, "InvalidSignatureException", message):
                embed(emulator.client())
    for minutes in [-4, 4]:
        off = datetime.timedelta(minutes=minutes)
        with mock.patch.object(botocore.auth, "get_current_datetime", lambda *given, **named: real(*given, **named) + off):
            embed(emulator.client())


@case
def a_call_without_credentials_is_forbidden(emulator):
    with refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token"):
        embed(emulator.client(signature_version=UNSIGNED))


@case
def a_signature_for_another_service_is_forbidden(emulator):
    request = AWSRequest("POST", f"{emulator.endpoint}/model/{TITAN}/invoke", {"content-type": "application/json"}, json.dumps(BODY))
    botocore.auth.SigV4Auth(Credentials("AKID", "secret"), "s3", "us-east-1").add_auth(request)
    sent = request.prepare()
    request = urllib.request.Request(sent.url, sent.body.encode(), dict(sent.headers.items()), method="POST")
    try:
        urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        equal((error.code, error.headers["x-amzn-errortype"].split(":")[0]), (403, "InvalidSignatureException"))
        assert "correct service: 'bedrock'" in json.load(error)["message"]
    else:
        raise AssertionError("it was answered")


@case
def a_bearer_token_takes_the_place_of_a_signature(emulator):
    with mock.patch.dict(os.environ, {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key-of-nobody"}):
        # It gives its token to none but HTTPS endpoints, so it believes in one until the request leaves.
        client = emulator.client(key=None, secret=None, endpoint=emulator.endpoint.replace("http:", "https:"))
        sent = []

        def send_in_the_clear(request, **_):
            request.url = request.url.replace("https:", "http:")
            sent.append(request.headers["Authorization"])

        client.meta.events.register("before-send.bedrock-runtime.InvokeModel", send_in_the_clear)
        embed(client)
    [authorization] = sent
    equal(authorization.decode() if isinstance(authorization, bytes) else authorization, "Bearer bedrock-api-key-of-nobody")


# Faults.

EXCEPTIONS = [
    (400, "ValidationException"),
    (400, "ServiceQuotaExceededException"),
    (403, "AccessDeniedException"),
    (404, "ResourceNotFoundException"),
    (408, "ModelTimeoutException"),
    (424, "ModelErrorException"),
    (429, "ThrottlingException"),
    (429, "ModelNotReadyException"),
    (500, "InternalServerException"),
    (503, "ServiceUnavailableException"),
]


@case
def every_exception_of_the_operation_is_typed(emulator):
    client = emulator.client()
    for status, name in EXCEPTIONS:
        emulator.script({"status": status, "name": name, "message": f"a {name} of the emulator"})
        with refused(status, name, f"a {name} of the emulator", getattr(client.exceptions, name)):
            embed(client)
    # One attempt each: the client was told not to try again.
    equal(emulator.counts["calls"], len(EXCEPTIONS))


@case
def faults_have_the_services_names_and_words(emulator):
    client = emulator.client()
    for fault, status, name, message in [
        ("429", 429, "ThrottlingException", "Too many requests, please wait before trying again."),
        ("500", 500, "InternalServerException", "The system encountered an unexpected error during processing. …"),
        ("503", 503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
        ("408", 408, "ModelTimeoutException", "Model has timed out in processing the request. Try your request again."),
        ("424", 424, "ModelErrorException", "…"),
    ]:
        emulator.script(fault)
        with refused(status, name, message, getattr(client.exceptions, name)):
            embed(client)


@case
def a_failed_model_tells_its_own_status(emulator):
    client = emulator.client()
    emulator.script("424")
    try:
        embed(client)
    except client.exceptions.ModelErrorException as error:
        equal(error.response["originalStatusCode"], 500)
    else:
        raise AssertionError("it was answered")


@case
def an_overload_has_no_exception_of_its_own(emulator):
    emulator.script("529")
    with refused(529, "overloaded_error", "Overloaded"):
        embed(emulator.client())


@case
def credentials_and_other_gates_have_names_without_a_type(emulator):
    client = emulator.client()
    for status, name in [(403, "ExpiredTokenException"), (403, "UnrecognizedClientException"), (404, "FTUFormNotFilled")]:
        emulator.script({"status": status, "name": name, "message": "no"})
        with refused(status, name, "no"):
            embed(client)


@case
def a_gateways_page_is_an_error_by_its_status(emulator):
    client = emulator.client()
    for fault in ["502", "504"]:
        emulator.script(fault)
        try:
            embed(client)
        except client.exceptions.ClientError as error:
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], int(fault))
        else:
            raise AssertionError("it was answered")


@case
def a_hint_when_to_come_back_is_sent(emulator):
    emulator.script({"status": 429, "name": "ThrottlingException", "message": "Rate exceeded", "retry-after": "1200ms"})
    client = emulator.client()
    try:
        embed(client)
    except client.exceptions.ThrottlingException as error:
        equal(error.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"], "2")
    else:
        raise AssertionError("it was answered")


@case
def a_reset_closes_the_connection(emulator):
    emulator.script("reset")
    with broken(ConnectionClosedError, ConnectionError):
        embed(emulator.client())
    equal(emulator.counts["unanswered"], 1)


@case
def a_call_that_hangs_runs_into_the_clients_timeout(emulator):
    emulator.script("hang")
    with broken(ReadTimeoutError):
        embed(emulator.client(read_timeout=0.3))


@case
def a_cut_body_is_found_out(emulator):
    emulator.script("cut")
    with broken(IncompleteReadError, ResponseStreamingError, ConnectionClosedError):
        embed(emulator.client())


@case
def garbage_is_no_json(emulator):
    emulator.script("garbage")
    with broken(json.JSONDecodeError):
        embed(emulator.client())


@case
def wrong_vectors_are_well_formed(emulator):
    emulator.set(faults="wrong-vectors 100%")
    lengths = {len(embed(emulator.client())["body"].get("embedding", [])) for _ in range(20)}
    # Short ones, none at all, and of the right length with a number that is none as a float.
    equal(lengths, {1023, 0, 1024})


@case
def an_answer_can_come_without_its_counts(emulator):
    emulator.script("no-counts")
    headers = embed(emulator.client())["ResponseMetadata"]["HTTPHeaders"]
    assert not [name for name in headers if name.startswith("x-amzn-bedrock-")], headers


@case
def the_clients_own_retries_get_over_a_throttle(emulator):
    emulator.script("429", "503", "none")
    answer = embed(emulator.client(attempts=3))
    equal(answer["ResponseMetadata"]["RetryAttempts"], 2)
    equal(emulator.counts["answered"], {"200": 1, "429": 1, "503": 1})


@case
def random_faults_follow_from_the_seed(emulator):
    def statuses(seed):
        emulator.reset()
        emulator.set(faults="429 30%, 503 20%", seed=seed)
        client = emulator.client()
        found = []
        for _ in range(40):
            try:
                found.append(embed(client)["ResponseMetadata"]["HTTPStatusCode"])
            except client.exceptions.ClientError as error:
                found.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return found

    first = statuses(1)
    equal(statuses(1), first)
    assert statuses(2) != first
    equal(set(first), {200, 429, 503})


# Quotas and the control path.


@case
def a_quota_of_requests_is_kept(emulator):
    emulator.set(requests="3/min window")
    client = emulator.client()
    for _ in range(3):
        embed(client)
    message = "Too many requests, please wait before trying again."
    with refused(429, "ThrottlingException", message, client.exceptions.ThrottlingException):
        embed(client)
    # Another model has a quota of its own.
    invoke(client, "amazon.titan-embed-text-v1", BODY)
    equal(emulator.counts["tokens"], 4 * TOKENS)
    emulator.set(requests="unlimited")
    embed(client)


@case
def a_quota_of_tokens_is_kept(emulator):
    emulator.set(tokens=f"{3 * TOKENS}/min window")
    client = emulator.client()
    embed(client, "one two three four five")
    with refused(429, "ThrottlingException", "Too many tokens, please wait before trying again."):
        embed(client)
    embed(client, "one")
    equal(emulator.counts["tokens"], 3 * TOKENS)


@case
def a_quota_of_zero_answers_nothing(emulator):
    emulator.set(requests="0/min")
    for _ in range(2):
        with refused(429, "ThrottlingException"):
            embed(emulator.client())


@case
def a_quota_can_change_on_a_schedule(emulator):
    emulator.set(requests="0/s for 300ms, unlimited")
    client = emulator.client(attempts=10)
    # The client's own retries find the second step.
    embed(client)
    assert emulator.counts["answered"]["200"] == 1


@case
def the_control_path_tells_settings_and_counts(emulator):
    embed(emulator.client())
    emulator.script("500")
    with refused(500, "InternalServerException"):
        embed(emulator.client())
    status, state = emulator.control("GET")
    equal((status, state["settings"]["requests"], state["settings"]["faults"]), (200, "unlimited", "none"))
    counts = state["counts"]
    equal((counts["calls"], counts["answered"], counts["texts"], counts["tokens"]), (2, {"200": 1, "500": 1}, 1, TOKENS))
    emulator.reset()
    equal((emulator.counts["calls"], emulator.counts["answered"]), (0, {}))


@case
def the_control_path_says_what_is_wrong(emulator):
    for method, path, body, status, says in [
        ("PUT", "/settings", {"speed": 1}, 400, "`speed` cannot be set here"),
        ("PUT", "/settings", {"requests": "20/h"}, 400, "a rate is `/s` or `/min`"),
        ("PUT", "/settings", {"faults": "418 1%"}, 400, "there is no fault `418`"),
        ("PUT", "/settings", {"seed": "x" * 70_000}, 413, "65536 bytes are enough"),
        ("POST", "/script", ["418"], 400, "there is no fault `418`"),
        ("POST", "/script", [{"status": 200, "name": "x", "message": "y"}], 400, "is no error's"),
        ("GET", "/settings", None, 405, "GET is not for this"),
        ("GET", "/nothing", None, 404, "there is no `/_riverbed/nothing`"),
    ]:
        found, answer = emulator.control(method, path, body)
        assert found == status and says in answer["message"], (found, answer)
