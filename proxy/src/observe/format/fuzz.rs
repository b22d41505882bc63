//! Arbitrary formats, and arbitrary values in what they print.

#![allow(clippy::panic, reason = "what does not hold is a finding")]

use outrigger_grammar::command::{Piece, pieces};
use serde_json::Value;

use super::json::JsonFormat;
use super::{Escape, Format, Part};
use crate::observe::test_record::Exchange;

/// The length of a header's value, that, and a format.
pub fn log_formats(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (value, source) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok(source) = std::str::from_utf8(source) else { return };
    let parsed = Format::parse(source);
    let Ok(known) = pieces(source) else {
        assert!(parsed.is_err(), "the control plane refuses what the sidecar takes");
        return;
    };
    let Ok(format) = parsed else { return };
    let mut exchange = Exchange::example();
    exchange.request.block.set(b"user-agent", value);
    exchange.response.block.append(b"x-sent", value);
    exchange.trailers.append(b"x-end", value);
    for escape in [Escape::Header, Escape::Text, Escape::Body] {
        let mut out = Vec::new();
        format.write(&exchange.record(), b"-", escape, &mut out);
        separate(&format, &known, escape, &out);
        bounded(&format, &known, escape, &out);
    }
    in_json(source, &exchange);
}

/// No value ends a line, or adds a header.
fn separate(format: &Format, known: &[Piece<'_>], escape: Escape, out: &[u8]) {
    // What a format itself says in the arguments of an operator may be printed.
    let odd = |piece: &Piece<'_>| match piece {
        Piece::Command(command) => command.arguments.is_some_and(|text| text.chars().any(char::is_control)),
        Piece::Literal(_) => false,
    };
    if matches!(escape, Escape::Body) || known.iter().any(odd) {
        return;
    }
    let is_control = |byte: &&u8| match byte {
        b'\t' => !matches!(escape, Escape::Header),
        byte => byte.is_ascii_control(),
    };
    let literals = format.parts.iter().filter_map(|part| match part {
        Part::Literal(text) => Some(text.iter().filter(is_control).count()),
        Part::Value(_) => None,
    });
    let controls = out.iter().filter(is_control).count();
    assert_eq!(controls, literals.sum::<usize>(), "{escape:?}: {}", out.escape_ascii());
}

/// An operator alone prints no more than it is told to.
fn bounded(format: &Format, known: &[Piece<'_>], escape: Escape, out: &[u8]) {
    if let ([Part::Value(command)], [Piece::Command(_)], Escape::Body) = (&*format.parts, known, escape) {
        assert!(out.len() <= command.max.max(1), "{} bytes of {}", out.len(), command.max);
    }
}

/// Whatever is in it, a document is one, on one line.
fn in_json(source: &str, exchange: &Exchange) {
    let template = serde_json::json!({"a": source, "b": {"c": [source, "x"]}});
    let Value::Object(template) = template else { return };
    for omit_empty in [false, true] {
        let format = match JsonFormat::parse(&template, omit_empty) {
            Ok(format) => format,
            Err(error) => panic!("good as a line, not in JSON: {error}"),
        };
        let mut out = Vec::new();
        format.render(&exchange.record(), &mut out);
        assert!(serde_json::from_slice::<Value>(&out).is_ok(), "{}", out.escape_ascii());
        assert!(!out.contains(&b'\n'), "{}", out.escape_ascii());
    }
}
