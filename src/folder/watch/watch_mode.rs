//! Watch mode: inotify events where they are reliable, else scans, with the reason and a remedy.

use std::fmt;
use std::fs;
use std::time::Duration;

use notify::ErrorKind;
use rustix::io::Errno;

/// How changes in the source folder are detected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Watching {
    /// The system announces them, and a scan now and then finds what it does not.
    #[default]
    Events,
    /// Some or all are not announced, and scans find them.
    Scans {
        /// Why.
        reason: Silence,
    },
}

/// Why changes are not announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// Other machines, or programs behind it, change files on such a file system, and this machine gets no event.
    Network(&'static str),
    /// The folder is made of layers, and what is changed in one of them is not announced.
    Overlay,
    /// There are more folders than inotify watches.
    Watches,
    /// There is no inotify instance left for this user, or no descriptor for this process.
    Instances,
    /// This system has no inotify.
    Unsupported,
    /// Watchers get no events although files change.
    Unheard,
    /// The system refuses, and says this.
    Refused(String),
}

/// The next scan by the timer comes after this many times the last one's length at the earliest.
const SHARE: u32 = 200;
/// The same where only scans find what changes.
const SHARE_OF_SCANS: u32 = 100;
/// The same on a network, where a scan takes long and costs this machine little.
const SHARE_ON_A_NETWORK: u32 = 20;
/// Where only scans find what changes, so many of them come in the time of one.
const SCANS_FOR_ONE: u32 = 10;

impl Watching {
    /// Returns how long to wait with the next scan, if they are configured to be so far apart and the last one `took` so long.
    pub(super) fn pause(&self, rescan: Duration, took: Duration) -> Duration {
        let (rescan, share) = match self {
            Self::Events => (rescan, SHARE),
            Self::Scans { reason: Silence::Network(_) } => (rescan / SCANS_FOR_ONE, SHARE_ON_A_NETWORK),
            Self::Scans { .. } => (rescan / SCANS_FOR_ONE, SHARE_OF_SCANS),
        };
        rescan.max(took.saturating_mul(share))
    }

    /// Returns for how long a file has been as it is, if by the time of its last change it has been so for `age`. On a network that
    /// time is from another clock, which may be wrong by as much as Kerberos lets it.
    pub(super) fn age(&self, age: Option<Duration>) -> Option<Duration> {
        const SKEW: Duration = Duration::from_mins(5);
        match self {
            Self::Scans { reason: Silence::Network(_) } => age?.checked_sub(SKEW),
            Self::Events | Self::Scans { .. } => age,
        }
    }
}

impl Silence {
    /// Returns why changes on a file system are not announced, if they are not; `magic` is what `statfs` calls it.
    ///
    /// The numbers are those of `statfs(2)` and `linux/magic.h`.
    pub(in crate::folder) fn of_file_system(magic: u32) -> Option<Self> {
        Some(Self::Network(match magic {
            0x6969 => "NFS",
            0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
            0x6573_5546 => "FUSE", // sshfs and the like; also virtiofs, and the folders that Docker Desktop shares
            0x0102_1997 => "9P",   // also the drives of Windows in WSL
            0x00c3_6400 => "Ceph",
            0x5346_414f => "AFS",
            0x7375_7245 => "Coda",
            0x0bd0_0bd0 => "Lustre",
            0x4750_4653 => "GPFS",
            0x0116_1970 => "GFS2",
            0x7461_636f => "OCFS2",
            0x786f_4256 => "VirtualBox",
            0x794c_7630 => return Some(Self::Overlay),
            _ => return None,
        }))
    }

    /// Returns why nothing is announced when watching fails so.
    pub(super) fn of_error(error: &notify::Error) -> Self {
        let errno = match &error.kind {
            ErrorKind::MaxFilesWatch => Some(Errno::NOSPC),
            ErrorKind::Io(error) => Errno::from_io_error(error),
            _ => None,
        };
        match errno {
            Some(Errno::NOSPC) => Self::Watches, // of a disk there is no question here
            Some(Errno::MFILE | Errno::NFILE) => Self::Instances,
            Some(Errno::NOSYS) => Self::Unsupported,
            // Not as notify writes it, with its debugging output of paths.
            Some(errno) => Self::Refused(errno.to_string()),
            None => Self::Refused(format!("{:?}", error.kind)),
        }
    }

    /// Returns what to do about it, where something can be done.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Watches => Some(raise("max_user_watches", 1 << 20)),
            Self::Instances => Some(format!("{}, or the limit of open files", raise("max_user_instances", 1 << 10))),
            Self::Network(_) | Self::Overlay | Self::Unsupported | Self::Unheard | Self::Refused(_) => None,
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "the source folder is on {name}, where not every change is announced"),
            Self::Overlay => f.write_str("the source folder is on an overlay, where changes in its layers are not announced"),
            Self::Watches => f.write_str("there are more folders than inotify watches"),
            Self::Instances => f.write_str("no inotify instance is left for this user, or no descriptor for this process"),
            Self::Unsupported => f.write_str("this system has no inotify"),
            Self::Unheard => f.write_str("files change and nothing announces it"),
            Self::Refused(why) => write!(f, "the system refuses to watch: {why}"),
        }
    }
}

/// Returns how to raise a limit of inotify's, to `to` or to more if it is as high already.
fn raise(limit: &str, to: u64) -> String {
    let now = fs::read_to_string(format!("/proc/sys/fs/inotify/{limit}")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let to = now.map_or(to, |now| to.max(now.saturating_mul(2)));
    let now = now.map(|now| format!(" (now {now})")).unwrap_or_default();
    format!("raise fs.inotify.{limit}{now}: `sysctl fs.inotify.{limit}={to}`")
}

#[cfg(test)]
mod tests {
    use std::io;

    use notify::Error;

    use super::*;

    fn scans(reason: Silence) -> Watching {
        Watching::Scans { reason }
    }

    #[test]
    fn a_network_and_an_overlay_are_distinguished_from_a_disk() {
        for (magic, name) in [
            (0x6969, "NFS"),
            (0xff53_4d42, "SMB"),
            (0xfe53_4d42, "SMB"),
            (0x517b, "SMB"),
            (0x6573_5546, "FUSE"),
            (0x0102_1997, "9P"),
        ] {
            assert_eq!(Silence::of_file_system(magic), Some(Silence::Network(name)));
        }
        assert_eq!(Silence::of_file_system(0x794c_7630), Some(Silence::Overlay));
        // ext4, XFS, Btrfs, tmpfs, ZFS, F2FS, FAT
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x2fc1_2fc1, 0xf2f5_2010, 0x4d44] {
            assert_eq!(Silence::of_file_system(magic), None, "{magic:x}");
        }
    }

    #[test]
    fn what_watching_fails_of_is_distinguished_and_limits_say_how_to_raise_them() {
        let of = |code| Silence::of_error(&Error::io(io::Error::from_raw_os_error(code)));
        assert_eq!(of(Errno::NOSPC.raw_os_error()), Silence::Watches);
        assert_eq!(Silence::of_error(&Error::new(ErrorKind::MaxFilesWatch)), Silence::Watches);
        assert_eq!(of(Errno::MFILE.raw_os_error()), Silence::Instances);
        assert_eq!(of(Errno::NOSYS.raw_os_error()), Silence::Unsupported);
        assert!(matches!(of(Errno::NOMEM.raw_os_error()), Silence::Refused(_)));
        assert_eq!(Silence::Unsupported.help(), None);
        assert!(Silence::Watches.help().unwrap().contains("`sysctl fs.inotify.max_user_watches="));
        assert!(Silence::Instances.help().unwrap().contains("`sysctl fs.inotify.max_user_instances="));
    }

    #[test]
    fn scans_come_more_often_where_they_are_all_there_is_and_on_a_large_folder_less_often() {
        let (rescan, second) = (Duration::from_mins(5), Duration::from_secs(1));
        for (watching, short, long) in [
            (Watching::Events, 300, 2000),
            (scans(Silence::Watches), 30, 1000),
            (scans(Silence::Overlay), 30, 1000),
            (scans(Silence::Network("NFS")), 30, 200),
        ] {
            assert_eq!(watching.pause(rescan, Duration::ZERO).as_secs(), short, "{watching:?}");
            assert_eq!(watching.pause(rescan, 10 * second).as_secs(), long, "{watching:?}");
        }
    }

    #[test]
    fn the_clock_of_another_machine_is_not_taken_at_its_word() {
        let hour = Some(Duration::from_hours(1));
        assert_eq!(Watching::Events.age(hour), hour);
        assert_eq!(scans(Silence::Watches).age(hour), hour);
        let network = scans(Silence::Network("NFS"));
        assert_eq!(network.age(hour), Some(Duration::from_mins(55)));
        assert_eq!(network.age(Some(Duration::from_mins(4))), None);
    }
}
