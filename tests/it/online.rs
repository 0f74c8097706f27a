//! `check --online`: on a set-up that works, and on each broken one.

use std::fmt::Write as _;

use insta::assert_snapshot;
use riverbed::emulator::Fault;
use tokio::process::Command;

use crate::fake_service::StandIn;
use crate::support::{Ended, Scene, finish};

/// Sets up a scene that fails in one way.
struct Case {
    title: &'static str,
    code: i32,
    calls: u64,
    scene: Scene,
    command: fn(&mut Command),
    _standin: Option<StandIn>,
}

async fn faulty(title: &'static str, code: i32, calls: u64, fault: Fault) -> Case {
    let scene = Scene::cheap().await;
    scene.emulator.fault_where("", fault);
    Case { title, code, calls, scene, command: |_| (), _standin: None }
}

async fn set(title: &'static str, code: i32, settings: &[(&str, &str)], command: fn(&mut Command)) -> Case {
    let mut scene = Scene::cheap().await;
    for (key, value) in settings {
        scene = scene.set(key, value);
    }
    Case { title, code, calls: 0, scene, command, _standin: None }
}

/// Returns what a person sees, without what differs from run to run.
fn shown(ended: &Ended) -> String {
    let mut text = String::new();
    for line in ended.stdout.lines().chain(ended.stderr.lines()) {
        let _infallible = writeln!(text, "{line}");
    }
    text
}

fn filters() -> Vec<(&'static str, &'static str)> {
    vec![(r"127\.0\.0\.1:\d+", "127.0.0.1:[port]"), (r", \d+ ms", ", [n] ms"), (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}", "[id]")]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_up_that_works_is_reported_with_tokens_and_time() {
    let scene = Scene::cheap().await;
    let ended = finish(scene.riverbed(&["check", "--online"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!((scene.emulator.counts().calls, scene.emulator.counts().texts), (1, 1));
    let counted = scene.emulator.counts().tokens;
    assert_eq!(counted, 1);
    assert!(ended.stdout.contains(": 1 token, "), "{}", ended.stdout);
    insta::with_settings!({ filters => filters() }, { assert_snapshot!(shown(&ended)) });
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_models_are_asked_too_and_one_that_may_not_be_is_named() {
    let scene = Scene::cheap()
        .await
        .chat("name = \"summary\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"Sum up:\\n{{text}}\"\n")
        .chat("name = \"title\"\nmodel = \"amazon.nova-micro-v1:0\"\nper = \"chunk\"\nprompt = \"Title:\\n{{text}}\"\n")
        .set("messages.enabled", "true")
        .set("messages.models", "[\"amazon.nova-lite-v1:0\"]");
    let ended = finish(scene.riverbed(&["check", "--online"])).await;
    assert_eq!((ended.code, scene.emulator.counts().chat.calls), (Some(0), 2), "{ended:?}");
    let filters = [filters(), vec![(r"nova-(\w+)-v1:0: \d+ tokens", "nova-$1-v1:0: [n] tokens")]].concat();
    insta::with_settings!({ filters => filters }, { assert_snapshot!(shown(&ended)) });

    scene.emulator.fault_where("Sum up", Fault::error(403, "AccessDeniedException", "You don't have access to the model"));
    let ended = finish(scene.riverbed(&["check", "--online"])).await;
    assert_eq!(ended.code, Some(77), "{ended:?}");
    assert!(ended.stderr.contains("`amazon.nova-micro-v1:0` does not answer"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_built_in_emulator_is_asked_too() {
    let scene = Scene::cheap().await.set("bedrock.endpoint", "\"emulator\"");
    let ended = finish(scene.riverbed(&["check", "--online"])).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("credentials    made up for the built-in emulator\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("answers        amazon.titan-embed-text-v2:0: "), "{}", ended.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_check_without_online_nor_the_start_of_a_run_makes_a_call() {
    let scene = Scene::cheap().await;
    assert_eq!(finish(scene.riverbed(&["check"])).await.code, Some(0));
    assert_eq!(scene.once().await.code, Some(0));
    assert_eq!(scene.emulator.counts().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_known_failure_comes_with_advice() {
    let denied = "AccessDeniedException";
    let no_keys = |command: &mut Command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("HOME", "/nonexistent");
    };
    let proxy = StandIn::new(|_| (407, "text/plain", String::new())).await;
    let behind_proxy = {
        let scene = Scene::cheap().await.set("bedrock.endpoint", "\"https://bedrock.riverbed.invalid\"");
        std::fs::write(scene.path("proxy"), &proxy.url).unwrap();
        scene
    };
    let sts = StandIn::new(|_| {
        let error = "<Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/someone is not \
                     authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/reader</Message>";
        (403, "text/xml", format!("<ErrorResponse><Error>{error}</Error><RequestId>0</RequestId></ErrorResponse>"))
    });
    let sts = sts.await;
    let role = Scene::cheap().await.set("bedrock.role-arn", "\"arn:aws:iam::123456789012:role/reader\"");
    std::fs::write(role.path("sts"), &sts.url).unwrap();
    let plain = Scene::cheap().await;
    let tls = plain.emulator.endpoint().replace("http://", "\"https://") + "\"";
    let cases = [
        set("no credentials", 77, &[], no_keys).await,
        set("a profile that is not there", 77, &[("bedrock.profile", "\"nobody\"")], no_keys).await,
        Case { title: "a role that may not be taken on", code: 77, calls: 0, scene: role, command: |_| (), _standin: Some(sts) },
        faulty("expired credentials", 77, 1, Fault::error(403, "ExpiredTokenException", "The security token included in the request is expired")).await,
        faulty("an unknown key", 77, 1, Fault::error(403, "UnrecognizedClientException", "The security token included in the request is invalid")).await,
        faulty("a clock that is off", 77, 1, Fault::error(403, "InvalidSignatureException", "Signature expired: 20260131T110000Z is now earlier than 20260131T115500Z (20260131T120000Z - 5 min.)")).await,
        faulty("no access to the model", 77, 1, Fault::error(403, denied, "You don't have access to the model with the specified model ID.")).await,
        faulty("a policy that forbids it", 77, 1, Fault::error(403, denied, "User: arn:aws:sts::123456789012:assumed-role/reader/riverbed is not authorized to perform: bedrock:InvokeModel on resource: arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0 because no identity-based policy allows the bedrock:InvokeModel action")).await,
        faulty("a model that is not there", 78, 1, Fault::validation("The provided model identifier is invalid.")).await,
        faulty("a model that is served through profiles only", 78, 1, Fault::validation("Invocation of model ID cohere.embed-v4:0 with on-demand throughput isn\u{2019}t supported. Retry your request with the ID or ARN of an inference profile that contains this model.")).await,
        faulty("no quota", 77, 5, Fault::Throttle).await,
        faulty("a service in trouble", 74, 3, Fault::error(503, "ServiceUnavailableException", "Bedrock is unable to process your request.")).await,
        faulty("a gateway in its place", 74, 1, Fault::NotJson).await,
        set("nobody listens", 74, &[("bedrock.endpoint", "\"http://127.0.0.1:1\"")], |_| ()).await,
        set("a name that is none", 74, &[("bedrock.endpoint", "\"https://bedrock.riverbed.invalid\"")], |_| ()).await,
        set("no TLS at the other end", 74, &[("bedrock.endpoint", &tls)], |_| ()).await,
        Case { title: "a proxy that wants to know who asks", code: 74, calls: 0, scene: behind_proxy, command: |_| (), _standin: Some(proxy) },
        set("a black hole", 74, &[("bedrock.attempt-timeout", "\"100ms\"")], |_| ()).await,
    ];
    let mut all = String::new();
    for case in cases {
        if case.title == "a black hole" {
            case.scene.emulator.hold();
        }
        let mut command = case.scene.riverbed(&["check", "--online"]);
        for (file, variable) in [("sts", "AWS_ENDPOINT_URL_STS"), ("proxy", "HTTPS_PROXY")] {
            if let Ok(url) = std::fs::read_to_string(case.scene.path(file)) {
                command.env(variable, url);
            }
        }
        (case.command)(&mut command);
        let ended = finish(command).await;
        assert_eq!(ended.code, Some(case.code), "{}: {ended:?}", case.title);
        if case.title != "a black hole" {
            assert_eq!(case.scene.emulator.counts().calls, case.calls, "{}", case.title);
        }
        let common = "configuration  pipeline.toml: fine\n";
        let text = shown(&ended);
        assert!(text.starts_with(common), "{text}");
        assert!(!text.contains(": test"), "no secret: {text}");
        // The lines above the call are the same for all; what differs begins with the region.
        let from = text.find("region  ").unwrap();
        let _infallible = writeln!(all, "## {}, {}\n{}", case.title, case.code, &text[from..]);
    }
    insta::with_settings!({ filters => filters() }, { assert_snapshot!(all) });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_cannot_go_on_gives_the_same_advice() {
    let scene = Scene::cheap().await;
    scene.drop("a.txt", "words");
    scene.emulator.fault_where(
        "",
        Fault::error(403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    );
    let (run, check) = (scene.once().await, finish(scene.riverbed(&["check", "--online"])).await);
    let help =
        |ended: &Ended| ended.stderr.lines().find_map(|line| line.trim().strip_prefix("help: ").map(ToOwned::to_owned)).unwrap();
    assert_eq!(help(&run), help(&check));
    assert_eq!((run.code, check.code), (Some(77), Some(77)));
}
