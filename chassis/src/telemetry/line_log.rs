//! A log of lines that costs the writing thread a copy: the disk is somebody else's wait.
//!
//! ```text
//! worker thread: line -> own buffer -- full, or every 100 ms --> bounded queue -> writer thread -> file
//! ```
//!
//! When the queue is full the buffer is thrown away and counted: a slow disk
//! must never hold up a request.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use thread_local::ThreadLocal;

use crate::files;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineTarget {
    /// Standard output.
    Stdout,
    /// A file, appended to, and opened anew after [`LineLog::reopen`] (log rotation).
    File(PathBuf),
}

/// A log of lines; cheap to share.
#[derive(Debug)]
pub struct LineLog {
    buffers: ThreadLocal<Buffer>,
    queue: Option<Sender<Vec<u8>>>,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// A thread's own lines. The lock is contended only by the flush every 100 ms.
#[derive(Debug, Default)]
struct Buffer(Mutex<Vec<u8>>);

const BUFFER_BYTES: usize = 32 * 1024;
/// How far the line that fills a buffer usually goes beyond it.
const LINE_BYTES: usize = 4 * 1024;
const QUEUE_BUFFERS: usize = 256;
const FLUSH_EVERY: Duration = Duration::from_millis(100);

impl LineLog {
    /// Opens the target and starts the writer thread.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: LineTarget) -> io::Result<Arc<Self>> {
        let out = open(&target)?;
        let (sender, receiver) = bounded(QUEUE_BUFFERS);
        let reopen = Arc::new(AtomicBool::new(false));
        let dropped = Arc::new(AtomicU64::new(0));
        let log = Arc::new(Self {
            buffers: ThreadLocal::new(),
            queue: Some(sender),
            dropped: dropped.clone(),
            reopen: reopen.clone(),
            writer: Mutex::new(None),
        });
        let flushed = Arc::downgrade(&log);
        let writer = std::thread::Builder::new()
            .name("line-log".into())
            .spawn(move || {
                let mut writer = Writer {
                    target,
                    out,
                    reopen,
                    dropped,
                    told: None,
                };
                writer.run(&receiver, || {
                    if let Some(log) = flushed.upgrade() {
                        log.flush();
                    }
                });
            })?;
        *log.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(log)
    }

    /// Adds a line: `write` appends it to the buffer, without the newline.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let buffer = self.buffers.get_or_default();
        let mut bytes = buffer.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.capacity() == 0 {
            // At once: a buffer that doubles on its way there copies each line once more.
            bytes.reserve(BUFFER_BYTES + LINE_BYTES);
        }
        write(&mut bytes);
        bytes.push(b'\n');
        if bytes.len() >= BUFFER_BYTES {
            self.send(std::mem::take(&mut *bytes));
        }
    }

    /// Lines that were thrown away because the writer did not keep up, or could not write.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file anew before the next write, after a log rotation.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
    }

    fn flush(&self) {
        for buffer in &self.buffers {
            let bytes =
                std::mem::take(&mut *buffer.0.lock().unwrap_or_else(PoisonError::into_inner));
            if !bytes.is_empty() {
                self.send(bytes);
            }
        }
    }

    fn send(&self, bytes: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        if let Err(refused) = queue.try_send(bytes) {
            self.dropped
                .fetch_add(lines(&refused.into_inner()), Relaxed);
        }
    }
}

impl Drop for LineLog {
    fn drop(&mut self) {
        self.flush();
        self.queue = None;
        let writer = self
            .writer
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            let _ = writer.join();
        }
    }
}

struct Writer {
    target: LineTarget,
    out: Box<dyn Write + Send>,
    reopen: Arc<AtomicBool>,
    dropped: Arc<AtomicU64>,
    /// When it was last told that nothing can be written.
    told: Option<Instant>,
}

/// How often the same trouble is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl Writer {
    /// Until every sender is gone.
    fn run(&mut self, queue: &Receiver<Vec<u8>>, flush: impl Fn()) {
        loop {
            match queue.recv_timeout(FLUSH_EVERY) {
                Ok(bytes) => self.write(&bytes),
                Err(RecvTimeoutError::Timeout) => flush(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.reopen.swap(false, Relaxed)
            && let Ok(out) = open(&self.target)
        {
            self.out = out;
        }
        if let Err(error) = self.out.write_all(bytes) {
            self.dropped.fetch_add(lines(bytes), Relaxed);
            let due = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
            if due {
                tracing::warn!(%error, "cannot write the log of lines: they are dropped, and counted");
                self.told = Some(Instant::now());
            }
        }
    }
}

fn open(target: &LineTarget) -> io::Result<Box<dyn Write + Send>> {
    Ok(match target {
        LineTarget::Stdout => Box::new(io::stdout()),
        LineTarget::File(path) => Box::new(files::append(path)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_arrives_before_the_log_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.log");
        let log = LineLog::open(LineTarget::File(path.clone())).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for at in 0..1000 {
                        log.line(|out| write!(out, "{thread} {at}").unwrap());
                    }
                });
            }
        });
        assert_eq!(log.dropped(), 0);
        drop(log);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 4000);
        assert!(text.lines().all(|line| line.split(' ').count() == 2));
    }

    #[test]
    fn lines_for_a_full_disk_are_counted() {
        let log = LineLog::open(LineTarget::File("/dev/full".into())).unwrap();
        for _ in 0..3 {
            log.line(|out| out.extend_from_slice(b"one"));
        }
        let soon = Instant::now() + Duration::from_secs(5);
        while log.dropped() < 3 {
            assert!(Instant::now() < soon, "{}", log.dropped());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn lines_arrive_soon_without_a_full_buffer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.log");
        let log = LineLog::open(LineTarget::File(path.clone())).unwrap();
        log.line(|out| out.extend_from_slice(b"one"));
        let soon = std::time::Instant::now() + Duration::from_secs(5);
        while std::fs::read_to_string(&path).unwrap() != "one\n" {
            assert!(std::time::Instant::now() < soon);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
