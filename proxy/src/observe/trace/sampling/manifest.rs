//! Local sampling rules, version 2: a file of X-Ray's SDKs and of Envoy.
//! Source: AWS X-Ray "Sampling rules", `envoy.config.trace.v3.XRayConfig.sampling_rule_manifest`.

use serde::Deserialize;

/// Longest pattern.
const MAX_PATTERN: usize = 512;
/// Most rules.
const MAX_RULES: usize = 1000;

/// How many requests are recorded: so many in each second, and a share of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Rate {
    /// Requests per second that are always recorded.
    pub fixed_target: u32,
    /// Share of the others, 0 to 1.
    pub rate: f64,
}

impl Default for Rate {
    /// One in each second and 5 %: what X-Ray does without rules.
    fn default() -> Self {
        Self { fixed_target: 1, rate: 0.05 }
    }
}

/// One rule; a pattern that is `None` matches everything.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Rule {
    /// Host header.
    pub host: Option<Box<str>>,
    /// Method.
    pub http_method: Option<Box<str>>,
    /// Path and query, as Envoy matches them.
    pub url_path: Option<Box<str>>,
    /// What a match means.
    #[serde(flatten)]
    pub rate: Rate,
}

/// Rules in order; the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// Rules.
    pub rules: Vec<Rule>,
    /// Without a match.
    pub default: Rate,
}

#[derive(Deserialize)]
struct File {
    version: u32,
    default: Rate,
    #[serde(default)]
    rules: Vec<Rule>,
}

impl Manifest {
    /// Only a default.
    pub fn of_default(default: Rate) -> Self {
        Self { rules: Vec::new(), default }
    }

    /// Reads the JSON text. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { version, default, rules } =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version != 2 {
            return Err(format!(
                "version {version} is not supported; write version 2, with host in place of service_name"
            ));
        }
        if rules.len() > MAX_RULES {
            return Err(format!("{} rules are more than {MAX_RULES}", rules.len()));
        }
        check("default", &default)?;
        for (i, rule) in rules.iter().enumerate() {
            check(&format!("rules[{i}]"), &rule.rate)?;
            let patterns = [&rule.host, &rule.http_method, &rule.url_path];
            if patterns.into_iter().flatten().any(|pattern| pattern.len() > MAX_PATTERN) {
                return Err(format!("rules[{i}]: a pattern is longer than {MAX_PATTERN} bytes"));
            }
        }
        Ok(Self { rules, default })
    }
}

fn check(place: &str, rate: &Rate) -> Result<(), String> {
    if (0.0..=1.0).contains(&rate.rate) {
        return Ok(());
    }
    Err(format!("{place}.rate: {} is not a share from 0 to 1", rate.rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_documented() {
        let text = r#"{"version": 2, "default": {"fixed_target": 1, "rate": 0.05},
            "rules": [{"description": "moves", "host": "*", "http_method": "*", "url_path": "/api/move/*",
                       "fixed_target": 0, "rate": 0.5}, {"fixed_target": 3, "rate": 1}]}"#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.default, Rate::default());
        assert_eq!(manifest.rules[0].url_path.as_deref(), Some("/api/move/*"));
        assert_eq!(manifest.rules[0].rate, Rate { fixed_target: 0, rate: 0.5 });
        assert_eq!((&manifest.rules[1].host, manifest.rules[1].rate.fixed_target), (&None, 3));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("{}", "version"),
            (r#"{"version": 1, "default": {"fixed_target": 1, "rate": 0}}"#, "version 1"),
            (r#"{"version": 2}"#, "default"),
            (r#"{"version": 2, "default": {"fixed_target": -1, "rate": 0}}"#, "-1"),
            (r#"{"version": 2, "default": {"fixed_target": 1, "rate": 1.5}}"#, "default.rate"),
            (r#"{"version": 2, "default": {"fixed_target": 1.5, "rate": 1}}"#, "1.5"),
            (
                r#"{"version": 2, "default": {"fixed_target": 1, "rate": 1}, "rules": [{"fixed_target": 1, "rate": -1}]}"#,
                "rules[0].rate",
            ),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
