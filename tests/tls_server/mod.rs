//! Servers of tests that speak TLS, with certificates of authorities of their own.
#![allow(clippy::unwrap_used, dead_code)] // each test program uses its own part

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ProtocolVersion, ServerConfig, ServerConnection, Stream, SupportedProtocolVersion};

/// The versions that are secure.
pub const ALL: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// What a server saw of one connection.
#[derive(Debug)]
pub struct Seen {
    /// The host that it asked for.
    pub server_name: Option<String>,
    /// What was agreed on.
    pub version: ProtocolVersion,
    /// The request's head in lower case.
    pub head: String,
}

/// Signs certificates.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority of its own.
pub fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a certificate for a server says.
pub fn for_names(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A chain, the server's own certificate first, and the key of that one.
pub type Identity = (Vec<CertificateDer<'static>>, KeyPair);

/// A certificate that the authority signed, with a key of its own.
pub fn signed(params: &CertificateParams, authority: &Authority) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (vec![certificate.der().clone()], key)
}

/// An answer with nothing in it.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";

/// Serves on a port of loopback until the process ends; gives the port.
pub fn listen(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let serve = serve.clone();
            thread::spawn(move || serve(stream));
        }
    });
    port
}

/// A TLS server that gives every request this answer, and tells of each request that it got.
pub fn tls_server(
    (chain, key): Identity,
    versions: &[&'static SupportedProtocolVersion],
    answer: impl Into<String>,
) -> (u16, Receiver<Seen>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    let (config, answer) = (Arc::new(config), answer.into());
    let (seen, received) = channel();
    let port = listen(move |stream| {
        // A client that refuses the certificate ends the connection: that is no failure of the server.
        let _ = answer_once(stream, Arc::clone(&config), &answer, &seen);
    });
    (port, received)
}

fn answer_once(
    mut socket: TcpStream,
    config: Arc<ServerConfig>,
    answer: &str,
    seen: &Sender<Seen>,
) -> std::io::Result<()> {
    let mut connection = ServerConnection::new(config).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let told = Seen {
        server_name: stream.conn.server_name().map(str::to_owned),
        version: stream.conn.protocol_version().unwrap(),
        head: String::from_utf8_lossy(&head).to_ascii_lowercase(),
    };
    // The test may be over and not listen any more.
    let _ = seen.send(told);
    stream.write_all(answer.as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()
}
