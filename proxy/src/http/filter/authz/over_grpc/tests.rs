//! Answers as services send them, and as nobody should.

use serde_json::json;

use super::*;
use crate::observe::protobuf::{Message, common};

fn built(write: impl FnOnce(&mut Message<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Message(&mut out));
    out
}

fn header_option(
    field: u32,
    name: &str,
    value: &str,
    out: &mut Message<'_>,
    rest: impl Fn(&mut Message<'_>),
) {
    out.message(field, |option| {
        option.message(1, |header| {
            header.bytes(1, name.as_bytes());
            header.bytes(2, value.as_bytes());
        });
        rest(option);
    });
}

fn edit(name: &str, value: &str, how: How) -> Edit {
    Edit { name: name.to_owned(), value: value.as_bytes().to_vec(), how }
}

#[test]
fn a_good_answer_says_what_is_changed() {
    let bytes = built(|out| {
        out.message(3, |ok| {
            header_option(2, "X-A", "1", ok, |_| {});
            header_option(2, "x-b", "2", ok, |option| option.message(2, |flag| flag.number(1, 1)));
            header_option(2, "x-c", "3", ok, |option| option.number(3, 1));
            ok.bytes(5, b"x-gone");
            for action in 0..4 {
                header_option(6, "x-r", "r", ok, |option| option.number(3, action));
            }
            header_option(6, "x-r", "r", ok, |option| option.message(2, |_| {}));
            ok.message(7, |pair| {
                pair.bytes(1, b"k");
                pair.bytes(2, b"v");
            });
            ok.bytes(8, b"q");
        });
        let fields = json!({"who": "me"});
        out.message(4, |fields_out| common::structure(fields.as_object().unwrap(), fields_out));
    });
    let (told, metadata) = response(&bytes).unwrap();
    let ways = [How::Add, How::AddIfAbsent, How::Set, How::SetIfPresent, How::Set];
    let expected = Grant {
        request: vec![edit("x-a", "1", How::Set), edit("x-b", "2", How::Append), edit("x-c", "3", How::Set)],
        remove: vec!["x-gone".to_owned()],
        response: ways.iter().map(|how| edit("x-r", "r", *how)).collect(),
        query_set: vec![("k".to_owned(), "v".to_owned())],
        query_remove: vec!["q".to_owned()],
    };
    assert_eq!(told, Told::Granted(expected));
    assert_eq!(metadata.map(Value::Object), Some(json!({"who": "me"})));
    assert_eq!(response(b""), Ok((Told::Granted(Grant::default()), None)));
}

#[test]
fn a_bad_answer_says_what_the_client_is_told() {
    let denied = |field: u32, code: u64| {
        built(|out| {
            out.message(1, |status| status.number(1, code));
            out.message(field, |denied| {
                denied.message(1, |status| status.number(1, 418));
                header_option(2, "x-d", "1", denied, |_| {});
                denied.bytes(3, b"no");
            });
        })
    };
    let denial =
        || Denial { status: Some(418), headers: vec![edit("x-d", "1", How::Add)], body: b"no".to_vec() };
    assert_eq!(response(&denied(2, 7)).unwrap().0, Told::Denied(denial()));
    assert_eq!(response(&denied(5, 7)).unwrap().0, Told::Failed(Some(denial())));
    // The status decides.
    assert_eq!(response(&denied(2, 0)).unwrap().0, Told::Granted(Grant::default()));
    let bare = built(|out| out.message(1, |status| status.number(1, 16)));
    assert_eq!(response(&bare).unwrap().0, Told::Denied(Denial::default()));
}

#[test]
fn frames_hold_one_plain_message() {
    assert_eq!(message(b"\0\0\0\0\x02ab"), Ok(&b"ab"[..]));
    for bad in [
        &b""[..],
        b"\0\0\0",
        b"\x01\0\0\0\x02ab",
        b"\0\0\0\0\x03ab",
        b"\0\0\0\0\x01ab",
        b"\0\xff\xff\xff\xffab",
    ] {
        assert_eq!(message(bad), Err(Unreadable), "{bad:?}");
    }
}

/// Damaged answers grant nothing by accident of reading: they are read, or they are unreadable, and never a panic.
#[test]
fn damaged_answers_are_read_or_refused() {
    let whole = built(|out| {
        out.message(1, |status| status.number(1, 7));
        out.message(2, |denied| {
            denied.message(1, |status| status.number(1, 401));
            header_option(2, "x-d", "value", denied, |option| option.number(3, 2));
            denied.bytes(3, b"body");
        });
        let fields = json!({"a": [1, {"b": "c"}]});
        out.message(4, |fields_out| common::structure(fields.as_object().unwrap(), fields_out));
    });
    let mut rng = fastrand::Rng::with_seed(7);
    for cut in 0..whole.len() {
        let _ = response(&whole[..cut]);
    }
    for _ in 0..50_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
        let _ = response(&bytes);
        let noise: Vec<u8> = (0..rng.usize(..64)).map(|_| rng.u8(..)).collect();
        let _ = response(&noise);
    }
}
