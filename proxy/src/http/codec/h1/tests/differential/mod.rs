//! Our codec beside hyper's over the same bytes: corpus and seeded mutations. Every difference must fall
//! into a row of the tables in [`requests`] and [`responses`], and every row must be needed.

mod oracle;
pub(super) mod requests;
pub(super) mod responses;

/// A named difference: what it is, why it is right, and how to recognise it.
struct Row<D: ?Sized> {
    name: &'static str,
    why: &'static str,
    explains: fn(&D) -> bool,
}

/// How often each row was used, and what none explained.
struct Tally<'a, D> {
    rows: &'a [Row<D>],
    uses: Vec<usize>,
    unexplained: Vec<D>,
}

impl<'a, D: std::fmt::Debug> Tally<'a, D> {
    fn new(rows: &'a [Row<D>]) -> Self {
        Self { rows, uses: vec![0; rows.len()], unexplained: Vec::new() }
    }

    fn add(&mut self, difference: D) {
        match self.rows.iter().position(|row| (row.explains)(&difference)) {
            Some(row) => self.uses[row] += 1,
            None => self.unexplained.push(difference),
        }
    }

    /// Fails for differences without a row, and for rows without a difference: the tables say what is.
    fn finish(self) {
        for (row, uses) in self.rows.iter().zip(&self.uses) {
            println!("{uses:6} {}", row.name);
        }
        assert!(
            self.unexplained.is_empty(),
            "{} unexplained: {:#?}",
            self.unexplained.len(),
            self.unexplained
        );
        for (row, uses) in self.rows.iter().zip(self.uses) {
            assert!(uses > 0, "no difference of kind {:?} ({}) was met", row.name, row.why);
        }
    }
}

/// Number of lines that start a field called `name`.
fn count(text: &str, name: &str) -> usize {
    text.lines().filter(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:"))).count()
}

fn has_bare_line_feed(text: &str) -> bool {
    let bytes = text.as_bytes();
    (0..bytes.len()).any(|at| bytes[at] == b'\n' && (at == 0 || bytes[at - 1] != b'\r'))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}
