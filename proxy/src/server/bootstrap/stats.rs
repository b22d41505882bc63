//! Tags, filters and buckets. Source: `envoy.config.metrics.v3.StatsConfig`.

use outrigger_xds_protos::v3::matcher::ListStringMatcher;
use outrigger_xds_protos::v3::metrics::stats_matcher::StatsMatcher as MatcherKind;
use outrigger_xds_protos::v3::metrics::tag_specifier::TagValue;
use outrigger_xds_protos::v3::metrics::{
    HistogramBucketSettings, StatsConfig as StatsMessage, StatsMatcher as MatcherMessage, TagSpecifier,
};

use super::reduce::Notes;
use crate::base::matcher::StringMatch;
use crate::stats::tags::{StatsConfig, StatsMatcher, TagConfig};
use crate::xds::translate::fields::{self, refuse};
use crate::xds::translate::{Path, Rejection, matchers};

/// Compiles the message. A bootstrap made from the App Mesh image's environment also has the image's own
/// listener tags, unless a configuration of the user's took the place of the generated one.
pub(super) fn compile(
    message: &Option<StatsMessage>,
    app_mesh: bool,
    path: &Path<'_>,
    notes: &mut Notes,
) -> Result<StatsConfig, Rejection> {
    let absent = StatsMessage::default();
    let StatsMessage {
        stats_tags,
        use_all_default_tags,
        stats_matcher,
        histogram_bucket_settings,
        allow_default_tag_overrides: _, // Rules of the user's always come before the default ones.
    } = message.as_ref().unwrap_or(&absent);
    let tags = tags(stats_tags, fields::flag(use_all_default_tags, true), &path.field("stats_tags"))?;
    let matcher = match stats_matcher {
        Some(message) => matcher(message, &path.field("stats_matcher"), notes)?,
        None => StatsMatcher::All,
    };
    let list = path.field("histogram_bucket_settings");
    let bounds = |(i, settings)| buckets(settings, &list.index(i));
    Ok(StatsConfig {
        tags: if app_mesh { tags.app_mesh_listeners() } else { tags },
        matcher,
        bounds: histogram_bucket_settings.iter().enumerate().map(bounds).collect::<Result<_, _>>()?,
    })
}

/// A tag without a value names one of Envoy's own.
fn tags(messages: &[TagSpecifier], all_defaults: bool, path: &Path<'_>) -> Result<TagConfig, Rejection> {
    let mut config = TagConfig::default();
    let mut defaults = Vec::new();
    for (i, TagSpecifier { tag_name, tag_value }) in messages.iter().enumerate() {
        let path = path.index(i);
        let name = fields::required(tag_name, &path.field("tag_name"))?;
        config = match tag_value {
            None => {
                defaults.push(name.to_owned());
                config
            }
            Some(TagValue::FixedValue(value)) => config.fixed(name, value),
            Some(TagValue::Regex(pattern)) if pattern.is_empty() => {
                defaults.push(name.to_owned());
                config
            }
            Some(TagValue::Regex(pattern)) => {
                config.rule(name, pattern).map_err(|error| path.field("regex").reject(error))?
            }
        };
    }
    Ok(if all_defaults { config } else { config.only_defaults(defaults) })
}

fn matcher(message: &MatcherMessage, path: &Path<'_>, notes: &mut Notes) -> Result<StatsMatcher, Rejection> {
    let list = |message: &ListStringMatcher, name| -> Result<Vec<StringMatch>, Rejection> {
        let path = path.field(name);
        let path = path.field("patterns");
        let compile = |(i, message)| matchers::string(message, &path.index(i));
        message.patterns.iter().enumerate().map(compile).collect()
    };
    match &message.stats_matcher {
        None | Some(MatcherKind::RejectAll(false)) => Ok(StatsMatcher::All),
        Some(MatcherKind::RejectAll(true)) => {
            notes.warn(&path.field("reject_all"), "hides every statistic");
            Ok(StatsMatcher::None)
        }
        Some(MatcherKind::InclusionList(message)) => {
            list(message, "inclusion_list").map(StatsMatcher::Include)
        }
        Some(MatcherKind::ExclusionList(message)) => {
            list(message, "exclusion_list").map(StatsMatcher::Exclude)
        }
    }
}

fn buckets(message: &HistogramBucketSettings, path: &Path<'_>) -> Result<(StringMatch, Vec<f64>), Rejection> {
    let HistogramBucketSettings { r#match, buckets, bins } = message;
    refuse!(path; bins);
    let match_path = path.field("match");
    let matcher = matchers::string(fields::message(r#match, &match_path)?, &match_path)?;
    let rising = buckets.windows(2).all(|pair| pair[0] < pair[1]);
    if buckets.is_empty() || !rising || buckets.first().is_some_and(|first| *first <= 0.0) {
        return Err(path.field("buckets").reject("must be numbers above 0 in rising order"));
    }
    Ok((matcher, buckets.clone()))
}
