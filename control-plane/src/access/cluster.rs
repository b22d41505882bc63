//! A cluster of Kubernetes whose service accounts are nodes: its tokens are checked against keys in a file, or by its API
//! server.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_jwt::{Keys, Token};
use serde::Deserialize;

use super::Proven;
use super::token_review::Reviewer;

/// How far clocks may be apart.
const SKEW: Duration = Duration::from_secs(5);

/// As an operator writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    pub(super) issuer: String,
    audience: String,
    keys: Option<KeyFile>,
    review: Option<Reviewer>,
    pub(super) accounts: Vec<Account>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Account {
    /// `namespace/name`
    pub(super) account: String,
    pub(super) nodes: Vec<String>,
}

/// A JSON web key set in a file: read for each token, taken apart when it is another.
#[derive(Debug, Deserialize)]
#[serde(from = "PathBuf")]
struct KeyFile {
    path: PathBuf,
    held: Mutex<Option<(Vec<u8>, Arc<Keys>)>>,
}

impl Cluster {
    /// Refuses what has no meaning.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { issuer, audience, keys, review, accounts } = self;
        if let Some(odd) = accounts.iter().find(|one| one.account.split('/').count() != 2) {
            return Err(format!("account {:?}: write namespace/name", odd.account));
        }
        if issuer.is_empty() || audience.is_empty() {
            return Err(format!("issuer {issuer:?}: issuer and audience must be given"));
        }
        if keys.is_some() == review.is_some() {
            return Err(format!("issuer {issuer:?}: give either keys or review"));
        }
        if review.as_ref().is_some_and(|review| !review.server.starts_with("https://")) {
            return Err(format!("issuer {issuer:?}: review.server must begin with https://"));
        }
        Ok(())
    }

    /// The account that a token is of. The error is for the audit.
    pub(super) async fn identify(
        &self,
        token: &Token<'_>,
        text: &str,
        address: &str,
        now: SystemTime,
    ) -> Result<Proven, String> {
        // What would be refused anyway need not be shown to anybody.
        let until = self.end_of(token, now)?;
        let subject = match (&self.keys, &self.review) {
            (Some(keys), _) => {
                let signed = keys.current()?.verify(token);
                signed
                    .map_err(|_| format!("no key of the issuer has signed it (alg {:?})", token.algorithm))?;
                token.subject.clone().ok_or("a token without subject")?
            }
            (None, Some(reviewer)) => {
                let known = |subject: &str| self.nodes(subject).is_some();
                reviewer.verify(text, &self.audience, address, now, known).await?
            }
            (None, None) => return Err("nobody checks its tokens".to_owned()),
        };
        Ok(Proven::Account { issuer: self.issuer.clone(), subject, until })
    }

    /// The nodes of an account.
    pub(super) fn nodes(&self, subject: &str) -> Option<&[String]> {
        let account = subject.strip_prefix("system:serviceaccount:")?.replacen(':', "/", 1);
        self.accounts.iter().find(|one| one.account == account).map(|one| &*one.nodes)
    }

    /// When a token for us that is good now ends.
    fn end_of(&self, token: &Token<'_>, now: SystemTime) -> Result<SystemTime, &'static str> {
        // To the letter: an audience is a name here, and no address.
        if !token.audiences.contains(&self.audience) {
            return Err("a token for another audience");
        }
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let until = token.expires.ok_or("a token without an end")?;
        match token.check_time(seconds, SKEW.as_secs()) {
            Err(outrigger_jwt::Fault::NotYetValid) => Err("a token of the future"),
            Err(_) => Err("an expired token"),
            Ok(()) => {
                let until = UNIX_EPOCH.checked_add(Duration::from_secs(until)).map(|until| until + SKEW);
                until.ok_or("a token without an end")
            }
        }
    }
}

impl From<PathBuf> for KeyFile {
    fn from(path: PathBuf) -> Self {
        Self { path, held: Mutex::default() }
    }
}

impl KeyFile {
    fn current(&self) -> Result<Arc<Keys>, String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.path.display());
        let text = std::fs::read(&self.path).map_err(|error| told(&error))?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, keys)) = held.as_ref().filter(|(known, _)| *known == text) {
            return Ok(Arc::clone(keys));
        }
        let keys = Arc::new(Keys::parse(&text).map_err(|error| told(&error))?);
        *held = Some((text, Arc::clone(&keys)));
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_is_taken_apart_when_it_is_another() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |secret: &str| {
            let set = format!("{{\"keys\": [{{\"kty\": \"oct\", \"k\": {secret:?}}}]}}");
            std::fs::write(file.path(), set).unwrap();
        };
        let keys = KeyFile::from(file.path().to_owned());
        assert!(keys.current().is_err(), "an empty file is no set");
        write("YQ");
        let first = keys.current().unwrap();
        assert!(Arc::ptr_eq(&first, &keys.current().unwrap()));
        write("Yg");
        let second = keys.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(file.path(), "{").unwrap();
        let refused = keys.current().unwrap_err();
        assert!(refused.contains(&file.path().display().to_string()), "{refused}");
        write("Yg");
        assert!(Arc::ptr_eq(&second, &keys.current().unwrap()), "the file is what it was");
    }
}
