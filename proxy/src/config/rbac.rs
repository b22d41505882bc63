//! Role-based access control: who may do what, for requests and for connections.
//! Source: `envoy.config.rbac.v3.RBAC`.

mod told;

use std::net::SocketAddr;
use std::time::Instant;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::base::details::{Detail, Details};
use crate::base::matcher::{HeaderMatch, StringMatch};
use crate::config::value_match::MetadataMatch;
use crate::observe::cel::Program;
use crate::stats::registry::{Counter, Shard};
use crate::stats::scope::{PolicyStats, RbacStats};

pub use told::{Due, Told};

/// The rules of a filter, or those that a route has in their place.
#[derive(Debug)]
pub struct Rbac {
    /// Rules in force; `None` allows everything and counts nothing.
    pub rules: Option<Rules>,
    /// Rules that only count.
    pub shadow: Option<Rules>,
}

/// A filter: its rules, what all rules count in, and what they leave.
#[derive(Debug)]
pub struct RbacFilter {
    /// Rules without an override.
    pub rules: Rbac,
    /// `....rbac.*`
    pub stats: RbacStats,
    /// Of whom a line was written lately: denied callers, and those whom shadow rules would deny.
    pub told: [Told; 2],
    /// What the rules in force leave in the metadata of requests; of connections they leave nothing, as in Envoy.
    pub enforced: Option<Keys>,
    /// What shadow rules leave.
    pub shadow: Keys,
}

/// Names of what rules leave.
#[derive(Debug)]
pub struct Keys {
    /// `allowed` or `denied`.
    pub result: Box<str>,
    /// The policy that decided, if one did.
    pub policy: Box<str>,
}

impl Keys {
    /// Of rules of a kind, behind the configured prefix of their statistics.
    pub fn new(prefix: &str, kind: &str) -> Self {
        Self {
            result: format!("{prefix}{kind}_engine_result").into(),
            policy: format!("{prefix}{kind}_effective_policy_id").into(),
        }
    }
}

/// An action and the policies that call for it.
#[derive(Debug)]
pub struct Rules {
    /// What a match means.
    pub action: Action,
    /// Policies by name, in the order of their names.
    pub policies: Vec<Policy>,
}

/// `RBAC.Action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allowed if a policy matches, else denied.
    Allow,
    /// Denied if a policy matches, else allowed.
    Deny,
    /// Allowed.
    Log,
}

/// One policy: any of the permissions, by any of the principals, on a condition.
#[derive(Debug)]
pub struct Policy {
    /// Its name, for response-code details.
    pub name: Box<str>,
    /// What is done.
    pub permissions: Vec<Rule>,
    /// Who does it.
    pub principals: Vec<Rule>,
    /// What must hold besides.
    pub condition: Option<Program>,
    /// Its own counters (`track_per_rule_stats`).
    pub stats: Option<PolicyStats>,
}

/// A permission or a principal.
#[derive(Debug)]
pub enum Rule {
    /// All of these.
    All(Vec<Rule>),
    /// One of these.
    Any(Vec<Rule>),
    /// Not this.
    Not(Box<Rule>),
    /// Everything and everyone.
    Always,
    /// A request header.
    Header(HeaderMatch),
    /// The path without its query.
    Path(StringMatch),
    /// The address the client meant.
    DestinationIp(IpNet),
    /// Its port, from the first to below the second.
    DestinationPort(u32, u32),
    /// SNI.
    ServerName(StringMatch),
    /// Over TLS, and by a certificate with this URI, DNS name or subject where one is given.
    Authenticated(Option<StringMatch>),
    /// The peer of the connection.
    DirectRemoteIp(IpNet),
    /// The client as trusted (`x-forwarded-for`).
    RemoteIp(IpNet),
    /// Metadata of the request or its route.
    Metadata(MetadataMatch),
}

/// What rules are checked against.
pub trait Facts {
    /// Whether the request's headers satisfy a matcher; a connection has none.
    fn header(&self, matcher: &HeaderMatch) -> bool;
    /// The path without query, when there is a request.
    fn path(&self) -> Option<&[u8]>;
    /// Whether metadata satisfies a matcher: what filters left of the request, or the route's where there is a route.
    /// A connection has neither.
    fn metadata(&self, matcher: &MetadataMatch) -> bool;
    /// The address the client meant.
    fn destination(&self) -> SocketAddr;
    /// The peer of the connection.
    fn peer(&self) -> SocketAddr;
    /// The client as trusted.
    fn client(&self) -> SocketAddr;
    /// SNI, empty without.
    fn server_name(&self) -> &str;
    /// Whether TLS ends here, and one of the certificate's names matches when one must.
    fn authenticated(&self, matcher: Option<&StringMatch>) -> bool;
    /// Whether an expression comes to true.
    fn holds(&self, condition: &Program) -> bool;
    /// What the caller's certificate calls it, for the log; `None` without one.
    fn caller(&self) -> Option<&str>;
}

/// The verdict of rules in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'r> {
    /// Goes on.
    Allowed,
    /// Refused, by this policy or for want of one.
    Denied(Option<&'r str>),
}

/// Whether rules allow access, and the policy that decided.
type Verdict<'r> = (bool, Option<&'r Policy>);

/// What both kinds of rules say.
#[derive(Debug)]
pub struct Checked<'r> {
    enforced: Option<Verdict<'r>>,
    shadow: Option<Verdict<'r>>,
}

impl<'r> Checked<'r> {
    /// What follows.
    pub fn access(&self) -> Access<'r> {
        match self.enforced {
            Some((false, policy)) => Access::Denied(policy.map(|policy| &*policy.name)),
            Some((true, _)) | None => Access::Allowed,
        }
    }

    /// What is left for later filters and logs; nothing where there are no rules.
    pub fn fields(&self, of: &RbacFilter) -> Map<String, Value> {
        let mut fields = Map::new();
        let both = [(self.shadow, Some(&of.shadow)), (self.enforced, of.enforced.as_ref())];
        for ((allowed, policy), keys) in
            both.into_iter().filter_map(|(verdict, keys)| Some((verdict?, keys?)))
        {
            let result = if allowed { "allowed" } else { "denied" };
            fields.insert(keys.result.to_string(), result.into());
            if let Some(policy) = policy {
                fields.insert(keys.policy.to_string(), (*policy.name).into());
            }
        }
        fields
    }
}

impl Rbac {
    /// Checks and counts: shadow rules first, then those in force. Who is or would be denied is logged: see [`Told`].
    pub fn check(&self, facts: &impl Facts, of: &RbacFilter, shard: &Shard) -> Checked<'_> {
        let (stats, [denied, would_be_denied]) = (&of.stats, &of.told);
        let shadow = self.shadow.as_ref().map(|rules| rules.verdict(facts));
        if let Some(verdict) = shadow {
            tell(verdict, facts, would_be_denied, "shadow rules would deny this caller");
            count(shard, verdict, (stats.shadow_allowed, stats.shadow_denied), |policy| {
                (policy.shadow_allowed, policy.shadow_denied)
            });
        }
        let enforced = self.rules.as_ref().map(|rules| rules.verdict(facts));
        if let Some(verdict) = enforced {
            tell(verdict, facts, denied, "rules deny this caller");
            count(shard, verdict, (stats.allowed, stats.denied), |policy| (policy.allowed, policy.denied));
        }
        Checked { enforced, shadow }
    }
}

/// What logs say of a denial: one word.
pub fn details(policy: Option<&str>) -> Details {
    Detail::RBAC_ACCESS_DENIED.with(format_args!("[{}]", policy.unwrap_or("none")))
}

/// Says who is denied, by name and address, which rules cannot know beforehand.
fn tell((allowed, policy): Verdict<'_>, facts: &impl Facts, told: &Told, what: &str) {
    if allowed {
        return;
    }
    let (caller, peer) = (facts.caller(), facts.peer().ip());
    if let Due::Yes(left_out) = told.due(&(caller, peer), Instant::now()) {
        let policy = policy.map(|policy| &*policy.name);
        tracing::info!(?caller, %peer, ?policy, callers_left_out_before = left_out, "{what}");
    }
}

fn count(
    shard: &Shard,
    (allowed, policy): Verdict<'_>,
    filter: (Counter, Counter),
    of_policy: impl Fn(&PolicyStats) -> (Counter, Counter),
) {
    let choose = |(yes, no): (Counter, Counter)| if allowed { yes } else { no };
    shard.inc(choose(filter));
    if let Some(stats) = policy.and_then(|policy| policy.stats.as_ref()) {
        shard.inc(choose(of_policy(stats)));
    }
}

impl Rules {
    /// Whether access is allowed, and the first policy that matched.
    fn verdict(&self, facts: &impl Facts) -> Verdict<'_> {
        let matched = self.policies.iter().find(|policy| policy.matches(facts));
        let allowed = match self.action {
            Action::Allow => matched.is_some(),
            Action::Deny => matched.is_none(),
            Action::Log => true,
        };
        (allowed, matched)
    }
}

impl Policy {
    fn matches(&self, facts: &impl Facts) -> bool {
        self.permissions.iter().any(|rule| rule.matches(facts))
            && self.principals.iter().any(|rule| rule.matches(facts))
            && self.condition.as_ref().is_none_or(|condition| facts.holds(condition))
    }
}

impl Rule {
    /// Depth is bounded when rules are compiled.
    fn matches(&self, facts: &impl Facts) -> bool {
        match self {
            Rule::All(rules) => rules.iter().all(|rule| rule.matches(facts)),
            Rule::Any(rules) => rules.iter().any(|rule| rule.matches(facts)),
            Rule::Not(rule) => !rule.matches(facts),
            Rule::Always => true,
            Rule::Header(matcher) => facts.header(matcher),
            Rule::Path(matcher) => facts.path().is_some_and(|path| matcher.matches(path)),
            Rule::DestinationIp(net) => net.contains(&facts.destination().ip()),
            Rule::DestinationPort(start, end) => {
                (*start..*end).contains(&u32::from(facts.destination().port()))
            }
            Rule::ServerName(matcher) => matcher.matches(facts.server_name().as_bytes()),
            Rule::Authenticated(matcher) => facts.authenticated(matcher.as_ref()),
            Rule::DirectRemoteIp(net) => net.contains(&facts.peer().ip()),
            Rule::RemoteIp(net) => net.contains(&facts.client().ip()),
            Rule::Metadata(matcher) => facts.metadata(matcher),
        }
    }
}

#[cfg(test)]
mod tests;
