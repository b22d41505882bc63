use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::UNIX_EPOCH;

use super::*;

fn provider(variables: &[(&str, &str)]) -> Result<Provider, String> {
    let find =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Provider::of_environment(find, "eu-west-1", Client::new(Duration::from_secs(5)).unwrap())
}

/// Answers requests, one text after the other; their heads.
fn endpoint(answers: Vec<String>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let one = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 8192];
            let length = stream.read(&mut asked).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
            stream.write_all(head.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        };
        answers.into_iter().map(one).collect()
    };
    (address, std::thread::spawn(serve))
}

fn answer(id: &str, expiration: &str) -> String {
    format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"hidden","Token":"hush","Expiration":"{expiration}"}}"#
    )
}

#[tokio::test]
async fn what_the_environment_gives_is_used() {
    let given =
        [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "hidden"), ("AWS_SESSION_TOKEN", "hush")];
    let credentials = provider(&given).unwrap().credentials(UNIX_EPOCH).await.unwrap();
    assert_eq!((credentials.access_key_id(), credentials.token()), ("A", Some("hush")));
    let shown = format!("{credentials:?} {:?}", provider(&given).unwrap());
    assert!(!shown.contains("hidden") && !shown.contains("hush"), "{shown}");
    assert!(provider(&given[..1]).is_err());
    assert!(provider(&[]).is_err());
}

#[tokio::test]
async fn the_containers_endpoint_is_asked_again_before_the_end() {
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let (address, asked) =
        endpoint(vec![answer("A", "2027-01-15T09:00:00Z"), answer("B", "2027-01-15T15:00:00.5Z")]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "pod-token\n").unwrap();
    let uri = format!("http://{address}/v1/credentials");
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file.path().to_str().unwrap()),
    ];
    let provider = provider(&variables).unwrap();
    let id = async |seconds| {
        provider.credentials(now + Duration::from_secs(seconds)).await.unwrap().access_key_id().to_owned()
    };
    // 1,800,000,000 is 08:00.
    assert_eq!((id(0).await, id(3000).await, id(3400).await), ("A".into(), "A".into(), "B".into()));
    let asked = asked.join().unwrap();
    assert!(asked.iter().all(|head| head.starts_with("GET /v1/credentials ")), "{asked:?}");
    assert!(
        asked.iter().all(|head| head.to_lowercase().contains("authorization: pod-token\r\n")),
        "{asked:?}"
    );
    // Nobody answers any more: what is held serves to its end.
    assert_eq!(id(6 * 3600).await, "B");
    assert!(provider.credentials(now + Duration::from_secs(8 * 3600)).await.is_err());
}

#[tokio::test]
async fn a_web_identity_is_exchanged() {
    let xml = "<R><AccessKeyId>A</AccessKeyId><SecretAccessKey>hidden</SecretAccessKey>\
               <SessionToken>hush</SessionToken><Expiration>2027-01-15T09:00:00Z</Expiration></R>";
    let (address, asked) = endpoint(vec![xml.to_owned()]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "cluster+token").unwrap();
    let endpoint = format!("http://{address}");
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file.path().to_str().unwrap()),
        ("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/front"),
        ("AWS_ENDPOINT_URL_STS", &endpoint),
    ];
    let credentials = provider(&variables).unwrap().credentials(UNIX_EPOCH).await.unwrap();
    assert_eq!((credentials.access_key_id(), credentials.token()), ("A", Some("hush")));
    let asked = asked.join().unwrap().concat();
    assert!(asked.contains("RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Ffront&"), "{asked}");
    assert!(asked.contains("WebIdentityToken=cluster%2Btoken"), "{asked}");
    assert!(provider(&variables[..1]).is_err());
}

#[test]
fn only_this_machine_is_asked_in_plain_text() {
    let of = |uri| provider(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri)]);
    for good in
        ["http://169.254.170.23/v1", "http://[fd00:ec2::23]/v1", "http://[::1]:80/", "https://x.example/"]
    {
        assert!(of(good).is_ok(), "{good}");
    }
    for bad in
        ["http://169.254.169.254/", "http://x.example/", "http://127.0.0.1.example/", "file:///x", "x y"]
    {
        assert!(of(bad).is_err(), "{bad}");
    }
    assert!(provider(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")]).is_ok());
}

#[test]
fn moments_are_read() {
    let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(moment("2027-01-15T08:00:00Z"), Some(at));
    assert_eq!(moment("2027-01-15T08:00:00.123Z"), Some(at));
    for odd in
        ["", "2027-13-15T08:00:00Z", "2027-01-15 08:00:00Z", "2027-01-15T08:00:00+01:00", "2027-01-15TZ", "é"]
    {
        assert_eq!(moment(odd), None, "{odd}");
    }
}
