//! QUIC connections whose ClientHello is not all there yet: their datagrams wait until it is known where they go.
//! Pure: it knows neither sockets nor a clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::ids::Id;
use super::table::Path;
use crate::sniff::{InitialReader, LongHeader, ServerName};

/// The beginnings of connections that a thread knows.
#[derive(Default)]
pub(super) struct Openings {
    open: HashMap<(Path, Id), Opening>,
    /// In the order of their deadlines. One that is not open any more is passed over.
    deadlines: VecDeque<(Instant, Path, Id)>,
    /// Those that were given up for others since the last look.
    given_up: u64,
}

struct Opening {
    /// None while no Initial has come: what comes with it may overtake it.
    reader: Option<InitialReader>,
    waiting: Vec<Vec<u8>>,
    octets: usize,
    deadline: Instant,
}

/// What is to be done with a datagram of a connection that begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for more.
    Waits,
    /// The hello is whole: its name, and the datagrams that waited, with this one.
    Whole(Option<ServerName>, Vec<Vec<u8>>),
    /// It is none: why. Nothing is kept.
    Broken(&'static str),
    /// An Initial that its connection has not begun with: an endpoint has given the id. It is not kept.
    Foreign,
}

/// The most that begin at a time, in a thread; the oldest is given up for one more.
const MOST: usize = 512;
/// The most octets that wait for one hello: a hello, and data that is sent with it before there is an answer.
const MOST_OCTETS: usize = 64 * 1024;

impl Openings {
    /// Takes a datagram, with the header that it begins with, of a connection that begins.
    pub(super) fn take(
        &mut self,
        path: Path,
        id: Id,
        header: &LongHeader<'_>,
        datagram: &[u8],
        patience: Duration,
        now: Instant,
    ) -> Progress {
        let key = (path, id);
        let known = self.open.remove(&key);
        let is_new = known.is_none();
        let mut opening = known.unwrap_or_else(|| Opening {
            reader: None,
            waiting: Vec::new(),
            octets: 0,
            deadline: now + patience,
        });
        if opening.reader.is_none() {
            opening.reader = InitialReader::new(header);
        }
        let reader = opening.reader.as_mut();
        let hello = reader.map_or(Ok(None), |reader| reader.read(datagram));
        opening.octets += datagram.len();
        match hello {
            Ok(Some(hello)) => {
                opening.waiting.push(datagram.to_vec());
                Progress::Whole(hello.name, opening.waiting)
            }
            Err(fault) => Progress::Broken(fault),
            Ok(None) if is_new && opening.is_foreign() => Progress::Foreign,
            Ok(None) if opening.octets > MOST_OCTETS => {
                Progress::Broken("a ClientHello that does not end")
            }
            Ok(None) => {
                opening.waiting.push(datagram.to_vec());
                if is_new {
                    self.make_room();
                    self.deadlines.push_back((opening.deadline, path, id));
                }
                self.open.insert(key, opening);
                Progress::Waits
            }
        }
    }

    /// Gives up those whose time is over; how many were given up since the last time, for others too.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        while let Some(&(deadline, path, id)) = self.deadlines.front() {
            let is_open = self.is_open(deadline, path, id);
            if is_open && deadline > now {
                break;
            }
            self.deadlines.pop_front();
            if is_open {
                self.give_up(path, id);
            }
        }
        std::mem::take(&mut self.given_up)
    }

    /// Gives up the oldest when there are too many.
    fn make_room(&mut self) {
        while self.open.len() >= MOST
            && let Some((deadline, path, id)) = self.deadlines.pop_front()
        {
            if self.is_open(deadline, path, id) {
                self.give_up(path, id);
            }
        }
    }

    fn is_open(&self, deadline: Instant, path: Path, id: Id) -> bool {
        let opening = self.open.get(&(path, id));
        opening.is_some_and(|opening| opening.deadline == deadline)
    }

    fn give_up(&mut self, path: Path, id: Id) {
        self.open.remove(&(path, id));
        self.given_up += 1;
    }
}

impl Opening {
    fn is_foreign(&self) -> bool {
        let reader = self.reader.as_ref();
        reader.is_some_and(|reader| !reader.has_opened())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sniff::long_header;
    use crate::sniff::samples::{ID, crypto, hello, initial};

    const PATIENCE: Duration = Duration::from_secs(5);

    fn path(port: u16) -> Path {
        Path {
            client: ([192, 0, 2, 1], port).into(),
            service: ([192, 0, 2, 2], 443).into(),
        }
    }

    fn take(openings: &mut Openings, port: u16, datagram: &[u8], now: Instant) -> Progress {
        let header = long_header(datagram).expect("it has a long header");
        let id = Id::read(header.destination).expect("it has an id");
        openings.take(path(port), id, &header, datagram, PATIENCE, now)
    }

    /// A hello in two datagrams, and data that comes with it.
    fn datagrams() -> [Vec<u8>; 3] {
        let hello = hello("quic.example.com");
        let (one, two) = hello.split_at(900);
        let early = [&[0xD0, 0, 0, 0, 1, 8], ID, &[0; 30]].concat();
        [
            initial(1, 0, &crypto(0, one)),
            initial(1, 1, &crypto(900, two)),
            early,
        ]
    }

    #[test]
    fn what_comes_before_the_name_is_known_waits_for_it() {
        let [one, two, early] = datagrams();
        let now = Instant::now();
        for order in [
            [&one, &early, &two],
            [&early, &two, &one],
            [&two, &early, &one],
        ] {
            let mut openings = Openings::default();
            assert_eq!(take(&mut openings, 1, order[0], now), Progress::Waits);
            // Another client's with the same id has nothing to do with it.
            assert_eq!(take(&mut openings, 2, &one, now), Progress::Waits);
            assert_eq!(take(&mut openings, 1, order[1], now), Progress::Waits);
            let name = ServerName::read(b"quic.example.com");
            let waiting: Vec<_> = order.into_iter().cloned().collect();
            assert_eq!(
                take(&mut openings, 1, order[2], now),
                Progress::Whole(name, waiting)
            );
            assert_eq!(openings.open.len(), 1);
        }
    }

    #[test]
    fn whoever_does_not_go_on_is_given_up() {
        let [one, two, _] = datagrams();
        let start = Instant::now();
        let mut openings = Openings::default();
        take(&mut openings, 1, &one, start);
        take(&mut openings, 2, &one, start + Duration::from_secs(1));
        take(&mut openings, 2, &two, start + Duration::from_secs(2));
        take(&mut openings, 3, &one, start + Duration::from_secs(3));
        assert_eq!(openings.expire(start + Duration::from_secs(4)), 0);
        assert_eq!(openings.expire(start + PATIENCE), 1);
        assert_eq!(openings.expire(start + Duration::from_secs(8)), 1);
        assert!(openings.open.is_empty() && openings.deadlines.is_empty());
    }

    #[test]
    fn there_is_a_limit_to_all_of_it() {
        let [one, _, early] = datagrams();
        let now = Instant::now();
        let mut openings = Openings::default();
        for port in 1..=1000 {
            take(&mut openings, port, &one, now);
        }
        assert_eq!(openings.open.len(), MOST);
        assert_eq!(openings.expire(now), 1000 - MOST as u64, "it is told");
        assert_eq!(openings.expire(now), 0);
        assert!(
            openings
                .open
                .contains_key(&(path(1000), Id::read(ID).expect("it is one")))
        );
        let mut openings = Openings::default();
        let long = [early.as_slice(), &[0; 1400]].concat();
        let broken = (0..100).find(|_| take(&mut openings, 1, &long, now) != Progress::Waits);
        assert_eq!(broken, Some(MOST_OCTETS / long.len()));
        assert!(openings.open.is_empty());
    }

    #[test]
    fn a_hello_in_one_datagram_leaves_nothing_behind() {
        let [one, _, _] = datagrams();
        let whole = initial(1, 0, &crypto(0, &hello("quic.example.com")));
        let now = Instant::now();
        let mut openings = Openings::default();
        take(&mut openings, 1, &one, now);
        for port in 2..50 {
            let progress = take(&mut openings, port, &whole, now);
            assert!(matches!(progress, Progress::Whole(..)), "{progress:?}");
        }
        assert_eq!((openings.open.len(), openings.deadlines.len()), (1, 1));
    }

    #[test]
    fn what_other_keys_protect_is_of_a_connection_that_has_begun() {
        let [one, two, early] = datagrams();
        let mut foreign = one.clone();
        // The keys come from the id that is there instead.
        foreign[6] ^= 1;
        let now = Instant::now();
        let mut openings = Openings::default();
        assert_eq!(take(&mut openings, 1, &foreign, now), Progress::Foreign);
        assert!(openings.open.is_empty() && openings.deadlines.is_empty());
        // What waits is not lost for a packet that anybody may have sent.
        let mut broken = one.clone();
        *broken.last_mut().expect("it is long") ^= 1;
        for datagram in [&early, &broken, &one] {
            assert_eq!(take(&mut openings, 1, datagram, now), Progress::Waits);
        }
        let progress = take(&mut openings, 1, &two, now);
        assert!(matches!(progress, Progress::Whole(Some(_), waiting) if waiting.len() == 4));
    }

    #[test]
    fn what_breaks_the_rules_is_dropped() {
        let mut openings = Openings::default();
        let broken = initial(1, 0, &[0x1C; 40]);
        let progress = take(&mut openings, 1, &broken, Instant::now());
        assert!(matches!(progress, Progress::Broken(_)), "{progress:?}");
        assert!(openings.open.is_empty());
    }
}
