use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[test]
fn addresses_are_read() {
    assert_eq!("127.0.0.1:18000".parse(), Ok(Address::Tcp("127.0.0.1:18000".into())));
    assert_eq!("[::1]:0".parse(), Ok(Address::Tcp("[::1]:0".into())));
    assert_eq!("localhost:1".parse(), Ok(Address::Tcp("localhost:1".into())));
    assert_eq!("unix:/run/x.sock".parse(), Ok(Address::Unix("/run/x.sock".into())));
    for text in ["", "18000", ":18000", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000", "unix:"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    for text in ["127.0.0.1:18000", "unix:/run/x.sock"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
}

#[tokio::test]
async fn only_tcp_beyond_loopback_is_exposed() {
    for (address, exposed) in [("127.0.0.1:0", false), ("0.0.0.0:0", true), ("localhost:0", false)] {
        let listener = Listener::bind(&address.parse().unwrap()).await.unwrap();
        assert_eq!(listener.is_exposed(), exposed, "{address}");
        assert!(!listener.address().to_string().ends_with(":0"), "the port is known");
    }
}

#[tokio::test]
async fn a_unix_socket_is_taken_over_from_the_dead_and_removed_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("xds.sock");
    let address = Address::Unix(path.clone());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");

    let listener = Listener::bind(&address).await.unwrap();
    let error = Listener::bind(&address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "the living are left alone");
    assert!(!listener.is_exposed());

    drop(listener.accept().await.unwrap()); // the second one's question whether it is alive
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut socket = listener.accept().await.unwrap();
    assert!(socket.peer.starts_with(&format!("unix:pid={}", std::process::id())), "{}", socket.peer);
    client.write_all(b"x").await.unwrap();
    assert_eq!(socket.io.read_u8().await.unwrap(), b'x');
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_in_the_way_is_not_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    assert!(Listener::bind(&Address::Unix(path.clone())).await.is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
}
