//! The making of images.

use atelier_core::id::ImageId;
use atelier_core::{Code, Refusal};
use atelier_runtime::Reporter;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::header;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::call::{Call, Refused};
use super::{Own, streamed};

pub(super) fn routes() -> Router<Own> {
    Router::new().route("/atelier/v1/{project_id}/images/{id}/build", post(build))
}

/// Makes an image, telling how it goes: one JSON object in a line, the last one says how it ended.
async fn build(State(own): State<Own>, call: Call) -> Result<Response, Refused> {
    let images = own.engine.images().await.map_err(call.refused())?;
    let known = call.id.parse::<ImageId>().ok().filter(|id| images.iter().any(|image| image.id == *id));
    let Some(id) = known else {
        let message = format!("image `{}` does not exist", call.shown_id());
        return Err(call.refused()(Refusal::new(Code::NotFound, message)));
    };
    let body = streamed(|out| async move {
        let reporter = Lines(out.clone());
        let made = own.stop.run_until_cancelled(own.maker.make(id, &reporter)).await;
        let last = match made {
            Some(Ok(())) => json!({"done": true}),
            Some(Err(e)) => json!({"error": e}),
            None => json!({"error": "the server is stopping"}),
        };
        // Whoever asked may have gone; the image is made all the same.
        let _ = out.send(line(&last)).await;
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

struct Lines(mpsc::Sender<Bytes>);

impl Reporter for Lines {
    fn report(&self, text: &str) {
        // A reader who is slow misses some news, never the end.
        if self.0.capacity() > 1 {
            let _ = self.0.try_send(line(&json!({"doing": text})));
        }
    }
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}
