//! Which sessions there are, and which has been quiet for too long. Pure: it knows neither sockets nor a clock.
//!
//! ```text
//! path (client, our address) --> the youngest session --> older ones of the same path, to other endpoints
//!
//! unanswered: oldest <-> ... <-> youngest      until an endpoint has answered
//! answered:   oldest <-> ... <-> youngest      from then on
//! proved:     oldest <-> ... <-> youngest      once the client has sent after an answer: its address is no invention
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use slab::Slab;

/// Both ends of what a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The client.
    pub client: SocketAddr,
    /// The address that it has sent to.
    pub service: SocketAddr,
}

/// The sessions of a thread. `S` is what a session is besides.
#[derive(Debug)]
pub(super) struct Table<S> {
    sessions: Slab<Entry<S>>,
    /// The youngest session of each path. Clients choose their addresses: the map's hashes are keyed.
    youngest: HashMap<Path, usize>,
    /// By [`Standing`].
    lists: [List; 3],
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// No endpoint has answered.
    Unanswered,
    /// One has.
    Answered,
    /// The client has sent after an answer, as whoever invents its address does not.
    Proved,
}

/// Whose datagram it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Endpoint,
}

#[derive(Debug)]
struct Entry<S> {
    path: Path,
    /// An older session of the same path.
    older: Option<usize>,
    standing: Standing,
    last: Instant,
    before: Option<usize>,
    after: Option<usize>,
    session: S,
}

/// Sessions by the time of their last datagram.
#[derive(Debug, Default)]
struct List {
    oldest: Option<usize>,
    youngest: Option<usize>,
}

impl<S> Table<S> {
    pub(super) fn new() -> Self {
        Self {
            sessions: Slab::new(),
            youngest: HashMap::new(),
            lists: Default::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The youngest session of a path.
    pub(super) fn find(&self, path: &Path) -> Option<usize> {
        self.youngest.get(path).copied()
    }

    /// The session of a path that this is true for.
    pub(super) fn find_where(&self, path: &Path, is: impl Fn(&S) -> bool) -> Option<usize> {
        let mut next = self.find(path);
        while let Some(at) = next {
            if is(&self.sessions[at].session) {
                return Some(at);
            }
            next = self.sessions[at].older;
        }
        None
    }

    pub(super) fn get(&self, at: usize) -> Option<&S> {
        self.sessions.get(at).map(|entry| &entry.session)
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut S> {
        self.sessions.get_mut(at).map(|entry| &mut entry.session)
    }

    pub(super) fn path(&self, at: usize) -> Path {
        self.sessions[at].path
    }

    /// Adds a session, which becomes the youngest of its path.
    pub(super) fn insert(&mut self, path: Path, session: S, now: Instant) -> usize {
        let older = self.find(&path);
        let at = self.sessions.insert(Entry {
            path,
            older,
            standing: Standing::Unanswered,
            last: now,
            before: None,
            after: None,
            session,
        });
        self.youngest.insert(path, at);
        self.append(at);
        at
    }

    /// Takes a session out.
    pub(super) fn remove(&mut self, at: usize) -> Option<S> {
        self.sessions.get(at)?;
        self.unlink(at);
        let entry = self.sessions.remove(at);
        if self.youngest.get(&entry.path) == Some(&at) {
            match entry.older {
                Some(older) => self.youngest.insert(entry.path, older),
                None => self.youngest.remove(&entry.path),
            };
            return Some(entry.session);
        }
        let mut next = self.find(&entry.path);
        while let Some(younger) = next {
            next = self.sessions[younger].older;
            if next == Some(at) {
                self.sessions[younger].older = entry.older;
                break;
            }
        }
        Some(entry.session)
    }

    /// A datagram was there.
    pub(super) fn touch(&mut self, at: usize, from: Sender, now: Instant) {
        let Some(entry) = self.sessions.get(at) else {
            return;
        };
        let standing = match (entry.standing, from) {
            (Standing::Unanswered, Sender::Endpoint) => Standing::Answered,
            (Standing::Answered, Sender::Client) => Standing::Proved,
            (standing, _) => standing,
        };
        self.stand(at, standing, now);
    }

    /// Has a session come so far at least, with its last datagram now.
    pub(super) fn stand(&mut self, at: usize, standing: Standing, now: Instant) {
        let Some(entry) = self.sessions.get(at) else {
            return;
        };
        // A batch has one time: only its first datagram moves the session.
        if entry.last == now && entry.standing >= standing {
            return;
        }
        self.unlink(at);
        let entry = &mut self.sessions[at];
        entry.last = now;
        entry.standing = entry.standing.max(standing);
        self.append(at);
    }

    /// A session that was quiet for `unanswered` when its endpoint has never answered, for `idle` when it has.
    pub(super) fn stale(
        &self,
        unanswered: Duration,
        idle: Duration,
        now: Instant,
    ) -> Option<usize> {
        let limits = [unanswered.min(idle), idle, idle];
        let oldest = self.lists.iter().zip(limits);
        oldest
            .filter_map(|(list, limit)| Some((list.oldest?, limit)))
            .find(|(at, limit)| now.saturating_duration_since(self.sessions[*at].last) >= *limit)
            .map(|(at, _)| at)
    }

    /// The session that is to go when there are too many: the one that was quiet for longest among those whose client
    /// has not sent after an answer.
    pub(super) fn oldest_unproved(&self) -> Option<usize> {
        let lists = self.lists[..Standing::Proved as usize].iter();
        let oldest = lists.filter_map(|list| list.oldest);
        oldest.min_by_key(|at| self.sessions[*at].last)
    }

    /// Where all sessions are; of those of one path, the youngest comes last.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let is_youngest = |at: &usize| self.find(&self.path(*at)) == Some(*at);
        let all = self.sessions.iter().map(|(at, _)| at);
        let older = all.filter(move |at| !is_youngest(at));
        older.chain(self.youngest.values().copied())
    }

    /// How far a session has come.
    pub(super) fn standing(&self, at: usize) -> Standing {
        self.sessions[at].standing
    }

    /// Any session.
    pub(super) fn any(&self) -> Option<usize> {
        self.lists.iter().find_map(|list| list.oldest)
    }

    fn append(&mut self, at: usize) {
        let standing = self.sessions[at].standing;
        let list = &mut self.lists[standing as usize];
        let before = list.youngest.replace(at);
        match before {
            Some(before) => self.sessions[before].after = Some(at),
            None => list.oldest = Some(at),
        }
        let entry = &mut self.sessions[at];
        (entry.before, entry.after) = (before, None);
    }

    fn unlink(&mut self, at: usize) {
        let Entry {
            before,
            after,
            standing,
            ..
        } = self.sessions[at];
        let list = &mut self.lists[standing as usize];
        match before {
            Some(before) => self.sessions[before].after = after,
            None => list.oldest = after,
        }
        match after {
            Some(after) => self.sessions[after].before = before,
            None => list.youngest = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(number: u8) -> Path {
        Path {
            client: ([192, 0, 2, number], 9).into(),
            service: ([192, 0, 2, 200], 443).into(),
        }
    }

    const UNANSWERED: Duration = Duration::from_secs(5);
    const IDLE: Duration = Duration::from_secs(20);

    #[test]
    fn an_answer_gives_a_session_more_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::new();
        let (one, other) = (
            table.insert(path(1), 'a', start),
            table.insert(path(2), 'b', start),
        );
        table.touch(one, Sender::Endpoint, at(1));
        assert_eq!(table.stale(UNANSWERED, IDLE, at(4)), None);
        assert_eq!(table.stale(UNANSWERED, IDLE, at(5)), Some(other));
        assert_eq!(table.remove(other), Some('b'));
        assert_eq!(table.stale(UNANSWERED, IDLE, at(20)), None);
        table.touch(one, Sender::Client, at(20));
        assert_eq!(table.stale(UNANSWERED, IDLE, at(39)), None);
        assert_eq!(table.stale(UNANSWERED, IDLE, at(40)), Some(one));
    }

    #[test]
    fn whoever_sends_after_an_answer_stays_when_there_are_too_many() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut table = Table::new();
        let one = table.insert(path(1), 'a', start);
        let other = table.insert(path(2), 'b', at(1));
        assert_eq!(table.oldest_unproved(), Some(one));
        table.touch(one, Sender::Endpoint, at(2));
        assert_eq!(table.oldest_unproved(), Some(other), "it was quiet longer");
        table.touch(other, Sender::Client, at(3));
        assert_eq!(table.oldest_unproved(), Some(one), "an answer is no proof");
        table.touch(one, Sender::Client, at(3));
        assert_eq!(table.standing(one), Standing::Proved);
        assert_eq!(table.oldest_unproved(), Some(other), "there was no answer");
        table.stand(other, Standing::Proved, at(3));
        assert_eq!(table.oldest_unproved(), None);
    }

    #[test]
    fn sessions_of_a_flow_are_found_by_what_they_are() {
        let now = Instant::now();
        let mut table = Table::new();
        let all: Vec<_> = "abc"
            .chars()
            .map(|name| table.insert(path(1), name, now))
            .collect();
        assert_eq!(table.find(&path(1)), Some(all[2]));
        assert_eq!(
            table.find_where(&path(1), |name| *name == 'a'),
            Some(all[0])
        );
        table.remove(all[1]);
        assert_eq!(
            table.find_where(&path(1), |name| *name == 'a'),
            Some(all[0])
        );
        assert_eq!(table.find_where(&path(1), |name| *name == 'b'), None);
        table.remove(all[2]);
        assert_eq!(table.find(&path(1)), Some(all[0]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8),
        Remove(usize),
        Touch(usize, Sender),
        Wait(u64),
        Sweep,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0u8..4).prop_map(Step::Insert),
            1 => any::<usize>().prop_map(Step::Remove),
            4 => (any::<usize>(), prop_oneof![Just(Sender::Client), Just(Sender::Endpoint)]).prop_map(|(at, from)| Step::Touch(at, from)),
            2 => (0u64..6).prop_map(Step::Wait),
            1 => Just(Step::Sweep),
        ];
        prop::collection::vec(step, 0..80)
    }

    /// A session of the model: where it is, its path, how far it has come, its last datagram.
    type Known = (usize, u8, Standing, Instant);

    fn is_stale(known: &Known, now: Instant) -> bool {
        let limit = if known.2 > Standing::Unanswered {
            IDLE
        } else {
            UNANSWERED
        };
        now - known.3 >= limit
    }

    proptest! {
        #[test]
        fn it_is_what_a_plain_list_would_be(steps in steps()) {
            let mut table = Table::new();
            let mut model: Vec<Known> = Vec::new();
            let mut now = Instant::now();
            for step in steps {
                match step {
                    Step::Insert(number) => {
                        model.push((table.insert(path(number), (), now), number, Standing::Unanswered, now));
                    }
                    Step::Remove(at) if !model.is_empty() => {
                        let known = model.remove(at % model.len());
                        prop_assert!(table.remove(known.0).is_some());
                        prop_assert!(table.remove(known.0).is_none());
                    }
                    Step::Touch(at, from) if !model.is_empty() => {
                        let count = model.len();
                        let known = &mut model[at % count];
                        table.touch(known.0, from, now);
                        known.3 = now;
                        if from == Sender::Endpoint {
                            known.2 = known.2.max(Standing::Answered);
                        } else if known.2 == Standing::Answered {
                            known.2 = Standing::Proved;
                        }
                    }
                    Step::Wait(seconds) => now += Duration::from_secs(seconds),
                    Step::Sweep => {
                        while let Some(at) = table.stale(UNANSWERED, IDLE, now) {
                            let place = model.iter().position(|known| known.0 == at);
                            let known = model.remove(place.expect("it is known"));
                            prop_assert!(is_stale(&known, now));
                            table.remove(at);
                        }
                        prop_assert!(!model.iter().any(|known| is_stale(known, now)));
                    }
                    _ => {}
                }
                for number in 0..4 {
                    let youngest = model.iter().rev().find(|known| known.1 == number);
                    prop_assert_eq!(table.find(&path(number)), youngest.map(|known| known.0));
                }
                let oldest = model.iter().filter(|known| known.2 < Standing::Proved).map(|known| known.3).min();
                let found = table.oldest_unproved().and_then(|at| model.iter().find(|known| known.0 == at));
                prop_assert_eq!(found.map(|known| known.3), oldest);
                prop_assert_eq!(table.is_empty(), model.is_empty());
            }
        }
    }
}
