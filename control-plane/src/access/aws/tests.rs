use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const STS: &str = "https://sts.eu-west-1.amazonaws.com";

fn now() -> SystemTime {
    // 2027-01-15T08:00:00Z
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn query(change: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("Action", "GetCallerIdentity"),
        ("Version", "2011-06-15"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", "AKID%2F20270115%2Feu-west-1%2Fsts%2Faws4_request"),
        ("X-Amz-Date", "20270115T080000Z"),
        ("X-Amz-Expires", "60"),
        ("X-Amz-SignedHeaders", "host%3Bx-outrigger-audience%3Bx-outrigger-number"),
        ("X-Amz-Signature", "00"),
    ];
    for (name, value) in change {
        parameters.retain(|(known, _)| known != name);
        parameters.extend((!value.is_empty()).then_some((*name, *value)));
    }
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

const NUMBER: &str = "00112233445566778899aabbccddeeff";

fn token(url: &str) -> String {
    numbered(url, NUMBER)
}

fn numbered(url: &str, number: &str) -> String {
    format!("{PREFIX}{}.{number}", URL_SAFE_NO_PAD.encode(url))
}

fn check(url: &str, seconds: i64) -> Result<Proof, &'static str> {
    let at = now().checked_add_signed(seconds).unwrap();
    proof(&token(url), &[STS.to_owned()], at)
}

trait Shift: Sized {
    fn checked_add_signed(self, seconds: i64) -> Option<Self>;
}

impl Shift for SystemTime {
    fn checked_add_signed(self, seconds: i64) -> Option<Self> {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { self.checked_sub(by) } else { self.checked_add(by) }
    }
}

#[test]
fn a_proof_is_for_sts_and_a_short_while() {
    let url = format!("{STS}/?{}", query(&[]));
    let proof = check(&url, 0).unwrap();
    assert_eq!((proof.url.as_str(), proof.until), (url.as_str(), now() + Duration::from_secs(60)));
    assert_eq!(proof.number, NUMBER);
    assert!(check(&url, 59).is_ok() && check(&url, -59).is_ok());
    assert_eq!(check(&url, 61), Err("an expired proof"));
    assert_eq!(check(&url, -61), Err("a proof of the future"));
    assert!(check(&format!("{STS}/?{}", query(&[("X-Amz-Security-Token", "t")])), 0).is_ok());
}

#[test]
fn nothing_else_is_called() {
    let good = query(&[]);
    for base in [
        "http://sts.eu-west-1.amazonaws.com/?",
        "https://sts.us-east-1.amazonaws.com/?",
        "https://sts.eu-west-1.amazonaws.com.evil.example/?",
        "https://sts.eu-west-1.amazonaws.com@evil.example/?",
        "https://sts.eu-west-1.amazonaws.com:8443/?",
        "https://sts.eu-west-1.amazonaws.com/other?",
        "https://sts.eu-west-1.amazonaws.com/?x#",
        "https://STS.eu-west-1.amazonaws.com/?",
        "http://169.254.169.254/?",
        "file:///?",
        "",
    ] {
        assert!(check(&format!("{base}{good}"), 0).is_err(), "{base}");
    }
    for change in [
        ("Action", "AssumeRole"),
        ("Action", ""),
        ("Version", "2010"),
        ("X-Amz-Expires", "604800"),
        ("X-Amz-Expires", "61"),
        ("X-Amz-Expires", ""),
        ("X-Amz-Date", "2027"),
        ("X-Amz-SignedHeaders", "host"),
        ("X-Amz-SignedHeaders", "host%3Bx-other"),
        ("X-Amz-SignedHeaders", "host%3Bx-outrigger-audience"),
        ("RoleArn", "x"),
        ("X-Amz-Date", "20270115T080000Z&Action=GetCallerIdentity"),
        ("X-Amz-Signature", "0 0"),
        ("X-Amz-Signature", "0\r\nHost:x"),
    ] {
        assert!(check(&format!("{STS}/?{}", query(&[change])), 0).is_err(), "{change:?}");
    }
}

#[test]
fn damaged_and_random_proofs_are_answered() {
    let whole = token(&format!("{STS}/?{}", query(&[])));
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..20_000 {
        let mut bytes = whole.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            bytes[at] = random.u8(b' '..=b'~');
        }
        bytes.truncate(random.usize(..=bytes.len()));
        // Whatever still passes goes to STS of that region.
        if let Ok(passed) = proof(&String::from_utf8(bytes).unwrap(), &[STS.to_owned()], now()) {
            assert!(passed.url.starts_with("https://sts.eu-west-1.amazonaws.com/?"), "{}", passed.url);
            assert!(passed.until <= now() + LIFETIME + SKEW);
        }
    }
}

#[test]
fn sessions_are_their_roles() {
    let role = "arn:aws:iam::111122223333:role/teams/shop/front";
    assert!(is_role(role, "arn:aws:sts::111122223333:assumed-role/front/task-1"));
    for other in [
        "arn:aws:sts::999922223333:assumed-role/front/task-1",
        "arn:aws-cn:sts::111122223333:assumed-role/front/task-1",
        "urn:aws:sts::111122223333:assumed-role/front/task-1",
        "arn:aws:sts::111122223333:assumed-role/front2/task-1",
        "arn:aws:sts::111122223333:assumed-role/back/front",
        "arn:aws:sts::111122223333:federated-user/front",
        "arn:aws:iam::111122223333:user/front",
        "front",
        "",
    ] {
        assert!(!is_role(role, other), "{other}");
    }
    assert!(is_role("arn:aws:iam::1:user/ci", "arn:aws:iam::1:user/ci"));
    assert!(!is_role("arn:aws:iam::1:role/", "arn:aws:sts::1:assumed-role//x"));
}

const HERE: &str = "192.0.2.1:1";

fn answer(arn: &str, role: usize, until: SystemTime) -> Answer {
    Answer { arn: arn.to_owned(), role, address: HERE.to_owned(), until }
}

#[test]
fn a_number_is_part_of_a_proof() {
    let whole = token(&format!("{STS}/?{}", query(&[])));
    let (start, _) = whole.rsplit_once('.').unwrap();
    for number in ["", "0", "00112233445566778899aabbccddeefg", "00112233445566778899aabbccddeeff0"] {
        let damaged = format!("{start}.{number}");
        assert_eq!(proof(&damaged, &[STS.to_owned()], now()), Err("a proof without a number"));
    }
    assert_eq!(proof(start, &[STS.to_owned()], now()), Err("an unreadable proof"));
}

#[test]
fn proofs_are_remembered_while_they_last() {
    let section = "{audience: shop, regions: [eu-west-1], roles: []}";
    let callers = Callers::new(yaml_serde::from_str(section).unwrap()).unwrap();
    let until = now() + Duration::from_secs(60);
    callers.remember([1; 32], answer("arn:x", 0, until), now()).unwrap();
    assert_eq!(callers.remembered(&[1; 32], HERE, now()).unwrap().as_deref(), Some("arn:x"));
    assert_eq!(callers.remembered(&[1; 32], "192.0.2.1:2", now()), Err(REPLAYED));
    let late = Answer { address: "192.0.2.1:2".to_owned(), ..answer("arn:x", 0, until) };
    assert_eq!(callers.remember([1; 32], late, now()), Err(REPLAYED), "asked at the same time");
    assert_eq!(callers.remembered(&[1; 32], HERE, until), Ok(None));
    for number in 0..REMEMBERED as u64 + 3 {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        let remembered = callers.remember(hash, answer("arn:x", 0, until), now());
        // One is there already.
        assert_eq!(remembered.is_ok(), number + 1 < REMEMBERED as u64, "{number}");
    }
    assert_eq!(callers.known.lock().unwrap().len(), REMEMBERED);
    callers.remember([2; 32], answer("arn:y", 1, until), now()).unwrap();
    assert!(callers.remembered(&[2; 32], HERE, now()).unwrap().is_some(), "another role has its own");
    callers.remember([3; 32], answer("arn:x", 0, until + SKEW), until).unwrap();
    assert_eq!(callers.known.lock().unwrap().len(), 1, "what has ended makes room");
}

/// STS on loopback, which says that a proof is of the session of the role that its signature names, and counts.
async fn sts() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (base, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut question = vec![0; 4096];
            let length = stream.read(&mut question).await.unwrap();
            let question = String::from_utf8_lossy(&question[..length]).into_owned();
            let (_, role) = question.split_once("X-Amz-Signature=").unwrap();
            let role: String = role.chars().take_while(char::is_ascii_alphabetic).collect();
            let body = format!("<Arn>arn:aws:sts::111122223333:assumed-role/{role}/task</Arn>");
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    });
    (base, asked)
}

fn callers(endpoint: &str) -> Callers {
    let role = "{role: 'arn:aws:iam::111122223333:role/front', nodes: [mesh/shop/virtualNode/front]}";
    let section =
        format!("{{audience: shop, regions: [eu-west-1], endpoint: '{endpoint}', roles: [{role}]}}");
    Callers::new(yaml_serde::from_str(&section).unwrap()).unwrap()
}

/// A proof of a role, one of many.
fn of_role(base: &str, role: &str, number: usize) -> String {
    let url = format!("{base}/?{}", query(&[("X-Amz-Signature", &format!("{role}{number}"))]));
    numbered(&url, &format!("{:016x}{number:016x}", role.len()))
}

#[tokio::test]
async fn a_proof_spelled_otherwise_is_the_same_proof() {
    let (base, asked) = sts().await;
    let callers = callers(&base);
    let proof = |query: &str| numbered(&format!("{base}/?{query}"), NUMBER);
    let shown = query(&[("X-Amz-Signature", "front")]);
    assert!(callers.identify(&proof(&shown), HERE, now()).await.is_ok());
    let (first, rest) = shown.split_once('&').unwrap();
    let turned = format!("{rest}&{first}");
    let (start, end) = turned.split_once("&Action").unwrap();
    for other in [turned.clone(), shown.replace("%2F", "%2f"), format!("Action{end}&{start}")] {
        let Denied(reason) = callers.identify(&proof(&other), "192.0.2.66:1", now()).await.unwrap_err();
        assert!(reason.ends_with(REPLAYED), "{other}: {reason}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn who_has_no_nodes_is_charged_and_displaces_nobody() {
    const STRANGER: &str = "192.0.2.66:1";
    let (base, asked) = sts().await;
    let callers = callers(&base);
    let front = of_role(&base, "front", 0);
    assert!(callers.identify(&front, HERE, now()).await.unwrap().contains("/front/"));
    let mut refusals = Vec::new();
    for number in 0..200 {
        let Denied(reason) =
            callers.identify(&of_role(&base, "stranger", number), STRANGER, now()).await.unwrap_err();
        refusals.push(reason);
    }
    assert!(refusals[0].ends_with("has no nodes"), "{}", refusals[0]);
    assert!(refusals[199].contains("or were refused"), "{}", refusals[199]);
    // A token comes back in two seconds of this loop.
    assert!((33..60).contains(&asked.load(Ordering::SeqCst)), "{asked:?}");
    assert_eq!(callers.known.lock().unwrap().len(), 1, "strangers are not remembered");
    let (again, before) = (callers.identify(&front, HERE, now()).await, asked.load(Ordering::SeqCst));
    assert!(again.is_ok(), "what is known needs no question");
    let Denied(replayed) = callers.identify(&front, STRANGER, now()).await.unwrap_err();
    assert!(replayed.ends_with(REPLAYED), "{replayed}");
    assert!(callers.identify(&of_role(&base, "front", 1), HERE, now()).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), before + 1);
    let again = callers.identify(&of_role(&base, "stranger", 0), "192.0.2.67:1", now()).await;
    assert!(again.unwrap_err().0.contains("a moment ago"));
}

#[tokio::test]
async fn fifty_sidecars_behind_one_address_start_at_once() {
    let (base, asked) = sts().await;
    let callers = callers(&base);
    let proofs: Vec<String> = (0..50).map(|number| of_role(&base, "front", number)).collect();
    let all = proofs.iter().map(|proof| callers.identify(proof, HERE, now()));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 50);
}
