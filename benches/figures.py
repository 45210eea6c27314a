#!/usr/bin/env python3
"""Measures ark on a real API server: figures.py [--objects 20000] [--memory-at 50000 | --live]

Starts quiet control planes (etcd and kube-apiserver, nothing else writes), fills one with the test kit's data set, and runs
ark's release binary beside the floors: plain paged LISTs, plain concurrent POSTs, `tar | zstd -3` of the same JSON. Prints one
JSON line a step, and at the end the ratios. Needs `cargo build --release -p ark -p ark-testkit` first.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time
from statistics import median

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/ark-target"))
ARK, KIT = f"{TARGET}/release/ark", f"{TARGET}/release/ark-testkit"


def run(*argv, env=None, check=True):
    """Runs a command; returns its stdout, wall and CPU seconds, and its peak anonymous memory in MiB."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(argv, stdout=out, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        peak = 0
        while child.poll() is None:
            try:
                with open(f"/proc/{child.pid}/status") as f:
                    peak = max([peak] + [int(l.split()[1]) for l in f if l.startswith("RssAnon")])
            except (FileNotFoundError, ProcessLookupError):
                pass
            time.sleep(0.01)
        wall = time.monotonic() - began
        err = child.stderr.read().decode()
        if check and child.returncode != 0:
            sys.exit(f"{' '.join(argv)} ended with {child.returncode}:\n{err}")
        out.seek(0)
        return out.read().decode(), wall, peak / 1024


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def say(step, **figures):
    print(json.dumps({"step": step, **figures}), flush=True)
    return figures


def tar_zstd(dump, folder):
    """Bytes of `tar | zstd -3` of the dumped objects, one file each, in the order of the dump."""
    os.makedirs(folder)
    names = []
    with open(dump) as lines:
        for number, line in enumerate(lines):
            names.append(f"{number:06}.json")
            item = json.loads(line)
            with open(f"{folder}/{names[-1]}", "w") as f:
                f.write(json.dumps(item.get("object", item), separators=(",", ":"), ensure_ascii=False))
    with open(f"{folder}.list", "w") as f:
        f.write("\n".join(names))
    out = subprocess.run(f"tar -C {folder} -cf - -T {folder}.list | zstd -3 -q | wc -c", shell=True, check=True, capture_output=True)
    shutil.rmtree(folder)
    return int(out.stdout)


class Cluster:
    def __init__(self, work, name, *flags):
        self.folder = f"{work}/{name}"
        run(KIT, "up", self.folder, "--background", *flags)
        self.kubeconfig = f"{self.folder}/kubeconfig"

    def stop(self):
        run(KIT, "down", self.folder)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--objects", type=int, default=20000)
    args.add_argument("--memory-at", type=int, default=50000)
    args.add_argument("--live", action="store_true", help="instead of the step at --memory-at: a control plane that moves by itself")
    args.add_argument("--skip-restore", action="store_true")
    args = args.parse_args()
    work = tempfile.mkdtemp(prefix="ark-figures-")
    clusters = []
    try:
        measure(args, work, clusters)
    finally:
        for cluster in clusters:
            cluster.stop()
        shutil.rmtree(work, ignore_errors=True)


def measure(args, work, clusters):
    env = {"ARK_REPOSITORY": f"file://{work}/repo", "ARK_KEY_FILE": f"{work}/key", "ARK_CACHE_DIR": f"{work}/cache",
           "ARK_STATE_DIR": f"{work}/state"}
    run(ARK, "repo", "init", env=env)
    source = Cluster(work, "source", "--quiet")
    clusters.append(source)
    env["KUBECONFIG"] = source.kubeconfig
    say("load", **last_json(run(KIT, "load", "--kubeconfig", source.kubeconfig, "--objects", str(args.objects))[0]))

    names = {}

    def backup(step, using=env):
        name = "".join(c if c.isalnum() else "-" for c in step) + f"-{time.monotonic_ns()}"
        out, wall, anon = run(ARK, "backup", "create", name, "-o", "json", env=using)
        result = json.loads(out)
        names[step] = name
        repository, stats = result["repository"], result["repository"]["stats"]
        return say(step, seconds=round(wall, 2), objects_per_s=round(repository["items"] / wall), items=repository["items"],
                   logical_bytes=repository["logicalBytes"], added_bytes=repository["addedBytes"],
                   **{k: v for k, v in stats.items() if k.endswith("bytes")}, manifest_bytes=repository["manifestBytes"],
                   api_requests=sum(result["run"]["apiRequests"].values()), store=result["run"]["storeRequests"],
                   peak_anon_mib=round(anon, 1))

    def floor():
        out, wall, _ = run(KIT, "floor", "--kubeconfig", source.kubeconfig)
        return say("floor: plain LISTs", seconds_process=round(wall, 2), **last_json(out))

    floor()
    dump = f"{work}/dump.jsonl"
    run(KIT, "dump", "--kubeconfig", source.kubeconfig, "--out", dump)
    whole = say("floor: tar | zstd -3", bytes=tar_zstd(dump, f"{work}/files"))["bytes"]
    first_floor = floor()
    first = backup("first")
    floors, seconds, peaks = [first_floor["seconds"]], [first["seconds"]], [first["peak_anon_mib"]]
    unchanged = backup("unchanged")
    # Two shared cores: single times say little, so both are taken in turns.
    for n in range(6):
        floors.append(floor()["seconds"])
        env_fresh = {**env, "ARK_REPOSITORY": f"file://{work}/repo-{n}"}
        run(ARK, "repo", "init", env=env_fresh)
        _, wall, anon = run(ARK, "backup", "create", "again", env=env_fresh)
        seconds.append(say("first, another repository", seconds=round(wall, 2), peak_anon_mib=round(anon, 1))["seconds"])
        peaks.append(round(anon, 1))
        shutil.rmtree(f"{work}/repo-{n}")
    changed_dump = f"{work}/changed.jsonl"
    run(KIT, "churn", "--kubeconfig", source.kubeconfig, "--percent", "1", "--change", "--out", changed_dump)
    alone = say("floor: zstd -3 of the changed objects", bytes=tar_zstd(changed_dump, f"{work}/changed"))["bytes"]
    changed = backup("changed")
    run(KIT, "churn", "--kubeconfig", source.kubeconfig, "--percent", "1", "--delete", "--seed", "2")
    backup("deleted")
    out, wall, anon = run(ARK, "verify", "--read-data", "-o", "json", env=env)
    say("verify --read-data", seconds=round(wall, 2), peak_anon_mib=round(anon, 1), sound=json.loads(out).get("damage") == [])

    ratios = {
        "first: stored / tar|zstd": round(first["added_bytes"] / whole, 2),
        "unchanged: bytes": unchanged["added_bytes"], "unchanged: PUTs": unchanged["store"]["put"],
        "changed: stored / zstd": round(changed["added_bytes"] / alone, 2),
        "backup / LIST, medians": round(median(seconds) / median(floors), 2),
        "backup, seconds": sorted(seconds), "LIST, seconds": [round(floor, 2) for floor in sorted(floors)],
    }
    if not args.skip_restore:
        target = Cluster(work, "target", "--quiet")
        clusters.append(target)
        out, wall, anon = run(ARK, "restore", "create", "--from-backup", names["first"], "-o", "json", "--kubeconfig", target.kubeconfig,
                              env=env, check=False)
        created = json.loads(out)["report"]["counts"]["created"]
        restored = say("restore into an empty cluster", seconds=round(wall, 2), created=created, objects_per_s=round(created / wall),
                       peak_anon_mib=round(anon, 1))
        plain = Cluster(work, "plain", "--quiet")
        clusters.append(plain)
        posted = say("floor: plain POSTs", **last_json(run(KIT, "post-floor", "--kubeconfig", plain.kubeconfig, "--from", dump)[0]))
        rate = posted.get("objects_per_second") or posted["created"] / posted["seconds"]
        ratios["restore / POST, objects/s"] = round(restored["objects_per_s"] / rate, 2)
    if args.live:
        for cluster in clusters:
            cluster.stop()
        clusters.clear()
        live = Cluster(work, "live")
        clusters.append(live)
        run(KIT, "load", "--kubeconfig", live.kubeconfig, "--objects", str(args.objects))
        env_live = {**env, "KUBECONFIG": live.kubeconfig, "ARK_REPOSITORY": f"file://{work}/repo-live"}
        run(ARK, "repo", "init", env=env_live)
        backup("first, live control plane", using=env_live)
        # Controllers work off what was loaded; Leases and Events go on for ever.
        for _ in range(20):
            time.sleep(30)
            before = backup("settling", using=env_live)["items"]
            moving = backup("unchanged, live control plane", using=env_live)
            if moving["items"] == before:
                break
        ratios["unchanged, live: bytes"], ratios["unchanged, live: PUTs"] = moving["added_bytes"], moving["store"]["put"]
        say("ratios", **ratios)
        return
    if args.memory_at:
        say("load more", **last_json(run(KIT, "load", "--kubeconfig", source.kubeconfig, "--objects", str(args.memory_at - args.objects),
                                          "--seed", "9", "--prefix", "ark-more")[0]))
        larger = []
        for n in range(5):
            env["ARK_REPOSITORY"] = f"file://{work}/repo-large-{n}"
            run(ARK, "repo", "init", env=env)
            larger.append(backup("first, more objects")["peak_anon_mib"])
            shutil.rmtree(f"{work}/repo-large-{n}")
        ratios["memory, MiB"] = [sorted(peaks), sorted(larger)]
        ratios["memory, medians: more objects / first"] = round(median(larger) / median(peaks), 2)
    say("ratios", **ratios)


if __name__ == "__main__":
    main()
