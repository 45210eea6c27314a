//! The policies of the documentation, and a plugin that decides by them.
//!
//! MinIO's own policies do not know the condition `s3:if-none-match`, which S3 has. MinIO can ask a plugin instead, and tells
//! it a request's headers; so here the very documents that the book shows decide, condition included.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A policy of the documentation: `backup`, `restore` or `full`.
pub fn documented(role: &str) -> Value {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/policies");
    let text = fs::read(folder.join(format!("s3-{role}.json"))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The same as far as MinIO's own policies go: without the condition that it does not know.
pub fn for_minio(role: &str) -> String {
    let mut policy = documented(role);
    for statement in policy["Statement"].as_array_mut().unwrap() {
        if let Some(Value::Object(condition)) = statement.get_mut("Condition") {
            condition.remove("StringEquals").unwrap();
        }
    }
    policy.to_string()
}

/// Starts a plugin, for the requests of users named like the roles; root may do everything. Returns its port.
pub async fn plugin(roles: &[&str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let policies: Vec<(String, Value)> = roles
        .iter()
        .map(|role| ((*role).to_owned(), documented(role)))
        .collect();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, policies.clone()));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, policies: Vec<(String, Value)>) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8 << 10];
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        let request: Value = serde_json::from_str(body).unwrap_or_default();
        let allowed = allowed(&policies, &request["input"]);
        let body = json!({ "result": allowed }).to_string();
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

fn allowed(policies: &[(String, Value)], request: &Value) -> bool {
    if request["owner"] == true {
        return true;
    }
    let Some((_, policy)) = policies
        .iter()
        .find(|(user, _)| request["account"] == *user)
    else {
        return false;
    };
    let statements = policy["Statement"].as_array().unwrap();
    let hit = |effect: &str| {
        let mut matching = statements.iter().filter(|s| s["Effect"] == effect);
        matching.any(|statement| applies(statement, request))
    };
    hit("Allow") && !hit("Deny")
}

fn applies(statement: &Value, request: &Value) -> bool {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let resource = match text("object") {
        "" => format!("arn:aws:s3:::{}", text("bucket")),
        object => format!("arn:aws:s3:::{}/{object}", text("bucket")),
    };
    let any = |patterns: &Value, value: &str| match patterns {
        Value::Array(patterns) => patterns.iter().any(|p| like(p.as_str().unwrap(), value)),
        pattern => like(pattern.as_str().unwrap(), value),
    };
    let headers = &request["conditions"];
    let demanded = match &statement["Condition"] {
        Value::Null => true,
        condition => {
            let expected = json!({
                "StringEquals": { "s3:if-none-match": "*" },
                "Null": { "s3:x-amz-copy-source": "true" }
            });
            assert_eq!(
                *condition, expected,
                "a condition that this plugin does not know"
            );
            headers["If-None-Match"] == json!(["*"]) && headers["X-Amz-Copy-Source"].is_null()
        }
    };
    any(&statement["Action"], text("action")) && any(&statement["Resource"], &resource) && demanded
}

fn like(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => value.starts_with(start),
        None => pattern == value,
    }
}
