//! argon2id by threads that keep their memory, as fast as the library is.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::sync::oneshot;

use super::api::Failed;

/// What a password is hashed to.
pub(super) type Hash = [u8; 32];

/// The threads.
pub(super) struct Hasher(Sender<Job>);

struct Job {
    password: String,
    salt: [u8; 16],
    reply: oneshot::Sender<Option<Hash>>,
}

impl Hasher {
    /// Starts so many.
    pub(super) fn start(threads: usize, memory_kib: u32, passes: u32) -> Result<Self, Failed> {
        let params = Params::new(memory_kib, passes, 1, None);
        let params = params.map_err(|error| Failed(error.to_string()))?;
        let (queue, jobs) = unbounded();
        for _ in 0..threads {
            let (jobs, params) = (jobs.clone(), params.clone());
            std::thread::spawn(move || work(&jobs, &params));
        }
        Ok(Self(queue))
    }

    /// One hash.
    pub(super) async fn hash(&self, password: String, salt: [u8; 16]) -> Result<Hash, Failed> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            password,
            salt,
            reply,
        };
        let ended = || Failed("nobody hashes".to_owned());
        self.0.send(job).map_err(|_| ended())?;
        answer.await.ok().flatten().ok_or_else(ended)
    }
}

fn work(jobs: &Receiver<Job>, params: &Params) {
    let mut memory = vec![Block::default(); params.block_count()];
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    for job in jobs {
        let (password, mut hash) = (job.password.as_bytes(), Hash::default());
        let done =
            argon.hash_password_into_with_memory(password, &job.salt, &mut hash, &mut memory);
        let _ = job.reply.send(done.ok().map(|()| hash)); // who asked may have gone
    }
}
