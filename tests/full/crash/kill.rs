//! Owns where and how the operator is killed: a write of the reference run, and the side of it.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xtask::api_proxy::{Fault, Matching};

use crate::record::Write;
use crate::support::{USER, World};

/// What is given to an answer to arrive before the end. Whatever else the operator begins meanwhile meets a wall.
const READING: Duration = Duration::from_millis(150);

/// On which side of a write.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Side {
    /// A call to the cloud that is never made.
    BeforeSend,
    /// A call to the cloud that was carried out, its answer lost.
    ResponseLost,
    /// A call to the cloud whose answer was read, and nothing after it.
    AfterResponse,
    /// A call to the cloud that is on its way at the end and carried out when the next process has begun.
    Late,
    /// A write to Kubernetes that is never made.
    Before,
    /// A write to Kubernetes that was made, its answer lost.
    After,
}

impl Side {
    /// Of calls to the cloud.
    pub const CLOUD: [Self; 4] = [
        Self::BeforeSend,
        Self::ResponseLost,
        Self::AfterResponse,
        Self::Late,
    ];
    /// Of writes to Kubernetes.
    pub const KUBERNETES: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeSend => "before-send",
            Self::ResponseLost => "response-lost",
            Self::AfterResponse => "after-response",
            Self::Late => "late",
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// One end of the operator.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kill {
    /// The write.
    pub write: Write,
    /// From 1, among the writes of its sort within the stage.
    pub nth: u64,
    /// Before or after.
    pub side: Side,
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}/{}", self.write, self.nth, self.side)
    }
}

/// A kill that waits for its write.
pub struct Armed {
    kill: Kill,
    id: u64,
}

impl Kill {
    /// Puts the fault in the way of the write; the numbers count from now.
    pub fn arm(&self, world: &World) -> Armed {
        let id = match &self.write {
            Write::Cloud { action } => {
                let faults: &[Value] = match self.side {
                    Side::BeforeSend => &[json!({"kind": "hold-before"}), json!({"kind": "drop-before"})],
                    // Longer than the next process takes to look for the first time.
                    Side::Late => &[json!({"kind": "delay", "ms": 2500})],
                    _ => &[json!({"kind": "hold-after"})],
                };
                let ids = faults.iter().map(|fault| {
                    let matching = json!({"action": action, "caller": USER, "nth": self.nth});
                    let fault = json!({"match": matching, "fault": fault});
                    world.emulator.add_fault(&fault).unwrap()
                });
                // All are placed; the first is the one that holds.
                ids.reduce(|first, _| first).unwrap()
            }
            Write::Kubernetes {
                verb,
                resource,
                subresource,
            } => {
                let matching = Matching::of(verb, resource)
                    .subresource(subresource)
                    .nth(self.nth);
                let fault = match self.side {
                    Side::Before => Fault::BlackHole,
                    _ => Fault::HoldAfter,
                };
                world.proxy().add(matching, fault)
            }
        };
        Armed {
            kill: self.clone(),
            id,
        }
    }
}

impl Armed {
    /// Whether the operator stands at the point.
    pub fn is_met(&self, world: &World) -> bool {
        match &self.kill.write {
            Write::Cloud { .. } => {
                let faults = world.emulator.get("faults").unwrap();
                let all = faults["faults"].as_array().unwrap();
                let ours = all.iter().find(|fault| fault["id"] == self.id).unwrap();
                let counter = if self.kill.side == Side::Late {
                    "met"
                } else {
                    "holding"
                };
                ours[counter].as_u64().unwrap() > 0
            }
            Write::Kubernetes { .. } => world.proxy().progress(self.id).holding > 0,
        }
    }

    /// SIGKILL; then all faults are gone, and nothing that was held back is carried out.
    pub fn strike(self, world: &mut World) {
        if self.kill.side == Side::AfterResponse {
            wall(world);
            world.emulator.release(Some(self.id)).unwrap();
            let start = Instant::now();
            while start.elapsed() < READING {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        world.kill();
        world.emulator.remove_faults().unwrap();
        world.proxy().clear();
    }
}

/// Nothing that the operator begins from now on reaches anyone.
fn wall(world: &World) {
    for kind in ["hold-before", "drop-before"] {
        let fault = json!({"match": {"caller": USER, "times": 0}, "fault": {"kind": kind}});
        world.emulator.add_fault(&fault).unwrap();
    }
    world.proxy().add(Matching::write().times(0), Fault::BlackHole);
}
