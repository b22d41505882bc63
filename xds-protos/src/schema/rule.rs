//! What `validate.rules` may demand of a field. The build script fails on a rule that has no variant here.

use super::{Span, Text};

/// Comparison with a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cmp {
    Lt,
    Lte,
    Gt,
    Gte,
}

/// One constraint of Envoy's API (`validate.rules`).
pub(crate) enum Rule {
    /// The field must be present.
    Required,
    /// The inner message is not checked.
    Skip,
    /// The rules that follow do not apply to an empty value.
    IgnoreEmpty,
    BoolIs(bool),
    Integer(Cmp, i64),
    Float(Cmp, f64),
    /// In nanoseconds.
    Duration(Cmp, i64),
    /// Length in characters.
    Chars(Cmp, u32),
    /// Length in bytes.
    Bytes(Cmp, u32),
    /// Number of elements or entries.
    Count(Cmp, u32),
    Unique,
    /// The number must be a declared value of the enum.
    Defined,
    NotNumber(i32),
    Prefix(Text),
    Suffix(Text),
    /// Alternatives, separated by `|`.
    OneOf(Text),
    HeaderName {
        strict: bool,
    },
    HeaderValue {
        strict: bool,
    },
    /// No `?` and `#`, at least two characters, no `/` at the end.
    PathPrefix,
}

/// The rules of one field.
pub(crate) struct RuleSet {
    pub(super) own: Span,
    pub(super) each: Span,
    pub(super) keys: Span,
}
