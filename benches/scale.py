#!/usr/bin/env python3
"""Measures index and prune at scale: scale.py [--chunks 1000000] [--garbage 1,10,50] [--frame 16] [--limit]

Each chunk is 128 bytes of noise, so that a million of them is a matter of seconds: what is measured is what grows with
their number. Backup "all" has every chunk, "kept" a random share of them; "all" is forgotten and pruned. Prints a JSON line
a step: seconds, store requests, peak anonymous memory. Prune and verify are those of `ark` itself; the other steps have the
same settings of the allocator. --limit prunes under a cgroup limit of twice 64 MiB + 2 bytes a chunk (needs a writable memory
controller, version 1). --index ends before the prune, and tells what the copy of the index takes on disk; --frame says
how many chunks share a frame, otherwise as many as fit (a frame of files has 16 chunks of 64 KiB). --full prunes on a
file system that is full (mounts one of its own, as root). Needs `cargo build --release -p ark --bins` and
`cargo build --release -p ark-engine --example scale` first.
"""
import argparse, json, os, shutil, subprocess, sys, tempfile, time

TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.expanduser("~/.cache/ark-target"))
SCALE = os.environ.get("ARK_SCALE", f"{TARGET}/release/examples/scale")
ARK = os.environ.get("ARK", f"{TARGET}/release/ark")
# src/heap.rs
os.environ.update(MALLOC_ARENA_MAX="1", MALLOC_MMAP_THRESHOLD_=str(1 << 20))


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
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=join)
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


def scale(work, *argv):
    return run(SCALE, work, *argv)


def ark(work, *argv, limit=None):
    where = ["--repo", f"file://{work}/repository", "--key-file", f"{work}/key", "--cache-dir", f"{work}/cache"]
    return run(ARK, *argv, *where, "-o", "json", limit=limit)


def fill_up(folder):
    """Takes all the room that the file system of the folder has left."""
    block = 1 << 20
    with open(f"{folder}/ballast", "wb", buffering=0) as ballast:
        while block:
            try:
                ballast.write(b"\1" * block)
            except OSError:
                block //= 2


def disk_use(folder):
    found = (os.lstat(os.path.join(top, file)) for top, _, files in os.walk(folder) for file in files)
    return sum(stat.st_blocks * 512 for stat in found)


def say(step, figures):
    print(json.dumps({"step": step, **figures}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--garbage", default="1,10,50")
    parser.add_argument("--frame", type=int)
    parser.add_argument("--limit", action="store_true")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--index", action="store_true")
    args = parser.parse_args()
    limit = 2 * ((64 << 20) + 2 * args.chunks) if args.limit else None
    frame = [str(args.frame)] if args.frame else []
    for garbage in args.garbage.split(","):
        top = tempfile.mkdtemp(prefix="ark-scale-")
        work = f"{top}/work"
        os.mkdir(work)
        try:
            if args.full:
                # The repository alone: the copy of the index is on a disk with room.
                mount(top, f"{work}/disk", args.chunks)
                os.mkdir(f"{work}/disk/repository")
                os.symlink("disk/repository", f"{work}/repository")
            with open(f"{work}/key", "wb") as key:
                key.write(bytes([7]) * 32)
            say(f"fill, {args.chunks} chunks, {garbage} % garbage", scale(work, "fill", str(args.chunks), garbage, *frame))
            shutil.rmtree(f"{work}/cache")
            say("open cold", scale(work, "open"))
            say("open warm", scale(work, "open"))
            say("lookup", scale(work, "lookup", "200000"))
            if args.index:
                say("copy", {"bytes": disk_use(f"{work}/cache")})
                continue
            if args.full:
                fill_up(f"{work}/disk")
            say("prune", ark(work, "prune", "--now", limit=limit))
            say("prune again", ark(work, "prune", "--now"))
            if args.full:
                os.remove(f"{work}/disk/ballast")
            say("verify", ark(work, "verify"))
        finally:
            if os.path.ismount(f"{work}/disk"):
                subprocess.run(["umount", f"{work}/disk"], check=True)
            shutil.rmtree(top)


def mount(top, place, chunks):
    """A file system with room for the repository, and not for much more."""
    os.mkdir(place)
    with open(f"{top}/disk", "wb") as disk:
        disk.truncate((256 << 20) + 400 * chunks)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", f"{top}/disk"], check=True)
    subprocess.run(["mount", "-o", "loop", f"{top}/disk", place], check=True)


if __name__ == "__main__":
    main()
