//! A head while it arrives: its start line, its fields, and what its framing fields said.

use super::framing::{Framing, IdSet};
use super::parse::{Limits, Progress, field_lines};
use crate::base::error::DownstreamError;
use crate::http::head::{Field, HeadPool};

/// Parses a start line at the front of a text. `None`: it has not arrived completely.
type StartLine<L> = fn(&[u8], &mut Progress, Limits) -> Result<Option<L>, DownstreamError>;

/// Head in progress; `L` is its kind of start line.
#[derive(Debug)]
pub(super) struct Incoming<L> {
    progress: Progress,
    start: Option<L>,
    fields: Vec<Field>,
    framing: Framing,
    told: u64,
}

/// Result of parsing a complete head.
#[derive(Debug)]
pub(super) struct Parsed<L> {
    pub start: L,
    /// Bytes of the head.
    pub length: usize,
    /// Fields that are no framing.
    pub fields: Vec<Field>,
    pub framing: Framing,
    /// Bytes of names and values, and three for each line, as Envoy counts them: blanks are none.
    pub told: u64,
    /// Field lines, those of the framing with them.
    pub lines: usize,
}

impl<L> Default for Incoming<L> {
    fn default() -> Self {
        Self {
            progress: Progress::default(),
            start: None,
            fields: Vec::new(),
            framing: Framing::default(),
            told: 0,
        }
    }
}

impl<L> Incoming<L> {
    /// Parses what is new in `text`, which holds all of the head that has arrived. Fields in `framing`
    /// stay out of the table.
    pub(super) fn parse(
        &mut self,
        text: &mut [u8],
        pool: &HeadPool,
        limits: Limits,
        start_line: StartLine<L>,
        framing: IdSet,
    ) -> Result<Option<Parsed<L>>, DownstreamError> {
        if text.is_empty() || !self.progress.resume(text, limits)? {
            return Ok(None);
        }
        if self.start.is_none() {
            self.start = start_line(text, &mut self.progress, limits)?;
            if self.start.is_none() {
                return Ok(None);
            }
            self.fields = pool.take_table();
        }
        let Self { progress, fields, framing: noted, told, .. } = self;
        let complete = field_lines(text, progress, limits, |text, line| {
            *told += line.told();
            if framing.contains(line.id) {
                return noted.note(text, line.id, line.value);
            }
            fields.push(line);
            Ok(())
        })?;
        let Some(length) = complete else { return Ok(None) };
        let Some(start) = self.start.take() else { return Ok(None) };
        let lines = std::mem::take(&mut self.progress).fields;
        let mut fields = std::mem::take(&mut self.fields);
        let framing = std::mem::take(&mut self.framing);
        framing.remove_named(text, &mut fields);
        let told = std::mem::take(&mut self.told);
        Ok(Some(Parsed { start, length, fields, framing, told, lines }))
    }

    /// True while the start line is incomplete.
    pub(super) fn at_start(&self) -> bool {
        self.start.is_none()
    }
}
