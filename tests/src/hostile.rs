//! What somebody writes who wants to be read as something else: one set for every place where text ends up.

/// Values of header fields: ends of quotes and lines, terminals' commands, bytes that are no text.
pub const VALUES: &[&[u8]] = &[
    b"\" 200 - 0 0 0 0 \"-\" \"forged",
    b"\\\" 200 - \"",
    b"\\",
    b"\x1b[2J\x1b[31mred",
    b"\xff\xfe\xc3\x28\x80",
    b"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85",
    b"\xe2\x80\xaedesrever\xe2\x81\xa6",
    b"\",\"response_code\":1,\"x\":\"",
    b"%START_TIME% %REQ(:PATH)%",
    b"tab\there",
    b"\x7f\x01\x02",
];

/// Names of what is configured, which may hold any text: each would forge a line of some protocol.
pub const NAMES: &[&str] = &[
    "n\nforged: 1",
    "n\r\nforged: 1\r\n",
    "n\"} 1\nforged{a=\"b\"} 1\n",
    "n|c\nforged:1|c|#a:b",
    "n|#forged:1,more:2",
    "n:1|c",
    "n\\",
    "n\\\"",
    "n::forged::1",
    "n\u{1b}[2J\u{1b}[31mred",
    "n\u{2028}forged\u{85}",
    "n</script><script>forged()</script>",
    "n<img src=x onerror=forged()>",
    "n\u{fc}\u{1F6A3}",
    "n,forged=1 2",
    "n%0aforged: 1",
    "n}}\n{\"_aws\":{}}",
];

/// Whether somebody who shows text may end a line at this character, obey it, or turn around what follows.
pub fn is_command(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
