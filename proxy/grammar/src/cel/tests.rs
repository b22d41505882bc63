use super::attribute::{Attribute, MetadataOf, Side, Tls};
use super::expr::{Expr, Kind, Literal};
use super::function::{Function, Part};
use super::syntax::Syntax;
use super::*;

fn read(source: &str) -> Expr {
    parse(source, Dialect::default()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

fn refused(source: &str) -> String {
    parse(source, Dialect::default()).expect_err(source).to_string()
}

fn int(value: i64) -> Expr {
    Expr::Literal(Literal::Int(value))
}

fn text(value: &str) -> Expr {
    Expr::Literal(Literal::Text(value.into()))
}

#[test]
fn constants_are_read_as_they_are_written() {
    for (source, wanted) in [
        ("null", Literal::Null),
        ("true", Literal::Bool(true)),
        ("12", Literal::Int(12)),
        ("-12", Literal::Int(-12)),
        ("--12", Literal::Int(12)),
        ("0x1F", Literal::Int(31)),
        ("-9223372036854775808", Literal::Int(i64::MIN)),
        ("18446744073709551615u", Literal::Uint(u64::MAX)),
        ("0xffU", Literal::Uint(255)),
        ("1.5", Literal::Double(1.5)),
        (".5e1", Literal::Double(5.0)),
        ("1e-7", Literal::Double(1e-7)),
        ("'a\"b'", Literal::Text("a\"b".into())),
        ("\"it's\"", Literal::Text("it's".into())),
        ("'''two\nlines' '''", Literal::Text("two\nlines' ".into())),
        (r"'\x41\101\u00e9\U0001F600\n\'\?'", Literal::Text("AA\u{e9}\u{1f600}\n'?".into())),
        (r"'\xff'", Literal::Text("\u{ff}".into())),
        (r"r'\d'", Literal::Text(r"\d".into())),
        (r"b'\xff\377a'", Literal::Bytes([0xff, 0xff, b'a'].into())),
        ("b'\u{e9}'", Literal::Bytes([0xc3, 0xa9].into())),
        (r"bR'\x41'", Literal::Bytes((*br"\x41").into())),
    ] {
        assert_eq!(read(source), Expr::Literal(wanted), "{source}");
    }
}

#[test]
fn operators_bind_as_in_the_language() {
    let call = |function, operands: &[Expr]| Expr::Call(function, operands.to_vec());
    let add = Function::Add { text: false };
    assert_eq!(
        read("1 + 2 * 3 - 4"),
        call(
            Function::Subtract,
            &[call(add, &[int(1), call(Function::Multiply, &[int(2), int(3)])]), int(4)]
        )
    );
    assert_eq!(read("1 - -1"), call(Function::Subtract, &[int(1), int(-1)]));
    let compared = |function| call(function, &[int(1), int(2)]);
    assert_eq!(
        read("1 < 2 || 1 == 2 && 1 in [2] || !true"),
        Expr::Any(vec![
            compared(Function::Less),
            Expr::All(vec![
                compared(Function::Equal),
                call(Function::In, &[int(1), Expr::List(vec![int(2)])])
            ]),
            call(Function::Not, &[Expr::Literal(Literal::Bool(true))]),
        ])
    );
    let choose = |operands: [Expr; 3]| Expr::Choose(Box::new(operands));
    assert_eq!(
        read("1 ? 2 : 3 ? 4 : 5 // the rest"),
        choose([int(1), int(2), choose([int(3), int(4), int(5)])])
    );
    assert_eq!(read("(1) [2]"), Expr::Index(Box::new(int(1)), Box::new(int(2))));
    assert_eq!(read("{1: 2,}"), Expr::Map(vec![(int(1), int(2))]));
    assert_eq!(read("'a'.size()"), read("size('a')"));
    assert_eq!(read("type(1)"), call(Function::Type, &[int(1)]));
    assert_eq!(read("int"), Expr::Type(Kind::Int));
}

#[test]
fn names_lead_to_attributes() {
    let is = |source: &str, wanted| assert_eq!(read(source), Expr::Attribute(wanted), "{source}");
    is("request.path", Attribute::RequestPath);
    is("request['path']", Attribute::RequestPath);
    is(".request.`path`", Attribute::RequestPath);
    is("connection.tls_version", Attribute::Tls(Side::Downstream, Tls::Version));
    is("upstream.tls_version", Attribute::Tls(Side::Upstream, Tls::Version));
    is("metadata.filter_metadata", Attribute::Namespaces(MetadataOf::Request));
    is("xds.route_metadata", Attribute::Metadata(MetadataOf::Route));
    is("filter_state", Attribute::FilterState);
    assert_eq!(read("has(request.path)"), Expr::HasAttribute(Attribute::RequestPath));
    let headers = || Box::new(Expr::Attribute(Attribute::RequestHeaders));
    assert_eq!(read("has(request.headers.a)"), Expr::Has(headers(), "a".into()));
    assert_eq!(read("request.headers['a']"), Expr::Index(headers(), Box::new(text("a"))));
    assert_eq!(
        read("request.time.getHours('-05:30')"),
        Expr::Call(
            Function::Part(Part::Hours),
            vec![Expr::Attribute(Attribute::RequestTime), text("-05:30")]
        )
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (source, wanted) in [
        ("", "something is missing at character 1"),
        ("1 +", "something is missing at character 4"),
        ("'é' 2", "unexpected value at character 5"),
        ("(1", "something is missing"),
        ("f(1,)", "unexpected \")\""),
        ("[1,", "something is missing"),
        ("'a", "without its closing '"),
        ("'a\nb'", "without its closing '"),
        (r"'\d'", "an escape that is none"),
        (r"'\ud800'", "an escape that is none"),
        (r"b'\u00e9'", "an escape that is none"),
        (r"'\400'", "an escape that is none"),
        ("a..b", "a field's name is missing"),
        ("1 @", "'@' is not understood at character 3"),
        ("`a`", "unexpected \"a\""),
        ("9223372036854775808", "beyond 64 bits"),
        ("18446744073709551616u", "beyond 64 bits"),
        ("1e", "unexpected \"e\""),
        ("as", "reserved word \"as\""),
        ("Foo{a: 1}", "messages cannot be made"),
        ("has(request)", "has() that asks for no field"),
        ("has(1, 2)", "has() that asks for no field"),
        ("request", "\"request\" alone is no value: name an attribute (request.path, "),
        ("request.what", "there is no attribute request.what"),
        ("has(request.what)", "there is no attribute request.what"),
        ("upstream.what", "there is no attribute upstream.what"),
        ("xds.node.id", "attribute xds.node is not supported here"),
        ("upstream.locality.zone", "attribute upstream.locality is not supported here"),
        ("nothing.at.all", "nothing is called \"nothing\""),
        ("metadata['a']", "metadata is no map"),
        ("metadata.a", "metadata has no field \"a\""),
        ("metadata.typed_filter_metadata", "typed_filter_metadata is not supported here"),
        ("f(1)", "there is no function f()"),
        ("size()", "size() is not called this way"),
        ("lowerAscii('a')", "lowerAscii() needs enable_string_functions"),
        ("string(1)", "string() needs enable_string_conversion"),
        ("[1].all(x, x > 0)", "all() is not supported: expressions do not loop"),
        ("'a'.matches('(')", "the pattern of matches(): "),
        ("'a'.matches(request.path)", "the pattern of matches() must be written out"),
        ("request.time.getHours('Europe/Berlin')", "a time zone must be written out"),
    ] {
        let said = refused(source);
        assert!(said.contains(wanted), "{source}: {said}");
    }
}

#[test]
fn dialects_add_functions() {
    let all = Dialect { conversion: true, concatenation: true, functions: true };
    let read = |source| parse(source, all).unwrap();
    assert_eq!(read("string(1)"), Expr::Call(Function::Text, vec![int(1)]));
    assert_eq!(read("1 + 2"), Expr::Call(Function::Add { text: true }, vec![int(1), int(2)]));
    assert_eq!(
        read("'a'.replace('b', 'c')"),
        Expr::Call(Function::Replace, vec![text("a"), text("b"), text("c")])
    );
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |levels: usize| format!("{}1{}", "(".repeat(levels), ")".repeat(levels));
    read(&nested(MAX_DEPTH - 1));
    assert!(refused(&nested(MAX_DEPTH)).contains("nesting beyond"));
    assert!(refused(&format!("1{}", "[0]".repeat(MAX_DEPTH))).contains("nesting beyond"));
    assert!(refused(&format!("1{}", " + 1".repeat(MAX_DEPTH))).contains("nesting beyond"));
    assert!(refused(&"-".repeat(MAX_LENGTH + 1)).contains("longer than"));
    // Rows of one operator are flat, however long and however they came grouped.
    let row = format!("true{}", " || true".repeat(1000));
    assert!(matches!(read(&row), Expr::Any(operands) if operands.len() == 1001));
    let one = || Syntax::Literal(Literal::Bool(true));
    let grouped = (0..90).fold(one(), |left, _| Syntax::call(syntax::AND, vec![left, one()]));
    assert!(matches!(resolve(grouped, Dialect::default()), Ok(Expr::All(operands)) if operands.len() == 91));
}
