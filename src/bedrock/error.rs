//! Classes of failed calls. Decided once, here, by status and code; by message text only where those two say nothing.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId as _;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;

use super::panic_guard::Panicked;
use crate::report::{LONGEST_MESSAGE, chain, cut};

/// A server's hint counts up to this; beyond it we would rather ask again.
const LONGEST_HINT: Duration = Duration::from_mins(1);

/// Bytes of a name that the service gives, of an error or of a call.
const LONGEST_NAME: usize = 256;

/// A call that failed.
#[derive(Debug, Clone)]
pub struct CallError {
    /// What kind of failure it is.
    pub class: Class,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// The service's name for the error, as `ThrottlingException`.
    pub code: Option<String>,
    /// The service's own words, or the causes on our side.
    pub message: String,
    /// Names the call to AWS support.
    pub request_id: Option<String>,
    /// The service's wish for the wait before the next attempt.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure, each with one way to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Too many requests or tokens for the quota.
    Throttled,
    /// The service or the model broke or was not ready.
    Unavailable,
    /// No answer in time; the call may have run and been billed.
    TimedOut,
    /// The connection could not be made or was cut.
    Connection,
    /// An answer that does not hold what was asked for.
    BadAnswer,
    /// The service refuses this input.
    Refused,
    /// The model does not exist, is not here, or is not open to this account.
    Model,
    /// Credentials are missing, wrong or expired, or may not do this.
    Credentials,
    /// What every request has in common is refused, whatever the input: a guardrail, a parameter, a region.
    Configuration,
    /// No request could be made of what every request has in common: the region, the endpoint, the model, the credentials.
    Request,
}

/// What the pipeline does with a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Throttled or broken on the way: wait, then ask again.
    Retry,
    /// This input will never work: record why, go on with the rest.
    Reject,
    /// Nothing will work until a person acts (credentials, model access, a guardrail that is not there).
    Halt,
}

impl Class {
    /// Returns what to do with a call that failed so.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        match self {
            Self::Throttled | Self::Unavailable | Self::TimedOut | Self::Connection | Self::BadAnswer => Disposition::Retry,
            Self::Refused => Disposition::Reject,
            Self::Model | Self::Credentials | Self::Configuration | Self::Request => Disposition::Halt,
        }
    }

    /// Returns the name that logs and records use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
            Self::Connection => "connection",
            Self::BadAnswer => "bad-answer",
            Self::Refused => "refused",
            Self::Model => "model",
            Self::Credentials => "credentials",
            Self::Configuration => "configuration",
            Self::Request => "request",
        }
    }
}

impl CallError {
    /// Says what a failed SDK call means.
    pub(super) fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let header = |name| error.raw_response().and_then(|response| response.headers().get(name));
        let service = error.as_service_error();
        let code = service.and_then(ProvideErrorMetadata::code).map(|code| cut(code, LONGEST_NAME).into_owned());
        let message = said(service.and_then(ProvideErrorMetadata::message), error);
        let class = match error {
            SdkError::ConstructionFailure(_) => Class::Request,
            SdkError::TimeoutError(_) => Class::TimedOut,
            SdkError::DispatchFailure(failure) if failure.is_timeout() => Class::TimedOut,
            // What is neither I/O nor a timeout was never sent: no provider gave credentials, or nothing to sign with.
            SdkError::DispatchFailure(failure) if failure.is_other() || failure.is_user() => credentials_or_connection(error),
            SdkError::DispatchFailure(_) => Class::Connection,
            _ => by_answer(status.unwrap_or_default(), code.as_deref(), &message),
        };
        Self {
            class,
            status,
            code,
            message,
            request_id: error.request_id().map(|id| cut(id, LONGEST_NAME).into_owned()),
            retry_after: hint(header("x-amz-retry-after"), header("retry-after")),
        }
    }

    /// Returns into how many parts a text must be cut that the service refuses for its length, where that is why it refuses it.
    ///
    /// That it does is decided by status and code, as for any failure; the words only tell by how much. A throttle that speaks of
    /// tokens is none of this.
    #[must_use]
    pub fn parts(&self) -> Option<usize> {
        /// The words before the maximum, and before the actual number (the service's messages, and its models').
        const FORMS: [(&str, &str); 4] = [
            ("Max input tokens: ", "request input token count: "),
            ("expected maxLength: ", "actual: "),
            ("cannot exceed ", "received "),
            ("the maximum of ", "has "),
        ];
        if self.class != Class::Refused {
            return None;
        }
        // The answer of a model that cut the text by itself does not tell how long it was.
        if self.status == Some(200) && self.message.contains("truncatedCharLength") {
            return Some(2);
        }
        let (most, found) =
            FORMS.iter().find_map(|(most, found)| Some((number(&self.message, most)?, number(&self.message, found)?)))?;
        // A tenth more: tokens are not spread evenly over a text.
        let parts = (found.saturating_mul(11)).div_ceil(most.max(1).saturating_mul(10));
        (found > most).then(|| usize::try_from(parts.max(2)).unwrap_or(usize::MAX))
    }

    /// Returns whether the input alone is the reason, as far as status and words tell: other inputs need not be compared with it.
    #[must_use]
    pub fn is_of_input(&self) -> bool {
        /// What is said of lengths, and of what a text says (the service's messages, and its models').
        const FRAGMENTS: [&str; 15] = [
            "too long",
            "too large",
            "too many input tokens",
            "too many tokens",
            "maxlength",
            "minlength",
            "maximum length",
            "maximum number of tokens",
            "exceeds the maximum",
            "context window",
            "context length",
            "context limit",
            "at least one character",
            "content filter",
            "content policy",
        ];
        // With 200 or 413 the model or the service has looked at the input itself.
        let message = self.message.to_lowercase();
        self.class == Class::Refused
            && (matches!(self.status, Some(200 | 413))
                || self.parts().is_some()
                || FRAGMENTS.iter().any(|fragment| message.contains(fragment)))
    }

    /// Returns whether no call of this process will be served as things are, so that a run that ends need not try on: the keys
    /// themselves are refused, or the model is none.
    #[must_use]
    pub fn is_of_all_calls(&self) -> bool {
        self.is_about_keys() || (self.class != Class::Refused && self.is_of_configuration())
    }

    /// Returns this refusal as one of what all requests have in common, where they have all but the text from the configuration and
    /// the words name another part of the request.
    #[must_use]
    pub fn of_configured_request(self) -> Self {
        let is_common = self.class == Class::Refused && !self.is_of_input() && names_a_setting(&self.message);
        if is_common { Self { class: Class::Configuration, ..self } } else { self }
    }

    /// Returns this refusal of one input as one of all.
    #[must_use]
    pub(crate) fn as_everybodys(&self) -> Self {
        let message = format!("different inputs are rejected alike, and none is served: {}", self.message);
        Self { class: Class::Configuration, message, ..self.clone() }
    }

    /// Returns what is said to every input that is refused for the same reason: the words without numbers, ids and quoted parts.
    #[must_use]
    pub(crate) fn words(&self) -> String {
        let mut words = self.code.clone().unwrap_or_default();
        for word in without_quoted(&self.message).split_whitespace().take(MOST_WORDS) {
            words.push(' ');
            if word.contains(|character: char| character.is_ascii_digit()) || word.starts_with("arn:") {
                words.push('#');
            } else {
                words.push_str(&word.to_lowercase());
            }
        }
        words
    }

    /// Says that a call was not sent because there was a stop.
    pub(super) fn stopped() -> Self {
        let message = "stopped before it was sent".into();
        Self { class: Class::Connection, status: None, code: None, message, request_id: None, retry_after: None }
    }

    /// Says that no credentials were found for any call.
    pub(super) fn no_credentials(error: &(dyn Error + 'static)) -> Self {
        let (class, message) = (Class::Credentials, cut(&on_one_line(&chain(error)), LONGEST_MESSAGE).into_owned());
        Self { class, status: None, code: None, message, request_id: None, retry_after: None }
    }

    /// Returns whether the model is not loaded yet. That is a 429 as well, but says nothing of a quota (user guide, «Invoke your
    /// imported model»): an imported model that nobody has asked for five minutes sleeps, and wakes within seconds or minutes.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        self.code.as_deref() == Some("ModelNotReadyException")
    }

    /// Returns whether the service refuses the keys themselves, rather than what they may do.
    pub(super) fn is_about_keys(&self) -> bool {
        self.class == Class::Credentials && self.code.as_deref() != Some("AccessDeniedException")
    }

    /// Says what a failure in the middle of a stream means. Its status was 200 by then; the one that it would have had decides.
    pub(crate) fn of_stream<R>(error: &SdkError<ConverseStreamOutputError, R>, request_id: Option<String>) -> Self
    where
        R: fmt::Debug + 'static,
    {
        use ConverseStreamOutputError as Stream;
        let service = error.as_service_error();
        let (status, code) = match service {
            Some(Stream::ThrottlingException(_)) => (429, Some("ThrottlingException")),
            Some(Stream::ServiceUnavailableException(_)) => (503, Some("ServiceUnavailableException")),
            Some(Stream::InternalServerException(_)) => (500, Some("InternalServerException")),
            Some(Stream::ModelStreamErrorException(_)) => (424, Some("ModelStreamErrorException")),
            Some(Stream::ValidationException(_)) => (400, Some("ValidationException")),
            Some(other) => (0, other.code()),
            None => (0, None),
        };
        let message = said(service.and_then(ProvideErrorMetadata::message), error);
        let class = match error {
            SdkError::TimeoutError(_) => Class::TimedOut,
            SdkError::DispatchFailure(_) => Class::Connection,
            _ => by_answer(status, code, &message),
        };
        let code = code.map(|code| cut(code, LONGEST_NAME).into_owned());
        Self { class, status: Some(200), code, message, request_id, retry_after: None }
    }
}

/// `ThrottlingException: Too many requests (HTTP 429)`
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, "{code}: ")?;
        }
        f.write_str(&self.message)?;
        match self.status {
            Some(status) => write!(f, " (HTTP {status})"),
            None => Ok(()),
        }
    }
}

impl Error for CallError {}

/// Returns what the service says, or else the causes on our side; not more of it than anybody reads.
fn said(service: Option<&str>, error: &(dyn Error + 'static)) -> String {
    let message = service.map_or_else(|| Cow::Owned(causes(error)), Cow::Borrowed);
    cut(&message, LONGEST_MESSAGE).into_owned()
}

/// The SDK's bug, or a value that it cannot use: what is sent has no part in it. Like a connection that breaks it may hold for the next
/// call, or not.
impl From<Panicked> for CallError {
    fn from(panicked: Panicked) -> Self {
        let (class, message) = (Class::Connection, panicked.to_string());
        Self { class, status: None, code: None, message, request_id: None, retry_after: None }
    }
}

fn causes(error: &(dyn Error + 'static)) -> String {
    // «dispatch failure» and its like say nothing; what lies behind them does.
    error.source().map_or_else(|| error.to_string(), |cause| on_one_line(&chain(cause)))
}

/// Returns whether a document was failed for what was no fault of its own, as far as the class and the words that were noted then tell.
/// Earlier builds have noted such ones. A file of messages has its own parameters, so that words about those are its own.
#[must_use]
pub fn was_a_condition(class: &str, message: &str, has_own_parameters: bool) -> bool {
    /// The process had no descriptors, no memory or no threads.
    const OF_THE_SYSTEM: [&str; 5] =
        ["too many open files", "cannot allocate memory", "os error 11)", "os error 12)", "os error 23)"];
    let lowered = message.to_lowercase();
    match class {
        "request" | "credentials" | "model" | "configuration" => true,
        "connection" | "io" => OF_THE_SYSTEM.iter().any(|fragment| lowered.contains(fragment)),
        "refused" => {
            names_the_account(message)
                || names_a_guardrail(message)
                || names_a_region(message)
                || (!has_own_parameters && names_a_setting(message))
        }
        _ => false,
    }
}

/// Words of a refusal that are looked at: what differs after so many says little.
const MOST_WORDS: usize = 64;

/// Removes quoted parts. An apostrophe within a word is none.
fn without_quoted(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut closing = None;
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied().unwrap_or(' ');
        match closing {
            Some(mark) if character == mark && (mark != '\'' || !next.is_alphanumeric()) => closing = None,
            Some(_) => {}
            None => {
                closing = match character {
                    '"' | '`' => Some(character),
                    '\'' if !before.is_alphanumeric() => Some('\''),
                    '\u{201c}' => Some('\u{201d}'),
                    '\u{2018}' => Some('\u{2019}'),
                    _ => None,
                };
                kept.push(if closing.is_some() { '#' } else { character });
            }
        }
        before = character;
    }
    kept
}

/// Reads the number that follows some words.
fn number(text: &str, words: &str) -> Option<u64> {
    let (_, rest) = text.split_once(words)?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
    digits.parse().ok()
}

/// The AWS chain's text has a line for each source that it asked.
fn on_one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join("; ").replace("Attempted:; ", "Attempted: ");
    match line.split_once("no credentials found in chain. Attempted: ") {
        Some((_, tried)) => {
            format!("no credentials found in chain: {}", tried.split("; ").map(source).collect::<Vec<_>>().join(", "))
        }
        None => line,
    }
}

/// Names a source of the AWS chain in which nothing was found, with why where that is more than that nothing was set.
fn source(tried: &str) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("Environment", "environment"),
        ("Profile", "profile"),
        ("WebIdentityToken", "web identity"),
        ("EcsContainer", "container"),
        ("Ec2InstanceMetadata", "instance"),
    ];
    const NOT_SET: [&str; 4] =
        ["the credential provider was not enabled", "environment variable not set", "was not set", "not configured"];
    let (name, why) = tried.split_once(": ").unwrap_or((tried, ""));
    let name = NAMES.iter().find(|(of, _)| *of == name).map_or(name, |(_, name)| name);
    let why = why.rsplit_once("the credential provider was not enabled: ").map_or(why, |(_, why)| why);
    if why.is_empty() || NOT_SET.iter().any(|end| why.ends_with(end)) { name.to_owned() } else { format!("{name} ({why})") }
}

fn credentials_or_connection<E: Error + 'static>(error: &SdkError<E, HttpResponse>) -> Class {
    let text = causes(error);
    let of_credentials = ["credential", "identity", "auth scheme", "token"];
    if of_credentials.iter().any(|word| text.contains(word)) { Class::Credentials } else { Class::Connection }
}

/// Decides by status and code (Bedrock API reference, and its troubleshooting page for 529 and the 403 family).
fn by_answer(status: u16, code: Option<&str>, message: &str) -> Class {
    match (status, code.unwrap_or_default()) {
        (_, "ThrottlingException" | "TooManyRequestsException" | "ModelNotReadyException") | (429, _) => Class::Throttled,
        (
            _,
            "ServiceUnavailableException"
            | "InternalServerException"
            | "ModelTimeoutException"
            | "ModelErrorException"
            | "ModelStreamErrorException",
        )
        | (408 | 424 | 500..=599, _) => Class::Unavailable,
        (400, "RequestExpired" | "IncompleteSignature" | "NotAuthorized") | (401 | 403 | 407, _) => Class::Credentials,
        (404, _) if names_a_guardrail(message) => Class::Configuration,
        (400, "ServiceQuotaExceededException") | (404, _) => Class::Model,
        (400, "ValidationException") if names_the_model(message) || names_the_account(message) => Class::Model,
        (400, "ValidationException") if names_a_guardrail(message) || names_a_region(message) => Class::Configuration,
        (400..=499, _) => Class::Refused,
        // A success that could not be read, or a redirect: something on the way answered.
        _ => Class::BadAnswer,
    }
}

/// A wrong model is a 400 like a wrong text: only the words tell (recorded answers of the service).
fn names_the_model(message: &str) -> bool {
    const FRAGMENTS: [&str; 4] =
        ["model identifier is invalid", "on-demand throughput isn", "reached the end of its life", "have access to the model"];
    FRAGMENTS.iter().any(|fragment| message.contains(fragment))
}

/// Returns words as they are compared: in small letters, with the plain apostrophe.
fn lowered(message: &str) -> String {
    message.to_lowercase().replace('\u{2019}', "'")
}

/// An account that may not use Bedrock, or not yet, is answered so to every call.
pub(super) fn names_the_account(message: &str) -> bool {
    const FRAGMENTS: [&str; 4] =
        ["operation not allowed", "operation is not allowed", "account is not authorized", "account is not allowed"];
    let message = lowered(message);
    FRAGMENTS.iter().any(|fragment| message.contains(fragment))
}

/// A guardrail that is not there, or is another region's, is not the text's. One that refuses a text says so in an answer.
pub(super) fn names_a_guardrail(message: &str) -> bool {
    const FRAGMENTS: [&str; 9] = [
        "not exist",
        "not found",
        "n't found",
        "not be found",
        "n't be found",
        "invalid",
        "not valid",
        "n't supported",
        "not supported",
    ];
    let message = lowered(message);
    message.contains("guardrail") && FRAGMENTS.iter().any(|fragment| message.contains(fragment))
}

/// An ARN of another region, or a model that is not in this one.
pub(super) fn names_a_region(message: &str) -> bool {
    const FRAGMENTS: [&str; 9] = [
        "different region",
        "another region",
        "wrong region",
        "region mismatch",
        "match the region",
        "in this region",
        "in the region",
        "invalid region",
        "region in the arn",
    ];
    let message = lowered(message);
    FRAGMENTS.iter().any(|fragment| message.contains(fragment))
}

/// A field of the request that a model does not take. Only where the configuration has set it, every request has it.
pub(super) fn names_a_setting(message: &str) -> bool {
    const FIELDS: [&str; 14] = [
        "stopsequences",
        "stop_sequences",
        "stop sequences",
        "temperature",
        "topp",
        "top_p",
        "topk",
        "top_k",
        "maxtokens",
        "max_tokens",
        "cachepoint",
        "extraneous key",
        "system prompt",
        "system message",
    ];
    const VERDICTS: [&str; 10] = [
        "n't support",
        "not support",
        "not permitted",
        "not allowed",
        "n't allowed",
        "deprecated",
        "cannot both",
        "invalid",
        "not valid",
        "must be",
    ];
    let message = lowered(message);
    FIELDS.iter().any(|field| message.contains(field)) && VERDICTS.iter().any(|verdict| message.contains(verdict))
}

/// Reads the service's wish: milliseconds in its own header, seconds in the plain one; dates are ignored.
fn hint(millis: Option<&str>, secs: Option<&str>) -> Option<Duration> {
    let millis = millis.and_then(|text| text.trim().parse().ok()).map(Duration::from_millis);
    let secs = || secs.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    millis.or_else(secs).map(|hint| hint.min(LONGEST_HINT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_credentials_is_named_in_a_line() {
        let text = "other: the credential provider was not enabled: no credentials found in chain.\nAttempted:\n    \
                    Environment: the credential provider was not enabled: environment variable not set\n    \
                    Profile: the credential provider was not enabled\n    \
                    WebIdentityToken: the credential provider was not enabled: $AWS_WEB_IDENTITY_TOKEN_FILE was not set\n    \
                    EcsContainer: the credential provider was not enabled: ECS provider not configured\n    \
                    Ec2InstanceMetadata: could not communicate with IMDS: connection refused";
        let text = text.replace("chain.\nAttempted", "chain. Attempted");
        let line = "no credentials found in chain: environment, profile, web identity, container, instance (could not communicate with IMDS: \
                    connection refused)";
        assert_eq!(on_one_line(&text), line);
        assert_eq!(on_one_line("one\n  two"), "one; two");
    }

    fn check(status: u16, code: &str, message: &str, expect: Disposition) {
        let code = Some(code).filter(|code| !code.is_empty());
        assert_eq!(by_answer(status, code, message).disposition(), expect, "{status} {code:?} {message}");
    }

    #[test]
    fn transient_errors_are_retried() {
        for (status, code) in [
            (429, "ThrottlingException"),
            (429, "ModelNotReadyException"),
            (429, ""),
            (503, "ServiceUnavailableException"),
            (500, "InternalServerException"),
            (408, "ModelTimeoutException"),
            (424, "ModelErrorException"),
            (529, ""),
            (502, ""),
            (504, ""),
            (200, ""),
        ] {
            check(status, code, "", Disposition::Retry);
        }
    }

    #[test]
    fn a_throttle_that_speaks_of_tokens_is_no_overflow() {
        check(429, "ThrottlingException", "Too many tokens, please wait before trying again.", Disposition::Retry);
    }

    #[test]
    fn a_refused_text_is_rejected() {
        let message = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: 9875";
        check(400, "ValidationException", message, Disposition::Reject);
        check(413, "", "", Disposition::Reject);
    }

    #[test]
    fn a_cause_that_a_person_must_fix_halts() {
        check(400, "ValidationException", "The provided model identifier is invalid.", Disposition::Halt);
        check(403, "AccessDeniedException", "", Disposition::Halt);
        check(403, "ExpiredTokenException", "", Disposition::Halt);
        check(403, "UnrecognizedClientException", "", Disposition::Halt);
        check(404, "ResourceNotFoundException", "", Disposition::Halt);
    }

    #[test]
    fn a_cause_that_rejects_every_call_halts() {
        for message in [
            "Operation not allowed",
            "The guardrail identifier or version provided in the request does not exist.",
            "Guardrail arn:aws:bedrock:eu-west-1:1:guardrail/x couldn\u{2019}t be found",
            "The provided ARN is of a different region",
            "This model is not available in this region.",
        ] {
            check(400, "ValidationException", message, Disposition::Halt);
        }
        for message in ["Input is too long for requested model.", "The text is not valid UTF-8", "Unexpected role \"system\""] {
            check(400, "ValidationException", message, Disposition::Reject);
        }
    }

    fn refused(message: &str) -> CallError {
        let (class, message) = (Class::Refused, message.to_owned());
        CallError { class, status: Some(400), code: None, message, request_id: None, retry_after: None }
    }

    #[test]
    fn a_field_that_the_model_does_not_take_is_the_configurations_where_that_has_set_it() {
        for message in [
            "This model doesn't support the stopSequences field. Remove stopSequences and try again.",
            "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
            "Malformed input request: #: extraneous key [normalize] is not permitted, please reformat your input and try again.",
            "This model doesn\u{2019}t support system messages. Try again without a system message.",
        ] {
            assert_eq!(refused(message).of_configured_request().class, Class::Configuration, "{message}");
        }
        for message in [
            "input length and `max_tokens` exceed context limit: 199000 + 4096 > 200000",
            "Input is too long for requested model.",
            "The text is not valid UTF-8",
        ] {
            assert_eq!(refused(message).of_configured_request().class, Class::Refused, "{message}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_made_is_no_texts_fault_and_no_bug() {
        use aws_sdk_bedrockruntime::operation::invoke_model::InvokeModelError;
        let failure = SdkError::<InvokeModelError, HttpResponse>::construction_failure("invalid host");
        let error = CallError::of(&failure);
        assert_eq!((error.class, error.class.disposition()), (Class::Request, Disposition::Halt));
        assert!(!error.advice().contains("bug") && error.advice().contains("bedrock.region"), "{}", error.advice());
        assert!(error.is_of_configuration());
    }

    #[test]
    fn refusals_are_the_same_whatever_they_quote_and_count() {
        let same = [
            "Text 'number one' of 52 tokens isn't taken (request 7f9c-22)",
            "text `number two` of 61 tokens isn't taken (request 81aa-03)",
            "Text \u{201c}it's\u{201d} of 1,024 tokens isn't taken (request 0)",
        ];
        let words: Vec<_> = same.iter().map(|message| refused(message).words()).collect();
        assert!(words.iter().all(|other| *other == words[0]), "{words:?}");
        assert_ne!(refused("Text 'one' isn't taken").words(), refused("Text 'one' is taken").words());
    }

    #[test]
    fn what_failed_for_a_condition_is_distinguished_from_what_failed_for_itself() {
        for (class, message, is_condition) in [
            ("refused", "ValidationException: Operation not allowed (HTTP 400)", true),
            ("refused", "`sum`: ValidationException: This model doesn't support the stopSequences field. (HTTP 400)", true),
            ("refused", "ValidationException: this text is not for me (HTTP 400)", false),
            ("refused", "ValidationException: Input is too long for requested model. (HTTP 400)", false),
            ("request", "failed to construct request: invalid uri", true),
            ("connection", "io error: Too many open files (os error 24)", true),
            ("connection", "connection reset by peer (os error 104)", false),
            ("io", "cannot read the file: Too many open files (os error 24)", true),
            ("unavailable", "InternalServerException", false),
        ] {
            assert_eq!(was_a_condition(class, message, false), is_condition, "{class} {message}");
        }
        assert!(!was_a_condition("refused", "This model doesn't support the stopSequences field.", true));
    }

    #[test]
    fn a_refusal_for_length_tells_into_how_many_parts_the_text_must_be_cut() {
        let parts = |class, status, message: &str| {
            let (message, code, request_id, retry_after) = (message.to_owned(), None, None, None);
            CallError { class, status: Some(status), code, message, request_id, retry_after }.parts()
        };
        let titan = "400 Bad Request: Too many input tokens. Max input tokens: 8192, request input token count: ";
        for (message, expected) in [
            (format!("{titan}9875"), Some(2)),
            (format!("{titan}16000"), Some(3)),
            (format!("{titan}81920"), Some(11)),
            (
                "Malformed input request: expected maxLength: 50000, actual: 52611, please reformat your input and try again."
                    .into(),
                Some(2),
            ),
            ("Malformed input request: #/texts/0: expected maxLength: 2048, actual: 19882, please reformat".into(), Some(11)),
            ("too many tokens: total number of tokens in the prompt cannot exceed 512 - received 680. Try".into(), Some(2)),
            ("The text has 78 tokens, more than the maximum of 77".into(), Some(2)),
            ("expected minLength: 1, actual: 0".into(), None),
            ("Malformed input request: #: extraneous key [x] is not permitted".into(), None),
            ("expected maxLength: 0, actual: 0".into(), None),
            ("Max input tokens: 99999999999999999999, request input token count: 1".into(), None),
        ] {
            assert_eq!(parts(Class::Refused, 400, &message), expected, "{message}");
        }
        assert_eq!(parts(Class::Throttled, 429, &format!("{titan}9875")), None);
        assert_eq!(parts(Class::Refused, 200, "the model cut the text (`truncatedCharLength` is 8000)"), Some(2));
    }

    #[test]
    fn a_hint_is_read_in_its_own_unit_and_bounded() {
        assert_eq!(hint(Some("250"), Some("9")), Some(Duration::from_millis(250)));
        assert_eq!(hint(None, Some("2")), Some(Duration::from_secs(2)));
        assert_eq!(hint(None, Some("86400")), Some(LONGEST_HINT));
        assert_eq!(hint(None, Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
    }
}
