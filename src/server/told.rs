//! Errors as statuses, Events and logs tell them: on one line.

/// An error and its causes. Libraries repeat their causes; what was said is not said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(&format!(": {said}"));
        }
        source = cause.source();
    }
    text
}

/// An error of the engine, why, and what to do.
pub fn told(error: &ark_engine::Error) -> String {
    let mut text = chain(error);
    if let Some(hint) = error.hint() {
        text.push_str(&format!(" ({hint})"));
    }
    text
}
