//! Connections: kept between calls, through a proxy where the environment names one.

use std::time::Duration;

use aws_sdk_bedrockruntime::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use http::Uri;

/// An idle connection is not used again after this. Gateways forget idle connections without telling, the strictest that is
/// known after 350 s (Bedrock user guide, troubleshooting), and a call over a forgotten one hangs.
const IDLE: Duration = Duration::from_mins(1);

/// Makes the connections for calls to `endpoint`, and to AWS where that is `None`. How many are idle is not bounded here, since
/// `bedrock.max-in-flight` may change: each was made for a call, so there are about as many as calls were in flight within that minute.
/// The pool also keeps one that it began while a call waited for another to come back, so that there can be a few more.
pub(super) fn client(endpoint: Option<&str>) -> SharedHttpClient {
    let uri = endpoint.and_then(|endpoint| endpoint.parse::<Uri>().ok());
    // No certificates are loaded for plain HTTP: that alone takes longer than the rest of a start.
    let is_plain = uri.as_ref().is_some_and(|uri| uri.scheme_str() == Some("http"));
    // What is on this machine is no proxy's business, whatever NO_PROXY says.
    let is_local = uri.as_ref().and_then(Uri::host).is_some_and(is_loopback);
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().pool_idle_timeout(IDLE).pool_max_idle_per_host(usize::MAX);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(
            components.and_then(aws_smithy_runtime_api::client::runtime_components::RuntimeComponents::sleep_impl),
        );
        connector.set_proxy_config(Some(if is_local { ProxyConfig::disabled() } else { ProxyConfig::from_env() }));
        if is_plain { connector.build_http() } else { connector.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build() }
    })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "bedrock-runtime.us-east-1.amazonaws.com", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
