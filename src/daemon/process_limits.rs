//! System limits: threads and descriptors. Too low a limit is an error at the start, with its name; later it would be a panic or a
//! hang.

use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::{Builder, Runtime};

use super::failure::Failure;
use crate::bedrock::Endpoint;
use crate::config::Loaded;
use crate::report::Exit;

/// Threads for calls that block, which are held from the start: the writer's, the scan's, two that read and cut, and two for what is short
/// (names of hosts, looks into the ledger). A task that finds none waits for one, so that with fewer they could wait for each other.
const BLOCKING: usize = 6;
/// How long threads without work are kept: longer than any work takes, so that those that are held are not given back in between.
const KEPT: Duration = Duration::from_hours(1);
/// The most threads that run tasks; more cores than this do not help tasks that wait for the network.
const MOST_WORKERS: usize = 64;
/// How long the start waits for threads that it was given.
const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors beside those of calls: ledger and its readers, output, documents that are read, watcher, status.
const OWN: u64 = 64;
/// The fewest with which a run gets anywhere.
const LEAST: usize = 40;
/// What the soft limit is raised to, where the hard one allows it: as much as the unit has.
const WANTED: u64 = 65_536;

/// Makes the runtime of a command that needs one.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(MOST_WORKERS);
    let had = threads(cores + BLOCKING);
    let Some(workers) = had.checked_sub(BLOCKING).filter(|workers| *workers > 0) else {
        return Err(too_few_threads(had));
    };
    if descriptors(LEAST) < LEAST {
        let limit = getrlimit(Resource::Nofile).current.map_or("without a limit".into(), |limit| limit.to_string());
        let said = format!("too few descriptors: {LEAST} more are needed, and the limit is {limit} (RLIMIT_NOFILE)");
        return Err(Failure::new(said, Exit::Limit).help(
            "raise it: `ulimit -n 4096` in a shell, LimitNOFILE= in a unit; or fs.file-max, should the whole machine have none",
        ));
    }
    // The number is given, so that no variable is asked for it (TOKIO_WORKER_THREADS), which may hold anything.
    let build = || Builder::new_multi_thread().worker_threads(workers).thread_keep_alive(KEPT).enable_all().build();
    // Somebody else may have taken the threads since: tokio panics then.
    let runtime = catch_unwind(AssertUnwindSafe(build)).map_err(|_| too_few_threads(0))?;
    let runtime = runtime.map_err(|error| Failure::new(error, Exit::Limit))?;
    hold(&runtime)?;
    Ok(runtime)
}

/// Has the runtime make the threads that it must have, while there are any.
fn hold(runtime: &Runtime) -> Result<(), Failure> {
    let met = Arc::new((Mutex::new(0), Condvar::new()));
    for _ in 0..BLOCKING {
        let met = Arc::clone(&met);
        // Each waits for the others, so that each has a thread of its own.
        drop(runtime.spawn_blocking(move || meet(&met)));
    }
    if meet_as(&met, 0) { Ok(()) } else { Err(too_few_threads(0)) }
}

fn meet(met: &(Mutex<usize>, Condvar)) {
    meet_as(met, 1);
}

/// Waits until all are there; `many` more are with this one.
fn meet_as((count, all): &(Mutex<usize>, Condvar), many: usize) -> bool {
    let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
    *count += many;
    all.notify_all();
    let met = all.wait_timeout_while(count, PATIENCE, |count| *count < BLOCKING);
    !met.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

/// Returns how many threads, up to so many, can be had at once.
fn threads(most: usize) -> usize {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let mut made = Vec::with_capacity(most);
    for _ in 0..most {
        let gate = Arc::clone(&gate);
        let wait = move || {
            let (is_open, opened) = &*gate;
            let is_open = is_open.lock().unwrap_or_else(PoisonError::into_inner);
            drop(opened.wait_while(is_open, |is_open| !*is_open).unwrap_or_else(PoisonError::into_inner));
        };
        match thread::Builder::new().name("probe".into()).stack_size(64 << 10).spawn(wait) {
            Ok(thread) => made.push(thread),
            Err(_) => break,
        }
    }
    *gate.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
    gate.1.notify_all();
    // None of them can panic.
    made.into_iter().filter_map(|thread| thread.join().ok()).count()
}

/// Returns how many descriptors, up to so many, can be had at once.
fn descriptors(most: usize) -> usize {
    let opened: Vec<_> = (0..most).map_while(|_| File::open("/dev/null").ok()).collect();
    opened.len()
}

fn too_few_threads(had: usize) -> Failure {
    let mut limits = Vec::new();
    if let Some(limit) = getrlimit(Resource::Nproc).current {
        limits.push(format!("this user's is {limit} (RLIMIT_NPROC: `ulimit -u`, LimitNPROC= in a unit)"));
    }
    if let Some(limit) = pids_max() {
        limits.push(format!("its control group's is {limit} (pids.max: TasksMax= in a unit, --pids-limit of a container)"));
    }
    let limits = if limits.is_empty() { "kernel.threads-max, or memory for stacks".to_owned() } else { limits.join("; ") };
    let said = format!("too few threads: {} are needed beside this one, and {had} can be had", 1 + BLOCKING);
    Failure::new(said, Exit::Limit).help(format!("raise the limit, which other processes share: {limits}"))
}

/// Returns the bound on tasks of this process' control group, where there is one.
fn pids_max() -> Option<u64> {
    let group = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = group.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = Path::new("/sys/fs/cgroup").join(group).join("pids.max");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Raises the bound on descriptors that a program has to ask for to the one that it is allowed.
pub(crate) fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(WANTED).min(WANTED);
    if limit.current.is_some_and(|current| current < allowed) {
        // Below the hard limit nobody refuses it but a filter of system calls: it stays as it was then.
        let _refused = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: Some(allowed), ..limit });
    }
}

/// How calls and descriptors go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// How many the process may have.
    pub(crate) allowed: u64,
    /// How many it needs for as many calls at once as are configured.
    pub(crate) needed: u64,
    /// How many calls at once, of each model, they are enough for.
    calls: NonZeroUsize,
}

impl Descriptors {
    /// Returns what the configuration needs, where that is more than the process may have.
    pub(crate) fn too_few(loaded: &Loaded) -> Option<Self> {
        let allowed = getrlimit(Resource::Nofile).current?;
        Self::of(allowed, loaded).filter(|found| found.needed > found.allowed)
    }

    fn of(allowed: u64, loaded: &Loaded) -> Option<Self> {
        let bedrock = &loaded.config.bedrock;
        let prompts = &loaded.prompts;
        let models = usize::from(loaded.config.embed.enabled) + prompts.models().len() + usize::from(prompts.context().is_some());
        // The emulator has the other end of each connection.
        let ends = if bedrock.endpoint == Some(Endpoint::Emulator) { 2 } else { 1 };
        let each = u64::try_from(models.max(1) * ends).ok()?;
        let needed = u64::try_from(bedrock.max_in_flight.get()).ok()?.saturating_mul(each).saturating_add(OWN);
        // Where there is hardly anything, something is for calls all the same: the rest waits.
        let calls = (allowed.saturating_sub(OWN).max(allowed / 8) / each).max(1);
        Some(Self { allowed, needed, calls: NonZeroUsize::new(usize::try_from(calls).ok()?)? })
    }

    /// Returns what to do.
    pub(crate) fn help(self) -> String {
        let needed = self.needed;
        format!(
            "raise the limit: `ulimit -n {needed}` in a shell, LimitNOFILE={needed} in a unit; or lower `bedrock.max-in-flight`"
        )
    }
}

/// Limits the calls in flight to the available descriptors: a call that finds none is a call in vain.
pub(crate) fn fit(loaded: &mut Loaded) -> Option<Descriptors> {
    let found = Descriptors::too_few(loaded)?;
    let in_flight = &mut loaded.config.bedrock.max_in_flight;
    *in_flight = found.calls.min(*in_flight);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(more: &str) -> Loaded {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipeline.toml");
        fs::write(&path, format!("[source]\npath = \"drop\"\n[sink]\npath = \"out\"\n[bedrock]\nmax-in-flight = 1000\n{more}"))
            .unwrap();
        Loaded::load(&path, &[]).unwrap()
    }

    #[test]
    fn calls_are_held_to_the_descriptors_that_there_are() {
        let of =
            |allowed, more: &str| Descriptors::of(allowed, &loaded(more)).map(|found| (found.needed, found.calls.get())).unwrap();
        assert_eq!(of(1024, ""), (1064, 960));
        assert_eq!(of(128, ""), (1064, 64));
        assert_eq!(of(64, ""), (1064, 8));
        assert_eq!(of(1, ""), (1064, 1));
        assert_eq!(of(1024, "endpoint = \"emulator\"\n"), (2064, 480), "it has the other end too");
        let chat = "[[chat]]\nname = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{{text}}\"\n";
        assert_eq!(of(1024, chat), (2064, 480), "each model has calls of its own");
    }

    #[test]
    fn threads_and_descriptors_that_are_there_are_counted() {
        assert_eq!((threads(3), descriptors(3)), (3, 3));
        assert!(hold(&runtime().unwrap()).is_ok(), "threads that are held are free for work");
    }
}
