//! Files that are read or skipped, and how that is reported.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Scene, changes_until, ends, finish, paragraph, riverbed, signal};

/// Returns the documents of which lines are current, by name: what a reader of the output has.
fn standing(scene: &Scene) -> Vec<String> {
    let mut standing = std::collections::BTreeMap::new();
    for line in scene.vectors() {
        let (id, document) = (line["id"].to_string(), line["document"].as_str().unwrap().to_owned());
        if line["op"] == "upsert" {
            standing.insert(id, document)
        } else {
            standing.remove(&id)
        };
    }
    let mut documents: Vec<_> = standing.into_values().collect();
    documents.sort();
    documents.dedup();
    documents
}

async fn told(scene: &Scene, arguments: &[&str]) -> String {
    let ended = finish(scene.riverbed(arguments)).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.stdout
}

#[tokio::test(flavor = "multi_thread")]
async fn skipped_files_are_reported_by_kind_in_every_run_and_command() {
    let scene = Scene::cheap().await;
    for number in 0..3 {
        scene.drop(&format!("report{number}.pdf"), format!("%PDF-1.7\n{number}\0\u{1}"));
    }
    scene.drop("old.txt", b"caf\xe9");
    scene.drop("empty.md", " \n");
    let first = scene.once().await;
    assert_eq!(first.code, Some(0), "{first:?}");
    let again = scene.once().await;
    assert!(again.stdout.contains("5 unchanged of 5 found"), "{again:?}");
    for ended in [&first, &again] {
        let warnings: Vec<_> = ended
            .stderr
            .lines()
            .filter(|line| line.contains("WARN") && line.contains("skipping files of an unsupported kind"))
            .collect();
        assert_eq!(warnings.len(), 2, "one a kind: {warnings:?}");
        assert!(
            // Which of them comes first is a matter of chance.
            warnings.iter().any(|line| line.contains("application/pdf") && line.contains("example=report")),
            "{warnings:?}"
        );
        assert!(ended.stdout.contains("skipped    3 unsupported (application/pdf)\n"), "{}", ended.stdout);
        assert!(ended.stdout.contains("skipped    1 empty\n"), "{}", ended.stdout);
        assert!(ended.stdout.contains("`riverbed skipped`"), "{}", ended.stdout);
    }

    let status: Value = serde_json::from_str(&told(&scene, &["status", "--json"]).await).unwrap();
    let pdf = &status["skipped"][0];
    assert_eq!((&pdf["media_type"], &pdf["class"], &pdf["files"]), (&json!("application/pdf"), &json!("unsupported"), &json!(3)));
    assert!(pdf["example"].as_str().unwrap().starts_with("report"), "{pdf}");
    let text = told(&scene, &["status"]).await;
    assert!(text.contains("unsupported (application/pdf)") && text.contains("as report"), "{text}");

    let listed = told(&scene, &["skipped"]).await;
    for file in ["report0.pdf", "report1.pdf", "report2.pdf", "old.txt", "empty.md"] {
        assert!(listed.contains(file), "{listed}");
    }
    assert!(listed.contains("5 skipped. What to do:\n") && listed.contains("iconv"), "{listed}");
    let lines: Vec<Value> =
        told(&scene, &["skipped", "--json"]).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    let old = lines.iter().find(|line| line["document"] == "old.txt").unwrap();
    assert_eq!(old["reason"], "unsupported (text/plain, but not UTF-8 at byte 3)");
    assert_eq!((&old["class"], &old["size"]), (&json!("not-utf-8"), &json!(4)));

    let story = told(&scene, &["explain", "report1.pdf"]).await;
    assert!(story.contains("what to do  put its text beside it"), "{story}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_skipped_nothing_is_said_of_it() {
    let scene = Scene::cheap().await;
    scene.drop("words.txt", "words");
    let ended = scene.once().await;
    assert!(!ended.stderr.contains("skipping files of an unsupported kind") && !ended.stdout.contains("skipped  "), "{ended:?}");
    assert_eq!(told(&scene, &["skipped"]).await, "output out\nno file is skipped\n");
    assert_eq!(told(&scene, &["skipped", "--json"]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_texts_first_word_takes_none_of_it_out_of_the_output() {
    let scene = Scene::cheap().await;
    for words in
        ["The otters are back.", "BM: the otters are back.", "GIF or PNG?", "MZ is a name.", "%PDF-1.7 is how one begins."]
    {
        for name in ["a.txt", "b", "c.dot", "d.doc"] {
            scene.drop(name, format!("{words} {name}"));
        }
        let ended = scene.once().await;
        assert!(ended.stdout.contains("4 done, 0 skipped"), "{words}: {ended:?}");
        assert_eq!(standing(&scene), ["a.txt", "b", "c.dot", "d.doc"], "{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_line_holds_a_nul_or_nothing_that_can_be_seen() {
    let scene = Scene::cheap().await.set("chunk.max-tokens", "64").set("chunk.overlap-tokens", "0");
    let mut log = "an event of the day\n".repeat(1_000);
    log.push_str("\0\0\0\n");
    scene.drop("late.log", log);
    scene.drop("invisible.txt", "\u{200b}\u{feff}\n\u{2060}\u{ad}\u{fe0f}\u{3000}");
    scene.drop("gap.md", format!("{}\n\n{}\n\n{}", paragraph(1, 40), "\u{200b}\n\n".repeat(400), paragraph(2, 40)));
    let ended = scene.once().await;
    assert!(ended.stdout.contains("1 done, 2 skipped"), "{ended:?}");
    assert_eq!(standing(&scene), ["gap.md"]);
    for line in scene.vectors() {
        let text = line["text"].as_str().unwrap();
        assert!(text.chars().any(char::is_alphanumeric) && !text.contains('\0'), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_an_older_build_skipped_are_looked_at_once_more_and_what_it_read_stays() {
    let scene = Scene::cheap().await;
    scene.drop("notes.mdx", format!("# A\n\n{}", paragraph(1, 30)));
    scene.drop("a.png", b"\x89PNG\r\n\x1a\n....");
    scene.once().await;
    let lines = scene.vectors().len();
    {
        // As the build before had it: a text, and a kind of file that another rule decided.
        let ledger = rusqlite::Connection::open(scene.path("out/.riverbed/ledger.db")).unwrap();
        ledger.execute("UPDATE documents SET media_type = 'text/plain' WHERE state = 1", []).unwrap();
        assert_eq!(ledger.execute("UPDATE documents SET config = zeroblob(32) WHERE state = 3", []).unwrap(), 1);
    }
    let calls = scene.emulator.counts().calls;
    let ended = scene.once().await;
    assert!(ended.stdout.contains("0 done, 1 skipped, 0 failed, 1 unchanged of 2 found"), "{ended:?}");
    assert_eq!((scene.vectors().len(), scene.emulator.counts().calls), (lines, calls), "an upgrade costs nothing");
    assert!(scene.once().await.stdout.contains("2 unchanged of 2 found"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_leave_beside_a_document_is_never_one() {
    let scene = Scene::cheap().await;
    let names = [
        "#notes.md#",
        ".#notes.md",
        "4913",
        "notes.md~",
        "notes.md.swp",
        "notes.md.kate-swp",
        "desktop.ini",
        "Thumbs.db",
        ".DS_Store",
        "notes.md:Zone.Identifier",
        "~$notes.docx",
        "a.crdownload",
        "a.part",
        "__MACOSX/notes.md",
        ".~lock.notes.odt#",
        ".syncthing.notes.md.tmp",
        "~syncthing~notes.md.tmp",
        ".notes.md.aB3xYz",
        "$RECYCLE.BIN/notes.md",
        "notes.md___jb_tmp___",
    ];
    for name in names {
        scene.drop(name, "half-baked words");
    }
    scene.drop("4912/notes.md", "words");
    scene.drop("folder/4913/notes.md", "words of a folder");
    let ended = scene.once().await;
    assert!(ended.stdout.contains("2 done, 0 skipped, 0 failed of 2 found"), "{ended:?}");
    assert_eq!(standing(&scene), ["4912/notes.md", "folder/4913/notes.md"]);

    // And a daemon that learns of each as it comes.
    let daemon = scene.follow();
    for name in names {
        scene.drop(name, "more half-baked words");
    }
    scene.drop("last.md", "the last words");
    changes_until(&scene.path("out"), || standing(&scene).contains(&"last.md".to_owned())).await;
    signal(&daemon, rustix::process::Signal::TERM);
    assert_eq!(ends(daemon).await, Some(0));
    assert_eq!(standing(&scene), ["4912/notes.md", "folder/4913/notes.md", "last.md"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ignore_file_with_a_sign_too_many_keeps_private_files_from_the_model() {
    let scene = Scene::cheap().await;
    scene.drop(".riverbedignore", "./private/\nold//\n");
    for name in ["private/a.md", "old/a.md", "a.md"] {
        scene.drop(name, format!("words of {name}"));
    }
    let ended = scene.once().await;
    assert_eq!(standing(&scene), ["a.md"]);
    assert!(ended.stderr.contains("WARN") && ended.stderr.contains("would, and it is read so"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_folder_is_written_with_a_tilde_in_the_file_and_in_variables() {
    let scene = Scene::cheap().await.set("source.path", "\"~/texts\"").set("sink.path", "\"~/vectors\"");
    fs::create_dir_all(scene.path("home/texts")).unwrap();
    fs::write(scene.path("home/texts/a.txt"), "words").unwrap();
    let home = |mut command: tokio::process::Command| {
        command.env("HOME", scene.path("home"));
        command
    };
    let ended = finish(home(scene.riverbed(&["run", "--once"]))).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(scene.path("home/vectors/vectors.jsonl").exists() && !scene.path("~").exists());
    let flag = finish(home(scene.riverbed(&["check", "--set", "source.path=~/texts"]))).await;
    assert_eq!(flag.code, Some(0), "{flag:?}");
    // A folder of that name is there, so that nobody knows which is meant.
    fs::create_dir(scene.path("~")).unwrap();
    let ended = finish(home(scene.riverbed(&["run", "--once"]))).await;
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("./~/texts") && ended.stderr.contains("home/texts"), "{ended:?}");
    fs::remove_dir(scene.path("~")).unwrap();
    let mut homeless = scene.riverbed(&["check"]);
    homeless.env_remove("HOME");
    let ended = finish(homeless).await;
    assert!(ended.code == Some(78) && ended.stderr.contains("HOME does not say"), "{ended:?}");
    for path in ["~bob/texts", "$HOME/texts", "/srv/${TENANT}/texts"] {
        let ended = finish(home(scene.riverbed(&["check", "--set", &format!("source.path={path}")]))).await;
        assert!(ended.code == Some(78) && ended.stderr.contains("is not expanded"), "{path}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_could_match_nothing_ends_the_start_before_anything_is_sent() {
    let scene = Scene::cheap().await;
    scene.drop("private/a.md", "secret words");
    let absolute = format!("{}/private/", scene.path("drop").display());
    for glob in
        ["./private/", "private/./", "../drop/private/", "private//", "drop/private/", "!private/", "private/\u{200b}", &absolute]
    {
        for key in ["source.exclude", "source.include"] {
            let ended = finish(scene.riverbed(&["run", "--once", "--set", &format!("{key}=['{glob}']")])).await;
            assert_eq!(ended.code, Some(78), "{key} {glob}: {ended:?}");
            assert!(ended.stderr.contains("private/\""), "the form that would match: {ended:?}");
        }
    }
    assert!(!scene.path("out").exists());
    let prompt = "name = \"sum\"\nmodel = \"amazon.nova-micro-v1:0\"\nprompt = \"{{text}}\"\nexclude = [\"drop/private/\"]";
    let scene = scene.chat(prompt);
    let ended = scene.once().await;
    assert!(ended.code == Some(78) && ended.stderr.contains("`chat.exclude`"), "{ended:?}");
    assert_eq!(scene.emulator.counts().calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_variables_are_reported_and_empty_ones_count_as_unset() {
    let scene = Scene::cheap().await;
    scene.drop("a.md", "words");
    scene.write();
    let mut command = riverbed(&scene.path("."), &["run", "--once"]);
    command.env("RIVERBED_PORT_9464_TCP", "tcp://10.0.0.7:9464").env("RIVERBED_SERVICE_HOST", "10.0.0.7");
    for name in
        ["BEDROCK_PROFILE", "BEDROCK_ENDPOINT", "SOURCE_PATH", "SINK_PATH", "LEDGER_PATH", "LOG_LEVEL", "BUDGET_MAX_USD_PER_DAY"]
    {
        command.env(format!("RIVERBED_{name}"), "");
    }
    let ended = finish(command).await;
    assert_eq!((ended.code, standing(&scene).len()), (Some(0), 1), "{ended:?}");
    assert!(ended.stderr.contains("RIVERBED_PORT_9464_TCP, RIVERBED_SERVICE_HOST"), "{ended:?}");
    let mut check = riverbed(&scene.path("."), &["check"]);
    check.env("RIVERBED_SERVICE_HOST", "10.0.0.7");
    assert!(finish(check).await.stdout.contains("RIVERBED_SERVICE_HOST match no section"));
    let mut misspelled = riverbed(&scene.path("."), &["check"]);
    misspelled.env("RIVERBED_BEDROCK_MAX_IN_FLGHT", "8");
    assert_eq!(finish(misspelled).await.code, Some(78));
}
