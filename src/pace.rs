//! Watches of the API server are opened with care: a stream that ends at once is not opened again at once.
//!
//! kube takes the end of a watch, whatever ended it, for the ordinary one and opens the next without a pause. Before a load
//! balancer that lets no stream live, that is a flood. Here the answer to a watch is held back as long as the one before it,
//! for the same thing, is younger than [`PAUSE`]. Nothing else is touched, and no watch that lives longer notices.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use tokio::time::{Instant, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// Least time between two watches of one thing.
const PAUSE: Duration = Duration::from_secs(1);

/// When watches may begin, by path: as many as there are kinds and watched namespaces.
#[derive(Clone, Debug, Default)]
pub struct WatchPace {
    next: Arc<Mutex<HashMap<String, Instant>>>,
}

impl WatchPace {
    /// When the watch that is asked for now may begin; it is noted for the one after it.
    fn begin(&self, path: &str, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let start = next.get(path).copied().map_or(now, |next| next.max(now));
        next.insert(path.to_owned(), start + PAUSE);
        start
    }
}

impl<S> Layer<S> for WatchPace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced {
            inner,
            pace: self.clone(),
        }
    }
}

/// A client's service whose watches keep a pace.
#[derive(Debug)]
pub struct Paced<S> {
    inner: S,
    pace: WatchPace,
}

impl<S, B> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = is_watch(request.uri()).then(|| self.pace.begin(request.uri().path(), Instant::now()));
        let answer = self.inner.call(request);
        Box::pin(async move {
            if let Some(start) = start {
                sleep_until(start).await;
            }
            answer.await
        })
    }
}

/// Whether a request is a watch: its answer has no end of its own.
pub fn is_watch(uri: &http::Uri) -> bool {
    uri.query()
        .is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_of_one_thing_keep_their_distance_and_others_do_not_wait() {
        let pace = WatchPace::default();
        let now = Instant::now();
        assert_eq!(pace.begin("/a", now), now);
        assert_eq!(pace.begin("/b", now), now);
        assert_eq!(pace.begin("/a", now), now + PAUSE);
        assert_eq!(
            pace.begin("/a", now + PAUSE),
            now + 2 * PAUSE,
            "after the one that waited"
        );
        let later = now + 10 * PAUSE;
        assert_eq!(
            pace.begin("/a", later),
            later,
            "a watch that lived waits for nothing"
        );
    }

    #[test]
    fn only_watches_are_paced() {
        for (uri, expected) in [
            ("/apis/g/v/things?&watch=true&timeoutSeconds=290", true),
            ("/apis/g/v/things?limit=500", false),
            ("/apis/g/v/things/watch", false),
        ] {
            assert_eq!(is_watch(&http::Uri::from_static(uri)), expected, "{uri}");
        }
    }
}
