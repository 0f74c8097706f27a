//! Where the status is shown.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[status]`: where the daemon shows how it is doing, over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct StatusConfig {
    /// Address and port of the status page, `/metrics`, `/status.json`, `/healthz` and `/readyz`; port 0 takes a free one,
    /// `"off"` disables it. `riverbed status` works without it, and `run --once` never listens.
    pub listen: Listen,
    /// Whether `listen` may be an address that other machines reach. They must send the token of `token-file` and get no document
    /// names. It is plain HTTP: put a proxy with TLS in front.
    pub allow_remote: bool,
    /// File with the token for requests from other machines (`Authorization: Bearer …`): one line of at least 16 characters.
    pub token_file: Option<PathBuf>,
}

/// An address to listen on, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Listen {
    /// Nobody listens.
    Off,
    /// An IP address and a port.
    At(SocketAddr),
}

/// Says why a text is no address to listen on.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no address to listen on: give one with a port, as \"127.0.0.1:9464\", or \"off\"")]
pub struct NotAnAddress(String);

impl Default for Listen {
    fn default() -> Self {
        Self::At(SocketAddr::from(([127, 0, 0, 1], 9464)))
    }
}

impl FromStr for Listen {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        match text {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| NotAnAddress(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = NotAnAddress;

    fn try_from(text: String) -> Result<Self, NotAnAddress> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_off_is_off() {
        for (text, expected) in [("off", Some(Listen::Off)), ("127.0.0.1:9464", Some(Listen::default())), ("[::1]:0", None)] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
            assert!(expected.is_none_or(|expected| expected == listen));
        }
        for text in ["", "127.0.0.1", "localhost:80", "9464", "OFF"] {
            assert!(text.parse::<Listen>().unwrap_err().to_string().contains("or \"off\""), "{text}");
        }
    }
}
