//! A raw HTTP client for one emulator in this process: signs by hand, sees every byte, can hang up.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    missing_docs,
    unreachable_pub
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use md5::{Digest, Md5};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ramtrail_emulator::assumptions::{Assumptions, Profile};
use ramtrail_emulator::config::Config;
use ramtrail_emulator::server::Emulator;
use serde_json::{Value, json};
use sha1::Sha1;

pub const ACCOUNT: &str = "1234567890123456";
pub const KEY: &str = "LTAItest";
pub const SECRET: &str = "marked-secret-of-the-test";
pub const TOKEN: &str = "marked-admin-token";

const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
static NONCE: AtomicU64 = AtomicU64::new(0);

/// A running emulator and its runtime.
pub struct Cloud {
    pub address: SocketAddr,
    pub emulator: Option<Emulator>,
    /// Id and secret of the key that signs.
    pub key: (String, String),
    runtime: tokio::runtime::Runtime,
}

/// An answer, or nothing if the connection was closed without one.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn code(&self) -> String {
        let body = self.json();
        body["Code"]
            .as_str()
            .or_else(|| body["errorCode"].as_str())
            .unwrap_or_default()
            .to_owned()
    }
}

impl Cloud {
    pub fn start(profile: Profile, assume: &[(&str, &str)]) -> Self {
        Self::with(profile, assume, |_| {})
    }

    pub fn with(profile: Profile, assume: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(TOKEN);
        config.assumptions = Assumptions::profile(profile);
        for (id, behaviour) in assume {
            config.assumptions.choose(id, behaviour).unwrap();
        }
        config.access_keys = vec![format!("{KEY}:{SECRET}:{ACCOUNT}/operator").parse().unwrap()];
        change(&mut config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let emulator = runtime.block_on(Emulator::start(config)).unwrap();
        Self {
            address: emulator.address,
            emulator: Some(emulator),
            key: (KEY.to_owned(), SECRET.to_owned()),
            runtime,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.emulator.as_ref().unwrap().engine.clock.now()
    }

    /// Sends bytes; reads until the answer is whole or the connection ends.
    pub fn exchange(&self, request: &[u8]) -> Option<Answer> {
        let mut stream = self.connect(request);
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).ok()?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer {
            status,
            head,
            body: bytes[end + 4..].to_vec(),
        })
    }

    /// Sends bytes and keeps the connection.
    pub fn connect(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(request).unwrap();
        stream
    }

    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self
            .exchange(&admin_request(method, path, body, TOKEN, "127.0.0.1"))
            .unwrap();
        assert_eq!(
            answer.status,
            200,
            "{path}: {}",
            String::from_utf8_lossy(&answer.body)
        );
        answer.json()
    }

    pub fn jump(&self, seconds: i64) {
        self.admin("POST", "clock", &json!({"jumpSeconds": seconds}));
    }

    pub fn fault(&self, matching: &Value, fault: &Value) -> u64 {
        self.admin("POST", "faults", &json!({"match": matching, "fault": fault}))["id"]
            .as_u64()
            .unwrap()
    }

    pub fn rows(&self, action: &str) -> Vec<Value> {
        let journal = self.admin("GET", "journal", &Value::Null);
        journal["rows"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|row| row["action"] == action)
            .cloned()
            .collect()
    }

    pub fn state(&self) -> Value {
        self.admin("GET", &format!("state?account={ACCOUNT}"), &Value::Null)
    }

    /// A signed RPC request.
    pub fn rpc_request(&self, host: &str, version: &str, action: &str, params: &[(&str, &str)]) -> Vec<u8> {
        let nonce = NONCE.fetch_add(1, Ordering::Relaxed).to_string();
        rpc_request_at(
            host,
            version,
            action,
            params,
            self.now(),
            &nonce,
            &self.key.0,
            &self.key.1,
        )
    }

    pub fn rpc(&self, host: &str, version: &str, action: &str, params: &[(&str, &str)]) -> Option<Answer> {
        self.exchange(&self.rpc_request(host, version, action, params))
    }

    pub fn trail(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.rpc(
            "actiontrail.cn-hangzhou.aliyuncs.com",
            "2020-07-06",
            action,
            params,
        )
        .unwrap()
    }

    pub fn ram(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.rpc("ram.aliyuncs.com", "2015-05-01", action, params)
            .unwrap()
    }

    pub fn sts(&self, action: &str, params: &[(&str, &str)]) -> Answer {
        self.rpc("sts.aliyuncs.com", "2015-04-01", action, params)
            .unwrap()
    }

    /// A signed Log Service request.
    pub fn log_request(&self, method: &str, project: &str, path: &str, body: &Value) -> Vec<u8> {
        let host = if project.is_empty() {
            "cn-hangzhou.log.aliyuncs.com".to_owned()
        } else {
            format!("{project}.cn-hangzhou.log.aliyuncs.com")
        };
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let date = self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let (md5, kind) = if body.is_empty() {
            (String::new(), "")
        } else {
            (hex::encode_upper(Md5::digest(&body)), "application/json")
        };
        let resource = path.split_once('?').map_or_else(
            || path.to_owned(),
            |(path, query)| {
                let mut pairs: Vec<&str> = query.split('&').collect();
                pairs.sort_unstable();
                let query = percent_encoding::percent_decode_str(&pairs.join("&"))
                    .decode_utf8_lossy()
                    .into_owned();
                format!("{path}?{query}")
            },
        );
        let text = format!(
            "{method}\n{md5}\n{kind}\n{date}\nx-log-apiversion:0.6.0\nx-log-bodyrawsize:{}\n\
             x-log-signaturemethod:hmac-sha1\n{resource}",
            body.len()
        );
        let signature = hmac_sha1(&self.key.1, &text);
        let key = &self.key.0;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nDate: {date}\r\n\
             x-log-apiversion: 0.6.0\r\nx-log-bodyrawsize: {}\r\nx-log-signaturemethod: hmac-sha1\r\n\
             Authorization: LOG {key}:{signature}\r\nContent-Length: {}\r\n",
            body.len(),
            body.len()
        );
        if !body.is_empty() {
            request = format!("{request}Content-MD5: {md5}\r\nContent-Type: {kind}\r\n");
        }
        format!("{request}\r\n{body}").into_bytes()
    }

    pub fn log(&self, method: &str, project: &str, path: &str, body: &Value) -> Answer {
        self.exchange(&self.log_request(method, project, path, body))
            .unwrap()
    }

    /// A project and a trail into it that logs.
    pub fn logging_trail(&self, project: &str, trail: &str) {
        let made = self.log(
            "POST",
            "",
            "/",
            &json!({"projectName": project, "description": ""}),
        );
        assert_eq!(made.status, 200, "{made:?}");
        let role = self
            .rpc(
                "resourcemanager.aliyuncs.com",
                "2020-03-31",
                "CreateServiceLinkedRole",
                &[("ServiceName", "actiontrail.aliyuncs.com")],
            )
            .unwrap();
        assert!(role.status == 200 || role.status == 409, "{role:?}");
        let arn = format!("acs:log:cn-hangzhou:{ACCOUNT}:project/{project}");
        let created = self.trail(
            "CreateTrail",
            &[
                ("Name", trail),
                ("EventRW", "All"),
                ("TrailRegion", "All"),
                ("SlsProjectArn", &arn),
            ],
        );
        assert_eq!(created.status, 200, "{created:?}");
        self.jump(10);
        assert_eq!(self.trail("StartLogging", &[("Name", trail)]).status, 200);
    }

    /// Events in a trail's store, oldest first.
    pub fn delivered(&self, project: &str, trail: &str) -> Vec<Value> {
        let now = self.now().as_second();
        let path = format!(
            "/logstores/actiontrail_{trail}?type=log&from={}&to={}&line=100&query=*",
            now - 86_400,
            now + 60
        );
        let answer = self.log("GET", project, &path, &Value::Null);
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let mut events: Vec<Value> = answer
            .json()
            .as_array()
            .unwrap()
            .iter()
            .map(|log| {
                assert_eq!(log["__topic__"], "actiontrail_audit_event");
                serde_json::from_str(log["event"].as_str().unwrap()).unwrap()
            })
            .collect();
        events.sort_by_key(|event: &Value| event["eventTime"].as_str().unwrap().to_owned());
        events
    }

    pub fn delivered_names(&self, project: &str, trail: &str) -> Vec<String> {
        let events = self.delivered(project, trail);
        events
            .iter()
            .map(|event| event["eventName"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(emulator) = self.emulator.take() {
            self.runtime.block_on(emulator.stop());
        }
    }
}

pub fn admin_request(method: &str, path: &str, body: &Value, token: &str, host: &str) -> Vec<u8> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    format!(
        "{method} /_emulator/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nx-emulator-token: {token}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[allow(clippy::too_many_arguments)]
pub fn rpc_request_at(
    host: &str,
    version: &str,
    action: &str,
    params: &[(&str, &str)],
    at: Timestamp,
    nonce: &str,
    key: &str,
    secret: &str,
) -> Vec<u8> {
    let method = if action == "StopLogging" { "GET" } else { "POST" };
    let time = at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut all: Vec<(&str, &str)> = vec![
        ("Action", action),
        ("Version", version),
        ("Format", "JSON"),
        ("Timestamp", &time),
        ("SignatureNonce", nonce),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureVersion", "1.0"),
        ("AccessKeyId", key),
    ];
    all.extend(params);
    all.sort_unstable();
    let encode = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    let canonical: Vec<String> = all
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    let canonical = canonical.join("&");
    let signature = hmac_sha1(
        &format!("{secret}&"),
        &format!("{method}&%2F&{}", encode(&canonical)),
    );
    format!(
        "{method} /?{canonical}&Signature={} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         User-Agent: support/1.0\r\nContent-Length: 0\r\n\r\n",
        encode(&signature)
    )
    .into_bytes()
}

fn hmac_sha1(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// Polls until something holds; fails after a generous deadline.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
