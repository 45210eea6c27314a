//! Byte counts as people write and read them.
//!
//! Written like a Kubernetes quantity, so that `10M` means here what it means in a manifest (decimal), and `10Mi`
//! (or `10MiB`) the binary size. Printed in binary units without a space, so that a table stays one word a cell.

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a size: {why}; write it like 500K, 10M, 64Mi or 1Gi")]
pub struct SizeError {
    text: String,
    why: &'static str,
}

/// Parses `1048576`, `10M`, `10MB`, `10Mi`, `10MiB` (and K, G, T); bytes when there is no unit. Zero is refused.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    let fail = |why| SizeError {
        text: text.to_owned(),
        why,
    };
    let trimmed = text.trim();
    let digits = trimmed.len()
        - trimmed
            .trim_start_matches(|c: char| c.is_ascii_digit())
            .len();
    if digits == 0 {
        return Err(fail("it must start with a whole number"));
    }
    let number: u64 = trimmed[..digits]
        .parse()
        .map_err(|_| fail("it is too large"))?;
    let unit: u64 = match trimmed[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "t" | "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return Err(fail("the units are K, M, G, T and Ki, Mi, Gi, Ti")),
    };
    match number.checked_mul(unit) {
        Some(0) => Err(fail("it is zero")),
        Some(bytes) => Ok(bytes),
        None => Err(fail("it is too large")),
    }
}

/// `812B`, `1.4KiB`, `3.0GiB`.
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    // 1023.95 would print as 1024.0.
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1}{}", UNITS[unit])
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn sizes_that_parse() {
        for (text, bytes) in [
            ("1", 1),
            ("512b", 512),
            ("10M", 10_000_000),
            ("10mb", 10_000_000),
            ("10Mi", 10 << 20),
            ("10 MiB", 10 << 20),
            ("2Gi", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_do_not() {
        for text in [
            "",
            "0",
            "0M",
            "M",
            "-1M",
            "1.5M",
            "10X",
            "99999999999T",
            "1é",
        ] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains("is not a size"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_in_print() {
        for (bytes, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1.0KiB"),
            (1_500, "1.5KiB"),
            ((1 << 20) - 1, "1.0MiB"),
            (5 << 30, "5.0GiB"),
            (u64::MAX, "16.0EiB"),
        ] {
            assert_eq!(human_size(bytes), text);
        }
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(123_456), "123,456");
    }
}
