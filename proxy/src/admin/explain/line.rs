//! A line of the access log: flags, details, host and authority in any of the usual forms.

use serde_json::Value;

use super::{Question, details, flags_of};

/// Reads lines.
pub(super) struct Line;

/// Longest line that is looked at, bytes.
const MAX: usize = 16 * 1024;

impl Line {
    /// What the line says; `None` when nothing failed in it. JSON lines by the names of their members, text by its form: the
    /// default format has authority and host in its last two quoted fields.
    pub(super) fn read(line: &str) -> Option<Question> {
        let line = line.get(..line.floor_char_boundary(MAX)).unwrap_or_default().trim();
        let question = match serde_json::from_str(line) {
            Ok(Value::Object(members)) => of_json(&Value::Object(members)),
            _ => of_text(line),
        };
        let failed = !question.flags.is_empty() || !details::of(&question).is_empty();
        failed.then_some(question)
    }
}

fn of_json(line: &Value) -> Question {
    let mut question = Question::default();
    for (name, value) in line.as_object().into_iter().flatten() {
        let name = name.to_ascii_lowercase();
        if is_status(&name) {
            let number = value.as_u64().map(|number| number.to_string());
            question.status = number.as_deref().or(value.as_str()).and_then(status);
            continue;
        }
        let Some(value) = value.as_str().filter(|value| !matches!(*value, "-" | "")) else { continue };
        if question.flags.is_empty()
            && let Some(flags) = flags(value)
        {
            question.flags = flags;
        } else if name.contains("detail") {
            value.clone_into(&mut question.details);
        } else if name.contains("cluster") {
            question.cluster = Some(value.to_owned());
        } else if name.contains("upstream_host") {
            question.host = Some(value.to_owned());
        } else if name.contains("authority") || name == "host" {
            question.authority = Some(value.to_owned());
        }
    }
    question
}

fn of_text(line: &str) -> Question {
    let words = || line.split([' ', '|', '"', '\t']).filter(|word| !word.is_empty());
    let quoted: Vec<_> = line.split('"').skip(1).step_by(2).collect();
    let last = |back: usize| quoted.len().checked_sub(back).and_then(|at| quoted.get(at));
    let present = |text: &&&str| !matches!(**text, "-" | "");
    Question {
        flags: words().find_map(flags).unwrap_or_default(),
        details: words().find(|word| is_details(word)).unwrap_or_default().to_owned(),
        status: words().find_map(status),
        cluster: words().find(|word| word.starts_with("cds_")).map(str::to_owned),
        authority: last(2).filter(present).map(|text| (*text).to_owned()),
        host: last(1).filter(present).map(|text| (*text).to_owned()),
    }
}

/// Only short names, as they are written; `-` is none.
fn flags(word: &str) -> Option<Vec<&'static str>> {
    let is_short = word.len() >= 2 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b',');
    is_short.then(|| flags_of(word).ok()).flatten()
}

fn status(word: &str) -> Option<u16> {
    word.parse().ok().filter(|status| word.len() == 3 && (100..600).contains(status))
}

fn is_status(name: &str) -> bool {
    name == "status" || name == "code" || name.ends_with("response_code")
}

/// Those we know, and those of the families that Envoy and we have.
fn is_details(word: &str) -> bool {
    const FAMILIES: &[&str] = &["upstream_", "downstream_", "http1.", "http2.", "ext_authz_"];
    details::is_known(word) || word.contains('_') && FAMILIES.iter().any(|begin| word.starts_with(begin))
}
