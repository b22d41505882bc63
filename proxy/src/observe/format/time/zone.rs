//! The local time zone: `TZ`, else /etc/localtime. Source: RFC 8536 (TZif) and POSIX.1 8.3 (`TZ`).

mod rule;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rule::Rule;

/// Largest zone file read: the largest in use has 4 KiB.
const MAX_FILE: usize = 1 << 20;

/// A time zone.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::observe::format) struct Zone(Option<Arc<Local>>);

/// A zone with a history.
#[derive(Debug, Default, PartialEq)]
struct Local {
    /// From this second on (since the epoch) this holds; sorted.
    transitions: Vec<(i64, Kind)>,
    /// Before the first of them.
    first: Kind,
    /// After the last of them.
    rule: Option<Rule>,
}

/// What clocks show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kind {
    /// Seconds east of UTC.
    pub(super) offset: i32,
    /// `%Z`.
    pub(super) name: Box<str>,
}

impl Zone {
    /// Coordinated universal time.
    pub(in crate::observe::format) fn utc() -> Self {
        Self(None)
    }

    /// That of this machine; UTC where it says nothing, or nothing that can be read, as in the C library.
    pub(in crate::observe::format) fn local() -> Self {
        let zone = match std::env::var("TZ") {
            Ok(name) => named(name.strip_prefix(':').unwrap_or(&name)),
            Err(_) => from_file(Path::new("/etc/localtime")),
        };
        Self(zone.map(Arc::new))
    }

    /// What clocks show at this second since the epoch; `None` for UTC.
    pub(super) fn at(&self, epoch: i64) -> Option<&Kind> {
        let local = self.0.as_ref()?;
        let passed = local.transitions.partition_point(|(since, _)| *since <= epoch);
        if passed == local.transitions.len()
            && let Some(rule) = &local.rule
        {
            return Some(rule.at(epoch));
        }
        Some(passed.checked_sub(1).map_or(&local.first, |last| &local.transitions[last].1))
    }
}

fn named(name: &str) -> Option<Local> {
    if name.is_empty() {
        return None;
    }
    let path = PathBuf::from(name);
    let file = if path.is_absolute() { path } else { Path::new("/usr/share/zoneinfo").join(path) };
    from_file(&file).or_else(|| Some(Local { rule: Some(Rule::parse(name)?), ..Local::default() }))
}

fn from_file(path: &Path) -> Option<Local> {
    let bytes = std::fs::read(path).ok().filter(|bytes| bytes.len() <= MAX_FILE)?;
    Local::parse(&bytes)
}

/// Counts in a TZif header.
struct Counts {
    utc: usize,
    standard: usize,
    leaps: usize,
    times: usize,
    types: usize,
    chars: usize,
}

impl Counts {
    const HEADER: usize = 44;

    /// Reads a header; returns its version.
    fn read(bytes: &[u8]) -> Option<(u8, Self)> {
        let header = bytes.get(..Self::HEADER).filter(|header| header.starts_with(b"TZif"))?;
        let count = |at: usize| {
            let number = u32::from_be_bytes(header[20 + at * 4..][..4].try_into().ok()?);
            usize::try_from(number).ok().filter(|number| *number <= MAX_FILE)
        };
        let (utc, standard, leaps) = (count(0)?, count(1)?, count(2)?);
        Some((header[4], Self { utc, standard, leaps, times: count(3)?, types: count(4)?, chars: count(5)? }))
    }

    /// Length of the block behind the header, whose times have this many bytes.
    fn block(&self, time: usize) -> usize {
        let leaps = self.leaps * (time + 4);
        self.times * (time + 1) + self.types * 6 + self.chars + leaps + self.standard + self.utc
    }
}

impl Local {
    /// Version 2 and later: the second block has times of 64 bits, and a rule follows it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        const TIME: usize = 8;
        let (version, old) = Counts::read(bytes)?;
        let bytes = bytes.get(Counts::HEADER + old.block(4)..).filter(|_| version >= b'2')?;
        let (_, counts) = Counts::read(bytes)?;
        let (block, footer) = bytes[Counts::HEADER..].split_at_checked(counts.block(TIME))?;
        let (times, rest) = block.split_at(counts.times * TIME);
        let (indexes, rest) = rest.split_at(counts.times);
        let (types, rest) = rest.split_at(counts.types * 6);
        let kinds: Vec<Kind> =
            types.chunks(6).map(|kind| kind_of(kind, &rest[..counts.chars])).collect::<Option<_>>()?;
        let time = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).ok();
        let pairs = times.chunks(TIME).zip(indexes);
        let transitions = pairs.map(|(at, index)| Some((time(at)?, kinds.get(usize::from(*index))?.clone())));
        let footer = std::str::from_utf8(footer).ok()?.trim_matches('\n');
        Some(Self {
            transitions: transitions.collect::<Option<_>>()?,
            first: kinds.first()?.clone(),
            rule: Rule::parse(footer),
        })
    }
}

fn kind_of(kind: &[u8], names: &[u8]) -> Option<Kind> {
    let offset = i32::from_be_bytes(kind.get(..4)?.try_into().ok()?);
    let name = names.get(usize::from(*kind.get(5)?)..)?.split(|byte| *byte == 0).next()?;
    Some(Kind { offset, name: std::str::from_utf8(name).ok()?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(zone: &Zone, epoch: i64) -> (i32, &str) {
        zone.at(epoch).map_or((0, "UTC"), |kind| (kind.offset, &*kind.name))
    }

    fn of_rule(text: &str) -> Zone {
        Zone(Some(Arc::new(Local { rule: Some(Rule::parse(text).unwrap()), ..Local::default() })))
    }

    #[test]
    fn rules_change_clocks_at_their_second() {
        let york = of_rule("EST5EDT,M3.2.0,M11.1.0");
        // 2026-03-08 07:00 and 2026-11-01 06:00 UTC.
        for (epoch, expected) in [
            (1_772_953_199, (-18_000, "EST")),
            (1_772_953_200, (-14_400, "EDT")),
            (1_793_512_799, (-14_400, "EDT")),
            (1_793_512_800, (-18_000, "EST")),
        ] {
            assert_eq!(shown(&york, epoch), expected, "{epoch}");
        }
        let lord_howe = of_rule("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0");
        assert_eq!(shown(&lord_howe, 1_767_225_600), (39_600, "+11"), "January is summer");
        assert_eq!(shown(&lord_howe, 1_782_864_000), (37_800, "+1030"), "July is winter");
        assert_eq!(shown(&of_rule("JST-9"), 0), (32_400, "JST"));
    }

    #[test]
    fn files_tell_the_past_and_their_footer_the_rest() {
        let header = |counts: [u32; 6]| {
            let counts = counts.iter().flat_map(|count| count.to_be_bytes());
            b"TZif2".iter().copied().chain([0; 15]).chain(counts).collect::<Vec<u8>>()
        };
        // One change, at second 1000, from AAA (UTC+1) to BBB (UTC+2); later the footer's rule.
        let kinds = [3600, 7200].iter().enumerate().flat_map(|(at, offset): (usize, &i32)| {
            offset.to_be_bytes().into_iter().chain([0, at as u8 * 4])
        });
        let mut file = [header([0; 6]), header([0, 0, 0, 1, 2, 8]), 1000i64.to_be_bytes().to_vec()].concat();
        file.push(1);
        file.extend(kinds);
        file.extend(b"AAA\0BBB\0\nCCC-3\n");
        let zone = Zone(Some(Arc::new(Local::parse(&file).unwrap())));
        assert_eq!((shown(&zone, 999), shown(&zone, 1000)), ((3600, "AAA"), (10_800, "CCC")));
        let silent = [&file[..file.len() - 7], b"\n\n"].concat();
        let zone = Zone(Some(Arc::new(Local::parse(&silent).unwrap())));
        assert_eq!(shown(&zone, 1000), (7200, "BBB"), "without a rule the last change holds");
        for cut in 0..file.len() - 7 {
            assert!(Local::parse(&file[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn a_hostile_file_is_none() {
        let mut file = b"TZif2".to_vec();
        file.resize(Counts::HEADER, 0);
        assert!(Local::parse(&file).is_none());
        file[20..44].fill(0xff);
        assert!(Local::parse(&file).is_none());
        assert!(Local::parse(b"").is_none());
    }
}
