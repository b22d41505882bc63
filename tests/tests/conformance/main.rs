//! Conformance: the same configurations and requests through real Envoy and through our sidecar.
//!
//! A section is a list of [`case::Group`]s: a route table, further settings, and requests. All groups of a section run
//! as listeners of one process per data plane. What each case shows ([`observe`]) must be equal, or be listed with its
//! reason in `differences.json`. How to add to it: `tests/ARCHITECTURE.md`.

mod case;
mod differences;
mod observe;
mod run;
mod sections;
mod world;

use std::collections::BTreeSet;

use outrigger_tests::data_plane::DataPlane;
use outrigger_tests::{Result, requirement};

use crate::differences::Listed;
use crate::sections::SECTIONS;
use crate::world::World;

/// One test per section; the names are those of [`SECTIONS`].
macro_rules! section_tests {
    ($($section:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $section() -> Result<()> {
                conform(stringify!($section)).await
            }
        )+

        /// What has a test.
        const TESTED: &[&str] = &[$(stringify!($section)),+];
    };
}

section_tests!(
    actions,
    balancing,
    clusters,
    filters,
    header_edits,
    header_matches,
    hosts,
    internal_redirects,
    paths,
    queries,
    replies,
    retries,
    rewrites,
    sanitising,
    templates,
    timeouts,
);

/// Runs one section on both data planes and compares.
async fn conform(section: &str) -> Result<()> {
    let (_, groups) = SECTIONS.iter().find(|(name, _)| *name == section).ok_or("no such section")?;
    if requirement::met(DataPlane::Envoy.launch()).is_none() {
        return Ok(());
    }
    // Each has upstreams of its own: what one sends must not change what the other finds.
    let (envoy, ours) = tokio::try_join!(
        run::section(DataPlane::Envoy, section, *groups),
        run::section(DataPlane::Outrigger, section, *groups)
    )?;
    Listed::read()?.compare(section, &envoy, &ours)
}

#[test]
fn every_section_has_a_test() {
    let named: BTreeSet<_> = SECTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(named, TESTED.iter().copied().collect());
}

#[tokio::test]
async fn there_are_enough_cases() -> Result<()> {
    let world = World::start()?;
    let mut cases = 0;
    for (section, groups) in SECTIONS {
        let groups = groups(&world);
        let count: usize = groups.iter().map(|group| group.cases.len()).sum();
        assert!(count > 0, "{section} has no cases");
        cases += count;
    }
    assert!(cases >= 300, "{cases} cases are fewer than 300");
    Ok(())
}

#[test]
fn listed_differences_belong_to_sections() -> Result<()> {
    let listed = Listed::read()?;
    let strays = listed.outside(&SECTIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(strays.is_empty(), "no section has these cases: {strays:?}");
    Ok(())
}
