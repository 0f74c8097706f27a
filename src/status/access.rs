//! Who may ask over HTTP: anybody on the machine itself, and from elsewhere a client with the token.
//!
//! A page of any site may have a browser send requests to loopback; it cannot read the answers, unless its own name leads to loopback
//! (DNS rebinding). Then the browser still sends that name as the host, so the host must be one of ours, to the letter.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::{Listen, config};
use crate::report::Invalid;

/// The fewest characters of a token: fewer could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// The access rules of requests.
#[derive(Debug)]
pub struct Guard {
    /// Hash of the token, so that comparing takes the same time whatever is compared.
    token: Option<blake3::Hash>,
}

/// What a request may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// Everything: it comes from the machine itself.
    HearNames,
    /// All but the names of documents.
    Hear,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
}

impl Guard {
    /// Reads the token, if other machines may ask.
    ///
    /// # Errors
    /// When they may and there is no token, or none that is fit.
    pub fn new(config: &config::StatusConfig) -> Result<Self, Invalid> {
        let is_remote = matches!(config.listen, Listen::At(address) if !address.ip().is_loopback());
        let Some(path) = config.token_file.as_ref().filter(|_| is_remote) else { return Ok(Self { token: None }) };
        Ok(Self { token: Some(token(path)?) })
    }

    /// Checks the host and token of a request.
    pub(super) fn admit(&self, head: &Parts, at: SocketAddr) -> Result<May, Refused> {
        if head.method != Method::GET {
            return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, why: "only GET is answered" });
        }
        let ip = at.ip().to_canonical();
        if ip.is_loopback() {
            return match host(head) {
                Some(host) if is_ours(host, ip, at.port()) => Ok(May::HearNames),
                Some(_) | None => {
                    Err(Refused { status: StatusCode::FORBIDDEN, why: "the host of the request is not this server" })
                }
            };
        }
        let sent = head.headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        match (self.token, sent) {
            // `Hash` compares in constant time.
            (Some(token), Some(sent)) if blake3::hash(sent) == token => Ok(May::Hear),
            _ => Err(Refused { status: StatusCode::UNAUTHORIZED, why: "send the token: `Authorization: Bearer …`" }),
        }
    }
}

fn token(path: &Path) -> Result<blake3::Hash, Invalid> {
    let invalid = |problem: String| Invalid {
        key: "status.token-file",
        problem,
        help: "put a token on one line into a file that riverbed can read; `openssl rand -hex 32` makes one".into(),
    };
    let read = |error: io::Error| invalid(format!("is `{}`, which cannot be read ({error})", path.display()));
    let text = std::fs::read_to_string(path).map_err(read)?;
    let token = text.trim_end();
    let is_fit = token.len() >= SHORTEST_TOKEN && token.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_fit {
        let problem = "holds no token: one line of at least 16 visible characters without spaces";
        return Err(invalid(format!("is `{}`, which {problem}", path.display())));
    }
    Ok(blake3::hash(token.as_bytes()))
}

/// Returns the host that a request is for, if it says so once and in one voice.
fn host(head: &Parts) -> Option<&str> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    let is_one = hosts.next().is_none() && head.version == Version::HTTP_11;
    let in_uri = head.uri.authority().map(hyper::http::uri::Authority::as_str);
    (is_one && in_uri.is_none_or(|authority| authority == host)).then_some(host)
}

fn is_ours(host: &str, ip: IpAddr, port: u16) -> bool {
    let own = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    ["localhost", "127.0.0.1", "[::1]", &own].iter().any(|name| {
        let rest = host.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name)).map(|_| &host[name.len()..]);
        rest.is_some_and(|rest| rest == format!(":{port}") || (port == 80 && rest.is_empty()))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hyper::Request;

    use super::*;

    const AT: &str = "127.0.0.1:9464";

    fn head(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::builder().uri(uri), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn admit(guard: &Guard, at: &str, uri: &str, headers: &[(&str, &str)]) -> Result<May, u16> {
        guard.admit(&head(uri, headers), at.parse().unwrap()).map_err(|refused| refused.status.as_u16())
    }

    #[test]
    fn a_host_that_only_looks_like_this_one_is_refused() {
        let guard = Guard { token: None };
        for host in ["127.0.0.1:9464", "localhost:9464", "LocalHost:9464", "[::1]:9464"] {
            assert_eq!(admit(&guard, AT, "/metrics", &[("host", host)]), Ok(May::HearNames), "{host}");
        }
        let forged = [
            "127.0.0.1",
            "localhost",
            "[::1]",
            "127.0.0.1:80",
            "127.0.0.1:94640",
            "127.0.0.1:9464.evil.com",
            "127.0.0.1.evil.com:9464",
            "127.0.0.1.evil.com",
            "localhost.evil.com:9464",
            "localhost.:9464",
            "evil.com",
            "evil.com:9464",
            "evil.localhost:9464",
            "evil.com#127.0.0.1:9464",
            "evil.com@127.0.0.1:9464",
            "user@127.0.0.1:9464",
            "127.0.0.1:9464@evil.com",
            "127.0.0.1:9464/evil.com",
            "127.0.0.1:9464 ",
            " 127.0.0.1:9464",
            "127.0.0.1:9464:9464",
            "127.0.0.1:09464",
            "127.0.0.1:+9464",
            "127.1:9464",
            "127.0.0.2:9464",
            "0.0.0.0:9464",
            "0x7f000001:9464",
            "2130706433:9464",
            "[::ffff:127.0.0.1]:9464",
            "::1:9464",
            "[::1%lo]:9464",
            "xn--localhost:9464",
            "",
            ":9464",
        ];
        assert!(forged.len() > 30);
        for host in forged {
            assert_eq!(admit(&guard, AT, "/metrics", &[("host", host)]), Err(403), "{host}");
        }
        assert_eq!(admit(&guard, AT, "/metrics", &[]), Err(403), "no host is none of ours");
        assert_eq!(admit(&guard, AT, "/metrics", &[("host", AT), ("host", "evil.com")]), Err(403));
        assert_eq!(admit(&guard, AT, "http://evil.com/metrics", &[("host", AT)]), Err(403));
        assert_eq!(admit(&guard, AT, "http://127.0.0.1:9464/metrics", &[("host", AT)]), Ok(May::HearNames));
    }

    #[test]
    fn the_usual_port_may_be_left_out_and_another_loopback_address_is_a_host_too() {
        let guard = Guard { token: None };
        assert_eq!(admit(&guard, "127.0.0.1:80", "/", &[("host", "localhost")]), Ok(May::HearNames));
        assert_eq!(admit(&guard, "127.8.0.1:9464", "/", &[("host", "127.8.0.1:9464")]), Ok(May::HearNames));
        assert_eq!(admit(&guard, "[::ffff:127.0.0.1]:9464", "/", &[("host", AT)]), Ok(May::HearNames));
    }

    #[test]
    fn nothing_is_posted() {
        let guard = Guard { token: None };
        let mut head = head("/metrics", &[("host", AT)]);
        for method in [Method::POST, Method::HEAD, Method::PUT, Method::OPTIONS, Method::CONNECT] {
            head.method = method;
            assert_eq!(guard.admit(&head, AT.parse().unwrap()).unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }

    #[test]
    fn from_elsewhere_the_token_counts_and_no_names_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let config = config::StatusConfig {
            listen: Listen::At("0.0.0.0:9464".parse().unwrap()),
            allow_remote: true,
            token_file: Some(path.clone()),
        };
        for unfit in ["", "short", "0123456789 abcdef", "0123456789abcdef\n0123456789abcdef\n"] {
            fs::write(&path, unfit).unwrap();
            assert_eq!(Guard::new(&config).unwrap_err().key, "status.token-file", "{unfit}");
        }
        fs::write(&path, "0123456789abcdef\n").unwrap();
        let guard = Guard::new(&config).unwrap();
        let at = "192.0.2.1:9464";
        let ask = |value: &str| admit(&guard, at, "/metrics", &[("host", "riverbed.example"), ("authorization", value)]);
        assert_eq!(ask("Bearer 0123456789abcdef"), Ok(May::Hear));
        for wrong in ["Bearer 0123456789abcdeg", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef"] {
            assert_eq!(ask(wrong), Err(401), "{wrong}");
        }
        assert_eq!(admit(&guard, at, "/metrics", &[("host", AT)]), Err(401));
        // Through loopback it is as it is where nobody else may ask.
        assert_eq!(admit(&guard, AT, "/metrics", &[("host", AT)]), Ok(May::HearNames));
        assert_eq!(admit(&Guard { token: None }, at, "/metrics", &[("authorization", "Bearer x")]), Err(401));
    }
}
