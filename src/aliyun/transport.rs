//! Owns the one seam through which requests leave: [`HttpSend`], and its implementation on reqwest.
//!
//! It moves bytes. It follows no redirect, repeats nothing, caps the time and the size of every answer,
//! keeps the body of failures, and says of each failure whether the request may have arrived. It dials
//! https, or plain http to loopback only, and sends nothing before the server has proved with a certificate
//! who it is. It never logs headers or bodies.

mod trust;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::error::Class;

pub use trust::{CaBundle, CaBundleError};

/// One signed request. `host` is the logical one, which was signed; where it is dialled is up to the sender.
#[derive(Clone)]
pub struct HttpRequest {
    /// The method.
    pub method: Method,
    /// The logical host.
    pub host: String,
    /// The path, starting with `/`, encoded as signed.
    pub path: String,
    /// The query, encoded, without `?`; empty for none.
    pub query: String,
    /// All headers but `Host` and `Content-Length`.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Bytes,
    /// Time from sending to the end of the answer.
    pub timeout: Duration,
}

impl fmt::Debug for HttpRequest {
    /// Leaves out headers, query and body: they hold signatures and tokens.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// A whole answer, of whatever status.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, never longer than the sender's cap.
    pub body: Bytes,
}

/// Sends one request, once.
pub trait HttpSend: fmt::Debug + Send + Sync {
    /// Sends it and reads the whole answer.
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>>;
}

/// Which part of the way failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TransportFailure {
    /// The host does not exist.
    UnknownHost,
    /// No connection could be made; nothing was sent.
    Connect,
    /// The server did not prove who it is, or speaks no TLS that is accepted; nothing was sent.
    Tls,
    /// The time was over before the answer was whole.
    Timeout,
    /// The connection broke, or what came was not HTTP.
    Broken,
    /// The answer is longer than the cap.
    BodyTooLarge,
    /// The request cannot be expressed; nothing was sent.
    Unsendable,
}

/// Why there is no whole answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{host}: {what}: {detail}", what = .failure.describe())]
pub struct TransportError {
    /// The logical host.
    pub host: String,
    /// Which part failed.
    pub failure: TransportFailure,
    /// More, for a person; no URL, no headers.
    pub detail: String,
}

impl TransportFailure {
    const fn describe(self) -> &'static str {
        match self {
            Self::UnknownHost => "the host does not exist",
            Self::Connect => "no connection",
            Self::Tls => "no trusted TLS connection",
            Self::Timeout => "no answer in time",
            Self::Broken => "the connection broke",
            Self::BodyTooLarge => "the answer is too long",
            Self::Unsendable => "the request cannot be sent",
        }
    }
}

impl TransportError {
    /// Whether the cloud may have received the request.
    pub fn may_have_arrived(&self) -> bool {
        match self.failure {
            TransportFailure::UnknownHost
            | TransportFailure::Connect
            | TransportFailure::Tls
            | TransportFailure::Unsendable => false,
            TransportFailure::Timeout | TransportFailure::Broken | TransportFailure::BodyTooLarge => true,
        }
    }

    /// What it means.
    pub fn class(&self) -> Class {
        match self.failure {
            TransportFailure::UnknownHost => Class::UnknownRegion,
            // The same call would bring the same again.
            TransportFailure::Unsendable | TransportFailure::BodyTooLarge => Class::Unknown,
            // A certificate that is put right is found by the next attempt.
            TransportFailure::Connect
            | TransportFailure::Tls
            | TransportFailure::Timeout
            | TransportFailure::Broken => Class::Transient,
        }
    }
}

/// One address to dial for all services, instead of the real hosts; `Host` headers stay the real ones.
///
/// `https://host[:port]` anywhere, `http://` only to loopback (`127.0.0.0/8`, `[::1]`, `localhost`).
///
/// An IP address or `localhost` says only where to dial: with https the certificate must be for the logical
/// host. A name is that of a gateway, and the certificate must be for it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CloudEndpoint {
    origin: String,
    plain: bool,
    /// With https: what an endpoint without a name of its own dials.
    addresses: Vec<SocketAddr>,
}

/// Why a text is no [`CloudEndpoint`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CloudEndpointError {
    /// It does not parse, or holds more than scheme, host and port.
    #[error("the cloud endpoint must be https://HOST[:PORT] or http://LOOPBACK[:PORT], without a path")]
    Form,
    /// Plain http would leave the machine.
    #[error("plain http is only allowed to a loopback address: use https")]
    PlainHttp,
}

impl FromStr for CloudEndpoint {
    type Err = CloudEndpointError;

    fn from_str(text: &str) -> Result<Self, CloudEndpointError> {
        let url = reqwest::Url::parse(text).map_err(|_| CloudEndpointError::Form)?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let host = url.host_str().filter(|_| bare).ok_or(CloudEndpointError::Form)?;
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let addresses: Vec<IpAddr> = match address {
            Ok(address) => vec![address],
            Err(_) if host == "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            Err(_) => Vec::new(),
        };
        let loopback = !addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback);
        let plain = url.scheme() == "http";
        match url.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(CloudEndpointError::PlainHttp),
            _ => return Err(CloudEndpointError::Form),
        }
        let origin = url.as_str().trim_end_matches('/').to_owned();
        let port = url.port_or_known_default().ok_or(CloudEndpointError::Form)?;
        let addresses = if plain { Vec::new() } else { addresses };
        Ok(Self {
            origin,
            plain,
            addresses: addresses
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect(),
        })
    }
}

impl CloudEndpoint {
    /// Scheme, name and port of the URL for a logical host. The name is what a certificate must be for.
    fn origin(&self, host: &str) -> String {
        match self.addresses.first() {
            Some(address) => format!("https://{host}:{}", address.port()),
            None => self.origin.clone(),
        }
    }
}

impl fmt::Display for CloudEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.origin)
    }
}

/// Limits and destination of a [`ReqwestSender`].
#[derive(Clone, Debug)]
pub struct TransportOptions {
    /// Time to connect, TLS included.
    pub connect_timeout: Duration,
    /// Longest answer, in bytes.
    pub body_cap: usize,
    /// One address for everything, for tests and gateways.
    pub cloud_endpoint: Option<CloudEndpoint>,
    /// Authorities that are trusted besides those of the system. `SSL_CERT_FILE` and `SSL_CERT_DIR` of the
    /// environment replace the latter.
    pub extra_ca: Option<CaBundle>,
}

impl Default for TransportOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            // A page of 100 events is well below this; the cloud's own cap on bodies is 10 MiB.
            body_cap: 16 * 1024 * 1024,
            cloud_endpoint: None,
            extra_ca: None,
        }
    }
}

/// The HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot build the HTTP client: {0}")]
pub struct BuildError(#[source] reqwest::Error);

/// [`HttpSend`] on reqwest. Needs the process's rustls provider to be installed before it is built.
#[derive(Clone, Debug)]
pub struct ReqwestSender {
    client: reqwest::Client,
    options: Arc<TransportOptions>,
}

impl ReqwestSender {
    /// Builds the client. Proxies of the environment are respected, except towards an endpoint of
    /// [`TransportOptions::cloud_endpoint`].
    pub fn new(options: TransportOptions) -> Result<Self, BuildError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // There is one retry loop, and it signs anew.
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            // Below the idle time after which load balancers close, so that a write seldom meets a dead connection.
            .pool_idle_timeout(Duration::from_secs(15))
            .dns_resolver(SystemResolver);
        if let Some(bundle) = &options.extra_ca {
            builder = builder.tls_certs_merge(bundle.certificates().map_err(BuildError)?);
        }
        if let Some(endpoint) = &options.cloud_endpoint {
            // HTTP/2 has no Host header beside the authority that is dialled.
            builder = builder.no_proxy().http1_only().https_only(!endpoint.plain);
            if !endpoint.addresses.is_empty() {
                builder = builder.dns_resolver(FixedResolver(endpoint.addresses.clone()));
            }
        } else {
            builder = builder.https_only(true);
        }
        let client = builder.build().map_err(BuildError)?;
        Ok(Self {
            client,
            options: Arc::new(options),
        })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, TransportError> {
        let HttpRequest {
            method,
            host,
            path,
            query,
            mut headers,
            body,
            timeout,
        } = request;
        let fail = |failure, detail: String| TransportError {
            host: host.clone(),
            failure,
            detail,
        };
        let origin = match &self.options.cloud_endpoint {
            Some(endpoint) => {
                let value = HeaderValue::from_str(&host)
                    .map_err(|error| fail(TransportFailure::Unsendable, error.to_string()))?;
                headers.insert(header::HOST, value);
                endpoint.origin(&host)
            }
            None => format!("https://{host}"),
        };
        let separator = if query.is_empty() { "" } else { "?" };
        let url = reqwest::Url::parse(&format!("{origin}{path}{separator}{query}"))
            .map_err(|error| fail(TransportFailure::Unsendable, error.to_string()))?;
        let mut outgoing = self
            .client
            .request(method.clone(), url)
            .headers(headers)
            .timeout(timeout);
        if !body.is_empty() || method == Method::POST || method == Method::PUT {
            outgoing = outgoing.header(header::CONTENT_LENGTH, body.len()).body(body);
        }
        let mut incoming = outgoing.send().await.map_err(|error| describe(&host, &error))?;
        let too_large = |size: &dyn fmt::Display| {
            fail(
                TransportFailure::BodyTooLarge,
                format!("{size} bytes, at most {} are read", self.options.body_cap),
            )
        };
        if let Some(length) = incoming.content_length()
            && length > self.options.body_cap as u64
        {
            return Err(too_large(&length));
        }
        let (status, headers) = (incoming.status(), std::mem::take(incoming.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = incoming.chunk().await.map_err(|error| describe(&host, &error))? {
            if body.len() + chunk.len() > self.options.body_cap {
                return Err(too_large(&"too many"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpResponse {
            status,
            headers,
            body: body.freeze(),
        })
    }
}

impl HttpSend for ReqwestSender {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(self.exchange(request))
    }
}

/// Sorts reqwest's failures. Its own texts hold the URL and with it the query, so only their causes are kept.
fn describe(host: &str, error: &reqwest::Error) -> TransportError {
    let mut failure = if error.is_builder() || error.is_request() && error.url().is_none() {
        TransportFailure::Unsendable
    } else if error.is_connect() {
        TransportFailure::Connect
    } else if error.is_timeout() {
        TransportFailure::Timeout
    } else {
        TransportFailure::Broken
    };
    let mut detail = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        if next.downcast_ref::<NoSuchHost>().is_some() {
            failure = TransportFailure::UnknownHost;
        }
        // After the handshake the request is under way, and a failure of TLS is one of the connection.
        if let Some(tls) = tls_cause(next).filter(|_| error.is_connect()) {
            failure = TransportFailure::Tls;
            detail = super::error::clean(&tls_words(tls), 300);
            break;
        }
        detail = super::error::clean(&next.to_string(), 200);
        cause = next.source();
    }
    if detail.is_empty() {
        failure.describe().clone_into(&mut detail);
    }
    TransportError {
        host: host.to_owned(),
        failure,
        detail,
    }
}

/// What TLS says about a failure, if it is one of TLS. It arrives inside I/O errors, whose `source` passes over
/// what they hold.
fn tls_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    loop {
        match error.downcast_ref::<std::io::Error>() {
            Some(outer) => error = outer.get_ref()?,
            None => return error.downcast_ref(),
        }
    }
}

/// What is wrong, for a person. The same fault has the same text at any time, so that conditions stay as they are.
fn tls_words(error: &rustls::Error) -> String {
    use rustls::{AlertDescription, CertificateError as Certificate, Error};
    let what = match error {
        Error::InvalidCertificate(certificate) => match certificate {
            Certificate::ExpiredContext { not_after, .. } => {
                return format!("the server's certificate has expired, at {}", moment(*not_after));
            }
            Certificate::NotValidYetContext { not_before, .. } => {
                return format!(
                    "the server's certificate is not valid yet, but from {}",
                    moment(*not_before)
                );
            }
            Certificate::UnknownIssuer => {
                "no trusted authority issued the server's certificate; a private one must be added to the trusted ones"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the server's certificate is for another host"
            }
            _ => "the server's certificate is not acceptable",
        },
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server speaks no version of TLS that is secure: it must be 1.2 or newer"
        }
        Error::InvalidMessage(_) => "the server does not speak TLS",
        _ => return error.to_string(),
    };
    format!("{what} ({error})")
}

fn moment(time: rustls::pki_types::UnixTime) -> String {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
}

/// Answers for every name with the addresses that are to be dialled instead.
#[derive(Clone, Debug)]
struct FixedResolver(Vec<SocketAddr>);

impl reqwest::dns::Resolve for FixedResolver {
    fn resolve(&self, _: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let addresses = self.0.clone();
        Box::pin(async move { Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs) })
    }
}

/// The system's resolver, with a typed error where a name does not exist.
#[derive(Clone, Copy, Debug)]
struct SystemResolver;

/// A name server said that there is no such name.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no such host")]
struct NoSuchHost;

impl reqwest::dns::Resolve for SystemResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(addresses) => {
                    let addresses: Vec<SocketAddr> = addresses.collect();
                    Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
                }
                Err(error) if is_no_such_host(&error.to_string()) => Err(NoSuchHost.into()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// The texts of the C libraries for "this name does not exist", as opposed to "no server answered".
fn is_no_such_host(text: &str) -> bool {
    [
        "Name or service not known",
        "Name does not resolve",
        "No address associated",
        "nodename nor servname",
    ]
    .iter()
    .any(|known| text.contains(known))
}

#[cfg(test)]
mod tests;
