//! The requests that a connection has in hand: from the first byte of the head to the last one of the answer.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::watch;

/// A count that can be waited on. Cheap to clone; the clones count together.
#[derive(Clone)]
pub(super) struct InHand(watch::Sender<usize>);

impl Default for InHand {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl InHand {
    /// Counts a request in.
    pub(super) fn one_more(&self) -> One {
        self.0.send_modify(|count| *count += 1);
        One(self.0.clone())
    }

    /// Returns when nothing has been in hand for `later`, or for `first` from the beginning.
    pub(super) async fn idle(&self, first: Duration, later: Duration) {
        let mut changes = self.0.subscribe();
        let mut patience = first;
        loop {
            if *changes.borrow_and_update() > 0 {
                patience = later;
                // The sender is `self`: it is there.
                let _ = changes.changed().await;
            } else if tokio::time::timeout(patience, changes.changed()).await.is_err() {
                return;
            } else {
                patience = later;
            }
        }
    }
}

/// One request in hand, until this is dropped.
pub(super) struct One(watch::Sender<usize>);

impl One {
    /// Keeps the request in hand until its answer is sent, or given up.
    pub(super) fn until_sent(self, answer: Response) -> Response {
        answer.map(|body| Body::new(Counted { body, _one: self }))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

struct Counted {
    body: Body,
    _one: One,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const FIRST: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_never_asks_is_given_the_shorter_time() {
        let began = Instant::now();
        InHand::default().idle(FIRST, LATER).await;
        assert_eq!(began.elapsed(), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_under_way_is_not_idleness_however_long_it_takes() {
        let in_hand = InHand::default();
        let began = Instant::now();
        let answer = in_hand.one_more().until_sent(Response::new(Body::from("x")));
        let idle = tokio::spawn({
            let in_hand = in_hand.clone();
            async move { in_hand.idle(FIRST, LATER).await }
        });
        tokio::time::sleep(Duration::from_secs(1000)).await;
        assert!(!idle.is_finished());
        drop(answer);
        idle.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1000) + LATER);
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_begins_the_wait_anew() {
        let in_hand = InHand::default();
        let began = Instant::now();
        let idle = tokio::spawn({
            let in_hand = in_hand.clone();
            async move { in_hand.idle(FIRST, LATER).await }
        });
        tokio::time::sleep(Duration::from_secs(9)).await;
        drop(in_hand.one_more());
        tokio::time::sleep(Duration::from_secs(50)).await;
        drop(in_hand.one_more());
        idle.await.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(59) + LATER);
    }
}
