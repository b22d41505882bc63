//! Query strings of admin requests.

use percent_encoding::percent_decode_str;

/// Most parameters looked at.
const MAX_PARAMETERS: usize = 64;

/// Decoded parameters in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    parameters: Vec<(String, String)>,
}

impl Query {
    /// Decodes `text` (without `?`). Percent escapes only: `+` stays, so that regexes need no care.
    pub(super) fn parse(text: &str) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(MAX_PARAMETERS);
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self { parameters: pairs.map(|(key, value)| (decode(key), decode(value))).collect() }
    }

    /// First value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Whether `key` is there, with or without value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// All parameters.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
