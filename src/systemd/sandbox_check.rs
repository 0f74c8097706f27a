//! Finds what the unit's sandbox would deny to a configuration.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::unit::{Needs, USER, above};

/// Something that would not work, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bite {
    /// What would not work, and why.
    pub problem: String,
    /// What to do.
    pub help: String,
}

/// Folders that are not there for a service, and which line of the unit hides them.
const HIDDEN: [(&str, &str); 6] = [
    ("/home", "ProtectHome"),
    ("/root", "ProtectHome"),
    ("/run/user", "ProtectHome"),
    ("/tmp", "PrivateTmp"),
    ("/var/tmp", "PrivateTmp"),
    ("/dev", "PrivateDevices"),
];

/// The fewest watches that are no trouble soon: each folder below the source takes one, and other programs of the user share them.
const FEW_WATCHES: u64 = 8192;

/// Where users and groups are known. Those of a directory service are in neither, and need not be.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/etc/passwd`.
    pub users: String,
    /// `/etc/group`.
    pub groups: String,
    /// `fs.inotify.max_user_watches`.
    pub watches: Option<u64>,
}

impl Machine {
    /// Reads what this machine has.
    #[must_use]
    pub fn this() -> Self {
        let watches = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok();
        Self {
            users: fs::read_to_string("/etc/passwd").unwrap_or_default(),
            groups: fs::read_to_string("/etc/group").unwrap_or_default(),
            watches: watches.and_then(|text| text.trim().parse().ok()),
        }
    }

    /// Returns the group that a folder's files are open to, where not everybody may read it: by name, or by number where it has none.
    #[must_use]
    pub fn group_of(&self, folder: &Path) -> Option<String> {
        const EVERYBODY: u32 = 0o005;
        let found = fs::metadata(folder).ok()?;
        if found.mode() & EVERYBODY == EVERYBODY || found.gid() == 0 {
            return None;
        }
        let gid = found.gid().to_string();
        let name = self.groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, number) = (fields.next()?, fields.nth(1)?);
            (number == gid).then(|| name.to_owned())
        });
        Some(name.unwrap_or(gid))
    }
}

/// Returns everything that the unit's sandbox would deny.
#[must_use]
pub fn bites(needs: &Needs, machine: &Machine) -> Vec<Bite> {
    let mut bites = Vec::new();
    let mut bite = |problem: String, help: String| bites.push(Bite { problem, help });
    let paths = [("the program", &needs.binary), ("the configuration", &needs.config)].into_iter();
    let paths = paths.chain(needs.reads.iter().map(|folder| ("the source folder", folder)));
    let paths: Vec<_> = paths.chain(needs.writes.iter().map(|folder| ("a folder that is written to", folder))).collect();
    for (what, path) in &paths {
        let real = real(path);
        if let Some((hidden, by)) = HIDDEN.iter().find(|(hidden, _)| real.starts_with(hidden)) {
            bite(
                format!("{what}, `{}`, is not there for the service: `{by}` hides {hidden}", path.display()),
                format!("put it elsewhere, such as /srv or /var/lib; or drop `{by}` from the unit (`systemctl edit riverbed`)"),
            );
        }
    }
    for folder in &needs.writes {
        if above(folder) == *folder {
            bite(
                format!("`{}` lies at the root: once removed and recreated it is read-only for the service", folder.display()),
                "put it a folder deeper, so that its parent can be made writable".into(),
            );
        }
    }
    let is_known = |list: &str, name: &str| list.lines().any(|line| line.split(':').next() == Some(name));
    if !is_known(&machine.users, USER) {
        bite(
            format!("there is no user `{USER}` in /etc/passwd"),
            format!("make one: `useradd --system --home-dir /var/lib/{USER} --shell /usr/sbin/nologin {USER}`"),
        );
    }
    if let Some(group) = needs.group.as_ref().filter(|group| !is_known(&machine.groups, group)) {
        bite(
            format!("the source folder is open to the group {group} alone, which has no name in /etc/group"),
            format!("make it: `groupadd --gid {group} documents`; the unit has the service be in it"),
        );
    }
    for folder in &needs.reads {
        let closed = fs::metadata(folder).ok().filter(|found| found.mode() & 0o055 == 0);
        if closed.is_some() {
            bite(
                format!("only its owner may read `{}`", folder.display()),
                format!("let `{USER}` in: `setfacl -m u:{USER}:rx {0}`, or `chown {USER} {0}`", folder.display()),
            );
        }
    }
    if let Some(watches) = machine.watches.filter(|watches| *watches < FEW_WATCHES) {
        bite(
            format!("inotify watches at most {watches} folders for all programs of a user"),
            "raise it: `sysctl fs.inotify.max_user_watches=1048576`".into(),
        );
    }
    bites
}

/// Returns where a path leads, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    there.map_or_else(|| path.to_owned(), |(above, real)| real.join(path.strip_prefix(above).unwrap_or(path)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn machine() -> Machine {
        Machine {
            users: "root:x:0:0::/root:/bin/sh\nriverbed:x:990:990::/var/lib/riverbed:/usr/sbin/nologin\n".into(),
            groups: "root:x:0:\nriverbed:x:990:\n".into(),
            watches: Some(65_536),
        }
    }

    fn needs() -> Needs {
        Needs {
            max_file_size: 256 << 20,
            binary: "/usr/bin/riverbed".into(),
            config: "/etc/riverbed/pipeline.toml".into(),
            reads: vec!["/srv/documents/drop".into()],
            writes: vec!["/srv/documents/out".into()],
            grace: Duration::from_secs(30),
            group: None,
            credentials: None,
            token: None,
        }
    }

    fn bitten(needs: &Needs, machine: &Machine) -> String {
        let said = bites(needs, machine).into_iter().map(|bite| format!("{} -> {}\n", bite.problem, bite.help));
        said.collect()
    }

    #[test]
    fn nothing_bites_where_all_lies_where_services_keep_things() {
        assert_eq!(bitten(&needs(), &machine()), "");
    }

    #[test]
    fn folders_that_the_sandbox_hides_are_named_with_the_line_that_hides_them() {
        let hidden = Needs {
            binary: "/home/ann/.cargo/bin/riverbed".into(),
            reads: vec!["/home/ann/drop".into()],
            writes: vec!["/tmp/out".into(), "/out".into()],
            ..needs()
        };
        let said = bitten(&hidden, &machine());
        for expected in [
            "the program, `/home/ann/.cargo/bin/riverbed`, is not there for the service: `ProtectHome` hides /home",
            "the source folder, `/home/ann/drop`, is not there",
            "a folder that is written to, `/tmp/out`, is not there for the service: `PrivateTmp` hides /tmp",
            "`/out` lies at the root",
        ] {
            assert!(said.contains(expected), "{expected} is not in {said}");
        }
    }

    #[test]
    fn users_groups_and_limits_that_are_missing_come_with_the_command_that_makes_them() {
        let bare = Machine { users: String::new(), groups: String::new(), watches: Some(1000) };
        let said = bitten(&Needs { group: Some("4711".into()), ..needs() }, &bare);
        for expected in ["`useradd --system", "`groupadd --gid 4711", "`sysctl fs.inotify.max_user_watches="] {
            assert!(said.contains(expected), "{expected} is not in {said}");
        }
    }

    #[test]
    fn a_folder_that_only_its_owner_may_read_bites() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let said = bitten(&Needs { reads: vec![folder.path().to_owned()], ..needs() }, &machine());
        assert!(said.contains("only its owner may read"), "{said}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let said = bitten(&Needs { reads: vec![folder.path().to_owned()], ..needs() }, &machine());
        assert!(!said.contains("only its owner may read"), "{said}");
    }
}
