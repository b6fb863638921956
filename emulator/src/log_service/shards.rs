//! Shards of a log store: equal parts of the 128-bit MD5 space, split and merge. Holds no logs.

use serde_json::{Value, json};

use super::errors::parameter_invalid;
use crate::wire::ApiError;

/// Exclusive end of the key space as the service writes it.
const SPACE_END: u128 = u128::MAX;

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Number within the store.
    pub id: u32,
    /// First key.
    pub begin: u128,
    /// First key after the shard; the last shard ends with the greatest key, which it holds too.
    pub end: u128,
    /// Whether it takes logs.
    pub writable: bool,
    /// Epoch seconds.
    pub created: i64,
}

impl Shard {
    /// The shard as ListShards answers it.
    pub fn answer(&self) -> Value {
        json!({
            "shardID": self.id,
            "status": if self.writable { "readwrite" } else { "readonly" },
            "inclusiveBeginKey": format!("{:032x}", self.begin),
            "exclusiveEndKey": format!("{:032x}", self.end),
            "createTime": self.created,
        })
    }

    fn holds(&self, key: u128) -> bool {
        self.begin <= key && (key < self.end || self.end == SPACE_END)
    }
}

/// All shards of a store; the writable ones cover the key space without gap or overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shards {
    all: Vec<Shard>,
    next: u32,
}

/// `count` bounds that cut `begin..end` into equal parts: the inner ones and both ends.
fn cuts(begin: u128, end: u128, count: u32) -> Vec<u128> {
    if count <= 1 {
        return vec![begin, end];
    }
    let count = u128::from(count);
    // The whole space has 2^128 keys, one more than fits: its written end is the greatest key.
    let (width, rest) = if begin == 0 && end == SPACE_END {
        let (width, rest) = (SPACE_END / count, SPACE_END % count + 1);
        (width + rest / count, rest % count)
    } else {
        ((end - begin) / count, (end - begin) % count)
    };
    (0..=count)
        .map(|part| {
            if part == count {
                end
            } else {
                begin + width * part + rest * part / count
            }
        })
        .collect()
}

impl Shards {
    /// A new store's shards: 0 to `count` - 1, equal parts.
    pub fn new(count: u32, created: i64) -> Self {
        let count = count.max(1);
        let cuts = cuts(0, SPACE_END, count);
        let all = (0..count)
            .zip(cuts.windows(2))
            .map(|(id, range)| Shard {
                id,
                begin: range[0],
                end: range[1],
                writable: true,
                created,
            })
            .collect();
        Self { all, next: count }
    }

    /// All shards by number.
    pub fn all(&self) -> &[Shard] {
        &self.all
    }

    /// How many take logs.
    pub fn writable(&self) -> usize {
        self.all.iter().filter(|shard| shard.writable).count()
    }

    /// The shard of that number.
    pub fn get(&self, id: u32) -> Option<&Shard> {
        self.all.iter().find(|shard| shard.id == id)
    }

    /// The writable shard that holds a key.
    ///
    /// # Panics
    /// Never: the writable shards cover the key space.
    pub fn holding(&self, key: u128) -> u32 {
        self.all
            .iter()
            .find(|shard| shard.writable && shard.holds(key))
            .expect("writable shards cover the key space")
            .id
    }

    /// The writable shard for the n-th write without a key.
    ///
    /// # Panics
    /// Never: there is always a writable shard.
    pub fn balanced(&self, turn: u64) -> u32 {
        let writable: Vec<u32> = self
            .all
            .iter()
            .filter(|shard| shard.writable)
            .map(|shard| shard.id)
            .collect();
        let turn = usize::try_from(turn % writable.len() as u64).expect("less than the number of shards");
        writable[turn]
    }

    fn writable_shard(&self, id: u32) -> Result<&Shard, ApiError> {
        self.get(id)
            .filter(|shard| shard.writable)
            .ok_or_else(|| parameter_invalid("invalid shard id."))
    }

    /// Splits a writable shard at `key`, or into `count` equal parts. Answers the old shard and its parts.
    pub fn split(
        &mut self,
        id: u32,
        key: Option<u128>,
        count: u32,
        now: i64,
    ) -> Result<Vec<Shard>, ApiError> {
        let Shard { begin, end, .. } = *self.writable_shard(id)?;
        let bounds = match key {
            Some(key) if begin < key && key < end => vec![begin, key, end],
            Some(_) => return Err(parameter_invalid("invalid mid hash.")),
            None if count < 2 => return Err(parameter_invalid("invalid shard count.")),
            None => cuts(begin, end, count),
        };
        if bounds.windows(2).any(|range| range[0] >= range[1]) {
            return Err(parameter_invalid("invalid shard count."));
        }
        let mut changed = self.retire(&[id]);
        for range in bounds.windows(2) {
            changed.push(self.add(range[0], range[1], now));
        }
        Ok(changed)
    }

    /// Merges a writable shard with the one after it. Answers the new shard and the two old ones.
    pub fn merge(&mut self, id: u32, now: i64) -> Result<Vec<Shard>, ApiError> {
        let left = self.writable_shard(id)?.clone();
        let right = self
            .all
            .iter()
            .find(|shard| shard.writable && shard.begin == left.end && left.end != SPACE_END)
            .cloned()
            .ok_or_else(|| parameter_invalid("can not merge the last shard."))?;
        let mut changed = vec![self.add(left.begin, right.end, now)];
        changed.extend(self.retire(&[left.id, right.id]));
        Ok(changed)
    }

    fn add(&mut self, begin: u128, end: u128, created: i64) -> Shard {
        let shard = Shard {
            id: self.next,
            begin,
            end,
            writable: true,
            created,
        };
        self.next += 1;
        self.all.push(shard.clone());
        shard
    }

    fn retire(&mut self, ids: &[u32]) -> Vec<Shard> {
        let mut retired = Vec::new();
        for shard in self.all.iter_mut().filter(|shard| ids.contains(&shard.id)) {
            shard.writable = false;
            retired.push(shard.clone());
        }
        retired
    }
}

/// A key of 32 hexadecimal digits.
pub fn parse_key(text: &str) -> Option<u128> {
    (text.len() == 32)
        .then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn covers(shards: &Shards) -> bool {
        let mut ranges: Vec<_> = shards
            .all()
            .iter()
            .filter(|shard| shard.writable)
            .map(|shard| (shard.begin, shard.end))
            .collect();
        ranges.sort_unstable();
        ranges.first().is_some_and(|first| first.0 == 0)
            && ranges.last().is_some_and(|last| last.1 == SPACE_END)
            && ranges.windows(2).all(|pair| pair[0].1 == pair[1].0)
    }

    #[test]
    fn two_shards_meet_in_the_middle() {
        let shards = Shards::new(2, 7);
        let shown: Vec<Value> = shards.all().iter().map(Shard::answer).collect();
        assert_eq!(
            shown,
            vec![
                json!({"shardID": 0, "status": "readwrite", "createTime": 7,
                    "inclusiveBeginKey": "0".repeat(32), "exclusiveEndKey": format!("8{}", "0".repeat(31))}),
                json!({"shardID": 1, "status": "readwrite", "createTime": 7,
                    "inclusiveBeginKey": format!("8{}", "0".repeat(31)), "exclusiveEndKey": "f".repeat(32)}),
            ]
        );
        assert_eq!(shards.holding(u128::MAX), 1);
        assert_eq!([0, 1, 2].map(|turn| shards.balanced(turn)), [0, 1, 0]);
    }

    #[test]
    fn split_and_merge_answer_in_the_services_order() {
        let mut shards = Shards::new(2, 0);
        let middle = parse_key(&format!("4{}", "0".repeat(31))).unwrap();
        let ids = |shards: &[Shard]| {
            shards
                .iter()
                .map(|shard| (shard.id, shard.writable))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            ids(&shards.split(0, Some(middle), 2, 1).unwrap()),
            [(0, false), (2, true), (3, true)]
        );
        assert_eq!(
            ids(&shards.merge(2, 2).unwrap()),
            [(4, true), (2, false), (3, false)]
        );
        assert_eq!(shards.writable(), 2);
        assert!(covers(&shards));
    }

    #[test]
    fn bad_splits_and_merges_are_refused_in_the_services_words() {
        let mut shards = Shards::new(2, 0);
        let message = |result: Result<Vec<Shard>, ApiError>| result.unwrap_err().message;
        assert_eq!(message(shards.split(9, None, 2, 0)), "invalid shard id.");
        assert_eq!(message(shards.split(0, Some(0), 2, 0)), "invalid mid hash.");
        assert_eq!(
            message(shards.split(0, Some(1 << 127), 2, 0)),
            "invalid mid hash."
        );
        assert_eq!(message(shards.merge(1, 0)), "can not merge the last shard.");
        shards.split(0, None, 2, 0).unwrap();
        assert_eq!(message(shards.split(0, None, 2, 0)), "invalid shard id.");
        assert_eq!(parse_key("xyz"), None);
    }

    proptest! {
        #[test]
        fn new_shards_are_equal_parts(count in 1u32..200) {
            let shards = Shards::new(count, 0);
            prop_assert!(covers(&shards));
            let widths: Vec<u128> = shards.all().iter().map(|shard| shard.end - shard.begin).collect();
            let (least, most) = (widths.iter().min().unwrap(), widths.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }

        #[test]
        fn splits_and_merges_never_lose_a_key(steps in proptest::collection::vec((any::<bool>(), any::<u64>(), 2u32..5), 0..20), key in any::<u128>()) {
            let mut shards = Shards::new(2, 0);
            for (split, turn, count) in steps {
                let id = shards.balanced(turn);
                if split { let _ = shards.split(id, None, count, 0); } else { let _ = shards.merge(id, 0); }
                prop_assert!(covers(&shards));
                let holder = shards.holding(key);
                prop_assert!(shards.get(holder).unwrap().holds(key));
            }
        }
    }
}
