//! The ways to the cloud and to the API server over TLS, with real handshakes: servers of the test with certificates of its own
//! authority.
#![allow(clippy::unwrap_used)]

mod tls_server;

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use ramtrail::aliyun::{
    CaBundle, CaBundleError, Class, CloudEndpoint, HttpRequest, HttpResponse, HttpSend, ReqwestSender,
    TransportError, TransportFailure, TransportOptions,
};
use ramtrail::controllers::read_cloud_ca;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, date_time_ymd,
};
use rustls::ProtocolVersion;
use tls_server::{ALL, Authority, Identity, OK, authority, for_names, listen, signed, tls_server};
use xtask::kubeconfig::{self, Cluster, User};
use xtask::operator::{self, OperatorOptions, OperatorProcess};
use xtask::temp_dir::TempDir;
use xtask::wait::{self, Probe};

/// The host that requests are for and that certificates must name, wherever is dialled.
const HOST: &str = "ai-audit.cn-hangzhou.log.aliyuncs.com";
/// Stands in the places where requests carry what nobody may see.
const SECRET: &str = "markedSecretOfTheRequest";

fn self_signed(params: &CertificateParams) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (vec![certificate.der().clone()], key)
}

fn bundle(authority: &Authority) -> CaBundle {
    CaBundle::from_pem(authority.pem().as_bytes()).unwrap()
}

fn sender(endpoint: &str, trusted: &Authority) -> ReqwestSender {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ReqwestSender::new(TransportOptions {
        connect_timeout: Duration::from_secs(30),
        cloud_endpoint: Some(endpoint.parse().unwrap()),
        extra_ca: Some(bundle(trusted)),
        ..TransportOptions::default()
    })
    .unwrap()
}

fn request() -> HttpRequest {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static(SECRET));
    HttpRequest {
        method: Method::PUT,
        host: HOST.to_owned(),
        path: "/logstores".to_owned(),
        query: format!("token={SECRET}"),
        headers,
        body: Bytes::from_static(SECRET.as_bytes()),
        timeout: Duration::from_secs(60),
    }
}

async fn send(port: u16, trusted: &Authority) -> Result<HttpResponse, TransportError> {
    sender(&format!("https://127.0.0.1:{port}"), trusted)
        .send(request())
        .await
}

/// Sends to a server with this identity; it must be refused for TLS, and for a reason that is said in these words.
async fn is_refused(identity: Identity, trusted: &Authority, words: &str) {
    let (port, seen) = tls_server(identity, ALL, OK);
    let error = send(port, trusted).await.unwrap_err();
    assert_tls_failure(&error, words);
    assert!(seen.try_recv().is_err(), "the server got the request");
}

fn assert_tls_failure(error: &TransportError, words: &str) {
    assert_eq!(error.failure, TransportFailure::Tls, "{error}");
    assert!(!error.may_have_arrived());
    assert_eq!(error.class(), Class::Transient);
    let shown = error.to_string();
    let start = format!("{HOST}: no trusted TLS connection: ");
    assert!(shown.starts_with(&start), "{shown}");
    assert!(shown.contains(words), "{words:?} is not said in: {shown}");
    for text in [shown, format!("{error:?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn a_good_certificate_of_a_trusted_authority_is_accepted() {
    let ours = authority("ours");
    let (port, seen) = tls_server(signed(&for_names(&[HOST]), &ours), ALL, OK);
    for endpoint in [
        format!("https://127.0.0.1:{port}"),
        format!("https://localhost:{port}/"),
    ] {
        let response = sender(&endpoint, &ours).send(request()).await.unwrap();
        assert_eq!((response.status.as_u16(), &response.body[..]), (200, &b"{}"[..]));
        let seen = seen.recv().unwrap();
        // Dialled is loopback, meant and proved is the real host, without the port of the endpoint.
        assert_eq!(seen.server_name.as_deref(), Some(HOST), "{endpoint}");
        assert_eq!(seen.version, ProtocolVersion::TLSv1_3);
        assert!(seen.head.starts_with("put /logstores?token="), "{}", seen.head);
        assert!(
            seen.head.contains(&format!("\r\nhost: {HOST}\r\n")),
            "{}",
            seen.head
        );
        assert_eq!(seen.head.matches("\r\nhost:").count(), 1, "{}", seen.head);
    }
}

#[tokio::test]
async fn a_wildcard_covers_one_label() {
    let ours = authority("ours");
    let (port, _seen) = tls_server(
        signed(&for_names(&["*.cn-hangzhou.log.aliyuncs.com"]), &ours),
        ALL,
        OK,
    );
    assert_eq!(send(port, &ours).await.unwrap().status, 200);
    is_refused(
        signed(&for_names(&["*.log.aliyuncs.com"]), &ours),
        &ours,
        "another host",
    )
    .await;
}

#[tokio::test]
async fn one_connection_is_not_used_for_another_host() {
    let ours = authority("ours");
    let (port, _seen) = tls_server(signed(&for_names(&[HOST]), &ours), ALL, OK);
    let sender = sender(&format!("https://127.0.0.1:{port}"), &ours);
    assert_eq!(sender.send(request()).await.unwrap().status, 200);
    let other = HttpRequest {
        host: "sts.cn-hangzhou.aliyuncs.com".to_owned(),
        ..request()
    };
    let error = sender.send(other).await.unwrap_err();
    assert_eq!(error.failure, TransportFailure::Tls, "{error}");
    assert!(error.to_string().contains("another host"), "{error}");
}

#[tokio::test]
async fn an_authority_between_is_accepted_when_the_server_sends_it() {
    let ours = authority("ours");
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "between");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let between = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ours).unwrap();

    let (mut chain, key) = signed(&for_names(&[HOST]), &between);
    chain.push(between.der().clone());
    let (port, _seen) = tls_server((chain, key), ALL, OK);
    assert_eq!(send(port, &ours).await.unwrap().status, 200);

    is_refused(
        signed(&for_names(&[HOST]), &between),
        &ours,
        "no trusted authority",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (ours, other) = (authority("same name"), authority("same name"));
    is_refused(signed(&for_names(&[HOST]), &other), &ours, "acceptable").await;
    let other = authority("another name");
    is_refused(
        signed(&for_names(&[HOST]), &other),
        &ours,
        "no trusted authority issued the server's certificate",
    )
    .await;
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    let ours = authority("ours");
    is_refused(
        self_signed(&for_names(&[HOST])),
        &ours,
        "no trusted authority issued the server's certificate",
    )
    .await;
}

#[tokio::test]
async fn a_server_certificate_cannot_sign_others() {
    let ours = authority("ours");
    let mut params = for_names(&["someone.example"]);
    params.distinguished_name.push(DnType::CommonName, "no authority");
    let server = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ours).unwrap();
    let (mut chain, key) = signed(&for_names(&[HOST]), &server);
    chain.push(server.der().clone());
    is_refused((chain, key), &ours, "certificate").await;
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_refused() {
    let ours = authority("ours");
    let mut expired = for_names(&[HOST]);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    is_refused(
        signed(&expired, &ours),
        &ours,
        "the server's certificate has expired, at 2021-01-01T00:00:00Z",
    )
    .await;
    let mut early = for_names(&[HOST]);
    early.not_before = date_time_ymd(4000, 1, 1);
    early.not_after = date_time_ymd(4001, 1, 1);
    is_refused(
        signed(&early, &ours),
        &ours,
        "not valid yet, but from 4000-01-01T00:00:00Z",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let ours = authority("ours");
    for names in [
        &["ai-audit.cn-beijing.log.aliyuncs.com"][..],
        &["localhost", "gateway.example"],
        &["cn-hangzhou.log.aliyuncs.com", "evil.example"],
    ] {
        is_refused(
            signed(&for_names(names), &ours),
            &ours,
            "the server's certificate is for another host",
        )
        .await;
    }
    // The address that is dialled proves nothing about the host that is meant; nor does a common name.
    let mut address = for_names(&[]);
    address.subject_alt_names = vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    is_refused(signed(&address, &ours), &ours, "another host").await;
    let mut common_name = for_names(&[]);
    common_name.distinguished_name.push(DnType::CommonName, HOST);
    is_refused(signed(&common_name, &ours), &ours, "another host").await;
}

#[tokio::test]
async fn a_certificate_for_clients_only_is_refused() {
    let ours = authority("ours");
    let mut params = for_names(&[HOST]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    is_refused(signed(&params, &ours), &ours, "acceptable").await;
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken() {
    let ours = authority("ours");
    for version in ALL {
        let (port, seen) = tls_server(signed(&for_names(&[HOST]), &ours), &[version], OK);
        assert_eq!(send(port, &ours).await.unwrap().status, 200);
        assert_eq!(seen.recv().unwrap().version, version.version);
    }
}

/// The message `ServerHello` of a server that knows nothing newer than this version.
fn old_server_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session, TLS_RSA_WITH_AES_128_CBC_SHA, no compression.
    body.extend([0, 0x00, 0x2f, 0]);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, minor, 0, length + 4, 2, 0, 0, length];
    record.extend(body);
    record
}

/// Reads one TLS record, answers it with these bytes, and reads on until the client goes; everything read is told.
fn raw_server(answer: Vec<u8>) -> (u16, Receiver<Vec<u8>>) {
    let (bytes, received) = channel();
    let port = listen(move |mut stream| {
        let mut read = vec![0; 5];
        if stream.read_exact(&mut read).is_err() {
            return;
        }
        let mut hello = vec![0; usize::from(u16::from_be_bytes([read[3], read[4]]))];
        let _ = stream
            .read_exact(&mut hello)
            .and_then(|()| stream.write_all(&answer));
        read.extend(hello);
        let _ = stream.read_to_end(&mut read);
        let _ = bytes.send(read);
    });
    (port, received)
}

#[tokio::test]
async fn tls_below_1_2_is_refused() {
    let ours = authority("ours");
    let words = "the server speaks no version of TLS that is secure: it must be 1.2 or newer";
    for minor in [0, 1, 2] {
        let (port, bytes) = raw_server(old_server_hello(minor));
        assert_tls_failure(&send(port, &ours).await.unwrap_err(), words);
        assert!(!String::from_utf8_lossy(&bytes.recv().unwrap()).contains(SECRET));
    }
    // An old server that refuses to answer: a fatal alert, protocol_version.
    let (port, _bytes) = raw_server(vec![21, 3, 1, 0, 2, 2, 70]);
    assert_tls_failure(&send(port, &ours).await.unwrap_err(), words);
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing_in_the_clear() {
    let ours = authority("ours");
    let (port, bytes) = raw_server(OK.as_bytes().to_vec());
    let error = send(port, &ours).await.unwrap_err();
    assert_tls_failure(&error, "the server does not speak TLS");
    let bytes = bytes.recv().unwrap();
    assert_eq!(bytes[0], 22, "not a handshake");
    assert!(!String::from_utf8_lossy(&bytes).contains(SECRET));
}

#[tokio::test]
async fn a_handshake_that_does_not_end_or_breaks_is_no_connection() {
    let ours = authority("ours");
    let silent = listen(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let impatient = ReqwestSender::new(TransportOptions {
        connect_timeout: Duration::from_millis(200),
        cloud_endpoint: Some(format!("https://127.0.0.1:{silent}").parse().unwrap()),
        extra_ca: Some(bundle(&ours)),
        ..TransportOptions::default()
    });
    let error = impatient.unwrap().send(request()).await.unwrap_err();
    assert_eq!(error.failure, TransportFailure::Connect, "{error}");
    assert!(!error.may_have_arrived());

    let breaking = listen(drop);
    let error = send(breaking, &ours).await.unwrap_err();
    assert_eq!(error.failure, TransportFailure::Connect, "{error}");
    assert!(!error.may_have_arrived());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let ours = authority("ours");
    let (elsewhere, strayed) = tls_server(signed(&for_names(&[HOST]), &ours), ALL, OK);
    let (plain, clear) = raw_server(Vec::new());
    for target in [
        format!("https://{HOST}:{elsewhere}/"),
        format!("http://127.0.0.1:{plain}/"),
        "/logstores".to_owned(),
    ] {
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nlocation: {target}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let (port, seen) = tls_server(signed(&for_names(&[HOST]), &ours), ALL, answer);
        let response = send(port, &ours).await.unwrap();
        assert_eq!(response.status, 307);
        assert_eq!(response.headers["location"], target);
        assert!(seen.recv().is_ok());
        assert!(seen.try_recv().is_err(), "there was a second request");
    }
    assert!(strayed.try_recv().is_err(), "the redirect was followed");
    assert!(
        clear.try_recv().is_err(),
        "the redirect was followed in the clear"
    );
}

#[test]
fn plain_http_beyond_loopback_is_refused() {
    for endpoint in [
        "http://10.0.0.1:8080",
        "http://log.aliyuncs.com",
        "http://0.0.0.0",
    ] {
        let error = endpoint.parse::<CloudEndpoint>().unwrap_err().to_string();
        assert!(error.contains("use https"), "{error}");
        let output = run(&[format!("--cloud-endpoint={endpoint}")]);
        assert!(output.contains("use https"), "{output}");
    }
}

/// What `ramtrail run` says when it refuses to run.
fn run(args: &[String]) -> String {
    let output = Command::new(operator::program().unwrap())
        .args(["run", "--http-listen=127.0.0.1:0"])
        .args(args)
        .env("KUBECONFIG", "/dev/null")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("RAMTRAIL_CLOUD_CA_FILE")
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_ca_file_with_several_authorities_is_trusted() {
    let (first, second) = (authority("first"), authority("second"));
    let dir = TempDir::new("tls").unwrap();
    let path = dir.path().join("ca.pem");
    let text = format!(
        "# our authorities\n{}\nand\r\n{}",
        first.pem(),
        second.pem().replace('\n', "\r\n")
    );
    std::fs::write(&path, text).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    for authority in [&first, &second] {
        let (port, _seen) = tls_server(signed(&for_names(&[HOST]), authority), ALL, OK);
        let sender = ReqwestSender::new(TransportOptions {
            cloud_endpoint: Some(format!("https://127.0.0.1:{port}").parse().unwrap()),
            extra_ca: Some(read_cloud_ca(&path).unwrap()),
            ..TransportOptions::default()
        });
        assert_eq!(sender.unwrap().send(request()).await.unwrap().status, 200);
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named_with_what_to_do() {
    let dir = TempDir::new("tls").unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    let good = authority("good").pem();
    let cut = good.replace("-----END CERTIFICATE-----", "");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        ("missing", None, "it cannot be read: No such file"),
        ("empty", Some(String::new()), "it holds no certificate"),
        ("key", Some(key.clone()), "it holds no certificate"),
        ("text", Some("ours".to_owned()), "it holds no certificate"),
        ("cut", Some(cut), "certificate 1 is not whole"),
        (
            "second",
            Some(format!("{good}{nonsense}")),
            "certificate 2 cannot be trusted",
        ),
    ];
    for (name, text, problem) in cases {
        let path = dir.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let flag = format!("--cloud-ca-file={}", path.display());
        let shown = run(&[flag]);
        let start = format!("ramtrail: --cloud-ca-file {}: {problem}", path.display());
        assert!(shown.starts_with(&start), "{shown}");
        assert!(shown.contains("PEM form, or leave the flag out"), "{shown}");
        assert!(!shown.contains(key.lines().nth(1).unwrap()), "{shown}");
    }
    // A usable one is no obstacle: the next thing that is missing is an API server.
    let path = dir.path().join("good");
    std::fs::write(&path, &good).unwrap();
    let shown = run(&[format!("--cloud-ca-file={}", path.display())]);
    assert!(!shown.contains("--cloud-ca-file"), "{shown}");
    assert!(shown.contains("Kubernetes"), "{shown}");
    assert_eq!(CaBundle::from_pem(b""), Err(CaBundleError::Empty));
}

/// Bounds a failure only.
const DEADLINE: Duration = Duration::from_secs(120);

/// An operator whose kubeconfig holds a token for this server of loopback, and the authority it trusts if any.
fn operator_before(port: u16, trusted: Option<&Authority>) -> (OperatorProcess, TempDir) {
    let dir = TempDir::new("tls").unwrap();
    let server = format!("https://localhost:{port}");
    let cluster = match trusted {
        Some(authority) => {
            let path = dir.path().join("ca.crt");
            std::fs::write(&path, authority.pem()).unwrap();
            Cluster::new(&server, &path)
        }
        None => Cluster::of_view(&serde_json::json!({ "clusters": [{ "cluster": { "server": server } }] }))
            .unwrap(),
    };
    let kubeconfig = dir.path().join("kubeconfig");
    kubeconfig::write(&kubeconfig, &cluster, &User::Token(SECRET.to_owned())).unwrap();
    let options = OperatorOptions::new(&kubeconfig)
        .arg("--http-listen=127.0.0.1:0")
        .arg("--log-level=trace");
    (OperatorProcess::start(&options).unwrap(), dir)
}

/// The line in which an operator says what it waits for.
fn waits_for(operator: &mut OperatorProcess) -> String {
    wait::until(
        "the operator says what it waits for",
        DEADLINE,
        Duration::from_millis(50),
        || {
            operator.must_run()?;
            let logs = operator.logs();
            let line = logs.lines().find(|line| line.contains("waiting: "));
            Ok(line.map_or(Probe::Pending(logs.clone()), |line| Probe::Done(line.to_owned())))
        },
    )
    .unwrap()
}

/// So that the refusals below mean something: with the right authority the same server gets the request and the token.
#[test]
fn an_api_server_of_the_trusted_authority_is_asked() {
    let ours = authority("ours");
    let (port, seen) = tls_server(signed(&for_names(&["localhost"]), &ours), ALL, OK);
    let (_operator, _dir) = operator_before(port, Some(&ours));
    let seen = seen.recv_timeout(DEADLINE).unwrap();
    assert!(seen.head.starts_with("get /"), "{}", seen.head);
    let token = format!("\r\nauthorization: bearer {}\r\n", SECRET.to_ascii_lowercase());
    assert!(seen.head.contains(&token), "{}", seen.head);
}

#[test]
fn an_api_server_that_does_not_prove_itself_is_told_nothing() {
    let (ours, other) = (authority("ours"), authority("other"));
    let mut expired = for_names(&["localhost"]);
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let here = for_names(&["localhost"]);
    let cases = [
        ("another authority", signed(&here, &other), Some(&ours)),
        ("no authority but the system's", signed(&here, &ours), None),
        ("no authority at all", self_signed(&here), Some(&ours)),
        (
            "another host",
            signed(&for_names(&["evil.example"]), &ours),
            Some(&ours),
        ),
        ("expired", signed(&expired, &ours), Some(&ours)),
    ];
    for (case, identity, trusted) in cases {
        let (port, seen) = tls_server(identity, ALL, OK);
        let (mut operator, _dir) = operator_before(port, trusted);
        let line = waits_for(&mut operator);
        assert!(line.to_lowercase().contains("certificate"), "{case}: {line}");
        assert!(!operator.logs().contains(SECRET), "{case}");
        // It waits and asks again, which changes nothing; it ends when it is asked to.
        assert_eq!(operator.stop(DEADLINE).unwrap().code(), Some(0), "{case}: {line}");
        assert!(seen.try_recv().is_err(), "{case}: the server got a request");
    }
}
