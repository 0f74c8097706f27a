#!/usr/bin/env python3
"""Installs the Debian package into a copy of this machine that is thrown away, under a systemd of its own, lives with it, removes it.

    tests/package/package.py target/package/riverbed_0.1.0-1_amd64.deb

Needs root, for namespaces with an overlay over `/`, and strace. Nothing of the machine is changed, and nothing leaves it: the copy has no
network but its own loopback, and the daemon asks the built-in emulator.
"""

import json
import os
import pathlib
import pwd
import subprocess
import sys
import tempfile
import time

PATIENCE = 30
CONFIG = pathlib.Path("/etc/riverbed/pipeline.toml")
STATE = pathlib.Path("/var/lib/riverbed")
DROP = pathlib.Path("/var/spool/riverbed/drop")
UNIT = "/usr/lib/systemd/system/riverbed.service"

# What the daemon is started with beside what its unit says, so that it needs no account, and a stage that is stuck is not waited for long.
WATCHDOG = 3
DROP_IN = f"""[Service]
Environment=AWS_EC2_METADATA_DISABLED=true RIVERBED_BEDROCK_ENDPOINT=emulator RIVERBED_LOG_LEVEL=debug
WatchdogSec={WATCHDOG}s
RestartSec=100ms
[Unit]
StartLimitBurst=100
"""

# What is done under systemd is a unit of it, and its end is the copy's.
TRIAL = """[Unit]
SuccessAction=exit-force
FailureAction=exit-force
[Service]
Type=oneshot
TimeoutStartSec=4min
ExecStart=/usr/bin/python3 /trial/package.py inside
StandardOutput=file:/trial/said
StandardError=inherit
"""

# A mount namespace sees the machine's `/` through an overlay, and has that for its root (in a mere chroot nobody may make the namespace
# of users that the unit asks for). `/sys` cannot be written, so that no udev touches its devices; a group of
# processes is made for all of it, of which the copy's systemd makes its own. An overlay gives no word of changes to rely on: documents
# are dropped into a folder of memory.
COPY = """
set -e
mount -t tmpfs none {folder}
mkdir {folder}/upper {folder}/work {folder}/root {folder}/groups
mount -t cgroup2 none {folder}/groups
group={folder}/groups/riverbed-trial-$$
mkdir $group
echo $$ > $group/cgroup.procs
mount -t overlay none -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
cd {folder}/root
mkdir -p trial
# In a container this forbids packages to start and stop what they bring.
rm -f usr/sbin/policy-rc.d
mount -t tmpfs none trial
cp {package} trial/riverbed.deb
cp {script} trial/package.py
printf %s "$TRIAL" > etc/systemd/system/trial.service
mount -t tmpfs none dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 none dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs none dev/shm
mount -t tmpfs none run
mount -t tmpfs none tmp
mount -t tmpfs none var/spool
status=0
unshare --mount --pid --fork --kill-child --cgroup --net --uts --ipc sh -c '
  set -e
  mount -t proc none proc
  mount -t sysfs -o ro none sys
  mount -t cgroup2 none sys/fs/cgroup
  mkdir old
  pivot_root . old
  umount --lazy old
  exec env -i container=riverbed-trial PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=trial.service --show-status=no
' || status=$?
cat trial/said
echo $$ > {folder}/groups/cgroup.procs
find $group -depth -type d -exec rmdir {{}} +
exit $status
"""


def hold(what, holds, otherwise=""):
    print(f"{'ok' if holds else 'FAILED'}  {what}", flush=True)
    if not holds:
        print(otherwise)
        print(run("journalctl", "--no-pager", "--lines=60", "--unit=riverbed").stdout, flush=True)
        sys.exit(1)


def run(*command, **options):
    return subprocess.run(command, check=False, text=True, capture_output=True, **options)


def outside(package):
    """Makes the copy, and has itself run in there."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        steps = COPY.format(folder=folder, package=package, script=pathlib.Path(__file__).resolve())
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", steps]
        return subprocess.run(command, check=False, env={**os.environ, "TRIAL": TRIAL}).returncode


def mode(path):
    return f"{path.stat().st_mode & 0o7777:o}"


def until(what, holds):
    """Waits until something holds, looking often."""
    deadline = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    hold(what, holds())


def shown(name):
    """Returns what systemd knows of the daemon."""
    return run("systemctl", "show", "--value", "--property", name, "riverbed").stdout.strip()


def lines():
    path = STATE / "out/vectors.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def has_line_of(name):
    return any(line["document"] == name for line in lines())


def drop(name, text):
    (DROP / name).write_text(text, encoding="utf-8")


def journal(**fields):
    """Returns the daemon's entries in the journal that have these fields."""
    run("journalctl", "--sync")
    wanted = [f"{name}={value}" for name, value in fields.items()]
    said = run("journalctl", "--output=json", "--all", "_SYSTEMD_UNIT=riverbed.service", *wanted).stdout
    return [json.loads(line) for line in said.splitlines()]


def inside():
    user = install()
    refused()
    starts(user)
    writes_to_the_journal()
    reloads()
    lies_idle()
    for stage, call, of in [("sink", "fdatasync", None), ("source", "getdents64", None), ("prepare", "read", "prepare.txt")]:
        freezes(stage, call, of)
    is_killed()
    stops()
    breaks()
    remove()


def install():
    said = run("dpkg", "--install", "/trial/riverbed.deb")
    hold("it is installed", said.returncode == 0, said.stderr)
    user = pwd.getpwnam("riverbed")
    hold("its user cannot log in", user.pw_shell.endswith("nologin") and user.pw_dir == str(STATE))
    hold("who is in its group may put documents into the drop folder", (mode(DROP), DROP.stat().st_gid) == ("2770", user.pw_gid))
    hold("the folder above is root's", (mode(DROP.parent), DROP.parent.stat().st_uid) == ("755", 0))
    verified = run("systemd-analyze", "verify", UNIT)
    hold("systemd has nothing to say about its unit", (verified.returncode, verified.stderr) == (0, ""), verified.stderr)
    hold("it is a configuration that dpkg keeps", str(CONFIG) in run("dpkg", "-s", "riverbed").stdout)
    hold("it is not started before it is configured", (shown("ActiveState"), shown("UnitFileState")) == ("inactive", "disabled"))
    return user


def refused():
    said = run("systemctl", "start", "riverbed")
    states = (said.returncode != 0, shown("ActiveState"), shown("Result"), shown("ExecMainStatus"), shown("NRestarts"))
    hold("without a region it ends with 78 and is not started again", states == (True, "failed", "exit-code", "78", "0"), states)
    said = "".join(entry["MESSAGE"] for entry in journal())
    hold("and says where to set one", "bedrock.region" in said, said)


def starts(user):
    drops = pathlib.Path("/etc/systemd/system/riverbed.service.d")
    drops.mkdir()
    (drops / "trial.conf").write_text(DROP_IN, encoding="utf-8")
    run("systemctl", "daemon-reload")
    said = run("systemctl", "start", "riverbed")
    hold("started by systemd, it says that it is ready", (said.returncode, shown("SubState")) == (0, "running"), said.stderr)
    hold("and what it does", shown("StatusText").startswith("following"), shown("StatusText"))
    drop("hello.txt", "The package carries all that it needs.\n")
    until("a document becomes a line", lambda: has_line_of("hello.txt"))
    vectors = STATE / "out/vectors.jsonl"
    owned = (mode(vectors), mode(vectors.parent), mode(STATE), vectors.stat().st_uid)
    hold("its output is its own", owned == ("640", "700", "700", user.pw_uid), owned)


def writes_to_the_journal():
    drop("brief.txt", "Here for a moment.\n")
    until("another one too", lambda: has_line_of("brief.txt"))
    (DROP / "brief.txt").unlink()
    until("and is deleted", lambda: lines()[-1]["op"] == "delete")
    found = journal(DOCUMENT="brief.txt", PRIORITY="6")
    hold("the journal finds what it said by the document's name", len(found) > 0)
    entry = found[-1]
    print(f"    {({name: entry[name] for name in sorted(entry) if not name.startswith('_') and 'CODE' not in name})}")
    fields = (entry["SYSLOG_IDENTIFIER"], entry["LINES"], entry["_SYSTEMD_UNIT"], entry["PRIORITY"])
    hold("with its fields", fields == ("riverbed", "1", "riverbed.service", "6"), entry)


def reloads():
    before = shown("MainPID")
    text = CONFIG.read_text(encoding="utf-8")
    for what, changed, says in [
        ("a sound", text.replace("[retry]", '[retry]\ninitial = "123ms"'), "configuration reloaded"),
        ("an unsound", f"{text}\n[nothing]\n", "the configuration is invalid; nothing was changed"),
        ("the old", text, "configuration reloaded"),
    ]:
        heard = len(journal(MESSAGE=says))
        CONFIG.write_text(changed, encoding="utf-8")
        said = run("systemctl", "reload", "riverbed")
        until(f"{what} configuration is read while it runs: {says}", lambda: len(journal(MESSAGE=says)) > heard)
        states = (said.returncode, shown("SubState"), shown("MainPID"), shown("NRestarts"))
        hold("and it runs on", states == (0, "running", before, "0"), states)


def lies_idle():
    time.sleep(4 * WATCHDOG)
    hold("while nothing happens the watchdog leaves it alone", (shown("NRestarts"), shown("SubState")) == ("0", "running"))


def freezes(stage, call, of):
    """Keeps one system call of the daemon from beginning, as a disk that hangs does, when the next document comes."""
    before = int(shown("NRestarts"))
    name = f"{stage}.txt"
    if of:
        drop(name, "")
    path = ["-P", str(DROP / of)] if of else []
    command = ["strace", "--follow-forks", "--quiet=all", "--output=/dev/null", f"--attach={shown('MainPID')}", *path, f"--inject={call}:delay_enter=100s"]
    tracer = subprocess.Popen(command)
    try:
        status = pathlib.Path(f"/proc/{shown('MainPID')}/status")
        until(f"strace is there to freeze {stage}", lambda: "TracerPid:\t0" not in status.read_text(encoding="utf-8"))
        begun = time.monotonic()
        drop(name, f"The {stage} stage does not come back.\n")
        # For a whole scan, which no event is the reason for.
        run("systemctl", "reload", "riverbed")
        until(f"the watchdog rings when {stage} is frozen", lambda: shown("SubState") == "stop-watchdog" or int(shown("NRestarts")) > before)
        took = time.monotonic() - begun
    finally:
        # While it holds a call back it lets no signal through either.
        tracer.kill()
        tracer.wait()
    hold(f"in time: {took:.1f} s of at most {3 * WATCHDOG}", took <= 3 * WATCHDOG)
    until("and ends it", lambda: int(shown("NRestarts")) == before + 1)
    said = journal(MESSAGE="a stage is stalled; no more watchdog notifications")
    hold("which it said, and which stage it was", said and said[-1]["STAGE"] == stage, said)
    until(f"it is back, and {name} becomes a line", lambda: shown("SubState") == "running" and has_line_of(name))
    numbers = [line["seq"] for line in lines()]
    hold("nothing is written twice", numbers == sorted(set(numbers)), numbers)


def is_killed():
    before = int(shown("NRestarts"))
    run("systemctl", "kill", "--signal=KILL", "riverbed")
    until("killed, it is started again", lambda: int(shown("NRestarts")) == before + 1 and shown("SubState") == "running")
    drop("later.txt", "After the kill.\n")
    until("and goes on", lambda: has_line_of("later.txt"))


def stops():
    begun = time.monotonic()
    run("systemctl", "stop", "riverbed")
    states = (shown("ActiveState"), shown("Result"), shown("ExecMainStatus"))
    hold(f"stopped, it ends with 0, after {time.monotonic() - begun:.1f} s", states == ("inactive", "success", "0"), states)
    hold("at once", time.monotonic() - begun < 2)


def breaks():
    """Starts it where it may have no thread beside its first."""
    drop_in = pathlib.Path("/etc/systemd/system/riverbed.service.d/zz-threads.conf")
    drop_in.write_text("[Service]\nLimitNPROC=1\nRestart=no\n", encoding="utf-8")
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "riverbed")
    hold("too few threads end it with 71", (shown("Result"), shown("ExecMainStatus")) == ("exit-code", "71"), shown("ExecMainStatus"))
    drop_in.unlink()
    run("systemctl", "daemon-reload")


def remove():
    run("systemctl", "start", "riverbed")
    removed = run("dpkg", "--remove", "riverbed")
    hold("it is removed while it runs", removed.returncode == 0 and not pathlib.Path("/usr/bin/riverbed").exists(), removed.stderr)
    hold("and has stopped", run("pgrep", "--exact", "riverbed").stdout == "")
    hold("its configuration stays", CONFIG.exists())
    purged = run("dpkg", "--purge", "riverbed")
    hold("it is purged", purged.returncode == 0 and not CONFIG.parent.exists(), purged.stderr)
    hold("what was paid for stays, and it says so", has_line_of("hello.txt") and str(STATE) in purged.stdout, purged.stdout)


if __name__ == "__main__":
    if sys.argv[1:] == ["inside"]:
        inside()
    elif len(sys.argv) == 2:
        sys.exit(outside(pathlib.Path(sys.argv[1]).resolve()))
    else:
        sys.exit(__doc__)
