//! Role-based access control. Source: `envoy.config.rbac.v3`, `envoy.extensions.filters.{http,network}.rbac.v3`.

use outrigger_xds_protos::v3::http_rbac::Rbac as HttpMessage;
use outrigger_xds_protos::v3::matcher::path_matcher::Rule as PathRule;
use outrigger_xds_protos::v3::matcher::{PathMatcher, StringMatcher};
use outrigger_xds_protos::v3::network_rbac::Rbac as NetworkMessage;
use outrigger_xds_protos::v3::network_rbac::rbac::EnforcementType;
use outrigger_xds_protos::v3::rbac::permission::{Rule as PermissionRule, Set as PermissionSet};
use outrigger_xds_protos::v3::rbac::principal::{Authenticated, Identifier, Set as PrincipalSet};
use outrigger_xds_protos::v3::rbac::rbac::Action as ActionNumber;
use outrigger_xds_protos::v3::rbac::{
    MetadataSource as SourceNumber, Permission, Policy as PolicyMessage, Principal, Rbac as RulesMessage,
    SourcedMetadata,
};
use outrigger_xds_protos::v3::types::Int32Range;

use super::fields::{self, refuse};
use super::path::{Path, Rejection};
use super::scope::Scope;
use super::{cel, matchers, value_match};
use crate::base::matcher::StringMatch;
use crate::config::guard::Access;
use crate::config::rbac::{Action, Keys, Policy, Rbac, RbacFilter, Rule, Rules};
use crate::config::value_match::MetadataSource;
use crate::stats::scope::{PolicyStats, RbacStats, sanitize};

/// Rules within rules: deeper ones are refused, so that checking them needs little stack.
const DEEPEST: usize = 32;

/// The filter of a connection manager.
pub(super) fn http(
    message: &HttpMessage,
    stat_prefix: &str,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<RbacFilter, Rejection> {
    let below = |prefix: &str| format!("http.{}.rbac.{}", sanitize(stat_prefix), dotted(prefix));
    let prefixes = Prefixes {
        rules: below(&message.rules_stat_prefix),
        shadow: below(&message.shadow_rules_stat_prefix),
        per_policy: message.track_per_rule_stats,
    };
    let rules = http_rules(message, &prefixes, path, scope)?;
    let stats = RbacStats::new(&scope.context.stats, &prefixes.rules, &prefixes.shadow);
    let shadow = Keys::new(&message.shadow_rules_stat_prefix, "shadow");
    Ok(RbacFilter {
        rules,
        stats,
        told: Default::default(),
        enforced: Some(Keys::new(&message.rules_stat_prefix, "enforced")),
        shadow,
    })
}

/// The rules of a route in place of the filter's. They count in the filter's statistics.
pub(super) fn of_route(
    message: &HttpMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Rbac, Rejection> {
    if message.track_per_rule_stats {
        return Err(path.field("track_per_rule_stats").unsupported());
    }
    http_rules(message, &Prefixes::default(), path, scope)
}

fn http_rules(
    message: &HttpMessage,
    prefixes: &Prefixes,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Rbac, Rejection> {
    let HttpMessage {
        rules,
        rules_stat_prefix: _, // Read with the filter, which counts for all rules.
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix: _, // The same.
        track_per_rule_stats: _,     // The same.
    } = message;
    refuse!(path; matcher, shadow_matcher);
    compile(rules.as_ref(), shadow_rules.as_ref(), prefixes, path, scope)
}

/// The network filter.
pub(super) fn network(
    message: &NetworkMessage,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Access, Rejection> {
    let NetworkMessage {
        rules,
        matcher,
        shadow_rules,
        shadow_matcher,
        shadow_rules_stat_prefix,
        stat_prefix,
        enforcement_type,
        delay_deny,
    } = message;
    refuse!(path; matcher, shadow_matcher);
    let enforcement = EnforcementType::try_from(*enforcement_type)
        .map_err(|_| path.field("enforcement_type").reject(fields::unknown_enum(*enforcement_type)))?;
    let prefix = dotted(fields::required(stat_prefix, &path.field("stat_prefix"))?);
    let prefixes = Prefixes {
        rules: format!("{prefix}rbac."),
        shadow: format!("{prefix}rbac.{}", dotted(shadow_rules_stat_prefix)),
        per_policy: false,
    };
    let rules = compile(rules.as_ref(), shadow_rules.as_ref(), &prefixes, path, scope)?;
    // What rules see of a connection does not change while it lives: once is as good as continuously. What conditions
    // see does.
    let has_condition = |rules: &Rules| rules.policies.iter().any(|policy| policy.condition.is_some());
    let conditional = [&rules.rules, &rules.shadow].into_iter().flatten().any(has_condition);
    if conditional && enforcement == EnforcementType::Continuous {
        return Err(path
            .field("enforcement_type")
            .reject("a condition is checked once; use ONE_TIME_ON_FIRST_BYTE"));
    }
    let stats = RbacStats::new(&scope.context.stats, &prefixes.rules, &prefixes.shadow);
    Ok(Access {
        rules: RbacFilter {
            rules,
            stats,
            told: Default::default(),
            enforced: None,
            shadow: Keys::new(shadow_rules_stat_prefix, "shadow"),
        },
        delay: fields::duration_or_off(delay_deny, &path.field("delay_deny"))?,
    })
}

/// A prefix of statistics, with the dot that ends it; nothing when it is empty.
fn dotted(prefix: &str) -> String {
    let mut prefix = sanitize(prefix);
    if !prefix.is_empty() && !prefix.ends_with('.') {
        prefix.push('.');
    }
    prefix
}

/// Where statistics are.
#[derive(Default)]
struct Prefixes {
    rules: String,
    shadow: String,
    per_policy: bool,
}

fn compile(
    rules: Option<&RulesMessage>,
    shadow: Option<&RulesMessage>,
    prefixes: &Prefixes,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Rbac, Rejection> {
    let mut of = |message: Option<&RulesMessage>, name| {
        message.map(|message| compile_rules(message, prefixes, &path.field(name), scope)).transpose()
    };
    Ok(Rbac { rules: of(rules, "rules")?, shadow: of(shadow, "shadow_rules")? })
}

fn compile_rules(
    message: &RulesMessage,
    prefixes: &Prefixes,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Rules, Rejection> {
    let RulesMessage { action, policies, audit_logging_options } = message;
    refuse!(path; audit_logging_options);
    let action = match ActionNumber::try_from(*action) {
        Ok(ActionNumber::Allow) => Action::Allow,
        Ok(ActionNumber::Deny) => Action::Deny,
        Ok(ActionNumber::Log) => Action::Log,
        Err(_) => return Err(path.field("action").reject(fields::unknown_enum(*action))),
    };
    let map_path = path.field("policies");
    let mut compiled = Vec::with_capacity(policies.len());
    for (name, message) in policies {
        compiled.push(policy(name, message, prefixes, &map_path.key(name), scope)?);
    }
    // Envoy looks at policies in the order of their names.
    compiled.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Rules { action, policies: compiled })
}

fn policy(
    name: &str,
    message: &PolicyMessage,
    prefixes: &Prefixes,
    path: &Path<'_>,
    scope: &mut Scope<'_>,
) -> Result<Policy, Rejection> {
    let PolicyMessage { permissions, principals, condition, checked_condition, cel_config } = message;
    refuse!(path; checked_condition);
    let dialect = cel::dialect(cel_config.as_ref());
    let condition_path = path.field("condition");
    let condition = condition.as_ref().map(|message| cel::condition(message, dialect, &condition_path));
    let stats = prefixes.per_policy.then(|| {
        let below = |prefix: &str| format!("{prefix}policy.{}.", sanitize(name));
        PolicyStats::new(&scope.context.stats, &below(&prefixes.rules), &below(&prefixes.shadow))
    });
    Ok(Policy {
        name: name.into(),
        permissions: all(permissions, permission, 0, &path.field("permissions"))?,
        principals: all(principals, principal, 0, &path.field("principals"))?,
        condition: condition.transpose()?,
        stats,
    })
}

/// Compiles the members of a list, which must not be empty.
fn all<M>(
    messages: &[M],
    one: fn(&M, usize, &Path<'_>) -> Result<Rule, Rejection>,
    depth: usize,
    path: &Path<'_>,
) -> Result<Vec<Rule>, Rejection> {
    if messages.is_empty() {
        return Err(path.missing());
    }
    if depth > DEEPEST {
        return Err(path.reject(format_args!("rules are nested more than {DEEPEST} deep")));
    }
    messages.iter().enumerate().map(|(i, message)| one(message, depth, &path.index(i))).collect()
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn permission(message: &Permission, depth: usize, path: &Path<'_>) -> Result<Rule, Rejection> {
    let Some(rule) = &message.rule else { return Err(path.reject("needs a rule")) };
    let set = |PermissionSet { rules }: &PermissionSet, name| {
        all(rules, permission, depth + 1, &path.field(name).field("rules"))
    };
    Ok(match rule {
        PermissionRule::AndRules(rules) => Rule::All(set(rules, "and_rules")?),
        PermissionRule::OrRules(rules) => Rule::Any(set(rules, "or_rules")?),
        PermissionRule::NotRule(rule) => negated(&**rule, permission, depth, &path.field("not_rule"))?,
        PermissionRule::Any(any) => always(*any, &path.field("any"))?,
        PermissionRule::Header(matcher) => Rule::Header(matchers::header(matcher, &path.field("header"))?),
        PermissionRule::UrlPath(matcher) => url_path(matcher, &path.field("url_path"))?,
        PermissionRule::DestinationIp(range) => {
            Rule::DestinationIp(fields::cidr(range, &path.field("destination_ip"))?)
        }
        PermissionRule::DestinationPort(port) => {
            let port = u32::from(fields::port(*port, &path.field("destination_port"))?);
            Rule::DestinationPort(port, port + 1)
        }
        PermissionRule::DestinationPortRange(range) => ports(range, &path.field("destination_port_range"))?,
        PermissionRule::RequestedServerName(matcher) => {
            Rule::ServerName(matchers::string(matcher, &path.field("requested_server_name"))?)
        }
        PermissionRule::Metadata(matcher) => {
            Rule::Metadata(value_match::metadata(matcher, MetadataSource::Request, &path.field("metadata"))?)
        }
        PermissionRule::SourcedMetadata(message) => sourced(message, &path.field("sourced_metadata"))?,
        PermissionRule::Matcher(_) => return Err(path.field("matcher").unsupported()),
        PermissionRule::UriTemplate(_) => return Err(path.field("uri_template").unsupported()),
    })
}

#[allow(deprecated, reason = "deprecated fields are decided on like the others")]
fn principal(message: &Principal, depth: usize, path: &Path<'_>) -> Result<Rule, Rejection> {
    let Some(identifier) = &message.identifier else { return Err(path.reject("needs an identifier")) };
    let set = |PrincipalSet { ids }: &PrincipalSet, name| {
        all(ids, principal, depth + 1, &path.field(name).field("ids"))
    };
    let net = |range, name| fields::cidr(range, &path.field(name));
    Ok(match identifier {
        Identifier::AndIds(ids) => Rule::All(set(ids, "and_ids")?),
        Identifier::OrIds(ids) => Rule::Any(set(ids, "or_ids")?),
        Identifier::NotId(id) => negated(&**id, principal, depth, &path.field("not_id"))?,
        Identifier::Any(any) => always(*any, &path.field("any"))?,
        Identifier::Authenticated(Authenticated { principal_name }) => {
            Rule::Authenticated(name(principal_name.as_ref(), &path.field("authenticated"))?)
        }
        Identifier::SourceIp(range) => Rule::DirectRemoteIp(net(range, "source_ip")?),
        Identifier::DirectRemoteIp(range) => Rule::DirectRemoteIp(net(range, "direct_remote_ip")?),
        Identifier::RemoteIp(range) => Rule::RemoteIp(net(range, "remote_ip")?),
        Identifier::Header(matcher) => Rule::Header(matchers::header(matcher, &path.field("header"))?),
        Identifier::UrlPath(matcher) => url_path(matcher, &path.field("url_path"))?,
        Identifier::Metadata(matcher) => {
            Rule::Metadata(value_match::metadata(matcher, MetadataSource::Request, &path.field("metadata"))?)
        }
        Identifier::SourcedMetadata(message) => sourced(message, &path.field("sourced_metadata"))?,
        Identifier::FilterState(_) => return Err(path.field("filter_state").unsupported()),
        Identifier::Custom(_) => return Err(path.field("custom").unsupported()),
    })
}

fn negated<M>(
    message: &M,
    one: fn(&M, usize, &Path<'_>) -> Result<Rule, Rejection>,
    depth: usize,
    path: &Path<'_>,
) -> Result<Rule, Rejection> {
    if depth >= DEEPEST {
        return Err(path.reject(format_args!("rules are nested more than {DEEPEST} deep")));
    }
    one(message, depth + 1, path).map(|rule| Rule::Not(Box::new(rule)))
}

fn sourced(message: &SourcedMetadata, path: &Path<'_>) -> Result<Rule, Rejection> {
    let SourcedMetadata { metadata_matcher, metadata_source } = message;
    let source = match SourceNumber::try_from(*metadata_source) {
        Ok(SourceNumber::Dynamic) => MetadataSource::Request,
        Ok(SourceNumber::Route) => MetadataSource::Route,
        Err(_) => {
            return Err(path.field("metadata_source").reject(fields::unknown_enum(*metadata_source)));
        }
    };
    let path = path.field("metadata_matcher");
    value_match::metadata(fields::message(metadata_matcher, &path)?, source, &path).map(Rule::Metadata)
}

fn always(any: bool, path: &Path<'_>) -> Result<Rule, Rejection> {
    if any { Ok(Rule::Always) } else { Err(path.reject("must be true when given")) }
}

fn name(matcher: Option<&StringMatcher>, path: &Path<'_>) -> Result<Option<StringMatch>, Rejection> {
    matcher.map(|matcher| matchers::string(matcher, &path.field("principal_name"))).transpose()
}

fn url_path(message: &PathMatcher, path: &Path<'_>) -> Result<Rule, Rejection> {
    let Some(PathRule::Path(matcher)) = &message.rule else { return Err(path.field("path").missing()) };
    matchers::string(matcher, &path.field("path")).map(Rule::Path)
}

fn ports(message: &Int32Range, path: &Path<'_>) -> Result<Rule, Rejection> {
    let Int32Range { start, end } = message;
    match (u32::try_from(*start), u32::try_from(*end)) {
        (Ok(start), Ok(end)) if start < end && end <= 65_536 => Ok(Rule::DestinationPort(start, end)),
        _ => Err(path.reject(format_args!("{start} to {end} is not a range of ports"))),
    }
}
