//! The differences that are meant: `differences.json`, one entry per case and field, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use outrigger_tests::Result;
use serde_json::{Value, json};

use crate::observe::Observation;
use crate::run::Observations;

/// What a field says on either side; `None` where it is missing.
type Pair = (Option<String>, Option<String>);

/// Case (`section/group/case`) and field.
type Place = (String, String);

/// All listed differences.
pub struct Listed {
    entries: BTreeMap<Place, Pair>,
}

impl Listed {
    /// Reads the list.
    pub fn read() -> Result<Self> {
        let list: Vec<Value> = serde_json::from_str(include_str!("differences.json"))?;
        let mut entries = BTreeMap::new();
        for entry in &list {
            let text = |field: &str| entry[field].as_str().map(str::to_owned);
            let (Some(case), Some(field)) = (text("case"), text("field")) else {
                return Err(format!("{entry} needs case and field").into());
            };
            if text("reason").is_none_or(|reason| reason.len() < 20) {
                return Err(format!("{entry} needs a reason").into());
            }
            if entries.insert((case, field), (text("envoy"), text("outrigger"))).is_some() {
                return Err(format!("{entry} is listed twice").into());
            }
        }
        Ok(Self { entries })
    }

    /// The listed cases that belong to none of `sections`.
    pub fn outside(&self, sections: &[&str]) -> Vec<&str> {
        let section = |case: &str| case.split('/').next().unwrap_or_default().to_owned();
        let cases = self.entries.keys().map(|(case, _)| case.as_str());
        cases.filter(|case| !sections.contains(&section(case).as_str())).collect()
    }

    /// Fails on every difference that is not listed as it is, and on every listed one that is none (any more).
    pub fn compare(&self, section: &str, envoy: &Observations, ours: &Observations) -> Result<()> {
        show(envoy, "Envoy");
        show(ours, "Outrigger");
        let mut found = BTreeMap::<Place, Pair>::new();
        let nothing = Observation::new();
        for case in envoy.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            let (envoy, ours) = (envoy.get(case).unwrap_or(&nothing), ours.get(case).unwrap_or(&nothing));
            for (field, pair) in differing(envoy, ours) {
                found.insert((case.clone(), field), pair);
            }
        }
        let prefix = format!("{section}/");
        let listed = self.entries.iter().filter(|((case, _), _)| case.starts_with(&prefix));
        let gone: Vec<_> = listed.filter(|(place, pair)| found.get(*place) != Some(*pair)).collect();
        let new: Vec<_> =
            found.iter().filter(|(place, pair)| self.entries.get(*place) != Some(*pair)).collect();
        if new.is_empty() && gone.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{} cases; {} differences that differences.json does not list:\n{}\n{} listed that are not there:\n{}",
            envoy.len(),
            new.len(),
            entries(&new),
            gone.len(),
            entries(&gone),
        )
        .into())
    }
}

/// Prints the cases whose name holds the text of `CONFORMANCE_SHOW`.
fn show(all: &Observations, side: &str) {
    let Ok(wanted) = std::env::var("CONFORMANCE_SHOW") else { return };
    for (case, observation) in all.iter().filter(|(case, _)| case.contains(&wanted)) {
        eprintln!("{side} {case}: {observation:#?}");
    }
}

/// The fields that say what became of a request. Where they differ the others do so as a consequence.
const OUTCOME: &[&str] = &["status", "upstream", "route", "flags", "details"];

fn differing(envoy: &Observation, ours: &Observation) -> Vec<(String, Pair)> {
    let differs = |field: &&str| envoy.get(*field) != ours.get(*field);
    let other_outcome = ["status", "upstream"].iter().any(differs);
    let all: BTreeSet<_> = envoy.keys().chain(ours.keys()).map(String::as_str).collect();
    let compared = all.into_iter().filter(|field| !other_outcome || OUTCOME.contains(field));
    let pair = |field: &str| (envoy.get(field).cloned(), ours.get(field).cloned());
    compared.filter(differs).map(|field| (field.to_owned(), pair(field))).collect()
}

/// As they would stand in the file.
fn entries(list: &[(&Place, &Pair)]) -> String {
    let entry = |((case, field), (envoy, ours)): &(&Place, &Pair)| {
        json!({"case": case, "field": field, "envoy": envoy, "outrigger": ours, "reason": ""}).to_string()
    };
    list.iter().map(entry).collect::<Vec<_>>().join(",\n")
}
