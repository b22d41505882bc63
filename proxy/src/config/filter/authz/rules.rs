//! What a service may change of a request. Source: `envoy.config.common.mutation_rules.v3.HeaderMutationRules`.

use regex::bytes::Regex;

/// See the module.
#[derive(Debug, Default)]
pub struct Rules {
    /// Also what routing looks at: host, scheme and method.
    pub allow_routing: bool,
    /// Also `x-envoy-*`.
    pub allow_envoy: bool,
    /// No pseudo-headers.
    pub disallow_system: bool,
    /// Nothing.
    pub disallow_all: bool,
    /// These whatever the above says.
    pub allow: Option<Regex>,
    /// These never.
    pub disallow: Option<Regex>,
    /// Who tries ends the request.
    pub is_error: bool,
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It is made.
    Made,
    /// It is left out.
    Ignored,
    /// The request ends.
    Fatal,
}

impl Rules {
    /// Of a header of this name, lower case.
    pub fn of(&self, name: &[u8]) -> Ruling {
        if self.allows(name) {
            Ruling::Made
        } else if self.is_error {
            Ruling::Fatal
        } else {
            Ruling::Ignored
        }
    }

    fn allows(&self, name: &[u8]) -> bool {
        let matches = |regex: &Option<Regex>| regex.as_ref().is_some_and(|regex| regex.is_match(name));
        if matches(&self.disallow) {
            return false;
        }
        if matches(&self.allow) {
            return true;
        }
        let is_routing = matches!(name, b"host" | b":authority" | b":scheme" | b":method");
        !(self.disallow_all
            || (self.disallow_system && name.starts_with(b":"))
            || (is_routing && !self.allow_routing)
            || (name.starts_with(b"x-envoy") && !self.allow_envoy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_grammar::regex::full_match;

    #[test]
    fn expressions_come_first_and_then_what_kind_of_header_it_is() {
        let made = |rules: &Rules, name: &str| rules.of(name.as_bytes()) == Ruling::Made;
        let default = Rules::default();
        for (name, allowed) in
            [("x-a", true), (":path", true), ("host", false), (":method", false), ("x-envoy-a", false)]
        {
            assert_eq!(made(&default, name), allowed, "{name}");
        }
        let all = Rules { allow_routing: true, allow_envoy: true, ..Rules::default() };
        assert!(["host", ":scheme", "x-envoy-a"].iter().all(|name| made(&all, name)));
        assert!(!made(&Rules { disallow_system: true, ..Rules::default() }, ":path"));
        let only = Rules {
            disallow_all: true,
            allow: full_match("x-.*").ok(),
            disallow: full_match("x-b").ok(),
            ..Rules::default()
        };
        assert!(made(&only, "x-a") && !made(&only, "x-b") && !made(&only, "y"));
        assert_eq!(Rules { is_error: true, ..only }.of(b"y"), Ruling::Fatal);
    }
}
