//! Label selectors, read and meant as kubectl's.
//!
//! `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`, `!a`, joined by commas: all must hold. `!=` and `notin` also select
//! objects that do not have the label. What is read is checked as Kubernetes would check it, so that a typing error is an
//! error here and not an empty backup.

use std::fmt;

use thiserror::Error;

use crate::api::{LabelSelector, LabelSelectorRequirement};

/// A selector that was read. Without requirements it selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Why a text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// It does not follow the grammar.
    #[error("{text:?} is not a label selector: {problem}")]
    Syntax {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: String,
    },
    /// No label has such a key.
    #[error("{key:?} is not a label key")]
    Key {
        /// The key.
        key: String,
    },
    /// No label has such a value.
    #[error("{value:?} is not a label value")]
    Value {
        /// The value.
        value: String,
    },
    /// An operator that labels do not have.
    #[error("{operator:?} is not an operator of label selectors")]
    Operator {
        /// The operator.
        operator: String,
    },
    /// `In` and `NotIn` need values, the others have none.
    #[error(
        "the values of the label selector's requirement on {key:?} do not fit its operator {operator:?}"
    )]
    Values {
        /// The key.
        key: String,
        /// The operator.
        operator: String,
    },
}

impl SelectorError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "write it as app=web,tier!=cache, or as app in (web,api),!canary"
    }
}

impl Selector {
    /// Reads a selector in kubectl's notation. Nothing, or blanks, select everything.
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        Parser { text, rest: text }.selector()
    }

    /// Reads `a=b or c in (d,e)`.
    pub fn parse_any(text: &str) -> Result<Vec<Selector>, SelectorError> {
        text.split(" or ")
            .map(|one| {
                if one.trim().is_empty() {
                    return Err(SelectorError::Syntax {
                        text: text.to_owned(),
                        problem: "nothing beside \"or\"".to_owned(),
                    });
                }
                Selector::parse(one)
            })
            .collect()
    }

    /// Reads a selector as it stands in a resource.
    pub fn from_spec(spec: &LabelSelector) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in spec.match_labels.iter().flatten() {
            requirements.push(Requirement::new(key, Operator::In, vec![value.clone()])?);
        }
        for one in spec.match_expressions.iter().flatten() {
            let operator = match one.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(SelectorError::Operator {
                        operator: other.to_owned(),
                    });
                }
            };
            requirements.push(Requirement::new(
                &one.key,
                operator,
                one.values.clone().unwrap_or_default(),
            )?);
        }
        Ok(Selector { requirements })
    }

    /// The selector as it stands in a resource.
    pub fn to_spec(&self) -> LabelSelector {
        let mut spec = LabelSelector::default();
        for one in &self.requirements {
            let operator = match (one.operator, one.values.as_slice()) {
                (Operator::In, [value])
                    if spec
                        .match_labels
                        .as_ref()
                        .is_none_or(|labels| !labels.contains_key(&one.key)) =>
                {
                    spec.match_labels
                        .get_or_insert_default()
                        .insert(one.key.clone(), value.clone());
                    continue;
                }
                (Operator::In, _) => "In",
                (Operator::NotIn, _) => "NotIn",
                (Operator::Exists, _) => "Exists",
                (Operator::DoesNotExist, _) => "DoesNotExist",
            };
            spec.match_expressions
                .get_or_insert_default()
                .push(LabelSelectorRequirement {
                    key: one.key.clone(),
                    operator: operator.to_owned(),
                    values: (!one.values.is_empty()).then(|| one.values.clone()),
                });
        }
        spec
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object with these labels.
    pub fn matches<'l>(&self, labels: impl Iterator<Item = (&'l str, &'l str)> + Clone) -> bool {
        self.requirements.iter().all(|one| {
            let value = labels
                .clone()
                .find(|(key, _)| *key == one.key)
                .map(|(_, value)| value);
            let listed = |value: &str| one.values.iter().any(|known| known == value);
            match one.operator {
                Operator::In => value.is_some_and(listed),
                Operator::NotIn => !value.is_some_and(listed),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

impl Requirement {
    fn new(
        key: &str,
        operator: Operator,
        values: Vec<String>,
    ) -> Result<Requirement, SelectorError> {
        check_key(key)?;
        values.iter().try_for_each(|value| check_value(value))?;
        if matches!(operator, Operator::In | Operator::NotIn) == values.is_empty() {
            return Err(SelectorError::Values {
                key: key.to_owned(),
                operator: format!("{operator:?}"),
            });
        }
        Ok(Requirement {
            key: key.to_owned(),
            operator,
            values,
        })
    }
}

/// In kubectl's notation, as the apiserver takes it.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, one) in self.requirements.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match (one.operator, one.values.as_slice()) {
                (Operator::In, [value]) => write!(f, "{}={value}", one.key)?,
                (Operator::NotIn, [value]) => write!(f, "{}!={value}", one.key)?,
                (Operator::In, values) => write!(f, "{} in ({})", one.key, values.join(","))?,
                (Operator::NotIn, values) => write!(f, "{} notin ({})", one.key, values.join(","))?,
                (Operator::Exists, _) => f.write_str(&one.key)?,
                (Operator::DoesNotExist, _) => write!(f, "!{}", one.key)?,
            }
        }
        Ok(())
    }
}

fn name_part(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(inner)
        && edge(text.chars().next())
        && edge(text.chars().last())
}

fn check_key(key: &str) -> Result<(), SelectorError> {
    let good = match key.split_once('/') {
        Some((prefix, name)) => {
            crate::api::names::check_name("label prefix", prefix).is_ok() && name_part(name)
        }
        None => name_part(key),
    };
    if good {
        Ok(())
    } else {
        Err(SelectorError::Key {
            key: key.to_owned(),
        })
    }
}

fn check_value(value: &str) -> Result<(), SelectorError> {
    if value.is_empty() || name_part(value) {
        Ok(())
    } else {
        Err(SelectorError::Value {
            value: value.to_owned(),
        })
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn selector(mut self) -> Result<Selector, SelectorError> {
        let mut requirements = Vec::new();
        self.blanks();
        while !self.rest.is_empty() {
            requirements.push(self.requirement()?);
            self.blanks();
            if self.rest.is_empty() {
                break;
            }
            if !self.take(",") {
                return Err(self.wrong(format!("expected a comma before {:?}", self.rest)));
            }
            self.blanks();
            if self.rest.is_empty() {
                return Err(self.wrong("it ends with a comma".to_owned()));
            }
        }
        Ok(Selector { requirements })
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        if self.take("!") {
            self.blanks();
            let key = self.word();
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        let key = self.word();
        if key.is_empty() {
            return Err(self.wrong(format!("expected a label key at {:?}", self.rest)));
        }
        self.blanks();
        for (sign, operator) in [
            ("==", Operator::In),
            ("!=", Operator::NotIn),
            ("=", Operator::In),
        ] {
            if self.take(sign) {
                self.blanks();
                let value = self.word().to_owned();
                return Requirement::new(key, operator, vec![value]);
            }
        }
        if self.rest.is_empty() || self.rest.starts_with(',') {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.word() {
            "in" => Operator::In,
            "notin" => Operator::NotIn,
            "" => return Err(self.wrong(format!("expected an operator at {:?}", self.rest))),
            other => {
                return Err(SelectorError::Operator {
                    operator: other.to_owned(),
                });
            }
        };
        self.blanks();
        if !self.take("(") {
            return Err(self.wrong("expected values in parentheses".to_owned()));
        }
        let mut values = Vec::new();
        loop {
            self.blanks();
            values.push(self.word().to_owned());
            self.blanks();
            if self.take(")") {
                return Requirement::new(key, operator, values);
            }
            if !self.take(",") {
                return Err(self.wrong("the parenthesis is not closed".to_owned()));
            }
        }
    }

    fn word(&mut self) -> &'t str {
        let stop =
            |c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')' | '=' | '!' | '<' | '>');
        let (word, rest) = self
            .rest
            .split_at(self.rest.find(stop).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    fn take(&mut self, sign: &str) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn wrong(&self, problem: String) -> SelectorError {
        SelectorError::Syntax {
            text: self.text.to_owned(),
            problem,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn selectors_select_as_kubectl_does() {
        let labels = [
            ("app", "web"),
            ("tier", "front"),
            ("example.com/x", ""),
            ("n", "1"),
        ];
        let table = [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            (" app = web , tier = front ", true),
            ("app=api", false),
            ("app!=api", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("missing=x", false),
            ("app in (web,api)", true),
            ("app in ( api , x )", false),
            ("app notin (api)", true),
            ("missing notin (api)", true),
            ("app", true),
            ("!app", false),
            ("! missing", true),
            ("missing", false),
            ("example.com/x=", true),
            ("example.com/x", true),
            ("app=web,!tier", false),
            ("app in (web),tier notin (back)", true),
        ];
        for (text, expected) in table {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.matches(labels.into_iter()), expected, "{text}");
            let again = Selector::parse(&selector.to_string()).unwrap();
            assert_eq!(again, selector, "{text} printed");
            let spec = Selector::from_spec(&selector.to_spec()).unwrap();
            assert_eq!(
                spec.matches(labels.into_iter()),
                expected,
                "{text} as a spec"
            );
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        let bad = [
            ",",
            "a,",
            "a=b,,c",
            "=b",
            "a in",
            "a in b",
            "a in (b",
            "a in ()x",
            "a ~ b",
            "a>3",
            "a=b c=d",
            "-a=b",
            "a/b/c=d",
            "a=b/c",
            "!",
            "a=ü",
            "A/b=c",
            "a in (b,c",
            "a foo (b)",
            "a=b or c=d",
        ];
        for text in bad {
            let error = Selector::parse(text);
            assert!(error.is_err(), "{text:?} was read as {error:?}");
        }
        assert!(Selector::parse(&format!("{}=x", "a".repeat(64))).is_err());
    }

    #[test]
    fn any_of_several() {
        let any = Selector::parse_any("app=a or tier in (x,y)").unwrap();
        assert_eq!(
            any.iter().map(|s| s.to_string()).collect::<Vec<_>>(),
            ["app=a", "tier in (x,y)"]
        );
        assert!(Selector::parse_any("app=a or ").is_err());
        assert!(Selector::parse_any("").is_err());
    }

    #[test]
    fn two_values_for_one_key_survive_as_a_spec() {
        let selector = Selector::parse("a=b,a=c").unwrap();
        let back = Selector::from_spec(&selector.to_spec()).unwrap();
        assert!(!back.matches([("a", "b")].into_iter()));
        assert!(!back.matches([("a", "c")].into_iter()));
    }

    #[test]
    fn specs_are_checked() {
        let spec = |operator: &str, values: Option<Vec<String>>| LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "a".into(),
                operator: operator.into(),
                values,
            }]),
        };
        assert!(Selector::from_spec(&spec("Near", None)).is_err());
        assert!(Selector::from_spec(&spec("In", None)).is_err());
        assert!(Selector::from_spec(&spec("Exists", Some(vec!["x".into()]))).is_err());
        assert!(Selector::from_spec(&spec("Exists", None)).is_ok());
    }
}
