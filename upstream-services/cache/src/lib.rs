//! A cache in front of the store, in two levels: memory of this process, then Redis or Memcached, which
//! all processes share.
//!
//! It must not know what it holds or where values come from: that is the [`Source`].
//!
//! ```text
//! Cache::get -> near (memory): found, fresh          -> value
//!                              found, past its time  -> value, and one refresh behind it
//!                              found, hot, nearly so -> the same, so that hot keys are never missed
//!            -> one flight a key
//!                 -> remote: found                   -> value
//!                            nothing, and ours to fill (a lease)
//!                            just deleted            (how new a fill has to be)
//!                 -> Source::load -> fills both levels
//! Cache::invalidate -> near, remote, and by the remote's feed the memory of other processes
//! ```
//!
//! # Why a fill cannot be stale
//!
//! A reader that misses reads the old row; a writer commits and invalidates; only then the
//! reader's fill arrives. Removing the entry is not enough, because at that moment there is none.
//!
//! In memory every key belongs to a *stripe* with a generation, entries are filed under (key, generation), and an
//! invalidation moves the stripe on *before* it removes the entry: a fill that began earlier lands where nobody looks
//! any more. In the remote a fill needs the lease that the reader was given when it missed (Facebook's memcache,
//! NSDI 2013, section 3.2.1), and a deletion takes that away.
//!
//! Nor can a fill come from a replica that has not heard of the write: a deletion leaves a [`Mark`] in its
//! place for longer than replicas may be behind, and the source is asked for something that new.

mod cache;
mod hot;
mod limits;
mod near;
mod remote;
mod source;

pub use cache::Cache;
pub use limits::{Limits, Stats};
pub use remote::{Kind, Node, Options, Password, Remote, RemoteError, RemoteStats};
pub use source::{Mark, Need, Pairs, Seen, Source};
