//! Running code in a notebook, as its user does: in a kernel, over the notebook server's WebSocket.

use std::time::Duration;

use atelier_runtime::{InstanceSpec, Runtime};
use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

/// How long any code may run.
const LIMIT: Duration = Duration::from_mins(2);

/// A kernel in a notebook.
pub struct Kernel {
    socket: tokio_tungstenite::WebSocketStream<Box<dyn atelier_runtime::Connection>>,
    count: u32,
}

impl Kernel {
    pub async fn start(runtime: &dyn Runtime, spec: &InstanceSpec) -> Self {
        let id = new_kernel(runtime, spec).await;
        let mut request = format!("ws://localhost/api/kernels/{id}/channels").into_client_request().unwrap();
        let token = format!("token {}", spec.upstream_secret.expose_secret());
        request.headers_mut().insert("authorization", token.parse().unwrap());
        let stream = runtime.connect(spec.notebook).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        Self { socket, count: 0 }
    }

    /// What the code prints. A failure in it fails the test.
    pub async fn run(&mut self, code: &str) -> String {
        self.count += 1;
        let id = format!("message-{}", self.count);
        let header = json!({"msg_id": id, "msg_type": "execute_request", "username": "", "session": "s",
            "date": "2026-01-01T00:00:00Z", "version": "5.3"});
        let content = json!({"code": code, "silent": false, "store_history": false, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true});
        let message = json!({"header": header, "parent_header": {}, "metadata": {}, "content": content,
            "channel": "shell", "buffers": []});
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        let output = tokio::time::timeout(LIMIT, self.output_of(&id)).await;
        output.unwrap_or_else(|_| panic!("no end of:\n{code}"))
    }

    async fn output_of(&mut self, id: &str) -> String {
        let mut output = String::new();
        loop {
            let message = self.socket.next().await.unwrap().unwrap();
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).unwrap();
            if message["parent_header"]["msg_id"] != id {
                continue;
            }
            let content = &message["content"];
            match message["header"]["msg_type"].as_str().unwrap() {
                "stream" => output.push_str(content["text"].as_str().unwrap()),
                "error" => panic!("{}: {}\n{output}", content["ename"], content["evalue"]),
                "status" if content["execution_state"] == "idle" => return output,
                _ => {}
            }
        }
    }
}

async fn new_kernel(runtime: &dyn Runtime, spec: &InstanceSpec) -> String {
    let mut stream = runtime.connect(spec.notebook).await.unwrap();
    let request = format!(
        "POST /api/kernels HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\nAuthorization: token {}\r\n\r\n{{}}",
        spec.upstream_secret.expose_secret()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["id"].as_str().unwrap().to_owned()
}
