//! HTTP/1 to the byte: the conversations of `tests/http1/`, one test a file.

use std::collections::BTreeSet;

use tidegate_tests::http1::theme;

/// A test for each file, and the list of them all.
macro_rules! themes {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                theme::check(stringify!($name)).await;
            }
        )*
        const THEMES: &[&str] = &[$(stringify!($name)),*];
    };
}

themes! {
    request_line
    target
    fields
    host
    content_length
    transfer_encoding
    chunks
    limits
    pipelines
    expect
    answers
    forwarding
}

#[test]
fn every_file_is_played() {
    let files = std::fs::read_dir(theme::folder()).unwrap();
    let names: BTreeSet<String> = files
        .filter_map(|file| Some(file.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    let themes = THEMES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names, themes);
}
