#!/usr/bin/env python3
"""Drives `riverbed emulate` through boto3, which knows Bedrock and nothing of riverbed.

    tests/boto3/boto3_cases.py [BINARY] [WORD...]    only the cases whose names hold one of the words

Installs boto3 from its registry into a virtual environment below target/, starts the emulator on a free port, runs every case
of every `cases_*.py` beside this file, and ends with 1 if one failed. A new operation is a new file of cases.
"""

import hashlib
import importlib
import os
import pathlib
import subprocess
import sys
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REQUIREMENTS = HERE / "requirements.txt"
INSIDE = "RIVERBED_OUTSIDER"


def environment():
    """Returns the interpreter of a virtual environment that has exactly what the requirements name."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    folder = ROOT / "target" / "outsider" / wanted
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", REQUIREMENTS], check=True)
        done.touch()
    return python


def main():
    if INSIDE not in os.environ:
        try:
            python = environment()
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"outsider: boto3 cannot be installed: {error}", file=sys.stderr)
            print("outsider: this needs python3 with venv, and the Python package registry in reach", file=sys.stderr)
            return 1
        os.execve(python, [str(python), __file__, *sys.argv[1:]], {**clean(), INSIDE: "1"})

    import bed

    binary, *words = sys.argv[1:] or [ROOT / "target" / "debug" / "riverbed"]
    passed, failed = 0, []
    with bed.Emulator(binary) as emulator:
        for file in sorted(HERE.glob("cases_*.py")):
            importlib.import_module(file.stem)
        for name, case in bed.CASES:
            if words and not any(word in name for word in words):
                continue
            emulator.reset()
            try:
                case(emulator)
            except Exception:  # whatever goes wrong is the case's failure, and the next one is run
                failed.append(name)
                print(f"FAILED  {name}\n{traceback.format_exc()}")
            else:
                passed += 1
                print(f"ok      {name}")
    print(f"\n{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0


def clean():
    """Returns the environment without anything of this machine's AWS set-up."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RIVERBED_"))}
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    return {**kept, **nothing, "PYTHONDONTWRITEBYTECODE": "1"}


if __name__ == "__main__":
    sys.exit(main())
