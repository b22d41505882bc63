//! Header edits and their refusals.

use super::*;
use outrigger_xds_protos::v3::wkt::BoolValue;

fn option(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: key.to_owned(), value: value.to_owned(), raw_value: Vec::new() }),
        ..Default::default()
    }
}

fn request(add: &[HeaderValueOption], remove: &[String]) -> Result<HeaderEdits, Rejection> {
    let lists = Lists { request_add: add, request_remove: remove, response_add: &[], response_remove: &[] };
    edits(lists, &Path::ROOT)
}

#[test]
fn names_are_lower_cased_and_actions_kept() {
    let add = HeaderValueOption { append_action: 1, ..option("X-A", "1") };
    let edits = request(&[add], &["X-Gone".to_owned()]).unwrap();
    assert_eq!(&*edits.request_add[0].name, "x-a");
    assert_eq!(edits.request_add[0].action, AppendAction::AddIfAbsent);
    assert_eq!(&*edits.request_remove[0], "x-gone");
    assert!(edits.response_is_empty());
}

#[test]
#[allow(deprecated)]
fn deprecated_append_chooses_between_append_and_overwrite() {
    let with =
        |append: bool| HeaderValueOption { append: Some(BoolValue { value: append }), ..option("a", "1") };
    let edits = request(&[with(true), with(false), option("a", "1")], &[]).unwrap();
    let actions: Vec<AppendAction> = edits.request_add.iter().map(|add| add.action).collect();
    assert_eq!(actions, [AppendAction::AppendOrAdd, AppendAction::OverwriteOrAdd, AppendAction::AppendOrAdd]);
    let both = HeaderValueOption { append_action: 2, ..with(true) };
    assert_eq!(request(&[both], &[]).unwrap_err().path, "request_headers_to_add[0].append");
}

#[test]
fn pseudo_headers_and_host_are_refused() {
    for name in [":path", "Host"] {
        let error = request(&[option(name, "x")], &[]).unwrap_err();
        assert_eq!(error.path, "request_headers_to_add[0].header.key");
        let error = request(&[], &["ok".to_owned(), name.to_owned()]).unwrap_err();
        assert_eq!(error.path, "request_headers_to_remove[1]");
    }
}

#[test]
fn incomplete_additions_name_their_field() {
    let none = HeaderValueOption::default();
    assert_eq!(request(&[none], &[]).unwrap_err().path, "request_headers_to_add[0].header");
    let action = HeaderValueOption { append_action: 77, ..option("a", "1") };
    assert_eq!(request(&[action], &[]).unwrap_err().path, "request_headers_to_add[0].append_action");
    let mut raw = option("a", "");
    raw.header.as_mut().unwrap().raw_value = b"x".to_vec();
    assert_eq!(request(&[raw], &[]).unwrap_err().path, "request_headers_to_add[0].header.raw_value");
}
