use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;

fn open(directory: &Path, life: u64) -> MeshCa {
    MeshCa::open(Settings { directory: directory.to_owned(), life: Duration::from_secs(life) }).unwrap()
}

fn subject(name: &str) -> Subject {
    Subject { uri: format!("spiffe://shop/virtualNode/{name}"), hosts: vec![format!("{name}.shop.local")] }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::now() + Duration::from_secs(seconds)
}

fn parsed(pem: &str) -> x509_parser::pem::Pem {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1
}

#[test]
fn a_new_root_is_its_owners_alone_and_is_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("ca");
    let first = open(&inside, 3600).bundle();
    assert_eq!(open(&inside, 3600).bundle(), first);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&inside), 0o700);
    assert_eq!(mode(&inside.join("root.key")), 0o600);
    std::fs::set_permissions(inside.join("root.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let settings = Settings { directory: inside, life: Duration::from_secs(60) };
    assert!(matches!(MeshCa::open(settings), Err(CaError::Open(_))));
}

#[test]
fn a_key_of_another_root_is_refused_without_being_shown() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = open(one.path(), 3600);
    open(other.path(), 3600);
    std::fs::copy(other.path().join("root.key"), one.path().join("root.key")).unwrap();
    let error = ca.reload().unwrap_err().to_string();
    assert!(error.contains("is not the key of root.pem"), "{error}");
    std::fs::write(one.path().join("root.key"), "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n").unwrap();
    let error = ca.reload().unwrap_err().to_string();
    assert!(error.contains("no private key") && !error.contains("c2VjcmV0"), "{error}");
    ca.issue(&subject("a"), SystemTime::now()).unwrap();
}

#[test]
fn certificates_say_who_until_when_and_chain_to_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let ca = open(directory.path(), 600);
    let now = SystemTime::now();
    let issued = ca.issue(&subject("a"), now).unwrap();
    let pem = parsed(issued.chain());
    let leaf = pem.parse_x509().unwrap();
    let root = parsed(&ca.bundle());
    assert_eq!(leaf.issuer(), root.parse_x509().unwrap().subject());
    let names = format!("{:?}", leaf.subject_alternative_name().unwrap().unwrap().value.general_names);
    assert!(names.contains("spiffe://shop/virtualNode/a") && names.contains("a.shop.local"), "{names}");
    let validity = leaf.validity();
    let life = validity.not_after.timestamp() - seconds(now) as i64;
    assert_eq!(life, 600);
    let share = issued.due.duration_since(now).unwrap().as_secs_f64() / 600.0;
    assert!((0.59..=0.74).contains(&share), "{share}");
    let shown = format!("{issued:?}");
    assert!(!shown.contains("PRIVATE") && !shown.contains("CERTIFICATE"), "{shown}");
}

#[test]
fn a_certificate_stays_until_it_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let ca = open(directory.path(), 600);
    let chain = |now| ca.current(&subject("a"), now).unwrap().chain().to_owned();
    let first = chain(at(0));
    assert_eq!(chain(at(100)), first);
    assert!(!ca.renew(at(100)));
    assert_eq!(chain(at(500)), first, "due, and in use until there is another");
    assert!(ca.renew(at(500)));
    assert_ne!(chain(at(500)), first);
    let renamed = Subject { hosts: vec!["b".to_owned()], ..subject("a") };
    assert_ne!(ca.current(&renamed, at(500)).unwrap().chain(), chain(at(500)));
}

#[test]
fn roots_change_hands_with_both_trusted_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let ca = open(directory.path(), 600);
    let (path, old) = (directory.path(), ca.bundle());
    let before = ca.current(&subject("a"), at(0)).unwrap().chain().to_owned();
    assert!(switch(path).is_err() && retire(path).is_err());
    prepare(path).unwrap();
    assert!(prepare(path).is_err());
    assert!(ca.reload().unwrap() && !ca.reload().unwrap());
    let both = ca.bundle();
    assert!(both.starts_with(&old) && both.len() > old.len());
    assert_eq!(ca.current(&subject("a"), at(0)).unwrap().chain(), before, "still signed by the old one");
    switch(path).unwrap();
    assert!(ca.reload().unwrap());
    assert!(ca.bundle().contains(&old) && !ca.bundle().starts_with(&old));
    assert!(ca.renew(at(0)) && !ca.renew(at(0)));
    assert_ne!(ca.current(&subject("a"), at(0)).unwrap().chain(), before);
    assert!(prepare(path).is_err(), "the old one is still trusted");
    retire(path).unwrap();
    assert!(ca.reload().unwrap());
    assert!(!ca.bundle().contains(&old));
}

#[test]
fn a_change_of_roots_that_was_interrupted_goes_on() {
    for steps in 1..3 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let old = open(path, 600).bundle();
        prepare(path).unwrap();
        let renames = [("root.pem", "previous.pem"), ("next.pem", "root.pem")];
        for (from, to) in &renames[..steps] {
            std::fs::rename(path.join(from), path.join(to)).unwrap();
        }
        let settings = Settings { directory: path.to_owned(), life: Duration::from_secs(600) };
        let Err(error) = MeshCa::open(settings) else { panic!("half a change is no authority") };
        assert!(error.to_string().contains("run `outrigger ca switch` again"), "{error}");
        switch(path).unwrap();
        let ca = open(path, 600);
        assert!(ca.bundle().contains(&old) && !ca.bundle().starts_with(&old), "after {steps}");
        assert!(switch(path).is_err());
        retire(path).unwrap();
    }
}

#[test]
fn a_root_that_signs_is_not_replaced_while_one_before_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let signing = open(path, 600).authority.signer();
    prepare(path).unwrap();
    std::fs::copy(path.join("root.pem"), path.join("previous.pem")).unwrap();
    assert!(switch(path).unwrap_err().to_string().contains("retire it first"));
    assert_eq!(open(path, 600).authority.signer(), signing, "this is no change that was interrupted");
}

#[test]
fn what_nobody_asks_for_any_more_is_not_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let ca = open(directory.path(), 600);
    ca.current(&subject("gone"), at(0)).unwrap();
    ca.current(&subject("here"), at(0)).unwrap();
    assert!(ca.renew(at(500)), "both were asked for since they were issued");
    ca.current(&subject("here"), at(501)).unwrap();
    assert!(ca.renew(at(1000)));
    assert!(ca.holds(&subject("here"), at(1550)));
    assert!(!ca.holds(&subject("gone"), at(1000)));
}

/// An organisation's own root, with a key of another kind.
#[test]
fn a_root_that_was_brought_along_signs() {
    let directory = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "their root");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = params.self_signed(&key).unwrap().pem();
    std::fs::write(directory.path().join("root.pem"), &root).unwrap();
    let path = directory.path().join("root.key");
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let ca = open(directory.path(), 600);
    assert_eq!(ca.bundle(), root);
    let issued = ca.issue(&subject("a"), SystemTime::now()).unwrap();
    let (leaf, root) = (parsed(issued.chain()), parsed(&root));
    let (leaf, root) = (leaf.parse_x509().unwrap(), root.parse_x509().unwrap());
    assert_eq!(leaf.issuer(), root.subject());
    leaf.verify_signature(Some(root.public_key())).unwrap();
}
