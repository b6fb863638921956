//! Owns what went over the wire: a relay between the operator and the emulator that keeps every request as it was sent, and a
//! listener that nobody may ever reach.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// One request, as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The method.
    pub method: String,
    /// Path and query, undecoded.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Sent {
    /// The value of a header.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map_or("", |(_, value)| value)
    }
}

type Stream = Arc<Mutex<Vec<u8>>>;

/// Relays connections to one address.
pub struct Recorder {
    address: SocketAddr,
    streams: Arc<Mutex<Vec<Stream>>>,
    ended: Arc<AtomicBool>,
}

impl Recorder {
    /// A relay to `upstream`, a `HOST:PORT`.
    pub fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let (kept, end, upstream) = (Arc::clone(&streams), Arc::clone(&ended), upstream.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(server) = TcpStream::connect(&upstream) {
                    let stream = Stream::default();
                    kept.lock().unwrap().push(Arc::clone(&stream));
                    relay(client, server, stream);
                }
            }
        });
        Self {
            address,
            streams,
            ended,
        }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every whole request so far, each connection's in their order.
    pub fn sent(&self) -> Vec<Sent> {
        let streams = self.streams.lock().unwrap();
        streams
            .iter()
            .flat_map(|stream| requests(&stream.lock().unwrap()))
            .collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the loop, so that it sees the end.
        TcpStream::connect(self.address).ok();
    }
}

fn relay(client: TcpStream, server: TcpStream, stream: Stream) {
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (from_server, to_server) = (server.try_clone().unwrap(), server);
    thread::spawn(move || {
        copy(from_client, &to_server, |bytes| {
            stream.lock().unwrap().extend(bytes);
        });
        to_server.shutdown(Shutdown::Write).ok();
    });
    thread::spawn(move || {
        copy(from_server, &to_client, |_| {});
        to_client.shutdown(Shutdown::Both).ok();
    });
}

fn copy(mut from: TcpStream, mut to: &TcpStream, keep: impl Fn(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            return;
        }
        keep(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

/// The requests in what one connection sent. A body without a length is a failure: then nobody knows where the next request
/// begins.
fn requests(mut bytes: &[u8]) -> Vec<Sent> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.split("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        assert_eq!(first.collect::<Vec<_>>(), ["HTTP/1.1"], "a request line: {head}");
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                let (name, value) = line.split_once(':').expect("a header has a colon");
                (name.to_ascii_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut sent = Sent {
            method: method.to_owned(),
            target: target.to_owned(),
            headers,
            body: Vec::new(),
        };
        assert_eq!(sent.header("transfer-encoding"), "", "{head}");
        let length: usize = sent.header("content-length").parse().unwrap_or_default();
        let rest = &bytes[end + 4..];
        if rest.len() < length {
            break;
        }
        sent.body = rest[..length].to_vec();
        bytes = &rest[length..];
        all.push(sent);
    }
    all
}

/// A listener that nobody may reach.
pub struct Silent {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Silent {
    /// Listens.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&heard), Arc::clone(&ended));
        thread::spawn(move || {
            for connection in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                drop(connection);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            address,
            heard,
            ended,
        }
    }

    /// Its address, for whoever wants to lead somebody there.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many came.
    pub fn heard(&self) -> usize {
        self.heard.load(Ordering::Relaxed)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        TcpStream::connect(self.address).ok();
    }
}

#[test]
fn pipelined_requests_are_told_apart() {
    let wire = b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: y\r\n\r\nGET /half HTTP/1.1\r\n";
    let all = requests(wire);
    let seen: Vec<(&str, &str, &str, &[u8])> = all
        .iter()
        .map(|sent| {
            (
                sent.method.as_str(),
                sent.target.as_str(),
                sent.header("host"),
                sent.body.as_slice(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("POST", "/a?b=c", "x", &b"abc"[..]), ("GET", "/", "y", &b""[..])]
    );
}

#[test]
fn whoever_comes_to_the_silent_listener_is_heard() {
    let silent = Silent::start();
    TcpStream::connect(silent.address()).unwrap();
    let start = std::time::Instant::now();
    while silent.heard() == 0 {
        assert!(start.elapsed() < std::time::Duration::from_secs(60));
        thread::yield_now();
    }
}
