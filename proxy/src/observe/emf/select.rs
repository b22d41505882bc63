//! Which metrics are published.

use crate::observe::mesh::Metric;

/// An allow list: names, `*` for any characters. Names are those of [`Metric`] and, for Envoy's statistics, what
/// `/stats/prometheus` calls them (`envoy_cluster_upstream_rq_retry`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    patterns: Vec<String>,
}

impl Default for Selection {
    /// The metrics of App Mesh and Service Connect, nothing of Envoy's.
    fn default() -> Self {
        Self { patterns: Metric::ALL.iter().map(|metric| metric.name().to_owned()).collect() }
    }
}

impl Selection {
    /// From a list of names and patterns; `default` stands for the default set.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut patterns = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if name == "default" {
                patterns.extend(Self::default().patterns);
            } else if is_pattern(name) {
                patterns.push(name.to_owned());
            } else {
                return Err(format!(
                    "{name:?} is neither a metric of App Mesh's nor a name like envoy_cluster_upstream_rq_retry; \
                     /stats/prometheus lists the names"
                ));
            }
        }
        if patterns.is_empty() { Err("names no metric".to_owned()) } else { Ok(Self { patterns }) }
    }

    /// Whether the metric called `name` is published.
    pub fn admits(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| matches(pattern.as_bytes(), name.as_bytes()))
    }

    /// Whether any statistic of Envoy's names may be published: else they need not be looked at.
    pub fn wants_statistics(&self) -> bool {
        self.patterns.iter().any(|pattern| pattern.starts_with("envoy_") || pattern.starts_with('*'))
    }
}

/// A known name, or something that can match one.
fn is_pattern(name: &str) -> bool {
    let characters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_*".contains(&byte));
    characters
        && (name.contains('*') || name.starts_with("envoy_") || Metric::ALL.iter().any(|m| m.name() == name))
}

/// `*` matches any characters, nothing else is special.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skip| matches(rest, &name[skip..])),
        Some((first, rest)) => {
            name.split_first().is_some_and(|(byte, name)| byte == first && matches(rest, name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_names_patterns_and_the_default_set() {
        let own = Selection::parse("default, envoy_cluster_upstream_rq_retry*").unwrap();
        assert!(own.admits("RequestCount") && own.admits("envoy_cluster_upstream_rq_retry_success"));
        assert!(!own.admits("envoy_cluster_upstream_rq_total"));
        assert!(own.wants_statistics() && !Selection::default().wants_statistics());
        let target = Selection::parse("HTTPCode_Target_*").unwrap();
        assert!(target.admits("HTTPCode_Target_5XX_Count") && !target.admits("RequestCount"));
        for wrong in ["", "RequestCounts", "cluster.a.b", "default,a b"] {
            assert!(Selection::parse(wrong).is_err(), "{wrong}");
        }
    }
}
