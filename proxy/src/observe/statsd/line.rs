//! One line: `name:value|type|@rate|#tag:value,...`.

use crate::base::text::is_command;
use std::fmt::{Display, Write};

/// What lines of one statistic have in common.
pub(super) struct Line<'a> {
    pub(super) prefix: &'a str,
    pub(super) name: &'a str,
    pub(super) tags: &'a [(&'a str, &'a str)],
}

impl Line<'_> {
    /// The line of `value`; `times` is how often it occurred.
    pub(super) fn value(&self, value: &impl Display, kind: &str, times: Option<u64>) -> String {
        let mut line = String::with_capacity(128);
        push(&mut line, self.prefix, is_free_in_name);
        if !self.prefix.is_empty() {
            line.push('.');
        }
        push(&mut line, self.name, is_free_in_name);
        let _ = write!(line, ":{value}|{kind}");
        if let Some(times) = times {
            let _ = write!(line, "|@{}", 1.0 / times as f64);
        }
        for (i, (tag, value)) in self.tags.iter().enumerate() {
            line.push_str(if i == 0 { "|#" } else { "," });
            push(&mut line, tag, is_free_in_name);
            line.push(':');
            push(&mut line, value, is_free_in_tag);
        }
        line
    }
}

/// What would end the part it stands in becomes `_`: cluster names may hold `|`, and come from outside.
fn push(line: &mut String, text: &str, is_free: fn(char) -> bool) {
    line.extend(text.chars().map(|char| if is_free(char) { char } else { '_' }));
}

fn is_free_in_name(char: char) -> bool {
    !is_command(char) && !":|@#,".contains(char)
}

fn is_free_in_tag(char: char) -> bool {
    !is_command(char) && !"|,".contains(char)
}
