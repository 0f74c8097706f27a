//! A folder processed once, without waiting for anything.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use riverbed::domain::{Claims, NoMemory};
use riverbed::folder::{Found, Marker, SourceConfig, SourceError, scan_once};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, globs, once, write_tree};

#[tokio::test]
async fn every_file_is_processed_once_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    write_tree(folder.path());
    fs::write(folder.path().join("empty"), "").unwrap();
    // A settle time of an hour: nothing waits for it.
    let config = SourceConfig { path: folder.path().into(), settle: Duration::from_hours(1), ..SourceConfig::default() };
    assert_eq!(once(config.clone()).await.unwrap(), ["a/b/three", "a/two", "empty", "one"]);
    assert_eq!(once(SourceConfig { recursive: false, ..config }).await.unwrap(), ["empty", "one"]);
}

#[tokio::test]
async fn only_what_is_included_and_not_excluded_is_processed() {
    let folder = tempfile::tempdir().unwrap();
    write_tree(folder.path());
    let config = SourceConfig {
        path: folder.path().into(),
        include: globs(&["t*"]),
        exclude: globs(&["/a/b/"]),
        ..SourceConfig::default()
    };
    assert_eq!(once(config.clone()).await.unwrap(), ["a/two"]);
    fs::write(folder.path().join(".riverbedignore"), "two\n").unwrap();
    assert!(once(config).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_marked_files_are_processed() {
    let folder = tempfile::tempdir().unwrap();
    write_tree(folder.path());
    fs::write(folder.path().join("a/two.done"), "").unwrap();
    let marker = Some(Marker::try_from(".done".to_owned()).unwrap());
    assert_eq!(once(SourceConfig { path: folder.path().into(), marker, ..SourceConfig::default() }).await.unwrap(), ["a/two"]);
}

#[tokio::test]
async fn a_missing_folder_is_distinguished_from_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| SourceConfig { path: folder.path().join(name), ..SourceConfig::default() };
    assert!(matches!(once(config("none")).await, Err(SourceError::RootMissing { .. })));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(once(config("file")).await, Err(SourceError::Root { .. })));
}

#[tokio::test]
async fn a_single_run_ends_when_it_is_stopped_or_nobody_takes_anything() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1000 {
        fs::write(folder.path().join(number.to_string()), "").unwrap();
    }
    let config = SourceConfig { path: folder.path().into(), ..SourceConfig::default() };
    let (found, stop) = (Found::default(), CancellationToken::new());
    let (sender, mut changes) = mpsc::channel(1);
    let stopped = async {
        changes.recv().await.unwrap();
        stop.cancel();
    };
    let scan = scan_once(config.clone(), Arc::new(NoMemory), Claims::default(), sender, stop.clone(), &found);
    timeout(PATIENCE, async { tokio::join!(scan, stopped) }).await.unwrap().0.unwrap();

    let (sender, _) = mpsc::channel(1);
    let scan = scan_once(config, Arc::new(NoMemory), Claims::default(), sender, CancellationToken::new(), &found);
    timeout(PATIENCE, scan).await.unwrap().unwrap();
    assert_eq!(found.scans(), 0);
}
