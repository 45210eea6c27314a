//! The few fields of an object that decisions need, borrowed from its JSON.
//!
//! Reading stops at the end of `metadata`: what follows is not looked at, which for most objects is most of them. Nothing
//! is copied unless a string has escapes in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Metadata of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectMetaView<'a> {
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: Cow<'a, str>,
    /// The name.
    pub name: Cow<'a, str>,
    /// The uid.
    pub uid: Cow<'a, str>,
    /// The labels, in the order they stand.
    pub labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The objects that it belongs to.
    pub owners: Vec<OwnerView<'a>>,
}

/// One owner reference.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerView<'a> {
    /// Group and version of the owner.
    #[serde(borrow)]
    pub api_version: Cow<'a, str>,
    /// Its kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
    /// Its name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// Its uid.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// Whether it manages the object.
    pub controller: Option<bool>,
}

impl<'a> ObjectMetaView<'a> {
    /// Reads the metadata of an object.
    pub fn parse(json: &'a str) -> Result<ObjectMetaView<'a>, serde_json::Error> {
        let mut found = None;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let outcome = deserializer.deserialize_map(Head(&mut found));
        match (found, outcome) {
            // Having stopped early is reported as an error by the reader; what was looked for is there.
            (Some(meta), _) => Ok(meta),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(serde::de::Error::missing_field("metadata")),
        }
    }

    /// The labels as pairs of text.
    pub fn label_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_ref()))
    }
}

/// Walks the top of an object up to and including `metadata`.
struct Head<'s, 'a>(&'s mut Option<ObjectMetaView<'a>>);

impl<'a> Visitor<'a> for Head<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with metadata")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(key)) = map.next_key()? {
            if key == "metadata" {
                let meta: ObjectMetaView<'a> = map.next_value()?;
                if meta.name.is_empty() {
                    return Err(serde::de::Error::missing_field("metadata.name"));
                }
                *self.0 = Some(meta);
                return Ok(());
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ObjectMetaView<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default)]
            namespace: Cow<'a, str>,
            #[serde(borrow, default)]
            name: Cow<'a, str>,
            #[serde(borrow, default)]
            uid: Cow<'a, str>,
            #[serde(borrow, default)]
            labels: Option<Pairs<'a>>,
            #[serde(borrow, default, rename = "ownerReferences")]
            owners: Option<Vec<OwnerView<'a>>>,
        }
        let fields = Fields::deserialize(deserializer)?;
        Ok(ObjectMetaView {
            namespace: fields.namespace,
            name: fields.name,
            uid: fields.uid,
            labels: fields.labels.map(|pairs| pairs.0).unwrap_or_default(),
            owners: fields.owners.unwrap_or_default(),
        })
    }
}

/// A string, borrowed where it can be. (A `Cow` inside another type is always copied by serde.)
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Vec<(Cow<'de, str>, Cow<'de, str>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(key), Text(value))) = map.next_entry()? {
                    pairs.push((key, value));
                }
                Ok(pairs)
            }
        }

        Ok(Pairs(deserializer.deserialize_map(Collect)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn metadata_is_borrowed_and_the_rest_is_not_read() {
        let json = r#"{"kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u","generation":3,
            "labels":{"app":"web","esc":"a\"b"},"managedFields":[{"x":{}}],
            "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"r","uid":"ru","controller":true}]},
            "spec": this is never looked at"#;
        let meta = ObjectMetaView::parse(json).unwrap();
        assert_eq!(
            (
                meta.namespace.as_ref(),
                meta.name.as_ref(),
                meta.uid.as_ref()
            ),
            ("n", "p", "u")
        );
        assert!(
            matches!(meta.name, Cow::Borrowed(_)) && matches!(meta.labels[0].1, Cow::Borrowed(_))
        );
        assert!(matches!(meta.owners[0].kind, Cow::Borrowed("ReplicaSet")));
        assert_eq!(
            meta.label_pairs().collect::<Vec<_>>(),
            [("app", "web"), ("esc", "a\"b")]
        );
    }

    #[test]
    fn null_and_absent_fields_are_empty() {
        let meta = ObjectMetaView::parse(
            r#"{"metadata":{"name":"x","labels":null,"ownerReferences":null}}"#,
        )
        .unwrap();
        assert!(meta.namespace.is_empty() && meta.labels.is_empty() && meta.owners.is_empty());
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        for bad in [
            "",
            "[]",
            "{}",
            "null",
            "3",
            r#"{"metadata":{}}"#,
            r#"{"metadata":7}"#,
            r#"{"metadata":{"name":"#,
        ] {
            assert!(ObjectMetaView::parse(bad).is_err(), "{bad}");
        }
    }
}
