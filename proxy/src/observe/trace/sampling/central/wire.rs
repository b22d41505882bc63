//! What goes over the daemon's HTTP port. Members that are not known are tolerated, those that are missing keep what
//! was. Source: AWS X-Ray API, `GetSamplingRules` and `GetSamplingTargets`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One page of rules.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RulesPage {
    /// Rules.
    #[serde(default)]
    pub sampling_rule_records: Vec<RuleRecord>,
    /// Asks for the next page.
    pub next_token: Option<String>,
}

/// A rule with its dates, which nobody needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuleRecord {
    /// The rule.
    pub sampling_rule: Option<SamplingRule>,
}

fn any() -> String {
    "*".to_owned()
}

/// A rule. Patterns are globs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SamplingRule {
    /// Unique name.
    pub rule_name: String,
    /// Resources.
    #[serde(rename = "ResourceARN", default = "any")]
    pub resource_arn: String,
    /// Lower ones come first.
    #[serde(default)]
    pub priority: i64,
    /// Share of requests beyond the reservoir.
    #[serde(default)]
    pub fixed_rate: f64,
    /// Requests per second of all processes together.
    #[serde(default)]
    pub reservoir_size: u32,
    /// Segment name.
    #[serde(default = "any")]
    pub service_name: String,
    /// Segment origin.
    #[serde(default = "any")]
    pub service_type: String,
    /// Host header.
    #[serde(default = "any")]
    pub host: String,
    /// Method.
    #[serde(rename = "HTTPMethod", default = "any")]
    pub http_method: String,
    /// Path without query.
    #[serde(rename = "URLPath", default = "any")]
    pub url_path: String,
    /// Version of the form.
    pub version: i64,
    /// Attributes of segments; rules with any are not for us.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// Raises the rate for a time when much fails.
    pub sampling_rate_boost: Option<Boost>,
}

impl SamplingRule {
    /// Priority, then name; `Default` behind all others.
    pub(super) fn order(&self) -> (bool, i64, &str) {
        (self.rule_name == "Default", self.priority, &self.rule_name)
    }
}

/// How far a rate may be raised.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Boost {
    /// At most to this.
    pub max_rate: f64,
}

/// What a process has seen of one rule since its last report.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Of every rule.
    pub counts: Counts,
    /// Of rules with a boost.
    pub boost: Option<BoostCounts>,
}

/// `SamplingStatisticsDocument`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Counts {
    /// The rule.
    pub rule_name: String,
    /// This process: 24 hexadecimal digits.
    #[serde(rename = "ClientID")]
    pub client_id: String,
    /// Now, seconds since 1970.
    pub timestamp: u64,
    /// Requests that matched.
    pub request_count: u64,
    /// Of them, recorded.
    pub sampled_count: u64,
    /// Of the requests, recorded on credit.
    pub borrow_count: u64,
}

/// `SamplingBoostStatisticsDocument`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BoostCounts {
    /// The rule.
    pub rule_name: String,
    /// Our name.
    pub service_name: String,
    /// Now, seconds since 1970.
    pub timestamp: u64,
    /// Requests that failed.
    pub anomaly_count: u64,
    /// Requests that ended.
    pub total_count: u64,
    /// Failed ones that were recorded.
    pub sampled_anomaly_count: u64,
}

/// A report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetsRequest {
    /// One for each rule.
    pub sampling_statistics_documents: Vec<Counts>,
    /// For those with a boost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sampling_boost_statistics_documents: Vec<BoostCounts>,
}

/// The answer to a report.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetsAnswer {
    /// What each rule may record.
    #[serde(default)]
    pub sampling_target_documents: Vec<Target>,
    /// When the rules were last changed, seconds since 1970.
    pub last_rule_modification: Option<f64>,
    /// What was not understood.
    #[serde(default)]
    pub unprocessed_statistics: Vec<Unprocessed>,
}

/// `SamplingTargetDocument`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Target {
    /// The rule.
    #[serde(default)]
    pub rule_name: String,
    /// Share of requests beyond the reservoir.
    pub fixed_rate: Option<f64>,
    /// Our part of the reservoir, per second.
    pub reservoir_quota: Option<u32>,
    /// Until when, seconds since 1970.
    #[serde(rename = "ReservoirQuotaTTL")]
    pub reservoir_quota_ttl: Option<f64>,
    /// Seconds to the next report.
    pub interval: Option<u32>,
    /// A raised rate.
    pub sampling_boost: Option<BoostTarget>,
}

/// A raised rate and its end.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BoostTarget {
    /// Share of requests.
    pub boost_rate: f64,
    /// Until when, seconds since 1970.
    #[serde(rename = "BoostRateTTL")]
    pub boost_rate_ttl: f64,
}

/// A rule whose statistics were not taken.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Unprocessed {
    /// As of HTTP.
    #[serde(default)]
    pub error_code: String,
}
