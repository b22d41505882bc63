use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair};

use super::super::{MeshCa, Subject};
use super::*;

const ARN: &str = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/c";
const LIFE: Duration = Duration::from_secs(600);

/// What the stand-in does about certificates.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Signs,
    /// Takes requests, and is never done.
    Dawdles,
    /// Takes requests, and never says a word about certificates.
    IsSilent,
    /// Takes none for a while.
    IsBusy,
    Refuses,
}

/// AWS Private CA on loopback, as far as it is asked here.
struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    root: CertifiedIssuer<'static, KeyPair>,
    mood: Mood,
    issued: HashMap<String, String>,
    /// Idempotency tokens as they came.
    tokens: Vec<String>,
}

impl StandIn {
    fn start() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let state = State { root, mood: Mood::Signs, issued: HashMap::new(), tokens: Vec::new() };
        let (listener, state) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(Mutex::new(state)));
        let (address, served) = (listener.local_addr().unwrap(), Arc::clone(&state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                std::thread::spawn(move || answer(stream, &state));
            }
        });
        Self { address, state }
    }

    fn be(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().tokens.clone()
    }

    fn pca(&self) -> Pca {
        let variable = |name: &str| match name {
            "AWS_ENDPOINT_URL_ACM_PCA" => Some(format!("http://{}", self.address)),
            "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY" => Some("test".to_owned()),
            _ => None,
        };
        Pca::open(ARN, LIFE, variable).unwrap()
    }

    fn ca(&self) -> MeshCa {
        MeshCa::private(self.pca(), LIFE, None).unwrap()
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        let length = stream.read(&mut part).unwrap();
        request.extend_from_slice(&part[..length]);
        let text = String::from_utf8(request.clone()).unwrap().to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let wanted = head.split_once("content-length: ").unwrap().1;
        let wanted: usize = wanted.lines().next().unwrap().parse().unwrap();
        if body.len() == wanted {
            break (head.to_owned(), serde_json::from_slice(&request[head.len() + 4..]).unwrap());
        }
    };
    let operation = head.split_once("acmprivateca.").unwrap().1.lines().next().unwrap().to_owned();
    let (status, answer) = match state.lock().unwrap().perform(&operation, &body) {
        Ok(answer) => ("200 OK", answer),
        Err(kind) => ("400 Bad Request", json!({"__type": kind, "message": "no"})),
    };
    if operation == "getcertificate" && state.lock().unwrap().mood == Mood::IsSilent {
        // Until who asked is gone.
        let _ = stream.read(&mut part);
        return;
    }
    let answer = answer.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
    // Who asked may be gone.
    let _ = stream.write_all((head + &answer).as_bytes());
}

impl State {
    fn perform(&mut self, operation: &str, body: &Value) -> Result<Value, &'static str> {
        match (operation, self.mood) {
            ("describecertificateauthority", _) => Ok(json!({"CertificateAuthority": {
                "Status": "ACTIVE",
                "CertificateAuthorityConfiguration": {"KeyAlgorithm": "EC_prime256v1"},
            }})),
            ("getcertificateauthoritycertificate", _) => Ok(json!({"Certificate": self.root.pem()})),
            (_, Mood::Refuses) => Err("MalformedCSRException"),
            ("issuecertificate", mood) => {
                self.tokens.push(body["IdempotencyToken"].as_str().unwrap().to_owned());
                if mood == Mood::IsBusy && self.tokens.len() < 3 {
                    return Err("ThrottlingException");
                }
                let csr = STANDARD.decode(body["Csr"].as_str().unwrap()).unwrap();
                let csr = String::from_utf8(csr).unwrap();
                let mut csr = CertificateSigningRequestParams::from_pem(&csr).unwrap();
                let until = body["Validity"]["Value"].as_i64().unwrap();
                csr.params.not_after = time::OffsetDateTime::from_unix_timestamp(until).unwrap();
                let arn = format!("{ARN}/certificate/{}", self.issued.len());
                self.issued.insert(arn.clone(), csr.signed_by(&self.root).unwrap().pem());
                Ok(json!({"CertificateArn": arn}))
            }
            ("getcertificate", Mood::Dawdles) => Err("RequestInProgressException"),
            ("getcertificate", _) => {
                Ok(json!({"Certificate": self.issued[body["CertificateArn"].as_str().unwrap()]}))
            }
            _ => Err("UnknownOperationException"),
        }
    }
}

fn subject(name: &str) -> Subject {
    Subject { uri: format!("spiffe://shop/virtualNode/{name}"), hosts: vec![format!("{name}.shop")] }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

#[test]
fn renewal_waits_aside_and_the_certificate_before_is_served() {
    let authority = StandIn::start();
    let ca = authority.ca();
    let chain = |now| ca.current(&subject("a"), now).map(|issued| issued.chain().to_owned());
    let first = chain(at(0)).unwrap();
    authority.be(Mood::Dawdles);
    let asked = authority.tokens().len();
    std::thread::scope(|scope| {
        let renewal = scope.spawn(|| ca.renew(at(500)));
        while authority.tokens().len() == asked {
            std::thread::yield_now();
        }
        // It is being asked, and not done: nobody waits for it.
        assert_eq!(chain(at(500)).unwrap(), first);
        assert!(!renewal.is_finished());
        authority.be(Mood::Signs);
        assert!(renewal.join().unwrap());
    });
    assert_ne!(chain(at(500)).unwrap(), first);
}

#[test]
fn a_certificate_is_served_to_its_end_while_none_can_be_had() {
    let authority = StandIn::start();
    let ca = authority.ca();
    let chain = |now| ca.current(&subject("a"), now).map(|issued| issued.chain().to_owned());
    let first = chain(at(0)).unwrap();
    authority.be(Mood::Refuses);
    for now in [450, 500, 590] {
        assert!(!ca.renew(at(now)), "nothing is new");
        assert_eq!(chain(at(now)).unwrap(), first);
    }
    assert!(chain(at(601)).is_err(), "what has ended is not served");
    authority.be(Mood::Signs);
    assert!(ca.renew(at(602)), "it is tried until it succeeds");
    assert_ne!(chain(at(602)).unwrap(), first);
}

#[test]
fn one_certificate_may_take_its_time_and_no_longer() {
    let authority = StandIn::start();
    authority.be(Mood::Dawdles);
    let pca = Pca { deadline: Duration::from_secs(2), ..authority.pca() };
    let ca = MeshCa::private(pca, LIFE, None).unwrap();
    let error = ca.current(&subject("a"), at(0)).unwrap_err().to_string();
    assert!(error.contains("RequestInProgressException"), "{error}");
}

#[test]
fn an_answer_that_does_not_come_is_part_of_that_time() {
    let authority = StandIn::start();
    authority.be(Mood::IsSilent);
    let pca = Pca { deadline: Duration::from_secs(2), ..authority.pca() };
    let ca = MeshCa::private(pca, LIFE, None).unwrap();
    let start = Instant::now();
    let error = ca.current(&subject("a"), at(0)).unwrap_err().to_string();
    assert!(error.contains(LATE), "{error}");
    assert!(start.elapsed() < ANSWER, "it is not the limit of one call that has ended it");
}

#[test]
fn too_many_at_once_are_asked_for_again_as_the_same() {
    let authority = StandIn::start();
    authority.be(Mood::IsBusy);
    authority.ca().current(&subject("a"), at(0)).unwrap();
    let tokens = authority.tokens();
    assert!(tokens.len() == 3 && tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
}
