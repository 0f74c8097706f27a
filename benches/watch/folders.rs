//! Folders that are made and filled at once, or moved in full.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use crate::figures::Figures;
use crate::source::Following;

const SETTLE: Duration = Duration::from_millis(100);
/// Nothing more comes when nothing has come for this long: no file here is waited for longer than ten settle times.
const QUIET: Duration = Duration::from_secs(5);

pub async fn bench(figures: &mut Figures) {
    let folder = tempfile::tempdir().unwrap();
    let (drop, stage) = (folder.path().join("drop"), folder.path().join("stage"));
    for folder in [&drop, &stage] {
        fs::create_dir(folder).unwrap();
    }
    let mut following = Following::start(&drop, SETTLE);
    following.found.scanned(1).await;

    let nested: Vec<_> = (0..1000).map(|number| format!("nested-{number}/a/b/c/file")).collect();
    for name in &nested {
        let path = drop.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    figures.exactly("files in 1,000 folders made at once, missed", missed(&mut following, nested).await, 0);

    let mut moved = Vec::new();
    for folder in 0..200 {
        let name = format!("moved-{folder}");
        // Each tenth of them ten folders deep.
        let deep = if folder % 10 == 0 { format!("{name}/1/2/3/4/5/6/7/8/9") } else { name.clone() };
        fs::create_dir_all(stage.join(&deep)).unwrap();
        for file in 0..100 {
            let path = format!("{deep}/{file}");
            fs::write(stage.join(&path), &path).unwrap();
            moved.push(path);
        }
        fs::rename(stage.join(&name), drop.join(&name)).unwrap();
    }
    figures.exactly("files in 200 folders moved in, missed", missed(&mut following, moved).await, 0);
}

/// Takes what comes until nothing does, and returns how many of these files were not among it, or came twice.
async fn missed(following: &mut Following, expected: Vec<String>) -> usize {
    let mut missing: HashSet<_> = expected.into_iter().collect();
    let mut unexpected = 0;
    while let Ok((name, contents)) = timeout(QUIET, following.next()).await {
        assert_eq!(contents.bytes, name.as_bytes());
        unexpected += usize::from(!missing.remove(&name));
    }
    missing.len() + unexpected
}
