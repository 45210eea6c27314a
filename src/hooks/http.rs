//! A request to a webhook.
//!
//! Redirects are not followed: whoever may make a Backup says where the request goes, and nobody else does.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Method};

use super::operation::{Ended, Subject, failed};
use super::output::Output;
use crate::api::OperationHttp;
use crate::cluster::describe;

/// Sends the request.
pub async fn run(hook: &OperationHttp, limit: Duration, subject: &Subject) -> Ended {
    let client = Client::builder().timeout(limit).redirect(Policy::none());
    let client = match client.build() {
        Ok(client) => client,
        Err(error) => return failed(describe(&error)),
    };
    let method = hook.method.as_deref().unwrap_or("POST");
    let method = match Method::from_bytes(method.as_bytes()) {
        Ok(method) => method,
        Err(_) => return failed(format!("{method:?} is no method")),
    };
    let body = match &hook.body {
        Some(body) => subject.fill(body),
        // A value always becomes text.
        None => serde_json::to_string(subject).unwrap_or_default(),
    };
    let mut request = client.request(method, &hook.url).body(body);
    if !hook
        .headers
        .keys()
        .any(|name| name.eq_ignore_ascii_case("content-type"))
    {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in &hook.headers {
        request = request.header(name, subject.fill(value));
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        // The address may hold a token.
        Err(error) if error.is_timeout() => return failed(format!("no answer after {limit:?}")),
        Err(error) => return failed(describe(&error.without_url())),
    };
    let status = answer.status();
    let good = match hook.expected_status.as_slice() {
        [] => status.is_success(),
        expected => expected.contains(&status.as_u16()),
    };
    if good {
        return Ok(Vec::new());
    }
    let output = Output::default();
    let mut answer = answer;
    let mut read = 0;
    while let Ok(Some(chunk)) = answer.chunk().await {
        output.stdout(&chunk);
        read += chunk.len();
        if read > 64 << 10 {
            break;
        }
    }
    let printed = output.lines().into_iter();
    let printed = printed.map(|line| line.replacen("stdout", "answer", 1));
    Err((printed.collect(), format!("the answer is {status}")))
}
