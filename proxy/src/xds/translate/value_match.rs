//! Conditions on metadata. Source: `envoy.type.matcher.v3.MetadataMatcher`, `ValueMatcher`.

use outrigger_xds_protos::v3::matcher::double_matcher::MatchPattern as NumberPattern;
use outrigger_xds_protos::v3::matcher::list_matcher::MatchPattern as ListPattern;
use outrigger_xds_protos::v3::matcher::metadata_matcher::{PathSegment, path_segment::Segment};
use outrigger_xds_protos::v3::matcher::value_matcher::MatchPattern;
use outrigger_xds_protos::v3::matcher::{
    DoubleMatcher, ListMatcher, MetadataMatcher, OrMatcher, ValueMatcher,
};
use outrigger_xds_protos::v3::types::DoubleRange;

use super::path::{Path, Rejection};
use super::{fields, matchers};
use crate::config::value_match::{MetadataMatch, MetadataPlace, MetadataSource, ValueMatch};

/// Values within values: deeper ones are refused, so that matching them needs little stack.
const DEEPEST: usize = 16;

/// A condition on the metadata of `source`.
pub(super) fn metadata(
    message: &MetadataMatcher,
    source: MetadataSource,
    path: &Path<'_>,
) -> Result<MetadataMatch, Rejection> {
    let MetadataMatcher { filter, path: segments, value: matcher, invert } = message;
    let namespace = fields::required(filter, &path.field("filter"))?.into();
    let segments_path = path.field("path");
    if segments.is_empty() {
        return Err(segments_path.missing());
    }
    let key = |(i, PathSegment { segment }): (usize, &PathSegment)| {
        let segment_path = segments_path.index(i);
        let path = segment_path.field("key");
        let Some(Segment::Key(key)) = segment else { return Err(path.missing()) };
        Ok(fields::required(key, &path)?.into())
    };
    let keys = segments.iter().enumerate().map(key).collect::<Result<_, _>>()?;
    let value_path = path.field("value");
    Ok(MetadataMatch {
        place: MetadataPlace { source, namespace, path: keys },
        value: value(fields::message(matcher, &value_path)?, 0, &value_path)?,
        invert: *invert,
    })
}

fn value(message: &ValueMatcher, depth: usize, path: &Path<'_>) -> Result<ValueMatch, Rejection> {
    if depth > DEEPEST {
        return Err(path.reject(format_args!("values are nested more than {DEEPEST} deep")));
    }
    let Some(pattern) = &message.match_pattern else {
        return Err(path.reject("needs one of null_match, double_match, string_match, bool_match, present_match, list_match, or_match"));
    };
    Ok(match pattern {
        MatchPattern::NullMatch(_) => ValueMatch::Null,
        MatchPattern::DoubleMatch(matcher) => number(matcher, &path.field("double_match"))?,
        MatchPattern::StringMatch(matcher) => {
            ValueMatch::Text(matchers::string(matcher, &path.field("string_match"))?)
        }
        MatchPattern::BoolMatch(wanted) => ValueMatch::Bool(*wanted),
        MatchPattern::PresentMatch(wanted) => ValueMatch::Present(*wanted),
        MatchPattern::ListMatch(matcher) => {
            let ListMatcher { match_pattern } = &**matcher;
            let list_path = path.field("list_match");
            let path = list_path.field("one_of");
            let Some(ListPattern::OneOf(of)) = match_pattern else { return Err(path.missing()) };
            ValueMatch::List(Box::new(value(of, depth + 1, &path)?))
        }
        MatchPattern::OrMatch(OrMatcher { value_matchers }) => {
            let or_path = path.field("or_match");
            let path = or_path.field("value_matchers");
            if value_matchers.len() < 2 {
                return Err(path.reject("needs two matchers or more"));
            }
            let each = |(i, matcher)| value(matcher, depth + 1, &path.index(i));
            ValueMatch::Any(value_matchers.iter().enumerate().map(each).collect::<Result<_, _>>()?)
        }
    })
}

fn number(message: &DoubleMatcher, path: &Path<'_>) -> Result<ValueMatch, Rejection> {
    match &message.match_pattern {
        None => Err(path.reject("needs one of exact, range")),
        Some(NumberPattern::Exact(number)) => Ok(ValueMatch::Number(*number)),
        Some(NumberPattern::Range(DoubleRange { start, end })) => Ok(ValueMatch::Range(*start, *end)),
    }
}
