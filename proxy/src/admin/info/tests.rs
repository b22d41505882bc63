use super::*;
use std::time::Duration;

#[test]
fn certificates_have_envoys_shape() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_229_272);
    let details = CertificateDetails {
        path: "/keys/cert.pem".to_owned(),
        serial_number: "2a".to_owned(),
        subject_alt_names: vec![("dns", "a.local".to_owned()), ("uri", "spiffe://m/a".to_owned())],
        valid_from: now - Duration::from_secs(86_400),
        expiration_time: now + Duration::from_secs(10 * 86_400 + 5),
    };
    let pair = CertificatePair { ca_cert: Vec::new(), cert_chain: vec![details.clone()] };
    assert_eq!(
        pair_json(&pair, now),
        json!({
            "ca_cert": [],
            "cert_chain": [{
                "path": "/keys/cert.pem",
                "serial_number": "2a",
                "subject_alt_names": [{ "dns": "a.local" }, { "uri": "spiffe://m/a" }],
                "days_until_expiration": "10",
                "valid_from": "2026-11-20T02:47:52Z",
                "expiration_time": "2026-12-01T02:47:57Z",
            }],
        })
    );
    let expired = CertificateDetails { expiration_time: now - Duration::from_secs(1), ..details };
    assert_eq!(details_json(&expired, now)["days_until_expiration"], json!("0"));
}
