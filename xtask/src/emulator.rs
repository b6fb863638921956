//! The emulator as a process: started from its binary, driven through its admin endpoints.
//!
//! Shares no type with the emulator: a test sees what any other program would see, JSON over HTTP.

use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;

use crate::process::{Signal, Spec, Supervised};
use crate::temp_dir::TempDir;
use crate::wait::{self, Probe};
use crate::workspace::binary;

const START_DEADLINE: Duration = Duration::from_secs(60);

/// A running emulator. Dropping it ends the process.
#[derive(Debug)]
pub struct EmulatorProcess {
    process: Supervised,
    listen: String,
    admin_token: String,
    agent: Agent,
    _dir: TempDir,
}

impl EmulatorProcess {
    /// Starts `target/debug/ramtrail-emulator` with these arguments and waits for its line of JSON.
    ///
    /// `--listen 127.0.0.1:0` is added unless an address is given.
    ///
    /// # Errors
    /// Fails if the binary is not built, or with the end of its log if it does not come up.
    pub fn start(args: &[&str]) -> Result<Self> {
        let dir = TempDir::new("emulator")?;
        let mut spec = Spec::new("emulator", binary("ramtrail-emulator")?, dir.path());
        if !args
            .iter()
            .any(|a| *a == "--listen" || a.starts_with("--listen="))
        {
            spec = spec.args(["--listen", "127.0.0.1:0"]);
        }
        let mut process = Supervised::start(&spec.args(args))?;
        let started = wait::until(
            "the emulator prints its address",
            START_DEADLINE,
            Duration::from_millis(10),
            || {
                process.must_run()?;
                let out = fs::read_to_string(process.out_file()).unwrap_or_default();
                Ok(match out.split_once('\n') {
                    Some((line, _)) => Probe::Done(line.to_owned()),
                    None => Probe::Pending(format!("{out:?}")),
                })
            },
        )?;
        let (listen, admin_token) = parse_started(&started)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)));
        Ok(Self {
            process,
            listen,
            admin_token,
            agent: config.build().into(),
            _dir: dir,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// `127.0.0.1:PORT`.
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// The token that guards the admin endpoints.
    pub fn admin_token(&self) -> &str {
        &self.admin_token
    }

    /// The emulator's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The end of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Sends a signal, such as a freeze.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Calls an admin endpoint, such as `journal`, `clock`, `faults`, `identities` or `reset`.
    ///
    /// An empty answer is `null`.
    ///
    /// # Errors
    /// Any answer but a success, with its body.
    pub fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}/_emulator/{path}", self.url());
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("x-emulator-token", &self.admin_token);
        let answer = match body {
            None => self.agent.run(request.body(())?),
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent.run(request.body(serde_json::to_vec(body)?)?)
            }
        };
        let mut answer = answer.with_context(|| format!("{method} {path} of the emulator"))?;
        // A journal of a long test is larger than the 10 MB an answer may have by default.
        let text = answer.body_mut().with_config().limit(1 << 30).read_to_string()?;
        if !answer.status().is_success() {
            bail!("{method} {path} of the emulator: {}: {text}", answer.status());
        }
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text)
            .with_context(|| format!("{method} {path} of the emulator: no JSON: {text}"))
    }

    /// `GET` of an admin endpoint.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.admin("GET", path, None)
    }

    /// `POST` to an admin endpoint.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.admin("POST", path, Some(body))
    }

    /// Rows of the journal with a number above `since`, oldest first, and the highest number given.
    pub fn journal(&self, since: u64) -> Result<(Vec<Value>, u64)> {
        let mut journal = self.get(&format!("journal?since={since}"))?;
        let last = journal["lastSeq"]
            .as_u64()
            .context("the journal has no lastSeq")?;
        match journal["rows"].take() {
            Value::Array(rows) => Ok((rows, last)),
            other => bail!("the journal's rows are {other}"),
        }
    }

    /// The number of the newest row of the journal, without any row.
    pub fn last_row(&self) -> Result<u64> {
        // As large as the emulator's numbers can be.
        self.journal(i64::MAX.unsigned_abs()).map(|(_, last)| last)
    }

    /// Moves the cloud's clock forward.
    pub fn jump(&self, time: Duration) -> Result<()> {
        self.post("clock", &json!({ "jumpSeconds": time.as_secs() }))
            .map(drop)
    }

    /// Puts a fault in the way of calls, such as
    /// `{"match": {"action": "CreateProject", "nth": 1}, "fault": {"kind": "drop-after"}}`; returns its id.
    pub fn add_fault(&self, fault: &Value) -> Result<u64> {
        self.post("faults", fault)?["id"]
            .as_u64()
            .context("the fault got no id")
    }

    /// Lets held calls go on: those of one fault, or all.
    pub fn release(&self, fault: Option<u64>) -> Result<()> {
        self.post("faults/release", &json!({ "id": fault })).map(drop)
    }

    /// Removes all faults.
    pub fn remove_faults(&self) -> Result<()> {
        self.admin("DELETE", "faults", None).map(drop)
    }

    /// What an account holds, as the emulator sums it up.
    pub fn state(&self, account: &str) -> Result<Value> {
        self.get(&format!("state?account={account}"))
    }

    /// Makes an access key, and the RAM user who holds it:
    /// `{"accessKeyId", "accessKeySecret", "account", "user"?, "policies"?, "policyDocuments"?}`.
    pub fn add_identity(&self, identity: &Value) -> Result<()> {
        self.post("identities", identity).map(drop)
    }

    /// Settles an open question of the register another way.
    pub fn assume(&self, id: &str, behaviour: &str) -> Result<()> {
        self.post("assumptions", &json!({ "id": id, "behaviour": behaviour }))
            .map(drop)
    }

    /// Forgets everything but the keys it was started with.
    pub fn reset(&self) -> Result<()> {
        self.post("reset", &json!({})).map(drop)
    }

    /// Fails, with the end of its log, if it has ended.
    pub fn must_run(&mut self) -> Result<()> {
        self.process.must_run()
    }

    /// Asks for a graceful end and waits for it.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(Duration::from_secs(10))
    }
}

fn parse_started(line: &str) -> Result<(String, String)> {
    let started: Value = serde_json::from_str(line)
        .with_context(|| format!("the emulator's first line is no JSON: {line}"))?;
    let text = |key: &str| {
        started[key]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {key} in {line}"))
    };
    Ok((text("listen")?, text("adminToken")?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn first_line_gives_address_and_token() {
        let (listen, token) = parse_started(r#"{"listen":"127.0.0.1:4","adminToken":"t"}"#).unwrap();
        assert_eq!((listen.as_str(), token.as_str()), ("127.0.0.1:4", "t"));
        assert!(parse_started("hello").is_err());
        assert!(parse_started("{}").is_err());
    }
}
