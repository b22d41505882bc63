//! Bodies: what passes through, and what waits where.

mod endless;
mod ends;
mod held;
