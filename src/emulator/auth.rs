//! A request's credentials. Any key will do: of its signature the form is checked. One key is known, secret half and all, for
//! clients that want more: AWS's documentation has it, and what is signed with it is recomputed and must be of this hour.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};

use super::response::Refusal;
use super::sigv4;

/// The key of the examples in AWS's documentation; it opens nothing.
const KNOWN_KEY: (&str, &str) = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");

/// How far a client's clock may be off.
const MOST_SKEW: Duration = Duration::from_mins(5);

/// How a request was authorised. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Signed with AWS Signature Version 4.
    SigV4 {
        /// The public half of the key: `AKIAIOSFODNN7EXAMPLE`.
        access_key_id: String,
        /// What the signature is good for: `20260131/us-east-1/bedrock/aws4_request`.
        scope: String,
    },
    /// A Bedrock API key.
    Bearer,
}

/// Reads the authorisation of a request.
pub(super) fn check(headers: &HeaderMap) -> Result<Authorization, Refusal> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Err(forbidden("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let value = value.to_str().map_err(|_| incomplete("Authorization header is not ASCII."))?;
    match value.split_once(' ') {
        Some(("AWS4-HMAC-SHA256", parameters)) => signature(parameters, headers),
        Some(("Bearer", token)) if !token.is_empty() && !token.contains(' ') => Ok(Authorization::Bearer),
        Some(("Bearer", _)) => {
            Err(forbidden("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid."))
        }
        _ => Err(incomplete("Authorization header requires the algorithm 'AWS4-HMAC-SHA256' or a 'Bearer' token.")),
    }
}

/// Recomputes the signature of a request that is signed with the key that is known, and looks at its time; `authorization` is
/// what [`check`] made of it.
pub(super) fn verify(authorization: &Authorization, head: &Parts, body: &[u8]) -> Result<(), Refusal> {
    let Authorization::SigV4 { access_key_id, scope } = authorization else { return Ok(()) };
    if access_key_id != KNOWN_KEY.0 {
        return Ok(());
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (date, authorization) = (header("x-amz-date"), header("authorization"));
    check_clock(date, SystemTime::now())?;
    let parameter = |name: &str| {
        let (_, rest) = authorization.split_once(name)?;
        Some(rest.split(',').next().unwrap_or(rest).trim())
    };
    let signed_headers = parameter("SignedHeaders=").unwrap_or_default();
    if parameter("Signature=") == Some(&sigv4::of(head, body, date, scope, signed_headers, KNOWN_KEY.1)) {
        return Ok(());
    }
    Err(mismatch(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and \
         signing method. Consult the service documentation for details.",
    ))
}

/// `date` has the form of a timestamp, though it may be no day of the calendar.
fn check_clock(date: &str, now: SystemTime) -> Result<(), Refusal> {
    let signed = [&date[..4], "-", &date[4..6], "-", &date[6..11], ":", &date[11..13], ":", &date[13..]].concat();
    let signed = humantime::parse_rfc3339(&signed).map_err(|_| mismatch("The date of the request is none of the calendar."))?;
    let basic = |time| humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "");
    let (earliest, latest) = (now - MOST_SKEW, now + MOST_SKEW);
    let (then, now) = (basic(signed), basic(now));
    if signed < earliest {
        return Err(mismatch(format!("Signature expired: {then} is now earlier than {} ({now} - 5 min.)", basic(earliest))));
    }
    if signed > latest {
        return Err(mismatch(format!(
            "Signature not yet current: {then} is still later than {} ({now} + 5 min.)",
            basic(latest)
        )));
    }
    Ok(())
}

/// `Credential=ID/20260131/us-east-1/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=hex`
fn signature(parameters: &str, headers: &HeaderMap) -> Result<Authorization, Refusal> {
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for parameter in parameters.split(',').map(str::trim) {
        match parameter.split_once('=') {
            Some(("Credential", value)) => credential = Some(value),
            Some(("SignedHeaders", value)) => signed_headers = Some(value),
            Some(("Signature", value)) => signature = Some(value),
            _ => return Err(incomplete("Authorization header has a parameter that is none of SigV4's.")),
        }
    }
    let credential = credential.ok_or_else(|| incomplete("Authorization header requires 'Credential' parameter."))?;
    let signed_headers = signed_headers.ok_or_else(|| incomplete("Authorization header requires 'SignedHeaders' parameter."))?;
    let signature = signature.ok_or_else(|| incomplete("Authorization header requires 'Signature' parameter."))?;

    let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).filter(|date| is_timestamp(date));
    let date =
        date.ok_or_else(|| incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."))?;
    let (access_key_id, scope) = credential.split_once('/').unwrap_or((credential, ""));
    check_scope(scope, &date[..8])?;
    if access_key_id.is_empty() {
        return Err(forbidden("UnrecognizedClientException", "The security token included in the request is invalid."));
    }
    check_signed_headers(signed_headers, headers)?;
    if signature.len() != 64 || !signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(mismatch("The request signature we calculated does not match the signature you provided."));
    }
    Ok(Authorization::SigV4 { access_key_id: access_key_id.to_owned(), scope: scope.to_owned() })
}

/// `20260131/us-east-1/bedrock/aws4_request`, of the day that the request says it was signed on.
fn check_scope(scope: &str, day: &str) -> Result<(), Refusal> {
    let mut parts = scope.split('/');
    if parts.next() != Some(day) {
        return Err(mismatch("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP."));
    }
    if parts.next().is_none_or(str::is_empty) {
        return Err(mismatch("Credential should be scoped to a valid region."));
    }
    if parts.next() != Some("bedrock") {
        return Err(mismatch("Credential should be scoped to correct service: 'bedrock'."));
    }
    if parts.next() != Some("aws4_request") || parts.next().is_some() {
        return Err(mismatch("Credential should be scoped with a valid terminator: 'aws4_request'."));
    }
    Ok(())
}

/// Sorted lower-case names of headers that are there, `host` and `x-amz-date` among them.
fn check_signed_headers(signed: &str, headers: &HeaderMap) -> Result<(), Refusal> {
    let names = || signed.split(';');
    let complete = ["host", "x-amz-date"].iter().all(|needed| names().any(|name| name == *needed));
    let lower_case = !signed.bytes().any(|byte| byte.is_ascii_uppercase());
    if complete && lower_case && names().is_sorted() && names().all(|name| headers.contains_key(name)) {
        return Ok(());
    }
    Err(mismatch("'Host' or ':authority' and 'X-Amz-Date' must be among the 'SignedHeaders' in the AWS Authorization."))
}

/// `20260131T120000Z`
fn is_timestamp(date: &str) -> bool {
    date.len() == 16
        && date.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

fn incomplete(message: &'static str) -> Refusal {
    forbidden("IncompleteSignatureException", message)
}

fn mismatch(message: impl Into<Cow<'static, str>>) -> Refusal {
    forbidden("InvalidSignatureException", message)
}

fn forbidden(name: &'static str, message: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, name, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: &str = "20260131/us-east-1/bedrock/aws4_request";

    fn signed(scope: &str, signed_headers: &str) -> String {
        let signature = "0123456789abcdef".repeat(4);
        format!("AWS4-HMAC-SHA256 Credential=AKID/{scope}, SignedHeaders={signed_headers}, Signature={signature}")
    }

    fn check(authorization: &str, expected: Result<Authorization, &str>) {
        let mut headers = HeaderMap::new();
        headers.insert("host", "127.0.0.1".parse().unwrap());
        headers.insert("x-amz-date", "20260131T120000Z".parse().unwrap());
        headers.insert(AUTHORIZATION, authorization.parse().unwrap());
        let found = super::check(&headers).map_err(|refusal| (refusal.status.as_u16(), refusal.name.into_owned()));
        assert_eq!(found, expected.map_err(|name| (403, name.to_owned())), "{authorization}");
    }

    #[test]
    fn a_signature_and_a_bearer_token_are_accepted() {
        let sigv4 = Authorization::SigV4 { access_key_id: "AKID".to_owned(), scope: SCOPE.to_owned() };
        check(&signed(SCOPE, "host;x-amz-date"), Ok(sigv4));
        check("Bearer bedrock-api-key-abc", Ok(Authorization::Bearer));
    }

    #[test]
    fn a_signature_for_something_else_is_refused() {
        for scope in
            ["20260201/us-east-1/bedrock/aws4_request", "20260131//bedrock/aws4_request", "20260131/us-east-1/s3/aws4_request"]
        {
            check(&signed(scope, "host;x-amz-date"), Err("InvalidSignatureException"));
        }
        for scope in ["", "20260131", "20260131/us-east-1/bedrock", "20260131/us-east-1/bedrock/aws4_request/x"] {
            check(&signed(scope, "host;x-amz-date"), Err("InvalidSignatureException"));
        }
    }

    #[test]
    fn signed_headers_are_sorted_present_and_enough() {
        for names in ["host", "x-amz-date;host", "Host;x-amz-date", "host;x-amz-date;x-amz-other", ""] {
            check(&signed(SCOPE, names), Err("InvalidSignatureException"));
        }
    }

    #[test]
    fn an_authorisation_of_another_form_is_incomplete() {
        for value in ["", "Basic dXNlcg==", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=AKID/x", "AWS4-HMAC-SHA256 Key=1"] {
            check(value, Err("IncompleteSignatureException"));
        }
        check("Bearer ", Err("AccessDeniedException"));
    }

    #[test]
    fn a_clock_may_be_off_by_five_minutes() {
        let now = humantime::parse_rfc3339("2026-01-31T12:00:00Z").unwrap();
        let said = |date| check_clock(date, now).map_err(|refusal| refusal.message.into_owned());
        for date in ["20260131T115500Z", "20260131T120000Z", "20260131T120500Z"] {
            assert_eq!(said(date), Ok(()));
        }
        let expired = "Signature expired: 20260131T115459Z is now earlier than 20260131T115500Z (20260131T120000Z - 5 min.)";
        assert_eq!(said("20260131T115459Z"), Err(expired.to_owned()));
        let early =
            "Signature not yet current: 20260201T000000Z is still later than 20260131T120500Z (20260131T120000Z + 5 min.)";
        assert_eq!(said("20260201T000000Z"), Err(early.to_owned()));
        assert!(said("20261331T120000Z").unwrap_err().contains("none of the calendar"));
    }

    #[test]
    fn no_authorisation_has_an_error_of_its_own() {
        assert_eq!(super::check(&HeaderMap::new()).unwrap_err().name, "MissingAuthenticationTokenException");
    }
}
