//! The people of the demo: a Python program with the official SDKs, asked one thing at a time.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use xtask::python::Python;
use xtask::workspace::root;

/// The running program. It ends when we close its standard input, and so also when we die.
#[derive(Debug)]
pub(crate) struct Sdk {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How the cloud answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer<T> {
    Ok(T),
    Refused(Refusal),
}

/// A call that the cloud refused, in the words of the SDK's exception.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusal {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) request_id: Option<String>,
}

impl Sdk {
    /// Starts the program; names of the cloud lead to `cloud` (`host:port`).
    pub(crate) fn start(python: &Python, cloud: &str) -> Result<Self> {
        let mut child = python
            .command()
            .arg(root().join("xtask/demo/cloud.py"))
            .env("RAMTRAIL_DEMO_CLOUD", cloud)
            // Ctrl-C is for us; the program ends with us.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("Python has no stdout")?);
        Ok(Self {
            child,
            requests,
            answers,
        })
    }

    /// Asks for something; a refusal by the cloud is an answer, not an error.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, request: &Value) -> Result<Answer<T>> {
        let requests = self.requests.as_mut().context("the SDK program was stopped")?;
        writeln!(requests, "{request}").context("the SDK program ended")?;
        let mut line = String::new();
        self.answers
            .read_line(&mut line)
            .context("the SDK program ended")?;
        if line.is_empty() {
            bail!(
                "the SDK program ended while it was asked to {}; its error is above",
                request["do"]
            );
        }
        serde_json::from_str(&line).with_context(|| format!("the SDK program answered {line}"))
    }

    /// Asks for something that must not be refused.
    pub(crate) fn must<T: DeserializeOwned>(&mut self, request: &Value) -> Result<T> {
        match self.ask(request)? {
            Answer::Ok(found) => Ok(found),
            Answer::Refused(refusal) => bail!(
                "the cloud refused to {}: {}: {}",
                request["do"],
                refusal.code.unwrap_or_default(),
                refusal.message.unwrap_or_default()
            ),
        }
    }
}

impl Drop for Sdk {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
