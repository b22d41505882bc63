//! Conditions on metadata of a request or of its route. Source: `envoy.type.matcher.v3.MetadataMatcher`, `ValueMatcher`.

use super::metadata::{Found, Namespaces};
use super::subset::MetadataValue;
use crate::base::matcher::StringMatch;
use crate::base::metadata::DynamicMetadata;

/// Whose metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataSource {
    /// What filters left of the request (dynamic metadata).
    Request,
    /// The route's.
    Route,
}

/// Where a value is.
#[derive(Debug)]
pub struct MetadataPlace {
    /// Whose metadata.
    pub source: MetadataSource,
    /// The namespace (`filter`, `key`).
    pub namespace: Box<str>,
    /// Keys, each within the one before; at least one.
    pub path: Vec<Box<str>>,
}

impl MetadataPlace {
    /// The value there.
    pub fn find<'m>(
        &self,
        request: Option<&'m DynamicMetadata>,
        route: Option<&'m Namespaces>,
    ) -> Option<Seen<'m>> {
        match self.source {
            MetadataSource::Request => request?.get(&self.namespace, &self.path).map(Seen::Json),
            MetadataSource::Route => match route?.get(&self.namespace)?.at(&self.path)? {
                Found::Value(value) => Some(Seen::Configured(value)),
                Found::Namespace(_) => None,
            },
        }
    }
}

/// A value in either of its forms.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'m> {
    /// Of the request.
    Json(&'m serde_json::Value),
    /// Of the configuration.
    Configured(&'m MetadataValue),
}

impl<'m> Seen<'m> {
    /// Its text, when it is text.
    pub fn text(self) -> Option<&'m str> {
        match self {
            Self::Json(value) => value.as_str(),
            Self::Configured(MetadataValue::Text(text)) => Some(text),
            Self::Configured(_) => None,
        }
    }

    fn number(self) -> Option<f64> {
        match self {
            Self::Json(value) => value.as_f64(),
            Self::Configured(MetadataValue::Number(bits)) => Some(f64::from_bits(*bits)),
            Self::Configured(_) => None,
        }
    }

    fn flag(self) -> Option<bool> {
        match self {
            Self::Json(value) => value.as_bool(),
            Self::Configured(MetadataValue::Bool(flag)) => Some(*flag),
            Self::Configured(_) => None,
        }
    }

    fn is_null(self) -> bool {
        matches!(self, Self::Json(serde_json::Value::Null) | Self::Configured(MetadataValue::Null))
    }

    /// Whether one of a list's values is as wanted.
    fn any(self, wanted: impl Fn(Seen<'m>) -> bool) -> bool {
        match self {
            Self::Json(serde_json::Value::Array(values)) => values.iter().map(Seen::Json).any(wanted),
            Self::Configured(MetadataValue::List(values)) => values.iter().map(Seen::Configured).any(wanted),
            _ => false,
        }
    }
}

/// What a value must be.
#[derive(Debug)]
pub enum ValueMatch {
    /// `null`
    Null,
    /// This number.
    Number(f64),
    /// A number from the first to below the second.
    Range(f64, f64),
    /// Such a text.
    Text(StringMatch),
    /// This truth value.
    Bool(bool),
    /// Anything at all; what is not there never matches, whether that is asked for or not.
    Present(bool),
    /// A list with such a value.
    List(Box<ValueMatch>),
    /// One of these.
    Any(Vec<ValueMatch>),
}

impl ValueMatch {
    /// Depth is bounded when matchers are compiled.
    fn matches(&self, value: Seen<'_>) -> bool {
        match self {
            Self::Null => value.is_null(),
            Self::Number(wanted) => value.number().is_some_and(|number| number == *wanted),
            Self::Range(start, end) => value.number().is_some_and(|number| (*start..*end).contains(&number)),
            Self::Text(matcher) => value.text().is_some_and(|text| matcher.matches(text.as_bytes())),
            Self::Bool(wanted) => value.flag() == Some(*wanted),
            Self::Present(wanted) => *wanted,
            Self::List(matcher) => value.any(|value| matcher.matches(value)),
            Self::Any(matchers) => matchers.iter().any(|matcher| matcher.matches(value)),
        }
    }
}

/// A condition on one value.
#[derive(Debug)]
pub struct MetadataMatch {
    /// Where it is.
    pub place: MetadataPlace,
    /// What it must be. A value that is not there is nothing of it.
    pub value: ValueMatch,
    /// Flips the result.
    pub invert: bool,
}

impl MetadataMatch {
    /// Whether the value, if there is one, satisfies the condition.
    pub fn matches(&self, value: Option<Seen<'_>>) -> bool {
        value.is_some_and(|value| self.value.matches(value)) != self.invert
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::subset::{Criterion, Metadata};

    #[test]
    fn a_value_is_matched_by_its_type_in_both_forms() {
        let text = |text: &str| StringMatch::Exact(text.as_bytes().to_vec());
        let number = |value: f64| MetadataValue::Number(value.to_bits());
        let values = [
            (json!(null), MetadataValue::Null),
            (json!(1.5), number(1.5)),
            (json!("a"), MetadataValue::Text("a".into())),
            (json!(true), MetadataValue::Bool(true)),
            (json!([1, "a"]), MetadataValue::List(vec![number(1.0), MetadataValue::Text("a".into())])),
            (json!({"a": 1}), MetadataValue::Struct(vec![("a".into(), number(1.0))])),
        ];
        let matchers = [
            (ValueMatch::Null, "yn nn nn"),
            (ValueMatch::Number(1.5), "ny nn nn"),
            (ValueMatch::Number(1.0), "nn nn nn"),
            (ValueMatch::Range(1.5, 2.0), "ny nn nn"),
            (ValueMatch::Range(1.0, 1.5), "nn nn nn"),
            (ValueMatch::Text(text("a")), "nn yn nn"),
            (ValueMatch::Bool(true), "nn ny nn"),
            (ValueMatch::Bool(false), "nn nn nn"),
            (ValueMatch::Present(true), "yy yy yy"),
            (ValueMatch::Present(false), "nn nn nn"),
            (ValueMatch::List(Box::new(ValueMatch::Text(text("a")))), "nn nn yn"),
            (ValueMatch::List(Box::new(ValueMatch::Bool(true))), "nn nn nn"),
            (ValueMatch::Any(vec![ValueMatch::Null, ValueMatch::Bool(true)]), "yn ny nn"),
        ];
        for (matcher, expected) in &matchers {
            for ((json, configured), expected) in values.iter().zip(expected.replace(' ', "").chars()) {
                let found =
                    [Seen::Json(json), Seen::Configured(configured)].map(|value| matcher.matches(value));
                assert_eq!(found, [expected == 'y'; 2], "{matcher:?} of {json}");
            }
        }
    }

    #[test]
    fn a_place_is_in_the_request_or_in_the_route() {
        let mut request = DynamicMetadata::default();
        request.merge("n", json!({"a": {"b": "request"}}).as_object().cloned().unwrap_or_default());
        let inner = MetadataValue::Struct(vec![("b".into(), MetadataValue::Text("route".into()))]);
        let fields = Metadata::new([Criterion::new("a", inner)]);
        let route = Namespaces::new([("n".into(), fields.into())]).unwrap();
        let find = |source, path: &[&str]| {
            let path = path.iter().map(|key| (*key).into()).collect();
            let place = MetadataPlace { source, namespace: "n".into(), path };
            place.find(Some(&request), Some(&route)).map(|value| value.text().unwrap_or("").to_owned())
        };
        assert_eq!(find(MetadataSource::Request, &["a", "b"]).as_deref(), Some("request"));
        assert_eq!(find(MetadataSource::Route, &["a", "b"]).as_deref(), Some("route"));
        assert_eq!(find(MetadataSource::Route, &["a"]).as_deref(), Some(""));
        assert_eq!(find(MetadataSource::Request, &["b"]), None);
        assert_eq!(find(MetadataSource::Route, &["a", "b", "c"]), None);
    }

    #[test]
    fn what_is_missing_matches_only_when_inverted() {
        let of = |invert| MetadataMatch {
            place: MetadataPlace {
                source: MetadataSource::Request,
                namespace: "n".into(),
                path: vec!["a".into()],
            },
            value: ValueMatch::Present(true),
            invert,
        };
        assert!(!of(false).matches(None) && of(true).matches(None));
        let value = json!(1);
        assert!(of(false).matches(Some(Seen::Json(&value))) && !of(true).matches(Some(Seen::Json(&value))));
    }
}
