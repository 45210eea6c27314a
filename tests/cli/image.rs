//! `deploy/Dockerfile` says what the installed Deployment counts on. Docker itself is not needed for that.

use ark::install::{Options, objects};

#[test]
fn the_image_is_one_that_the_deployment_can_run() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read_to_string(root.join("deploy/Dockerfile")).unwrap();
    let objects = objects(&Options::new("n", "i"));
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    // The pod gives arguments and no command.
    assert!(pod["containers"][0]["command"].is_null());
    let context = &pod["securityContext"];
    let user = format!("USER {}:{}", context["runAsUser"], context["runAsGroup"]);
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    let last = file.split("\nFROM ").last().unwrap();
    let stage: Vec<&str> = last.lines().collect();
    for line in [
        "scratch",
        &format!("COPY --from=build {authorities} {authorities}"),
        "COPY --from=build /ark /bin/ark",
        &user,
        "ENTRYPOINT [\"/bin/ark\"]",
    ] {
        assert!(stage.contains(&line), "{line} is not in\n{last}");
    }
    let rust = format!("FROM rust:{}-", env!("CARGO_PKG_RUST_VERSION"));
    assert!(file.contains(&rust), "{rust} is not in\n{file}");
}
