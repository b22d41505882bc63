//! Service-account tokens, checked by the API server that issued them. Unlike the check against its keys this one knows of
//! pods and accounts that are gone. What can be told from the token alone is told before. Source: Kubernetes
//! `authentication.k8s.io/v1`, `TokenReview`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use outrigger_aws_auth::client::Client;
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::questions::{Bad, Questions, mark};

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// An API server that is asked, and what it is shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reviewer {
    /// Scheme and host: `https://kubernetes.default.svc`.
    pub(super) server: String,
    /// Roots of its certificate, PEM; `ca.crt` beside a pod's own token.
    roots: Option<PathBuf>,
    /// Our own token, which must be allowed to create token reviews. Read each time: it is renewed.
    token: PathBuf,
    #[serde(skip)]
    questions: Questions,
    /// Made anew when the roots change.
    #[serde(skip)]
    client: Mutex<Option<(Vec<u8>, Client)>>,
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    user: User,
    audiences: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
}

impl Reviewer {
    /// The account that the API server says the token belongs to, which a client shows from this address. One that is
    /// not `known` is as good as none, and costs its client the same. The error is for the audit.
    pub(super) async fn verify(
        &self,
        token: &str,
        audience: &str,
        address: &str,
        now: SystemTime,
        known: impl Fn(&str) -> bool,
    ) -> Result<String, String> {
        let review = async {
            let subject = self.review(token, audience).await?;
            match known(&subject) {
                true => Ok(subject),
                false => Err(Bad::Refused(format!("{subject:?} has no nodes"))),
            }
        };
        self.questions.ask(&mark(token), address, now, review).await
    }

    async fn review(&self, token: &str, audience: &str) -> Result<String, Bad> {
        let request = self.request(token, audience).map_err(Bad::Unanswered)?;
        let client = self.client().map_err(Bad::Unanswered)?;
        let (status, body) =
            client.send(request).await.map_err(|error| Bad::Unanswered(error.to_string()))?;
        if !status.is_success() {
            return Err(Bad::Unanswered(format!("the API server answers {status} to a token review")));
        }
        let Review { status } = serde_json::from_slice(&body)
            .map_err(|_| Bad::Unanswered("the API server's answer is no review".to_owned()))?;
        if !status.authenticated {
            return Err(Bad::Refused("the API server does not accept the token".to_owned()));
        }
        // A server that knows no audiences leaves them out, and has not checked them.
        if !status.audiences.iter().any(|one| one == audience) {
            return Err(Bad::Refused("a token for another audience".to_owned()));
        }
        Ok(status.user.username)
    }

    fn request(&self, token: &str, audience: &str) -> Result<Request<Bytes>, String> {
        let own = std::fs::read_to_string(&self.token).map(Zeroizing::new);
        let own = own.map_err(|error| format!("{}: {error}", self.token.display()))?;
        let authorization = Zeroizing::new(format!("Bearer {}", own.trim()));
        let mut authorization = http::HeaderValue::from_str(&authorization)
            .map_err(|_| format!("{} holds no token", self.token.display()))?;
        authorization.set_sensitive(true);
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        Request::post(format!("{}{PATH}", self.server.trim_end_matches('/')))
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, authorization)
            .body(Bytes::from(review.to_string()))
            .map_err(|error| error.to_string())
    }

    /// The client, which trusts the roots as they are in their file now, or those of the system.
    fn client(&self) -> Result<Client, String> {
        let told = |error: &dyn std::fmt::Display| match &self.roots {
            Some(roots) => format!("{}: {error}", roots.display()),
            None => error.to_string(),
        };
        let pem = self.roots.as_ref().map(std::fs::read).transpose().map_err(|error| told(&error))?;
        let mut held = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |roots: &[u8]| roots == pem.as_deref().unwrap_or_default();
        if let Some((_, client)) = held.as_ref().filter(|(roots, _)| same(roots)) {
            return Ok(client.clone());
        }
        let client = match &pem {
            Some(pem) => Client::trusting(pem, ANSWER),
            None => Client::new(ANSWER),
        };
        let client = client.map_err(|error| told(&error))?;
        *held = Some((pem.unwrap_or_default(), client.clone()));
        Ok(client)
    }
}

#[cfg(test)]
mod tests;
