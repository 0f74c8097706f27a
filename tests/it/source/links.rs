//! Symbolic links are not followed unless configured, and never out of the folder.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use riverbed::folder::{ReadError, Symlinks};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::timeout;

use super::{PATIENCE, Scene, TREE, write_tree};

#[tokio::test]
async fn links_and_pipes_are_skipped() {
    let mut scene = Scene::start_with(
        |root| {
            symlink("/etc/passwd", root.join("link")).unwrap();
            symlink("/etc", root.join("folder")).unwrap();
        },
        |_| (),
    );
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    mknodat(CWD, scene.at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    symlink("/etc/passwd", scene.at("later")).unwrap();
    symlink("/etc", scene.at("later-folder")).unwrap();
    fs::write(scene.at("a.md"), "text").unwrap();
    scene.expect(&[("a.md", "text")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_link_to_a_file_inside_is_a_document_of_its_own_where_that_is_asked_for() {
    let mut scene = Scene::start_with(write_tree, |config| {
        config.symlinks = Symlinks::Inside;
        config.rescan = Duration::from_millis(1);
    });
    scene.expect(&TREE).await;
    fs::write(scene.elsewhere("secret"), "secret").unwrap();
    symlink("../one", scene.at("a/link")).unwrap();
    symlink("../../elsewhere/secret", scene.at("a/outside")).unwrap();
    symlink("b", scene.at("a/folder")).unwrap();
    scene.expect(&[("a/link", "one")]).await;
    // No event names the link when its file changes.
    fs::write(scene.at("one"), "another").unwrap();
    scene.expect(&[("one", "another"), ("a/link", "another")]).await;
    fs::remove_file(scene.at("a/link")).unwrap();
    symlink("two", scene.at("a/link")).unwrap();
    scene.expect(&[("a/link", "a/two")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_link_that_is_led_out_before_it_is_read_is_not_read() {
    let mut scene = Scene::start_with(|_| (), |config| config.symlinks = Symlinks::Inside);
    fs::write(scene.elsewhere("secret"), "secret").unwrap();
    fs::write(scene.at("a.md"), "public").unwrap();
    scene.expect(&[("a.md", "public")]).await;
    symlink("a.md", scene.at("b.md")).unwrap();
    let change = scene.next().await;
    assert_eq!(scene.read(&change).unwrap().bytes, b"public");
    fs::remove_file(scene.at("b.md")).unwrap();
    symlink("../elsewhere/secret", scene.at("b.md")).unwrap();
    assert!(matches!(scene.read(&change), Err(ReadError::NotRegular)));
}

#[tokio::test]
async fn a_file_swapped_for_a_link_is_not_read() {
    let mut scene = Scene::start().await;
    fs::write(scene.elsewhere("secret"), "secret").unwrap();
    fs::write(scene.at("a.md"), "public").unwrap();
    let change = scene.next().await;
    fs::remove_file(scene.at("a.md")).unwrap();
    symlink(scene.elsewhere("secret"), scene.at("a.md")).unwrap();
    assert!(matches!(scene.read(&change), Err(ReadError::NotRegular)));
}
