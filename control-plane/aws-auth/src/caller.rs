//! `GetCallerIdentity` as a proof of who one is: a signed URL that lasts for a minute and names whom it is for in a signed
//! header, so that nobody else can use it, and a number of its own in another, so that no two are the same and whoever
//! gets them can tell one that is shown again. Whoever gets it calls it, and STS says whose it is.
//!
//! A proof is [`PREFIX`], the URL in base64url, a dot, the number.
//!
//! Source: AWS STS `GetCallerIdentity`; the method is that of the IAM authenticator of EKS.

use std::fmt;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::credentials::Provider;
use crate::sigv4::{Signable, presigned_query};
use crate::xml;

/// How a proof begins.
pub const PREFIX: &str = "outrigger-aws-v2.";
/// The signed header with the audience.
pub const AUDIENCE_HEADER: &str = "x-outrigger-audience";
/// The signed header with the proof's own number.
pub const NUMBER_HEADER: &str = "x-outrigger-number";
/// How many hexadecimal digits it has.
pub const NUMBER_DIGITS: usize = 32;
/// What is called.
pub const PARAMETERS: [(&str, &str); 2] = [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")];
/// How long a proof lasts.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// STS of a region, scheme and host.
pub fn endpoint(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://sts.{region}.amazonaws.com{suffix}")
}

/// Makes proofs. Its debug form shows no credentials.
#[derive(Clone)]
pub struct Caller {
    /// Whose name is signed in.
    pub provider: Provider,
    /// For whom.
    pub audience: String,
    /// Region of STS.
    pub region: String,
    /// Scheme and host of STS.
    pub endpoint: String,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Caller({}, {:?})", self.endpoint, self.provider)
    }
}

impl Caller {
    /// A new proof.
    ///
    /// # Errors
    /// When there are no credentials.
    pub async fn proof(&self, now: SystemTime) -> Result<Zeroizing<String>, String> {
        let credentials = self.provider.credentials(now).await?;
        let endpoint = self.endpoint.trim_end_matches('/');
        let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
        // Which one it is, is no secret.
        let number = format!("{:032x}", fastrand::u128(..));
        let request = Signable {
            method: "GET",
            headers: &[("host", host), (AUDIENCE_HEADER, &self.audience), (NUMBER_HEADER, &number)],
            body: b"",
            scope: (&self.region, "sts"),
            now,
        };
        let query = presigned_query(request, &PARAMETERS, LIFETIME, &credentials);
        let url = Zeroizing::new(format!("{endpoint}/?{query}"));
        Ok(Zeroizing::new(format!("{PREFIX}{}.{number}", URL_SAFE_NO_PAD.encode(url.as_bytes()))))
    }
}

/// The ARN in STS's answer.
pub fn arn_of(answer: &str) -> Option<&str> {
    xml::text(answer, "Arn")
}
