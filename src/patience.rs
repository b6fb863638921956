//! What the API server is asked is answered in time, or given up: the visit that asked begins again.
//!
//! kube bounds only how long a connection may be silent, and that by what a watch needs: minutes. Without this, an answer that
//! is lost on the way holds its object for as long, and nobody learns why. Watches pass untouched.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Either, Full};
use kube::client::DynBody;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;

use crate::pace::is_watch;

/// For an answer as a whole, with what kube repeats by itself when the API server is busy. The API server lets no request wait in
/// its queues for more than 15 seconds, and ends each after 60.
const LIMIT: Duration = Duration::from_secs(30);

/// An error of any kind, as kube's services have it.
type AnyError = Box<dyn std::error::Error + Send + Sync>;
/// An answer that came in whole, or a watch.
type Answer = Response<Either<Full<Bytes>, Box<DynBody>>>;

/// The API server did not answer in time. A write may have been carried out.
#[derive(Debug, thiserror::Error)]
#[error("no answer to {method} {path} within {limit:?}")]
struct Unanswered {
    limit: Duration,
    method: Method,
    path: String,
}

/// A layer that gives up what is not answered.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { limit: LIMIT }
    }
}

impl<S> Layer<S> for Patience {
    type Service = Patient<S>;

    fn layer(&self, inner: S) -> Patient<S> {
        Patient {
            inner,
            patience: *self,
        }
    }
}

/// A client's service whose answers come in time or not at all.
#[derive(Clone, Debug)]
pub struct Patient<S> {
    inner: S,
    patience: Patience,
}

impl<S, B> Service<Request<B>> for Patient<S>
where
    S: Service<Request<B>, Response = Response<Box<DynBody>>>,
    S::Error: Into<AnyError>,
    S::Future: Send + 'static,
{
    type Response = Answer;
    type Error = AnyError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, AnyError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let watches = is_watch(request.uri());
        let Patience { limit } = self.patience;
        let unanswered = Unanswered {
            limit,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            if watches {
                return Ok(answer.await.map_err(Into::into)?.map(Either::Right));
            }
            let whole = async {
                let (head, body) = answer.await.map_err(Into::into)?.into_parts();
                let body = body.collect().await?.to_bytes();
                Ok(Response::from_parts(head, Either::Left(Full::new(body))))
            };
            timeout(limit, whole)
                .await
                .unwrap_or_else(|_| Err(unanswered.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::{FutureExt, stream};
    use http_body_util::StreamBody;

    use super::*;

    /// Answers at once or never, with a body that ends or does not.
    #[derive(Clone, Copy)]
    struct Server {
        answers: bool,
        ends: bool,
    }

    impl Service<Request<()>> for Server {
        type Response = Response<Box<DynBody>>;
        type Error = AnyError;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AnyError>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let Self { answers, ends } = *self;
            Box::pin(async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                let body: Box<DynBody> = if ends {
                    Box::new(Full::new(Bytes::from_static(b"{}")).map_err(AnyError::from))
                } else {
                    Box::new(StreamBody::new(stream::pending()))
                };
                Ok(Response::new(body))
            })
        }
    }

    async fn ask(server: Server, patience: Patience, uri: &'static str) -> Result<Answer, AnyError> {
        let request = Request::get(uri).body(()).unwrap();
        patience.layer(server).call(request).await
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_or_does_not_end_is_given_up_by_name() {
        let patience = Patience {
            limit: Duration::from_millis(20),
        };
        for (answers, ends) in [(false, true), (true, false)] {
            let uri = "/api/v1/namespaces/n/secrets/s?x=1";
            let answer = ask(Server { answers, ends }, patience, uri).await;
            assert_eq!(
                answer.map(drop).unwrap_err().to_string(),
                "no answer to GET /api/v1/namespaces/n/secrets/s within 20ms"
            );
        }
    }

    #[tokio::test]
    async fn an_answer_in_time_is_passed_on_whole() {
        let server = Server {
            answers: true,
            ends: true,
        };
        let answer = ask(server, Patience::default(), "/api/v1/pods").await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "{}");
    }

    #[tokio::test]
    async fn nobody_waits_for_the_end_of_a_watch() {
        let patience = Patience {
            limit: Duration::ZERO,
        };
        let server = Server {
            answers: true,
            ends: false,
        };
        let answer = ask(server, patience, "/api/v1/pods?watch=true").await.unwrap();
        assert!(answer.into_body().collect().now_or_never().is_none());
    }
}
