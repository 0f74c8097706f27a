//! What a person can do about a call that failed. Said once: the log, the records, `run` and `check` all take it from here.

use super::error::{CallError, Class, names_a_guardrail, names_a_region, names_a_setting, names_the_account};

/// What lies behind a failure, as far as a person can do something else about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    NoCredentials,
    BrokenSource,
    Expired,
    UnknownKey,
    Clock,
    ModelAccess,
    Policy,
    Agreement,
    NoSuchModel,
    NeedsProfile,
    EndOfLife,
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
    /// Returns what a person can do about it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.trouble() {
            Trouble::NoCredentials => {
                "give riverbed credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (`bedrock.profile`, or \
                 `aws sso login`), a role of the machine or container, or a Bedrock API key in AWS_BEARER_TOKEN_BEDROCK"
            }
            Trouble::BrokenSource => {
                "mend the source that the message names: sign in again (`aws sso login`), see that the profile or process is \
                 there, and that a role's trust policy lets these credentials take it on (with `bedrock.external-id`, where it asks)"
            }
            Trouble::Expired => {
                "get fresh credentials: `aws sso login`, or whatever made these; a daemon takes them up by itself, unless they \
                 stand in variables of its own"
            }
            Trouble::UnknownKey => {
                "see that key and secret belong together and to this partition of AWS: `aws sts get-caller-identity` tells"
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
            Trouble::Agreement => "the agreement for this model is being made: try again in 15 minutes",
            Trouble::NoSuchModel => {
                "see that `embed.model` is spelled right and that `bedrock.region` has it: \
                 `aws bedrock list-foundation-models --by-output-modality EMBEDDING`"
            }
            Trouble::NeedsProfile => {
                "call the model through an inference profile: put `us.`, `eu.`, `apac.` or `global.` before its id in `embed.model`; \
                 `aws bedrock list-inference-profiles` lists them"
            }
            Trouble::EndOfLife => "choose another model in `embed.model`; every document will be embedded again",
            Trouble::NotBedrock => "see that `bedrock.endpoint` is a server of Bedrock's runtime API",
            Trouble::OtherModel => "see that the model in `embed.model` is there, and is open to this account",
            Trouble::Account => {
                "this AWS account may not use Bedrock yet: see the Bedrock console, and open a case with AWS Support (Account and \
                 billing) with the message"
            }
            Trouble::Guardrail => {
                "see that `guardrail` and `guardrail-version` of the prompt name a guardrail of this account and of the region in \
                 `bedrock.region`: `aws bedrock list-guardrails`"
            }
            Trouble::OtherRegion => "name a model, profile or ARN of the region in `bedrock.region`, or set that to theirs",
            Trouble::Setting => "leave the setting out that the message names: the model does not take it",
            Trouble::Common => {
                "see what the message names: the account, the model, a guardrail or another setting; if it means the documents, \
                 another one that is served shows that, and these are then failed one by one"
            }
            Trouble::Unmakeable => {
                "no request can be made of these settings: see `bedrock.region`, `bedrock.endpoint`, the model's id and the \
                 credentials for characters that do not belong there"
            }
            Trouble::Quota => {
                "ask AWS for more quota (Service Quotas, Amazon Bedrock): new accounts have none for some models; or see who else \
                 uses it up"
            }
            Trouble::Unavailable => {
                "see the AWS health dashboard; `riverbed failed retry` tries again what was given up meanwhile"
            }
            Trouble::TimedOut => "raise `bedrock.attempt-timeout`, or see whether something on the way swallows packets",
            Trouble::NoSuchHost => {
                "see that `bedrock.region` or `bedrock.endpoint` is spelled right, and that this machine has DNS"
            }
            Trouble::Certificate => {
                "see that the endpoint speaks TLS and that this machine trusts who signed its certificate: install the package \
                 ca-certificates, or the certificate of a proxy that looks into TLS (SSL_CERT_FILE names another list)"
            }
            Trouble::Proxy => {
                "see what HTTPS_PROXY says: address, user and password as http://user:password@host:port; NO_PROXY excepts"
            }
            Trouble::Unreachable => "see that the endpoint can be reached: region, DNS, proxy, firewall",
            Trouble::BadAnswer => "see what stands between here and Bedrock: a gateway may have answered in its place",
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
            | Trouble::Clock
            | Trouble::ModelAccess
            | Trouble::Policy
            | Trouble::Agreement
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
        match self.class {
            Class::Credentials => match (self.status, code) {
                (Some(407), _) => Trouble::Proxy,
                (None, _) if says(&["found in chain", "no providers in chain"]) => Trouble::NoCredentials,
                (None, _) => Trouble::BrokenSource,
                (_, "RequestExpired" | "RequestTimeTooSkewed") => Trouble::Clock,
                _ if says(&["Signature expired", "Signature not yet current"]) => Trouble::Clock,
                (_, "ExpiredTokenException" | "ExpiredToken") => Trouble::Expired,
                _ if code.starts_with("MPAgreement") => Trouble::Agreement,
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
}
