//! From the text of an expression to its tokens.

use super::Malformed;
use super::expr::Literal;
use super::literal;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    /// A name, which may be a reserved word.
    Name(&'s str),
    /// A name in backquotes: a field only.
    Quoted(&'s str),
    /// A constant other than an integer.
    Literal(Literal),
    /// Digits of an integer, whose sign stands before it.
    Int(u64),
    /// An operator or bracket.
    Symbol(&'static str),
    /// The end.
    End,
}

/// Longest first.
const SYMBOLS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",", "(", ")",
    "[", "]", "{", "}",
];

/// Reads tokens.
#[derive(Clone, Debug)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(source: &'s str) -> Self {
        Self { source, at: 0 }
    }

    /// Says what is wrong at a byte of the source.
    pub(super) fn wrong(&self, at: usize, what: impl std::fmt::Display) -> Malformed {
        let column = self.source.get(..at).map_or(0, |before| before.chars().count()) + 1;
        Malformed(format!("{what} at character {column} of the expression"))
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> Result<(Token<'s>, usize), Malformed> {
        self.skip_blanks();
        let (source, at) = (self.source, self.at);
        let rest = &source[at..];
        let wrong = |what: String| self.wrong(at, what);
        let (token, length) = match rest.as_bytes() {
            [] => (Token::End, 0),
            [b'0'..=b'9', ..] => literal::number(rest).map_err(wrong)?,
            [b'.', b'0'..=b'9', ..] => literal::number(rest).map_err(wrong)?,
            [b'`', ..] => quoted(rest).ok_or_else(|| self.wrong(at, "` is not closed"))?,
            _ => match literal::text(rest) {
                Some(read) => {
                    let (literal, length) = read.map_err(wrong)?;
                    (Token::Literal(literal), length)
                }
                None => name(rest).or_else(|| symbol(rest)).ok_or_else(|| {
                    let char = rest.chars().next().unwrap_or_default();
                    self.wrong(at, format_args!("{char:?} is not understood"))
                })?,
            },
        };
        self.at += length;
        Ok((token, at))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.source[self.at..];
            let blanks = rest.bytes().take_while(|byte| b" \t\r\n\x0c".contains(byte)).count();
            let comment = if rest[blanks..].starts_with("//") {
                rest[blanks..].find('\n').unwrap_or(rest.len() - blanks)
            } else {
                0
            };
            if blanks + comment == 0 {
                return;
            }
            self.at += blanks + comment;
        }
    }
}

fn name(rest: &str) -> Option<(Token<'_>, usize)> {
    let first = *rest.as_bytes().first()?;
    if !first.is_ascii_alphabetic() && first != b'_' {
        return None;
    }
    let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
    let token = match &rest[..length] {
        "true" => Token::Literal(Literal::Bool(true)),
        "false" => Token::Literal(Literal::Bool(false)),
        "null" => Token::Literal(Literal::Null),
        "in" => Token::Symbol("in"),
        name => Token::Name(name),
    };
    Some((token, length))
}

fn quoted(rest: &str) -> Option<(Token<'_>, usize)> {
    let inside = &rest[1..];
    let end = inside.find('`').filter(|end| *end > 0)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/ ".contains(&byte);
    inside[..end].bytes().all(fits).then_some((Token::Quoted(&inside[..end]), end + 2))
}

fn symbol(rest: &str) -> Option<(Token<'static>, usize)> {
    let known = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol))?;
    Some((Token::Symbol(known), known.len()))
}
