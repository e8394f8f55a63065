//! What the documentation shows as a configuration is one.

use std::fs;
use std::path::PathBuf;

use tidegate_tests::authority;
use tidegate_tests::binary;
use tidegate_tests::tokens::write_certificate;

/// The pages, beside the README.
fn pages() -> Vec<PathBuf> {
    let root = binary::repository();
    let folder = fs::read_dir(root.join("docs")).expect("the documentation is there");
    let pages = folder.map(|entry| entry.expect("it can be listed").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.chain([root.join("README.md")]).collect()
}

/// Every block in this language, and where it begins.
fn blocks(text: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        if line == fence {
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside: Vec<&str> = inside.take_while(|line| *line != "```").collect();
            blocks.push((at + 1, inside.join("\n") + "\n"));
        }
    }
    blocks
}

#[test]
fn every_configuration_in_the_documentation_is_sound() {
    let folder = tempfile::tempdir().expect("temporary folders can be made");
    let tls = folder.path().join("tls");
    fs::create_dir(&tls).expect("the folder is new");
    write_certificate(&tls.join("cert.pem"), &tls.join("key.pem"));
    authority::write_all(&tls);
    let mut judged = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("it is text");
        for (line, block) in blocks(&text, "toml") {
            let place = format!("{}:{line}", page.display());
            let name = block
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# "));
            let name = name.filter(|name| matches!(*name, "gateway.toml" | "users.toml"));
            let name = name.unwrap_or_else(|| panic!("{place}: which file is it?"));
            fs::write(folder.path().join(name), &block).expect("the folder is ours");
            let output = binary::run(folder.path(), &["check", name]);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{place}: {told}");
            judged += 1;
        }
    }
    assert!(judged >= 6, "only {judged} blocks were found");
}
