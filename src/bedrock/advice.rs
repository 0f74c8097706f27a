//! Advice for a person about a failed call. One source for the log, the records, `run` and `check`.

use std::borrow::Cow;

use super::error::{CallError, Class, names_a_guardrail, names_a_region, names_a_setting, names_the_account};

/// What a failed call was for: it says which key names its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKey {
    /// Vectors.
    Embed,
    /// An answer to a `[[chat]]` prompt.
    Chat,
    /// An answer to a file of messages.
    Messages,
    /// An answer, to one of the two.
    Either,
}

impl ModelKey {
    /// Reads it off the name of a lane: operation and model.
    #[must_use]
    pub fn of_lane(name: &str) -> Self {
        if name.starts_with("chat ") { Self::Either } else { Self::Embed }
    }

    /// Returns the key that names the model.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Embed => "`embed.model`",
            Self::Chat => "`chat.model`",
            Self::Messages => "`messages.models`",
            Self::Either => "`chat.model` or `messages.models`",
        }
    }

    /// Returns how AWS calls what comes out, and what another model means for documents that were done.
    fn of_models(self) -> (&'static str, &'static str) {
        match self {
            Self::Embed => ("EMBEDDING", "every document will be embedded again"),
            Self::Chat | Self::Messages | Self::Either => ("TEXT", "its questions will be asked again"),
        }
    }
}

/// What lies behind a failure, as far as a person can do something else about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoCredentials,
    BrokenSource,
    Expired,
    UnknownKey,
    ApiKey,
    Clock,
    ModelAccess,
    Policy,
    Agreement,
    Subscription,
    UseCase,
    NoSuchModel,
    NeedsProfile,
    EndOfLife,
    Legacy,
    NotBedrock,
    OtherModel,
    Account,
    Guardrail,
    OtherRegion,
    Setting,
    Common,
    Unmakeable,
    Quota,
    Unavailable,
    TimedOut,
    NoSuchHost,
    Certificate,
    Proxy,
    Unreachable,
    BadAnswer,
    Refused,
}

impl CallError {
    /// Returns what a person can do about it, with the key that names the model of such a call.
    #[must_use]
    pub fn advice_for(&self, asked: ModelKey) -> Cow<'static, str> {
        let (key, (modality, again)) = (asked.key(), asked.of_models());
        let advice = match self.trouble() {
            Trouble::NoSuchModel => format!(
                "check the spelling of {key} and that `bedrock.region` has the model: \
                 `aws bedrock list-foundation-models --by-output-modality {modality}`"
            ),
            Trouble::NeedsProfile => format!(
                "call the model through an inference profile: put `us.`, `eu.`, `apac.` or `global.` before its id in {key}; \
                 `aws bedrock list-inference-profiles` lists them"
            ),
            Trouble::EndOfLife => format!("choose another model in {key}; {again}"),
            Trouble::Legacy => format!(
                "the provider has marked this model as Legacy and closed it to accounts that have not used it recently: choose an \
                 active one in {key}; {again}"
            ),
            Trouble::OtherModel => format!("check that the model in {key} exists and is open to this account"),
            _ => return Cow::Borrowed(self.advice()),
        };
        Cow::Owned(advice)
    }

    /// Returns what a person can do about it, whatever it was for.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.trouble() {
            Trouble::NoCredentials => {
                "give riverbed credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (`bedrock.profile`, or \
                 `aws sso login`), a role of the machine or container, or a Bedrock API key in AWS_BEARER_TOKEN_BEDROCK"
            }
            Trouble::BrokenSource => {
                "fix the source that the message names: sign in again (`aws sso login`, `aws login`), check that the profile or process \
                 exists, and that a role's trust policy lets these credentials assume it (with `bedrock.external-id`, if required)"
            }
            Trouble::Expired => {
                "get fresh credentials: `aws sso login`, or whatever made these; a running daemon picks them up, unless they \
                 are in its own environment"
            }
            Trouble::UnknownKey => {
                "check that key and secret belong together and to this partition of AWS: `aws sts get-caller-identity` shows"
            }
            Trouble::ApiKey => {
                "make a new Bedrock API key and put it into AWS_BEARER_TOKEN_BEDROCK: this API key is not valid or has expired \
                 (short-term ones last 12 hours at most); unset the variable to use other credentials"
            }
            Trouble::Clock => {
                "set this machine's clock: signatures hold for a few minutes only (`timedatectl` shows and sets it)"
            }
            Trouble::ModelAccess => {
                "ask for access to the model in this region: Amazon Bedrock console, Model access; it takes some minutes"
            }
            Trouble::Policy => {
                "allow bedrock:InvokeModel on the resource that the message names, for the user or role that it names; for a model \
                 behind a cross-region profile, on the profile and on the model in each of its regions"
            }
            Trouble::Agreement => "the agreement for this model is being created: try again in 15 minutes",
            Trouble::Subscription => {
                "subscribe the account to the model once, with credentials that may aws-marketplace:Subscribe and ViewSubscriptions \
                 and an account that can be billed; the message says what is missing"
            }
            Trouble::UseCase => {
                "fill out Anthropic's use case form, once for the account: Amazon Bedrock console, Model catalog, any model of \
                 Claude; it takes effect after 15 minutes"
            }
            Trouble::NoSuchModel => {
                "check the spelling of the model's id and that `bedrock.region` has it: `aws bedrock list-foundation-models`"
            }
            Trouble::NeedsProfile => {
                "call the model through an inference profile: put `us.`, `eu.`, `apac.` or `global.` before its id; \
                 `aws bedrock list-inference-profiles` lists them"
            }
            Trouble::EndOfLife => "choose another model",
            Trouble::Legacy => {
                "the provider has marked this model as Legacy and closed it to accounts that have not used it recently: choose an \
                 active one"
            }
            Trouble::NotBedrock => "check that `bedrock.endpoint` serves Bedrock's runtime API",
            Trouble::OtherModel => "check that the model exists and is open to this account",
            Trouble::Account => {
                "this AWS account may not use Bedrock yet: see the Bedrock console, and open a case with AWS Support (Account and \
                 billing) with the message"
            }
            Trouble::Guardrail => {
                "check that `guardrail` and `guardrail-version` of the prompt name a guardrail of this account and of the region in \
                 `bedrock.region`: `aws bedrock list-guardrails`"
            }
            Trouble::OtherRegion => "name a model, profile or ARN of the region in `bedrock.region`, or set that to theirs",
            Trouble::Setting => "remove the setting that the message names: the model does not support it",
            Trouble::Common => {
                "check what the message names: the account, the model, a guardrail or another setting; if the documents are at \
                 fault, they fail one by one as soon as another document is served"
            }
            Trouble::Unmakeable => {
                "no request can be built from these settings: check `bedrock.region`, `bedrock.endpoint`, the model's id and \
                 the credentials for invalid characters"
            }
            Trouble::Quota => {
                "ask AWS for more quota (Service Quotas, Amazon Bedrock): new accounts have none for some models; or check what \
                 else uses it"
            }
            Trouble::Unavailable => "check the AWS health dashboard; `riverbed failed retry` retries what failed meanwhile",
            Trouble::TimedOut => "raise `bedrock.attempt-timeout`, or check whether a firewall or proxy drops packets",
            Trouble::NoSuchHost => "check the spelling of `bedrock.region` or `bedrock.endpoint`, and that this machine has DNS",
            Trouble::Certificate => {
                "check that the endpoint speaks TLS and that this machine trusts the issuer of its certificate: install the package \
                 ca-certificates, or the certificate of a proxy that inspects TLS (SSL_CERT_FILE names another list)"
            }
            Trouble::Proxy => {
                "check HTTPS_PROXY: address, user and password as http://user:password@host:port; NO_PROXY lists exceptions"
            }
            Trouble::Unreachable => "check that the endpoint can be reached: region, DNS, proxy, firewall",
            Trouble::BadAnswer => "check the path to Bedrock: a gateway or proxy may have answered in its place",
            Trouble::Refused => "the service will not take this text; the message says why",
        }
    }

    /// Returns whether the configuration is at fault, rather than credentials, access or the way there.
    #[must_use]
    pub fn is_of_configuration(&self) -> bool {
        match self.trouble() {
            Trouble::NoSuchModel
            | Trouble::NeedsProfile
            | Trouble::EndOfLife
            | Trouble::Legacy
            | Trouble::NotBedrock
            | Trouble::Guardrail
            | Trouble::OtherRegion
            | Trouble::Setting
            | Trouble::Common
            | Trouble::Unmakeable
            | Trouble::Refused => true,
            Trouble::NoCredentials
            | Trouble::BrokenSource
            | Trouble::Expired
            | Trouble::UnknownKey
            | Trouble::ApiKey
            | Trouble::Clock
            | Trouble::ModelAccess
            | Trouble::Policy
            | Trouble::Agreement
            | Trouble::Subscription
            | Trouble::UseCase
            | Trouble::OtherModel
            | Trouble::Account
            | Trouble::Quota
            | Trouble::Unavailable
            | Trouble::TimedOut
            | Trouble::NoSuchHost
            | Trouble::Certificate
            | Trouble::Proxy
            | Trouble::Unreachable
            | Trouble::BadAnswer => false,
        }
    }

    /// The class is decided already. Within it words may tell what helps: a wrong guess here misleads a reader, and nothing else.
    fn trouble(&self) -> Trouble {
        let code = self.code.as_deref().unwrap_or_default();
        let says = |words: &[&str]| words.iter().any(|word| self.message.contains(word));
        // The service's front end and gateways write these with and without capitals.
        let message = self.message.to_lowercase();
        let mentions = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match self.class {
            // A form is missing, whatever status it comes with: 404 and 403 were both seen.
            Class::Credentials | Class::Model if code == "FTUFormNotFilled" || mentions(&["use case details"]) => {
                Trouble::UseCase
            }
            Class::Credentials | Class::Model if mentions(&["marked by provider as legacy", "marked as legacy"]) => {
                Trouble::Legacy
            }
            Class::Credentials => match (self.status, code) {
                (Some(407), _) => Trouble::Proxy,
                (None, _) if says(&["found in chain", "no providers in chain"]) => Trouble::NoCredentials,
                (None, _) => Trouble::BrokenSource,
                (_, "RequestExpired" | "RequestTimeTooSkewed") => Trouble::Clock,
                _ if says(&["Signature expired", "Signature not yet current"]) => Trouble::Clock,
                // Before the rest: to an API key the service says `AccessDeniedException`, as it does to what a policy forbids.
                _ if self.status.is_some() && mentions(&["api key", "bearer token"]) => Trouble::ApiKey,
                (_, "ExpiredTokenException" | "ExpiredToken") => Trouble::Expired,
                _ if code.starts_with("MPAgreement") => Trouble::Agreement,
                _ if mentions(&["aws-marketplace:", "payment instrument"]) => Trouble::Subscription,
                (_, "AccessDeniedException") if says(&["access to the model"]) => Trouble::ModelAccess,
                (_, "AccessDeniedException" | "NotAuthorized") => Trouble::Policy,
                _ => Trouble::UnknownKey,
            },
            Class::Model => match code {
                "ServiceQuotaExceededException" => Trouble::Quota,
                "UnknownOperationException" => Trouble::NotBedrock,
                _ if says(&["model identifier is invalid"]) => Trouble::NoSuchModel,
                _ if says(&["on-demand throughput isn"]) => Trouble::NeedsProfile,
                _ if says(&["end of its life"]) => Trouble::EndOfLife,
                "" if self.status == Some(404) => Trouble::NotBedrock,
                _ if says(&["access to the model"]) => Trouble::ModelAccess,
                _ if names_the_account(&self.message) => Trouble::Account,
                _ => Trouble::OtherModel,
            },
            Class::Configuration => match () {
                () if names_a_guardrail(&self.message) => Trouble::Guardrail,
                () if names_a_region(&self.message) => Trouble::OtherRegion,
                () if names_a_setting(&self.message) => Trouble::Setting,
                () => Trouble::Common,
            },
            Class::Throttled => Trouble::Quota,
            Class::Unavailable => Trouble::Unavailable,
            Class::TimedOut => Trouble::TimedOut,
            Class::Connection => match () {
                () if says(&["proxy", "tunnel"]) => Trouble::Proxy,
                () if says(&["dns error", "failed to lookup"]) => Trouble::NoSuchHost,
                () if says(&["certificate", "UnknownIssuer", "InvalidContentType", "corrupt message", "handshake"]) => {
                    Trouble::Certificate
                }
                () => Trouble::Unreachable,
            },
            Class::BadAnswer => Trouble::BadAnswer,
            Class::Refused => Trouble::Refused,
            Class::Request => Trouble::Unmakeable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(class: Class, status: Option<u16>, code: &str, message: &str, trouble: Trouble) {
        let code = Some(code).filter(|code| !code.is_empty()).map(ToOwned::to_owned);
        let error = CallError { class, status, code, message: message.into(), request_id: None, retry_after: None };
        assert_eq!(error.trouble(), trouble, "{error:?}");
        assert!(error.advice().starts_with(char::is_lowercase) && !error.advice().ends_with('.'), "{}", error.advice());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table, a line or a few for each failure")]
    fn each_known_failure_has_its_own_advice() {
        let (denied, invalid) = ("AccessDeniedException", "ValidationException");
        for (class, status, code, message, trouble) in [
            (
                Class::Credentials,
                None,
                "",
                "the credential provider was not enabled: no credentials found in chain",
                Trouble::NoCredentials,
            ),
            (
                Class::Credentials,
                None,
                "",
                "ProfileFile provider could not be built: profile `x` was not defined",
                Trouble::BrokenSource,
            ),
            (Class::Credentials, Some(403), "ExpiredTokenException", "The security token is expired", Trouble::Expired),
            (Class::Credentials, Some(403), "UnrecognizedClientException", "The security token is invalid", Trouble::UnknownKey),
            (
                Class::Credentials,
                Some(403),
                "InvalidSignatureException",
                "The request signature does not match",
                Trouble::UnknownKey,
            ),
            (
                Class::Credentials,
                Some(403),
                "InvalidSignatureException",
                "Signature expired: 2026 is now earlier",
                Trouble::Clock,
            ),
            (Class::Credentials, Some(400), "RequestExpired", "", Trouble::Clock),
            (
                Class::Credentials,
                Some(403),
                denied,
                "You don't have access to the model with the specified model ID.",
                Trouble::ModelAccess,
            ),
            (Class::Credentials, Some(403), denied, "User: x is not authorized to perform: bedrock:InvokeModel", Trouble::Policy),
            (Class::Credentials, Some(403), "MPAgreementBeingCreated", "", Trouble::Agreement),
            (Class::Credentials, Some(407), "", "", Trouble::Proxy),
            (
                Class::Credentials,
                Some(403),
                denied,
                "Authentication failed: Please make sure your API Key is valid.",
                Trouble::ApiKey,
            ),
            (Class::Credentials, Some(403), denied, "Bearer Token has expired", Trouble::ApiKey),
            (Class::Credentials, Some(401), "", "Invalid API key provided", Trouble::ApiKey),
            (
                Class::Credentials,
                Some(403),
                denied,
                "User: x is not authorized to perform: bedrock:CallWithBearerToken",
                Trouble::Policy,
            ),
            (
                Class::Credentials,
                Some(403),
                denied,
                "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace \
                 actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe)",
                Trouble::Subscription,
            ),
            (
                Class::Credentials,
                Some(403),
                denied,
                "Model access is denied due to INVALID_PAYMENT_INSTRUMENT:A valid payment instrument must be provided.",
                Trouble::Subscription,
            ),
            (
                Class::Model,
                Some(404),
                "ResourceNotFoundException",
                "Model use case details have not been submitted for this account. Fill out the Anthropic use case details form",
                Trouble::UseCase,
            ),
            (Class::Model, Some(404), "FTUFormNotFilled", "", Trouble::UseCase),
            (
                Class::Model,
                Some(404),
                "ResourceNotFoundException",
                "Access denied. This Model is marked by provider as Legacy and you have not been actively using the model in the last \
                 30 days. Please upgrade to an active model on Amazon Bedrock",
                Trouble::Legacy,
            ),
            (Class::Model, Some(400), invalid, "The provided model identifier is invalid.", Trouble::NoSuchModel),
            (Class::Model, Some(400), invalid, "with on-demand throughput isn\u{2019}t supported", Trouble::NeedsProfile),
            (Class::Model, Some(400), invalid, "has reached the end of its life", Trouble::EndOfLife),
            (Class::Model, Some(404), "UnknownOperationException", "", Trouble::NotBedrock),
            (Class::Model, Some(404), "", "", Trouble::NotBedrock),
            (Class::Model, Some(404), "ResourceNotFoundException", "", Trouble::OtherModel),
            (Class::Model, Some(400), "ServiceQuotaExceededException", "", Trouble::Quota),
            (Class::Throttled, Some(429), "ThrottlingException", "Too many tokens", Trouble::Quota),
            (Class::Connection, None, "", "io error: dns error: failed to perform DNS lookup", Trouble::NoSuchHost),
            (Class::Connection, None, "", "invalid peer certificate: UnknownIssuer", Trouble::Certificate),
            (Class::Connection, None, "", "tunnel error: proxy authorization required", Trouble::Proxy),
            (Class::Connection, None, "", "connection refused", Trouble::Unreachable),
            (Class::TimedOut, None, "", "", Trouble::TimedOut),
        ] {
            check(class, status, code, message, trouble);
        }
    }

    #[test]
    fn advice_about_a_model_names_the_key_that_names_it() {
        let invalid = |message: &str| CallError {
            class: Class::Model,
            status: Some(400),
            code: Some("ValidationException".into()),
            message: message.into(),
            request_id: None,
            retry_after: None,
        };
        for message in [
            "The provided model identifier is invalid.",
            "with on-demand throughput isn\u{2019}t supported",
            "has reached the end of its life",
            "This Model is marked by provider as Legacy",
            "something else",
        ] {
            let error = invalid(message);
            for (asked, key, other) in [
                (ModelKey::Embed, "embed.model", "chat."),
                (ModelKey::Chat, "chat.model", "embed"),
                (ModelKey::Messages, "messages.models", "embed"),
                (ModelKey::of_lane("chat amazon.nova-micro-v1:0"), "chat.model` or `messages.models", "embed"),
                (ModelKey::of_lane("embed amazon.titan-embed-text-v2:0"), "embed.model", "chat."),
            ] {
                let advice = error.advice_for(asked);
                assert!(advice.contains(key) && !advice.contains(other), "{asked:?}: {advice}");
            }
            assert!(!error.advice().contains("embed"), "{}", error.advice());
        }
        assert!(
            invalid("The provided model identifier is invalid.").advice_for(ModelKey::Chat).contains("--by-output-modality TEXT")
        );
    }
}
