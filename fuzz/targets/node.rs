#![no_main]
//! A tree node. What decodes is what a writer writes.

use ark_format::tree::{Node, NodeBuilder, decode_node};
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut builder = NodeBuilder::default();
    let level = match decode_node(bytes) {
        Ok(Node::Leaf(entries)) => {
            entries
                .iter()
                .for_each(|(key, value)| builder.push_value(key, value));
            0
        }
        Ok(Node::Inner { level, children }) => {
            children
                .iter()
                .for_each(|(key, child)| builder.push_child(key, *child));
            level
        }
        Err(_) => return,
    };
    assert!(builder.take(level) == bytes);
});
