//! The command that a profile names in `credential_process`. The SDK reads all that such a command prints and waits for as long as it runs,
//! and leaves it running when it has waited for too long; so it is run here, with a bound on both, and the SDK's own runner is not built in.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io::{self, IsTerminal as _};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use aws_config::profile::{Profile, ProfileSet};
use aws_credential_types::Credentials;
use aws_credential_types::attributes::AccountId;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_runtime::env_config::file::EnvConfigFiles;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use aws_types::os_shim_internal::{Env, Fs};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// Bytes that a command may print: keys take less than two thousand, a session token of a large sign-in some thousand more.
const MOST: usize = 64 << 10;

/// How long a command may take. It is less than what a whole look for credentials may, so that the command is named as the cause.
const PATIENCE: Duration = Duration::from_secs(25);

/// How long a command that was killed is waited for.
const LAST: Duration = Duration::from_secs(1);

/// Where a profile's credentials come from, where that is a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The command.
    pub(super) process: Process,
    /// The roles that are taken on one after the other, the first with what the command gives.
    pub(super) roles: Vec<Role>,
}

/// A role of a profile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) external_id: Option<String>,
    pub(super) session: Option<String>,
}

/// A command that prints credentials.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// The profile that names it.
    profile: String,
    command: String,
    /// The account, where the command tells of none.
    account: Option<String>,
}

/// Says which command gave no credentials. What it printed is not shown, for it may hold a secret.
#[derive(Debug, thiserror::Error)]
#[error("the `credential_process` of the AWS profile `{profile}` gave no credentials")]
struct ProcessError {
    profile: String,
    source: Why,
}

/// Why a command gave none.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("it could not be run")]
    NotRun(#[source] io::Error),
    #[error("it ended with {0}: run the command by hand to see what it says")]
    Ended(ExitStatus),
    #[error("it printed more than {MOST} bytes, and was ended")]
    TooMuch,
    #[error("it had not ended after {} s, and was ended", PATIENCE.as_secs())]
    TooLong,
    #[error("what it printed is no JSON object")]
    NoObject,
    #[error("its `Version` is not 1")]
    Version,
    #[error("its `{0}` is missing")]
    Missing(&'static str),
    #[error("its `Expiration` is no time of the form 2030-01-31T12:00:00Z")]
    Expiration,
}

impl Found {
    /// Returns the command from which the credentials of a profile come, or of the one that is selected; `None` where they come from
    /// elsewhere, or the profile is flawed, of which the SDK says more.
    pub(super) async fn of(profile: Option<&str>) -> Option<Self> {
        let profile = profile.map(|profile| profile.to_owned().into());
        let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &EnvConfigFiles::default(), profile).await;
        Self::in_profiles(&profiles.ok()?)
    }

    /// Follows `source_profile` as the SDK does (`aws_config::profile::credentials::repr`, `resolve_chain`).
    fn in_profiles(profiles: &ProfileSet) -> Option<Self> {
        let (mut roles, mut visited) = (Vec::new(), Vec::new());
        let mut name = profiles.selected_profile();
        let base = loop {
            let profile = profiles.get_profile(name)?;
            if visited.contains(&name) {
                return None;
            }
            visited.push(name);
            // From the second profile on keys go before all else.
            if visited.len() > 1 && KEYS.iter().all(|key| profile.get(key).is_some()) {
                return None;
            }
            // A token of a web identity is where a role begins, and needs no other profile.
            let (Some(arn), None) = (profile.get("role_arn"), profile.get(WEB_IDENTITY)) else { break profile };
            let own = |key: &str| profile.get(key).map(ToOwned::to_owned);
            roles.push(Role { arn: arn.to_owned(), external_id: own("external_id"), session: own("role_session_name") });
            match (profile.get("source_profile"), profile.get("credential_source")) {
                (Some(source), None) if source == name => break profile,
                (Some(source), None) => name = source,
                (_, _) => return None,
            }
        };
        roles.reverse();
        Some(Self { process: Process::of(base)?, roles })
    }
}

const KEYS: [&str; 2] = ["aws_access_key_id", "aws_secret_access_key"];
const WEB_IDENTITY: &str = "web_identity_token_file";

impl Process {
    /// Returns the command of a profile that has no source before it.
    fn of(profile: &Profile) -> Option<Self> {
        const BEFORE: [&str; 7] = [
            "credential_source",
            "sso_account_id",
            "sso_region",
            "sso_role_name",
            "sso_start_url",
            "sso_session",
            "login_session",
        ];
        let has = |key: &&str| profile.get(key).is_some();
        let has_web_identity = has(&"role_arn") && has(&WEB_IDENTITY);
        if BEFORE.iter().any(has) || has_web_identity {
            return None;
        }
        let account = profile.get("aws_account_id").map(ToOwned::to_owned);
        Some(Self { profile: profile.name().to_owned(), command: profile.get("credential_process")?.to_owned(), account })
    }

    async fn ask(&self) -> provider::Result {
        let failed = |source| CredentialsError::provider_error(ProcessError { profile: self.profile.clone(), source });
        let printed = run(&self.command, sleep(PATIENCE)).await.map_err(failed)?;
        credentials(&printed, self.account.as_deref()).map_err(failed)
    }
}

impl ProvideCredentials for Process {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.ask())
    }
}

/// Shows no command: its arguments may be secrets.
impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// A command in progress. It does not outlive this.
struct Running {
    child: Child,
    /// Whether it leads a group of its own, with all that it starts.
    leads: bool,
}

impl Running {
    fn start(command: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        // A command at a terminal may ask for a code there, which a group of its own could not.
        let leads = !io::stdin().is_terminal();
        if leads {
            shell.stdin(Stdio::null()).process_group(0);
        }
        Ok(Self { child: shell.spawn()?, leads })
    }

    fn kill(&mut self) {
        // The number of a child that has not been waited for belongs to nobody else.
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let Some(pid) = pid.filter(|_| self.leads) {
            let _ended_meanwhile = kill_process_group(pid, Signal::KILL);
        }
        let _ended_meanwhile = self.child.start_kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end and returns what it printed, or ends it when it prints too much or `give_up` comes first. Dropped, it ends the
/// command too.
async fn run(command: &str, give_up: impl Future) -> Result<Vec<u8>, Why> {
    let mut running = Running::start(command).map_err(Why::NotRun)?;
    let printed = running.child.stdout.take();
    let to_its_end = async {
        let printed = read(printed).await?;
        // Who prints too much is not waited for.
        let printed = printed.ok_or(Why::TooMuch)?;
        Ok((printed, running.child.wait().await.map_err(Why::NotRun)?))
    };
    let ended = tokio::select! {
        ended = to_its_end => ended,
        _ = give_up => Err(Why::TooLong),
    };
    match ended {
        Ok((printed, status)) if status.success() => Ok(printed),
        Ok((_, status)) => Err(Why::Ended(status)),
        Err(why) => {
            running.kill();
            let _reaped_later = timeout(LAST, running.child.wait()).await;
            Err(why)
        }
    }
}

/// Reads to the end, or returns `None` when there is more than there may be.
async fn read(printed: Option<ChildStdout>) -> Result<Option<Vec<u8>>, Why> {
    let Some(printed) = printed else { return pending().await };
    let mut bytes = Vec::new();
    printed.take(MOST as u64 + 1).read_to_end(&mut bytes).await.map_err(Why::NotRun)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= MOST))
}

/// Reads what a command printed, by the rules of the SDK: names go by their letters alone, what is of another type is as if it were not there.
fn credentials(printed: &[u8], account: Option<&str>) -> Result<Credentials, Why> {
    let fields: HashMap<String, Value> = serde_json::from_slice(printed).map_err(|_| Why::NoObject)?;
    let fields: HashMap<_, _> = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    match fields.get("version").and_then(Value::as_number) {
        None => return Err(Why::Missing("Version")),
        Some(version) if version.as_u64() != Some(1) => return Err(Why::Version),
        Some(_) => {}
    }
    let id = text("accesskeyid").ok_or(Why::Missing("AccessKeyId"))?;
    let secret = text("secretaccesskey").ok_or(Why::Missing("SecretAccessKey"))?;
    let expires = text("expiration").map(|time| {
        let time = DateTime::from_str(time, Format::DateTimeWithOffset).ok();
        time.and_then(|time| SystemTime::try_from(time).ok()).ok_or(Why::Expiration)
    });
    let mut found = Credentials::builder().access_key_id(id).secret_access_key(secret).provider_name("CredentialProcess");
    found.set_session_token(text("sessiontoken").map(ToOwned::to_owned));
    found.set_expiry(expires.transpose()?);
    found.set_account_id(text("accountid").or(account).map(AccountId::from));
    Ok(found.build())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use aws_runtime::env_config::file::EnvConfigFileKind;
    use tokio::task::spawn_blocking;

    use super::*;
    use crate::report::chain;

    async fn found(config: &str, selected: &str) -> Option<Found> {
        let files = EnvConfigFiles::builder().with_contents(EnvConfigFileKind::Config, config).build();
        let profiles = aws_config::profile::load(&Fs::real(), &Env::real(), &files, Some(selected.to_owned().into())).await;
        Found::in_profiles(&profiles.unwrap())
    }

    #[tokio::test]
    async fn a_command_is_found_where_the_sdk_would_run_it_and_nowhere_else() {
        let profiles = "
            [profile plain]\ncredential_process = print keys\naws_account_id = 123\n
            [profile app]\nrole_arn = arn:app\nsource_profile = base\nexternal_id = id\n
            [profile base]\nrole_arn = arn:base\nsource_profile = plain\nrole_session_name = me\n
            [profile self]\nrole_arn = arn:self\nsource_profile = self\ncredential_process = of self\n
            [profile static]\naws_access_key_id = a\naws_secret_access_key = b\ncredential_process = never\n
            [profile of_static]\nrole_arn = arn:a\nsource_profile = static\n
            [profile sso]\nsso_session = s\ncredential_process = never\n
            [profile signed_in]\nlogin_session = l\ncredential_process = never\n
            [profile web]\nrole_arn = arn:w\nweb_identity_token_file = f\ncredential_process = never\n
            [profile named]\nrole_arn = arn:n\ncredential_source = Environment\ncredential_process = never\n
            [profile both]\nrole_arn = arn:n\ncredential_source = Environment\nsource_profile = plain\n
            [profile round]\nrole_arn = arn:r\nsource_profile = about\n
            [profile about]\nrole_arn = arn:r\nsource_profile = round\n
            [profile nowhere]\nrole_arn = arn:r\nsource_profile = none\n"
            .replace("            ", "");
        let process = |profile: &str, command: &str, account: Option<&str>| Process {
            profile: profile.into(),
            command: command.into(),
            account: account.map(Into::into),
        };
        let role = |arn: &str, external_id: Option<&str>, session: Option<&str>| Role {
            arn: arn.into(),
            external_id: external_id.map(Into::into),
            session: session.map(Into::into),
        };
        let plain = || process("plain", "print keys", Some("123"));
        assert_eq!(found(&profiles, "plain").await, Some(Found { process: plain(), roles: Vec::new() }));
        let roles = vec![role("arn:base", None, Some("me")), role("arn:app", Some("id"), None)];
        assert_eq!(found(&profiles, "app").await, Some(Found { process: plain(), roles }));
        let of_self = Found { process: process("self", "of self", None), roles: vec![role("arn:self", None, None)] };
        assert_eq!(found(&profiles, "self").await, Some(of_self));
        // The keys of a profile that is asked for itself come last.
        assert!(found(&profiles, "static").await.is_some());
        for other in ["of_static", "sso", "signed_in", "web", "named", "both", "round", "nowhere", "none"] {
            assert_eq!(found(&profiles, other).await, None, "{other}");
        }
    }

    #[test]
    fn what_a_command_prints_is_read_as_the_sdk_reads_it() {
        let said = br#"{"version":1,"ACCESSKEYID":"id","SecretAccessKey":"hush","SessionToken":"token","Expiration":"2030-01-31T13:00:00+01:00","AccountId":"7","more":[]}"#;
        let found = credentials(said, Some("8")).unwrap();
        assert_eq!((found.access_key_id(), found.secret_access_key(), found.session_token()), ("id", "hush", Some("token")));
        assert_eq!(found.expiry(), Some(humantime::parse_rfc3339("2030-01-31T12:00:00Z").unwrap()));
        assert_eq!(found.account_id().map(AccountId::as_str), Some("7"));
        let said = br#"{"Version":1,"AccessKeyId":"id","SecretAccessKey":"hush","SessionToken":null}"#;
        let found = credentials(said, Some("8")).unwrap();
        assert_eq!((found.session_token(), found.expiry()), (None, None));
        assert_eq!(found.account_id().map(AccountId::as_str), Some("8"));
    }

    #[test]
    fn what_is_wrong_with_it_is_named_and_not_shown() {
        let whole = r#"{"Version":1,"AccessKeyId":"hush","SecretAccessKey":"hush","Expiration":"2030-01-31T12:00:00Z"}"#;
        for (from, to, said) in [
            (whole, "\"hush\"", "what it printed is no JSON object"),
            (whole, "hush", "what it printed is no JSON object"),
            (whole, "", "what it printed is no JSON object"),
            ("}", "} hush", "what it printed is no JSON object"),
            (":1", ":2", "its `Version` is not 1"),
            (":1", ":\"hush\"", "its `Version` is missing"),
            ("AccessKeyId", "Other", "its `AccessKeyId` is missing"),
            ("SecretAccessKey", "Other", "its `SecretAccessKey` is missing"),
            ("2030-01-31T12:00:00Z", "hush", "its `Expiration` is no time of the form 2030-01-31T12:00:00Z"),
            ("2030-01-31", "999999-01-31", "its `Expiration` is no time of the form 2030-01-31T12:00:00Z"),
        ] {
            let why = credentials(whole.replace(from, to).as_bytes(), None).unwrap_err();
            assert_eq!(chain(&why), said, "{to}");
        }
    }

    /// Returns the commands whose numbers a command has written into a file and that are still there, zombies too.
    fn alive(pids: &Path) -> Vec<String> {
        let pids = fs::read_to_string(pids).unwrap();
        pids.lines().filter(|pid| Path::new("/proc").join(pid).exists()).map(ToOwned::to_owned).collect()
    }

    #[tokio::test]
    async fn a_command_that_prints_without_end_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let pids = folder.path().join("pids");
        let command = format!("echo $$ > {}; yes hush", pids.display());
        let why = run(&command, pending::<()>()).await.unwrap_err();
        assert_eq!(chain(&why), "it printed more than 65536 bytes, and was ended");
        assert_eq!(alive(&pids), [""; 0]);
        // As much as there may be is no more than that.
        let printed = run(&format!("head -c {MOST} /dev/zero"), pending::<()>()).await.unwrap();
        assert_eq!(printed.len(), MOST);
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_when_the_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (pids, begun) = (folder.path().join("pids"), folder.path().join("begun"));
        assert!(std::process::Command::new("mkfifo").arg(&begun).status().unwrap().success());
        let command = format!("echo $$ > {}; echo hush; echo begun > {}; exec sleep 100000", pids.display(), begun.display());
        let is_begun = spawn_blocking(move || fs::read(begun).unwrap());
        let why = run(&command, is_begun).await.unwrap_err();
        assert_eq!(chain(&why), "it had not ended after 25 s, and was ended");
        assert_eq!(alive(&pids), [""; 0]);
    }

    #[tokio::test]
    async fn a_command_that_fails_or_is_none_is_no_source() {
        let process = |command: &str| Process { profile: "mine".into(), command: command.into(), account: None };
        let said = chain(&process("echo hush; echo hush >&2; exit 3").ask().await.unwrap_err());
        let expected = "the `credential_process` of the AWS profile `mine` gave no credentials: it ended with exit status: 3: run the \
                        command by hand to see what it says";
        assert!(said.contains(expected) && !said.contains("hush"), "{said}");
        let said = format!("{:?}", process("secret --password hush"));
        assert!(!said.contains("hush"), "{said}");
    }
}
