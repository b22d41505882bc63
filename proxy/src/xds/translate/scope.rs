//! What one translation works with: the shared context, and the references found on the way.

use std::time::Duration;

use outrigger_xds_protos::v3::core::config_source::ConfigSourceSpecifier;
use outrigger_xds_protos::v3::core::{ConfigSource, config_source};

use super::fields;
use super::fields::refuse;
use super::path::{Path, Rejection};
use super::{RequiredCluster, ResourceRef, TranslateContext};
use crate::base::ids::ClusterId;
use crate::config::listener::Direction;

/// Envoy's default `initial_fetch_timeout`.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// One resource being translated.
pub(super) struct Scope<'c> {
    pub(super) context: &'c mut TranslateContext,
    /// RDS names, in order of appearance, each once.
    pub(super) route_refs: Vec<ResourceRef>,
    /// SDS names, likewise.
    pub(super) secret_refs: Vec<ResourceRef>,
    /// `listener.<address>.`, while a listener is translated.
    pub(super) listener_stats: String,
    /// The listener's `bypass_overload_manager`.
    pub(super) bypasses_overload: bool,
    /// The listener's `drain_type` is DEFAULT.
    pub(super) drains_when_failing: bool,
    /// `per_connection_buffer_limit_bytes` of the listener or cluster.
    pub(super) buffer_limit: usize,
    /// `traffic_direction`, while a listener is translated.
    pub(super) direction: Direction,
    /// Clusters that must exist.
    pub(super) required_clusters: Vec<RequiredCluster>,
}

impl<'c> Scope<'c> {
    /// Starts on the resource `name` of `kind`.
    pub(super) fn new(context: &'c mut TranslateContext, kind: &str, name: &str) -> Self {
        context.warnings.enter(kind, name);
        Self {
            context,
            route_refs: Vec::new(),
            secret_refs: Vec::new(),
            listener_stats: String::new(),
            bypasses_overload: false,
            drains_when_failing: true,
            buffer_limit: usize::MAX,
            direction: Direction::Unspecified,
            required_clusters: Vec::new(),
        }
    }

    /// Notes that something at `path` is not in effect.
    pub(super) fn warn(&mut self, path: &Path<'_>, message: impl std::fmt::Display) {
        self.context.warnings.add(path, message);
    }

    /// The id of a cluster named at `path`.
    pub(super) fn cluster(&mut self, name: &str, path: &Path<'_>) -> Result<ClusterId, Rejection> {
        Ok(self.context.clusters.intern(fields::required(name, path)?))
    }

    /// Notes a route table to be fetched.
    pub(super) fn refer_to_routes(&mut self, reference: ResourceRef) {
        add_once(&mut self.route_refs, reference);
    }

    /// Notes a secret to be fetched.
    pub(super) fn refer_to_secret(&mut self, reference: ResourceRef) {
        add_once(&mut self.secret_refs, reference);
    }
}

/// The first mention decides the timeout, as the first subscription does in Envoy. One with another source stays beside
/// it, to be refused.
fn add_once(refs: &mut Vec<ResourceRef>, reference: ResourceRef) {
    if refs.iter().all(|known| known.name != reference.name || known.stream != reference.stream) {
        refs.push(reference);
    }
}

/// A reference to resource `name`, which must come over ADS.
pub(super) fn ads_reference(
    name: &str,
    source: &ConfigSource,
    path: &Path<'_>,
) -> Result<ResourceRef, Rejection> {
    Ok(ResourceRef { name: name.to_owned(), fetch_timeout: ads_fetch_timeout(source, path)?, stream: None })
}

/// Checks that a configuration source is ADS (or `self`, which means the same on an ADS resource) and
/// returns its `initial_fetch_timeout`.
pub fn ads_fetch_timeout(source: &ConfigSource, path: &Path<'_>) -> Result<Duration, Rejection> {
    let ConfigSource {
        authorities,
        initial_fetch_timeout,
        resource_api_version: _, // AUTO, V2 and V3 all mean V3 since V2 was removed.
        config_source_specifier,
    } = source;
    refuse!(path; authorities);
    match config_source_specifier {
        Some(ConfigSourceSpecifier::Ads(_) | ConfigSourceSpecifier::Self_(_)) => {}
        None => return Err(path.field("ads").missing()),
        Some(other) => return Err(path.field(specifier_name(other)).reject("only ads is supported here")),
    }
    let timeout = fields::duration(initial_fetch_timeout, &path.field("initial_fetch_timeout"))?;
    Ok(timeout.unwrap_or(FETCH_TIMEOUT))
}

#[allow(deprecated, reason = "the deprecated form is refused by its name")]
fn specifier_name(specifier: &config_source::ConfigSourceSpecifier) -> &'static str {
    match specifier {
        ConfigSourceSpecifier::Path(_) => "path",
        ConfigSourceSpecifier::PathConfigSource(_) => "path_config_source",
        ConfigSourceSpecifier::ApiConfigSource(_) => "api_config_source",
        ConfigSourceSpecifier::Ads(_) => "ads",
        ConfigSourceSpecifier::Self_(_) => "self",
    }
}
