//! A month is in the archive before it is dropped, whatever ends in between.

use std::fs;

use super::*;

/// A store with June in it, of more rows than a page.
async fn june(dir: &TempDir) -> (Store, Vec<Id>) {
    let store = open(dir).await;
    store
        .make_time_tables(&[VISITS], at("2026-06-15"))
        .await
        .unwrap();
    let times = (0..1205).map(|n| at("2026-06-02").plus(Duration::from_secs(n)));
    let visits: Vec<TimeRow> = times.map(|time| visit(owner(7), time)).collect();
    insert(&store, &visits).await.unwrap();
    (store, visits.iter().map(|visit| visit.id).collect())
}

async fn archive(store: &Store, dir: &TempDir) -> Result<u64, Error> {
    let archive = dir.path().join("archive");
    store
        .keep_time_tables(&[VISITS], at("2026-09-01"), Some(&archive))
        .await
}

const FILE: &str = "archive/visits_2026_06.shard0.jsonl";
const PART: &str = "archive/visits_2026_06.shard0.jsonl.part";

#[tokio::test]
async fn a_month_is_archived_before_it_is_dropped() {
    let dir = TempDir::new().unwrap();
    let (store, made) = june(&dir).await;
    assert_eq!(archive(&store, &dir).await.unwrap(), 2);
    assert!(!months(&store, 0).await.contains(&"2026_06".to_owned()));
    let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let archived: Vec<Id> = lines
        .iter()
        .map(|line| line["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(archived, made);
    assert_eq!(
        lines[1],
        serde_json::json!({
            "id": made[1], "owner": owner(7), "kind": "a \"b\"",
            "size": made[1].time().as_millis(),
            "device": (made[1].as_i64() % 2 == 0).then_some(owner(7)),
        })
    );
    let files = fs::read_dir(dir.path().join("archive")).unwrap().count();
    assert_eq!(files, 1, "no rows, no file; and no part is left");
}

#[tokio::test]
async fn an_archive_that_was_cut_off_goes_on_where_it_ended() {
    let whole = TempDir::new().unwrap();
    let (store, _) = june(&whole).await;
    archive(&store, &whole).await.unwrap();
    let whole = fs::read(whole.path().join(FILE)).unwrap();
    let line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let torn = [&whole[..line + 5], &[0; 500]].concat();
    let twice = [&whole[..line], &whole[..line]].concat();
    for written in [
        &[],
        &whole[..line - 1],
        &whole[..line],
        &torn,
        &twice,
        &whole[..90_000],
        &whole,
    ] {
        let dir = TempDir::new().unwrap();
        let (store, _) = june(&dir).await;
        fs::create_dir(dir.path().join("archive")).unwrap();
        // What the process before this one wrote can be told apart.
        let kept = String::from_utf8_lossy(written).replacen("a \\\"b", "before", 1);
        let marked = kept.contains("before") && written.len() >= line;
        fs::write(dir.path().join(PART), kept).unwrap();
        assert_eq!(archive(&store, &dir).await.unwrap(), 2);
        let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text.contains("before"), marked, "it was written anew");
        let text = text.replacen("before", "a \\\"b", 1);
        assert!(text.as_bytes() == whole, "after {} bytes", written.len());
        assert!(!dir.path().join(PART).exists());
        assert!(!months(&store, 0).await.contains(&"2026_06".to_owned()));
    }
}

#[tokio::test]
async fn a_month_is_dropped_by_the_next_turn_only_if_the_archive_is_its_own() {
    let dir = TempDir::new().unwrap();
    let (store, made) = june(&dir).await;
    archive(&store, &dir).await.unwrap();
    let whole = fs::read(dir.path().join(FILE)).unwrap();

    let again = TempDir::new().unwrap();
    let (store, _) = june(&again).await;
    fs::create_dir(again.path().join("archive")).unwrap();
    let path = again.path().join(FILE);
    let cut = whole.len() - 10;
    for foreign in [&b""[..], b"notes\n", &whole[..cut]] {
        fs::write(&path, foreign).unwrap();
        let refused = archive(&store, &again).await.unwrap_err();
        assert!(matches!(refused, Error::OtherArchive(_)), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), foreign);
        assert_eq!(
            ids(&store, owner(7), None, 1, at("2026-08-01")).await,
            made[1204..]
        );
    }
    // It ended between the renaming and the drop.
    fs::write(&path, &whole).unwrap();
    assert_eq!(
        archive(&store, &again).await.unwrap(),
        1,
        "only what was refused is left"
    );
    assert_eq!(fs::read(&path).unwrap(), whole);
    assert!(!months(&store, 0).await.contains(&"2026_06".to_owned()));
}

#[tokio::test]
async fn a_month_that_cannot_be_archived_stays() {
    let dir = TempDir::new().unwrap();
    let (store, made) = june(&dir).await;
    fs::write(dir.path().join("archive"), "a file, no folder").unwrap();
    let refused = archive(&store, &dir).await.unwrap_err();
    assert!(matches!(refused, Error::File { .. }), "{refused}");
    assert_eq!(
        ids(&store, owner(7), None, 1, at("2026-08-01")).await,
        made[1204..]
    );
}
