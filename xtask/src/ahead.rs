//! What later parts of a run need is made while earlier ones run: at the lowest priority, so that it takes only what they leave.
//!
//! It is another process of ours (`xtask tools`). Whoever needs something that is just being made waits for it by the lock of the
//! cache. If it fails here, whoever needs it tries again and says why.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use crate::needs::Need;
use crate::terminal::{self, Style};
use crate::workspace::at_low_priority;

/// The making under way. Dropping it waits for what was begun, and begins nothing more.
#[derive(Debug)]
pub struct Ahead {
    child: Child,
    told: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to make these, in this order. Without it all goes on as well, only later, so that a failure is no error.
    pub fn start(needs: &[Need]) -> Option<Self> {
        if needs.is_empty() {
            return None;
        }
        let program = std::env::current_exe().ok()?;
        let mut command = at_low_priority(&Command::new(program));
        command
            .args(["tools", "--while-wanted"])
            .args(needs.iter().map(|need| need.name()))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let told = child.stderr.take().map(|lines| {
            let prefix = terminal::paint(Style::Accent, "ahead |");
            std::thread::spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    terminal::note(&format!("{prefix} {}", line.trim_start()));
                }
            })
        });
        Some(Self { child, told })
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        if matches!(self.child.try_wait(), Ok(None)) {
            terminal::note("  waiting for what is being made ahead to be done ...");
        }
        // How it ends was told as it went.
        let _ = self.child.wait();
        if let Some(told) = self.told.take() {
            let _ = told.join();
        }
    }
}
