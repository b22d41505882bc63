use http::Request;

use super::convert;
use crate::http::codec::StreamError;
use crate::http::head::{BodyLength, RequestHead};
use crate::http::header_id::HeaderId;

fn head(request: Request<()>, ended: bool) -> Result<RequestHead, StreamError> {
    convert::request_head(request.into_parts().0, ended, 100)
}

#[test]
fn a_request_crosses_the_seam_both_ways() {
    let request = Request::post("https://svc.local:8443/a/b?c=d")
        .header("te", "trailers")
        .header("content-length", "3")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("x-env", "v")
        .body(())
        .unwrap();
    let head = head(request, false).unwrap();
    assert_eq!(
        (head.authority(), head.path_and_query(), head.https),
        (&b"svc.local:8443"[..], &b"/a/b?c=d"[..], true)
    );
    assert_eq!(head.body, BodyLength::Fixed(3));
    assert_eq!(head.block.get(HeaderId::Cookie), Some(&b"a=1; b=2"[..]));
    assert_eq!(head.block.get_by_name(b"te"), None);
    let back = convert::request(&head, head.body).unwrap();
    assert_eq!(back.uri().to_string(), "https://svc.local:8443/a/b?c=d");
    assert_eq!(back.headers()["te"], "trailers");
    assert_eq!(back.headers()["content-length"], "3");
    assert_eq!(back.headers()["x-env"], "v");
}

#[test]
fn host_and_authority_must_agree() {
    let request = |host: &str| Request::get("http://a.local/").header("host", host).body(()).unwrap();
    assert!(head(request("A.local"), true).is_ok());
    assert!(head(request("b.local"), true).is_err());
    let twice = Request::get("/").header("host", "a").header("host", "a").body(()).unwrap();
    assert!(head(twice, true).is_err());
    let none = Request::get("/").body(()).unwrap();
    assert!(head(none, true).is_err());
    let userinfo = Request::get("/").header("host", "user@a").body(()).unwrap();
    assert!(head(userinfo, true).is_err());
}

#[test]
fn what_has_no_place_in_http2_is_malformed() {
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("keep-alive", "1"),
        ("x-padded", "a "),
        ("content-length", "+3"),
        ("content-length", "99999999999999999999"),
    ] {
        let request = Request::get("http://a/").header(name, value).body(()).unwrap();
        assert!(head(request, false).is_err(), "{name}: {value}");
    }
    let mut many = Request::get("http://a/");
    for index in 0..101 {
        many = many.header(format!("x-{index}"), "v");
    }
    assert!(head(many.body(()).unwrap(), true).is_err());
}

#[test]
fn trailers_lose_framing_and_routing_fields() {
    let mut map = http::HeaderMap::new();
    for name in ["grpc-status", "content-length", "host", "authorization", "transfer-encoding"] {
        map.insert(http::HeaderName::from_static(name), http::HeaderValue::from_static("0"));
    }
    let trailers = convert::trailers(&map);
    assert_eq!(trailers.iter().collect::<Vec<_>>(), [(&b"grpc-status"[..], &b"0"[..])]);
}
