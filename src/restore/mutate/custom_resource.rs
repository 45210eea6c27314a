//! CustomResourceDefinitions: the conversion webhook moves with its namespace, and schemas that v1 refuses are said in
//! v1's words.

use serde_json::{Map, Value};

use super::{Context, at, at_mut, map_mut};

/// Maps the conversion webhook; turns `preserveUnknownFields` into its successor.
pub(super) fn step(object: &mut Value, context: &Context<'_>) {
    let client = at_mut(object, &["spec", "conversion", "webhook", "clientConfig"]);
    super::namespace::rename_service(client, context);
    if at(object, &["spec", "preserveUnknownFields"]).and_then(Value::as_bool) != Some(true) {
        return;
    }
    if let Some(spec) = map_mut(object, &["spec"]) {
        spec.insert("preserveUnknownFields".to_owned(), Value::Bool(false));
    }
    let Some(Value::Array(versions)) = at_mut(object, &["spec", "versions"]) else {
        return;
    };
    for version in versions.iter_mut().filter_map(Value::as_object_mut) {
        let schema = version
            .entry("schema")
            .or_insert_with(|| Value::Object(Map::new()));
        if schema.get("openAPIV3Schema").is_none() {
            schema["openAPIV3Schema"] = serde_json::json!({ "type": "object" });
        }
        schema["openAPIV3Schema"]["x-kubernetes-preserve-unknown-fields"] = Value::Bool(true);
    }
}
