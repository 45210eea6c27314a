//! Values that clap parses: lists of pairs, as kubectl and Ark write them.

use std::collections::BTreeMap;
use std::str::FromStr;

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
}
