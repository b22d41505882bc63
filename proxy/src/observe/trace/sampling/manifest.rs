//! Local sampling rules, version 2: a file of X-Ray's SDKs and of Envoy.
//! Source: AWS X-Ray "Sampling rules", `envoy.config.trace.v3.XRayConfig.sampling_rule_manifest`.

use serde::Deserialize;
use serde_json::Value;

/// Longest pattern.
const MAX_PATTERN: usize = 512;
/// Most rules.
const MAX_RULES: usize = 1000;

/// How many requests are recorded: so many in each second, and a share of the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Host header.
    pub host: Option<Box<str>>,
    /// Method.
    pub http_method: Option<Box<str>>,
    /// Path and query, as Envoy matches them.
    pub url_path: Option<Box<str>>,
    /// What a match means.
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

/// As the file has it: to Envoy every number is a floating one.
#[derive(Deserialize)]
struct File {
    version: Value,
    default: FileRate,
    #[serde(default)]
    rules: Vec<FileRule>,
}

#[derive(Deserialize)]
struct FileRate {
    fixed_target: f64,
    rate: f64,
}

#[derive(Deserialize)]
struct FileRule {
    host: Option<Box<str>>,
    http_method: Option<Box<str>>,
    url_path: Option<Box<str>>,
    #[serde(flatten)]
    rate: FileRate,
}

impl Manifest {
    /// Only a default.
    pub fn of_default(default: Rate) -> Self {
        Self { rules: Vec::new(), default }
    }

    /// Reads the JSON text. The error says what is wrong, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let File { version, default, rules } =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if version.as_f64() != Some(2.0) {
            return Err(other_version(&version));
        }
        if rules.len() > MAX_RULES {
            return Err(format!("{} rules are more than {MAX_RULES}", rules.len()));
        }
        let default = default.check("default")?;
        let rules = rules.into_iter().enumerate().map(|(i, rule)| rule.check(&format!("rules[{i}]")));
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, default })
    }
}

/// What is said of a manifest of another version.
pub fn other_version(version: &Value) -> String {
    format!("version {version} is not supported; write version 2, with host in place of service_name")
}

impl FileRate {
    fn check(self, place: &str) -> Result<Rate, String> {
        let Self { fixed_target, rate } = self;
        if fixed_target.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&fixed_target) {
            return Err(format!(
                "{place}.fixed_target: {fixed_target} is not a whole number from 0 to {}",
                u32::MAX
            ));
        }
        if !(0.0..=1.0).contains(&rate) {
            return Err(format!("{place}.rate: {rate} is not a share from 0 to 1"));
        }
        Ok(Rate { fixed_target: fixed_target as u32, rate })
    }
}

impl FileRule {
    fn check(self, place: &str) -> Result<Rule, String> {
        let Self { host, http_method, url_path, rate } = self;
        if [&host, &http_method, &url_path].into_iter().flatten().any(|pattern| pattern.len() > MAX_PATTERN) {
            return Err(format!("{place}: a pattern is longer than {MAX_PATTERN} bytes"));
        }
        Ok(Rule { host, http_method, url_path, rate: rate.check(place)? })
    }
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

    /// Whole ones may be written with a point, as tools that know only one kind of number do.
    #[test]
    fn numbers_are_as_json_has_them() {
        let manifest = Manifest::parse(r#"{"version": 2.0, "default": {"fixed_target": 3.0, "rate": 1}}"#);
        assert_eq!(manifest.unwrap().default, Rate { fixed_target: 3, rate: 1.0 });
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("{}", "version"),
            (r#"{"version": 1, "default": {"fixed_target": 1, "rate": 0}}"#, "version 1"),
            (r#"{"version": 2}"#, "default"),
            (r#"{"version": 2, "default": {"fixed_target": -1, "rate": 0}}"#, "default.fixed_target: -1"),
            (r#"{"version": 2, "default": {"fixed_target": 1, "rate": 1.5}}"#, "default.rate"),
            (r#"{"version": 2, "default": {"fixed_target": 1.5, "rate": 1}}"#, "default.fixed_target: 1.5"),
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
