//! Fourteen ways in which programs write files, by their system calls. No half-written file may be read.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};

use crate::support::paragraph;

/// Where one kind of writer works: its folder below the source folder, and one beside that, on the same file system.
pub struct Ground {
    pub drop: PathBuf,
    pub stage: PathBuf,
}

/// One file to be written.
#[derive(Debug, Clone)]
pub struct Work {
    pub name: String,
    /// What it held before, where the kind replaces something.
    pub before: Option<String>,
    pub whole: String,
}

/// Lets time pass between two steps of a writer.
pub type Pause<'a> = &'a dyn Fn(Duration);

/// Writes all files at once, step by step.
pub type Write = fn(&Ground, &[Work], Pause);

/// Every kind of writer whose files must never be seen by halves, and whether it replaces what was there.
pub const KINDS: [(&str, bool, Write); 13] = [
    ("rename-in", false, rename_in),
    ("slow", false, slow),
    ("write-close-append", false, write_close_append),
    ("preallocate", false, preallocate),
    ("sparse", false, sparse),
    ("mmap", false, map),
    ("hard-link", false, hard_link),
    ("o-tmpfile", false, unnamed),
    ("cp-p", false, copy),
    ("rsync", false, rsync),
    ("rsync-in-place", true, rsync_in_place),
    ("truncate", true, truncate_and_rewrite),
    ("editor", true, back_up_and_rename),
];

/// A step of a writer that is not quick.
const STEP: Duration = Duration::from_millis(100);

impl Ground {
    pub fn new(drop: PathBuf, stage: PathBuf) -> Self {
        fs::create_dir_all(&drop).unwrap();
        fs::create_dir_all(&stage).unwrap();
        Self { drop, stage }
    }

    fn at(&self, work: &Work) -> PathBuf {
        self.drop.join(&work.name)
    }

    fn staged(&self, work: &Work) -> PathBuf {
        self.stage.join(&work.name)
    }

    fn stage(&self, works: &[Work]) {
        for work in works {
            fs::write(self.staged(work), &work.whole).unwrap();
        }
    }
}

/// Returns the files of one kind; `number` makes their words those of no other.
pub fn works(count: usize, number: usize, replaces: bool) -> Vec<Work> {
    let text = |number| format!("{} That is all.", paragraph(number, 40));
    let work = |at: usize| Work {
        name: format!("{at}.txt"),
        before: replaces.then(|| text(1_000_000 + number + at)),
        whole: text(number + at),
    };
    (0..count).map(work).collect()
}

fn halves(work: &Work) -> (&[u8], &[u8]) {
    work.whole.as_bytes().split_at(work.whole.len() / 2)
}

fn rename_in(ground: &Ground, works: &[Work], _: Pause) {
    ground.stage(works);
    for work in works {
        fs::rename(ground.staged(work), ground.at(work)).unwrap();
    }
}

/// 100 bytes a second.
fn slow(ground: &Ground, works: &[Work], pause: Pause) {
    let files: Vec<_> = works.iter().map(|work| File::create(ground.at(work)).unwrap()).collect();
    let longest = works.iter().map(|work| work.whole.len()).max().unwrap_or_default();
    for begin in (0..longest).step_by(10) {
        for (mut file, work) in files.iter().zip(works) {
            let bytes = work.whole.as_bytes();
            file.write_all(&bytes[begin.min(bytes.len())..(begin + 10).min(bytes.len())]).unwrap();
        }
        pause(STEP);
    }
}

fn write_close_append(ground: &Ground, works: &[Work], _: Pause) {
    for work in works {
        let (first, second) = halves(work);
        fs::write(ground.at(work), first).unwrap();
        File::options().append(true).open(ground.at(work)).unwrap().write_all(second).unwrap();
    }
}

fn preallocate(ground: &Ground, works: &[Work], pause: Pause) {
    let open = |work: &Work| {
        let file = File::create(ground.at(work)).unwrap();
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, work.whole.len() as u64).unwrap();
        file
    };
    let files: Vec<_> = works.iter().map(open).collect();
    in_two_steps(&files, works, pause, |file, work| file.write_all_at(halves(work).0, 0).unwrap());
}

/// The end first, into a file that is a hole.
fn sparse(ground: &Ground, works: &[Work], pause: Pause) {
    let open = |work: &Work| {
        let file = File::create(ground.at(work)).unwrap();
        file.set_len(work.whole.len() as u64).unwrap();
        file
    };
    let files: Vec<_> = works.iter().map(open).collect();
    in_two_steps(&files, works, pause, |file, work| {
        let (first, second) = halves(work);
        file.write_all_at(second, first.len() as u64).unwrap();
    });
}

fn in_two_steps(files: &[File], works: &[Work], pause: Pause, first_step: impl Fn(&File, &Work)) {
    files.iter().zip(works).for_each(|(file, work)| first_step(file, work));
    pause(5 * STEP);
    files.iter().zip(works).for_each(|(file, work)| file.write_all_at(work.whole.as_bytes(), 0).unwrap());
}

/// Through memory: the file is closed long before it is whole, and no event tells of its bytes.
fn map(ground: &Ground, works: &[Work], pause: Pause) {
    let open = |work: &Work| {
        let path = ground.at(work);
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(work.whole.len() as u64).unwrap();
        Mapping::new(&file, work.whole.len())
    };
    let mut mappings: Vec<_> = works.iter().map(open).collect();
    for (begin, wait) in [(true, 5 * STEP), (false, STEP)] {
        for (mapping, work) in mappings.iter_mut().zip(works) {
            let (first, second) = halves(work);
            if begin { mapping.write(0, first) } else { mapping.write(first.len(), second) }
        }
        pause(wait);
    }
}

/// A file in memory, shared with everybody.
struct Mapping {
    address: *mut libc::c_void,
    length: usize,
}

impl Mapping {
    fn new(file: &File, length: usize) -> Self {
        let (rights, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        #[expect(unsafe_code, reason = "the tests have no crate for it")]
        // SAFETY: the kernel chooses the address, and the descriptor is open.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, shared, file.as_raw_fd(), 0) };
        assert_ne!(address, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self { address, length }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        #[expect(unsafe_code, reason = "the tests have no crate for it")]
        // SAFETY: the range lies within the mapping, which is writable and lives as long as `self`; nobody holds a reference to it.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.cast::<u8>().add(at), bytes.len());
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the tests have no crate for it")]
        // SAFETY: it is a mapping of that length, and nobody else knows of it.
        let unmapped = unsafe { libc::munmap(self.address, self.length) };
        assert_eq!(unmapped, 0);
    }
}

fn hard_link(ground: &Ground, works: &[Work], _: Pause) {
    ground.stage(works);
    for work in works {
        fs::hard_link(ground.staged(work), ground.at(work)).unwrap();
    }
}

/// A file without a name, which gets one when it is whole.
fn unnamed(ground: &Ground, works: &[Work], _: Pause) {
    for work in works {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(&ground.drop, flags, Mode::RUSR | Mode::WUSR).unwrap());
        file.write_all(work.whole.as_bytes()).unwrap();
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, &unnamed, CWD, ground.at(work), AtFlags::SYMLINK_FOLLOW).unwrap();
    }
}

fn copy(ground: &Ground, works: &[Work], _: Pause) {
    ground.stage(works);
    run(Command::new("cp").arg("-p").args(works.iter().map(|work| ground.staged(work))).arg(&ground.drop));
}

fn rsync(ground: &Ground, works: &[Work], _: Pause) {
    ground.stage(works);
    run(Command::new("rsync").arg("-t").args(works.iter().map(|work| ground.staged(work))).arg(&ground.drop));
}

fn rsync_in_place(ground: &Ground, works: &[Work], _: Pause) {
    ground.stage(works);
    let mut rsync = Command::new("rsync");
    rsync.args(["-t", "--inplace", "--no-whole-file", "--ignore-times"]);
    run(rsync.args(works.iter().map(|work| ground.staged(work))).arg(&ground.drop));
}

fn truncate_and_rewrite(ground: &Ground, works: &[Work], pause: Pause) {
    let mut files: Vec<_> = works.iter().map(|work| File::create(ground.at(work)).unwrap()).collect();
    pause(STEP);
    for second in [false, true] {
        for (file, work) in files.iter_mut().zip(works) {
            let (first_half, second_half) = halves(work);
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(if second { second_half } else { first_half }).unwrap();
        }
        pause(3 * STEP);
    }
}

fn back_up_and_rename(ground: &Ground, works: &[Work], pause: Pause) {
    let backup = |work: &Work| ground.drop.join(format!("{}~", work.name));
    for work in works {
        fs::rename(ground.at(work), backup(work)).unwrap();
    }
    for work in works {
        fs::write(ground.at(work), &work.whole).unwrap();
    }
    pause(STEP);
    for work in works {
        fs::remove_file(backup(work)).unwrap();
    }
}

/// Returns whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(std::process::Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(status.success(), "{command:?} ended with {status}");
}

/// Returns whether a text is a state in which its writer left the file.
pub fn is_whole(works: &[Work], text: &str) -> bool {
    works.iter().any(|work| work.whole == text || work.before.as_deref() == Some(text))
}

/// Puts what is to be replaced into its place.
pub fn prepare(ground: &Ground, works: &[Work]) {
    for work in works {
        if let Some(before) = &work.before {
            let staged = ground.stage.join(format!("before-{}", work.name));
            fs::write(&staged, before).unwrap();
            fs::rename(staged, ground.at(work)).unwrap();
        }
    }
}

/// Returns the path of a document below the source folder, as lines have it.
pub fn document(kind: &str, work: &Work) -> String {
    Path::new(kind).join(&work.name).display().to_string()
}
