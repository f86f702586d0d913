//! Where campaign managers ask: one API after the other, as long as it takes.

use std::time::Duration;

use anyhow::{Result, bail};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::fleet::KEY;

/// How long an answer is tried for: no outage is that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The APIs.
#[derive(Debug, Clone)]
pub(super) struct Desk {
    client: Client,
    apis: Vec<u16>,
    next: usize,
}

impl Desk {
    pub(super) fn new(apis: Vec<u16>) -> Result<Self> {
        let client = Client::builder()
            // Each request may go to a process that is new.
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(10))
            .build()?;
        Ok(Self {
            client,
            apis,
            next: 0,
        })
    }

    /// Sends one file until an API takes it. A file that was taken without an answer is sent again: its
    /// rows have names, so that they are the same leads.
    pub(super) async fn send_file(&mut self, path: &str, file: &str) -> Result<Value> {
        self.insist(Method::POST, path, |request| {
            request
                .header("content-type", "text/csv")
                .body(file.to_owned())
        })
        .await
    }

    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        self.insist(method, path, |request| match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// Asks one API after the other until one answers. What it refuses is an error at once.
    async fn insist(
        &mut self,
        method: Method,
        path: &str,
        finish: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.next = (self.next + 1) % self.apis.len();
            let url = format!("http://127.0.0.1:{}/v1{path}", self.apis[self.next]);
            let request = self.client.request(method.clone(), url).bearer_auth(KEY);
            let last = match answer(finish(request)).await {
                Ok((status, text)) if status.is_success() => {
                    return Ok(serde_json::from_str(&text)?);
                }
                Ok((status, text))
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    bail!("{method} {path}: {status}: {text}")
                }
                Ok((status, text)) => format!("{status}: {text}"),
                Err(error) => error.to_string(),
            };
            if Instant::now() >= end {
                bail!("{method} {path}: no API did it: {last}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn answer(request: RequestBuilder) -> Result<(StatusCode, String)> {
    let answer = request.send().await?;
    Ok((answer.status(), answer.text().await?))
}
