//! Many files, under readers.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use super::world::{Act, Do, World, folder};
use crate::commitlog::config::Folder;
use crate::domain::Output;

/// Somebody who reads on in every file that there is, whatever it is called by now.
#[derive(Default)]
struct Follower {
    read: BTreeMap<u64, Vec<u8>>,
}

impl Follower {
    fn look(&mut self, output: &Path) {
        for entry in std::fs::read_dir(output).unwrap() {
            let entry = entry.unwrap();
            let found = entry.metadata().unwrap();
            let read = self.read.entry(found.ino()).or_default();
            if found.len() > read.len() as u64 && entry.file_name().to_string_lossy().starts_with("vectors") {
                let mut more = vec![0; usize::try_from(found.len()).unwrap() - read.len()];
                File::open(entry.path()).unwrap().read_exact_at(&mut more, read.len() as u64).unwrap();
                read.extend(more);
            }
        }
    }

    /// Returns how often it read each line.
    fn lines(&self) -> BTreeMap<u64, u32> {
        let mut lines = BTreeMap::new();
        for line in self.read.values().flat_map(|bytes| bytes.split(|byte| *byte == b'\n')).filter(|line| !line.is_empty()) {
            let read: serde_json::Value = serde_json::from_slice(line).unwrap();
            *lines.entry(read["seq"].as_u64().unwrap()).or_default() += 1;
        }
        lines
    }
}

#[test]
fn of_a_thousand_files_that_are_sealed_under_three_readers_each_line_is_read_once() {
    let output = folder();
    let mut world = World::closed(1_000_000, 1000);
    world.open_with(Box::new(Folder::new(output.path()).unwrap()), false).unwrap();
    let live = output.path().join(Output::Vectors.live_name());
    let mut readers: [Follower; 3] = std::array::from_fn(|_| Follower::default());
    for number in 0..1000_u32 {
        world.commit(&[Act::Upsert((number % 20) as u8, (number % 200) as u8)]).unwrap();
        if number % 10 == 4 {
            std::fs::rename(&live, output.path().join(format!("vectors.jsonl.{number}"))).unwrap();
        }
        match number % 20 {
            4 => world.does(&Do::Look).unwrap(),
            _ => world.does(&Do::Rotate(Output::Vectors)).unwrap(),
        }
        for (reader, every) in readers.iter_mut().zip([7, 19, 53]) {
            if number % every == 0 {
                reader.look(output.path());
            }
        }
    }
    for reader in &mut readers {
        reader.look(output.path());
        assert_eq!(reader.lines(), (1..=1000).map(|seq| (seq, 1)).collect());
    }
    assert!(world.ledger().segments().unwrap().len() > 1000);
}
