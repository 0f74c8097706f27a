//! Every source of credentials that works on loopback, up to the key that the emulator sees.

use std::fs;
use std::num::NonZeroUsize;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use riverbed::emulator::{Authorization, Fault};
use tokio::process::Command;

use crate::fake_service::{StandIn, keys, role};
use crate::support::{Ended, Scene, ends, finish, paragraph, signal};

const LATER: &str = "2035-01-01T00:00:00Z";
const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

/// Returns `check --online` without any of the variables that give keys.
fn check(scene: &Scene) -> Command {
    scene.emulator.record(NonZeroUsize::new(64).unwrap());
    let mut command = scene.riverbed(&["check", "--online"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", scene.path("nowhere"));
    command
}

/// Returns the ids of the keys that calls came with, `API key` where they came with one.
fn key_ids(scene: &Scene) -> Vec<String> {
    let of = |authorization| match authorization {
        Some(Authorization::SigV4 { access_key_id, .. }) => access_key_id,
        Some(Authorization::Bearer) => "API key".to_owned(),
        None => "nothing".to_owned(),
    };
    scene.emulator.requests().into_iter().map(|request| of(request.authorization)).collect()
}

fn source(ended: &Ended) -> &str {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stdout.contains("secret"), "{}", ended.stdout);
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("credentials")).unwrap();
    line.trim_start()
}

/// Writes a file into the scene and returns its path.
fn write(scene: &Scene, name: &str, text: &str) -> std::path::PathBuf {
    let path = scene.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_variables() {
    let scene = Scene::cheap().await;
    let mut command = check(&scene);
    command.env("AWS_ACCESS_KEY_ID", "AKIAVARIABLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let ended = finish(command).await;
    assert_eq!(source(&ended), "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, key …ABLE");
    assert_eq!(key_ids(&scene), ["AKIAVARIABLE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_shared_profile_and_a_profile_in_the_configuration_goes_before_variables() {
    let scene = Scene::cheap().await;
    let of = |name: &str| format!("[{name}]\naws_access_key_id = AKIA{name}\naws_secret_access_key = secret\n");
    let file = write(&scene, "aws", &(of("default") + &of("archive")));
    let mut command = check(&scene);
    command.env("AWS_SHARED_CREDENTIALS_FILE", &file);
    assert_eq!(source(&finish(command).await), "the keys of the AWS profile `default`, key …ault");
    let mut command = check(&scene);
    command.env("AWS_SHARED_CREDENTIALS_FILE", &file).env("AWS_PROFILE", "archive");
    assert_eq!(source(&finish(command).await), "the keys of the AWS profile `archive`, key …hive");
    let scene_of_profile = scene.set("bedrock.profile", "\"archive\"");
    let mut command = check(&scene_of_profile);
    command.env("AWS_SHARED_CREDENTIALS_FILE", &file).env("AWS_BEARER_TOKEN_BEDROCK", "secret-api-key");
    command.env("AWS_ACCESS_KEY_ID", "AKIAVARIABLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    assert_eq!(source(&finish(command).await), "the keys of the AWS profile `archive`, key …hive");
    assert_eq!(key_ids(&scene_of_profile), ["AKIAdefault", "AKIAarchive", "AKIAarchive"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_credential_process() {
    let scene = Scene::cheap().await;
    let said = r#"{"Version":1,"AccessKeyId":"ASIAPROCESS","SecretAccessKey":"secret","SessionToken":"t"}"#;
    let keys = write(&scene, "keys.json", said);
    let file = write(&scene, "aws", &format!("[profile made]\ncredential_process = cat {}\n", keys.display()));
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", file).env("AWS_PROFILE", "made");
    assert_eq!(source(&finish(command).await), "the credential process of the AWS profile `made`, key …CESS");
    assert_eq!(key_ids(&scene), ["ASIAPROCESS"]);
}

/// Returns a command that prints keys which are good until then, and writes a line into a file each time.
fn command(scene: &Scene, expires: &str) -> (String, std::path::PathBuf) {
    let asked = scene.path("asked");
    let said = format!(
        r#"{{"Version":1,"AccessKeyId":"ASIAPROCESS","SecretAccessKey":"secret","SessionToken":"t","Expiration":"{expires}"}}"#
    );
    let keys = write(scene, "keys.json", &said);
    (format!("echo asked >> {}; cat {}", asked.display(), keys.display()), asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_command_are_kept_while_they_are_good_and_asked_for_again_when_they_run_out() {
    let soon = humantime::format_rfc3339_seconds(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).to_string();
    for (expires, is_renewed) in [(LATER, false), (soon.as_str(), true)] {
        let scene = Scene::cheap().await.set("bedrock.max-in-flight", "1");
        for number in 0..4 {
            scene.drop(&format!("{number}.txt"), paragraph(number, 8));
        }
        let (command, asked) = command(&scene, expires);
        let file = write(&scene, "aws", &format!("[default]\ncredential_process = {command}\n"));
        let mut run = scene.riverbed(&["run", "--once"]);
        run.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_CONFIG_FILE", file);
        let ended = finish(run).await;
        assert_eq!((ended.code, scene.vectors().len()), (Some(0), 4), "{ended:?}");
        let times = fs::read_to_string(asked).unwrap().lines().count();
        assert!(if is_renewed { times >= 4 } else { times == 1 }, "asked {times} times for keys that are good until {expires}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_the_keys_of_a_command() {
    let scene = Scene::cheap().await;
    let sts = StandIn::new(|heard| role(heard, "ASIAROLE", LATER)).await;
    let (command, _) = command(&scene, LATER);
    let app = format!("[profile app]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = outside\n");
    let file = write(&scene, "aws", &format!("{app}[profile base]\ncredential_process = {command}\n"));
    let mut check = check(&scene);
    check.env("AWS_CONFIG_FILE", file).env("AWS_PROFILE", "app").env("AWS_ENDPOINT_URL_STS", &sts.url);
    let ended = finish(check).await;
    assert_eq!(source(&ended), format!("the role of the AWS profile `app`, key …ROLE, account 123456789012, good until {LATER}"));
    assert_eq!(key_ids(&scene), ["ASIAROLE"]);
    let heard = &sts.heard()[0];
    assert!(heard.header("authorization").unwrap().contains("Credential=ASIAPROCESS/"));
    assert!(heard.body.contains("ExternalId=outside"), "{}", heard.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_gives_no_keys_is_named_by_its_profile_and_what_it_printed_is_not_shown() {
    let scene = Scene::cheap().await;
    let app = format!("[profile app]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\ncredential_process = ");
    for (command, said) in [
        ("yes hush", "it printed more than 65536 bytes, and was ended"),
        ("echo hush; echo hush >&2; exit 7", "it ended with exit status: 7"),
        ("echo hush", "what it printed is no JSON object"),
        ("echo '{\"Version\":1,\"AccessKeyId\":\"hush\"}'", "its `SecretAccessKey` is missing"),
    ] {
        let file = write(&scene, "aws", &format!("{app}{command}\n"));
        for profile in ["base", "app"] {
            let mut check = check(&scene);
            check.env("AWS_CONFIG_FILE", &file).env("AWS_PROFILE", profile).env("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9");
            let ended = finish(check).await;
            assert_eq!(ended.code, Some(77), "{command}: {ended:?}");
            let told = ended.stdout + &ended.stderr;
            assert!(told.contains("the `credential_process` of the AWS profile `base` gave no credentials"), "{command}: {told}");
            assert!(told.contains(said) && !told.contains("hush"), "{command}: {told}");
        }
    }
    assert_eq!(scene.emulator.counts().calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_profiles_role() {
    let scene = Scene::cheap().await;
    let sts = StandIn::new(|heard| role(heard, "ASIAROLE", LATER)).await;
    let profiles = format!(
        "[profile base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n\
         [profile app]\nrole_arn = {ROLE}\nsource_profile = base\n"
    );
    let file = write(&scene, "aws", &profiles);
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", file).env("AWS_PROFILE", "app").env("AWS_ENDPOINT_URL_STS", &sts.url);
    let ended = finish(command).await;
    assert_eq!(source(&ended), format!("the role of the AWS profile `app`, key …ROLE, account 123456789012, good until {LATER}"));
    assert_eq!(key_ids(&scene), ["ASIAROLE"]);
    assert!(sts.heard()[0].header("authorization").unwrap().contains("Credential=AKIABASE/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_web_identity() {
    let scene = Scene::cheap().await;
    let sts = StandIn::new(|heard| role(heard, "ASIAWEB", LATER)).await;
    let token = write(&scene, "token", "who-i-am");
    let mut command = check(&scene);
    command.env("AWS_WEB_IDENTITY_TOKEN_FILE", token).env("AWS_ROLE_ARN", ROLE).env("AWS_ENDPOINT_URL_STS", &sts.url);
    let ended = finish(command).await;
    assert_eq!(source(&ended), format!("a web identity, key …AWEB, account 123456789012, good until {LATER}"));
    assert_eq!(key_ids(&scene), ["ASIAWEB"]);
    assert!(sts.heard()[0].body.contains("WebIdentityToken=who-i-am"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_the_container() {
    let scene = Scene::cheap().await;
    let container = StandIn::new(|_| (200, "application/json", keys("ASIACONTAINER", LATER))).await;
    let mut command = check(&scene);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url));
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "let-me-in");
    let ended = finish(command).await;
    assert_eq!(source(&ended), format!("the container's role, key …INER, good until {LATER}"));
    assert_eq!(key_ids(&scene), ["ASIACONTAINER"]);
    let heard = &container.heard()[0];
    assert_eq!((heard.line.as_str(), heard.header("authorization")), ("GET /keys", Some("let-me-in")));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_region_come_from_the_instance() {
    let scene = Scene::cheap().await.unset("bedrock.region");
    let metadata = StandIn::new(|heard| {
        let said = |text: &str| (200, "text/plain", text.to_owned());
        match heard.line.as_str() {
            "PUT /latest/api/token" => said("token"),
            _ if heard.header("x-aws-ec2-metadata-token") != Some("token") => (401, "text/plain", String::new()),
            "GET /latest/meta-data/placement/region" => said("eu-central-1"),
            "GET /latest/meta-data/iam/security-credentials/" => said("reader"),
            "GET /latest/meta-data/iam/security-credentials/reader" => said(&keys("ASIAINSTANCE", LATER)),
            _ => (404, "text/plain", String::new()),
        }
    });
    let metadata = metadata.await;
    let mut command = check(&scene);
    command.env_remove("AWS_EC2_METADATA_DISABLED").env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url);
    let ended = finish(command).await;
    assert_eq!(source(&ended), format!("the instance's role, key …ANCE, good until {LATER}"));
    assert!(ended.stdout.contains("region         eu-central-1, from the instance\n"), "{}", ended.stdout);
    assert_eq!(key_ids(&scene), ["ASIAINSTANCE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_from_a_sign_in() {
    let scene = Scene::cheap().await;
    let portal = StandIn::new(|heard| {
        assert_eq!(heard.header("x-amz-sso_bearer_token"), Some("signed-in"));
        let keys = r#"{"accessKeyId":"ASIASSO","secretAccessKey":"secret","sessionToken":"t","expiration":2051222400000}"#;
        (200, "application/json", format!(r#"{{"roleCredentials":{keys}}}"#))
    });
    let portal = portal.await;
    let profile = "[profile work]\nsso_start_url = http://127.0.0.1/start\nsso_region = eu-west-1\n\
                   sso_account_id = 123456789012\nsso_role_name = reader\n";
    let file = write(&scene, "aws", profile);
    // Named by the SHA-1 of the start URL, as `aws sso login` leaves it.
    let signed_in = r#"{"accessToken":"signed-in","expiresAt":"2035-01-01T00:00:00Z","region":"eu-west-1","startUrl":"http://127.0.0.1/start"}"#;
    write(&scene, "home/.aws/sso/cache/2a76dd796461638ee53abbca9eb0f5261eca1108.json", signed_in);
    let mut command = check(&scene);
    command.env("AWS_CONFIG_FILE", file).env("AWS_PROFILE", "work").env("AWS_ENDPOINT_URL_SSO", &portal.url);
    command.env("HOME", scene.path("home"));
    let ended = finish(command).await;
    assert!(
        source(&ended).starts_with("the sign-in (SSO) of the AWS profile `work`, key …ASSO, account 123456789012"),
        "{ended:?}"
    );
    assert_eq!(key_ids(&scene), ["ASIASSO"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_goes_before_other_keys_and_an_empty_one_is_none() {
    let scene = Scene::cheap().await;
    for (api_key, expected) in [
        ("bedrock-api-key-secret", "the Bedrock API key in AWS_BEARER_TOKEN_BEDROCK"),
        ("", "the variables AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, key …ABLE"),
    ] {
        let mut command = check(&scene);
        command.env("AWS_BEARER_TOKEN_BEDROCK", api_key);
        command.env("AWS_ACCESS_KEY_ID", "AKIAVARIABLE").env("AWS_SECRET_ACCESS_KEY", "secret");
        assert_eq!(source(&finish(command).await), expected);
    }
    assert_eq!(key_ids(&scene), ["API key", "AKIAVARIABLE"]);
}

/// Takes the role of the configuration on with keys out of variables; shown by the test of every key too.
pub async fn a_role_is_taken_on(external_id: Option<&str>) {
    let mut scene = Scene::cheap().await.set("bedrock.role-arn", &format!("\"{ROLE}\""));
    if let Some(id) = external_id {
        scene = scene.set("bedrock.external-id", &format!("\"{id}\""));
    }
    let sts = StandIn::new(|heard| role(heard, "ASIATAKENON", LATER)).await;
    let mut command = check(&scene);
    command.env("AWS_ENDPOINT_URL_STS", &sts.url).env("AWS_BEARER_TOKEN_BEDROCK", "an-api-key-is-passed-over");
    command.env("AWS_ACCESS_KEY_ID", "AKIAVARIABLE").env("AWS_SECRET_ACCESS_KEY", "secret");
    let ended = finish(command).await;
    let expected = format!("the role {ROLE} of `bedrock.role-arn`, key …ENON, account 123456789012, good until {LATER}");
    assert_eq!(source(&ended), expected);
    assert_eq!(key_ids(&scene), ["ASIATAKENON"]);
    for heard in sts.heard() {
        assert!(heard.header("authorization").unwrap().contains("/us-east-1/sts/aws4_request"), "{heard:?}");
        assert!(heard.header("authorization").unwrap().contains("Credential=AKIAVARIABLE/"), "{heard:?}");
        assert!(heard.body.contains("Action=AssumeRole&") && heard.body.contains("RoleSessionName=riverbed"), "{heard:?}");
        let sent = heard.body.contains(&format!("ExternalId={}", external_id.unwrap_or_default()));
        assert_eq!(sent, external_id.is_some(), "{heard:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_by_itself_and_its_owner_is_told_the_external_id() {
    a_role_is_taken_on(None).await;
    a_role_is_taken_on(Some("customer-42")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_a_profile_and_again_before_it_runs_out() {
    let scene = Scene::cheap().await.set("bedrock.role-arn", &format!("\"{ROLE}\"")).set("bedrock.profile", "\"base\"");
    let scene = scene.set("bedrock.max-in-flight", "1");
    let times = AtomicUsize::new(0);
    let sts = StandIn::new(move |heard| {
        // What runs out in the next seconds is renewed before it is used again.
        let soon = humantime::format_rfc3339_seconds(std::time::SystemTime::now() + std::time::Duration::from_secs(3));
        role(heard, &format!("ASIA{}", times.fetch_add(1, Ordering::Relaxed)), &soon.to_string())
    });
    let sts = sts.await;
    let file = write(&scene, "aws", "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = secret\n");
    scene.emulator.record(NonZeroUsize::new(64).unwrap());
    for number in 0..3 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env("AWS_SHARED_CREDENTIALS_FILE", file).env("AWS_ENDPOINT_URL_STS", &sts.url);
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(key_ids(&scene), ["ASIA0", "ASIA1", "ASIA2"]);
    assert!(sts.heard().iter().all(|heard| heard.header("authorization").unwrap().contains("Credential=AKIABASE/")));
}

/// Refuses a daemon's keys for a while, fixes what gives them, and lets it go on.
pub async fn keys_are_refused_for_a_while(mend: impl FnOnce(&Scene), prepare: impl FnOnce(&Scene, &mut Command)) {
    let scene = Scene::cheap().await.set("bedrock.max-in-flight", "8");
    // The third probe is due 700 ms after the gate closes, the fourth a second and a half after.
    let scene = scene.set("retry.initial", "\"100ms\"").set("retry.max-interval", "\"1m\"");
    scene.emulator.record(NonZeroUsize::new(64).unwrap());
    scene.emulator.hold();
    for number in 0..20 {
        scene.drop(&format!("{number}.txt"), paragraph(number, 8));
    }
    scene.emulator.fault_where(
        "Number",
        Fault::error(403, "ExpiredTokenException", "The security token included in the request is expired"),
    );
    let mut command = scene.riverbed(&["run"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").stdout(Stdio::null());
    prepare(&scene, &mut command);
    let child = command.spawn().unwrap();
    scene.emulator.called(8).await;
    scene.emulator.release();
    scene.emulator.called(8 + 3).await;
    assert_eq!(scene.emulator.counts().calls, 8 + 3, "while nothing is served, what goes out are probes, one at a time");
    assert!(key_ids(&scene).iter().all(|id| id == "ASIAOLD"));
    mend(&scene);
    scene.emulator.clear_faults();
    assert_eq!(scene.vectors_reach(20).await.len(), 20);
    signal(&child, rustix::process::Signal::TERM);
    assert_eq!(ends(child).await, Some(0));
    assert_eq!((scene.emulator.counts().calls, scene.emulator.counts().texts), (8 + 3 + 20, 20), "each text was paid once");
    assert_eq!(key_ids(&scene).iter().filter(|id| *id == "ASIANEW").count(), 20);
    assert!(scene.lines("failed.jsonl").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_keys_are_refused_fails_nothing_and_goes_on_with_those_that_the_container_gives_next() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    // They claim to be good for years: that they were refused is what has them asked for again.
    let container = StandIn::new(move |_| {
        let id = if is_mended.load(Ordering::Acquire) { "ASIANEW" } else { "ASIAOLD" };
        (200, "application/json", keys(id, LATER))
    });
    let container = container.await;
    let prepare = |_: &Scene, command: &mut Command| {
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/keys", container.url));
    };
    keys_are_refused_for_a_while(|_| mended.store(true, Ordering::Release), prepare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_whose_keys_are_refused_reads_the_profile_again() {
    let file = |id: &str| format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = secret\naws_session_token = t\n");
    let mend = |scene: &Scene| drop(write(scene, "aws", &file("ASIANEW")));
    let prepare = |scene: &Scene, command: &mut Command| {
        command.env("AWS_SHARED_CREDENTIALS_FILE", write(scene, "aws", &file("ASIAOLD")));
    };
    keys_are_refused_for_a_while(mend, prepare).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_without_credentials_waits_for_them() {
    let scene = Scene::cheap().await.set("retry.initial", "\"100ms\"").set("retry.max-interval", "\"1s\"");
    scene.drop("a.txt", "words");
    let file = write(&scene, "aws", "[default]\nregion = us-east-1\n");
    let mut command = scene.riverbed(&["run"]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("AWS_SHARED_CREDENTIALS_FILE", &file);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = child.stderr.take().unwrap();
    let mut log = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(log));
    loop {
        let line = log.next_line().await.unwrap().expect("it goes on");
        if line.contains("calls are not served; waiting") {
            assert!(line.contains("give riverbed credentials"), "{line}");
            break;
        }
    }
    write(&scene, "aws", "[default]\naws_access_key_id = AKIALATE\naws_secret_access_key = secret\n");
    assert_eq!(scene.vectors_reach(1).await.len(), 1);
    signal(&child, rustix::process::Signal::TERM);
    drop(log);
    assert_eq!(ends(child).await, Some(0));
    assert!(scene.lines("failed.jsonl").is_empty());
}
