//! The CustomResourceDefinitions of ark's kinds, made from the Rust types.
//!
//! What the derive macros cannot say is added here, once for all kinds: integer formats that the apiserver knows,
//! which part of a spec may change later, and that an absent spec is an empty one where that means something. So the
//! definitions cannot say anything else than what the program reads.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
    ValidationRule,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{
    Backup, BackupRepository, BackupStorageLocation, DeleteBackupRequest, DownloadRequest, Restore,
    Schedule, ServerStatusRequest,
};

/// The definitions of all kinds, in the order in which they are applied.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![
        defined::<BackupStorageLocation>(&[]),
        defined::<BackupRepository>(&[]),
        defined::<Backup>(&[
            Rule::EmptySpec,
            Rule::Fixed {
                but: "cancel",
                once: "storageLocation",
            },
        ]),
        defined::<Restore>(&[Rule::Fixed {
            but: "cancel",
            once: "",
        }]),
        defined::<Schedule>(&[]),
        defined::<DeleteBackupRequest>(&[Rule::Fixed { but: "", once: "" }]),
        defined::<DownloadRequest>(&[Rule::Fixed { but: "", once: "" }]),
        defined::<ServerStatusRequest>(&[Rule::EmptySpec]),
    ]
}

/// What is added to the definition of a kind.
enum Rule {
    /// An object without a spec has an empty one.
    EmptySpec,
    /// The spec stays as it was made.
    Fixed {
        /// But for this field.
        but: &'static str,
        /// This field may be filled in later: the server does so with its default.
        once: &'static str,
    },
}

fn defined<K: CustomResourceExt>(rules: &[Rule]) -> CustomResourceDefinition {
    let mut definition = K::crd();
    for version in &mut definition.spec.versions {
        let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        tidy(schema);
        for rule in rules {
            apply(rule, schema);
        }
    }
    definition
}

fn apply(rule: &Rule, root: &mut JSONSchemaProps) {
    if let (Rule::EmptySpec, Some(required)) = (rule, &mut root.required) {
        required.retain(|field| field != "spec");
    }
    let Some(spec) = root
        .properties
        .as_mut()
        .and_then(|properties| properties.get_mut("spec"))
    else {
        return;
    };
    match rule {
        Rule::EmptySpec => spec.default = Some(JSON(json!({}))),
        Rule::Fixed { but, once } => {
            let fields: Vec<String> = spec
                .properties
                .iter()
                .flatten()
                .map(|(field, _)| field.clone())
                .filter(|field| field != but)
                .collect();
            let rules = spec.x_kubernetes_validations.get_or_insert_default();
            for field in fields {
                let same = format!("has(self.{field}) && self.{field} == oldSelf.{field}");
                let absent = match field == *once {
                    true => "true".to_owned(),
                    false => format!("!has(self.{field})"),
                };
                rules.push(ValidationRule {
                    rule: format!("has(oldSelf.{field}) ? {same} : {absent}"),
                    message: Some(format!("{field} cannot be changed: make another object")),
                    ..ValidationRule::default()
                });
            }
        }
    }
}

/// Formats that the apiserver knows, descriptions without the line breaks of the source.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.format = match schema.format.take().as_deref() {
        Some("uint64") => Some("int64".to_owned()),
        // An i32 does not hold every u32, and a u32 not every i64.
        Some("uint32") => {
            schema.maximum.get_or_insert(f64::from(u32::MAX));
            Some("int64".to_owned())
        }
        other => other.map(str::to_owned),
    };
    if let Some(description) = &mut schema.description {
        *description = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn schema(definition: &CustomResourceDefinition) -> &JSONSchemaProps {
        definition.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref()
            .unwrap()
    }

    /// Every schema in a schema with its path.
    fn walk<'a>(
        path: String,
        schema: &'a JSONSchemaProps,
        see: &mut dyn FnMut(&str, &'a JSONSchemaProps),
    ) {
        see(&path, schema);
        for (name, property) in schema.properties.iter().flatten() {
            walk(format!("{path}.{name}"), property, see);
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            walk(format!("{path}[]"), items, see);
        }
        if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
            walk(format!("{path}{{}}"), values, see);
        }
    }

    #[test]
    fn every_kind_once_with_what_kubernetes_users_expect() {
        let definitions = definitions();
        let (mut kinds, mut short) = (BTreeSet::new(), BTreeSet::new());
        for definition in &definitions {
            let names = &definition.spec.names;
            assert!(kinds.insert(names.kind.clone()));
            assert_eq!(definition.spec.group, crate::api::GROUP);
            assert_eq!(definition.spec.scope, "Namespaced");
            assert_eq!(
                definition.metadata.name.as_deref(),
                Some(format!("{}.{}", names.plural, crate::api::GROUP).as_str())
            );
            for name in names.short_names.as_ref().unwrap() {
                assert!(short.insert(name.clone()), "{name} twice");
            }
            assert_eq!(
                definition.metadata.labels.as_ref().unwrap()["component"],
                "ark"
            );
            let [version] = definition.spec.versions.as_slice() else {
                panic!("one version");
            };
            assert_eq!(version.name, crate::api::VERSION);
            assert!(version.subresources.as_ref().unwrap().status.is_some());
            assert!(
                !version
                    .additional_printer_columns
                    .as_ref()
                    .unwrap()
                    .is_empty()
            );
        }
        assert_eq!(kinds.len(), 8);
    }

    #[test]
    fn every_field_is_described_and_typed_and_every_column_leads_to_a_field() {
        for definition in definitions() {
            let kind = &definition.spec.names.kind;
            let mut paths = BTreeSet::new();
            walk(String::new(), schema(&definition), &mut |path, schema| {
                paths.insert(path.to_owned());
                assert!(schema.type_.is_some(), "{kind}{path} has no type");
                assert!(
                    schema.any_of.is_none() && schema.one_of.is_none() && schema.ref_path.is_none(),
                    "{kind}{path} is not structural"
                );
                assert!(
                    !matches!(schema.format.as_deref(), Some("uint32" | "uint64")),
                    "{kind}{path}: {:?}",
                    schema.format
                );
                let named = !path.is_empty() && !path.ends_with(']') && !path.ends_with('}');
                let text = schema.description.as_deref().unwrap_or_default();
                assert!(!named || !text.is_empty(), "{kind}{path} is not described");
                assert!(!text.contains("Auto-generated"), "{kind}{path}: {text}");
            });
            let columns = definition.spec.versions[0]
                .additional_printer_columns
                .clone()
                .unwrap();
            for column in columns {
                assert!(
                    column.json_path.starts_with(".metadata.") || paths.contains(&column.json_path),
                    "{kind}: {} leads nowhere",
                    column.json_path
                );
            }
        }
    }

    #[test]
    fn absent_lists_and_options_have_no_default() {
        for definition in definitions() {
            walk(String::new(), schema(&definition), &mut |path, schema| {
                if let Some(default) = &schema.default {
                    assert!(!default.0.is_null(), "{path} defaults to null");
                }
            });
        }
    }

    #[test]
    fn a_backup_is_fixed_but_for_cancel() {
        let backup = definitions()
            .into_iter()
            .find(|definition| definition.spec.names.kind == Backup::KIND)
            .unwrap();
        let spec = &schema(&backup).properties.as_ref().unwrap()["spec"];
        let fields = spec.properties.as_ref().unwrap();
        let rules: Vec<&str> = spec
            .x_kubernetes_validations
            .iter()
            .flatten()
            .map(|rule| rule.rule.as_str())
            .collect();
        for field in fields.keys() {
            let fixed = rules
                .iter()
                .any(|rule| rule.contains(&format!("oldSelf.{field})")));
            assert_eq!(fixed, field != "cancel", "{field}");
        }
    }

    /// What users apply. `ARK_WRITE_DEFINITIONS=1` writes the file anew.
    #[test]
    fn the_file_that_users_apply_is_what_the_types_say() {
        let mut text = String::from(
            "# The CustomResourceDefinitions of ark, made from its types: kubectl apply -f deploy/crds.yaml\n",
        );
        for definition in definitions() {
            text.push_str("---\n");
            text.push_str(&serde_yaml_ng::to_string(&definition).unwrap());
        }
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/crds.yaml");
        if std::env::var_os("ARK_WRITE_DEFINITIONS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            file == text,
            "deploy/crds.yaml is old: ARK_WRITE_DEFINITIONS=1 cargo nextest run --workspace --lib -E 'test(the_file_that_users_apply)'"
        );
    }
}
