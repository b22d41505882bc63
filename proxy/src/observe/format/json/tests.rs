use super::*;
use crate::observe::test_record::Exchange;
use serde_json::json;

fn render(template: Value, omit_empty: bool) -> String {
    let exchange = Exchange::example();
    let mut out = Vec::new();
    let Value::Object(template) = template else { panic!("not an object") };
    JsonFormat::parse(&template, omit_empty).unwrap().render(&exchange.record(), &mut out);
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<Value>(&text).unwrap();
    text
}

fn template() -> Value {
    json!({
        "zz": "%DURATION%", "a": "%REQ(nope)%", "b": {"c": "%REQ(nope)%"}, "d": ["%REQ(nope)%", "x"],
        "e": "p%REQ(nope)%", "mixed": "code=%RESPONSE_CODE%", "z": 1, "y": true, "B": 2.5, "n": null,
        "pt": "%REQ(x-empty)%", "flags": "%RESPONSE_FLAGS%", "q": "\"%PROTOCOL%\"", "lit": "50%%",
    })
}

/// Envoy 1.40 prints the same for the same template.
#[test]
fn types_are_kept_and_keys_sorted() {
    assert_eq!(
        render(template(), false),
        "{\"B\":2.5,\"a\":null,\"b\":{\"c\":null},\"d\":[null,\"x\"],\"e\":\"p-\",\"flags\":\"-\",\"lit\":\"50%\",\
         \"mixed\":\"code=200\",\"n\":null,\"pt\":\"\",\"q\":\"\\\"HTTP/1.1\\\"\",\"y\":true,\"z\":1,\"zz\":7}"
    );
}

#[test]
fn empty_values_are_left_out_when_asked() {
    assert_eq!(
        render(template(), true),
        "{\"B\":2.5,\"d\":[\"x\"],\"e\":\"p\",\"flags\":\"-\",\"lit\":\"50%\",\"mixed\":\"code=200\",\"n\":null,\
         \"pt\":\"\",\"q\":\"\\\"HTTP/1.1\\\"\",\"y\":true,\"z\":1,\"zz\":7}"
    );
    assert_eq!(render(json!({"a": "%REQ(nope)%"}), true), "{}");
    assert_eq!(render(json!({}), false), "{}");
}

#[test]
fn whole_doubles_print_as_integers() {
    assert_eq!(render(json!({"a": 1.0, "b": -3.0}), false), "{\"a\":1,\"b\":-3}");
}

#[test]
fn errors_name_the_key() {
    let template = json!({"outer": {"inner": "%NOPE%"}});
    let error = JsonFormat::parse(template.as_object().unwrap(), false).unwrap_err().0;
    assert!(error.contains("outer: inner: ") && error.contains("%NOPE%"), "{error}");
}

#[test]
fn deep_templates_are_refused() {
    let mut value = json!("x");
    for _ in 0..100 {
        value = json!([value]);
    }
    assert!(JsonFormat::parse(json!({ "a": value }).as_object().unwrap(), false).is_err());
}

proptest::proptest! {
    #[test]
    fn any_value_gives_valid_json(value in proptest::collection::vec(0u8..=255, 0..64)) {
        let mut exchange = Exchange::example();
        exchange.request.block.set(b"user-agent", &value);
        let template = json!({"u": "%REQ(user-agent)%", "v": "x%REQ(user-agent):3%"});
        let format = JsonFormat::parse(template.as_object().unwrap(), false).unwrap();
        let mut out = Vec::new();
        format.render(&exchange.record(), &mut out);
        proptest::prop_assert!(serde_json::from_slice::<Value>(&out).is_ok());
        proptest::prop_assert!(!out.contains(&b'\n'));
    }
}

/// What filters leave comes from tokens and services that anybody may have.
#[test]
fn what_filters_left_stays_in_its_value() {
    let hostile =
        ["\u{85}", "\u{9b}31m", "\u{7f}", "\u{2028}", "\n{\"forged\":1}", "\\\"", "\r\u{0}\u{1b}[2J"];
    let all: serde_json::Map<_, _> = hostile.iter().map(|text| ((*text).to_owned(), json!([text]))).collect();
    let mut left = crate::base::metadata::DynamicMetadata::default();
    left.merge("n", all.clone());
    left.merge("long", json!({"a": "é".repeat(9_000), "b": 1}).as_object().cloned().unwrap());
    left.merge("many", json!({"a": vec![7; 20_000]}).as_object().cloned().unwrap());
    let exchange = Exchange::example();
    let record = Record { dynamic: Some(&left), ..exchange.record() };
    let lines = |template: Value| {
        let Value::Object(template) = template else { panic!("not an object") };
        let mut out = Vec::new();
        JsonFormat::parse(&template, false).unwrap().render(&record, &mut out);
        String::from_utf8(out).unwrap()
    };
    let line = lines(json!({"m": "%DYNAMIC_METADATA(n)%", "t": "%DYNAMIC_METADATA(n)% "}));
    assert!(!line.contains(char::is_control), "{line:?}");
    let read: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(read["m"], Value::Object(all), "the values are what they were");
    for name in ["long", "many"] {
        let line = lines(json!({"m": format!("%DYNAMIC_METADATA({name})%")}));
        assert!(line.len() < 17_000, "{name}: {}", line.len());
        let read: Value = serde_json::from_str(&line).unwrap();
        assert!(!read["m"]["a"].is_null(), "what is too long is cut");
    }
}
