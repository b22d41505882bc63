//! Scalars at their limits.

use super::*;

fn seconds(seconds: i64, nanos: i32) -> Option<wkt::Duration> {
    Some(wkt::Duration { seconds, nanos })
}

#[test]
fn durations_are_zero_or_more_and_finite() {
    let path = Path::ROOT.field("timeout");
    assert_eq!(duration(&None, &path), Ok(None));
    assert_eq!(duration(&seconds(1, 500_000_000), &path), Ok(Some(Duration::from_millis(1500))));
    assert_eq!(duration_or_off(&None, &path), Ok(Duration::ZERO));
    for bad in [seconds(-1, 0), seconds(0, -1), seconds(0, 1_000_000_000), seconds(i64::MAX, 0)] {
        assert_eq!(duration(&bad, &path).map_err(|e| e.path), Err("timeout".to_owned()), "{bad:?}");
    }
    assert!(positive_duration(&seconds(0, 0), &path).is_err());
}

#[test]
fn fractions_scale_to_parts_per_million_and_saturate() {
    let fraction = |numerator, denominator| FractionalPercent { numerator, denominator };
    let ppm = |f| parts_per_million(&f, &Path::ROOT);
    assert_eq!(ppm(fraction(25, 0)), Ok(250_000));
    assert_eq!(ppm(fraction(25, 1)), Ok(2_500));
    assert_eq!(ppm(fraction(25, 2)), Ok(25));
    assert_eq!(ppm(fraction(u32::MAX, 0)), Ok(1_000_000));
    assert_eq!(ppm(fraction(1, 9)).map_err(|e| e.path), Err("denominator".to_owned()));
}

#[test]
fn networks_are_truncated_and_bounded() {
    let range = |prefix: &str, len| CidrRange {
        address_prefix: prefix.to_owned(),
        prefix_len: Some(wkt::UInt32Value { value: len }),
    };
    assert_eq!(cidr(&range("10.1.2.3", 8), &Path::ROOT).map(|n| n.to_string()), Ok("10.0.0.0/8".to_owned()));
    assert_eq!(cidr(&range("10.0.0.0", 33), &Path::ROOT).map_err(|e| e.path), Err("prefix_len".to_owned()));
    assert_eq!(cidr(&range("ten", 8), &Path::ROOT).map_err(|e| e.path), Err("address_prefix".to_owned()));
}

#[test]
fn addresses_need_tcp_and_a_number() {
    let socket = SocketAddress {
        address: "127.0.0.1".to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(80)),
        ..Default::default()
    };
    assert_eq!(ip_port(&socket, &Path::ROOT), Ok(SocketAddr::from(([127, 0, 0, 1], 80))));
    let udp = SocketAddress { protocol: 1, ..socket.clone() };
    assert_eq!(ip_port(&udp, &Path::ROOT).map_err(|e| e.path), Err("protocol".to_owned()));
    let named = SocketAddress {
        port_specifier: Some(socket_address::PortSpecifier::NamedPort("http".to_owned())),
        ..socket.clone()
    };
    assert_eq!(ip_port(&named, &Path::ROOT).map_err(|e| e.path), Err("named_port".to_owned()));
    let name = SocketAddress { address: "localhost".to_owned(), ..socket.clone() };
    assert_eq!(host_port(&name, &Path::ROOT), Ok(("localhost", 80)));
    assert_eq!(ip_port(&name, &Path::ROOT).map_err(|e| e.path), Err("address".to_owned()));
    let high =
        SocketAddress { port_specifier: Some(socket_address::PortSpecifier::PortValue(70_000)), ..socket };
    assert_eq!(host_port(&high, &Path::ROOT).map_err(|e| e.path), Err("port_value".to_owned()));
}
