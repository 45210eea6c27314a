//! S3 requests as an administrator makes them: versions, locks, policies. Plain HTTP to a server on this machine.
//!
//! Tests of what a bucket refuses must not go through the client that the product uses, which may not even send such a
//! request; and versions are not in that client's vocabulary.

use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hmac, pbkdf2};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REGION: &str = "us-east-1";

const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one user.
#[derive(Clone, Debug)]
pub struct S3 {
    port: u16,
    access_key: String,
    secret_key: String,
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The answer, if it says that the request was carried out.
    pub fn done(self) -> anyhow::Result<Answer> {
        if !(200..300).contains(&self.status) {
            bail!("the server answers {}: {}", self.status, self.body);
        }
        Ok(self)
    }
}

/// A version of an object, or the mark of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub key: String,
    /// The version's id.
    pub id: String,
    /// Whether this is what a reader without a version gets.
    pub latest: bool,
    /// Whether it marks a deletion.
    pub marker: bool,
}

impl S3 {
    /// A client of the server on this port.
    pub fn new(port: u16, access_key: &str, secret_key: &str) -> S3 {
        S3 {
            port,
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        }
    }

    /// The same server as another user.
    pub fn as_user(&self, keys: &(String, String)) -> S3 {
        S3::new(self.port, &keys.0, &keys.1)
    }

    /// Sends a signed request. Parameters come in the order of their names.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        parameters: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let host = format!("127.0.0.1:{}", self.port);
        let query: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = query.join("&");
        let hash = hex::encode(digest::digest(&digest::SHA256, body));
        let time = timestamp()?;
        let mut signed = vec![
            ("host", host.as_str()),
            ("x-amz-content-sha256", &hash),
            ("x-amz-date", &time),
        ];
        signed.extend(headers);
        signed.sort_unstable();
        let lines: String = signed.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let path: String = path.split('/').map(encode).collect::<Vec<_>>().join("/");
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{hash}");
        let canonical = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
        let day = time.get(..8).unwrap_or_default();
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, REGION, "s3", "aws4_request", text.as_str()] {
            let with = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&with, part.as_bytes()).as_ref().to_vec();
        }
        // Kept open: a server that refuses early then still reads the body, and its answer is not lost.
        let mut request = format!("{method} {path}?{query} HTTP/1.1\r\n");
        for (name, value) in &signed {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!(
            "authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}\r\n\
             content-length: {}\r\n\r\n",
            self.access_key,
            hex::encode(key),
            body.len()
        ));
        let whole = [request.as_bytes(), body].concat();
        tokio::time::timeout(PATIENCE, self.exchange(&whole))
            .await
            .context("no answer")?
    }

    async fn exchange(&self, request: &[u8]) -> anyhow::Result<Answer> {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .context("connecting")?;
        stream.write_all(request).await.context("sending")?;
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = answer_in(&bytes) {
                return Ok(answer);
            }
            let read = stream.read_buf(&mut bytes).await.context("reading")?;
            if read == 0 {
                bail!("the server hung up: {}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    /// Writes an object, over one that is there.
    pub async fn put(&self, bucket: &str, key: &str, body: &[u8]) -> anyhow::Result<Answer> {
        self.call("PUT", &format!("/{bucket}/{key}"), &[], &[], body)
            .await
    }

    /// Deletes an object; in a bucket with versions that adds a mark.
    pub async fn delete(&self, bucket: &str, key: &str) -> anyhow::Result<Answer> {
        self.call("DELETE", &format!("/{bucket}/{key}"), &[], &[], b"")
            .await
    }

    /// Deletes a version.
    pub async fn delete_version(&self, bucket: &str, version: &Version) -> anyhow::Result<Answer> {
        let path = format!("/{bucket}/{}", version.key);
        self.call("DELETE", &path, &[("versionId", &version.id)], &[], b"")
            .await
    }

    /// Every version and every mark of a deletion below `prefix`, newest first for each object.
    pub async fn versions(&self, bucket: &str, prefix: &str) -> anyhow::Result<Vec<Version>> {
        let mut found = Vec::new();
        let path = format!("/{bucket}");
        let (mut key, mut id) = (String::new(), String::new());
        loop {
            let mut parameters = vec![("prefix", prefix), ("versions", "")];
            if !key.is_empty() {
                parameters.extend([("key-marker", key.as_str()), ("version-id-marker", &id)]);
            }
            parameters.sort_unstable();
            let answer = self.call("GET", &path, &parameters, &[], b"").await?;
            let page = answer.done()?.body;
            found.extend(versions_in(&page));
            if between(&page, "<IsTruncated>", "</IsTruncated>") != Some("true") {
                return Ok(found);
            }
            let next = |name: &str| {
                let value = between(&page, &format!("<{name}>"), &format!("</{name}>"));
                value.map(str::to_owned).context("a page without the next")
            };
            (key, id) = (next("NextKeyMarker")?, next("NextVersionIdMarker")?);
        }
    }
}

/// The answer, once all of it is there.
fn answer_in(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let head = head.to_ascii_lowercase();
    let body = if head.contains("transfer-encoding: chunked") {
        let mut whole = String::new();
        let mut rest = body;
        loop {
            let (size, after) = rest.split_once("\r\n")?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            if size == 0 {
                break whole;
            }
            whole.push_str(after.get(..size)?);
            rest = after.get(size + 2..)?;
        }
    } else {
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        body.get(..length.unwrap_or(0))?.to_owned()
    };
    Some(Answer { status, body })
}

/// Versions and marks come in one order, as elements of two names.
fn versions_in(page: &str) -> Vec<Version> {
    let mut found = Vec::new();
    let mut rest = page;
    loop {
        let starts = ["<Version>", "<DeleteMarker>"].map(|tag| rest.find(tag));
        let (marker, start) = match starts {
            [Some(version), Some(mark)] => (mark < version, version.min(mark)),
            [Some(version), None] => (false, version),
            [None, Some(mark)] => (true, mark),
            [None, None] => return found,
        };
        let end = if marker {
            "</DeleteMarker>"
        } else {
            "</Version>"
        };
        let Some((element, after)) = rest.get(start..).and_then(|rest| rest.split_once(end)) else {
            return found;
        };
        let field = |name: &str| {
            let value = between(element, &format!("<{name}>"), &format!("</{name}>"));
            value.unwrap_or_default().to_owned()
        };
        found.push(Version {
            key: field("Key"),
            id: field("VersionId"),
            latest: field("IsLatest") == "true",
            marker,
        });
        rest = after;
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The time as signatures want it: 20261121T163000Z.
fn timestamp() -> anyhow::Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let (year, month, date) = date_of(now.as_secs() / 86_400);
    let seconds = now.as_secs() % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Ok(format!(
        "{year:04}{month:02}{date:02}T{hour:02}{minute:02}{second:02}Z"
    ))
}

/// Year, month and day, so many days after 1 January 1970.
pub(crate) fn date_of(days: u64) -> (u64, u64, u64) {
    // Days since 1 March of year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, date)
}

/// Encrypts what MinIO's administrators send, with their own secret key: salt (32), algorithm (2 = PBKDF2 and AES-256-GCM),
/// nonce (8), then one sealed fragment. The fragment's number ends the nonce; its additional data says that it is the last.
pub(crate) fn seal_for_admin(secret: &str, text: &[u8]) -> anyhow::Result<Vec<u8>> {
    const ROUNDS: std::num::NonZeroU32 = std::num::NonZeroU32::MIN.saturating_add(8191);
    let mut random = [0; 40];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("no random bytes"))?;
    let (salt, start) = random.split_at(32);
    let mut key = [0; 32];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ROUNDS,
        salt,
        secret.as_bytes(),
        &mut key,
    );
    let key = UnboundKey::new(&AES_256_GCM, &key).map_err(|_| anyhow::anyhow!("not a key"))?;
    let key = LessSafeKey::new(key);
    let seal = |number: u8, additional: &[u8], text: &[u8]| {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(start);
        nonce[8] = number;
        let mut sealed = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(additional), &mut sealed)
            .map_err(|_| anyhow::anyhow!("cannot encrypt"))?;
        Ok::<_, anyhow::Error>(sealed)
    };
    let last = [&[0x80], seal(0, &[], &[])?.as_slice()].concat();
    Ok([salt, &[2], start, &seal(1, &last, text)?].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(59), (1970, 3, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
        assert_eq!(date_of(20_778), (2026, 11, 21));
    }

    #[test]
    fn versions_and_marks_are_read_in_their_order() {
        let page = "<X><DeleteMarker><Key>a</Key><VersionId>2</VersionId><IsLatest>true</IsLatest></DeleteMarker>\
                    <Version><Key>a</Key><VersionId>1</VersionId><IsLatest>false</IsLatest></Version></X>";
        let version = |id: &str, latest, marker| Version {
            key: "a".into(),
            id: id.into(),
            latest,
            marker,
        };
        assert_eq!(
            versions_in(page),
            [version("2", true, true), version("1", false, false)]
        );
    }
}
