//! Values from outside (variables, profiles, processes, services) that libraries panic over: none ends the process, none is shown.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use riverbed::emulator::Authorization;
use tokio::process::Command;

use crate::fake_service::{StandIn, keys, role};
use crate::support::{Ended, Scene, finish};

const LATER: &str = "2035-01-01T00:00:00Z";
const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

/// Returns `check --online` without any of the variables that give keys.
fn check(scene: &Scene) -> Command {
    scene.emulator.record(NonZeroUsize::new(64).unwrap());
    let mut command = scene.riverbed(&["check", "--online"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", scene.path("home"));
    command
}

/// The same with keys in variables.
fn check_with_keys(scene: &Scene) -> Command {
    let mut command = check(scene);
    command.env("AWS_ACCESS_KEY_ID", "AKIAVARIABLE").env("AWS_SECRET_ACCESS_KEY", "hush");
    command
}

fn write(scene: &Scene, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = scene.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// Asserts how a command ended, and that it neither panicked nor showed a key.
fn assert_ended(ended: &Ended, code: i32, said: &str, case: &str) {
    assert_eq!(ended.code, Some(code), "{case}: {ended:?}");
    let all = format!("{}{}", ended.stdout, ended.stderr);
    assert!(all.contains(said), "{case}: {ended:?}");
    assert!(!all.contains("panicked") && !all.contains("hush"), "{case}: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_settings_of_other_programs_are_not_read() {
    let scene = Scene::cheap().await;
    for (name, value) in [
        ("AWS_RETRY_MODE", "legacy"),
        ("AWS_RETRY_MODE", ""),
        ("AWS_MAX_ATTEMPTS", "0"),
        ("AWS_MAX_ATTEMPTS", "many"),
        ("AWS_USE_FIPS_ENDPOINT", "yes"),
        ("AWS_ACCOUNT_ID", "a\nb"),
        ("AWS_SDK_UA_APP_ID", "a b\nc"),
        ("AWS_DEFAULTS_MODE", "nonsense"),
        ("AWS_CA_BUNDLE", "/nowhere"),
        ("HTTPS_PROXY", "::: none"),
    ] {
        let mut command = check_with_keys(&scene);
        command.env(name, value);
        assert_ended(&finish(command).await, 0, "answers", &format!("{name}={value:?}"));
    }
    for retries in ["retry_mode = legacy", "max_attempts = 0", "max_attempts = many"] {
        let file = write(&scene, "aws", format!("[default]\n{retries}\n"));
        let mut command = check_with_keys(&scene);
        command.env("AWS_CONFIG_FILE", file);
        assert_ended(&finish(command).await, 0, "answers", retries);
    }
    // The client of STS, which assumes a role, gets none of it either.
    let sts = StandIn::new(|heard| role(heard, "ASIAROLE", LATER)).await;
    let scene = scene.set("bedrock.role-arn", &format!("\"{ROLE}\""));
    let mut command = check_with_keys(&scene);
    command.env("AWS_ENDPOINT_URL_STS", &sts.url).env("AWS_RETRY_MODE", "legacy").env("AWS_MAX_ATTEMPTS", "0");
    assert_ended(&finish(command).await, 0, "answers", "a role");
}

#[tokio::test(flavor = "multi_thread")]
async fn white_space_around_keys_and_region_is_no_part_of_them() {
    let scene = Scene::cheap().await.unset("bedrock.region");
    for (id, secret, token, region) in [
        ("AKIAVARIABLE\n", "hush", "token", "us-east-1"),
        ("AKIAVARIABLE\r\n", "hush\n", "token\n", "us-east-1\n"),
        (" AKIAVARIABLE\t", " hush ", " ", " us-east-1 "),
    ] {
        let mut command = check(&scene);
        command.env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret).env("AWS_SESSION_TOKEN", token);
        command.env("AWS_REGION", region);
        assert_ended(&finish(command).await, 0, "us-east-1, from AWS_REGION", id);
    }
    let mut command = check(&scene);
    command.env("AWS_BEARER_TOKEN_BEDROCK", " hush\n").env("AWS_REGION", "").env("AWS_DEFAULT_REGION", "us-east-1");
    assert_ended(&finish(command).await, 0, "us-east-1, from AWS_DEFAULT_REGION", "an API key");
    let said = r#"{"Version":1,"AccessKeyId":"ASIAPROCESS\n","SecretAccessKey":"hush\n","SessionToken":"t\r\n"}"#;
    let said = write(&scene, "keys.json", said);
    let file = write(&scene, "aws", format!("[default]\nregion = us-east-1\ncredential_process = cat {}\n", said.display()));
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", file);
    assert_ended(&finish(command).await, 0, "key …CESS", "a process");
    let of = |authorization| match authorization {
        Some(Authorization::SigV4 { access_key_id, .. }) => access_key_id,
        Some(Authorization::Bearer) => "API key".to_owned(),
        None => "nothing".to_owned(),
    };
    let ids: Vec<_> = scene.emulator.requests().into_iter().map(|request| of(request.authorization)).collect();
    assert_eq!(ids, ["AKIAVARIABLE", "AKIAVARIABLE", "AKIAVARIABLE", "API key", "ASIAPROCESS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_header_can_hold_is_named_and_not_shown() {
    let scene = Scene::cheap().await;
    let odd = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    for (name, value, said) in [
        ("AWS_ACCESS_KEY_ID", odd(b"hush\nhush"), "AWS_ACCESS_KEY_ID holds a line break, its character 5"),
        ("AWS_ACCESS_KEY_ID", odd("hushé".as_bytes()), "AWS_ACCESS_KEY_ID holds a character outside ASCII"),
        ("AWS_SECRET_ACCESS_KEY", odd(b"hush\rhush"), "AWS_SECRET_ACCESS_KEY holds a line break"),
        ("AWS_SESSION_TOKEN", odd(b"hush\x01"), "AWS_SESSION_TOKEN holds a control character"),
        ("AWS_SESSION_TOKEN", odd(b"hush\xff"), "AWS_SESSION_TOKEN holds bytes that are no text"),
        ("AWS_BEARER_TOKEN_BEDROCK", odd(b"hush\nhush"), "AWS_BEARER_TOKEN_BEDROCK holds a line break"),
        ("AWS_BEARER_TOKEN_BEDROCK", odd(b"hush\xff"), "AWS_BEARER_TOKEN_BEDROCK holds bytes that are no text"),
    ] {
        let mut command = check_with_keys(&scene);
        command.env(name, &value);
        assert_ended(&finish(command).await, 77, said, &format!("{name}={value:?}"));
        scene.drop("a.txt", "words");
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env(name, &value);
        assert_ended(&finish(command).await, 77, said, &format!("{name}={value:?}"));
    }
    assert!(scene.lines("failed.jsonl").is_empty(), "the document has no part in it");
    let container = StandIn::new(|_| (200, "application/json", keys("hush\\u0001hush", LATER))).await;
    let mut command = check(&scene);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url));
    assert_ended(&finish(command).await, 77, "the access key id of EcsContainer holds a control character", "a container");
    let file = write(&scene, "aws", "[default]\naws_access_key_id = hush\u{1}hush\naws_secret_access_key = hush\n");
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", &file);
    assert_ended(&finish(command).await, 77, "the access key id of ProfileFile holds a control character", "a profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_sdk_itself_signs_with_and_panics_over_are_a_credentials_error() {
    let scene = Scene::cheap().await;
    let said = write(&scene, "keys.json", r#"{"Version":1,"AccessKeyId":"hush\nhush","SecretAccessKey":"hush"}"#);
    let role = format!("[default]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n");
    for (source, expected) in [
        ("aws_access_key_id = hush\u{1}hush\naws_secret_access_key = hush\n".to_owned(), "cannot use a value that it was given"),
        // What a command prints riverbed checks before anything is signed with it.
        (format!("credential_process = cat {}\n", said.display()), "the access key id of CredentialProcess holds a line break"),
    ] {
        let file = write(&scene, "aws", format!("{role}{source}"));
        let mut command = check(&scene);
        command.env("AWS_CONFIG_FILE", file).env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9");
        assert_ended(&finish(command).await, 77, expected, &source);
    }
    // What riverbed reads for it is checked before.
    let file = write(&scene, "aws", format!("[default]\nrole_arn = {ROLE}\ncredential_source = Environment\n"));
    let scene = scene.set("bedrock.profile", "\"default\"");
    let mut command = check_with_keys(&scene);
    command.env("AWS_CONFIG_FILE", file).env("AWS_ACCESS_KEY_ID", "hush\nhush");
    assert_ended(&finish(command).await, 77, "AWS_ACCESS_KEY_ID holds a line break", "credential_source");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_from_the_instance_that_no_url_can_hold_is_a_credentials_error() {
    let scene = Scene::cheap().await;
    let metadata = StandIn::new(|heard| match heard.line.as_str() {
        "PUT /latest/api/token" => (200, "text/plain", "token".to_owned()),
        _ => (200, "text/plain", "a role\nand another".to_owned()),
    });
    let metadata = metadata.await;
    let mut command = check(&scene);
    command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    assert_ended(&finish(command).await, 77, "no credentials could be had", "the instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_in_a_variable_is_an_error_of_the_configuration() {
    let scene = Scene::cheap().await;
    for (name, value, said) in [
        ("AWS_USE_FIPS_ENDPOINT", "true", "AWS_USE_FIPS_ENDPOINT"),
        ("AWS_USE_DUALSTACK_ENDPOINT", "true", "AWS_USE_DUALSTACK_ENDPOINT"),
        ("AWS_EXECUTION_ENV", "a\nb", "the variable AWS_EXECUTION_ENV cannot be used"),
        ("AWS_ENDPOINT_URL", "://hush", "the variable AWS_ENDPOINT_URL cannot be used"),
        ("AWS_ENDPOINT_URL_STS", "hush\n", "the variable AWS_ENDPOINT_URL_STS cannot be used"),
    ] {
        for arguments in [&["check", "--online"][..], &["run", "--once"], &["run"]] {
            let mut command = scene.riverbed(arguments);
            command.env(name, value);
            assert_ended(&finish(command).await, 78, said, &format!("{name}={value:?} {arguments:?}"));
        }
    }
    let file = write(&scene, "aws", "[default]\nuse_fips_endpoint = true\n");
    let mut command = check_with_keys(&scene);
    command.env("AWS_CONFIG_FILE", file);
    assert_ended(&finish(command).await, 78, "use_fips_endpoint", "a profile");
    let scene = scene.unset("bedrock.region");
    for region in ["us east", "us-\neast-1", "ü", "us_east_1", "us-east-1/"] {
        let mut command = check_with_keys(&scene);
        command.env("AWS_REGION", region);
        assert_ended(&finish(command).await, 78, "the AWS region in AWS_REGION is not valid", region);
    }
    let mut command = check_with_keys(&scene);
    command.env("AWS_REGION", "").env("AWS_DEFAULT_REGION", " ");
    assert_ended(&finish(command).await, 78, "no AWS region is configured", "empty ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_in_a_variable_or_a_profile_is_where_calls_go() {
    let scene = Scene::cheap().await.unset("bedrock.endpoint");
    let url = scene.emulator.endpoint();
    let profile = write(&scene, "aws", format!("[default]\nendpoint_url = {url}\n")).into_os_string();
    for (name, value) in [
        ("AWS_ENDPOINT_URL", OsStr::new(&url)),
        ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", OsStr::new(&format!(" {url}\n"))),
        ("AWS_CONFIG_FILE", &profile),
    ] {
        let mut command = check_with_keys(&scene);
        command.env(name, value).env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
        assert_ended(&finish(command).await, 0, &format!("bedrock        {url} (us-east-1), as "), name);
    }
    let mut command = check_with_keys(&scene);
    command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "nowhere");
    assert_ended(&finish(command).await, 78, "which is no URL that begins with http:// or https://", "no URL");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_sign_in_of_aws_login() {
    let scene = Scene::cheap().await;
    let file = write(&scene, "aws", "[default]\nlogin_session = arn:aws:iam::123456789012:user/alice\nregion = us-east-1\n");
    // Named by the SHA-256 of the session, as `aws login` leaves it.
    let name = "home/.aws/login/cache/b7d71d383b9557a9bad4c3346c50365819226484c6824a0fdef66637be339db0.json";
    let token = format!(
        r#"{{"accessToken":{{"accessKeyId":"ASIALOGIN","secretAccessKey":"hush","sessionToken":"t","accountId":"123456789012",
            "expiresAt":"{LATER}"}},"tokenType":"aws_sigv4","clientId":"c","refreshToken":"r","idToken":"i","dpopKey":"k"}}"#
    );
    write(&scene, name, token);
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", &file);
    let said = "the sign-in (`aws login`) of the AWS profile `default`, key …OGIN, account 123456789012";
    assert_ended(&finish(command).await, 0, said, "a sign-in");
    fs::remove_file(scene.path(name)).unwrap();
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", &file);
    assert_ended(&finish(command).await, 77, "aws login", "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_goes_on_with_a_profile_that_has_come_to_hold_what_others_read() {
    let file = |id: &str, more: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = hush\n{more}");
    let mend = |scene: &Scene| drop(write(scene, "aws", file("ASIANEW", "retry_mode = legacy\nmax_attempts = 0\n")));
    let prepare = |scene: &Scene, command: &mut Command| {
        command.env("AWS_SHARED_CREDENTIALS_FILE", write(scene, "aws", file("ASIAOLD", "")));
    };
    crate::credentials::keys_are_refused_for_a_while(mend, prepare).await;
}

/// What files of AWS may be: none of it is worse than a file that gives nothing.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_aws_that_cannot_be_read_give_no_credentials() {
    let scene = Scene::cheap().await;
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    let binary = write(&scene, "binary", binary);
    let ill = write(&scene, "ill", "[default\nwhat\n===\n");
    let around = write(&scene, "around", format!("[default]\nrole_arn = {ROLE}\nsource_profile = default\n"));
    for file in [scene.path("drop"), binary, ill, around, Path::new("/nowhere/at/all").to_owned()] {
        let mut command = check(&scene);
        command.env("AWS_CONFIG_FILE", &file).env("AWS_SHARED_CREDENTIALS_FILE", &file);
        assert_ended(&finish(command).await, 77, "no credentials could be had", &file.display().to_string());
        let mut command = check_with_keys(&scene);
        command.env("AWS_CONFIG_FILE", &file).env("AWS_SHARED_CREDENTIALS_FILE", &file);
        assert_ended(&finish(command).await, 0, "answers", &file.display().to_string());
    }
}

/// A name that Latin-1 has and UTF-8 has not.
const NAME: &[u8] = b"caf\xe9";

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_whose_name_is_not_utf8_is_that_folder_from_the_flags_to_the_ledger() {
    let scene = Scene::cheap().await;
    let folder = scene.path("").join(OsStr::from_bytes(NAME));
    fs::create_dir_all(folder.join("drop")).unwrap();
    fs::write(folder.join("drop/a.txt"), "words").unwrap();
    scene.riverbed(&[]);
    fs::copy(scene.path("pipeline.toml"), folder.join("pipeline.toml")).unwrap();
    let run = |arguments: &[&OsStr]| {
        let mut command = scene.riverbed(&["run", "--once", "-c"]);
        command.arg(folder.join("pipeline.toml")).args(arguments);
        finish_lossy(command)
    };
    let is_one = |output: &str| fs::read_to_string(folder.join(output).join("vectors.jsonl")).unwrap().lines().count() == 1;
    assert_eq!(run(&[]).await, Some(0));
    assert!(is_one("out"));
    let setting = |key: &str, of: &str| {
        let mut text = OsString::from(key);
        text.push(folder.join(of));
        text
    };
    let flags: [&[OsString]; 4] = [
        &["--set".into(), "log.level=debug".into()],
        &["--output".into(), folder.join("out2").into()],
        &["--set".into(), setting("sink.path=", "out3"), "--set".into(), "log.level=debug".into()],
        &["--source".into(), folder.join("drop").into(), "--output".into(), folder.join("out4").into()],
    ];
    for flags in flags {
        assert_eq!(run(&flags.iter().map(OsString::as_os_str).collect::<Vec<_>>()).await, Some(0), "{flags:?}");
    }
    assert!(is_one("out2") && is_one("out3") && is_one("out4"));
    let mut command = scene.riverbed(&["run", "--once", "-c"]);
    command.arg(folder.join("pipeline.toml")).env("RIVERBED_SINK_PATH", folder.join("out5"));
    assert_eq!(finish_lossy(command).await, Some(0));
    assert!(is_one("out5"));
    let names: Vec<_> = fs::read_dir(scene.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains('\u{fffd}') || name.as_bytes() == NAME), "{names:?}");
    // The other commands find it, too.
    for arguments in [&["status"][..], &["verify"], &["failed"], &["plan"], &["check"]] {
        let mut command = scene.riverbed(arguments);
        command.arg("-c").arg(folder.join("pipeline.toml"));
        assert_eq!(finish_lossy(command).await, Some(0), "{arguments:?}");
    }
    // A unit is text.
    let mut command = scene.riverbed(&["service"]);
    command.arg("-c").arg(folder.join("pipeline.toml"));
    assert_eq!(finish_lossy(command).await, Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_not_utf8_is_an_error_where_it_is_no_path() {
    let scene = Scene::cheap().await;
    let mut command = scene.riverbed(&["check"]);
    command.env("RIVERBED_LOG_LEVEL", OsStr::from_bytes(NAME));
    assert_ended(&finish(command).await, 78, "the value of `log.level` is not UTF-8", "a variable");
    let mut command = scene.riverbed(&["check", "--set"]);
    command.arg(OsStr::from_bytes(b"log.level=caf\xe9"));
    assert_ended(&finish(command).await, 78, "the value of `log.level` is not UTF-8", "a flag");
}

/// Runs a command that may say what is no UTF-8.
async fn finish_lossy(mut command: Command) -> Option<i32> {
    let output = tokio::time::timeout(crate::support::PATIENCE, command.output()).await.expect("riverbed never ended").unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output.status.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_no_clock_reaches_is_for_ever() {
    const EVER: &str = "18446744073709551615s";
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    for key in [
        "bedrock.attempt-timeout",
        "bedrock.connect-timeout",
        "source.rescan",
        "run.grace",
        "run.progress-every",
        "embed.batch-wait",
    ] {
        let arguments = ["run", "--once", "--set", &format!("{key}={EVER}")];
        assert_ended(&finish(scene.riverbed(&arguments)).await, 0, "1 done", key);
        fs::remove_dir_all(scene.path("out")).unwrap();
    }
    let ended = finish(scene.riverbed(&["service", "--set", &format!("run.grace={EVER}")])).await;
    assert_ended(&ended, 0, "TimeoutStopSec=18446744073709551615s", "a unit");
}
