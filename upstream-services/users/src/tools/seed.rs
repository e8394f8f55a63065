//! `tidegate store seed`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use prometheus::Registry;
use rand::RngExt;
use store::{Bucket, Freshness, Id, IdGenerator, Store, Time, Value, sql};

use super::{ToolError, open};
use crate::Error;
use crate::fields::{EMAIL, Password, USERNAME};
use crate::hashing::{Hasher, Lane};
use crate::metrics::HashMetrics;

/// The arguments of `tidegate store seed`.
#[derive(Clone, Debug, clap::Args)]
pub struct SeedArgs {
    /// The configuration file of the user services, which must not run meanwhile.
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// How many users: `user000000000` and on, registered evenly over the last year.
    #[arg(short, long, value_name = "COUNT")]
    users: u64,
    /// Every user's password is the first line of this file; else nobody can log in.
    #[arg(long, value_name = "FILE")]
    password: Option<PathBuf>,
    /// Write the ids of up to ten thousand of them here, one a line.
    #[arg(long, value_name = "FILE")]
    sample: Option<PathBuf>,
}

/// Fills the data set.
pub(super) async fn fill(args: &SeedArgs) -> Result<(), ToolError> {
    let (config, store) = open(&args.config).await?;
    if store.is_shared() {
        return Err(ToolError::InUse);
    }
    for shard in store.shards() {
        let some = sql("SELECT id FROM users LIMIT 1");
        let mut connection = shard.read(&Freshness::Latest).await?;
        if some.optional::<(Id,)>(&mut connection).await?.is_some() {
            return Err(ToolError::NotEmpty);
        }
    }
    let hash = match &args.password {
        // As a hash it fits no password.
        None => "!".to_owned(),
        Some(path) => {
            let text = fs::read_to_string(path).map_err(file(path))?;
            let password = Password::parse(text.lines().next().unwrap_or_default().to_owned())?;
            let hasher = Hasher::start(
                &config.hash,
                HashMetrics::register(&Registry::new()).map_err(Error::from)?,
            )?;
            hasher.hash(Lane::Register, password).await?
        }
    };
    let mut sample = match &args.sample {
        Some(path) => Some(BufWriter::new(File::create(path).map_err(file(path))?)),
        None => None,
    };
    let seed = Seed {
        ids: IdGenerator::new(WORKER),
        count: args.users,
        from: Time::now().minus(YEAR),
        hash,
    };
    let began = Instant::now();
    let mut told = began;
    let mut done = 0;
    while done < args.users {
        let next = args.users.min(done + BATCH);
        let ids = seed.write(&store, done..next).await?;
        if let Some(sample) = &mut sample {
            let every = args.users.div_ceil(SAMPLE);
            for (_, id) in (done..).zip(ids).filter(|(number, _)| number % every == 0) {
                writeln!(sample, "{id}")?;
            }
        }
        done = next;
        if told.elapsed() >= TELL {
            told = Instant::now();
            let rate = done as f64 / began.elapsed().as_secs_f64();
            println!("{done} of {} users, {rate:.0} a second", args.users);
        }
    }
    if let Some(mut sample) = sample {
        sample.flush()?;
    }
    store.close().await;
    println!("{done} users in {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}

/// What all users have in common.
struct Seed {
    ids: IdGenerator,
    count: u64,
    from: Time,
    hash: String,
}

impl Seed {
    /// Writes the users of these numbers; their ids.
    async fn write(
        &self,
        store: &Store,
        numbers: std::ops::Range<u64>,
    ) -> Result<Vec<Id>, ToolError> {
        let mut users = Vec::new();
        let mut claims = Vec::new();
        let mut ids = Vec::new();
        let now = Time::now();
        for number in numbers {
            let passed = YEAR.mul_f64(number as f64 / self.count as f64);
            let at = self.from.plus(passed);
            let id = self.ids.next(Bucket::new(rand::rng().random()), at)?;
            let name = format!("user{number:09}");
            let email = format!("{name}@seed.invalid");
            let values: Vec<Value> = vec![
                id.into(),
                name.clone().into(),
                email.clone().into(),
                format!("User {number}").into(),
                self.hash.clone().into(),
                1_i64.into(),
                at.into(),
                at.into(),
            ];
            users.push((id.bucket(), values));
            claims.extend([(EMAIL, email, id), (USERNAME, name, id)]);
            ids.push(id);
        }
        let insert = "INSERT INTO users (id, username, email, display_name, password_hash,
             version, created_at, updated_at) VALUES";
        store.fill(insert, 8, users).await?;
        // In the order of the index.
        claims.sort_unstable();
        store.fill_claims(claims, now).await?;
        Ok(ids)
    }
}

fn file(path: &std::path::Path) -> impl Fn(std::io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::File {
        path: path.clone(),
        source,
    }
}

/// Users that are written together.
const BATCH: u64 = 8192;
/// The worker number of the ids: services that run take the lowest ones.
const WORKER: u8 = 255;
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const SAMPLE: u64 = 10_000;
/// Between two lines that say how far it is.
const TELL: Duration = Duration::from_secs(5);
