//! Sockets: accepts connections, turns HTTP into [`Inbound`] and answers back. Knows nothing of services.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::engine::{Answer, Engine, MAX_BODY, Outcome, Pace};
use crate::wire::Inbound;

/// How often background work is looked at.
const TICK: Duration = Duration::from_millis(100);

/// A running emulator. Dropping it does not stop it; [`Emulator::stop`] does.
#[derive(Debug)]
pub struct Emulator {
    /// Address it listens on.
    pub address: SocketAddr,
    /// Its engine, for tests in the same process.
    pub engine: Arc<Engine>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Only loopback addresses are served: keys and signatures travel in the clear.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen")]
    Listen(#[from] std::io::Error),
}

impl Emulator {
    /// Starts listening; must be called within a tokio runtime.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen));
        }
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let engine = Arc::new(Engine::new(config));
        let (stop, stopped) = watch::channel(false);
        let accept = tokio::spawn(accept(listener, engine.clone(), stopped.clone()));
        let tick = tokio::spawn(tick(engine.clone(), stopped));
        Ok(Self {
            address,
            engine,
            stop,
            tasks: vec![accept, tick],
        })
    }

    /// Stops accepting and ends; open connections are closed.
    pub async fn stop(self) {
        // Nobody is left to tell if the tasks have ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the server failed");
            }
        }
    }
}

async fn tick(engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => engine.tick(),
            _ = stopped.changed() => return,
        }
    }
}

async fn accept(listener: TcpListener, engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tokio::spawn(serve(stream, peer, engine.clone(), stopped.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            _ = stopped.changed() => return,
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, engine: Arc<Engine>, mut stopped: watch::Receiver<bool>) {
    // Small answers must not wait for more.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no nodelay");
    }
    let service = service_fn(move |request| answer(engine.clone(), peer, request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        result = connection => if let Err(error) = result {
            tracing::debug!(%error, "connection ended");
        },
        _ = stopped.changed() => {}
    }
}

/// The connection is closed without an answer, or within one.
#[derive(Debug, thiserror::Error)]
#[error("a fault closes the connection")]
struct Closed;

async fn answer(
    engine: Arc<Engine>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Closed> {
    let (parts, body) = request.into_parts();
    let host = parts
        .headers
        .get(http::header::HOST)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .or_else(|| parts.uri.authority().map(ToString::to_string))
        .unwrap_or_default();
    let mut inbound = Inbound {
        method: parts.method,
        host,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: Bytes::new(),
        peer,
    };
    match read(body).await {
        Ok(body) => inbound.body = body,
        Err(Some(size)) => return Ok(respond(engine.too_large(&inbound, size))),
        // The client broke off within its body: there is nobody to answer.
        Err(None) => return Err(Closed),
    }
    // The work runs in a task of its own, so that it goes on when the client leaves; dropping `alive`
    // with this future tells it so.
    let (alive, gone) = watch::channel(());
    let outcome = tokio::spawn(engine.handle(inbound, gone)).await;
    drop(alive);
    match outcome {
        Ok(Outcome::Answer(answer)) => Ok(respond(answer)),
        Ok(Outcome::Close) => Err(Closed),
        Err(error) => {
            tracing::error!(%error, "a call failed inside the emulator");
            Err(Closed)
        }
    }
}

/// The whole body, or the size at which it was too large.
async fn read(mut body: Incoming) -> Result<Bytes, Option<u64>> {
    let announced = body.size_hint().lower();
    if announced > MAX_BODY as u64 {
        return Err(Some(announced));
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(None) };
        if let Ok(data) = frame.into_data() {
            read.extend_from_slice(&data);
            if read.len() > MAX_BODY {
                return Err(Some(read.len() as u64));
            }
        }
    }
    Ok(read.freeze())
}

fn respond(answer: Answer) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::new(answer.body, answer.pace));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (
            name.parse::<http::HeaderName>(),
            value.parse::<http::HeaderValue>(),
        ) {
            response.headers_mut().append(name, value);
        } else {
            tracing::error!(name, "a header could not be sent");
        }
    }
    response
}

/// A body sent as its pace says.
struct AnswerBody {
    rest: Bytes,
    /// Bytes at the end that are announced and never sent.
    withheld: usize,
    /// Goes before each byte of a slow body, and before a body breaks off, so that what was sent arrives.
    slow: Option<(Duration, Pin<Box<tokio::time::Sleep>>)>,
}

/// How long a body that breaks off stands still first.
const BREAK: Duration = Duration::from_millis(20);

impl AnswerBody {
    fn new(body: Bytes, pace: Pace) -> Self {
        let withheld = if pace == Pace::Half {
            body.len().div_ceil(2)
        } else {
            0
        };
        let slow = match pace {
            Pace::Slow(pause) => Some(pause),
            Pace::Half => Some(BREAK),
            Pace::Whole => None,
        };
        let slow = slow.map(|pause| (pause, Box::pin(tokio::time::sleep(pause))));
        Self {
            rest: body,
            withheld,
            slow,
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        let this = &mut *self;
        let left = this.rest.len() - this.withheld;
        let breaks_off = this.withheld > 0;
        if left == 0 && !breaks_off {
            return Poll::Ready(None);
        }
        let send = match &mut this.slow {
            None => left,
            Some(_) if breaks_off && left > 0 => left,
            Some((pause, sleep)) => {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if breaks_off {
                    return Poll::Ready(Some(Err(Closed)));
                }
                sleep.as_mut().reset(tokio::time::Instant::now() + *pause);
                1
            }
        };
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(send)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
