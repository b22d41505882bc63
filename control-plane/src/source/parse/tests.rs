use super::*;

fn read(text: &str) -> (Vec<Node>, Report) {
    let mut report = Report::default();
    let documents = parse(&Arc::from("t.yaml"), text, &mut report);
    (documents, report)
}

fn one(text: &str) -> Node {
    let (mut documents, report) = read(text);
    assert!(report.sorted().is_empty(), "{:?}", report.sorted());
    documents.pop().unwrap()
}

fn codes(text: &str) -> Vec<&'static str> {
    read(text).1.sorted().iter().map(|d| d.code).collect()
}

#[test]
fn scalars_stay_raw_text_with_positions() {
    let node = one("a:\n  id: 012345678901\n  on: yes\n  none: ~\n  text: \"null\"\n");
    let a = node.get("a").unwrap();
    assert_eq!(a.get("id").unwrap().as_text(), Some("012345678901"));
    assert_eq!(a.get("on").unwrap().as_text(), Some("yes"));
    assert_eq!(a.get("none").unwrap().value, Value::Null);
    assert_eq!(a.get("text").unwrap().as_text(), Some("null"));
    let at = &a.get("id").unwrap().at;
    assert_eq!((at.line, at.column), (2, 7));
}

#[test]
fn tags_and_their_place_are_kept() {
    let node = one("a: !Ref Mesh\nb: !Sub\n  - x${Y}\n  - {Y: 1}\nc: !!str 5\n");
    let a = node.get("a").unwrap();
    assert_eq!((a.tag.as_deref(), a.as_text(), a.at.column), (Some("Ref"), Some("Mesh"), 4));
    assert_eq!(node.get("b").unwrap().tag.as_deref(), Some("Sub"));
    assert_eq!(node.get("c").unwrap().tag, None);
}

#[test]
fn json_with_tabs_reads_the_same() {
    let node = one("{\n\t\"a\":\t[1, {\"b\": \"c\\u0041\"}]\n}\n");
    assert_eq!(node.get("a").unwrap().as_list().unwrap()[1].get("b").unwrap().as_text(), Some("cA"));
}

#[test]
fn several_documents() {
    assert_eq!(read("a: 1\n---\nb: 2\n").0.len(), 2);
}

#[test]
fn duplicate_keys_are_errors_at_the_second_key() {
    let (_, report) = read("a: 1\nb:\n  c: 1\n  c: 2\n");
    let found = report.sorted();
    assert_eq!((found[0].code, found[0].at.line, found[0].at.column), ("duplicate-key", 4, 3));
}

#[test]
fn merge_keys_give_way_to_own_keys() {
    let node = one("base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\nv:\n  <<: [*b, *o]\n  x: 9\n");
    let v = node.get("v").unwrap();
    let values: Vec<_> = ["x", "y", "z"].iter().map(|k| v.get(k).unwrap().as_text().unwrap()).collect();
    assert_eq!(values, ["9", "2", "4"]);
}

#[test]
fn alias_bombs_stop_at_the_limit() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..9 {
        let p = format!("*a{}", i - 1);
        text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![p; 10].join(", ")));
    }
    assert_eq!(codes(&text), ["too-large"]);
}

#[test]
fn depth_is_bounded() {
    assert_eq!(codes(&"[".repeat(5000)).len(), 1);
    let deep: String = (0..5000).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert_eq!(codes(&deep).len(), 1);
}

#[test]
fn garbage_is_an_error_with_a_place() {
    for text in ["a: [1", "{\"a\": }}", "a: *nope", "\u{0}", "? {a: b}\n: 1\n", "a: b: c"] {
        let (_, report) = read(text);
        assert!(report.has_errors(), "{text:?} was accepted");
        assert!(report.sorted()[0].at.line >= 1);
    }
}

#[test]
fn depth_counts_expanded_aliases() {
    let mut text = String::from("a0: &a0 [x]\n");
    for i in 1..200 {
        text.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
    }
    assert_eq!(codes(&text), ["too-deep"]);
}
