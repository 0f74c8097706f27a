//! Known files are not sent twice, and removals are reported: not early, and once.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::Duration;

use riverbed::domain::Departure::{Hidden, Removed};
use riverbed::domain::{Change, What};
use riverbed::folder::{Globs, SourceConfig, SourceError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tokio::time::timeout;

use super::{PATIENCE, Scene, TREE, once_with, path, write_tree};

/// Follows a folder with a tree in it, all of which has been taken.
async fn taken() -> Scene {
    taken_with(|_| ()).await
}

async fn taken_with(configure: impl FnOnce(&mut SourceConfig)) -> Scene {
    let mut scene = Scene::start_with(write_tree, configure);
    scene.expect(&TREE).await;
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    scene
}

fn exclude(globs: &[&str]) -> impl FnOnce(&mut SourceConfig) {
    let globs = Globs::new(globs.iter().map(ToString::to_string).collect()).unwrap();
    |config| config.exclude = globs
}

fn id(path: &Path) -> (u64, u64) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.dev(), metadata.ino())
}

/// Moves the folder away and puts a new one in its place: another one, for the old one keeps its inode.
fn recreate(scene: &Scene) {
    fs::rename(scene.at(""), scene.elsewhere("old")).unwrap();
    fs::create_dir(scene.at("")).unwrap();
}

#[tokio::test]
async fn a_file_that_is_deleted_or_moved_out_is_reported_as_removed() {
    let mut scene = taken().await;
    fs::remove_file(scene.at("one")).unwrap();
    scene.expect_gone(&[("one", Removed)]).await;
    fs::rename(scene.at("a/two"), scene.elsewhere("two")).unwrap();
    scene.expect_gone(&[("a/two", Removed)]).await;
    assert_eq!(scene.memory.readings(), 1, "events told all of it");
    assert_eq!(scene.found.gone(), 2);
    fs::write(scene.at("one"), "again").unwrap();
    scene.expect(&[("one", "again")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_renamed_file_is_removed_under_its_old_name() {
    let mut scene = taken().await;
    fs::rename(scene.at("one"), scene.at("a/one")).unwrap();
    scene.expect(&[("a/one", "one")]).await;
    scene.expect_gone(&[("one", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn all_files_of_a_removed_folder_are_removed() {
    let mut scene = taken().await;
    fs::rename(scene.at("a"), scene.elsewhere("a")).unwrap();
    scene.expect_gone(&[("a/two", Removed), ("a/b/three", Removed)]).await;
    fs::rename(scene.elsewhere("a"), scene.at("a")).unwrap();
    scene.expect(&TREE[1..]).await;
    fs::remove_dir_all(scene.at("a")).unwrap();
    scene.expect_gone(&[("a/two", Removed), ("a/b/three", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn files_removed_between_runs_are_found_at_the_next_start_and_nothing_else_comes() {
    let change = |scene: &Scene| {
        fs::remove_dir_all(scene.at("a/b")).unwrap();
        fs::write(scene.at("a/two"), "changed").unwrap();
        fs::write(scene.at("new"), "new").unwrap();
    };
    let mut scene = taken().await.restart(change, |_| ()).await;
    scene.expect(&[("a/two", "changed"), ("new", "new")]).await;
    scene.expect_gone(&[("a/b/three", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_is_recorded_as_it_is_is_read_along_with_the_folder_and_never_asked_for() {
    let scene = taken().await;
    let questions = scene.memory.questions();
    let scene = scene.restart(|_| (), |config| config.rescan = Duration::from_millis(1)).await;
    timeout(PATIENCE, scene.found.scanned(5)).await.unwrap();
    assert_eq!(scene.found.files(), 0);
    assert!(scene.memory.readings() >= 6, "one for each scan");
    assert_eq!(scene.memory.questions(), questions);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_is_to_be_taken_again_is_taken_though_it_has_not_changed() {
    let forget = |scene: &Scene| scene.memory.change(|remembered| remembered.seen = None);
    let mut scene = taken().await.restart(forget, |_| ()).await;
    scene.expect(&TREE).await;
    scene.claims.retry(&path("one"));
    scene.expect(&[("one", "one")]).await;
    let change = {
        fs::write(scene.at("one"), "changed").unwrap();
        scene.next().await
    };
    scene.claims.retry(&path("one"));
    drop(change);
    scene.expect(&[("one", "changed")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_a_changed_rule_hides_is_hidden_from_the_start() {
    let mut scene = taken().await.restart(|_| (), exclude(&["b/"])).await;
    scene.expect_gone(&[("a/b/three", Hidden)]).await;
    let mut scene = scene.restart(|_| (), |config| config.recursive = false).await;
    scene.expect_gone(&[("a/two", Hidden)]).await;
    let all = |config: &mut SourceConfig| *config = SourceConfig { exclude: Globs::default(), recursive: true, ..config.clone() };
    let mut scene = scene.restart(|_| (), all).await;
    scene.expect(&TREE[1..]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_the_ignore_file_hides_is_hidden_at_once_and_comes_back_with_it() {
    let mut scene = taken().await;
    fs::write(
        scene.elsewhere("rules"),
        "two
",
    )
    .unwrap();
    fs::rename(scene.elsewhere("rules"), scene.at(".riverbedignore")).unwrap();
    scene.expect_gone(&[("a/two", Hidden)]).await;
    fs::remove_file(scene.at(".riverbedignore")).unwrap();
    scene.expect(&[("a/two", "a/two")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_gives_way_to_something_that_is_no_file_is_hidden_by_it() {
    let mut scene = taken().await;
    fs::remove_file(scene.at("one")).unwrap();
    fs::create_dir(scene.at("one")).unwrap();
    fs::write(scene.at("one/below"), "below").unwrap();
    scene.expect(&[("one/below", "below")]).await;
    scene.expect_gone(&[("one", Hidden)]).await;
    mknodat(CWD, scene.elsewhere("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::rename(scene.elsewhere("pipe"), scene.at("a/two")).unwrap();
    scene.expect_gone(&[("a/two", Hidden)]).await;
    symlink("/etc/passwd", scene.elsewhere("link")).unwrap();
    fs::rename(scene.elsewhere("link"), scene.at("a/b/three")).unwrap();
    scene.expect_gone(&[("a/b/three", Hidden)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_is_removed_when_its_folder_becomes_a_file() {
    let replace = |scene: &Scene| {
        fs::remove_dir_all(scene.at("a")).unwrap();
        fs::write(scene.at("a"), "a file").unwrap();
    };
    let mut scene = taken().await.restart(replace, |_| ()).await;
    scene.expect(&[("a", "a file")]).await;
    scene.expect_gone(&[("a/two", Removed), ("a/b/three", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn what_an_editor_moves_aside_and_writes_again_is_never_gone() {
    let mut scene = taken_with(|config| config.settle = Duration::from_millis(500)).await;
    fs::rename(scene.at("one"), scene.at("one~")).unwrap();
    fs::write(scene.at("one"), "edited").unwrap();
    fs::remove_file(scene.at("a/two")).unwrap();
    fs::write(scene.at("a/two"), "edited").unwrap();
    scene.expect(&[("one", "edited"), ("a/two", "edited")]).await;
    // Away and back again: it has another change time now.
    fs::rename(scene.at("one"), scene.elsewhere("one")).unwrap();
    fs::rename(scene.elsewhere("one"), scene.at("one")).unwrap();
    scene.expect(&[("one", "edited")]).await;
    assert_eq!(scene.found.gone(), 0);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_file_is_removed_only_after_its_earlier_change_has_ended() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "text").unwrap();
    let under_way = scene.next().await;
    fs::remove_file(scene.at("a.md")).unwrap();
    fs::write(scene.at("b.md"), "other").unwrap();
    scene.expect(&[("b.md", "other")]).await;
    assert_eq!(scene.found.gone(), 0);
    drop(under_way);
    scene.expect_gone(&[("a.md", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_removal_that_is_handed_back_is_sent_again() {
    let mut scene = taken().await;
    fs::remove_file(scene.at("one")).unwrap();
    for _ in 0..3 {
        let Change { what, claim, .. } = scene.next_of_any_kind().await;
        assert_eq!(what, What::Gone(Removed));
        claim.again();
    }
    scene.expect_gone(&[("one", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn files_that_cannot_be_inspected_are_kept() {
    let hide = |scene: &Scene| {
        fs::rename(scene.at("a"), scene.elsewhere("a")).unwrap();
        // It may lead to where the files are now, and it is not followed to see.
        symlink("../elsewhere/a", scene.at("a")).unwrap();
        fs::set_permissions(scene.at("one"), fs::Permissions::from_mode(0o000)).unwrap();
    };
    let scene = taken().await.restart(hide, |_| ()).await;
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    fs::set_permissions(scene.at("one"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut scene = scene;
    scene.expect(&[("one", "one")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn files_in_an_unreadable_folder_are_kept() {
    let close = |scene: &Scene| fs::set_permissions(scene.at("a"), fs::Permissions::from_mode(0o000)).unwrap();
    let scene = taken().await.restart(close, |_| ()).await;
    // For root nothing is closed: then the same is true because all is there.
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    let at = scene.at("a");
    let folder = scene.expect_no_more().await;
    fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
    drop(folder);
}

#[tokio::test]
async fn files_of_an_unmounted_mount_are_kept() {
    let unmount = |scene: &Scene| {
        fs::remove_file(scene.at("one")).unwrap();
        fs::remove_file(scene.at("a/two")).unwrap();
        fs::remove_dir_all(scene.at("a/b")).unwrap();
        scene.memory.change(|remembered| remembered.device = remembered.device.map(|device| device + 1));
        let [one, two] = ["one", "a/two"].map(path);
        scene.memory.remember(&one, None, None); // counts as the source folder's
        scene.memory.remember(&two, None, Some(id(&scene.at("a")).0));
    };
    let mut scene = taken().await.restart(unmount, |_| ()).await;
    scene.expect_gone(&[("one", Removed), ("a/two", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_missing_folder_and_an_empty_one_in_its_place_take_nothing_back() {
    let mut scene = taken().await.restart(|scene| fs::rename(scene.at(""), scene.elsewhere("old")).unwrap(), |_| ()).await;
    // As long as nobody mounts it, there is an empty folder: however often it is scanned.
    scene = scene.restart(|scene| fs::create_dir(scene.at("")).unwrap(), |config| config.rescan = Duration::from_millis(1)).await;
    timeout(PATIENCE, scene.found.scanned(5)).await.unwrap();
    let scans = scene.found.scans();
    fs::remove_dir(scene.at("")).unwrap();
    fs::rename(scene.elsewhere("old"), scene.at("")).unwrap();
    timeout(PATIENCE, scene.found.scanned(scans + 5)).await.unwrap();
    assert_eq!((scene.found.files(), scene.found.gone()), (0, 0), "it is as it was");
    fs::remove_file(scene.at("one")).unwrap();
    scene.expect_gone(&[("one", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_recreated_folder_deletes_nothing_before_it_has_held_files_for_a_rescan() {
    let refill = |scene: &Scene| {
        recreate(scene);
        fs::write(scene.at("one"), "new").unwrap();
    };
    let mut scene = taken().await.restart(refill, |_| ()).await;
    scene.expect(&[("one", "new")]).await;
    timeout(PATIENCE, scene.found.scanned(1)).await.unwrap();
    // Not even what went before its eyes.
    fs::remove_file(scene.at("one")).unwrap();
    fs::write(scene.at("two"), "two").unwrap();
    scene.expect(&[("two", "two")]).await;
    assert_eq!(scene.found.gone(), 0);
    let mut scene = scene.restart(|_| (), |config| config.rescan = Duration::from_millis(50)).await;
    scene.expect_gone(&[("one", Removed), ("a/two", Removed), ("a/b/three", Removed)]).await;
    assert_eq!(scene.memory.accept(None), Some(id(&scene.at(""))));
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_folder_that_is_recreated_while_it_is_followed_deletes_nothing_either() {
    let scene = taken().await;
    for _ in 0..2 {
        let scans = scene.found.scans();
        recreate(&scene);
        timeout(PATIENCE, scene.found.scanned(scans + 1)).await.unwrap();
        let scans = scene.found.scans();
        fs::remove_dir(scene.at("")).unwrap();
        fs::rename(scene.elsewhere("old"), scene.at("")).unwrap();
        timeout(PATIENCE, scene.found.scanned(scans + 1)).await.unwrap();
    }
    assert_eq!(scene.found.files(), 3);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_device_under_a_new_number_is_the_same_once_its_folder_is_accepted() {
    let reboot = |scene: &Scene| {
        let (device, inode) = scene.memory.accept(None).unwrap();
        scene.memory.accept(Some((device + 1, inode)));
        scene.memory.change(|remembered| remembered.device = Some(device + 1));
        fs::remove_file(scene.at("a/two")).unwrap();
    };
    let mut scene = taken().await.restart(reboot, |config| config.rescan = Duration::from_millis(50)).await;
    scene.expect_gone(&[("a/two", Removed)]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_memory_that_cannot_be_read_is_waited_for() {
    let break_it = |scene: &Scene| scene.memory.set_broken(true);
    let mut scene = taken().await.restart(break_it, |_| ()).await;
    scene.memory.set_broken(false);
    fs::remove_file(scene.at("one")).unwrap();
    scene.expect_gone(&[("one", Removed)]).await;
    assert_eq!(scene.found.files(), 0);
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_single_run_sends_only_new_or_changed_files_and_removals() {
    let mut scene = taken().await;
    scene.end().await;
    fs::remove_file(scene.at("one")).unwrap();
    fs::write(scene.at("a/two"), "changed").unwrap();
    fs::write(scene.at("new"), "new").unwrap();
    let mut config = scene.config.clone();
    exclude(&["b/"])(&mut config);
    let came = once_with(config, scene.memory.clone()).await.unwrap();
    assert_eq!(came, ["a/b/three Hidden", "a/two", "new", "one Removed"]);
    scene.memory.set_broken(true);
    assert!(matches!(once_with(scene.config, scene.memory).await, Err(SourceError::Memory(_))));
}

#[tokio::test]
async fn a_single_run_another_folder_deletes_nothing_unless_it_is_like_the_one_before_and_has_held_a_file() {
    let mut scene = taken().await;
    scene.end().await;
    recreate(&scene);
    let work_off = |rescan| once_with(SourceConfig { rescan, ..scene.config.clone() }, scene.memory.clone());
    let (at_once, much_later) = (Duration::ZERO, Duration::from_hours(1));
    assert!(work_off(at_once).await.unwrap().is_empty(), "it is empty");
    fs::write(scene.at("new"), "new").unwrap();
    assert_eq!(work_off(much_later).await.unwrap(), ["new"]);
    let before = scene.memory.accept(Some((0, 0)));
    assert_eq!(work_off(at_once).await.unwrap(), ["new"], "neither device nor inode are those of the one before");
    scene.memory.accept(before);
    assert_eq!(work_off(at_once).await.unwrap(), ["a/b/three Removed", "a/two Removed", "new", "one Removed"]);
    assert_eq!(scene.memory.accept(None), Some(id(&scene.at(""))));
}
