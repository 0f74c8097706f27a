//! Connections: kept between calls, through a proxy where the environment names one.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_bedrockruntime::config::RuntimeComponents;
use aws_smithy_http_client::pool;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};
use http::Uri;

use super::response_limit::{Bounded, Vectors};

/// An idle connection is not used again after this. Gateways forget idle connections without telling, the strictest that is
/// known after 350 s (Bedrock user guide, troubleshooting), and a call over a forgotten one hangs.
const IDLE: Duration = Duration::from_mins(1);

/// A connection on which nothing moves says so that often that it is still there (the user guide's own advice is 45 s): a model that
/// thinks, or writes an answer that comes whole, may be silent for longer than a gateway remembers.
const KEEPALIVE: Duration = Duration::from_secs(45);

/// The connections of one client. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Connections {
    /// Whether what is connected to speaks plain HTTP.
    is_plain: bool,
    proxy: ProxyConfig,
    pool: Arc<Mutex<Pool>>,
    /// How long an answer with vectors may be.
    vectors: Vectors,
}

/// The pool in use. It is made when it is first needed: the certificates that it loads take longer than the rest of a start.
#[derive(Debug, Default)]
struct Pool {
    /// The most connections to one host, where they are bounded.
    most: Option<NonZeroUsize>,
    made: Option<pool::Client>,
}

impl Connections {
    /// Prepares the connections for calls to `endpoint`, and to AWS where that is `None`.
    pub(super) fn to(endpoint: Option<&str>) -> Self {
        let uri = endpoint.and_then(|endpoint| endpoint.parse::<Uri>().ok());
        // No certificates are loaded for plain HTTP.
        let is_plain = uri.as_ref().is_some_and(|uri| uri.scheme_str() == Some("http"));
        // What is on this machine is no proxy's business, whatever NO_PROXY says.
        let is_local = uri.as_ref().and_then(Uri::host).is_some_and(is_loopback);
        let proxy = if is_local { ProxyConfig::disabled() } else { ProxyConfig::from_env() };
        Self { is_plain, proxy, pool: Arc::default(), vectors: Vectors::default() }
    }

    /// Bounds the connections to one host; a call that would need one more waits for one to come back. A higher bound than before is a
    /// new pool: calls in flight finish on the connections that they have, which are then closed. For a lower one there is no need, since
    /// fewer calls leave connections idle, and those are closed after a minute.
    pub(super) fn bound(&self, most: NonZeroUsize) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.most.is_none_or(|before| before < most) {
            *pool = Pool { most: Some(most), made: None };
        }
    }

    /// Says how many vectors an answer holds at most, and of how many numbers: no more is read than those take.
    pub(super) fn expect_vectors(&self, vectors: usize, numbers: u32) {
        self.vectors.expect(vectors, numbers);
    }

    fn make(&self, most: Option<NonZeroUsize>) -> pool::Client {
        let mut builder =
            pool::ConnectionPool::builder().idle_timeout(IDLE).tcp_keepalive(KEEPALIVE).proxy_config(self.proxy.clone());
        builder.set_max_connections_per_host(most.map(NonZeroUsize::get));
        let pool = if self.is_plain {
            builder.build_http()
        } else {
            builder.tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc)).build_https()
        };
        // Refused are a bound of zero, names of network interfaces, and idle timeouts without a runtime to wait in.
        let pool = pool.expect("the bound is not zero, no interface is named, and the SDK waits in tokio");
        pool::Client::new(&pool).expect("a pool without partitions has the one that is meant")
    }
}

impl HttpClient for Connections {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let most = pool.most;
        let connector = pool.made.get_or_insert_with(|| self.make(most)).http_connector(settings, components);
        SharedHttpConnector::new(Bounded::new(connector, self.vectors.clone()))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    // RFC 6761: `localhost` and all names below it are this machine.
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for host in
            ["localhost", "LocalHost", "localhost.", "bedrock.localhost", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "bedrock-runtime.us-east-1.amazonaws.com", ""] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
