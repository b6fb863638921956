#![allow(clippy::unwrap_used, clippy::semicolon_if_nothing_returned)]

//! The sender against a server that plays raw bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use super::*;

/// What the server does with each connection after it read the request's head.
type Play = fn(&mut TcpStream);

/// A server on loopback that plays to every connection; gives its address and the heads it read.
fn server(play: Play) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (heads, received) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let heads = heads.clone();
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                // The test may be over and not listen any more.
                let _ = heads.send(String::from_utf8_lossy(&head).to_ascii_lowercase());
                play(&mut stream);
            });
        }
    });
    (format!("http://{address}"), received)
}

fn sender(endpoint: &str, body_cap: usize) -> ReqwestSender {
    // Another test may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint = Some(endpoint.parse().unwrap());
    ReqwestSender::new(TransportOptions {
        body_cap,
        cloud_endpoint: endpoint,
        ..TransportOptions::default()
    })
    .unwrap()
}

fn request(method: Method) -> HttpRequest {
    HttpRequest {
        method,
        host: "ai-audit.cn-hangzhou.log.aliyuncs.com".to_owned(),
        path: "/logstores".to_owned(),
        query: "a=b%20c&d=".to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
        timeout: Duration::from_secs(60),
    }
}

async fn failure(play: Play, body_cap: usize, timeout: Duration) -> TransportError {
    let (endpoint, _heads) = server(play);
    let request = HttpRequest {
        timeout,
        ..request(Method::GET)
    };
    sender(&endpoint, body_cap).send(request).await.unwrap_err()
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_endpoint_is_dialled_and_the_logical_host_is_named() {
    let (endpoint, heads) = server(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-log-requestid: A1\r\n\r\n{}")
            .unwrap();
    });
    let response = sender(&endpoint, 100).send(request(Method::GET)).await.unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(response.body, "{}");
    assert_eq!(response.headers["x-log-requestid"], "A1");
    let head = heads.recv().unwrap();
    assert!(
        head.starts_with("get /logstores?a=b%20c&d= http/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nhost: ai-audit.cn-hangzhou.log.aliyuncs.com\r\n"),
        "{head}"
    );
    assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
}

#[tokio::test]
async fn a_post_without_body_says_so() {
    let (endpoint, heads) = server(|stream| {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
    });
    sender(&endpoint, 100).send(request(Method::POST)).await.unwrap();
    let head = heads.recv().unwrap();
    assert_eq!(head.matches("\r\ncontent-length: 0\r\n").count(), 1, "{head}");
}

#[tokio::test]
async fn the_body_of_a_failure_is_kept() {
    let (endpoint, _heads) = server(|stream| {
        stream
            .write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy")
            .unwrap();
    });
    let response = sender(&endpoint, 100).send(request(Method::GET)).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), &response.body[..]),
        (503, &b"busy"[..])
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (endpoint, heads) = server(|stream| {
        let answer =
            b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).unwrap();
    });
    let response = sender(&endpoint, 100).send(request(Method::GET)).await.unwrap();
    assert_eq!(response.status, 302);
    assert!(heads.recv().is_ok());
    assert!(heads.try_recv().is_err(), "there was a second request");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_not_read() {
    let error = failure(
        |stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
                .unwrap()
        },
        1000,
        PATIENT,
    )
    .await;
    assert_eq!(error.failure, TransportFailure::BodyTooLarge);
    assert!(error.may_have_arrived());
}

#[tokio::test]
async fn a_body_that_does_not_end_is_cut_off_at_the_cap() {
    let error = failure(
        |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
            while stream
                .write_all(b"40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n")
                .is_ok()
            {}
        },
        10_000,
        PATIENT,
    )
    .await;
    assert_eq!(error.failure, TransportFailure::BodyTooLarge);
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    let error = failure(|_| thread::sleep(PATIENT), 1000, Duration::from_millis(50)).await;
    assert_eq!(error.failure, TransportFailure::Timeout);
    assert!(error.may_have_arrived());
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn a_dribbling_body_ends_at_the_deadline() {
    let error = failure(
        |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        },
        10_000,
        Duration::from_millis(200),
    )
    .await;
    assert_eq!(error.failure, TransportFailure::Timeout);
}

#[tokio::test]
async fn garbage_and_broken_connections_may_have_arrived() {
    let plays: [Play; 4] = [
        |stream| stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").unwrap(),
        |stream| stream.shutdown(std::net::Shutdown::Both).unwrap(),
        |stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .unwrap()
        },
        |stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
                .unwrap()
        },
    ];
    for play in plays {
        let error = failure(play, 1000, PATIENT).await;
        assert_eq!(error.failure, TransportFailure::Broken, "{error}");
        assert!(error.may_have_arrived());
    }
}

#[tokio::test]
async fn a_refused_connection_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = sender(&endpoint, 100)
        .send(request(Method::GET))
        .await
        .unwrap_err();
    assert_eq!(error.failure, TransportFailure::Connect, "{error}");
    assert!(!error.may_have_arrived());
    let shown = error.to_string();
    assert!(
        shown.starts_with("ai-audit.cn-hangzhou.log.aliyuncs.com: no connection"),
        "{shown}"
    );
    assert!(
        !shown.contains("a=b"),
        "the query does not belong in messages: {shown}"
    );
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_told_from_a_broken_way() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sender = ReqwestSender::new(TransportOptions::default()).unwrap();
    let error = sender
        .send(HttpRequest {
            host: "project.no-such-region.invalid".to_owned(),
            ..request(Method::GET)
        })
        .await
        .unwrap_err();
    // Without any name server the answer is "try again", which is no statement about the name.
    assert!(
        matches!(
            error.failure,
            TransportFailure::UnknownHost | TransportFailure::Connect
        ),
        "{error}"
    );
    assert!(!error.may_have_arrived());
}

#[test]
fn the_texts_of_a_missing_name_are_known() {
    assert!(is_no_such_host(
        "failed to lookup address information: Name or service not known"
    ));
    assert!(is_no_such_host(
        "failed to lookup address information: Name does not resolve"
    ));
    assert!(!is_no_such_host(
        "failed to lookup address information: Temporary failure in name resolution"
    ));
    assert!(!is_no_such_host(
        "failed to lookup address information: Try again"
    ));
}

#[test]
fn plain_http_is_for_loopback_only() {
    for good in [
        "http://127.0.0.1:8080",
        "http://127.8.9.1:1/",
        "http://[::1]:8080",
        "http://localhost:8080",
        "https://gateway.example",
        "https://10.0.0.1:8443",
    ] {
        assert!(good.parse::<CloudEndpoint>().is_ok(), "{good}");
    }
    for plain in [
        "http://10.0.0.1",
        "http://example.com",
        "http://localhost.evil.com",
        "http://0.0.0.0:1",
    ] {
        assert_eq!(
            plain.parse::<CloudEndpoint>(),
            Err(CloudEndpointError::PlainHttp),
            "{plain}"
        );
    }
    for bad in [
        "",
        "127.0.0.1:80",
        "ftp://127.0.0.1",
        "http://127.0.0.1/path",
        "http://user@127.0.0.1",
        "http://127.0.0.1/?q",
        "http://127.0.0.1/#f",
        "unix:/x",
    ] {
        assert_eq!(
            bad.parse::<CloudEndpoint>(),
            Err(CloudEndpointError::Form),
            "{bad}"
        );
    }
}

#[test]
fn an_address_leaves_the_name_to_the_logical_host_and_a_gateway_has_its_own() {
    for (endpoint, origin) in [
        ("https://127.0.0.1:8443", "https://logical.example:8443"),
        ("https://localhost:8443", "https://logical.example:8443"),
        ("https://10.0.0.1", "https://logical.example:443"),
        ("https://[fd00::1]:8443/", "https://logical.example:8443"),
        ("https://gateway.example", "https://gateway.example"),
        ("https://gateway.example:8443/", "https://gateway.example:8443"),
        // Nothing is verified there, and what is dialled is this machine.
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
    ] {
        let parsed: CloudEndpoint = endpoint.parse().unwrap();
        assert_eq!(parsed.origin("logical.example"), origin);
        assert_eq!(parsed.to_string(), endpoint.trim_end_matches('/'));
    }
}
