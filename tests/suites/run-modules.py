"""run-modules.py FILE: runs the test modules that FILE names with CPython's own regrtest, each in a process of its own,
and prints a line for each test and each module. Modules whose number modulo the second argument is the third run.

A line for a test is "TEST module test outcome"; for a module "MODULE module result seconds", with result "ok", "failed",
"skipped", or "timeout". The seconds are for reading; everything else is the same on any right processor.
"""

import os
import re
import signal
import subprocess
import sys
import time

LIMIT_SECONDS = int(os.environ.get("LIMIT", "900"))


def outcomes(text):
    """The outcome of each test by its name, where it stands alone on its line."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"^(\w+) \(([\w.]+)\)", line)
        if match:
            current = f"{match[2]}" if match[2].endswith("." + match[1]) else f"{match[2]}.{match[1]}"
            result = re.search(r" \.\.\. (ok|FAIL|ERROR|skipped|expected failure)", line)
            found[current] = result[1] if result else found.get(current, "run")
    return found


def main():
    with open(sys.argv[1]) as file:
        names = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    parts, part = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (1, 0)
    for number, name in enumerate(names):
        if number % parts != part:
            continue
        started = time.monotonic()
        command = [sys.executable, "-u", "-m", "test", "-v", "-u", "none", name]
        environment = dict(os.environ, PYTHONHASHSEED="1")
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                env=environment, timeout=LIMIT_SECONDS, cwd="/tmp",
                # A shell in the background has its children ignore it, and some tests raise it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
            text = done.stdout.decode("utf-8", "replace")
            if re.search(r"^.*skipped.*\n.*(?:no tests|0 tests)|^1 test skipped", text, re.M) and "OK" not in text:
                result = "skipped"
            else:
                result = "ok" if done.returncode == 0 else "failed"
        except subprocess.TimeoutExpired as expired:
            text, result = (expired.stdout or b"").decode("utf-8", "replace"), "timeout"
        for test, outcome in sorted(outcomes(text).items()):
            print("TEST", name, test, outcome)
        ran = sum(int(count) for count in re.findall(r"^Ran (\d+) tests?", text, re.M))
        print("MODULE", name, result, ran, f"{time.monotonic() - started:.1f}", flush=True)
        if result in ("failed", "timeout"):
            for line in text.splitlines()[-60:]:
                print("LOG", name, line, flush=True)


main()
