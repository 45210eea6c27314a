//! Patterns for names: `*`, `?`, `[abc]`, `[a-z]`, `[!a]`, `{a,b}`.
//!
//! Matching takes time proportional to pattern times text: a star never goes back behind a later star. Braces are
//! expanded when the pattern is read, at most [`MAX_ALTERNATIVES`] of them, so that no pattern takes more than a bounded
//! amount of memory.

use std::fmt;

use thiserror::Error;

/// How many alternatives the braces of one pattern may make.
pub const MAX_ALTERNATIVES: usize = 256;

/// A pattern that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    alternatives: Vec<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    One(char),
    Any,
    Star,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GlobError {
    /// Nothing is there.
    #[error("an empty pattern matches nothing")]
    Empty,
    /// A bracket or brace that is not closed, or closed without being opened.
    #[error("{bracket:?} has no counterpart in the pattern {text:?}")]
    Unbalanced {
        /// The pattern.
        text: String,
        /// The bracket.
        bracket: char,
    },
    /// A set that holds nothing, or a range that runs backwards.
    #[error("the set in the pattern {text:?} holds nothing")]
    EmptySet {
        /// The pattern.
        text: String,
    },
    /// Too many alternatives.
    #[error(
        "the braces of the pattern {text:?} make more than {MAX_ALTERNATIVES} alternatives, or too long ones"
    )]
    TooMany {
        /// The pattern.
        text: String,
    },
}

impl Glob {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Glob, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        // Each brace is a level of recursion, whether it adds an alternative or not.
        if text.matches('{').count() > MAX_ALTERNATIVES {
            return Err(GlobError::TooMany {
                text: text.to_owned(),
            });
        }
        let expanded = expand(text, text)?;
        // A name has 253 characters at most.
        if expanded.iter().map(String::len).sum::<usize>() > MAX_ALTERNATIVES * 256 {
            return Err(GlobError::TooMany {
                text: text.to_owned(),
            });
        }
        let alternatives = expanded
            .iter()
            .map(|one| tokens(one, text))
            .collect::<Result<_, _>>()?;
        Ok(Glob {
            text: text.to_owned(),
            alternatives,
        })
    }

    /// The one name that it matches, if it is a plain name.
    pub fn literal(&self) -> Option<&str> {
        match self.alternatives.as_slice() {
            // With braces the text is not the name, also if they make one alternative.
            _ if self.text.contains('{') => None,
            [one] if one.iter().all(|token| matches!(token, Token::One(_))) => Some(&self.text),
            _ => None,
        }
    }

    /// Whether it matches everything.
    pub fn is_everything(&self) -> bool {
        self.alternatives
            .iter()
            .any(|one| !one.is_empty() && one.iter().all(|token| *token == Token::Star))
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.alternatives.iter().any(|one| matches(one, name))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn expand(text: &str, whole: &str) -> Result<Vec<String>, GlobError> {
    let unbalanced = |bracket| GlobError::Unbalanced {
        text: whole.to_owned(),
        bracket,
    };
    let Some(open) = text.find('{') else {
        return if text.contains('}') {
            Err(unbalanced('}'))
        } else {
            Ok(vec![text.to_owned()])
        };
    };
    if text[..open].contains('}') {
        return Err(unbalanced('}'));
    }
    let (mut depth, mut start, mut parts, mut close) = (0usize, open + 1, Vec::new(), None);
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < open) {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    parts.push(&text[start..at]);
                    close = Some(at);
                    break;
                }
            }
            ',' if depth == 1 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    let close = close.ok_or_else(|| unbalanced('{'))?;
    let tails = expand(&text[close + 1..], whole)?;
    let mut all = Vec::new();
    for part in parts {
        for middle in expand(part, whole)? {
            for tail in &tails {
                if all.len() == MAX_ALTERNATIVES {
                    return Err(GlobError::TooMany {
                        text: whole.to_owned(),
                    });
                }
                all.push(format!("{}{middle}{tail}", &text[..open]));
            }
        }
    }
    Ok(all)
}

fn tokens(text: &str, whole: &str) -> Result<Vec<Token>, GlobError> {
    let unbalanced = |bracket| GlobError::Unbalanced {
        text: whole.to_owned(),
        bracket,
    };
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' if tokens.last() == Some(&Token::Star) => continue,
            '*' => Token::Star,
            '?' => Token::Any,
            ']' => return Err(unbalanced(']')),
            '[' => {
                let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match chars.next() {
                        None => return Err(unbalanced('[')),
                        Some(']') => break,
                        Some(c) => c,
                    };
                    let high = match chars.next_if_eq(&'-') {
                        None => low,
                        Some(_) if chars.peek() == Some(&']') => {
                            ranges.push(('-', '-'));
                            low
                        }
                        Some(_) => chars.next().ok_or_else(|| unbalanced('['))?,
                    };
                    if low > high {
                        return Err(GlobError::EmptySet {
                            text: whole.to_owned(),
                        });
                    }
                    ranges.push((low, high));
                }
                if ranges.is_empty() {
                    return Err(GlobError::EmptySet {
                        text: whole.to_owned(),
                    });
                }
                Token::Set { negated, ranges }
            }
            c => Token::One(c),
        });
    }
    Ok(tokens)
}

fn matches(pattern: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go on when the rest fails: behind the last star, which then eats one character more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        let here = match pattern.get(p) {
            Some(Token::Star) => {
                retry = Some((p + 1, n));
                p += 1;
                continue;
            }
            Some(Token::One(c)) => *c == name[n],
            Some(Token::Any) => true,
            Some(Token::Set { negated, ranges }) => {
                ranges
                    .iter()
                    .any(|(low, high)| (*low..=*high).contains(&name[n]))
                    != *negated
            }
            None => false,
        };
        if here {
            (p, n) = (p + 1, n + 1);
            continue;
        }
        match retry {
            Some((after, eaten)) => {
                retry = Some((after, eaten + 1));
                (p, n) = (after, eaten + 1);
            }
            None => return false,
        }
    }
    pattern[p..].iter().all(|token| *token == Token::Star)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_would() {
        let table = [
            ("default", "default", true),
            ("default", "default2", false),
            ("*", "anything", true),
            ("kube-*", "kube-system", true),
            ("kube-*", "kub", false),
            ("*-prod", "a-prod", true),
            ("*-prod", "a-prod-b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXc", false),
            ("team-?", "team-a", true),
            ("team-?", "team-ab", false),
            ("team-[abc]", "team-b", true),
            ("team-[a-c]", "team-d", false),
            ("team-[!a]", "team-a", false),
            ("team-[^a]", "team-b", true),
            ("[a-]", "-", true),
            ("{dev,test}-*", "test-1", true),
            ("{dev,test}-*", "prod-1", false),
            ("{a,b{c,d}}e", "bde", true),
            ("{a,b{c,d}}e", "be", false),
            ("{,x}a", "a", true),
            ("ü*", "über", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(
                Glob::parse(pattern).unwrap().matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn bad_patterns_are_refused() {
        for bad in ["", "[", "a]", "{a", "a}", "[]", "[z-a]", "[a", "}{", "[!]"] {
            assert!(Glob::parse(bad).is_err(), "{bad}");
        }
        assert!(matches!(
            Glob::parse(&"{a,b}".repeat(20)),
            Err(GlobError::TooMany { .. })
        ));
        let long = format!("{{a,b}}{{c,d}}{}", "e".repeat(20_000));
        assert!(matches!(Glob::parse(&long), Err(GlobError::TooMany { .. })));
        // Without a limit each of these ends the process: the stack is not endless.
        for deep in [
            "{a}".repeat(100_000),
            "{".repeat(100_000) + &"}".repeat(100_000),
        ] {
            let error = Glob::parse(&deep);
            assert!(matches!(error, Err(GlobError::TooMany { .. })));
        }
    }

    #[test]
    fn literals_and_everything_are_told_apart() {
        assert_eq!(Glob::parse("a.b-c").unwrap().literal(), Some("a.b-c"));
        assert_eq!(Glob::parse("a*").unwrap().literal(), None);
        for name in ["name{}", "{name}"] {
            let glob = Glob::parse(name).unwrap();
            assert!(glob.matches("name") && glob.literal().is_none(), "{name}");
        }
        assert!(Glob::parse("**").unwrap().is_everything());
        assert!(!Glob::parse("a*").unwrap().is_everything());
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        let glob = Glob::parse(&format!("{}b", "a*".repeat(60))).unwrap();
        assert!(!glob.matches(&"a".repeat(5000)));
    }
}
