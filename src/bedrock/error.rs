//! What a failed call means. Decided once, here, by status and code; by words only where those two say nothing.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_bedrockruntime::operation::RequestId as _;
use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;

use crate::report::chain;

/// A server's hint counts up to this; beyond it we would rather ask again.
const LONGEST_HINT: Duration = Duration::from_mins(1);

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
    /// Our request could not be made.
    Request,
}

/// What the pipeline does with a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Throttled or broken on the way: wait, then ask again.
    Retry,
    /// This input will never work: record why, go on with the rest.
    Reject,
    /// Nothing will work until a person acts (credentials, model access).
    Halt,
}

impl Class {
    /// Returns what to do with a call that failed so.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        match self {
            Self::Throttled | Self::Unavailable | Self::TimedOut | Self::Connection | Self::BadAnswer => Disposition::Retry,
            Self::Refused | Self::Request => Disposition::Reject,
            Self::Model | Self::Credentials => Disposition::Halt,
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
        let code = service.and_then(ProvideErrorMetadata::code).map(ToOwned::to_owned);
        let said = service.and_then(ProvideErrorMetadata::message);
        let message = said.map_or_else(|| causes(error), ToOwned::to_owned);
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
            request_id: error.request_id().map(ToOwned::to_owned),
            retry_after: hint(header("x-amz-retry-after"), header("retry-after")),
        }
    }

    /// Returns into how many parts a text must be cut that the service refuses for its length, where that is why it refuses it.
    ///
    /// That it does is decided by status and code, as for any failure; the words only tell by how much. A throttle that speaks of
    /// tokens is none of this.
    #[must_use]
    pub fn parts(&self) -> Option<usize> {
        /// What stands before the most that is taken, and before what there was (the service's messages, and its models').
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

    /// Says that no credentials were found for any call.
    pub(super) fn no_credentials(error: &(dyn Error + 'static)) -> Self {
        let (class, message) = (Class::Credentials, on_one_line(&chain(error)));
        Self { class, status: None, code: None, message, request_id: None, retry_after: None }
    }

    /// Returns whether the service refuses the keys themselves, rather than what they may do.
    pub(super) fn is_about_keys(&self) -> bool {
        self.class == Class::Credentials && self.code.as_deref() != Some("AccessDeniedException")
    }

    /// Says what a failure in the middle of a stream means. Its status was 200 by then; the one that it would have had decides.
    pub(super) fn of_stream<R>(error: &SdkError<ConverseStreamOutputError, R>, request_id: Option<String>) -> Self
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
        let said = service.and_then(ProvideErrorMetadata::message);
        let message = said.map_or_else(|| causes(error), ToOwned::to_owned);
        let class = match error {
            SdkError::TimeoutError(_) => Class::TimedOut,
            SdkError::DispatchFailure(_) => Class::Connection,
            _ => by_answer(status, code, &message),
        };
        Self { class, status: Some(200), code: code.map(ToOwned::to_owned), message, request_id, retry_after: None }
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

fn causes(error: &(dyn Error + 'static)) -> String {
    // «dispatch failure» and its like say nothing; what lies behind them does.
    error.source().map_or_else(|| error.to_string(), |cause| on_one_line(&chain(cause)))
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
        (400, "ServiceQuotaExceededException") | (404, _) => Class::Model,
        (400, "ValidationException") if names_the_model(message) => Class::Model,
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

/// Reads the service's wish: milliseconds in its own header, seconds in the plain one; dates are passed over.
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
    fn what_the_service_may_get_over_is_asked_again() {
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
    fn what_a_person_must_mend_halts() {
        check(400, "ValidationException", "The provided model identifier is invalid.", Disposition::Halt);
        check(403, "AccessDeniedException", "", Disposition::Halt);
        check(403, "ExpiredTokenException", "", Disposition::Halt);
        check(403, "UnrecognizedClientException", "", Disposition::Halt);
        check(404, "ResourceNotFoundException", "", Disposition::Halt);
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
