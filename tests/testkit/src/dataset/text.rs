//! Words, sentences and encodings: what people write into manifests, in several scripts.

use super::random::Random;

/// Names of services.
pub const APPS: &[&str] = &[
    "account",
    "audit",
    "basket",
    "billing",
    "catalog",
    "checkout",
    "consent",
    "courier",
    "delivery",
    "discount",
    "exporter",
    "feature",
    "fraud",
    "frontend",
    "gateway",
    "geocoder",
    "identity",
    "image",
    "importer",
    "indexer",
    "inventory",
    "invoice",
    "ledger",
    "loyalty",
    "mailer",
    "matching",
    "media",
    "metrics",
    "notify",
    "order",
    "partner",
    "payment",
    "planner",
    "pricing",
    "profile",
    "quota",
    "recommend",
    "refund",
    "report",
    "returns",
    "review",
    "risk",
    "router",
    "scheduler",
    "search",
    "session",
    "shipping",
    "signup",
    "stock",
    "storefront",
    "subscription",
    "supplier",
    "support",
    "tax",
    "telemetry",
    "ticket",
    "token",
    "tracking",
    "voucher",
    "warehouse",
];

/// What a service is made of.
pub const ROLES: &[&str] = &[
    "api", "worker", "web", "cache", "sync", "proxy", "job", "stream", "batch", "admin",
    "consumer", "bridge", "store", "agent",
];

/// Teams, after which namespaces are named.
pub const TEAMS: &[&str] = &[
    "atlas", "basalt", "cedar", "delta", "ember", "fjord", "granit", "harbor", "iris", "juniper",
    "krill", "lumen", "maple", "nimbus", "onyx", "pylon", "quartz", "raven", "sierra", "tundra",
];

const WORDS: &[&str] = &[
    "timeout",
    "retry",
    "region",
    "primary",
    "replica",
    "bucket",
    "topic",
    "broker",
    "cluster",
    "endpoint",
    "header",
    "backoff",
    "limit",
    "window",
    "interval",
    "threshold",
    "queue",
    "shard",
    "partition",
    "offset",
    "consumer",
    "producer",
    "schema",
    "version",
    "feature",
    "toggle",
    "rollout",
    "canary",
    "stable",
    "latency",
    "budget",
    "error",
    "rate",
    "sample",
    "trace",
    "metric",
    "level",
    "debug",
    "info",
    "warning",
    "buffer",
    "batch",
    "flush",
    "commit",
    "snapshot",
    "restore",
    "archive",
    "retention",
    "policy",
    "tenant",
    "customer",
    "currency",
    "locale",
    "format",
    "template",
    "subject",
    "sender",
    "recipient",
    "attachment",
    "callback",
    "webhook",
    "signature",
    "token",
    "issuer",
    "audience",
    "scope",
    "grant",
    "session",
    "cookie",
    "origin",
    "upstream",
    "downstream",
    "circuit",
    "breaker",
    "pool",
    "idle",
    "maximum",
    "minimum",
    "initial",
    "connection",
    "keepalive",
    "handshake",
    "certificate",
    "authority",
    "cipher",
    "protocol",
    "payload",
    "compression",
    "encoding",
    "charset",
    "language",
    "fallback",
    "default",
    "override",
    "profile",
    "environment",
    "production",
    "staging",
];

const FOREIGN: &[&str] = &[
    "Größenänderung für Österreich geprüft",
    "東京リージョンの設定",
    "Настройки платежей по умолчанию",
    "Ρυθμίσεις αποστολής",
    "إعدادات الدفع",
    "הגדרות ברירת מחדל",
    "Zażółć gęślą jaźń",
    "café → naïve — “déjà vu”",
    "मूल्य निर्धारण नियम",
    "기본 설정 값",
    "emoji 🚀🧊✅ and e\u{301} combined",
    "ไม่มีการเปลี่ยนแปลง",
];

/// A phrase in some other script.
pub fn foreign(random: &mut Random) -> &'static str {
    random.pick(FOREIGN)
}

/// A word.
pub fn word(random: &mut Random) -> &'static str {
    random.pick(WORDS)
}

/// Several words with a separator.
pub fn words(random: &mut Random, count: usize, separator: &str) -> String {
    (0..count)
        .map(|_| word(random))
        .collect::<Vec<_>>()
        .join(separator)
}

/// A sentence; one in ten in another script.
pub fn sentence(random: &mut Random) -> String {
    if random.chance(10) {
        return foreign(random).to_owned();
    }
    let count = random.between(5, 14);
    let mut text = words(random, count, " ");
    if let Some(first) = text.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}

/// A configuration file of about `size` bytes: keys with numbers, words, addresses and identifiers.
pub fn properties(random: &mut Random, size: usize) -> String {
    let mut text = String::with_capacity(size + 128);
    while text.len() < size {
        let keys = random.between(2, 4);
        let key = words(random, keys, ".");
        let value = match random.below(7) {
            0 => random.below(100_000).to_string(),
            1 => format!(
                "https://{}.{}.svc.cluster.local:{}/v{}",
                random.pick(APPS),
                random.pick(TEAMS),
                random.between(1024, 9999),
                random.below(4)
            ),
            2 => random.hex(32),
            3 => format!("{}ms", random.between(1, 90_000)),
            4 => foreign(random).to_owned(),
            5 => if random.chance(50) { "true" } else { "false" }.to_owned(),
            _ => sentence(random),
        };
        text.push_str(&key);
        text.push_str(" = ");
        text.push_str(&value);
        text.push('\n');
    }
    text
}

/// Standard base64, as Secrets hold it.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (u32::from(group[0]) << 16)
            | (u32::from(group.get(1).copied().unwrap_or(0)) << 8)
            | u32::from(group.get(2).copied().unwrap_or(0));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            text.push(if place <= group.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            });
        }
    }
    text
}

/// A moment in the second half of 2025, as the API writes it.
pub fn moment(random: &mut Random) -> String {
    let (month, day) = (random.between(7, 12), random.between(1, 28));
    format!(
        "2025-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        random.below(24),
        random.below(60),
        random.below(60)
    )
}

/// An image with its digest.
pub fn image(random: &mut Random, app: &str) -> String {
    let tag = format!(
        "{}.{}.{}",
        random.below(6),
        random.below(40),
        random.below(20)
    );
    format!(
        "registry.example.com/{}/{app}:{tag}@sha256:{}",
        random.pick(TEAMS),
        random.hex(64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_pads_as_the_standard_says() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, encoded) in cases {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn one_seed_gives_one_text() {
        let text = |seed| properties(&mut Random::new(seed, &["a", "b"]), 500);
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }
}
