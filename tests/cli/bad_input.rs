//! Bad input: each gives its exit code, says what is wrong, and what to do next.

use crate::run::Sandbox;

struct Case {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
    code: i32,
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "no repository and no cluster",
        arguments: &["backup", "get"],
        variables: &[],
        code: 6,
        says: &[
            "no repository is named, and the cluster cannot be asked for ark's server: cannot use the kubeconfig",
            "hint: name one with --kubeconfig",
            "hint: or give --repo URL (ARK_REPOSITORY)",
        ],
    },
    Case {
        name: "no repository and a cluster that is not there",
        arguments: &["--kubeconfig", "kubeconfig", "backup", "get"],
        variables: &[],
        code: 6,
        says: &[
            "through the server, namespace heptio-ark at https://127.0.0.1:1",
            "no repository is named, and the cluster cannot be asked",
            "hint: or give --repo URL",
        ],
    },
    Case {
        name: "no repository for a verb that a server does not do",
        arguments: &["verify"],
        variables: &[],
        code: 2,
        says: &[
            "no repository is named",
            "give --repo URL or set ARK_REPOSITORY",
        ],
    },
    Case {
        name: "a key without a repository",
        arguments: &[
            "--kubeconfig",
            "kubeconfig",
            "--key-file",
            "key",
            "backup",
            "get",
        ],
        variables: &[],
        code: 2,
        says: &[
            "--key-file needs the repository itself",
            "hint: give --repo",
        ],
    },
    Case {
        name: "deleted backups through a server",
        arguments: &["--kubeconfig", "kubeconfig", "backup", "get", "--deleted"],
        variables: &[],
        code: 2,
        says: &["--deleted needs the repository itself", "hint: give --repo"],
    },
    Case {
        name: "a location in a repository",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "backup",
            "create",
            "x",
            "--storage-location",
            "l",
        ],
        variables: &[],
        code: 2,
        says: &[
            "--storage-location needs ark's server",
            "hint: leave out --repo and ARK_REPOSITORY",
        ],
    },
    Case {
        name: "a backup of this process is not canceled by another",
        arguments: &["--repo", "repo", "backup", "cancel", "x"],
        variables: &[],
        code: 2,
        says: &["cancel needs ark's server", "hint: leave out --repo"],
    },
    Case {
        name: "no such folder",
        arguments: &["--repo", "nowhere", "--key-file", "key", "backup", "get"],
        variables: &[],
        code: 1,
        says: &["cannot open the repository nowhere", "hint: "],
    },
    Case {
        name: "not a repository",
        arguments: &["--repo", "empty", "--key-file", "key", "backup", "get"],
        variables: &[],
        code: 5,
        says: &["is not an ark repository", "hint: check the URL"],
    },
    Case {
        name: "a scheme that nobody knows",
        arguments: &["--repo", "ftp://x/y", "--key-file", "key", "backup", "get"],
        variables: &[],
        code: 1,
        says: &["ftp://x/y", "hint: addresses look like"],
    },
    Case {
        name: "no key and no terminal",
        arguments: &["--repo", "repo", "backup", "get"],
        variables: &[],
        code: 5,
        says: &[
            "nothing says which key opens the repository",
            "hint: give --key-file",
        ],
    },
    Case {
        name: "wrong key",
        arguments: &["--repo", "repo", "--key-file", "other", "backup", "get"],
        variables: &[],
        code: 5,
        says: &[
            "the key does not open the repository",
            "hint: check --key-file",
        ],
    },
    Case {
        name: "no passphrase slot",
        arguments: &["--repo", "repo", "backup", "get"],
        variables: &[("ARK_PASSPHRASE", "x")],
        code: 5,
        says: &["has no key slot for a passphrase", "hint: "],
    },
    Case {
        name: "not a key",
        arguments: &["--repo", "repo", "--key-file", "text", "backup", "get"],
        variables: &[],
        code: 5,
        says: &[
            "cannot use the key file text",
            "this is not a key",
            "hint: a key file holds",
        ],
    },
    Case {
        name: "missing key file",
        arguments: &["--repo", "repo", "--key-file", "missing", "backup", "get"],
        variables: &[],
        code: 5,
        says: &["cannot read the key file missing: No such file"],
    },
    Case {
        name: "a passphrase command that fails",
        arguments: &[
            "--repo",
            "repo",
            "--passphrase-command",
            "exit 7",
            "backup",
            "get",
        ],
        variables: &[],
        code: 5,
        says: &["the passphrase command \"exit 7\" ended with exit status: 7"],
    },
    Case {
        name: "an empty passphrase",
        arguments: &[
            "--repo",
            "repo",
            "--passphrase-command",
            "echo",
            "backup",
            "get",
        ],
        variables: &[],
        code: 5,
        says: &["the passphrase from the command \"echo\" is empty"],
    },
    Case {
        name: "two ways to unlock",
        arguments: &["--key-file", "a", "--passphrase-file", "b", "backup", "get"],
        variables: &[],
        code: 2,
        says: &[
            "--key-file and --passphrase-file exclude each other",
            "hint: give only one",
        ],
    },
    Case {
        name: "init on a repository",
        arguments: &["--repo", "repo", "--key-file", "key", "repo", "init"],
        variables: &[],
        code: 1,
        says: &["is an ark repository already", "hint: nothing was changed"],
    },
    Case {
        name: "init on a Velero location",
        arguments: &["--repo", "velero", "--key-file", "key", "repo", "init"],
        variables: &[],
        code: 1,
        says: &[
            "is not empty",
            "hint: this looks like a Velero location",
            "velero/ark",
        ],
    },
    Case {
        name: "init among other files",
        arguments: &["--repo", "foreign", "--key-file", "key", "repo", "init"],
        variables: &[],
        code: 1,
        says: &[
            "is not empty: it holds photo.jpg",
            "hint: use an empty prefix",
        ],
    },
    Case {
        name: "an unreachable apiserver",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "--kubeconfig",
            "kubeconfig",
            "backup",
            "create",
            "x",
        ],
        variables: &[],
        code: 6,
        says: &[
            "cannot connect to the cluster: no answer from the apiserver https://127.0.0.1:1",
            "hint: ",
        ],
    },
    Case {
        name: "no kubeconfig",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "backup",
            "create",
            "x",
        ],
        variables: &[],
        code: 6,
        says: &[
            "cannot use the kubeconfig",
            "hint: name one with --kubeconfig",
        ],
    },
    Case {
        name: "an unknown context",
        arguments: &[
            "--kubeconfig",
            "kubeconfig",
            "--kubecontext",
            "d",
            "backup",
            "create",
            "x",
            "--dry-run",
        ],
        variables: &[],
        code: 6,
        says: &[
            "the kubeconfig has no context \"d\"",
            "hint: its contexts are: c",
        ],
    },
    Case {
        name: "a name that Kubernetes would refuse",
        arguments: &["backup", "create", "Nightly"],
        variables: &[],
        code: 2,
        says: &[
            "\"Nightly\" is not a name for a backup",
            "hint: use lower-case letters",
        ],
    },
    Case {
        name: "a name with a terminal escape",
        arguments: &["backup", "create", "a\u{1b}[2J"],
        variables: &[],
        code: 2,
        says: &["is not a name for a backup"],
    },
    Case {
        name: "a selector that does not parse",
        arguments: &["backup", "create", "x", "--selector", "a in b"],
        variables: &[],
        code: 2,
        says: &[
            "the selector \"a in b\" does not parse",
            "hint: write it as",
        ],
    },
    Case {
        name: "a namespace that cannot be",
        arguments: &["restore", "create", "x", "--namespace-mappings", "a:B"],
        variables: &[("ARK_REPOSITORY", "repo")],
        code: 2,
        says: &["\"B\" is not a name for a namespace"],
    },
    Case {
        name: "no such backup",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "backup",
            "describe",
            "x",
        ],
        variables: &[],
        code: 1,
        says: &["there is no backup \"x\"", "hint: `ark backup get` lists"],
    },
    Case {
        name: "no such restore",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "restore",
            "logs",
            "x",
        ],
        variables: &[],
        code: 1,
        says: &["there is no restore \"x\"", "hint: `ark restore get` lists"],
    },
    Case {
        name: "no such cluster",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "backup",
            "delete",
            "--all",
            "--cluster",
            "x",
        ],
        variables: &[],
        code: 1,
        says: &["the repository holds no backups of a cluster \"x\""],
    },
    Case {
        name: "an empty selector to delete by",
        arguments: &[
            "--repo",
            "repo",
            "--key-file",
            "key",
            "backup",
            "delete",
            "-l",
            "",
        ],
        variables: &[],
        code: 2,
        says: &["would delete every backup", "hint: give --all"],
    },
    Case {
        name: "rules that keep nothing",
        arguments: &["forget"],
        variables: &[],
        code: 2,
        says: &["--keep-last"],
    },
    Case {
        name: "a rule that keeps zero",
        arguments: &["forget", "--keep-last", "0"],
        variables: &[],
        code: 2,
        says: &["0 is not in 1.."],
    },
    Case {
        name: "a duration without a unit",
        arguments: &["backup", "create", "x", "--ttl", "30"],
        variables: &[],
        code: 2,
        says: &["\"30\" is not a duration; write it like 30m"],
    },
    Case {
        name: "a size that is none",
        arguments: &["--limit-upload", "fast", "backup", "get"],
        variables: &[],
        code: 2,
        says: &["\"fast\" is not a size"],
    },
    Case {
        name: "a variable that does not parse",
        arguments: &["backup", "get"],
        variables: &[("ARK_LIMIT_UPLOAD", "fast")],
        code: 2,
        says: &["ARK_LIMIT_UPLOAD", "\"fast\" is not a size"],
    },
    Case {
        name: "little memory",
        arguments: &["--memory", "1Mi", "backup", "get"],
        variables: &[],
        code: 2,
        says: &["too small", "hint: give at least"],
    },
    Case {
        name: "a log level that is none",
        arguments: &["--log-level", "ark=loud", "version"],
        variables: &[],
        code: 2,
        says: &[
            "the log level \"ark=loud\" does not parse",
            "hint: give error, warn",
        ],
    },
    Case {
        name: "a verb that is none",
        arguments: &["backup", "frobnicate"],
        variables: &[],
        code: 2,
        says: &["unrecognized subcommand 'frobnicate'"],
    },
];

#[test]
fn bad_input_is_told_apart_and_told_what_to_do() {
    let sandbox = Sandbox::with_repository();
    sandbox.dead_kubeconfig();
    let path = |name: &str| sandbox.path().join(name);
    std::fs::write(path("other"), "ab".repeat(32)).unwrap();
    std::fs::write(path("text"), "not a key\n").unwrap();
    std::fs::create_dir(path("empty")).unwrap();
    std::fs::create_dir_all(path("velero/backups/b")).unwrap();
    std::fs::write(path("velero/backups/b/velero-backup.json"), "{}").unwrap();
    std::fs::create_dir(path("foreign")).unwrap();
    std::fs::write(path("foreign/photo.jpg"), "x").unwrap();
    let mut failures = Vec::new();
    for case in CASES {
        let ran = sandbox.ark_with(case.arguments, case.variables);
        let missing: Vec<_> = case
            .says
            .iter()
            .filter(|text| !ran.stderr.contains(**text))
            .collect();
        if ran.code != case.code
            || !missing.is_empty()
            || !ran.stdout.is_empty()
            || ran.stderr.contains('\u{1b}')
        {
            failures.push(format!(
                "{}: code {} (expected {}), missing {missing:?}\nstdout: {}\nstderr: {}",
                case.name, ran.code, case.code, ran.stdout, ran.stderr
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // Nothing of it harmed the repository.
    let ran = sandbox.ark(&[
        "--repo",
        "repo",
        "--key-file",
        "key",
        "verify",
        "--read-data",
    ]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
}
