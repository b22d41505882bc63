//! The lists a request picks from: those of all hosts, or of the subset it selects.

use super::lists::Lists;
use super::notes::Note;
use super::subset::{Selected, SubsetIndex};
use super::world::World;
use super::{Draw, PickContext};
use crate::config::subset::{Fallback, Subsets};

/// All lists of a balancer.
pub(super) struct Sources<'a> {
    pub(super) world: World<'a>,
    pub(super) all: &'a mut Lists,
    pub(super) subsets: Option<&'a mut SubsetIndex>,
}

impl Sources<'_> {
    /// A host; `None`: there is none to pick.
    #[inline]
    pub(super) fn pick(&mut self, context: &PickContext<'_>, draw: &mut Draw<'_>) -> Option<usize> {
        match &self.world.settings.subsets {
            None => self.all.pick(draw),
            Some(settings) => self.pick_subset(settings, context, draw),
        }
    }

    fn pick_subset(
        &mut self,
        settings: &Subsets,
        context: &PickContext<'_>,
        draw: &mut Draw<'_>,
    ) -> Option<usize> {
        match self.subsets.as_ref()?.select(settings, context.criteria) {
            Selected::Subset(id) => {
                draw.notes.add(Note::SubsetSelected);
                let world = || self.world.of_subsets(settings, (draw.now)());
                self.subsets.as_mut()?.lists(id, world, draw.rng)?.pick(draw)
            }
            Selected::BySelector(fallback) => self.pick_fallback(fallback, settings, draw),
            Selected::ByCluster(Fallback::None) => None,
            Selected::ByCluster(fallback) => {
                if let Some(host) = self.pick_fallback(fallback, settings, draw) {
                    draw.notes.add(Note::SubsetFallback);
                    return Some(host);
                }
                let host = if settings.panic_mode_any { self.all.pick(draw) } else { None };
                host.inspect(|_| draw.notes.add(Note::SubsetFallbackPanic))
            }
        }
    }

    fn pick_fallback(
        &mut self,
        fallback: Fallback,
        settings: &Subsets,
        draw: &mut Draw<'_>,
    ) -> Option<usize> {
        match fallback {
            Fallback::None => None,
            Fallback::Any => self.all.pick(draw),
            Fallback::Default => {
                let world = || self.world.of_subsets(settings, (draw.now)());
                self.subsets.as_mut()?.default_lists(world, draw.rng).pick(draw)
            }
        }
    }
}
