//! Service-account tokens, checked by the API server that issued them. Unlike the check against its keys this one knows of
//! pods and accounts that are gone. Source: Kubernetes `authentication.k8s.io/v1`, `TokenReview`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use outrigger_aws_auth::client::Client;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::jwt::Claims;

/// How long the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How many reviews are under way at the same time.
const QUESTIONS: usize = 8;
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
    #[serde(skip, default = "questions")]
    questions: Semaphore,
}

fn questions() -> Semaphore {
    Semaphore::new(QUESTIONS)
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
    /// Whom the API server says the token belongs to. The error is for the audit.
    pub(super) async fn verify(&self, token: &str, audience: &str) -> Result<Claims, String> {
        let own = std::fs::read_to_string(&self.token).map(Zeroizing::new);
        let own = own.map_err(|error| format!("{}: {error}", self.token.display()))?;
        let mut authorization = http::HeaderValue::from_str(&format!("Bearer {}", own.trim()))
            .map_err(|_| format!("{} holds no token", self.token.display()))?;
        authorization.set_sensitive(true);
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        });
        let request = Request::post(format!("{}{PATH}", self.server.trim_end_matches('/')))
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, authorization)
            .body(Bytes::from(review.to_string()))
            .map_err(|error| error.to_string())?;
        // Anyone may show anything: what is asked for it is bounded.
        let waiting = tokio::time::timeout(ANSWER, self.questions.acquire()).await;
        let _permit =
            waiting.map_err(|_| "too many tokens are being reviewed")?.map_err(|error| error.to_string())?;
        let (status, body) = self.client()?.send(request).await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("the API server answers {status} to a token review"));
        }
        let Review { status } =
            serde_json::from_slice(&body).map_err(|_| "the API server's answer is no review")?;
        if !status.authenticated {
            return Err("the API server does not accept the token".to_owned());
        }
        // A server that knows no audiences leaves them out, and has not checked them.
        if !status.audiences.iter().any(|one| one == audience) {
            return Err("a token for another audience".to_owned());
        }
        Ok(Claims { subject: status.user.username })
    }

    fn client(&self) -> Result<Client, String> {
        let Some(roots) = &self.roots else { return Client::new(ANSWER).map_err(|error| error.to_string()) };
        let pem = std::fs::read(roots).map_err(|error| format!("{}: {error}", roots.display()))?;
        Client::trusting(&pem, ANSWER).map_err(|error| format!("{}: {error}", roots.display()))
    }
}

#[cfg(test)]
mod tests;
