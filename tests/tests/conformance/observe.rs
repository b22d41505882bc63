//! What a case shows, as flat text fields that two data planes can be compared by.

use std::collections::BTreeMap;

use serde_json::Value;

/// Field name to value. Names are `status`, `flags`, `details`, `cluster`, `route`, `attempts`, `body`,
/// `upstream`, `upstream method|target|version|body`, `request:<header>`, `response:<header>`, `trailer:<header>`.
pub type Observation = BTreeMap<String, String>;

/// Carries the number of a case to the access log.
pub const CASE_HEADER: &str = "x-case";

/// An answer, whichever protocol brought it.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// Adds what the client was told, and what the upstream says that it saw.
pub fn answer(seen: &mut Observation, answer: &Answer, sent: &[(String, String)]) {
    seen.insert("status".into(), answer.status.to_string());
    let echoed =
        serde_json::from_slice::<Value>(&answer.body).ok().filter(|value| value["upstream"].is_string());
    match &echoed {
        Some(echo) => upstream(seen, echo, sent),
        None => drop(seen.insert("body".into(), String::from_utf8_lossy(&answer.body).into_owned())),
    }
    for (name, values) in joined(&answer.headers) {
        let value = match name.as_str() {
            // The length of what the upstream tells depends on what it saw, which is compared by itself.
            "content-length" if echoed.is_some() => continue,
            "date" | "x-envoy-upstream-service-time" => "(some)".to_owned(),
            "x-request-id" => stable_id(&values, sent),
            _ => values,
        };
        seen.insert(format!("response:{name}"), value);
    }
    for (name, value) in joined(&answer.trailers) {
        seen.insert(format!("trailer:{name}"), value);
    }
}

fn upstream(seen: &mut Observation, echo: &Value, sent: &[(String, String)]) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for (field, key) in [
        ("upstream", "upstream"),
        ("upstream method", "method"),
        ("upstream target", "target"),
        ("upstream version", "version"),
        ("upstream body", "body"),
    ] {
        seen.insert(field.into(), text(&echo[key]));
    }
    let pair = |pair: &Value| (text(&pair[0]), text(&pair[1]));
    let headers: Vec<_> = echo["headers"].as_array().into_iter().flatten().map(pair).collect();
    for (name, values) in joined(&headers) {
        let value = match name.as_str() {
            CASE_HEADER => continue,
            "x-request-id" => stable_id(&values, sent),
            "x-envoy-expected-rq-timeout-ms" => whole_seconds(values),
            _ => values,
        };
        seen.insert(format!("request:{name}"), value);
    }
}

/// A retry is told what is left of the time, to the millisecond.
fn whole_seconds(millis: String) -> String {
    match millis.parse::<u64>() {
        Ok(number) if number > 1000 => (number.div_ceil(1000) * 1000).to_string(),
        _ => millis,
    }
}

/// A generated id is only known to be one.
fn stable_id(value: &str, sent: &[(String, String)]) -> String {
    let was_sent =
        sent.iter().any(|(name, given)| name.eq_ignore_ascii_case("x-request-id") && given == value);
    if was_sent { value.to_owned() } else { "(generated)".to_owned() }
}

/// The values of each name in their order, lines kept apart by ` | `.
fn joined(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::<String, String>::new();
    for (name, value) in headers {
        let known = map.entry(name.to_ascii_lowercase());
        known.and_modify(|values| *values += &format!(" | {value}")).or_insert_with(|| value.clone());
    }
    map
}

/// The operators of the access log, in the order [`log_line`] reads them; the details may hold the separator.
pub const OPERATORS: &[&str] = &[
    "REQ(X-CASE)",
    "RESPONSE_CODE",
    "RESPONSE_FLAGS",
    "UPSTREAM_CLUSTER",
    "ROUTE_NAME",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "RESPONSE_CODE_DETAILS",
];

/// Adds what the access log says. `line` is what follows the case's number. Of several lines the last counts, but the
/// details are those of all.
pub fn log_line(seen: &mut Observation, line: &str) {
    let fields = ["logged status", "flags", "cluster", "route", "attempts", "details"];
    for (field, value) in fields.into_iter().zip(line.splitn(fields.len(), '|')) {
        let before = seen.get(field).filter(|_| field == "details");
        let value = before.map_or(value.to_owned(), |before| format!("{before} > {value}"));
        seen.insert(field.into(), value);
    }
}
