//! Webhook configurations: the Service behind a webhook moves with its namespace, and what only v1beta1 allowed is put
//! into what v1 allows.

use serde_json::Value;

use super::{Context, at_mut};

/// Maps the backends and makes side effects valid.
pub(super) fn step(object: &mut Value, context: &Context<'_>) {
    let Some(Value::Array(webhooks)) = at_mut(object, &["webhooks"]) else {
        return;
    };
    for webhook in webhooks {
        super::namespace::rename_service(webhook.get_mut("clientConfig"), context);
        let effects = webhook.get("sideEffects").and_then(Value::as_str);
        if let (false, Some(webhook)) = (
            matches!(effects, Some("None" | "NoneOnDryRun")),
            webhook.as_object_mut(),
        ) {
            webhook.insert("sideEffects".to_owned(), Value::from("None"));
        }
    }
}
