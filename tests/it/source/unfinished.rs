//! Files that seem unfinished: somebody has them open for writing, or their end is missing.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use tokio::time::timeout;

use super::{PATIENCE, Scene};

/// Settles slowly enough that nothing unfinished is taken while a test goes on: it would be after 600 times that.
async fn slow() -> Scene {
    let scene = Scene::start_with(|_| (), |config| config.settle = Duration::from_millis(100));
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    scene
}

/// Puts a file into the folder in a way that takes as long to settle as the quiet time of a file that is open.
fn link(scene: &Scene, name: &str) {
    fs::write(scene.elsewhere(name), name).unwrap();
    fs::hard_link(scene.elsewhere(name), scene.at(name)).unwrap();
}

#[tokio::test]
async fn a_file_that_is_still_open_is_waited_for() {
    let mut scene = slow().await;
    let mut writer = File::create(scene.at("a.md")).unwrap();
    writer.write_all(b"first half, ").unwrap();
    link(&scene, "other");
    scene.expect(&[("other", "other")]).await;
    writer.write_all(b"second half").unwrap();
    drop(writer);
    scene.expect(&[("a.md", "first half, second half")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_that_one_writer_has_closed_and_another_has_not_is_waited_for() {
    let mut scene = slow().await;
    let other = File::create(scene.at("a.md")).unwrap();
    fs::write(scene.at("a.md"), "first half, ").unwrap();
    link(&scene, "other");
    scene.expect(&[("other", "other")]).await;
    drop(other);
    scene.expect(&[("a.md", "first half, ")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_that_lacks_the_end_of_its_format_is_waited_for() {
    let mut scene = slow().await;
    let halves =
        [("a.json", "{\"key\": ", "\"text\"}"), ("a.pdf", "%PDF-1.7\n", "%%EOF\n"), ("a.zip", "PK\x03\x04", "PK\x05\x06")];
    for (name, half, _) in halves {
        fs::write(scene.at(name), half).unwrap();
    }
    link(&scene, "other");
    scene.expect(&[("other", "other")]).await;
    for (name, _, half) in halves {
        File::options().append(true).open(scene.at(name)).unwrap().write_all(half.as_bytes()).unwrap();
    }
    let whole = halves.map(|(name, begin, end)| (name, format!("{begin}{end}")));
    let whole: Vec<_> = whole.iter().map(|(name, whole)| (*name, whole.as_str())).collect();
    scene.expect(&whole).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_stays_open_or_without_its_end_is_taken_as_it_is_in_the_end() {
    let mut scene = Scene::start_with(|_| (), |config| config.settle = Duration::from_millis(1));
    let mut log = File::create(scene.at("a.log")).unwrap();
    log.write_all(b"line\n").unwrap();
    fs::write(scene.at("a.json"), "{\"key\": ").unwrap();
    scene.expect(&[("a.log", "line\n"), ("a.json", "{\"key\": ")]).await;
    log.write_all(b"another\n").unwrap();
    scene.expect(&[("a.log", "line\nanother\n")]).await;
}
