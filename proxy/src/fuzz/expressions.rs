//! Arbitrary RE2 expressions and inputs.

#![allow(clippy::expect_used, clippy::panic, reason = "what does not hold is a finding")]

use outrigger_grammar::regex::{full_match, search};

/// An expression, a line end, and what it is matched against.
pub fn expressions(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (pattern, input) = text.split_once('\n').unwrap_or((text, ""));
    if let (Ok(full), Ok(part)) = (full_match(pattern), search(pattern)) {
        // Nothing in the expression gets rid of the anchors.
        if let Some(found) = full.find(input.as_bytes()) {
            assert_eq!(found.range(), 0..input.len(), "a part matched");
            assert!(part.is_match(input.as_bytes()), "matches as a whole, but nowhere");
        }
    }
    let mut quoted = String::new();
    for char in input.chars() {
        // As RE2's QuoteMeta.
        quoted.extend((char.is_ascii() && !char.is_ascii_alphanumeric() && char != '_').then_some('\\'));
        quoted.push(char);
    }
    is_itself(&quoted, input);
    if !input.contains("\\E") && !input.ends_with('\\') {
        is_itself(&format!("\\Q{input}\\E"), input);
    }
}

/// An expression that means one text only.
fn is_itself(quoted: &str, text: &str) {
    let compiled = match full_match(quoted) {
        Ok(compiled) => compiled,
        Err(error) => panic!("{quoted:?}: {error}"),
    };
    assert!(compiled.is_match(text.as_bytes()), "{quoted:?} is not {text:?}");
    assert!(!compiled.is_match(format!("{text}.").as_bytes()), "{quoted:?} is more than {text:?}");
}
