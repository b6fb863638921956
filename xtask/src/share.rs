//! Which points of a matrix run where the whole matrix would take too long: a part of it that changes with a seed.
//!
//! Knows ids only. The same share and seed give the same points on every machine, and all parts of a seed together
//! are the whole.

use std::env;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// Names the share, such as `1/3`, for test programs.
pub const SHARE: &str = "RAMTRAIL_MATRIX_SHARE";
/// Names the seed that chooses the points of a share; any text, such as a commit id.
pub const SEED: &str = "RAMTRAIL_MATRIX_SEED";

/// So many of so many parts; `1/1` is the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    taken: u64,
    of: u64,
}

impl Share {
    /// Everything.
    pub const WHOLE: Self = Self { taken: 1, of: 1 };

    /// Whether it leaves nothing out.
    pub fn is_whole(self) -> bool {
        self.taken == self.of
    }

    /// Whether a point belongs to it under a seed.
    pub fn holds(self, seed: &str, id: &str) -> bool {
        let digest = Sha256::digest(format!("{seed}\n{id}"));
        let mut number = 0u64;
        for byte in digest.iter().take(8) {
            number = number << 8 | u64::from(*byte);
        }
        number % self.of < self.taken
    }
}

impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (taken, of) = text
            .split_once('/')
            .with_context(|| format!("{text} is no share such as 1/3"))?;
        let number = |text: &str| {
            text.parse::<u64>()
                .with_context(|| format!("{text} is no number"))
        };
        let (taken, of) = (number(taken)?, number(of)?);
        if taken == 0 || taken > of {
            bail!("{text} is no share: it must be more than nothing and at most the whole");
        }
        Ok(Self { taken, of })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.taken, self.of)
    }
}

/// Whether a test program should run a point, as the environment says; without [`SHARE`] everything runs.
///
/// # Errors
/// Fails on a share that is none: a typing error must not become an empty matrix.
pub fn runs(id: &str) -> Result<bool> {
    let Some(text) = env::var(SHARE).ok().filter(|text| !text.is_empty()) else {
        return Ok(true);
    };
    Ok(text
        .parse::<Share>()?
        .holds(&env::var(SEED).unwrap_or_default(), id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_share_is_about_that_large_and_moves_with_the_seed() {
        let third: Share = "1/3".parse().unwrap();
        let taken = |seed: &str| -> Vec<u32> {
            (0..3000)
                .filter(|n| third.holds(seed, &format!("point/{n}")))
                .collect()
        };
        let (one, other) = (taken("a"), taken("b"));
        assert!((900..1100).contains(&one.len()), "{}", one.len());
        assert_ne!(one, other);
        assert_eq!(one, taken("a"));
    }

    #[test]
    fn the_whole_leaves_nothing_out() {
        assert!((0..100).all(|n| Share::WHOLE.holds("s", &n.to_string())));
        assert!("3/3".parse::<Share>().unwrap().is_whole());
    }

    #[test]
    fn nonsense_is_no_share() {
        for text in ["", "1", "0/3", "4/3", "a/b", "1/0"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }
}
