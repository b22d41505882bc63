//! Whose name is signed in. Source: AWS SDKs and Tools Reference Guide, "Standardized credential providers".

mod container;
mod web_identity;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::client::Client;
use container::Container;
use web_identity::WebIdentity;

/// How long before their end credentials are fetched anew.
const AHEAD: Duration = Duration::from_secs(300);

/// An access key, temporary or not. Its debug form shows the id only.
#[derive(Clone)]
pub struct Credentials {
    id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
    until: Option<SystemTime>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// `until`: when they end, if they do.
    pub fn new(id: String, secret: String, token: Option<String>, until: Option<SystemTime>) -> Self {
        Self { id, secret: Zeroizing::new(secret), token: token.map(Zeroizing::new), until }
    }

    /// `AWS_ACCESS_KEY_ID`.
    pub fn access_key_id(&self) -> &str {
        &self.id
    }

    pub(crate) fn secret_key(&self) -> &str {
        &self.secret
    }

    /// `AWS_SESSION_TOKEN`.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }

    fn fresh(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now + AHEAD < until)
    }

    fn valid(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// Where credentials come from, as the environment says; the first that is there. The metadata service of an EC2
/// instance is not asked: what it answers with is the machine's role and not the task's.
#[derive(Clone)]
enum Source {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    Given(Credentials),
    /// `AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`: roles for service accounts of EKS.
    WebIdentity(WebIdentity),
    /// `AWS_CONTAINER_CREDENTIALS_*`: task roles of ECS, Pod Identity of EKS.
    Container(Container),
}

/// Gives credentials, and keeps them while they last.
#[derive(Clone)]
pub struct Provider {
    source: Source,
    client: Client,
    held: Arc<Mutex<Option<Credentials>>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Given(_) => "Provider(environment)",
            Source::WebIdentity(_) => "Provider(web identity)",
            Source::Container(_) => "Provider(container)",
        })
    }
}

impl Provider {
    /// Reads the environment through `variable`; `region` is where a web identity is exchanged.
    ///
    /// # Errors
    /// When it has no credentials, or half of them.
    pub fn of_environment(
        variable: impl Fn(&str) -> Option<String>,
        region: &str,
        client: Client,
    ) -> Result<Self, String> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        let source = if let Some(id) = variable("AWS_ACCESS_KEY_ID") {
            let secret = variable("AWS_SECRET_ACCESS_KEY").ok_or("AWS_SECRET_ACCESS_KEY is not set")?;
            Source::Given(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None))
        } else if let Some(found) = WebIdentity::find(&variable, region)? {
            Source::WebIdentity(found)
        } else if let Some(found) = Container::find(&variable)? {
            Source::Container(found)
        } else {
            return Err("the environment has no AWS credentials: neither AWS_ACCESS_KEY_ID, \
                        AWS_WEB_IDENTITY_TOKEN_FILE nor AWS_CONTAINER_CREDENTIALS_..._URI is set"
                .to_owned());
        };
        Ok(Self { source, client, held: Arc::default() })
    }

    /// Credentials that last for some minutes at least. When none are to be had, those that are held serve to their end.
    ///
    /// # Errors
    /// When there are none.
    pub async fn credentials(&self, now: SystemTime) -> Result<Credentials, String> {
        if let Source::Given(given) = &self.source {
            return Ok(given.clone());
        }
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| held.fresh(now)) {
            return Ok(held.clone());
        }
        let fetched = match &self.source {
            Source::Given(given) => Ok(given.clone()),
            Source::WebIdentity(source) => source.fetch(&self.client).await,
            Source::Container(source) => source.fetch(&self.client).await,
        };
        match (fetched, held.as_ref().filter(|held| held.valid(now))) {
            (Ok(fetched), _) => Ok(held.insert(fetched).clone()),
            (Err(_), Some(held)) => Ok(held.clone()),
            (Err(reason), None) => Err(format!("no AWS credentials: {reason}")),
        }
    }
}

/// `2026-01-31T12:00:00Z`, with or without a fraction.
fn moment(text: &str) -> Option<SystemTime> {
    let part = |range: std::ops::Range<usize>| text.get(range)?.parse::<u32>().ok();
    if text.as_bytes().get(10) != Some(&b'T') || !text.ends_with('Z') {
        return None;
    }
    let month = time::Month::try_from(u8::try_from(part(5..7)?).ok()?).ok()?;
    let date =
        time::Date::from_calendar_date(part(0..4)? as i32, month, u8::try_from(part(8..10)?).ok()?).ok()?;
    let byte = |range| u8::try_from(part(range)?).ok();
    let time = date.with_hms(byte(11..13)?, byte(14..16)?, byte(17..19)?).ok()?;
    Some(time.assume_utc().into())
}

#[cfg(test)]
mod tests;
