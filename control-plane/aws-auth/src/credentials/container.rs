//! The endpoint inside a task or pod. Source: AWS, "Container credential provider".

use std::net::IpAddr;
use std::path::PathBuf;

use bytes::Bytes;
use http::{Request, Uri};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Credentials, moment};
use crate::client::Client;

/// The agent of ECS.
const ECS: &str = "http://169.254.170.2";
/// Hosts that may be asked in plain text, beside loopback: the agents of ECS and EKS.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];

/// Where, and what is shown there.
#[derive(Clone)]
pub(super) struct Container {
    uri: Uri,
    token: Option<Token>,
}

#[derive(Clone)]
enum Token {
    Given(Zeroizing<String>),
    /// Read each time: it is renewed.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Container {
    pub(super) fn find(variable: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let text = match (relative, full) {
            (Some(path), _) => format!("{ECS}{path}"),
            (None, Some(full)) => full,
            (None, None) => return Ok(None),
        };
        let uri: Uri = text.parse().map_err(|_| "AWS_CONTAINER_CREDENTIALS_..._URI is no URI")?;
        if !may_be_asked(&uri) {
            return Err("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor of this machine".to_owned());
        }
        let file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(|file| Token::File(file.into()));
        let given = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(|text| Token::Given(text.into()));
        Ok(Some(Self { uri, token: file.or(given) }))
    }

    pub(super) async fn fetch(&self, client: &Client) -> Result<Credentials, String> {
        let mut request = Request::get(self.uri.clone());
        if let Some(token) = self.token()? {
            let mut value = http::HeaderValue::from_str(token.trim()).map_err(|_| "the token is no text")?;
            value.set_sensitive(true);
            request = request.header(http::header::AUTHORIZATION, value);
        }
        let request = request.body(Bytes::new()).map_err(|error| error.to_string())?;
        let (status, body) = client.send(request).await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("the container's endpoint answers {status}"));
        }
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| "the container's endpoint gives no credentials")?;
        let until = answer.expiration.as_deref().and_then(moment);
        Ok(Credentials::new(answer.access_key_id, answer.secret_access_key, answer.token, until))
    }

    fn token(&self) -> Result<Option<Zeroizing<String>>, String> {
        match &self.token {
            None => Ok(None),
            Some(Token::Given(token)) => Ok(Some(token.clone())),
            Some(Token::File(file)) => {
                let text = std::fs::read_to_string(file);
                text.map(|text| Some(text.into())).map_err(|error| format!("{}: {error}", file.display()))
            }
        }
    }
}

fn may_be_asked(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => true,
        Some("http") => here || AGENTS.contains(&host),
        _ => false,
    }
}
