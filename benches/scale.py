#!/usr/bin/env python3
"""Measures index and prune at scale: scale.py [--chunks 1000000] [--garbage 1,10,50] [--limit]

Each chunk is 128 bytes of noise, so that a million of them is a matter of seconds: what is measured is what grows with
their number. Backup "all" has every chunk, "kept" a random share of them; "all" is forgotten and pruned. Prints a JSON line
a step: seconds, store requests, peak anonymous memory. --limit prunes under a cgroup limit of twice 64 MiB + 2 bytes a chunk
(needs a writable memory controller, version 1). Needs `cargo build --release -p ark-engine --example scale` first.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/ark-target"))
SCALE = f"{TARGET}/release/examples/scale"


def run(*argv, limit=None):
    group = None
    if limit:
        group = f"/sys/fs/cgroup/memory/ark-scale-{os.getpid()}"
        os.makedirs(group)
        with open(f"{group}/memory.limit_in_bytes", "w") as f:
            f.write(str(limit))

    def join():
        if group:
            with open(f"{group}/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))

    began = time.monotonic()
    child = subprocess.Popen([SCALE, *argv], stdout=subprocess.PIPE, preexec_fn=join)
    peak = 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as f:
                peak = max([peak] + [int(l.split()[1]) for l in f if l.startswith("RssAnon")])
        except (FileNotFoundError, ProcessLookupError):
            pass
        time.sleep(0.01)
    out = child.stdout.read()
    if group:
        os.rmdir(group)
    if child.returncode != 0:
        sys.exit(f"{' '.join(argv)} ended with {child.returncode}")
    return {"wall": round(time.monotonic() - began, 2), "peak_anon_mib": round(peak / 1024, 1), **json.loads(out)}


def say(step, figures):
    print(json.dumps({"step": step, **figures}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--garbage", default="1,10,50")
    parser.add_argument("--limit", action="store_true")
    args = parser.parse_args()
    limit = 2 * ((64 << 20) + 2 * args.chunks) if args.limit else None
    for garbage in args.garbage.split(","):
        work = tempfile.mkdtemp(prefix="ark-scale-")
        try:
            say(f"fill, {args.chunks} chunks, {garbage} % garbage", run(work, "fill", str(args.chunks), garbage))
            shutil.rmtree(f"{work}/cache")
            say("open cold", run(work, "open"))
            say("open warm", run(work, "open"))
            say("lookup", run(work, "lookup", "200000"))
            say("prune", run(work, "prune", limit=limit))
            say("prune again", run(work, "prune"))
            say("verify", run(work, "verify"))
        finally:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
