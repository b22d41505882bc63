//! The grammar of expressions: precedence climbing over tokens.

use super::expr::Literal;
use super::lexer::{Lexer, Token};
use super::syntax::{self, Syntax};
use super::{MAX_DEPTH, Malformed};

/// Operators of two operands, how strongly they bind, and the functions they stand for.
const OPERATORS: &[(&str, u8, &str)] = &[
    ("||", 1, syntax::OR),
    ("&&", 2, syntax::AND),
    ("==", 3, "_==_"),
    ("!=", 3, "_!=_"),
    ("<", 3, "_<_"),
    ("<=", 3, "_<=_"),
    (">", 3, "_>_"),
    (">=", 3, "_>=_"),
    ("in", 3, "@in"),
    ("+", 4, "_+_"),
    ("-", 4, "_-_"),
    ("*", 5, "_*_"),
    ("/", 5, "_/_"),
    ("%", 5, "_%_"),
];

/// Words that are kept for later and name nothing.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Reads a whole expression.
pub(super) fn parse(source: &str) -> Result<Syntax, Malformed> {
    let mut lexer = Lexer::new(source);
    let (token, at) = lexer.next()?;
    let mut parser = Parser { lexer, token, at, depth: 0 };
    let syntax = parser.expression()?;
    match parser.token {
        Token::End => Ok(syntax),
        _ => Err(parser.unexpected()),
    }
}

struct Parser<'s> {
    lexer: Lexer<'s>,
    /// The next token.
    token: Token<'s>,
    /// Where it begins.
    at: usize,
    depth: usize,
}

impl<'s> Parser<'s> {
    fn wrong(&self, what: impl std::fmt::Display) -> Malformed {
        self.lexer.wrong(self.at, what)
    }

    fn unexpected(&self) -> Malformed {
        match &self.token {
            Token::End => self.wrong("something is missing"),
            Token::Symbol(symbol) => self.wrong(format_args!("unexpected {symbol:?}")),
            Token::Name(name) | Token::Quoted(name) => self.wrong(format_args!("unexpected {name:?}")),
            Token::Literal(_) | Token::Int(_) => self.wrong("unexpected value"),
        }
    }

    /// Takes the next token.
    fn take(&mut self) -> Result<Token<'s>, Malformed> {
        let (next, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    /// Takes the symbol if it is next.
    fn has(&mut self, symbol: &str) -> Result<bool, Malformed> {
        let found = self.is(symbol);
        if found {
            self.take()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Malformed> {
        if self.has(symbol)? { Ok(()) } else { Err(self.unexpected()) }
    }

    fn too_deep(&self) -> Malformed {
        self.wrong(format_args!("nesting beyond {MAX_DEPTH} levels"))
    }

    /// One level deeper.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Malformed>) -> Result<T, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(self.too_deep());
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn expression(&mut self) -> Result<Syntax, Malformed> {
        self.nested(|parser| {
            let condition = parser.binary(1)?;
            if !parser.has("?")? {
                return Ok(condition);
            }
            let then = parser.binary(1)?;
            parser.expect(":")?;
            let otherwise = parser.expression()?;
            Ok(Syntax::call(syntax::CHOOSE, vec![condition, then, otherwise]))
        })
    }

    /// Operators that bind at least as strongly as `weakest`.
    fn binary(&mut self, weakest: u8) -> Result<Syntax, Malformed> {
        let mut left = self.unary()?;
        let mut level = self.depth;
        loop {
            let Token::Symbol(symbol) = self.token else { return Ok(left) };
            let operator = OPERATORS.iter().find(|(known, ..)| *known == symbol);
            let Some((_, strength, function)) = operator.filter(|(_, strength, _)| *strength >= weakest)
            else {
                return Ok(left);
            };
            self.take()?;
            let right = self.binary(strength + 1)?;
            // Each holds the one before, but for those that take any number of operands.
            level += usize::from(![syntax::AND, syntax::OR].contains(function));
            if level > MAX_DEPTH {
                return Err(self.too_deep());
            }
            left = joined(function, left, right);
        }
    }

    fn unary(&mut self) -> Result<Syntax, Malformed> {
        let Some(sign) = ["!", "-"].into_iter().find(|sign| self.is(sign)) else { return self.member() };
        let mut count = 0;
        while self.has(sign)? {
            count += 1;
        }
        if count % 2 == 0 {
            return self.member();
        }
        if sign == "!" {
            return Ok(Syntax::call("!_", vec![self.member()?]));
        }
        match self.token {
            // The smallest integer has no positive counterpart.
            Token::Int(digits) => {
                let value = 0i64.checked_sub_unsigned(digits);
                let value = value.ok_or_else(|| self.wrong("an integer beyond 64 bits"))?;
                self.take()?;
                self.members(Syntax::Literal(Literal::Int(value)))
            }
            _ => Ok(Syntax::call("-_", vec![self.member()?])),
        }
    }

    fn member(&mut self) -> Result<Syntax, Malformed> {
        let primary = self.primary()?;
        self.members(primary)
    }

    /// What follows an operand: fields, calls, indexes.
    fn members(&mut self, mut of: Syntax) -> Result<Syntax, Malformed> {
        // Each wraps the one before.
        for level in self.depth.. {
            if level > MAX_DEPTH {
                return Err(self.too_deep());
            }
            if self.has(".")? {
                of = self.selection(of)?;
            } else if self.has("[")? {
                let index = self.expression()?;
                self.expect("]")?;
                of = Syntax::call(syntax::INDEX, vec![of, index]);
            } else {
                break;
            }
        }
        Ok(of)
    }

    fn selection(&mut self, of: Syntax) -> Result<Syntax, Malformed> {
        let of = Box::new(of);
        match self.take()? {
            Token::Quoted(field) => Ok(Syntax::Select { of, field: field.into(), test: false }),
            Token::Name(name) if self.has("(")? => {
                let arguments = self.list(")")?;
                Ok(Syntax::Call { target: Some(of), name: name.into(), arguments })
            }
            Token::Name(field) => Ok(Syntax::Select { of, field: field.into(), test: false }),
            _ => Err(self.wrong("a field's name is missing")),
        }
    }

    fn primary(&mut self) -> Result<Syntax, Malformed> {
        match &self.token {
            Token::Literal(_) | Token::Int(_) | Token::Name(_) => {}
            Token::Symbol("." | "(" | "[" | "{") => {}
            _ => return Err(self.unexpected()),
        }
        let at = self.at;
        match self.take()? {
            Token::Literal(literal) => Ok(Syntax::Literal(literal)),
            Token::Int(digits) => match i64::try_from(digits) {
                Ok(value) => Ok(Syntax::Literal(Literal::Int(value))),
                Err(_) => Err(self.lexer.wrong(at, "an integer beyond 64 bits")),
            },
            Token::Symbol("(") => {
                let inside = self.expression()?;
                self.expect(")")?;
                Ok(inside)
            }
            Token::Symbol("[") => self.list("]").map(Syntax::List),
            Token::Symbol("{") => self.map(),
            Token::Symbol(_) => match self.take()? {
                Token::Name(name) => self.named(name, at),
                _ => Err(self.lexer.wrong(at, "a name is missing")),
            },
            Token::Name(name) => self.named(name, at),
            Token::Quoted(_) | Token::End => Err(self.unexpected()),
        }
    }

    /// A name, or a call of a function.
    fn named(&mut self, name: &str, at: usize) -> Result<Syntax, Malformed> {
        if RESERVED.contains(&name) {
            return Err(self.lexer.wrong(at, format_args!("the reserved word {name:?}")));
        }
        if self.is("{") {
            return Err(self.wrong("messages cannot be made: unexpected \"{\""));
        }
        if !self.has("(")? {
            return Ok(Syntax::Name(name.into()));
        }
        let arguments = self.list(")")?;
        if name != "has" {
            return Ok(Syntax::call(name, arguments));
        }
        match <[Syntax; 1]>::try_from(arguments) {
            Ok([Syntax::Select { of, field, test: false }]) => Ok(Syntax::Select { of, field, test: true }),
            _ => Err(self.lexer.wrong(at, "has() that asks for no field, as in has(a.b),")),
        }
    }

    /// Expressions with commas between, up to `end`. A list may have a comma behind its last entry.
    fn list(&mut self, end: &str) -> Result<Vec<Syntax>, Malformed> {
        let mut entries = Vec::new();
        while !self.has(end)? {
            entries.push(self.expression()?);
            if !self.has(",")? {
                self.expect(end)?;
                break;
            }
            if end == ")" && self.is(end) {
                return Err(self.unexpected());
            }
        }
        Ok(entries)
    }

    fn map(&mut self) -> Result<Syntax, Malformed> {
        let mut entries = Vec::new();
        while !self.has("}")? {
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?));
            if !self.has(",")? {
                self.expect("}")?;
                break;
            }
        }
        Ok(Syntax::Map(entries))
    }
}

/// A call of two operands; rows of `&&` and of `||` are one call of many.
fn joined(function: &str, left: Syntax, right: Syntax) -> Syntax {
    match left {
        Syntax::Call { target: None, name, mut arguments }
            if *name == *function && [syntax::AND, syntax::OR].contains(&function) =>
        {
            arguments.push(right);
            Syntax::Call { target: None, name, arguments }
        }
        left => Syntax::call(function, vec![left, right]),
    }
}
