//! Judges whether events arrive, from calls of our own that the trail must record.
//!
//! Pure: polls bring what they saw, and times come as arguments, in seconds by the cloud's clock. A verdict of broken rests on a
//! call that is missing although it is overdue, seen in two rounds of polling, with the trail on and its index there throughout.
//! Anyone else's events, and LookupEvents, prove nothing here.

use std::collections::{BTreeSet, VecDeque};

/// Most due calls that are remembered: a day of maxLag with a call every five minutes.
const REMEMBERED: usize = 300;
/// Most ids that one search looks for, from each end: Log Service allows 30 words in a search.
const SEARCHED_FROM_EACH_END: usize = 3;
/// Rounds in which an overdue call must be missing.
const MISSES: u8 = 2;
/// Rounds without a complete search after which a verdict is no longer repeated.
const BLIND_ROUNDS: u32 = 3;
/// How many times the lag that was measured last a late call may be under way before delivery counts as broken.
const LATE_FACTOR: i64 = 2;
/// Searches begin this much before the oldest call they look for, in seconds: clocks differ and events carry whole seconds.
const SEARCH_MARGIN: i64 = 120;

/// What delivery is measured by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// Longest accepted time from a call to its event, in seconds.
    pub max_lag: i64,
    /// Time between two due calls, in seconds.
    pub due_interval: i64,
    /// Time between two searches, in seconds: how much too long a lag may be measured.
    pub poll: i64,
}

/// What is remembered of one trail's delivery.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Since when this process watches, or since when the trail is on again.
    since: i64,
    /// Whether earlier verdicts, from before a restart, may still stand.
    keeps_earlier: bool,
    due: VecDeque<Due>,
    arrived: Option<Arrival>,
    last_complete: Option<i64>,
    blind_rounds: u32,
}

/// A call that the trail must record; several ids where it is not sure which of them it records.
#[derive(Clone, Debug)]
struct Due {
    ids: Vec<String>,
    sent: i64,
    misses: u8,
    last_round: Option<u64>,
}

/// The newest due call that was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// When it was made.
    pub sent: i64,
    /// Time from the call to the search that found it: what was measured of the lag, at most one poll too long unless searches
    /// failed.
    pub lag: i64,
    /// What it shows.
    pub shows: Shows,
}

/// What an arrival shows about the lag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shows {
    /// It came within the accepted lag.
    InTime,
    /// It was missing twice when it was overdue, and came after that.
    Late,
    /// It was found late, and nobody could see when it came.
    Nothing,
}

/// What a search of the trail's store brought.
#[derive(Clone, Copy, Debug)]
pub struct Search<'a> {
    /// Number of the poll: searches of one number count once.
    pub round: u64,
    /// When it was made.
    pub at: i64,
    /// Whether it covered everything it should.
    pub complete: bool,
    /// The ids that were looked for.
    pub searched: &'a BTreeSet<String>,
    /// Those of them that were found.
    pub found: &'a BTreeSet<String>,
}

/// What `GetTrailStatus` says about delivery.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Channel {
    /// The store can be reached by ActionTrail.
    pub reachable: bool,
    /// An error is newer than the newest delivery.
    pub failing: bool,
}

/// What can be said about delivery.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// The newest due call that could have arrived has arrived, and in time.
    Arriving,
    /// No call was due, and the channel is sound.
    Quiet,
    /// The first due call is on its way and not late.
    Awaiting,
    /// This process has not watched for long enough: what was said before stands.
    AsBefore,
    /// A due call is overdue and missing, seen twice: when it was made.
    Broken {
        /// When the missing call was made.
        sent: i64,
    },
    /// Due calls arrive, and later than accepted: seen missing twice before they came.
    Late,
    /// Nothing can be said.
    Unknown,
}

impl Watch {
    /// Begins to watch. `restarted`: verdicts of an earlier process may stand for one maxLag.
    pub fn new(now: i64, restarted: bool) -> Self {
        Self {
            since: now,
            keeps_earlier: restarted,
            due: VecDeque::new(),
            arrived: None,
            last_complete: None,
            blind_rounds: 0,
        }
    }

    /// A call was made that the trail must record; it is on and its store can be searched.
    pub fn note_due(&mut self, ids: Vec<String>, sent: i64) {
        if ids.is_empty() || self.due.iter().any(|due| due.ids == ids) {
            return;
        }
        self.due.push_back(Due {
            ids,
            sent,
            misses: 0,
            last_round: None,
        });
        if self.due.len() > REMEMBERED {
            self.due.pop_front();
        }
    }

    /// The store cannot be searched, because it or its index is gone: what was due before proves nothing any more, and what
    /// arrived before says nothing about what comes after. The first interruption in a row counts.
    pub fn interrupted(&mut self, now: i64) {
        if !self.needs_a_call() {
            *self = Self::new(now, false);
        }
        self.note_blind();
    }

    /// The ids to look for: the oldest calls, which decide over a failure, and the newest, which decide over success.
    pub fn ids_to_search(&self) -> BTreeSet<String> {
        let newest = self.due.iter().rev().take(SEARCHED_FROM_EACH_END);
        self.due
            .iter()
            .take(SEARCHED_FROM_EACH_END)
            .chain(newest)
            .flat_map(|due| due.ids.iter().cloned())
            .collect()
    }

    /// From when to search for [`Self::ids_to_search`].
    pub fn search_from(&self, now: i64) -> i64 {
        self.due.front().map_or(now, |due| due.sent.min(now)) - SEARCH_MARGIN
    }

    /// A search was made.
    pub fn note_search(&mut self, search: &Search<'_>, rules: Rules) {
        let Search {
            round,
            at,
            complete,
            searched,
            found,
        } = *search;
        if complete {
            self.last_complete = Some(at);
            self.blind_rounds = 0;
        } else {
            self.blind_rounds = self.blind_rounds.saturating_add(1);
        }
        if let Some(newest) = self
            .due
            .iter()
            .rposition(|due| due.ids.iter().any(|id| found.contains(id)))
        {
            let Due { sent, misses, .. } = self.due[newest];
            let lag = (at - sent).max(0);
            let shows = if lag <= rules.max_lag + rules.poll {
                Shows::InTime
            } else if misses >= MISSES {
                Shows::Late
            } else {
                Shows::Nothing
            };
            self.arrived = Some(Arrival { sent, lag, shows });
            // Delivery works: what is missing from before is a lost event, not a broken channel.
            self.due.drain(..=newest);
        }
        if !complete {
            return;
        }
        for due in &mut self.due {
            let looked_for = due.ids.iter().all(|id| searched.contains(id));
            if looked_for && at - due.sent > rules.max_lag && due.last_round != Some(round) {
                due.misses = due.misses.saturating_add(1);
                due.last_round = Some(round);
            }
        }
    }

    /// A search could not be made.
    pub fn note_blind(&mut self) {
        self.blind_rounds = self.blind_rounds.saturating_add(1);
    }

    /// Whether no call was made yet that could show anything.
    pub fn needs_a_call(&self) -> bool {
        self.due.is_empty() && self.arrived.is_none()
    }

    /// Whether an overdue call was missing at least once: the index should be looked at before that is believed.
    pub fn has_misses(&self) -> bool {
        self.due.iter().any(|due| due.misses > 0)
    }

    /// The newest due call that was found.
    pub fn arrival(&self) -> Option<Arrival> {
        self.arrived
    }

    /// Up to when delivery is proved: the newest due call that was found, or the beginning of the watch while none was. Without a
    /// beginning, a delivery that never worked would have no age.
    pub fn proved_until(&self) -> i64 {
        self.arrived.map_or(self.since, |arrival| arrival.sent)
    }

    /// The verdict, for a trail that is on.
    pub fn judge(&self, now: i64, rules: Rules, channel: Option<Channel>) -> Verdict {
        let late = self.arrived.filter(|arrival| arrival.shows == Shows::Late);
        if let Some(missing) = self.due.iter().find(|due| due.misses >= MISSES) {
            // Where calls were late before, one that is not there yet is late too, within reason.
            return match late {
                Some(arrival) if now - missing.sent <= LATE_FACTOR * arrival.lag => Verdict::Late,
                _ => Verdict::Broken { sent: missing.sent },
            };
        }
        let young = now - self.since <= rules.max_lag;
        let blind = self.blind_rounds >= BLIND_ROUNDS
            && self
                .last_complete
                .is_none_or(|complete| now - complete > rules.max_lag);
        if blind && !young {
            return Verdict::Unknown;
        }
        if let Some(arrival) = self.arrived {
            // Between two due calls nothing is due: the last one speaks for that time.
            let speaks_for = rules.max_lag.max(2 * rules.due_interval);
            let newest = arrival.sent + arrival.lag.saturating_sub(rules.max_lag).max(0);
            if self.due.is_empty() && now - newest > speaks_for {
                return quiet(channel);
            }
            return match arrival.shows {
                Shows::InTime => Verdict::Arriving,
                Shows::Late => Verdict::Late,
                Shows::Nothing => Verdict::Unknown,
            };
        }
        if young {
            return if self.keeps_earlier {
                Verdict::AsBefore
            } else {
                Verdict::Awaiting
            };
        }
        match self.due.front() {
            None => quiet(channel),
            Some(due) if now - due.sent <= rules.max_lag => {
                if self.keeps_earlier {
                    Verdict::AsBefore
                } else {
                    Verdict::Awaiting
                }
            }
            Some(_) => Verdict::Unknown,
        }
    }
}

fn quiet(channel: Option<Channel>) -> Verdict {
    match channel {
        Some(Channel {
            reachable: true,
            failing: false,
        }) => Verdict::Quiet,
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const RULES: Rules = Rules {
        max_lag: 900,
        due_interval: 300,
        poll: 60,
    };
    const SOUND: Option<Channel> = Some(Channel {
        reachable: true,
        failing: false,
    });

    fn ids(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn look(watch: &mut Watch, round: u64, at: i64, found: &[&str]) {
        let searched = watch.ids_to_search();
        let search = Search {
            round,
            at,
            complete: true,
            searched: &searched,
            found: &ids(found),
        };
        watch.note_search(&search, RULES);
    }

    fn due(watch: &mut Watch, id: &str, sent: i64) {
        watch.note_due(vec![id.to_owned()], sent);
    }

    #[test]
    fn a_found_call_is_arriving_with_its_lag() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 10);
        assert_eq!(watch.judge(20, RULES, SOUND), Verdict::Awaiting);
        look(&mut watch, 1, 70, &["a"]);
        assert_eq!(watch.judge(70, RULES, SOUND), Verdict::Arriving);
        let arrival = Arrival {
            sent: 10,
            lag: 60,
            shows: Shows::InTime,
        };
        assert_eq!(watch.arrival(), Some(arrival));
    }

    #[test]
    fn delivery_is_proved_until_the_newest_call_that_was_found_or_since_the_beginning() {
        let mut watch = Watch::new(5, true);
        due(&mut watch, "a", 10);
        due(&mut watch, "b", 300);
        assert_eq!(watch.proved_until(), 5, "a delivery that never worked grows old");
        look(&mut watch, 1, 310, &["a"]);
        assert_eq!(watch.proved_until(), 10);
        look(&mut watch, 2, 370, &["a", "b"]);
        assert_eq!(watch.proved_until(), 300);
    }

    #[test]
    fn a_steady_lag_above_the_limit_is_late_and_never_arriving() {
        let mut watch = Watch::new(0, false);
        let lag = 1200;
        let mut said = Vec::new();
        for round in 0..120 {
            let now = round * 60;
            if now % 300 == 0 {
                due(&mut watch, &now.to_string(), now);
            }
            let arrived: Vec<String> = (0..=now - lag)
                .step_by(300)
                .map(|sent| sent.to_string())
                .collect();
            let arrived: Vec<&str> = arrived.iter().map(String::as_str).collect();
            look(&mut watch, u64::try_from(round).unwrap(), now, &arrived);
            let verdict = watch.judge(now, RULES, SOUND);
            if said.last() != Some(&verdict) {
                said.push(verdict);
            }
        }
        assert_eq!(
            said,
            [
                Verdict::Awaiting,
                Verdict::Unknown,
                Verdict::Broken { sent: 0 },
                Verdict::Late
            ]
        );
        // In time again.
        due(&mut watch, "soon", 8000);
        look(&mut watch, 200, 8060, &["soon"]);
        assert_eq!(watch.judge(8060, RULES, SOUND), Verdict::Arriving);
    }

    #[test]
    fn late_calls_that_stop_coming_are_broken() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 1000, &[]);
        look(&mut watch, 2, 1060, &[]);
        look(&mut watch, 3, 1200, &["a"]);
        assert_eq!(watch.judge(1200, RULES, SOUND), Verdict::Late);
        due(&mut watch, "b", 1200);
        look(&mut watch, 4, 2400, &[]);
        look(&mut watch, 5, 2460, &[]);
        assert_eq!(watch.judge(2460, RULES, SOUND), Verdict::Late);
        assert_eq!(watch.judge(3601, RULES, SOUND), Verdict::Broken { sent: 1200 });
    }

    #[test]
    fn a_call_found_after_a_time_without_sight_shows_neither() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 1500, &["a"]);
        assert_eq!(watch.judge(1500, RULES, SOUND), Verdict::Unknown);
    }

    #[test]
    fn a_missing_call_breaks_delivery_only_when_overdue_in_two_rounds() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 890, &[]);
        look(&mut watch, 2, 901, &[]);
        assert_ne!(watch.judge(901, RULES, SOUND), Verdict::Broken { sent: 0 });
        look(&mut watch, 2, 905, &[]);
        assert_ne!(
            watch.judge(905, RULES, SOUND),
            Verdict::Broken { sent: 0 },
            "the same round counts once"
        );
        look(&mut watch, 3, 961, &[]);
        assert_eq!(watch.judge(961, RULES, SOUND), Verdict::Broken { sent: 0 });
    }

    #[test]
    fn incomplete_searches_prove_nothing() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        let searched = watch.ids_to_search();
        for round in 0..3 {
            let search = Search {
                round,
                at: 1000,
                complete: false,
                searched: &searched,
                found: &BTreeSet::new(),
            };
            watch.note_search(&search, RULES);
        }
        assert!(!matches!(watch.judge(1010, RULES, SOUND), Verdict::Broken { .. }));
    }

    #[test]
    fn a_search_for_other_ids_is_no_miss() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        for round in 0..3 {
            let search = Search {
                round,
                at: 1000,
                complete: true,
                searched: &ids(&["b"]),
                found: &BTreeSet::new(),
            };
            watch.note_search(&search, RULES);
        }
        assert!(!matches!(watch.judge(1010, RULES, SOUND), Verdict::Broken { .. }));
    }

    #[test]
    fn an_interruption_forgets_what_was_due() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 1000, &[]);
        watch.interrupted(1010);
        look(&mut watch, 2, 1100, &[]);
        assert_eq!(watch.judge(1100, RULES, SOUND), Verdict::Awaiting);
    }

    #[test]
    fn an_interruption_that_lasts_is_not_awaiting_for_ever() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        for now in [1000, 1060, 1120, 1180, 2000] {
            watch.interrupted(now);
        }
        assert_eq!(watch.judge(1180, RULES, SOUND), Verdict::Awaiting);
        assert_eq!(watch.judge(2000, RULES, SOUND), Verdict::Unknown);
    }

    #[test]
    fn a_later_arrival_ends_a_failure() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        due(&mut watch, "b", 300);
        look(&mut watch, 1, 1000, &[]);
        look(&mut watch, 2, 1060, &[]);
        assert_eq!(watch.judge(1060, RULES, SOUND), Verdict::Broken { sent: 0 });
        look(&mut watch, 3, 1120, &["b"]);
        assert_eq!(watch.judge(1120, RULES, SOUND), Verdict::Arriving);
    }

    #[test]
    fn quiet_needs_a_sound_channel() {
        let watch = Watch::new(0, false);
        assert_eq!(watch.judge(10, RULES, SOUND), Verdict::Awaiting);
        assert_eq!(watch.judge(901, RULES, SOUND), Verdict::Quiet);
        assert_eq!(watch.judge(901, RULES, None), Verdict::Unknown);
        let failing = Some(Channel {
            reachable: true,
            failing: true,
        });
        assert_eq!(watch.judge(901, RULES, failing), Verdict::Unknown);
        let unreachable = Some(Channel {
            reachable: false,
            failing: false,
        });
        assert_eq!(watch.judge(901, RULES, unreachable), Verdict::Unknown);
    }

    #[test]
    fn after_a_restart_the_earlier_verdict_stands_for_one_max_lag() {
        let mut watch = Watch::new(0, true);
        assert_eq!(watch.judge(5, RULES, SOUND), Verdict::AsBefore);
        due(&mut watch, "a", 5);
        assert_eq!(watch.judge(899, RULES, SOUND), Verdict::AsBefore);
        assert_eq!(watch.judge(907, RULES, SOUND), Verdict::Unknown);
        look(&mut watch, 1, 907, &[]);
        look(&mut watch, 2, 967, &[]);
        assert_eq!(watch.judge(967, RULES, SOUND), Verdict::Broken { sent: 5 });
    }

    #[test]
    fn between_due_calls_the_last_one_speaks() {
        let rules = Rules {
            max_lag: 60,
            due_interval: 300,
            poll: 60,
        };
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 50, &["a"]);
        assert_eq!(watch.judge(350, rules, SOUND), Verdict::Arriving);
        assert_eq!(watch.judge(601, rules, SOUND), Verdict::Quiet);
    }

    #[test]
    fn without_sight_nothing_is_claimed() {
        let mut watch = Watch::new(0, false);
        due(&mut watch, "a", 0);
        look(&mut watch, 1, 50, &["a"]);
        due(&mut watch, "b", 300);
        for _ in 0..BLIND_ROUNDS {
            watch.note_blind();
        }
        assert_eq!(watch.judge(400, RULES, SOUND), Verdict::Arriving);
        assert_eq!(watch.judge(2000, RULES, SOUND), Verdict::Unknown);
    }

    #[test]
    fn a_search_stays_small() {
        let mut watch = Watch::new(0, false);
        for second in 0..1000 {
            due(&mut watch, &format!("id-{second}"), second);
        }
        assert!(watch.ids_to_search().len() <= 2 * SEARCHED_FROM_EACH_END);
        assert!(watch.due.len() <= REMEMBERED);
    }

    #[derive(Clone, Debug)]
    enum Happening {
        Due,
        Search { complete: bool, finds: bool },
        Interrupted,
        Blind,
    }

    fn happening() -> impl Strategy<Value = (u8, Happening)> {
        let what = prop_oneof![
            3 => Just(Happening::Due),
            4 => (any::<bool>(), any::<bool>()).prop_map(|(complete, finds)| Happening::Search { complete, finds }),
            1 => Just(Happening::Interrupted),
            1 => Just(Happening::Blind),
        ];
        (any::<u8>(), what)
    }

    proptest! {
        /// Whatever happens: broken is only said after two complete searches in different rounds that both missed one call
        /// which was overdue, with no interruption and no later arrival between.
        #[test]
        fn broken_is_never_said_without_two_sightings(story in prop::collection::vec(happening(), 0..60)) {
            let mut watch = Watch::new(0, false);
            let mut now = 0_i64;
            let mut sightings: Vec<(i64, u32)> = Vec::new();
            for (round, (gap, what)) in story.into_iter().enumerate() {
                now += i64::from(gap) * 4;
                match what {
                    Happening::Due => {
                        due(&mut watch, &format!("{round}"), now);
                        sightings.push((now, 0));
                    }
                    Happening::Search { complete, finds } => {
                        let searched = watch.ids_to_search();
                        let found = if finds { searched.clone() } else { BTreeSet::new() };
                        let search = Search { round: round as u64, at: now, complete, searched: &searched, found: &found };
                        watch.note_search(&search, RULES);
                        if finds {
                            sightings.clear();
                        } else if complete {
                            sightings.iter_mut().filter(|(sent, _)| now - sent > RULES.max_lag).for_each(|s| s.1 += 1);
                        }
                    }
                    Happening::Interrupted => {
                        watch.interrupted(now);
                        sightings.clear();
                    }
                    Happening::Blind => watch.note_blind(),
                }
                if let Verdict::Broken { sent } = watch.judge(now, RULES, SOUND) {
                    prop_assert!(sightings.iter().any(|(at, seen)| *at == sent && *seen >= 2));
                }
            }
        }
    }
}
