//! Values that clap parses: lists of pairs, as kubectl and Ark write them.

use std::collections::BTreeMap;
use std::str::FromStr;

use ark_engine::Portion;

use crate::cli::size::parse_size;

/// Why a list of pairs does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairsError {
    /// An entry without the separator.
    #[error("{entry:?} is not a pair; write it like {example}")]
    NoPair {
        /// The entry.
        entry: String,
        /// How it is written.
        example: &'static str,
    },
    /// The same key twice.
    #[error("{key:?} is given twice")]
    Twice {
        /// The key.
        key: String,
    },
}

fn pairs(
    text: &str,
    separator: char,
    example: &'static str,
) -> Result<BTreeMap<String, String>, PairsError> {
    let mut map = BTreeMap::new();
    for entry in text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        let Some((key, value)) = entry
            .split_once(separator)
            .filter(|(key, _)| !key.trim().is_empty())
        else {
            return Err(PairsError::NoPair {
                entry: entry.to_owned(),
                example,
            });
        };
        let key = key.trim().to_owned();
        if map.insert(key.clone(), value.trim().to_owned()).is_some() {
            return Err(PairsError::Twice { key });
        }
    }
    Ok(map)
}

/// `a=b,c=d`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(pub BTreeMap<String, String>);

impl FromStr for Labels {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Labels, PairsError> {
        pairs(text, '=', "team=web,tier=db").map(Labels)
    }
}

/// `key=value,…`, where a value may hold `=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings(pub BTreeMap<String, String>);

impl FromStr for Settings {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Settings, PairsError> {
        pairs(text, '=', "region=eu-central-1,s3ForcePathStyle=true").map(Settings)
    }
}

/// `secret=key`: a key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The Secret.
    pub name: String,
    /// The key in it.
    pub key: String,
}

impl FromStr for Named {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Named, PairsError> {
        match text.split_once('=') {
            Some((name, key)) if !name.is_empty() && !key.is_empty() => Ok(Named {
                name: name.to_owned(),
                key: key.to_owned(),
            }),
            _ => Err(PairsError::NoPair {
                entry: text.to_owned(),
                example: "cloud-credentials=cloud",
            }),
        }
    }
}

/// `from:to,from:to`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mappings(pub BTreeMap<String, String>);

impl FromStr for Mappings {
    type Err = PairsError;

    fn from_str(text: &str) -> Result<Mappings, PairsError> {
        let map = pairs(text, ':', "from:to,shop:shop-copy")?;
        match map.iter().find(|(_, to)| to.is_empty()) {
            Some((from, _)) => Err(PairsError::NoPair {
                entry: format!("{from}:"),
                example: "from:to,shop:shop-copy",
            }),
            None => Ok(Mappings(map)),
        }
    }
}

/// Why a portion of the data does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no portion: write it like 5%, 10Gi, or 3/7 for the third of seven parts")]
pub struct PortionError {
    text: String,
}

/// Parses `5%`, `2.5%`, `3/7` or a size.
pub fn parse_portion(text: &str) -> Result<Portion, PortionError> {
    let bad = || PortionError {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    if let Some(percent) = trimmed.strip_suffix('%').map(str::trim) {
        let digits = |c: char| c.is_ascii_digit() || c == '.';
        return match percent.parse::<f64>() {
            Ok(value) if percent.chars().all(digits) && value > 0.0 && value <= 100.0 => {
                Ok(Portion::Percent(value))
            }
            _ => Err(bad()),
        };
    }
    if let Some((number, of)) = trimmed.split_once('/') {
        let (number, of): (u32, u32) = match (number.trim().parse(), of.trim().parse()) {
            (Ok(number), Ok(of)) => (number, of),
            _ => return Err(bad()),
        };
        return match number >= 1 && number <= of {
            true => Ok(Portion::Part { number, of }),
            false => Err(bad()),
        };
    }
    parse_size(trimmed).map(Portion::Bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn pairs_parse() {
        let labels: Labels = "a=b, example.com/c=".parse().unwrap();
        assert_eq!(labels.0["a"], "b");
        assert_eq!(labels.0["example.com/c"], "");
        let mappings: Mappings = "a:b,c:d".parse().unwrap();
        assert_eq!(mappings.0.len(), 2);
    }

    #[test]
    fn keys_of_secrets_parse() {
        let named: Named = "cloud-credentials=cloud".parse().unwrap();
        assert_eq!(
            (named.name.as_str(), named.key.as_str()),
            ("cloud-credentials", "cloud")
        );
        for text in ["", "a", "=b", "a="] {
            assert!(text.parse::<Named>().is_err(), "{text}");
        }
        let settings: Settings = "a=b=c,d=".parse().unwrap();
        assert_eq!(settings.0["a"], "b=c");
    }

    #[test]
    fn what_is_no_pair_is_named() {
        for text in ["a", "=b", "a=b,c"] {
            assert!(
                text.parse::<Labels>()
                    .unwrap_err()
                    .to_string()
                    .contains("write it like")
            );
        }
        assert!("a:".parse::<Mappings>().is_err());
        assert!(
            "a=b,a=c"
                .parse::<Labels>()
                .unwrap_err()
                .to_string()
                .contains("twice")
        );
    }

    #[test]
    fn portions() {
        for (text, portion) in [
            ("5%", Portion::Percent(5.0)),
            ("2.5 %", Portion::Percent(2.5)),
            ("100%", Portion::Percent(100.0)),
            ("3/7", Portion::Part { number: 3, of: 7 }),
            ("1/1", Portion::Part { number: 1, of: 1 }),
            ("10Gi", Portion::Bytes(10 << 30)),
            ("500M", Portion::Bytes(500_000_000)),
        ] {
            assert_eq!(parse_portion(text), Ok(portion), "{text}");
        }
        for text in [
            "", "%", "0%", "101%", "-1%", "1e1%", "inf%", "nan%", "0/7", "8/7", "1/0", "a/7", "0",
            "10X",
        ] {
            let error = parse_portion(text).unwrap_err().to_string();
            assert!(error.contains("is no portion"), "{text}: {error}");
        }
    }
}
