//! AWS roles: a signed `GetCallerIdentity` that the client brings along, and STS is asked whose it is.
//!
//! What is called is checked to the letter first: STS of a known region and nothing else, this one action, for a short
//! while. The audience is not taken from the proof: it is sent as the signed header, so a proof for somebody else has a
//! signature that STS refuses. A proof belongs to the connection that shows it first: clients make one for each call, so
//! who shows it elsewhere has taken it from somebody. Source: AWS STS, "GetCallerIdentity"; see
//! `outrigger_aws_auth::caller`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode};
use outrigger_aws_auth::caller::{
    AUDIENCE_HEADER, LIFETIME, NUMBER_DIGITS, NUMBER_HEADER, PARAMETERS, PREFIX, arn_of, endpoint,
};
use outrigger_aws_auth::client::Client;
use outrigger_aws_auth::sigv4::moment_of;
use serde::Deserialize;

use super::Denied;
use super::questions::{Bad, Mark, Questions, mark};

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(60);
/// How long STS may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How many proofs of one role are remembered, and so how many it can show; they end within two minutes.
const REMEMBERED: usize = 16_384;

/// As an operator writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    /// Whom proofs must be for.
    audience: String,
    /// Whose STS may be asked.
    regions: Vec<String>,
    /// STS elsewhere, scheme and host: an interface endpoint, in place of those of the regions.
    endpoint: Option<String>,
    pub(super) roles: Vec<Role>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Role {
    /// ARN of a role, or of a user.
    pub(super) role: String,
    pub(super) nodes: Vec<String>,
}

/// Asks STS.
#[derive(Debug)]
pub(super) struct Callers {
    audience: String,
    /// Scheme and host of every STS that may be asked.
    endpoints: Vec<String>,
    roles: Vec<Role>,
    client: Client,
    questions: Questions,
    /// Proofs of identities that have nodes, by their number: that is signed, and the rest can be spelled in many ways.
    known: Mutex<HashMap<Mark, Answer>>,
}

/// What STS said about a proof.
#[derive(Debug)]
struct Answer {
    arn: String,
    /// The role, by its place in the rules: nobody remembers much at the cost of another.
    role: usize,
    /// The connection that has shown it, which may do so again until then.
    address: String,
    until: SystemTime,
}

/// A proof that may be shown to STS.
#[derive(Debug, PartialEq, Eq)]
struct Proof {
    url: String,
    number: String,
    until: SystemTime,
}

impl Callers {
    /// Takes a section of the rules.
    pub(super) fn new(section: Section) -> Result<Self, String> {
        let Section { audience, regions, endpoint: own, roles } = section;
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if audience.is_empty()
            || audience.len() > 255
            || !audience.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err("aws.audience: must be given, without spaces".to_owned());
        }
        if let Some(odd) = regions.iter().find(|region| !word(region)) {
            return Err(format!("aws.regions: {odd:?} is no region"));
        }
        let endpoints = match own {
            Some(own) if is_private(&own) => vec![own.trim_end_matches('/').to_owned()],
            Some(_) => {
                return Err("aws.endpoint: write it like https://host (http:// on loopback only)".to_owned());
            }
            None => regions.iter().map(|region| endpoint(region)).collect(),
        };
        if endpoints.is_empty() {
            return Err("aws.regions: name those whose STS may be asked".to_owned());
        }
        if let Some(odd) = roles.iter().find(|one| one.role.split(':').count() != 6) {
            return Err(format!("aws.roles: {:?} is no ARN", odd.role));
        }
        let client = Client::new(ANSWER).map_err(|error| error.to_string())?;
        let questions = Questions::default();
        Ok(Self { audience, endpoints, roles, client, questions, known: Mutex::default() })
    }

    /// Whether a token is meant for here.
    pub(super) fn recognise(token: &str) -> bool {
        token.starts_with(PREFIX)
    }

    /// Who shows this from an address: an ARN that has nodes.
    pub(super) async fn identify(
        &self,
        token: &str,
        address: &str,
        now: SystemTime,
    ) -> Result<String, Denied> {
        let denied = |reason: &str| Denied(format!("AWS: {reason}"));
        let proof = proof(token, &self.endpoints, now).map_err(denied)?;
        let number = mark(&proof.number);
        if let Some(arn) = self.remembered(&number, address, now).map_err(denied)? {
            return Ok(arn);
        }
        let question = async {
            // Everybody in the world can prove to be somebody: that is no better than nothing.
            let arn = self.ask(&proof).await?;
            let role = self.role(&arn).ok_or_else(|| Bad::Refused(format!("{arn:?} has no nodes")))?;
            Ok((arn, role))
        };
        let asked = self.questions.ask(&mark(token), address, now, question).await;
        let (arn, role) = asked.map_err(|reason| denied(&reason))?;
        let answer = Answer { arn: arn.clone(), role, address: address.to_owned(), until: proof.until };
        self.remember(number, answer, now).map_err(denied)?;
        Ok(arn)
    }

    /// The nodes of an ARN.
    pub(super) fn nodes(&self, arn: &str) -> Option<&[String]> {
        self.role(arn).and_then(|role| self.roles.get(role)).map(|role| &*role.nodes)
    }

    fn role(&self, arn: &str) -> Option<usize> {
        self.roles.iter().position(|one| is_role(&one.role, arn))
    }

    async fn ask(&self, proof: &Proof) -> Result<String, Bad> {
        let unanswered = |reason: &str| Bad::Unanswered(reason.to_owned());
        let request = Request::get(&proof.url)
            .header(AUDIENCE_HEADER, &self.audience)
            .header(NUMBER_HEADER, &proof.number);
        let request = request.body(Bytes::new()).map_err(|_| unanswered("an odd URL"))?;
        let (status, body) =
            self.client.send(request).await.map_err(|error| Bad::Unanswered(error.to_string()))?;
        // STS refuses with 400 or 403, and says so when it only has too much to do.
        let busy = || String::from_utf8_lossy(&body).contains("Throttl");
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS && !busy() {
            return Err(Bad::Refused(format!("STS does not accept it: {status}")));
        }
        if !status.is_success() {
            return Err(Bad::Unanswered(format!("STS answers {status}")));
        }
        let body = std::str::from_utf8(&body).map_err(|_| unanswered("STS's answer is no text"))?;
        let arn = arn_of(body).filter(|arn| arn.len() < 2048 && arn.starts_with("arn:"));
        arn.map(str::to_owned).ok_or_else(|| unanswered("STS's answer names nobody"))
    }

    /// Whose a proof is that this connection has shown before.
    fn remembered(
        &self,
        number: &Mark,
        address: &str,
        now: SystemTime,
    ) -> Result<Option<String>, &'static str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(number).filter(|answer| now < answer.until) {
            Some(answer) if answer.address == address => Ok(Some(answer.arn.clone())),
            Some(_) => Err(REPLAYED),
            None => Ok(None),
        }
    }

    fn remember(&self, number: Mark, answer: Answer, now: SystemTime) -> Result<(), &'static str> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Another connection may have shown it while STS was asked.
        if known.get(&number).is_some_and(|first| first.address != answer.address) {
            return Err(REPLAYED);
        }
        let others =
            |known: &HashMap<Mark, Answer>| known.values().filter(|other| other.role == answer.role).count();
        if others(&known) >= REMEMBERED {
            known.retain(|_, answer| now < answer.until);
        }
        // What is not remembered could be shown by anybody.
        if others(&known) >= REMEMBERED {
            return Err("too many proofs of this role at the moment");
        }
        known.insert(number, answer);
        Ok(())
    }
}

const REPLAYED: &str = "a proof that another connection has shown";

/// Takes a token apart; the reason is for the audit.
fn proof(token: &str, endpoints: &[String], now: SystemTime) -> Result<Proof, &'static str> {
    let coded = token.strip_prefix(PREFIX).ok_or("not a proof")?;
    let (coded, number) = coded.split_once('.').ok_or("an unreadable proof")?;
    if number.len() != NUMBER_DIGITS || !number.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("a proof without a number");
    }
    let url = URL_SAFE_NO_PAD.decode(coded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let url = url.ok_or("an unreadable proof")?;
    let query = endpoints.iter().find_map(|base| url.strip_prefix(base)?.strip_prefix("/?"));
    let query = query.ok_or("a proof for another host than STS of a known region")?;
    if !query.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%=&".contains(&byte)) {
        return Err("an odd query");
    }
    let mut values: HashMap<&str, &str> = HashMap::new();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').ok_or("an odd query")?;
        if !NAMES.contains(&name) || values.insert(name, value).is_some() {
            return Err("a query with other parameters than a proof has");
        }
    }
    let has =
        |name: &str, wanted: &str| values.get(name).is_some_and(|value| value.eq_ignore_ascii_case(wanted));
    if !PARAMETERS.iter().all(|(name, value)| values.get(name) == Some(value)) {
        return Err("another action");
    }
    if !has("X-Amz-SignedHeaders", &format!("host%3B{AUDIENCE_HEADER}%3B{NUMBER_HEADER}")) {
        return Err("audience and number are not the signed headers");
    }
    let since = values.get("X-Amz-Date").and_then(|stamp| moment_of(stamp)).ok_or("no date")?;
    let lasts = values.get("X-Amz-Expires").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    let lasts = lasts.filter(|lasts| *lasts <= LIFETIME).ok_or("lasts for too long")?;
    if now + SKEW < since {
        return Err("a proof of the future");
    }
    match since + lasts {
        until if now < until => Ok(Proof { url, number: number.to_owned(), until }),
        _ => Err("an expired proof"),
    }
}

/// What a proof has in its query.
const NAMES: [&str; 9] = [
    "Action",
    "Version",
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
];

/// Whether STS's name for a caller is that of a role of the rules. A session of a role has the role's name without its
/// path; names are unique in an account.
fn is_role(role: &str, caller: &str) -> bool {
    if role == caller {
        return true;
    }
    let parts = |arn: &str| arn.splitn(6, ':').map(str::to_owned).collect::<Vec<String>>();
    let (role, caller) = (parts(role), parts(caller));
    let ([arn, partition, iam, _, account, role], [start, of, sts, _, owner, session]) =
        (&role[..], &caller[..])
    else {
        return false;
    };
    let name = role.strip_prefix("role/").and_then(|role| role.rsplit('/').next());
    let session = session.strip_prefix("assumed-role/").and_then(|session| session.split('/').next());
    (iam.as_str(), sts.as_str()) == ("iam", "sts")
        && (arn, partition, account) == (start, of, owner)
        && name.is_some_and(|name| !name.is_empty() && Some(name) == session)
}

/// Whether nobody on the way can answer in place of who is asked: encrypted, or on this machine.
fn is_private(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    let is_here = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_here,
        _ => false,
    }
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
