//! Messages to the service manager, as `sd_notify(3)` describes them.
//!
//! Not by a crate: the usual ones wait while the manager's queue is full, and a daemon must not; nor do they know abstract sockets.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::debug;

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    is_ready: AtomicBool,
}

/// A notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The start, or a reload, is over.
    Ready,
    /// A reload begins.
    Reloading,
    /// The end begins.
    Stopping,
    /// All goes on as it should.
    Watchdog,
    /// One line for people.
    Status(&'a str),
}

impl Notifier {
    /// Opens the way that the environment names.
    #[must_use]
    pub fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        let socket = name.and_then(|name| {
            let opened = open(&name);
            opened.inspect_err(|error| debug!(%error, "the service manager cannot be notified")).ok()
        });
        Self { socket, is_ready: AtomicBool::new(false) }
    }

    /// Returns whether anybody listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Sends notices in one datagram. Never waits: returns whether it was taken; if not, it may be sent again.
    pub fn tell(&self, notices: &[Notice<'_>]) -> bool {
        let Some(socket) = &self.socket else { return true };
        let message: String = notices.iter().map(Notice::line).collect();
        let sent = socket.send(message.as_bytes());
        let is_told = sent.inspect_err(|error| debug!(%error, "the service manager was not notified")).is_ok();
        if is_told && notices.contains(&Notice::Ready) {
            self.is_ready.store(true, Relaxed);
        }
        is_told
    }

    /// Returns whether it has been notified that the start is over.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Relaxed)
    }
}

impl Notice<'_> {
    fn line(&self) -> String {
        match self {
            Self::Ready => "READY=1\n".into(),
            // In one datagram with the time: systemd 253 takes a reload without it for one that never ends.
            Self::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\n", monotonic_microseconds()),
            Self::Stopping => "STOPPING=1\n".into(),
            Self::Watchdog => "WATCHDOG=1\n".into(),
            // A status is one line: another would be another message.
            Self::Status(text) => format!("STATUS={}\n", text.replace(char::is_control, " ")),
        }
    }
}

/// Returns how often the manager expects watchdog notifications, if it does.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|microseconds| is_ours && *microseconds > 0).map(Duration::from_micros)
}

fn open(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    socket.connect_addr(&address)?;
    Ok(socket)
}

fn monotonic_microseconds() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_whose_queue_is_full_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier { socket: Some(open(path.as_os_str()).unwrap()), ..Notifier::default() };
        let mut told = 0;
        while notifier.tell(&[Notice::Watchdog]) {
            told += 1;
            assert!(told < 1_000_000, "a queue without end");
        }
        let mut message = [0; 64];
        for _ in 0..told {
            let length = manager.recv(&mut message).unwrap();
            assert_eq!(&message[..length], b"WATCHDOG=1\n");
        }
        assert!(notifier.tell(&[Notice::Ready, Notice::Status("two\nlines")]), "there is room again");
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1\nSTATUS=two lines\n");
        drop(manager);
        assert!(!notifier.tell(&[Notice::Ready]));
    }

    #[test]
    fn an_abstract_socket_is_one_too() {
        let name = format!("riverbed-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier { socket: Some(open(OsStr::new(&format!("@{name}"))).unwrap()), ..Notifier::default() };
        assert!(notifier.tell(&[Notice::Reloading]));
        let mut message = [0; 64];
        let length = manager.recv(&mut message).unwrap();
        let told = str::from_utf8(&message[..length]).unwrap();
        let time = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.strip_suffix('\n'));
        assert!(time.unwrap().parse::<u64>().unwrap() > 0, "{told}");
    }
}
