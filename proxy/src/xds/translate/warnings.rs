//! What is accepted but has no effect here, said once.
//!
//! A resource is translated again at every update; the same warning must not fill the log each time.

use std::collections::HashSet;
use std::fmt;

use super::path::Path;

/// Distinct warnings remembered; beyond this the oldest state is forgotten and a warning may repeat.
const MAX_REMEMBERED: usize = 4096;

/// One warning: the field and what its presence does not do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Warning {
    /// Kind and name of the resource, for example `cluster "a"`; empty outside a resource.
    pub resource: String,
    /// Field path inside the resource.
    pub path: String,
    /// What is not in effect, and what to do.
    pub message: String,
}

/// Collects warnings and drops repetitions.
#[derive(Debug, Default)]
pub struct Warnings {
    resource: String,
    seen: HashSet<Warning>,
    fresh: Vec<Warning>,
}

impl Warnings {
    /// Names the resource that the following warnings are about.
    pub(super) fn enter(&mut self, kind: &str, name: &str) {
        self.resource.clear();
        let _ = fmt::Write::write_fmt(&mut self.resource, format_args!("{kind} {name:?}"));
    }

    /// Notes a warning at `path` of the current resource.
    pub(super) fn add(&mut self, path: &Path<'_>, message: impl fmt::Display) {
        let rejection = path.reject(message);
        let warning =
            Warning { resource: self.resource.clone(), path: rejection.path, message: rejection.message };
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.clear();
        }
        if self.seen.insert(warning.clone()) {
            self.fresh.push(warning);
        }
    }

    /// The warnings not handed out before, oldest first: log them.
    pub fn take(&mut self) -> Vec<Warning> {
        std::mem::take(&mut self.fresh)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Warning { resource, path, message } = self;
        for part in [resource, path] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_dropped() {
        let mut warnings = Warnings::default();
        warnings.enter("cluster", "a");
        for _ in 0..3 {
            warnings.add(&Path::ROOT.field("health_checks"), "not in effect yet");
        }
        warnings.enter("cluster", "b");
        warnings.add(&Path::ROOT.field("health_checks"), "not in effect yet");
        let texts: Vec<String> = warnings.take().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "cluster \"a\": health_checks: not in effect yet",
                "cluster \"b\": health_checks: not in effect yet"
            ]
        );
        assert!(warnings.take().is_empty());
    }
}
