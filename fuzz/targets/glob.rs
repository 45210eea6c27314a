#![no_main]
//! Patterns for names of resources and namespaces, and in the next line a name to match.

use ark_fuzz::cluster::glob::Glob;
libfuzzer_sys::fuzz_target!(|text: &str| {
    let (pattern, name) = text.split_once('\n').unwrap_or((text, "name"));
    if let Ok(glob) = Glob::parse(pattern) {
        let matches = glob.matches(name);
        assert!(matches || !glob.is_everything());
        if let Some(literal) = glob.literal() {
            assert_eq!(matches, literal == name);
        }
        assert_eq!(Glob::parse(&glob.to_string()), Ok(glob));
    }
});
