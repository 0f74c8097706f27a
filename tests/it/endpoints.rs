//! Calls that the environment or an AWS profile redirects, and the messages about that.

use std::fs;

use tokio::process::Command;

use crate::fake_service::StandIn;
use crate::support::{Scene, finish, paragraph};

/// Returns a scene whose configuration names no endpoint, with one document.
async fn scene() -> Scene {
    let scene = Scene::cheap().await.unset("bedrock.endpoint");
    scene.drop("a.txt", paragraph(1, 8));
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emulator_that_a_variable_leads_to_is_recorded_and_nothing_is_embedded_again_at_the_next_start() {
    let scene = scene().await;
    for _ in 0..3 {
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", scene.emulator.endpoint());
        assert_eq!(finish(command).await.code, Some(0));
        assert_eq!((scene.emulator.counts().texts, scene.vectors().len()), (1, 1));
    }
}

/// Runs once, and expects the document's call at the emulator.
async fn reaches_the_emulator(scene: &Scene, command: Command, says: &str) {
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(scene.emulator.counts().texts, 1, "{ended:?}");
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(&scene.emulator.endpoint()) && said.contains(says) && !said.contains("AWS, us-east-1"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_redirects_the_calls_the_log_says_so_and_no_proxy_sees_what_stays_on_this_machine() {
    for variable in ["AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL"] {
        let (scene, proxy) = (scene().await, StandIn::new(|_| (502, "text/plain", "a proxy".into())).await);
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env(variable, scene.emulator.endpoint()).env("HTTP_PROXY", &proxy.url).env("HTTPS_PROXY", &proxy.url);
        reaches_the_emulator(&scene, command, &format!("as {variable} says")).await;
        assert!(proxy.heard().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_redirects_the_calls_in_every_way_that_it_can() {
    let services =
        |name: &str, url: &str| format!("[default]\nservices = here\n[services here]\n{name} =\n  endpoint_url = {url}\n");
    for of in [
        |url: &str| format!("[default]\nendpoint_url = {url}\n"),
        |url: &str| {
            format!(
                "[default]\nendpoint_url = http://127.0.0.1:9\nservices = here\n[services here]\nbedrock_runtime =\n  endpoint_url = {url}\n"
            )
        },
    ] {
        let scene = scene().await;
        fs::write(scene.path("aws"), of(&scene.emulator.endpoint())).unwrap();
        let mut command = scene.riverbed(&["run", "--once"]);
        command.env("AWS_CONFIG_FILE", scene.path("aws"));
        reaches_the_emulator(&scene, command, "as `endpoint_url` of the AWS profile says").await;
    }
    for name in ["bedrock_runtime", "bedrock-runtime"] {
        let scene = scene().await;
        fs::write(scene.path("aws"), services(name, &scene.emulator.endpoint())).unwrap();
        let mut command = scene.riverbed(&["run", "--once"]);
        // An empty variable is none, and hides nothing.
        command.env("AWS_CONFIG_FILE", scene.path("aws")).env("AWS_ENDPOINT_URL", "");
        reaches_the_emulator(&scene, command, "as `endpoint_url` of the AWS profile says").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_configuration_goes_before_variables_and_check_says_where_calls_go() {
    let elsewhere = StandIn::new(|_| (500, "text/plain", String::new())).await;
    let scene = Scene::cheap().await;
    scene.drop("a.txt", paragraph(1, 8));
    let mut command = scene.riverbed(&["run", "--once"]);
    command.env("AWS_ENDPOINT_URL", &elsewhere.url);
    assert_eq!(finish(command).await.code, Some(0));
    assert!(elsewhere.heard().is_empty());
    let scene = scene.unset("bedrock.endpoint");
    let mut command = scene.riverbed(&["check"]);
    command.env("AWS_ENDPOINT_URL", &elsewhere.url);
    let ended = finish(command).await;
    assert!(ended.stdout.contains(&format!("{} (us-east-1), as AWS_ENDPOINT_URL says", elsewhere.url)), "{ended:?}");
    let mut command = scene.riverbed(&["check"]);
    command.env("AWS_ENDPOINT_URL", &elsewhere.url).env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true");
    let ended = finish(command).await;
    assert!(ended.stdout.contains("AWS, us-east-1"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_holds_no_url_is_named_before_anything_is_sent() {
    let scene = scene().await;
    let mut command = scene.riverbed(&["check"]);
    command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "localhost:4566");
    let ended = finish(command).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("AWS_ENDPOINT_URL_BEDROCK_RUNTIME is `localhost:4566`"), "{}", ended.stderr);
}
