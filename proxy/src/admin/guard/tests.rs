use super::*;

fn refused(host: Option<&str>, origin: Option<&str>) -> bool {
    let mut headers = HeaderMap::new();
    if let Some(host) = host {
        headers.insert(HOST, HeaderValue::from_str(host).unwrap());
    }
    if let Some(origin) = origin {
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
    }
    refuse(&headers, &["admin.example.com".to_owned()]).is_some()
}

#[test]
fn own_names_are_answered() {
    for host in [
        "localhost:9901",
        "127.0.0.1:9901",
        "[::1]:9901",
        "10.1.2.3",
        "envoy:9901",
        "LOCALHOST",
        "ip-10-0-0-1.ec2.internal:9901",
        "admin.example.com:9901",
        "pod.ns.svc:9901",
    ] {
        assert!(!refused(Some(host), None), "{host}");
    }
    assert!(!refused(None, None), "HTTP/1.0 needs no host");
}

#[test]
fn names_that_anyone_can_point_here_are_not() {
    for host in ["evil.com", "evil.com:9901", "127.0.0.1.evil.com", "localhost.evil.com", "", "[::1", "a.b."]
    {
        assert!(refused(Some(host), None), "{host}");
    }
}

#[test]
fn other_sites_are_refused() {
    let host = Some("localhost:9901");
    assert!(!refused(host, Some("http://localhost:9901")));
    for origin in ["http://evil.com", "http://localhost:8080", "null"] {
        assert!(refused(host, Some(origin)), "{origin}");
    }
}
