//! AWS Signature Version 4, recomputed from the specification: canonical request, string to sign, four keys, one MAC.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::http::request::Parts;
use sha2::{Digest as _, Sha256};

/// Returns the signature that a request with this scope and these signed headers must have.
///
/// `date` is `20260131T120000Z`, `scope` is `20260131/us-east-1/bedrock/aws4_request`.
pub(super) fn of(head: &Parts, body: &[u8], date: &str, scope: &str, signed_headers: &str, secret: &str) -> String {
    let canonical = hex(&Sha256::digest(canonical(head, body, signed_headers)));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
    let key = scope.split('/').fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

fn canonical(head: &Parts, body: &[u8], signed_headers: &str) -> String {
    let mut query: Vec<_> = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    // The path is encoded on the wire already, and once more here: `%3A` becomes `%253A`. Only S3 does not.
    let mut text = format!("{}\n{}\n{}\n", head.method, encoded(head.uri.path()), query.join("&"));
    for name in signed_headers.split(';') {
        let values: Vec<_> = head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let values: Vec<_> = values.iter().map(|value| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let _infallible = writeln!(text, "{name}:{}", values.join(","));
    }
    let given = head.headers.get("x-amz-content-sha256").and_then(|hash| hash.to_str().ok());
    let hash = given.map_or_else(|| hex(&Sha256::digest(body)), str::to_owned);
    text + "\n" + signed_headers + "\n" + &hash
}

fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    /// `get-vanilla` and `get-vanilla-query-order-key-case` of the test suite that AWS publishes.
    #[test]
    fn signatures_are_those_of_awss_test_suite() {
        for (uri, signature) in [
            ("/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("/?Param2=value2&Param1=value1", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ] {
            let request = Request::get(uri).header("host", "example.amazonaws.com").header("x-amz-date", "20150830T123600Z");
            let (head, ()) = request.body(()).unwrap().into_parts();
            let scope = "20150830/us-east-1/service/aws4_request";
            let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
            assert_eq!(of(&head, b"", "20150830T123600Z", scope, "host;x-amz-date", secret), signature, "{uri}");
        }
    }

    #[test]
    fn a_path_is_encoded_twice() {
        assert_eq!(encoded("/model/a%3A0/invoke"), "/model/a%253A0/invoke");
    }
}
