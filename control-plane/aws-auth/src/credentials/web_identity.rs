//! A token of the cluster in exchange for credentials: `AssumeRoleWithWebIdentity`.

use std::path::PathBuf;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use super::{Credentials, moment};
use crate::client::Client;
use crate::sigv4::encoded;
use crate::{caller, xml};

/// What is exchanged, and where.
#[derive(Clone)]
pub(super) struct WebIdentity {
    role: String,
    file: PathBuf,
    session: String,
    endpoint: String,
}

impl WebIdentity {
    pub(super) fn find(
        variable: &impl Fn(&str) -> Option<String>,
        region: &str,
    ) -> Result<Option<Self>, String> {
        let Some(file) = variable("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
        let role = variable("AWS_ROLE_ARN").ok_or("AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN")?;
        let session = variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "outrigger".to_owned());
        let endpoint = variable("AWS_ENDPOINT_URL_STS").unwrap_or_else(|| caller::endpoint(region));
        Ok(Some(Self { role, file: file.into(), session, endpoint }))
    }

    pub(super) async fn fetch(&self, client: &Client) -> Result<Credentials, String> {
        let token = std::fs::read_to_string(&self.file);
        let token = Zeroizing::new(token.map_err(|error| format!("{}: {error}", self.file.display()))?);
        let form = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={}&RoleSessionName={}&WebIdentityToken={}",
            encoded(&self.role),
            encoded(&self.session),
            encoded(token.trim())
        );
        let request = Request::post(format!("{}/", self.endpoint.trim_end_matches('/')))
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(form))
            .map_err(|error| error.to_string())?;
        let (status, body) = client.send(request).await.map_err(|error| error.to_string())?;
        let body = String::from_utf8_lossy(&body);
        if !status.is_success() {
            let code = xml::text(&body, "Code").unwrap_or("no reason");
            return Err(format!("STS answers {status} to AssumeRoleWithWebIdentity: {code}"));
        }
        let part = |name: &str| xml::text(&body, name).map(str::to_owned);
        let (Some(id), Some(secret)) = (part("AccessKeyId"), part("SecretAccessKey")) else {
            return Err("STS gives no credentials".to_owned());
        };
        let until = part("Expiration").as_deref().and_then(moment);
        Ok(Credentials::new(id, secret, part("SessionToken"), until))
    }
}
