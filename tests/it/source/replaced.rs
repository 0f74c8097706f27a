//! Files replaced by others that look much like them.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use super::Scene;

#[tokio::test]
async fn a_replacement_with_an_old_time_or_the_same_size_is_noticed() {
    let mut scene = Scene::start().await;
    fs::write(scene.at("a.md"), "first").unwrap();
    scene.expect(&[("a.md", "first")]).await;
    let time = fs::metadata(scene.at("a.md")).unwrap().modified().unwrap();
    // As `cp -p`, `rsync -t` and backup restores do it.
    for (text, time) in [("later", time), ("older", time - Duration::from_hours(1))] {
        fs::write(scene.elsewhere("new"), text).unwrap();
        File::options().write(true).open(scene.elsewhere("new")).unwrap().set_modified(time).unwrap();
        fs::rename(scene.elsewhere("new"), scene.at("a.md")).unwrap();
        scene.expect(&[("a.md", text)]).await;
    }
    for (text, time) in [("third", time), ("forth", time - Duration::from_hours(1))] {
        let mut file = File::options().write(true).open(scene.at("a.md")).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.set_modified(time).unwrap();
        drop(file);
        scene.expect(&[("a.md", text)]).await;
    }
    scene.expect_no_more().await;
}

#[tokio::test]
async fn a_replacement_with_an_old_time_or_the_same_size_is_noticed_after_a_restart_too() {
    let mut scene = Scene::start_with(|root| fs::write(root.join("a.md"), "first").unwrap(), |_| ());
    scene.expect(&[("a.md", "first")]).await;
    let mut before = "first";
    for (text, ago) in [("later", Duration::ZERO), ("older", Duration::from_hours(1))] {
        let replace = |scene: &Scene| {
            assert_eq!(fs::read_to_string(scene.at("a.md")).unwrap(), before);
            let time = fs::metadata(scene.at("a.md")).unwrap().modified().unwrap() - ago;
            fs::write(scene.at("a.md"), text).unwrap();
            File::options().write(true).open(scene.at("a.md")).unwrap().set_modified(time).unwrap();
        };
        scene = scene.restart(replace, |_| ()).await;
        scene.expect(&[("a.md", text)]).await;
        before = text;
    }
    scene.expect_no_more().await;
}
