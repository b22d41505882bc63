use super::*;

#[test]
fn text_and_back() {
    let text = r#"clusters[3].typed_extension_protocol_options["a.b/\"c\"]"].http_filters[0].name"#;
    let path = Path::parse(text);
    assert_eq!(path.0.len(), 7);
    assert_eq!(path.0[3], Segment::Key("a.b/\"c\"]".into()));
    assert_eq!(path.to_string(), text);
}

#[test]
fn malformed_text_does_not_panic() {
    for text in ["", ".", "[", "[]", "a[", "a[\"", "a[\"x\"", "..a", "a..b", "[0", "]é["] {
        let _ = Path::parse(text).to_string();
    }
}
