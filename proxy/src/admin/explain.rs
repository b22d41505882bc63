//! `/explain`: why a request failed. From a response flag, or a line of the access log, to the cause, the state
//! behind it now, and the next step.

mod causes;
mod details;
mod line;
mod meanings;
mod rejected;
mod routes;
mod state;

use crate::base::text::is_command;
use std::fmt::Write;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::AdminState;
use super::query::Query;
use super::reply::{Reply, legible};
use crate::base::error::ResponseFlags;
use causes::{About, Cause};
use details::Explanation;
use line::Line;

/// What is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Question {
    /// Short names.
    flags: Vec<&'static str>,
    /// Response-code details, as far as known.
    details: String,
    /// The answer's status, where a line has it.
    status: Option<u16>,
    cluster: Option<String>,
    authority: Option<String>,
    /// Address of the host that was tried.
    host: Option<String>,
}

const USAGE: &str = "usage: /explain?flag=UH[,URX][&cluster=name][&authority=host][&format=json]\n\
                     usage: /explain?details=via_upstream[&cluster=name]\n\
                     usage: /explain?line=<a line of the access log, percent-encoded>\n";

/// What those who hold the configuration know besides.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Those of `/config_dump`.
    pub(super) sections: Vec<Value>,
    /// Clusters whose names did not resolve, and the last reason.
    pub(super) unresolved: Vec<(String, String)>,
}

/// Answers `/explain`.
pub(super) fn explain(state: &AdminState, held: &Held, query: &Query) -> Reply {
    let question = match question(query) {
        Ok(question) => question,
        Err(problem) => {
            return Reply::error(StatusCode::BAD_REQUEST, format!("{problem}\n{USAGE}{}", known()));
        }
    };
    state.collector.refresh();
    let by_flag = |name: &&'static str| Some(Explanation { name, cause: causes::of(name)? });
    let mut explanations: Vec<_> = question.flags.iter().filter_map(by_flag).collect();
    explanations.extend(details::of(&question));
    let rejected = rejected::lines(&held.sections);
    let finding = |Explanation { name, cause }| {
        let mut state = state::behind(state, cause, &question, &held.unresolved);
        if cause.about != About::Client {
            state.extend(rejected.iter().cloned());
        }
        Finding { name, cause, state }
    };
    let findings: Vec<Finding> = explanations.into_iter().map(finding).collect();
    match query.get("format") {
        None | Some("text") => Reply::text(text(&findings, &question)),
        Some("json") => Reply::json(&json(&findings, &question)),
        Some(_) => Reply::error(StatusCode::BAD_REQUEST, USAGE),
    }
}

/// One flag, or details, with what is found behind it.
struct Finding {
    name: &'static str,
    cause: &'static Cause,
    /// Lines of facts.
    state: Vec<String>,
}

impl Finding {
    /// Long name; empty for details.
    fn long_name(&self) -> &'static str {
        flag_names().find(|(short, _)| *short == self.name).map_or("", |(_, long)| long)
    }
}

fn question(query: &Query) -> Result<Question, String> {
    let mut question = match (query.get("line"), query.get("flag")) {
        (Some(line), _) => Line::read(line).ok_or("this line tells of no failure")?,
        (None, Some(flags)) => Question { flags: flags_of(flags)?, ..Question::default() },
        (None, None) => Question::default(),
    };
    for (given, into) in [("cluster", &mut question.cluster), ("authority", &mut question.authority)] {
        if let Some(value) = query.get(given) {
            *into = Some(value.to_owned());
        }
    }
    if let Some(details) = query.get("details") {
        details.clone_into(&mut question.details);
    }
    if question.flags.is_empty() && details::of(&question).is_empty() {
        return Err("a flag, known details or a line is needed".to_owned());
    }
    Ok(question)
}

/// Short or long names, with commas.
fn flags_of(text: &str) -> Result<Vec<&'static str>, String> {
    let flag = |name: &str| {
        let known = flag_names().find(|(short, long)| *short == name || *long == name);
        known.map(|(short, _)| short).ok_or_else(|| format!("{:?} is no response flag", printable(name)))
    };
    text.split(',').map(|name| flag(name.trim())).collect()
}

/// Short and long names of all flags.
fn flag_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let own = ResponseFlags::ALL.iter().map(|(_, short, long)| (*short, *long));
    own.chain(ResponseFlags::FOREIGN.iter().copied())
}

/// What came from outside is shown without what a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().take(200).filter(|char| !is_command(*char)).collect()
}

fn known() -> String {
    let mut text = "flags:\n".to_owned();
    for (short, long) in flag_names() {
        let what = causes::of(short).map_or("", |cause| cause.what);
        let _ = writeln!(text, "  {short} {long}: {what}");
    }
    text.push_str("details that come without a flag (-), as in Envoy; only a format with %RESPONSE_CODE_DETAILS% tells them apart:\n");
    for (details, cause) in details::silent() {
        let _ = writeln!(text, "  {details}: {}", cause.what);
    }
    text
}

fn text(findings: &[Finding], question: &Question) -> String {
    let mut text = String::new();
    if !question.details.is_empty() {
        let _ = writeln!(text, "details: {}\n", printable(&question.details));
    }
    for finding in findings {
        let Finding { name, cause, state } = finding;
        let _ = match finding.long_name() {
            "" => writeln!(text, "{name}"),
            long => writeln!(text, "{name} ({long})"),
        };
        let _ = writeln!(text, "  cause: {}", cause.what);
        state.iter().for_each(|fact| {
            let _ = writeln!(text, "  now:   {}", legible(fact));
        });
        let _ = writeln!(text, "  next:  {}\n", cause.next);
    }
    text
}

fn json(findings: &[Finding], question: &Question) -> Value {
    let finding = |finding: &Finding| {
        let Finding { name, cause, state } = finding;
        json!({ "flag": name, "name": finding.long_name(), "cause": cause.what, "now": state, "next": cause.next })
    };
    json!({
        "details": printable(&question.details),
        "cluster": question.cluster,
        "authority": question.authority,
        "host": question.host,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests;
