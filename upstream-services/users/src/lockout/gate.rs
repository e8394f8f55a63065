//! The same counts for all processes, where they share a Redis: who guesses at each of many processes in turn has no more
//! guesses than at one.
//!
//! ```text
//!   admit: the count here of name and address -> familiar to any process? else the count here of the name
//!          -> the shared counts -> a hash
//!   right, wrong, neither: the counts here, the shared counts
//! ```
//!
//! The counts here are asked first, so that who is refused here costs no server anything, and alone while no server answers, or is
//! one without scripts (Memcached).
//!
//! A client may go away at any moment. What begins or ends a guess on the servers runs in a task of its own, so that each guess that
//! has begun ends, once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cache::Remote;
use futures::future::{join, join_all};
use prometheus::IntCounter;
use store::Time;

use super::{FAMILIAR, Guess, HALVINGS, Key, Lockout};
use crate::Error;
use crate::config::LockoutConfig;
use crate::to_the_end::to_the_end;

/// Lets guesses in, or not.
#[derive(Debug)]
pub(crate) struct Gate {
    here: Arc<Lockout>,
    shared: Option<Arc<Shared>>,
}

/// A guess that was let in. Where it is dropped it counts nothing.
#[derive(Debug)]
#[must_use = "a guess that is dropped counts nothing"]
pub(crate) struct Attempt {
    here: Guess,
    everywhere: Option<Everywhere>,
}

/// A guess in the shared counts.
#[derive(Debug)]
struct Everywhere {
    shared: Arc<Shared>,
    near: Key,
    /// The count of all addresses, when that applies.
    far: Option<Key>,
    /// It ends as one that counts nothing.
    open: bool,
}

/// The counts on the servers.
struct Shared {
    remote: Arc<Remote>,
    config: LockoutConfig,
}

/// What happens to a count; the numbers are the script's.
#[derive(Clone, Copy)]
enum Step {
    Begin = 1,
    Wrong = 2,
    Right = 3,
    Undecided = 4,
    Clear = 5,
}

impl Gate {
    pub(crate) fn new(
        config: &LockoutConfig,
        refused: &IntCounter,
        remote: Option<&Arc<Remote>>,
    ) -> Self {
        let shared = remote.map(|remote| Shared {
            remote: remote.clone(),
            config: config.clone(),
        });
        Self {
            here: Arc::new(Lockout::new(config.clone(), refused.clone())),
            shared: shared.map(Arc::new),
        }
    }

    /// Lets a guess in, or says for how long none is: [`Error::LockedOut`].
    pub(crate) async fn admit(
        &self,
        who: &str,
        from: Option<IpAddr>,
        now: Time,
    ) -> Result<Attempt, Error> {
        let near = Key::near(who, from);
        let here = self.here.admit_near(near, now)?;
        if let Some(shared) = &self.shared
            && !self.here.familiar.contains_key(&near)
            && shared.is_familiar(near).await
        {
            self.here.familiar.insert(near, ());
        }
        let here = self.here.admit_far(here, who)?;
        let everywhere = match &self.shared {
            Some(shared) => {
                let (shared, far) = (shared.clone(), here.far);
                let admitted = to_the_end(async move { shared.admit(near, far).await }).await;
                Some(admitted.inspect_err(|_| self.here.refused.inc())?)
            }
            None => None,
        };
        Ok(Attempt { here, everywhere })
    }

    /// Starts anew for somebody, wherever they are: the password is a new one.
    pub(crate) async fn clear(&self, who: &str, from: Option<IpAddr>) {
        self.here.clear(who, from);
        if let Some(shared) = &self.shared {
            let keys = [Key::far(who), Key::near(who, from)];
            join_all(keys.map(|key| shared.step(key, Step::Clear))).await;
        }
    }
}

impl Attempt {
    /// As [`Guess::right`].
    pub(crate) async fn right<'n>(
        self,
        from: Option<IpAddr>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) {
        let keys = names.clone().map(|name| Key::near(name, from)).collect();
        self.here.right(from, names);
        if let Some(everywhere) = self.everywhere {
            everywhere.end(Step::Right, Step::Undecided, keys).await;
        }
    }

    /// The password was wrong.
    pub(crate) async fn wrong(self) {
        self.here.wrong();
        if let Some(everywhere) = self.everywhere {
            everywhere.end(Step::Wrong, Step::Wrong, Vec::new()).await;
        }
    }
}

impl Everywhere {
    /// Takes the last steps; `familiar` is so from now on.
    async fn end(mut self, near: Step, far: Step, familiar: Vec<Key>) {
        self.open = false;
        let shared = self.shared.clone();
        let (near, far) = ((self.near, near), self.far.map(|key| (key, far)));
        to_the_end(async move {
            let familiar = familiar.into_iter().map(|key| shared.make_familiar(key));
            join(end(&shared, near, far), join_all(familiar)).await;
        })
        .await;
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        // Without a runtime the process ends, and the servers find out by themselves.
        if self.open
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, near, far) = (self.shared.clone(), self.near, self.far);
            runtime.spawn(async move {
                let far = far.map(|key| (key, Step::Undecided));
                end(&shared, (near, Step::Undecided), far).await;
            });
        }
    }
}

async fn end(shared: &Shared, near: (Key, Step), far: Option<(Key, Step)>) {
    let steps = std::iter::once(near).chain(far);
    join_all(steps.map(|(key, step)| shared.step(key, step))).await;
}

impl Shared {
    async fn admit(self: &Arc<Self>, near: Key, far: Option<Key>) -> Result<Everywhere, Error> {
        let begin = async |key: Option<Key>| match key {
            Some(key) => self.step(key, Step::Begin).await,
            None => None,
        };
        let (wait, far_wait) = join(begin(Some(near)), begin(far)).await;
        let Some(longest) = wait.max(far_wait) else {
            return Ok(Everywhere {
                shared: self.clone(),
                near,
                far,
                open: true,
            });
        };
        // The other count has let it in.
        if wait.is_none() {
            self.step(near, Step::Undecided).await;
        }
        if let Some(far) = far.filter(|_| far_wait.is_none()) {
            self.step(far, Step::Undecided).await;
        }
        Err(Error::LockedOut(longest))
    }

    /// Takes a step; for how long it is refused, if at all. A server that does not answer refuses nothing.
    async fn step(&self, key: Key, step: Step) -> Option<Duration> {
        let limit = match key.is_far() {
            true => self.config.account_attempts,
            false => self.config.attempts,
        };
        let window = i64::try_from(self.config.window.as_millis()).unwrap_or(i64::MAX);
        let arguments = [step as i64, limit.into(), window, HALVINGS.into()];
        let wait = self.ask("lockout", key, SCRIPT, &arguments).await?;
        let wait = u64::try_from(wait).ok().filter(|wait| *wait > 0);
        wait.map(Duration::from_millis)
    }

    async fn is_familiar(&self, key: Key) -> bool {
        let script = "return redis.call('EXISTS', KEYS[1])";
        self.ask("familiar", key, script, &[]).await == Some(1)
    }

    async fn make_familiar(&self, key: Key) {
        let script = "redis.call('SET', KEYS[1], '', 'PX', ARGV[1]) return 1";
        let time = i64::try_from(FAMILIAR.as_millis()).unwrap_or(i64::MAX);
        self.ask("familiar", key, script, &[time]).await;
    }

    async fn ask(&self, name: &str, key: Key, script: &str, arguments: &[i64]) -> Option<i64> {
        self.remote
            .script(name, &key.to_string(), script, arguments)
            .await
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

/// What `Count` does, in one step, by the server's clock: wrong guesses (w), those that run (r) and when the last one began (b), and
/// the end of the wait or the last wrong guess (u). What killed processes have left running is forgotten when no guess was let in for
/// a minute.
const SCRIPT: &str = "
local step, limit, window, halvings = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local there = redis.call('HMGET', KEYS[1], 'w', 'r', 'u', 'b')
local w, r = tonumber(there[1]) or 0, tonumber(there[2]) or 0
local u, b = tonumber(there[3]) or now, tonumber(there[4]) or 0
if b + 60000 < now then r = 0 end
local quiet = math.floor((now - u) / window)
if quiet > 0 then
  w = quiet <= halvings and math.floor(w / 2 ^ quiet) or 0
  u = u + window * quiet
end
if step == 1 then
  if w >= limit and now < u then return u - now end
  if r >= math.max(limit - w, 1) then return 1000 end
  r = r + 1
  b = now
else
  if step ~= 5 then r = math.max(r - 1, 0) end
  if step == 3 or step == 5 then w = 0 end
  if step == 2 then
    w = math.min(w + 1, limit + 5)
    u = math.max(u, now)
    if w >= limit then
      local first = math.max(math.floor(window / 32), 1000)
      u = now + math.min(first * 2 ^ (w - limit), window)
    end
  end
end
if w == 0 and r == 0 then
  redis.call('DEL', KEYS[1])
else
  local text = function(number) return string.format('%.0f', number) end
  redis.call('HSET', KEYS[1], 'w', text(w), 'r', text(r), 'u', text(u), 'b', text(b))
  redis.call('PEXPIRE', KEYS[1], text(window * (halvings + 1)))
end
return 0
";

#[cfg(test)]
mod tests;
