//! AWS Private CA as the authority: it signs what we ask for, and its root is what the mesh trusts.
//!
//! Requests are answered from the name that each carries, so who may have which is decided here, before one is passed on;
//! what comes back is held against what was asked. Calls block; they are made from threads that may. Source: AWS Private
//! CA API, `IssueCertificate`, `GetCertificate`, `DescribeCertificateAuthority`, `GetCertificateAuthorityCertificate`.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use outrigger_aws_auth::client::Client;
use outrigger_aws_auth::credentials::Provider;
use outrigger_aws_auth::sigv4::{Signable, headers};
use serde_json::{Value, json};

use super::root::CaError;
use super::seconds;

const SERVICE: &str = "acm-pca";
const CONTENT: &str = "application/x-amz-json-1.1";
/// Takes subject and names from the request; server and client authentication.
const TEMPLATE: &str = "template/EndEntityCertificate/V1";
/// Longest life of what an authority for short-lived certificates signs.
const SHORT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long one call may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often a certificate is asked for until it is there, a second apart.
const ATTEMPTS: u32 = 45;

/// An authority of AWS Private CA.
#[derive(Debug)]
pub struct Pca {
    arn: String,
    region: String,
    endpoint: String,
    algorithm: String,
    client: Client,
    provider: Provider,
}

impl Pca {
    /// Finds the authority with this ARN; credentials and other endpoints come from the environment, through `variable`.
    ///
    /// # Errors
    /// When it is not active, or cannot issue certificates of this life.
    pub fn open(
        arn: &str,
        life: Duration,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, CaError> {
        let parts: Vec<&str> = arn.split(':').collect();
        let ["arn", partition, "acm-pca", region, _, _] = parts[..] else {
            return Err(failed(format!("{arn:?} is no ARN of an authority of AWS Private CA")));
        };
        let suffix = if partition == "aws-cn" { ".cn" } else { "" };
        let endpoint = variable("AWS_ENDPOINT_URL_ACM_PCA");
        let endpoint = endpoint.unwrap_or_else(|| format!("https://acm-pca.{region}.amazonaws.com{suffix}"));
        let client = Client::new(ANSWER).map_err(|error| failed(error.to_string()))?;
        let provider = Provider::of_environment(variable, region, client.clone()).map_err(failed)?;
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let (arn, region) = (arn.to_owned(), region.to_owned());
        let mut pca = Self { arn, region, endpoint, algorithm: String::new(), client, provider };
        pca.algorithm = pca.algorithm(life)?;
        Ok(pca)
    }

    /// How it signs, if it can issue what we need.
    fn algorithm(&self, life: Duration) -> Result<String, CaError> {
        let answer =
            self.call("DescribeCertificateAuthority", json!({"CertificateAuthorityArn": self.arn}))?;
        let authority = &answer["CertificateAuthority"];
        let status = authority["Status"].as_str().unwrap_or("unknown");
        if status != "ACTIVE" {
            return Err(failed(format!("{} is {status}, and must be ACTIVE", self.arn)));
        }
        if authority["UsageMode"] == "SHORT_LIVED_CERTIFICATE" && life > SHORT {
            return Err(failed(format!(
                "{} issues certificates for seven days at most; --certificate-life",
                self.arn
            )));
        }
        let key = authority["CertificateAuthorityConfiguration"]["KeyAlgorithm"].as_str().unwrap_or_default();
        match key {
            key if key.starts_with("RSA") => Ok("SHA256WITHRSA".to_owned()),
            key if key.starts_with("EC_") => Ok("SHA256WITHECDSA".to_owned()),
            other => Err(failed(format!("{} has a key of the unknown kind {other:?}", self.arn))),
        }
    }

    /// Its certificate, PEM: what the mesh trusts. Not those above it, under which others may issue certificates with
    /// names of this mesh.
    ///
    /// # Errors
    /// When it does not say.
    pub fn bundle(&self) -> Result<String, CaError> {
        let asked = json!({"CertificateAuthorityArn": self.arn});
        let answer = self.call("GetCertificateAuthorityCertificate", asked)?;
        let certificate = answer["Certificate"].as_str().filter(|text| !text.is_empty());
        certificate
            .map(|text| format!("{}\n", text.trim()))
            .ok_or_else(|| failed("the authority has no certificate".to_owned()))
    }

    /// Has a request signed (PKCS#10, PEM); the chain, PEM, leaf first.
    ///
    /// # Errors
    /// When there is no certificate in time.
    pub fn issue(&self, request: &str, until: SystemTime) -> Result<String, CaError> {
        let partition = self.arn.split(':').nth(1).unwrap_or("aws");
        let issued = self.call(
            "IssueCertificate",
            json!({
                "CertificateAuthorityArn": self.arn,
                "Csr": STANDARD.encode(request),
                "SigningAlgorithm": self.algorithm,
                "TemplateArn": format!("arn:{partition}:acm-pca:::{TEMPLATE}"),
                "Validity": {"Type": "ABSOLUTE", "Value": seconds(until)},
                "IdempotencyToken": format!("{:032x}", fastrand::u128(..)),
            }),
        )?;
        let asked = json!({"CertificateAuthorityArn": self.arn, "CertificateArn": issued["CertificateArn"]});
        for _ in 0..ATTEMPTS {
            match self.call("GetCertificate", asked.clone()) {
                Ok(answer) => {
                    return joined(&answer).ok_or_else(|| failed("the certificate is missing".to_owned()));
                }
                Err(error) if error.to_string().contains("RequestInProgress") => {
                    std::thread::sleep(Duration::from_secs(1));
                }
                Err(error) => return Err(error),
            }
        }
        Err(failed("the certificate is not there in time".to_owned()))
    }

    /// One operation. On a thread and runtime of its own: callers may be on any.
    fn call(&self, operation: &str, body: Value) -> Result<Value, CaError> {
        let work = || -> Result<Value, String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(self.exchange(operation, &body))
        };
        let done = std::thread::scope(|scope| scope.spawn(work).join());
        let done = done.unwrap_or_else(|_| Err("has failed".to_owned()));
        done.map_err(|reason| failed(format!("AWS Private CA, {operation}: {reason}")))
    }

    async fn exchange(&self, operation: &str, body: &Value) -> Result<Value, String> {
        let (now, body) = (SystemTime::now(), body.to_string());
        let credentials = self.provider.credentials(now).await?;
        let host = self.endpoint.split_once("://").map_or(self.endpoint.as_str(), |(_, host)| host);
        let target = format!("ACMPrivateCA.{operation}");
        let signed = [("content-type", CONTENT), ("host", host), ("x-amz-target", &target)];
        let scope = (self.region.as_str(), SERVICE);
        let signable = Signable { method: "POST", headers: &signed, body: body.as_bytes(), scope, now };
        let mut request = Request::post(format!("{}/", self.endpoint));
        for (name, value) in signed {
            request = request.header(name, value);
        }
        for (name, value) in headers(signable, &credentials) {
            let mut value = http::HeaderValue::from_str(&value).map_err(|_| "odd credentials")?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        let request = request.body(Bytes::from(body)).map_err(|error| error.to_string())?;
        let (status, answer) = self.client.send(request).await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let text = |name: &str| answer[name].as_str().unwrap_or_default();
        Err(format!("{status} {} {}{}", text("__type"), text("message"), text("Message")))
    }
}

/// Certificate and chain, one after the other.
fn joined(answer: &Value) -> Option<String> {
    let certificate = answer["Certificate"].as_str().filter(|text| !text.is_empty())?;
    let chain = answer["CertificateChain"].as_str().unwrap_or_default();
    Some(format!("{}\n{}\n", certificate.trim_end(), chain.trim()).trim_start().to_owned())
}

fn failed(reason: String) -> CaError {
    CaError::Signing(reason)
}
