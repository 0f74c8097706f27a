#!/usr/bin/env python3
"""Installs the Debian package into a copy of this machine that is thrown away, starts the daemon as its unit says, removes it again.

    tests/package/package.py target/package/riverbed_0.1.0-1_amd64.deb

Needs root, for a mount namespace with an overlay over `/`. Nothing of the machine is changed, and nothing leaves it: the daemon asks the
built-in emulator.
"""

import os
import pathlib
import pwd
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 60
STATE = pathlib.Path("/var/lib/riverbed")
DROP = pathlib.Path("/var/spool/riverbed/drop")
UNIT = "/usr/lib/systemd/system/riverbed.service"


def hold(what, holds):
    print(f"{'ok' if holds else 'FAILED'}  {what}", flush=True)
    if not holds:
        sys.exit(1)


def run(*command, **options):
    return subprocess.run(command, check=False, text=True, capture_output=True, **options)


def outside(package):
    """Makes the copy, and has itself run in there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        steps = f"""
            set -e
            mount -t tmpfs none {folder}
            mkdir {folder}/upper {folder}/work {folder}/root
            mount -t overlay none -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
            mount --rbind /proc {folder}/root/proc
            mount --rbind /dev {folder}/root/dev
            mount -t tmpfs none {folder}/root/tmp
            cp {package} {folder}/root/tmp/riverbed.deb
            cp {__file__} {folder}/root/tmp/package.py
            exec chroot {folder}/root /usr/bin/python3 /tmp/package.py inside
        """
        return subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", steps], check=False).returncode


def mode(path):
    return f"{path.stat().st_mode & 0o7777:o}"


def inside():
    said = run("dpkg", "--install", "/tmp/riverbed.deb")
    hold(f"it is installed {said.stderr.strip()}", said.returncode == 0)
    user = pwd.getpwnam("riverbed")
    hold("its user cannot log in", user.pw_shell.endswith("nologin") and user.pw_dir == str(STATE))
    run("systemd-tmpfiles", "--create", "riverbed.conf")
    hold("who is in its group may put documents into the drop folder", (mode(DROP), DROP.stat().st_gid) == ("2770", user.pw_gid))
    hold("the folder above is root's", (mode(DROP.parent), DROP.parent.stat().st_uid) == ("755", 0))
    verified = run("systemd-analyze", "verify", UNIT)
    hold(f"systemd has nothing to say about its unit {verified.stderr.strip()}", (verified.returncode, verified.stderr) == (0, ""))
    hold("it is a configuration that dpkg keeps", "/etc/riverbed/pipeline.toml" in run("dpkg", "-s", "riverbed").stdout)

    unit = pathlib.Path(UNIT).read_text(encoding="utf-8").splitlines()
    start = next(line for line in unit if line.startswith("ExecStart=")).removeprefix("ExecStart=").split()
    # What `StateDirectory=` and `StateDirectoryMode=` do.
    STATE.mkdir(mode=0o700)
    os.chown(STATE, user.pw_uid, user.pw_gid)
    asked = run("setpriv", "--reuid=riverbed", "--regid=riverbed", "--init-groups", *start[:1], "check", *start[2:], env={"PATH": "/usr/bin:/bin"})
    hold("without a region it says where to set one", asked.returncode == 78 and "bedrock.region" in asked.stderr)
    follow(start, user)

    removed = run("dpkg", "--remove", "riverbed")
    hold(f"it is removed {removed.stderr.strip()}", removed.returncode == 0 and not pathlib.Path("/usr/bin/riverbed").exists())
    hold("its configuration stays", pathlib.Path("/etc/riverbed/pipeline.toml").exists())
    purged = run("dpkg", "--purge", "riverbed")
    hold(f"it is purged {purged.stderr.strip()}", purged.returncode == 0 and not pathlib.Path("/etc/riverbed").exists())
    hold("what was paid for stays, and it says so", STATE.joinpath("out/vectors.jsonl").exists() and str(STATE) in purged.stdout)


def follow(start, user):
    """Starts the daemon as the unit does, gives it a document, and stops it."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind("/tmp/notify")
    os.chmod("/tmp/notify", 0o777)
    environment = {"PATH": "/usr/bin:/bin", "NOTIFY_SOCKET": "/tmp/notify", "AWS_EC2_METADATA_DISABLED": "true"}
    environment |= {"RIVERBED_BEDROCK_ENDPOINT": "emulator", "RIVERBED_STATUS_LISTEN": "off"}
    become = ["setpriv", "--reuid=riverbed", "--regid=riverbed", "--init-groups", "--no-new-privs"]
    daemon = subprocess.Popen([*become, *start], env=environment, umask=0o027)
    try:
        follows(daemon, manager, user)
    finally:
        daemon.kill()


def follows(daemon, manager, user):
    manager.settimeout(PATIENCE)
    while not manager.recv(4096).startswith(b"READY=1"):
        pass
    hold("started as its unit says, it is ready", True)
    document = DROP / "hello.txt"
    document.write_text("The package carries all that it needs.\n", encoding="utf-8")
    vectors = STATE / "out/vectors.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not (vectors.exists() and vectors.stat().st_size) and time.monotonic() < deadline:
        select.select([manager], [], [], 0.2)
    hold("a document becomes a line", b'"document":"hello.txt"' in vectors.read_bytes())
    hold("its output is its own", (mode(vectors), mode(vectors.parent), vectors.stat().st_uid) == ("640", "700", user.pw_uid))
    daemon.send_signal(signal.SIGTERM)
    hold("it stops with 0", daemon.wait(PATIENCE) == 0)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        inside()
    elif len(sys.argv) == 2:
        sys.exit(outside(pathlib.Path(sys.argv[1]).resolve()))
    else:
        sys.exit(__doc__)
