//! What response-code details mean: those that come with a flag by the flag, and those without one, as in Envoy, by
//! themselves. A line whose format has no details is told what they may have been.

use super::Question;
use super::causes::{self, About, Cause, cause};
use super::meanings::{MEANINGS, Meaning, Says};
use crate::base::details::Detail;

/// One thing that may be behind a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    /// Short name of a flag, or details.
    pub(super) name: &'static str,
    pub(super) cause: &'static Cause,
}

/// What the details of a question say, beyond its flags; where there are neither, what may have happened. Empty:
/// nothing failed.
pub(super) fn of(question: &Question) -> Vec<Explanation> {
    let details = question.details.as_str();
    let failed = question.status.is_some_and(|status| status >= 400);
    if details.is_empty() {
        return if failed && question.flags.is_empty() { possible(question) } else { Vec::new() };
    }
    // A host's own answer is no failure when it is known to be a good one.
    let good = |detail: Detail| detail == Detail::VIA_UPSTREAM && question.status.is_some() && !failed;
    let known = meaning(details).filter(|(detail, _)| !good(*detail));
    let mut found: Vec<_> =
        known.and_then(|(detail, meaning)| explain(detail, meaning, details)).into_iter().collect();
    // What the end of an exchange adds in braces.
    let added = Detail::RETRY_BUFFER_EXCEEDED;
    if details.ends_with('}') && !details.starts_with(added.text()) && details.contains(added.text()) {
        found.extend(meaning(added.text()).and_then(|(detail, meaning)| explain(detail, meaning, details)));
    }
    if found.is_empty() && failed && question.flags.is_empty() && meaning(details).is_none() {
        found.push(foreign(details).unwrap_or(Explanation { name: "unknown details", cause: &UNKNOWN }));
    } else if found.is_empty() {
        found.extend(foreign(details));
    }
    found.retain(|one| !question.flags.contains(&one.name));
    found
}

/// Whether a word of a log line is of details.
pub(super) fn is_known(word: &str) -> bool {
    meaning(word).is_some() || foreign(word).is_some()
}

/// Those that come without a flag, each with what it means.
pub(super) fn silent() -> impl Iterator<Item = (&'static str, &'static Cause)> {
    MEANINGS.iter().flat_map(|meaning| {
        let cause = match &meaning.says {
            Says::Silent(_, cause) | Says::Open(cause) => Some(cause),
            Says::Flag(_) | Says::Reset | Says::More(_) => None,
        };
        meaning.details.iter().filter_map(move |detail| Some((detail.text(), cause?)))
    })
}

/// The details that a text begins with: as a whole word.
fn meaning(text: &str) -> Option<(Detail, &'static Meaning)> {
    let begins = |detail: &&Detail| {
        let rest = text.strip_prefix(detail.text());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', '[', '(']))
    };
    MEANINGS.iter().find_map(|meaning| Some((*meaning.details.iter().find(begins)?, meaning)))
}

fn explain(detail: Detail, meaning: &'static Meaning, text: &str) -> Option<Explanation> {
    if let Some(cause) = meaning.says.cause() {
        return Some(Explanation { name: detail.text(), cause });
    }
    let flag = match meaning.says {
        Says::Flag(flag) => flag,
        _ => {
            let reason = text.get(detail.text().len() + 1..).unwrap_or_default();
            RESETS.iter().find(|(begin, _)| reason.starts_with(begin)).map_or("LR", |(_, flag)| flag)
        }
    };
    by_flag(flag)
}

fn by_flag(flag: &'static str) -> Option<Explanation> {
    Some(Explanation { name: flag, cause: causes::of(flag)? })
}

/// Details of Envoy's that do not exist here, where they tell no more than a flag.
fn foreign(text: &str) -> Option<Explanation> {
    FOREIGN.iter().find(|(details, _)| text.starts_with(details)).and_then(|(_, flag)| by_flag(flag))
}

/// What a failed request without flags may have been, its details being unknown: the status says, and whether a host
/// was chosen. A host that was chosen need not have answered.
fn possible(question: &Question) -> Vec<Explanation> {
    let Some(status) = question.status else { return Vec::new() };
    let chosen = question.host.is_some();
    let fits = |meaning: &&Meaning| {
        let at = match &meaning.says {
            Says::Silent(statuses, _) => statuses.contains(&status),
            // A host answers where there is one, the configuration where there is none.
            Says::Open(_) => meaning.hosts == chosen,
            Says::Flag(_) | Says::Reset | Says::More(_) => false,
        };
        at && (meaning.hosts || !chosen)
    };
    let mut found: Vec<_> = MEANINGS
        .iter()
        .filter(fits)
        .filter_map(|meaning| {
            Some(Explanation { name: meaning.details.first()?.text(), cause: meaning.says.cause()? })
        })
        .collect();
    if found.len() != 1 {
        found.insert(0, Explanation { name: "no details", cause: &UNTOLD });
    }
    found
}

static UNTOLD: Cause = cause(
    About::Client,
    "the line has neither a flag nor details: each of the following leaves such a line with this status",
    "add %RESPONSE_CODE_DETAILS% to the log's format; the next such line says which",
);

static UNKNOWN: Cause = cause(
    About::Client,
    "these details are none of this proxy's; a filter of Envoy that does not exist here may have written them",
    "look them up in the documentation of what wrote the line",
);

/// Reasons of resets.
const RESETS: &[(&str, &str)] = &[
    ("remote_connection_failure", "UF"),
    ("local_connection_failure", "UF"),
    ("connection_timeout", "UF"),
    ("connection_termination", "UC"),
    ("remote_reset", "UR"),
    ("protocol_error", "UPE"),
    ("overflow", "UO"),
];

const FOREIGN: &[(&str, &str)] = &[
    ("upstream_response_timeout", "UT"),
    ("upstream_overflow", "UO"),
    ("maintenance_mode", "UO"),
    ("duration_timeout", "DT"),
    ("route_configuration_not_found", "NR"),
    ("local_connection_failure", "UF"),
    ("early_connect_data", "DPE"),
];
