//! A proxy before the API server that does to requests what networks, servers and their restarts do.
//!
//! It listens on plain HTTP on 127.0.0.1, in this process, and speaks TLS to the API server. Who asks is decided there:
//! the bearer token passes through, and so does RBAC. Faults are put in its way and taken out at run time; a journal
//! says what passed.
//!
//! | module | owns |
//! |---|---|
//! | [`call`] | what a request asks for |
//! | [`fault`] | what goes wrong, and for which requests |
//! | `state` | faults in force, open streams, the journal |
//! | `serve` | connections, and what happens to one request |

pub mod call;
pub mod fault;
mod serve;
mod state;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

pub use call::Call;
pub use fault::{Fault, Matching, Planned};
pub use state::{Progress, Row};

use crate::wait::{self, Probe};
use crate::workspace::write_private;
use serve::{Door, Upstream};
use state::State;

/// Bounds a failure only.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running proxy. Dropping it closes all its connections.
#[derive(Debug)]
pub struct ApiProxy {
    state: Arc<State>,
    wanted: watch::Sender<Door>,
    actual: watch::Receiver<Door>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl ApiProxy {
    /// A proxy before the API server that a kubeconfig of ours names (written as JSON, one cluster).
    ///
    /// # Errors
    /// Fails if the file names no server or no authority, or if no port can be had.
    pub fn before(kubeconfig: &Path) -> Result<Self> {
        let config = read(kubeconfig)?;
        let cluster = &config["clusters"][0]["cluster"];
        let server = cluster["server"]
            .as_str()
            .context("the kubeconfig names no server")?;
        let authority = match (
            &cluster["certificate-authority-data"],
            &cluster["certificate-authority"],
        ) {
            (Value::String(data), _) => base64::engine::general_purpose::STANDARD
                .decode(data)
                .context("the authority of the kubeconfig is no Base64")?,
            (_, Value::String(file)) => fs::read(file).with_context(|| format!("cannot read {file}"))?,
            _ => bail!("{} names no authority", kubeconfig.display()),
        };
        // The process may have chosen the same one already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .tls_certs_only(reqwest::Certificate::from_pem_bundle(&authority)?)
            .no_proxy()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot make the client of the API server")?;
        let upstream = Upstream::new(client, server);
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("api-proxy")
            .enable_all()
            .build()
            .context("cannot start the runtime of the proxy")?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let (wanted, door) = watch::channel(Door::Open);
        let (at_door, actual) = watch::channel(Door::Open);
        runtime.spawn(serve::listen(
            listener,
            Arc::clone(&state),
            Arc::new(upstream),
            door,
            at_door,
        ));
        Ok(Self {
            state,
            wanted,
            actual,
            address,
            runtime: Some(runtime),
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig with the user of another one and this proxy as the server.
    pub fn write_kubeconfig(&self, original: &Path, path: &Path) -> Result<()> {
        let mut config = read(original)?;
        config["clusters"][0]["cluster"] = json!({ "server": self.url() });
        write_private(path, format!("{config:#}\n").as_bytes())
    }

    /// Puts a fault in the way; gives its id. Numbers of requests count from now.
    pub fn add(&self, matching: Matching, fault: Fault) -> u64 {
        self.state.add(Planned { matching, fault })
    }

    /// Puts the faults of a plan in the way.
    pub fn add_plan(&self, plan: &[Planned]) -> Vec<u64> {
        plan.iter()
            .map(|planned| self.state.add(planned.clone()))
            .collect()
    }

    /// Takes a fault away: what it holds goes on, what it froze flows.
    pub fn remove(&self, id: u64) {
        self.state.remove(Some(id));
    }

    /// Takes all faults away.
    pub fn clear(&self) {
        self.state.remove(None);
    }

    /// Lets the requests go on that a fault holds now; later ones are held again.
    pub fn release(&self, id: u64) {
        self.state.release(id);
    }

    /// How far a fault has come; nothing of one that was taken away.
    pub fn progress(&self, id: u64) -> Progress {
        self.state.progress(id).unwrap_or_default()
    }

    /// Breaks the open watches that match.
    pub fn cut(&self, matching: Matching) {
        let id = self.add(matching, Fault::Cut);
        self.remove(id);
    }

    /// Requests after a number, oldest first.
    pub fn journal(&self, since: u64) -> Vec<Row> {
        self.state.rows(since)
    }

    /// The number of the newest request.
    pub fn now(&self) -> u64 {
        self.state.last()
    }

    /// A number that rises whenever a write arrives, is passed on or is answered: as long as it stays, what was read of the
    /// objects behind the proxy is as it was, unless somebody else wrote.
    pub fn steps_of_writes(&self) -> usize {
        self.state.steps_of_writes()
    }

    /// The watches that are open.
    pub fn open_watches(&self) -> Vec<Call> {
        self.state.open_streams()
    }

    /// Closes all connections and refuses new ones, as while an API server restarts.
    pub fn shut(&self) -> Result<()> {
        self.door(Door::Shut)
    }

    /// Accepts connections again, on the same port.
    pub fn reopen(&self) -> Result<()> {
        self.door(Door::Open)
    }

    fn door(&self, door: Door) -> Result<()> {
        self.wanted.send_replace(door);
        wait::until(
            "the proxy's door follows",
            DEADLINE,
            Duration::from_millis(5),
            || {
                let actual = *self.actual.borrow();
                Ok(if actual == door {
                    Probe::Done(())
                } else {
                    Probe::Pending(format!("{actual:?}"))
                })
            },
        )
    }
}

impl Drop for ApiProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn read(kubeconfig: &Path) -> Result<Value> {
    let text =
        fs::read_to_string(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", kubeconfig.display()))
}
