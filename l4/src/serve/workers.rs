//! Threads that carry connections.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;

/// What a thread is to do beside everything else, made where it runs.
type Task = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Threads, each with a runtime of its own: a connection stays on the thread that has accepted it.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: Vec<(mpsc::UnboundedSender<Task>, JoinHandle<()>)>,
}

/// Between two looks at threads that are to end.
const LOOK: Duration = Duration::from_millis(10);

impl Workers {
    /// Starts so many.
    ///
    /// # Errors
    /// When the system has none left.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let threads = (0..count).map(|number| {
            let (tasks, received) = mpsc::unbounded_channel();
            let (built, outcome) = std::sync::mpsc::sync_channel(1);
            let name = format!("l4-{number}");
            let thread = std::thread::Builder::new().name(name).spawn(move || {
                // It cannot be moved: it is built where it runs.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default());
                let (runtime, outcome) = match runtime {
                    Ok(runtime) => (Some(runtime), Ok(())),
                    Err(error) => (None, Err(error)),
                };
                let told = built.send(outcome);
                if let (Some(runtime), Ok(())) = (runtime, told) {
                    runtime.block_on(work(received));
                }
            })?;
            outcome.recv().map_err(io::Error::other)??;
            Ok((tasks, thread))
        });
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Has a thread do something.
    pub(crate) fn give<F: Future<Output = ()> + 'static>(
        &self,
        number: usize,
        task: impl FnOnce() -> F + Send + 'static,
    ) {
        let task: Task = Box::new(|| Box::pin(task()));
        if let Some((tasks, _)) = self.threads.get(number) {
            // A thread ends when this is dropped.
            let _ = tasks.send(task);
        }
    }

    /// Ends the threads with everything that they do, and waits for that, at most so long.
    pub(crate) async fn finish(self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        let threads: Vec<_> = self.threads.into_iter().map(|(_, thread)| thread).collect();
        while !threads.iter().all(JoinHandle::is_finished) {
            if tokio::time::Instant::now() >= deadline {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn work(mut tasks: mpsc::UnboundedReceiver<Task>) {
    while let Some(task) = tasks.recv().await {
        drop(tokio::task::spawn_local(task()));
    }
}
