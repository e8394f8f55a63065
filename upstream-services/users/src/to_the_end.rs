//! What must not stop half-way, although who asked for it has gone away.

/// Runs something in a task of its own, to its end even if nobody waits for it any more; what comes of it is dropped then.
pub(crate) async fn to_the_end<T: Send + 'static>(
    steps: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(steps).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
