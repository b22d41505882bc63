//! AWS Private CA as the authority: it signs what we ask for, and its root is what the mesh trusts.
//!
//! Requests are answered from the name that each carries, so who may have which is decided here, before one is passed on;
//! what comes back is held against what was asked. Calls block; they are made from threads that may. Source: AWS Private
//! CA API, `IssueCertificate`, `GetCertificate`, `DescribeCertificateAuthority`, `GetCertificateAuthorityCertificate`.

use std::time::{Duration, Instant, SystemTime};

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
/// How long a certificate may take, from the first call to the last answer: less than a sidecar waits.
const DEADLINE: Duration = Duration::from_secs(45);
const LATE: &str = "there is no answer in time";
/// The first pause before the same is asked again; each is twice the one before.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Errors that time cures: the certificate is not ready, or too much was asked at once.
const PASSING: [&str; 3] = ["RequestInProgress", "Throttl", "TooManyRequests"];

/// An authority of AWS Private CA.
#[derive(Debug)]
pub struct Pca {
    arn: String,
    region: String,
    endpoint: String,
    algorithm: String,
    client: Client,
    provider: Provider,
    /// For one certificate.
    deadline: Duration,
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
        let (algorithm, deadline) = (String::new(), DEADLINE);
        let mut pca = Self { arn, region, endpoint, algorithm, client, provider, deadline };
        pca.algorithm = pca.algorithm(life)?;
        Ok(pca)
    }

    /// How it signs, if it can issue what we need.
    fn algorithm(&self, life: Duration) -> Result<String, CaError> {
        let asked = json!({"CertificateAuthorityArn": self.arn});
        let answer = self.call(self.end(), "DescribeCertificateAuthority", asked)?;
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
        let answer = self.call(self.end(), "GetCertificateAuthorityCertificate", asked)?;
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
        let end = self.end();
        let partition = self.arn.split(':').nth(1).unwrap_or("aws");
        let issued = self.call_until(
            end,
            "IssueCertificate",
            &json!({
                "CertificateAuthorityArn": self.arn,
                "Csr": STANDARD.encode(request),
                "SigningAlgorithm": self.algorithm,
                "TemplateArn": format!("arn:{partition}:acm-pca:::{TEMPLATE}"),
                "Validity": {"Type": "ABSOLUTE", "Value": seconds(until)},
                // The same in every attempt: they are one certificate, and cost once.
                "IdempotencyToken": format!("{:032x}", fastrand::u128(..)),
            }),
        )?;
        let asked = json!({"CertificateAuthorityArn": self.arn, "CertificateArn": issued["CertificateArn"]});
        let answer = self.call_until(end, "GetCertificate", &asked)?;
        joined(&answer).ok_or_else(|| failed("the certificate is missing".to_owned()))
    }

    /// When what begins now must have ended.
    fn end(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// One operation, again while its error is one that passes and the time is not over.
    fn call_until(&self, end: Instant, operation: &str, body: &Value) -> Result<Value, CaError> {
        let (mut pause, mut last) = (PAUSE, None);
        loop {
            let error = match self.call(end, operation, body.clone()) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let text = error.to_string();
            if !PASSING.iter().any(|passing| text.contains(passing)) {
                // What it said while it could tells more than that the time is over.
                return Err(if text.ends_with(LATE) { last.unwrap_or(error) } else { error });
            }
            if Instant::now() + pause >= end {
                return Err(error);
            }
            last = Some(error);
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One operation, which ends in time. On a thread and runtime of its own: callers may be on any.
    fn call(&self, end: Instant, operation: &str, body: Value) -> Result<Value, CaError> {
        let work = || -> Result<Value, String> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| error.to_string())?;
            let answer = runtime.block_on(async {
                let exchange = self.exchange(operation, &body);
                tokio::time::timeout_at(end.into(), exchange).await.unwrap_or_else(|_| Err(LATE.to_owned()))
            });
            // A name that is being looked up has a thread of its own, which nobody waits for.
            runtime.shutdown_background();
            answer
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

#[cfg(test)]
mod tests;
