//! Every error of the service as the client sees it, through the real SDK: class, reaction, advice, request id.

use std::time::Duration;

use riverbed::bedrock::{BedrockConfig, CallError, Class, Client, Disposition, client::Emulated};
use riverbed::embed::{self, Embedder};
use riverbed::emulator::{self, Emulator, Fault, Vectors};

/// What is expected of one error.
struct Case {
    fault: Fault,
    class: Class,
    status: Option<u16>,
    code: Option<&'static str>,
    /// Words of the service, or of the client where nothing came.
    says: &'static str,
    /// Words of the advice.
    helps: &'static str,
}

/// An error in the service's form.
fn error(status: u16, code: &'static str, message: &'static str, class: Class, helps: &'static str) -> Case {
    let code_seen = Some(code).filter(|code| !code.is_empty());
    Case { fault: Fault::error(status, code, message), class, status: Some(status), code: code_seen, says: message, helps }
}

/// One that has no such form.
fn other(fault: Fault, class: Class, status: Option<u16>, says: &'static str, helps: &'static str) -> Case {
    Case { fault, class, status, code: None, says, helps }
}

const PROFILE: &str = "Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn\u{2019}t supported. Retry your request \
                       with the ID or ARN of an inference profile that contains this model.";
const NO_ACCESS: &str = "You don't have access to the model with the specified model ID.";
const TOO_LONG: &str = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9875";
const MAX_LENGTH: &str =
    "Malformed input request: expected maxLength: 50000, actual: 52611, please reformat your input and try again.";

fn cases() -> Vec<Case> {
    use Class::{BadAnswer, Configuration, Connection, Credentials, Model, Refused, Throttled, TimedOut, Unavailable};
    let (health, text, gateway) = ("AWS health dashboard", "the message says why", "a gateway or proxy may have answered");
    vec![
        error(429, "ThrottlingException", "Too many requests, please wait before trying again.", Throttled, "Service Quotas"),
        error(429, "ThrottlingException", "Too many tokens, please wait before trying again.", Throttled, "Service Quotas"),
        error(
            429,
            "ThrottlingException",
            "Too many tokens per day, please wait before trying again.",
            Throttled,
            "Service Quotas",
        ),
        error(429, "ModelNotReadyException", "The model is not ready.", Throttled, "Service Quotas"),
        error(408, "ModelTimeoutException", "Model has timed out in processing the request.", Unavailable, health),
        error(424, "ModelErrorException", "The system encountered an unexpected error during processing.", Unavailable, health),
        error(500, "InternalServerException", "The system encountered an unexpected error.", Unavailable, health),
        error(503, "ServiceUnavailableException", "Bedrock is unable to process your request.", Unavailable, health),
        error(529, "overloaded_error", "Overloaded", Unavailable, health),
        error(400, "ValidationException", TOO_LONG, Refused, text),
        error(400, "ValidationException", MAX_LENGTH, Refused, text),
        error(400, "ValidationException", "The provided model identifier is invalid.", Model, "check the spelling of"),
        error(400, "ValidationException", "Operation not allowed", Model, "may not use Bedrock yet"),
        error(
            400,
            "ValidationException",
            "The guardrail identifier or version provided in the request does not exist.",
            Configuration,
            "`aws bedrock list-guardrails`",
        ),
        error(404, "ResourceNotFoundException", "Guardrail was not found", Configuration, "`aws bedrock list-guardrails`"),
        error(
            400,
            "ValidationException",
            "The ARN is of a different region than the endpoint",
            Configuration,
            "of the region in `bedrock.region`",
        ),
        error(400, "ValidationException", PROFILE, Model, "through an inference profile"),
        error(400, "ValidationException", "This model version has reached the end of its life.", Model, "another model"),
        error(400, "ServiceQuotaExceededException", "Your request exceeds the service quota.", Model, "Service Quotas"),
        error(404, "ResourceNotFoundException", "Could not resolve the foundation model.", Model, "open to this account"),
        error(404, "UnknownOperationException", "", Model, "serves Bedrock's runtime API"),
        error(403, "AccessDeniedException", NO_ACCESS, Credentials, "ask for access to the model"),
        error(
            403,
            "AccessDeniedException",
            "User: x is not authorized to perform: bedrock:InvokeModel",
            Credentials,
            "allow bedrock:InvokeModel",
        ),
        error(
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            Credentials,
            "fresh credentials",
        ),
        error(
            403,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            Credentials,
            "belong together",
        ),
        error(
            403,
            "InvalidSignatureException",
            "The request signature we calculated does not match",
            Credentials,
            "belong together",
        ),
        error(
            403,
            "InvalidSignatureException",
            "Signature expired: 20260131T110000Z is now earlier than",
            Credentials,
            "this machine's clock",
        ),
        other(Fault::Gateway { status: 502 }, Unavailable, Some(502), "", health),
        other(Fault::Gateway { status: 504 }, Unavailable, Some(504), "", health),
        other(Fault::Gateway { status: 413 }, Refused, Some(413), "", text),
        other(Fault::NotJson, BadAnswer, Some(200), "does not parse", gateway),
        other(Fault::WrongDimensions, BadAnswer, Some(200), "is unusable", gateway),
        other(Fault::MissingVector, BadAnswer, Some(200), "is unusable", gateway),
        other(Fault::NotFinite, BadAnswer, Some(200), "is unusable", gateway),
        other(Fault::CutBody, BadAnswer, Some(200), "", gateway),
        other(Fault::Reset, Connection, None, "", "can be reached"),
        other(Fault::Hang, TimedOut, None, "", "bedrock.attempt-timeout"),
    ]
}

fn disposition(class: Class) -> Disposition {
    match class {
        Class::Throttled | Class::Unavailable | Class::TimedOut | Class::Connection | Class::BadAnswer => Disposition::Retry,
        Class::Refused => Disposition::Reject,
        Class::Model | Class::Credentials | Class::Configuration | Class::Request => Disposition::Halt,
    }
}

/// Returns what has the form of a UUID.
fn is_request_id(text: &str) -> bool {
    let lengths: Vec<_> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|character| character == '-' || character.is_ascii_hexdigit())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_service_has_its_class_its_advice_and_its_request_id() {
    let config = emulator::EmulatorConfig { vectors: Vectors::Cheap, ..emulator::EmulatorConfig::default() };
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), config).await.unwrap();
    let emulated = Emulated { url: emulator.endpoint() };
    let config = BedrockConfig { attempt_timeout: Duration::from_millis(500), ..BedrockConfig::default() };
    let client = Client::connect(&config, Some(&emulated)).await.unwrap();
    let model = "amazon.titan-embed-text-v2:0".to_owned().try_into().unwrap();
    let settings = embed::Settings::resolve(&embed::EmbedConfig { model, ..Default::default() }).unwrap();
    let embedder = Embedder::new(client, settings);
    let mut request_ids = std::collections::HashSet::new();
    let cases = cases();
    let answered = cases.iter().filter(|case| case.status.is_some()).count();
    for (calls, case) in (1..).zip(cases) {
        emulator.script([case.fault.clone()]);
        let error: CallError = embedder.embed(&["words"]).await.unwrap_err();
        let fault = &case.fault;
        assert_eq!(
            emulator.counts().calls,
            calls,
            "{fault:?}: one attempt each, whatever the error: the SDK's own retries are off"
        );
        assert_eq!(
            (error.class, error.status, error.code.as_deref()),
            (case.class, case.status, case.code),
            "{fault:?}: {error}"
        );
        assert_eq!(error.class.disposition(), disposition(case.class));
        assert!(error.message.contains(case.says), "{fault:?}: {error}");
        assert!(error.advice().contains(case.helps), "{fault:?}: {}", error.advice());
        match error.request_id {
            Some(id) => {
                assert!(is_request_id(&id) && request_ids.insert(id.clone()), "{fault:?}: {id}");
                assert!(case.status.is_some());
            }
            None => assert_eq!(case.status, None, "{fault:?}: what was answered has a request id: {error:?}"),
        }
    }
    assert_eq!(request_ids.len(), answered);
    // The client is none the worse for any of it.
    assert_eq!(embedder.embed(&["words"]).await.unwrap().vectors.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_wish_for_the_next_attempt_is_read_from_its_header() {
    let emulator = Emulator::start(([127, 0, 0, 1], 0).into(), emulator::EmulatorConfig::default()).await.unwrap();
    let client = Client::connect(&BedrockConfig::default(), Some(&Emulated { url: emulator.endpoint() })).await.unwrap();
    let model = "amazon.titan-embed-text-v2:0".to_owned().try_into().unwrap();
    let settings = embed::Settings::resolve(&embed::EmbedConfig { model, ..Default::default() }).unwrap();
    let (name, message) = ("ThrottlingException".to_owned(), "wait".to_owned());
    emulator.script([Fault::Error { status: 429, name, message, retry_after: Some(Duration::from_secs(7)) }]);
    let error = Embedder::new(client, settings).embed(&["words"]).await.unwrap_err();
    assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(7))));
}
