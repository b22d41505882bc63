//! MT19937, the generator of C++'s `std::mt19937`: where a host is at its bound, every proxy must try the others in
//! the same order, which is the one that Envoy draws with it. Source: Matsumoto and Nishimura, 1998.

const SIZE: usize = 624;
const MIDDLE: usize = 397;

/// The generator.
pub struct Mersenne {
    state: [u32; SIZE],
    at: usize,
}

impl Mersenne {
    /// Seeded with the low half of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; SIZE];
        for at in 1..SIZE {
            let last = state[at - 1];
            state[at] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
        }
        Self { state, at: SIZE }
    }

    /// The next 32 bits.
    pub fn draw(&mut self) -> u32 {
        if self.at == SIZE {
            self.twist();
        }
        let mut out = self.state[self.at];
        self.at += 1;
        out ^= out >> 11;
        out ^= (out << 7) & 0x9D2C_5680;
        out ^= (out << 15) & 0xEFC6_0000;
        out ^ (out >> 18)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u32) -> u32 {
        let bound = u64::from(bound.max(1));
        let slice = (1u64 << 32) / bound;
        loop {
            let drawn = u64::from(self.draw()) / slice;
            if drawn < bound {
                return drawn as u32;
            }
        }
    }

    fn twist(&mut self) {
        for at in 0..SIZE {
            let joined = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % SIZE] & 0x7FFF_FFFF);
            let turned = (joined >> 1) ^ if joined & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[at] = self.state[(at + MIDDLE) % SIZE] ^ turned;
        }
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_number_is_the_standards() {
        // ISO C++ [rand.predef] fixes it for the default seed.
        let mut generator = Mersenne::new(5489);
        let last = (0..10_000).map(|_| generator.draw()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut generator = Mersenne::new(1);
        let mut seen = [0; 3];
        (0..3000).for_each(|_| seen[generator.below(3) as usize] += 1);
        assert!(seen.iter().all(|count| (900..1100).contains(count)), "{seen:?}");
    }
}
