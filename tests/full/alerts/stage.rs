//! The operator whose metrics are recorded, with the seed's stack and a cloud that delivers within a second.

use serde_json::json;
use ureq::Agent;
use xtask::control_plane::free_port;

use crate::recording::Recording;
use crate::support::{ACCOUNT, CREDENTIALS, SECRET, World};
use crate::trail_support::{KIND, TRAIL, apply_stack, prepare, stack_settled};

/// Time between two own calls: short, and long enough for three of them to be missed by nobody.
const DUE_CALLS: &str = "--due-call-interval=10s";
const NARROW_KEY: &str = "LTAInarrowKey000001";

/// A world whose metrics can be read.
pub struct Stage {
    /// The world.
    pub world: World,
    port: u16,
    pod: u32,
}

impl Stage {
    /// A world with these options of the operator besides those of all; nothing is applied, nothing started.
    pub fn new(purpose: &str, options: &[&str]) -> Self {
        let port = free_port().unwrap();
        let mut world = World::with_emulator(purpose, &["--profile=documented"])
            .option(&format!("--http-listen=127.0.0.1:{port}"));
        if !options.iter().any(|option| option.starts_with("--due-call")) {
            world = world.option(DUE_CALLS);
        }
        for option in options {
            world = world.option(option);
        }
        prepare(&world);
        Self { world, port, pod: 1 }
    }

    /// The seed's stack, everything Ready and events arriving.
    pub fn stack(purpose: &str, options: &[&str]) -> Self {
        let mut stage = Self::new(purpose, options);
        apply_stack(&stage.world);
        stage.world.start();
        stage.at_rest();
        stage
    }

    /// Waits until everything is as declared.
    pub fn settled(&self) {
        stack_settled(&self.world);
    }

    /// Waits until everything is as declared, and events arrive.
    pub fn at_rest(&self) {
        self.settled();
        self.world
            .condition(KIND, TRAIL, "Delivering", "True", "EventsArriving");
    }

    /// Starts the operator as another Pod, with further options.
    pub fn another_pod(&mut self, options: &[&str]) {
        self.pod += 1;
        let listen = format!("--http-listen=127.0.0.1:{}", self.port);
        let mut all = vec![listen.as_str(), DUE_CALLS];
        all.extend(options);
        self.world.restart_with(&all);
    }

    fn scrape(&self) -> Result<String, String> {
        let agent: Agent = Agent::config_builder().proxy(None).build().into();
        let mut answer = agent
            .get(format!("http://127.0.0.1:{}/metrics", self.port))
            .call()
            .map_err(|error| error.to_string())?;
        answer
            .body_mut()
            .read_to_string()
            .map_err(|error| error.to_string())
    }

    /// Whether a scrape would fail.
    pub fn is_gone(&self) -> bool {
        self.scrape().is_err()
    }

    /// What the metrics say now.
    pub fn record(&self) -> Recording {
        let text = self.world.eventually("the metrics answer", || self.scrape());
        Recording::new(&text, self.pod)
    }

    /// What the metrics say when they are as wanted.
    pub fn record_when(&self, what: &str, wanted: impl Fn(&Recording) -> bool) -> Recording {
        self.world.eventually(what, || {
            let recording = Recording::new(&self.scrape()?, self.pod);
            if wanted(&recording) {
                Ok(recording)
            } else {
                Err(format!("{recording:?}"))
            }
        })
    }

    /// Two recordings between which own calls arrived and every kind was visited: what goes on while delivery works.
    pub fn healthy(&self) -> (Recording, Recording) {
        let newest = |recording: &Recording| {
            let metrics = [
                "ramtrail_trail_canary_last_success_timestamp_seconds",
                "ramtrail_trail_last_event_timestamp_seconds",
            ];
            metrics.map(|metric| recording.values(metric).next().map(|(_, time)| time))
        };
        let first = self.record_when("own calls were found", |now| {
            newest(now).iter().all(Option::is_some)
        });
        let before = newest(&first);
        let second = self.record_when("further own calls were found, objects were visited", |now| {
            let moved = newest(now).iter().zip(before).all(|(now, before)| *now > before);
            moved && visited(&first, now)
        });
        (first, second)
    }

    /// What the metrics say when every kind was visited again.
    pub fn later(&self, first: &Recording) -> Recording {
        self.record_when("objects were visited", |now| visited(first, now))
    }

    /// The operator's keys are from now on those of a user who may do everything but this.
    pub fn deny(&self, ram_action: &str) {
        let statements = json!([
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": ram_action, "Resource": "*"},
        ]);
        self.world.add_user(NARROW_KEY, ACCOUNT, "narrow", &statements);
        self.world.write_secret(CREDENTIALS, NARROW_KEY, SECRET, true);
        self.world.eventually("the narrow keys are used", || {
            let used = self.world.journal(0).iter().any(|row| {
                row.action() == "GetProject" && row.0["caller"].to_string().contains("user/narrow")
            });
            if used { Ok(()) } else { Err("not yet".to_owned()) }
        });
    }
}

/// Whether each kind was visited a few times between two recordings.
fn visited(first: &Recording, now: &Recording) -> bool {
    ["AuditProject", "AuditLogStore", "RamTrail"].iter().all(|kind| {
        let visits = |recording: &Recording| recording.sum("ramtrail_reconciles_total", kind);
        visits(now) >= visits(first) + 3.0
    })
}
