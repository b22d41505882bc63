//! Metric math for one period, as far as our templates use it. A missing operand makes the result missing, and so
//! does a division by zero. Source: CloudWatch user guide, "Using math expressions with CloudWatch metrics".

use crate::Result;

/// The value of `expression`, `None` when it is missing. `known` are the queries before it, by id.
pub fn evaluate(expression: &str, known: &[(&str, Option<f64>)]) -> Result<Option<f64>> {
    let mut parser = Parser { rest: expression, known };
    let value = parser.comparison()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(format!("{expression}: not understood from {:?}", parser.rest).into()),
    }
}

struct Parser<'e> {
    rest: &'e str,
    known: &'e [(&'e str, Option<f64>)],
}

type Operand = Result<Option<f64>>;

impl<'e> Parser<'e> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn takes(&mut self, one: char) -> bool {
        let found = self.peek() == Some(one);
        if found {
            self.rest = &self.rest[one.len_utf8()..];
        }
        found
    }

    fn word(&mut self) -> &'e str {
        let rest = self.rest.trim_start();
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && !"_.".contains(char));
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.rest = rest;
        word
    }

    fn comparison(&mut self) -> Operand {
        let left = self.sum()?;
        let number = |holds: bool| if holds { 1.0 } else { 0.0 };
        if self.takes('>') {
            return Ok(left.zip(self.sum()?).map(|(left, right)| number(left > right)));
        }
        if self.takes('<') {
            return Ok(left.zip(self.sum()?).map(|(left, right)| number(left < right)));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Operand {
        let mut left = self.product()?;
        loop {
            left = match self.peek() {
                Some('+') if self.takes('+') => left.zip(self.product()?).map(|(left, right)| left + right),
                Some('-') if self.takes('-') => left.zip(self.product()?).map(|(left, right)| left - right),
                _ => return Ok(left),
            };
        }
    }

    fn product(&mut self) -> Operand {
        let mut left = self.factor()?;
        loop {
            left = match self.peek() {
                Some('*') if self.takes('*') => left.zip(self.factor()?).map(|(left, right)| left * right),
                Some('/') if self.takes('/') => {
                    let right = self.factor()?.filter(|right| *right != 0.0);
                    left.zip(right).map(|(left, right)| left / right)
                }
                _ => return Ok(left),
            };
        }
    }

    fn factor(&mut self) -> Operand {
        if self.takes('(') {
            let inside = self.comparison()?;
            return self.closed(inside);
        }
        let word = self.word();
        if let Ok(number) = word.parse() {
            return Ok(Some(number));
        }
        if self.takes('(') {
            return self.function(word);
        }
        let known = self.known.iter().find(|(id, _)| *id == word);
        known.map(|(_, value)| *value).ok_or_else(|| format!("nobody is called {word:?}").into())
    }

    fn function(&mut self, name: &str) -> Operand {
        let mut arguments = vec![self.comparison()?];
        while self.takes(',') {
            arguments.push(self.comparison()?);
        }
        let value = match (name, arguments.as_slice()) {
            ("FILL", [value, instead]) => value.or(*instead),
            ("IF", [Some(condition), then, otherwise]) => {
                if *condition != 0.0 {
                    *then
                } else {
                    *otherwise
                }
            }
            ("IF", [None, _, _]) => None,
            _ => return Err(format!("{name} of {} arguments", arguments.len()).into()),
        };
        self.closed(value)
    }

    fn closed(&mut self, value: Option<f64>) -> Operand {
        if self.takes(')') {
            Ok(value)
        } else {
            Err(format!("no bracket closes before {:?}", self.rest).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_makes_the_result_missing_unless_it_is_filled() {
        let known = [("errors", Some(5.0)), ("requests", Some(20.0)), ("gone", None), ("none", Some(0.0))];
        let value = |expression| evaluate(expression, &known).unwrap();
        assert_eq!(value("IF(requests > 0, 100 * FILL(errors, 0) / requests, 0)"), Some(25.0));
        assert_eq!(value("errors + requests * 2 - (errors - 1)"), Some(41.0));
        assert_eq!(value("errors + gone"), None);
        assert_eq!(value("FILL(gone, 1) + errors"), Some(6.0));
        assert_eq!(value("errors / none"), None);
        assert_eq!(value("IF(gone > 0, 1, 2)"), None);
        assert_eq!(value("IF(none < 1, 1, 2)"), Some(1.0));
        for wrong in ["nobody", "errors +", "FILL(errors)", "(errors", "errors errors", "MAX(errors, 1)"] {
            assert!(evaluate(wrong, &known).is_err(), "{wrong}");
        }
    }
}
