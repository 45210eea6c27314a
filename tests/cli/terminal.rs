//! Questions on a real terminal: passphrases without echo, and "really?".

use ark_testkit::Terminal;

use crate::run::Sandbox;

const SECRET: &str = "open sesame";

fn start(sandbox: &Sandbox, arguments: &[&str]) -> Terminal {
    let command = sandbox.command(&[&["--repo", "repo"], arguments].concat());
    Terminal::run(&command).unwrap()
}

/// Waits for the question, in the silence that it asks for, and answers it.
fn answer(terminal: &mut Terminal, question: &str, line: &str) {
    terminal.shows(question).unwrap();
    assert!(!terminal.echoes().unwrap(), "{question} is asked aloud");
    terminal.types(line).unwrap();
}

/// How it ended, and what it has shown, in which no passphrase is.
fn end(terminal: Terminal, code: i32) -> String {
    let (status, echoes, shown) = terminal.ends().unwrap();
    assert_eq!(status.code(), Some(code), "{shown}");
    assert!(echoes, "the terminal is left silent: {shown}");
    assert!(!shown.contains("sesame"), "{shown}");
    shown
}

fn with_passphrase() -> Sandbox {
    let sandbox = Sandbox::new();
    let mut terminal = start(&sandbox, &["repo", "init"]);
    answer(&mut terminal, "New passphrase: ", "open sesame\n");
    answer(&mut terminal, "The same again: ", "open sesame\n");
    let shown = end(terminal, 0);
    assert!(shown.contains("ARK0-"), "{shown}");
    sandbox
}

#[test]
fn a_passphrase_is_asked_for_without_echo() {
    let sandbox = with_passphrase();
    // What was typed is what a variable says too.
    let variables = [("ARK_REPOSITORY", "repo"), ("ARK_PASSPHRASE", SECRET)];
    let ran = sandbox.ark_with(&["repo", "info"], &variables);
    assert_eq!(ran.code, 0, "{}", ran.stderr);

    let mut terminal = start(&sandbox, &["repo", "info"]);
    answer(&mut terminal, "Passphrase of file://", "open sesame\n");
    let shown = end(terminal, 0);
    assert!(shown.contains("Role of the key"), "{shown}");
    let mut terminal = start(&sandbox, &["repo", "info"]);
    answer(&mut terminal, "Passphrase of file://", "close sesame\n");
    let shown = end(terminal, 5);
    assert!(shown.contains("does not open the repository"), "{shown}");
}

#[test]
fn what_is_no_answer_ends_with_the_terminal_as_it_was() {
    let sandbox = with_passphrase();
    for (line, code, says) in [
        ("\n", 5, "the passphrase is empty"),
        // Ctrl-D and Ctrl-C.
        ("\u{4}", 5, "no answer was given"),
        ("\u{3}", 130, ""),
    ] {
        let mut terminal = start(&sandbox, &["repo", "info"]);
        answer(&mut terminal, "Passphrase of file://", line);
        let shown = end(terminal, code);
        assert!(shown.contains(says), "{line:?}: {shown}");
    }
}

#[test]
fn a_new_passphrase_is_typed_the_same_twice() {
    let sandbox = Sandbox::new();
    let mut terminal = start(&sandbox, &["repo", "init"]);
    answer(&mut terminal, "New passphrase: ", "open sesame\n");
    answer(&mut terminal, "The same again: ", "open sesam\n");
    let (status, echoes, shown) = terminal.ends().unwrap();
    assert_eq!(status.code(), Some(5), "{shown}");
    assert!(echoes);
    assert!(shown.contains("are not the same"), "{shown}");
    assert!(!sandbox.path().join("repo").exists(), "{shown}");
}

#[test]
fn what_deletes_asks_first() {
    let sandbox = Sandbox::with_repository();
    let add = [
        "repo",
        "keys",
        "add",
        "--new-key-file",
        "second",
        "-o",
        "name",
    ];
    let add = sandbox.ark(&[&["--repo", "repo", "--key-file", "key"], &add[..]].concat());
    let id = add.stdout.trim();
    let remove = ["--key-file", "key", "repo", "keys", "remove", id];
    let second = ["--repo", "repo", "--key-file", "second", "repo", "info"];
    for (line, code, opens) in [("n\n", 1, 0), ("\n", 1, 0), ("yes\n", 0, 5)] {
        let mut terminal = start(&sandbox, &remove);
        terminal
            .shows(&format!("Remove the key slot {id}? [y/N] "))
            .unwrap();
        assert!(terminal.echoes().unwrap());
        terminal.types(line).unwrap();
        let (status, _, shown) = terminal.ends().unwrap();
        assert_eq!(status.code(), Some(code), "{line:?}: {shown}");
        assert_eq!(sandbox.ark(&second).code, opens, "{line:?}");
    }
}
