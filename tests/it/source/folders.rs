//! Folders that are made and filled at once, or moved in full.

use std::fs;

use riverbed::domain::Departure;

use super::{Scene, write_tree};

#[tokio::test]
async fn a_folder_moved_in_brings_all_its_files() {
    let mut scene = Scene::start().await;
    write_tree(&scene.elsewhere("tree"));
    fs::rename(scene.elsewhere("tree"), scene.at("tree")).unwrap();
    scene.expect(&[("tree/one", "one"), ("tree/a/two", "a/two"), ("tree/a/b/three", "a/b/three")]).await;
    // And is watched from then on, under its new name too.
    fs::write(scene.at("tree/a/b/four"), "four").unwrap();
    scene.expect(&[("tree/a/b/four", "four")]).await;
    fs::rename(scene.at("tree/a"), scene.at("moved")).unwrap();
    scene.expect(&[("moved/two", "a/two"), ("moved/b/three", "a/b/three"), ("moved/b/four", "four")]).await;
    let gone = ["tree/a/two", "tree/a/b/three", "tree/a/b/four"].map(|name| (name, Departure::Removed));
    scene.expect_gone(&gone).await;
    fs::write(scene.at("moved/b/five"), "five").unwrap();
    scene.expect(&[("moved/b/five", "five")]).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn folders_made_and_filled_at_once_lose_no_file() {
    let mut scene = Scene::start().await;
    let names: Vec<String> = (0..100).map(|number| format!("{number}/b/c/file")).collect();
    for name in &names {
        fs::create_dir_all(scene.at(name).parent().unwrap()).unwrap();
        fs::write(scene.at(name), "text").unwrap();
    }
    let expected: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
    scene.expect(&expected).await;
    scene.expect_no_more().await;
}

#[tokio::test]
async fn folders_full_of_files_that_are_moved_in_lose_none_however_deep() {
    let mut scene = Scene::start().await;
    let deep = (0..10).map(|depth| depth.to_string()).collect::<Vec<_>>().join("/");
    let mut names = Vec::new();
    for folder in 0..20 {
        fs::create_dir_all(scene.elsewhere(&format!("{folder}/{deep}"))).unwrap();
        for file in 0..10 {
            let name = if file == 0 { format!("{folder}/{deep}/file") } else { format!("{folder}/{file}.md") };
            fs::write(scene.elsewhere(&name), "text").unwrap();
            names.push(name);
        }
        fs::rename(scene.elsewhere(&folder.to_string()), scene.at(folder.to_string())).unwrap();
    }
    let expected: Vec<_> = names.iter().map(|name| (name.as_str(), "text")).collect();
    scene.expect(&expected).await;
    scene.expect_no_more().await;
}
