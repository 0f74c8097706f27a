"""What the cases stand on: the emulator as a process, clients for it, and what is expected of them."""

import json
import os
import subprocess
import tempfile
import urllib.error
import urllib.request
from contextlib import contextmanager

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# Of AWS's own documentation: the emulator knows the secret half, and recomputes every signature that is made with it.
KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

CASES = []


def case(function):
    """Registers a function of one emulator; its name is the sentence that is printed."""
    CASES.append((function.__name__.replace("_", " "), function))
    return function


class Emulator:
    """A running `riverbed emulate`, driven over its control path."""

    def __init__(self, binary):
        self.binary = binary

    def __enter__(self):
        command = [os.path.abspath(self.binary), "emulate", "--listen", "127.0.0.1:0"]
        # In a folder without a configuration: it needs none.
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=self.folder.name)
        first = self.process.stdout.readline()
        if not first.startswith("listening on http://"):
            raise RuntimeError(f"{self.binary} did not start: {first!r}")
        self.endpoint = first.removeprefix("listening on ").strip()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        if self.process.wait(timeout=30) != 0:
            raise RuntimeError(f"the emulator ended with {self.process.returncode}")
        self.folder.cleanup()

    def control(self, method, path="", body=None):
        """Returns status and JSON of a request to the control path."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}/_riverbed{path}", data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def _done(self, *request):
        status, state = self.control(*request)
        assert status == 200, state
        return state

    def reset(self):
        self._done("POST", "/reset")

    def set(self, **settings):
        return self._done("PUT", "/settings", settings)

    def script(self, *faults):
        self._done("POST", "/script", list(faults))

    @property
    def counts(self):
        return self._done("GET")["counts"]

    def client(self, key=KEY, secret=SECRET, token=None, region="us-east-1", endpoint=None, attempts=1, **config):
        """Returns a client of the runtime. One attempt a call, unless asked for more."""
        retries = {"mode": "standard", "total_max_attempts": attempts}
        return boto3.session.Session().client(
            "bedrock-runtime",
            region_name=region,
            endpoint_url=endpoint or self.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries=retries, **{"read_timeout": 30, "connect_timeout": 5, **config}),
        )


def invoke(client, model, body, **parameters):
    """Invokes a model with JSON and returns the answer with its body read."""
    parameters = {"contentType": "application/json", "accept": "application/json", **parameters}
    answer = client.invoke_model(modelId=model, body=json.dumps(body), **parameters)
    return {**answer, "body": json.loads(answer["body"].read())}


def equal(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


@contextmanager
def refused(status, code, message=None, kind=ClientError):
    """Expects a call to be refused in exactly this way; a message that ends in `…` only begins so."""
    try:
        yield
    except ClientError as error:
        assert isinstance(error, kind), f"{type(error)} is no {kind}"
        metadata, said = error.response["ResponseMetadata"], error.response["Error"]
        equal((metadata["HTTPStatusCode"], said["Code"]), (status, code))
        assert metadata["RequestId"], "an error has a request id"
        if message is not None and message.endswith("…"):
            assert said["Message"].startswith(message[:-1]), said["Message"]
        elif message is not None:
            equal(said["Message"], message)
    else:
        raise AssertionError(f"{code} was expected, but the call was answered")


@contextmanager
def broken(*kinds):
    """Expects a call to end in an error of the client's own."""
    try:
        yield
    except kinds:
        return
    raise AssertionError(f"{[kind.__name__ for kind in kinds]} was expected, but the call was answered")
