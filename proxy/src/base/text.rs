//! Characters of text from outside that would end or rearrange a line for whoever shows it.

/// Whether `char` commands a terminal, ends a line (also where only Unicode says so), or turns the text after it around.
/// Source: Unicode Standard Annexes 14 (BK, NL) and 9 (explicit formatting characters).
pub fn is_command(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::is_command;

    #[test]
    fn lines_ends_terminals_and_directions() {
        for char in ['\n', '\r', '\u{1b}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}'] {
            assert!(is_command(char), "{char:?}");
        }
        for char in ['a', '"', ' ', 'ü', '\u{200d}', '\u{1F6A3}'] {
            assert!(!is_command(char), "{char:?}");
        }
    }
}
