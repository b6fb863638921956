//! Connections, and what happens to one request.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep;

use super::call::Call;
use super::fault::Fault;
use super::state::{Fate, Met, State};

/// Whether connections are accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Door {
    Open,
    Shut,
}

/// The way to the API server.
#[derive(Debug)]
pub(super) struct Upstream {
    client: reqwest::Client,
    server: String,
}

impl Upstream {
    pub(super) fn new(client: reqwest::Client, server: &str) -> Self {
        Self {
            client,
            server: server.trim_end_matches('/').to_owned(),
        }
    }
}

/// The connection ends without (more of) an answer.
#[derive(Debug)]
pub(super) struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

/// An answer's body: pieces, as they come.
struct Pieces(mpsc::Receiver<Result<Bytes, Broken>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0
            .poll_recv(cx)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// One request as a whole.
struct Asked {
    method: hyper::Method,
    target: String,
    headers: HeaderMap,
    body: Bytes,
}

/// Accepts connections while the door is open.
pub(super) async fn listen(
    listener: TcpListener,
    state: Arc<State>,
    upstream: Arc<Upstream>,
    mut door: watch::Receiver<Door>,
    at_door: watch::Sender<Door>,
) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = Some(listener);
    loop {
        let wanted = *door.borrow_and_update();
        match (wanted, &listener) {
            (Door::Shut, Some(_)) => listener = None,
            (Door::Open, None) => {
                listener = TcpListener::bind(address).await.ok();
                if listener.is_none() {
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            _ => {}
        }
        at_door.send_replace(wanted);
        let Some(open) = &listener else {
            if door.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(connection(stream, Arc::clone(&state), Arc::clone(&upstream), door.clone()));
            },
            changed = door.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

async fn connection(
    stream: TcpStream,
    state: Arc<State>,
    upstream: Arc<Upstream>,
    mut door: watch::Receiver<Door>,
) {
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| serve(request, Arc::clone(&state), Arc::clone(&upstream)));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // Clients break off, and so do we.
        _ = serving => {}
        _ = door.wait_for(|door| *door == Door::Shut) => {}
    }
}

/// Answers one request. What it does goes on when the client is gone, and learns of that.
async fn serve(
    request: Request<Incoming>,
    state: Arc<State>,
    upstream: Arc<Upstream>,
) -> Result<Response<Pieces>, Broken> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let query = head.uri.query().unwrap_or_default();
    let call = Call::of(head.method.as_str(), head.uri.path(), query, &body);
    let asked = Asked {
        method: head.method,
        target: head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned(),
        headers: head.headers,
        body,
    };
    let watches = call.verb == "watch";
    let (seq, met) = state.arrived(call);
    let (answer, answered) = oneshot::channel();
    // Dropped with this future when the client goes away.
    let (_present, gone) = oneshot::channel::<Infallible>();
    let exchange = Exchange {
        state,
        upstream,
        asked,
        seq,
        watches,
    };
    tokio::spawn(async move {
        if let Ok(response) = exchange.answer(met, gone).await {
            answer.send(response).ok();
        }
    });
    answered.await.map_err(|_| Broken)
}

struct Exchange {
    state: Arc<State>,
    upstream: Arc<Upstream>,
    asked: Asked,
    seq: u64,
    watches: bool,
}

impl Exchange {
    async fn answer(
        self,
        met: Option<Met>,
        gone: oneshot::Receiver<Infallible>,
    ) -> Result<Response<Pieces>, Broken> {
        let Some(Met { id, fault }) = &met else {
            return self.pass(None).await;
        };
        match fault {
            Fault::Delay { ms } => {
                sleep(Duration::from_millis(*ms)).await;
                self.pass(None).await
            }
            Fault::DropBefore => Err(Broken),
            Fault::DropAfter => {
                self.whole().await?;
                Err(Broken)
            }
            Fault::HoldBefore => {
                self.held(*id, gone).await;
                self.pass(None).await
            }
            Fault::HoldAfter => {
                let whole = self.whole().await?;
                self.held(*id, gone).await;
                Ok(whole.answer())
            }
            Fault::BlackHole => {
                self.held(*id, gone).await;
                Err(Broken)
            }
            Fault::Status {
                status,
                reason,
                retry_after,
            } => Ok(self.refusal(*status, reason, *retry_after)),
            Fault::Answer { status, body } => Ok(self.made_up(*status, body.to_string())),
            Fault::Gone { as_event } => Ok(self.compacted(*as_event)),
            Fault::SlowBody { ms } => Ok(self.whole().await?.slowly(Duration::from_millis(*ms))),
            Fault::Truncated => Ok(self.whole().await?.half()),
            Fault::Freeze | Fault::Cut => self.pass(met.as_ref()).await,
        }
    }

    /// Waits until a fault is released or removed, or the client is gone.
    async fn held(&self, id: u64, gone: oneshot::Receiver<Infallible>) {
        let mut changes = self.state.changes();
        let Some(since) = self.state.begin_hold(id) else {
            return;
        };
        let released = async {
            while self.state.is_held(id, since) {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = released => {}
            _ = gone => {}
        }
        self.state.end_hold(id);
    }

    /// Forwards the request; the head of the API server's answer. One that cannot be reached is a broken connection.
    async fn forward(&self) -> Result<reqwest::Response, Broken> {
        let mut headers = self.asked.headers.clone();
        for name in [HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        self.state.forwarded(self.seq);
        let url = format!("{}{}", self.upstream.server, self.asked.target);
        let response = self
            .upstream
            .client
            .request(self.asked.method.clone(), url)
            .headers(headers)
            .body(self.asked.body.clone())
            .send()
            .await
            .map_err(|_| Broken)?;
        self.state.answered(self.seq, response.status().as_u16());
        Ok(response)
    }

    async fn whole(&self) -> Result<Whole, Broken> {
        let response = self.forward().await?;
        Ok(Whole {
            status: response.status(),
            headers: passed_on(response.headers()),
            body: response.bytes().await.map_err(|_| Broken)?,
        })
    }

    /// Forwards the request and passes the answer on, of a watch piece by piece.
    async fn pass(self, met: Option<&Met>) -> Result<Response<Pieces>, Broken> {
        if !self.watches {
            return Ok(self.whole().await?.answer());
        }
        let response = self.forward().await?;
        let (status, headers) = (response.status(), passed_on(response.headers()));
        let stream = self.state.open_stream(self.seq, met);
        let (pieces, receiver) = mpsc::channel(1);
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            flow(&state, stream, response, &pieces).await;
            state.close_stream(stream);
        });
        Ok(answer(status, headers, receiver))
    }

    fn made_up(&self, status: u16, body: String) -> Response<Pieces> {
        self.state.answered(self.seq, status);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Whole {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: Bytes::from(body),
        }
        .answer()
    }

    fn refusal(&self, status: u16, reason: &str, retry_after: Option<u64>) -> Response<Pieces> {
        let mut response = self.made_up(status, status_object(status, reason).to_string());
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }

    fn compacted(&self, as_event: bool) -> Response<Pieces> {
        let object = status_object(410, "Expired");
        if as_event {
            self.made_up(200, format!("{}\n", json!({"type": "ERROR", "object": object})))
        } else {
            self.made_up(410, object.to_string())
        }
    }
}

/// Passes pieces of a stream on until either side ends it, or a fault does.
async fn flow(
    state: &State,
    stream: u64,
    mut response: reqwest::Response,
    pieces: &mpsc::Sender<Result<Bytes, Broken>>,
) {
    let mut changes = state.changes();
    loop {
        let fate = state.fate(stream);
        if fate == Fate::Cut {
            pieces.send(Err(Broken)).await.ok();
            return;
        }
        tokio::select! {
            () = pieces.closed() => return,
            rung = changes.changed() => if rung.is_err() {
                return;
            },
            piece = response.chunk(), if fate == Fate::Flow => {
                // The end, or a failure: either is the last that is told.
                let last = !matches!(piece, Ok(Some(_)));
                if let Some(piece) = piece.map_err(|_| Broken).transpose() {
                    pieces.send(piece).await.ok();
                }
                if last {
                    return;
                }
            }
        }
    }
}

/// An answer of the API server that came in whole.
struct Whole {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Whole {
    fn answer(self) -> Response<Pieces> {
        let (pieces, receiver) = mpsc::channel(1);
        if !self.body.is_empty() {
            pieces.try_send(Ok(self.body)).ok();
        }
        answer(self.status, self.headers, receiver)
    }

    fn slowly(self, pause: Duration) -> Response<Pieces> {
        let (pieces, receiver) = mpsc::channel(1);
        let body = self.body;
        tokio::spawn(async move {
            for at in 0..body.len() {
                if pieces.send(Ok(body.slice(at..=at))).await.is_err() {
                    return;
                }
                sleep(pause).await;
            }
        });
        answer(self.status, self.headers, receiver)
    }

    fn half(self) -> Response<Pieces> {
        let (pieces, receiver) = mpsc::channel(2);
        pieces.try_send(Ok(self.body.slice(..self.body.len() / 2))).ok();
        pieces.try_send(Err(Broken)).ok();
        answer(self.status, self.headers, receiver)
    }
}

fn answer(
    status: StatusCode,
    headers: HeaderMap,
    pieces: mpsc::Receiver<Result<Bytes, Broken>>,
) -> Response<Pieces> {
    let mut response = Response::new(Pieces(pieces));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Headers without those that speak of one connection only.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}

fn status_object(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "put in the way by a test", "reason": reason, "code": code,
    })
}
