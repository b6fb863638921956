//! Waiting for something to become true, with a deadline and a message that says what was seen last.
//!
//! Nothing here decides how long a thing should take: deadlines are generous and only bound a failure.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a probe of [`until`] ended.
#[derive(Debug)]
pub enum Probe<T> {
    /// The condition holds; here is what was found.
    Done(T),
    /// Not yet; what was seen instead, for the message of a missed deadline.
    Pending(String),
}

/// Probes every `interval` until the condition holds.
///
/// # Errors
/// Errors of the probe end the wait at once. At the deadline the error names `what` was expected and what
/// the last probe saw.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut probe: impl FnMut() -> Result<Probe<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match probe()? {
            Probe::Done(found) => return Ok(found),
            Probe::Pending(seen) if start.elapsed() >= deadline => {
                bail!(
                    "expected within {} s: {what}; last seen: {seen}",
                    deadline.as_secs()
                );
            }
            Probe::Pending(_) => thread::sleep(interval),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn first_success_ends_the_wait() {
        let mut calls = 0;
        let found = until("a third call", Duration::from_secs(60), Duration::ZERO, || {
            calls += 1;
            Ok(if calls == 3 {
                Probe::Done(calls)
            } else {
                Probe::Pending(format!("{calls}"))
            })
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn missed_deadline_names_expected_and_seen() {
        let error = until::<()>("a moon", Duration::ZERO, Duration::ZERO, || {
            Ok(Probe::Pending("a cloud".into()))
        })
        .unwrap_err()
        .to_string();
        assert!(error.contains("a moon") && error.contains("a cloud"), "{error}");
    }
}
