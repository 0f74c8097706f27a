//! The control path: settings and counts over HTTP beside the API, so that a program in any language can drive the emulator.
//!
//! ```text
//! GET  /_riverbed            settings as they are, counts since the start or the last reset
//! PUT  /_riverbed/settings   {"requests": "20/s", "faults": "429 10%"}: what is named changes, the rest stays
//! POST /_riverbed/script     ["429", "none", {"status": 424, "name": "ModelErrorException", "message": "no"}]: the next calls
//! POST /_riverbed/reset      settings as at the start, counts at zero, nothing scripted
//! ```
//!
//! Its requests are no calls: they are counted nowhere, wait for nothing and need no credentials.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::EmulatorConfig;
use super::control::{Control, Counts};
use super::fault::Fault;
use super::fault_rates;
use super::response::{EmulatedResponse, Refusal};

const PATH: &str = "/_riverbed";

/// No request needs more.
const MAX_BODY: usize = 64 * 1024;
/// Faults that wait for their calls.
const MAX_SCRIPT: usize = 10_000;

/// Settings that can change while calls are in flight.
const SETTINGS: [&str; 6] = ["latency", "jitter", "requests", "tokens", "faults", "seed"];

const ROUTES: &str = "there are GET /_riverbed, PUT /_riverbed/settings, POST /_riverbed/script and POST /_riverbed/reset";

/// Returns the rest of the control path, if a request is for it.
pub(super) fn route(path: &str) -> Option<&str> {
    path.strip_prefix(PATH).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Does what a request to the control path asks for. There is no body where it was too large even for a call.
pub(super) fn answer(control: &Control, method: &Method, route: &str, body: Option<&[u8]>) -> EmulatedResponse {
    let done = match body.filter(|body| body.len() <= MAX_BODY) {
        Some(body) => does(control, method, route, body),
        None => Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is too long; {MAX_BODY} bytes are enough"))),
    };
    match done {
        Ok(()) => {
            let state = json!({ "settings": control.config(), "counts": shown(&control.counts()) });
            EmulatedResponse::json(StatusCode::OK, state.to_string().into_bytes())
        }
        Err(refusal) => EmulatedResponse::refused(&refusal),
    }
}

fn does(control: &Control, method: &Method, route: &str, body: &[u8]) -> Result<(), Refusal> {
    match (route, method.as_str()) {
        ("", "GET") => Ok(()),
        ("/settings", "PUT") => object(body).and_then(|changes| change(control, changes)),
        ("/script", "POST") => faults(body).and_then(|faults| script(control, faults)),
        ("/reset", "POST") => {
            control.reset();
            Ok(())
        }
        ("" | "/settings" | "/script" | "/reset", _) => {
            Err(refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this; {ROUTES}")))
        }
        _ => Err(refuse(StatusCode::NOT_FOUND, format!("there is no `{PATH}{route}`; {ROUTES}"))),
    }
}

fn shown(counts: &Counts) -> Value {
    json!({
        "calls": counts.calls,
        "answered": counts.answered,
        "unanswered": counts.unanswered,
        "texts": counts.texts,
        "tokens": counts.tokens,
        "in-flight": counts.in_flight,
        "most-in-flight": counts.most_in_flight,
        "connections": counts.connections,
    })
}

fn refuse(status: StatusCode, message: String) -> Refusal {
    Refusal::new(status, "ControlException", message)
}

fn bad(message: impl Into<String>) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, message.into())
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_slice(body).map_err(|error| bad(format!("the body is no JSON object of settings: {error}")))
}

/// All of the settings change, or none does.
fn change(control: &Control, changes: Map<String, Value>) -> Result<(), Refusal> {
    if let Some(key) = changes.keys().find(|key| !SETTINGS.contains(&key.as_str())) {
        return Err(bad(format!("`{key}` cannot be set here; {} can", SETTINGS.join(", "))));
    }
    let quotas = changes.contains_key("requests") || changes.contains_key("tokens");
    let mut settings = serde_json::to_value(control.config()).expect("a configuration is JSON");
    settings.as_object_mut().expect("it is a table").extend(changes);
    let config: EmulatorConfig = serde_path_to_error::deserialize(settings)
        .map_err(|error| bad(format!("`{}` does not fit: {}", error.path(), error.inner())))?;
    control.configure(config, quotas);
    Ok(())
}

/// A fault in full; most have a name instead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Scripted {
    status: u16,
    name: String,
    message: String,
    #[serde(default, with = "humantime_serde::option")]
    retry_after: Option<Duration>,
}

fn faults(body: &[u8]) -> Result<Vec<Fault>, Refusal> {
    let faults: Vec<Value> =
        serde_json::from_slice(body).map_err(|error| bad(format!("the body is no JSON list of faults: {error}")))?;
    faults
        .into_iter()
        .enumerate()
        .map(|(at, fault)| self::fault(fault).map_err(|why| bad(format!("fault {at}: {why}"))))
        .collect()
}

fn fault(value: Value) -> Result<Fault, String> {
    match value {
        Value::String(name) if name == "none" => Ok(Fault::None),
        Value::String(name) => fault_rates::named(&name),
        Value::Object(_) => {
            let Scripted { status, name, message, retry_after } =
                serde_json::from_value(value).map_err(|error| error.to_string())?;
            if !(400..600).contains(&status) {
                return Err(format!("the status {status} is no error's; give one from 400 to 599"));
            }
            Ok(Fault::Error { status, name, message, retry_after })
        }
        _ => Err("it is neither a name, as \"429\", nor an object with `status`, `name` and `message`".into()),
    }
}

fn script(control: &Control, faults: Vec<Fault>) -> Result<(), Refusal> {
    let waiting = control.scripted();
    if waiting + faults.len() > MAX_SCRIPT {
        return Err(bad(format!("{waiting} faults wait for their calls; with these there would be more than {MAX_SCRIPT}")));
    }
    control.script(faults);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(control: &Control, method: &Method, path: &str, body: &str) -> (u16, Value) {
        let answer = answer(control, method, route(path).unwrap(), Some(body.as_bytes()));
        let (status, body) = (answer.status.as_u16(), answer.into_bytes());
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn started(toml: &str) -> Control {
        Control::new(&toml::from_str(toml).unwrap())
    }

    fn refused(control: &Control, method: &Method, path: &str, body: &str, status: u16, says: &str) {
        let (found, answer) = ask(control, method, path, body);
        let message = answer["message"].as_str().unwrap();
        assert!(found == status && message.contains(says), "{found}: {message}");
    }

    #[test]
    fn other_paths_are_not_for_it() {
        assert_eq!(
            ["/_riverbed", "/_riverbed/reset", "/_riverbedx", "/model/_riverbed/invoke", "/"].map(route),
            [Some(""), Some("/reset"), None, None, None]
        );
    }

    #[test]
    fn settings_that_are_named_change_and_the_others_stay() {
        let control = started("latency = \"5ms\"\nseed = 3");
        let change = r#"{"requests": "20/s for 3m, 5/s", "faults": "429 10%, cut 0.5%", "jitter": "1s"}"#;
        let (status, state) = ask(&control, &Method::PUT, "/_riverbed/settings", change);
        let settings = &state["settings"];
        assert_eq!((status, &settings["requests"], &settings["latency"]), (200, &json!("20/s for 3m, 5/s"), &json!("5ms")));
        assert_eq!(
            (&settings["faults"], &settings["seed"], &settings["tokens"]),
            (&json!("429 10%, cut 0.5%"), &json!(3), &json!("unlimited"))
        );
        let (_, state) = ask(&control, &Method::POST, "/_riverbed/reset", "");
        assert_eq!((&state["settings"]["requests"], &state["settings"]["latency"]), (&json!("unlimited"), &json!("5ms")));
        assert_eq!(ask(&control, &Method::GET, "/_riverbed", ""), (200, state));
    }

    #[test]
    fn a_quota_is_taken_of_until_it_is_set_again() {
        let control = started("requests = \"1/min window\"");
        control.take("model", 1).unwrap();
        ask(&control, &Method::PUT, "/_riverbed/settings", r#"{"faults": "none"}"#);
        control.take("model", 1).unwrap_err();
        ask(&control, &Method::PUT, "/_riverbed/settings", r#"{"requests": "1/min window"}"#);
        control.take("model", 1).unwrap();
    }

    #[test]
    fn a_setting_that_cannot_be_changes_nothing_and_says_why() {
        let control = started("");
        for (body, says) in [
            ("", "no JSON object of settings"),
            ("[]", "no JSON object of settings"),
            (r#"{"speed": 1}"#, "`speed` cannot be set here; latency, jitter, requests, tokens, faults, seed can"),
            (r#"{"vectors": "cheap"}"#, "`vectors` cannot be set here"),
            (r#"{"latency": "1s", "requests": "20/h"}"#, "`requests` does not fit: `20/h` is no quota: a rate is `/s` or `/min`"),
            (r#"{"latency": 5}"#, "`latency` does not fit: "),
            (r#"{"faults": "418 1%"}"#, "`faults` does not fit: `418 1%` is no rate of faults: there is no fault `418`"),
            (r#"{"seed": -1}"#, "`seed` does not fit"),
        ] {
            refused(&control, &Method::PUT, "/_riverbed/settings", body, 400, says);
        }
        assert_eq!(control.config(), EmulatorConfig::default());
    }

    #[test]
    fn a_script_names_faults_or_writes_them_out() {
        let error = r#"{"status": 429, "name": "ModelNotReadyException", "message": "warming", "retry-after": "2s"}"#;
        assert_eq!(
            faults(format!(r#"["429", "none", "reset", {error}]"#).as_bytes()).unwrap(),
            [
                Fault::Throttle,
                Fault::None,
                Fault::Reset,
                Fault::Error {
                    status: 429,
                    name: "ModelNotReadyException".into(),
                    message: "warming".into(),
                    retry_after: Some(Duration::from_secs(2)),
                }
            ]
        );
        let control = started("");
        for (body, says) in [
            ("{}", "no JSON list of faults"),
            (r#"["429", "418"]"#, "fault 1: there is no fault `418`, but there are 429"),
            ("[5]", "fault 0: it is neither a name"),
            (r#"[{"status": 429}]"#, "missing field `name`"),
            (r#"[{"status": 200, "name": "x", "message": "y"}]"#, "the status 200 is no error's"),
            (r#"[{"status": 429, "name": "x", "message": "y", "z": 1}]"#, "unknown field `z`"),
        ] {
            refused(&control, &Method::POST, "/_riverbed/script", body, 400, says);
        }
        assert_eq!(control.scripted(), 0);
        let many = format!("[{}]", vec!["\"429\""; 9_000].join(","));
        assert_eq!(ask(&control, &Method::POST, "/_riverbed/script", &many).0, 200);
        refused(&control, &Method::POST, "/_riverbed/script", &many, 400, "9000 faults wait for their calls");
        ask(&control, &Method::POST, "/_riverbed/reset", "");
        assert_eq!(control.scripted(), 0);
    }

    #[test]
    fn what_is_asked_in_a_wrong_way_is_told_the_right_one() {
        let control = started("");
        refused(&control, &Method::GET, "/_riverbed/settings", "", 405, "GET is not for this; there are GET /_riverbed, PUT");
        refused(&control, &Method::GET, "/_riverbed/nothing", "", 404, "there is no `/_riverbed/nothing`; there are GET");
        refused(&control, &Method::PUT, "/_riverbed/settings", &" ".repeat(70_000), 413, "65536 bytes are enough");
    }
}
