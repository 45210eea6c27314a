//! Help texts are part of the interface: each is a snapshot. `cargo insta review` accepts a change.

use ark::cli::args::Cli;
use clap::{Command, CommandFactory};

const WIDTH: usize = 100;

/// Every visible command with its short help, the root with its long one.
#[test]
fn help_texts() {
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    insta::assert_snapshot!("ark", root.render_long_help().to_string());
    let mut leaves = Vec::new();
    collect(&root, "ark", &mut leaves);
    assert!(leaves.len() >= 25, "{}", leaves.len());
    for (name, mut command) in leaves {
        insta::assert_snapshot!(name, command.render_help().to_string());
    }
}

fn collect(command: &Command, path: &str, leaves: &mut Vec<(String, Command)>) {
    for sub in command.get_subcommands() {
        let path = format!("{path}-{}", sub.get_name());
        // VERB NOUN shows the same arguments as NOUN VERB: one of them is enough.
        let mirrored = [
            "create", "get", "describe", "logs", "ls", "cat", "diff", "download", "cancel",
            "pause", "unpause", "set", "delete", "undelete", "init", "info",
        ];
        if mirrored.contains(&sub.get_name()) && command.get_name() == "ark" {
            continue;
        }
        match sub.has_subcommands() {
            true => {
                if !sub.is_subcommand_required_set() {
                    leaves.push((path.clone(), sub.clone()));
                }
                collect(sub, &path, leaves);
            }
            false => leaves.push((path, sub.clone())),
        }
    }
}

/// Who reads `ark backup create -h` learns about exit codes and the environment at `ark --help`.
#[test]
fn exit_codes_and_environment_are_documented() {
    let help = Cli::command().render_long_help().to_string();
    for exit in ark::cli::exit::Exit::ALL {
        assert!(help.contains(exit.help()), "{exit:?}");
    }
    for variable in ark::cli::env::ALL {
        assert!(help.contains(variable.name), "{}", variable.name);
    }
}
