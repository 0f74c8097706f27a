//! The form of a request's credentials. Any key will do; the signature itself is not recomputed.

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use super::answer::Refusal;

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

fn mismatch(message: &'static str) -> Refusal {
    forbidden("InvalidSignatureException", message)
}

fn forbidden(name: &'static str, message: &'static str) -> Refusal {
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
    fn no_authorisation_has_an_error_of_its_own() {
        assert_eq!(super::check(&HeaderMap::new()).unwrap_err().name, "MissingAuthenticationTokenException");
    }
}
