"""What boot tests share: guests from tools/, a machine whose console is read, and what a console must not say."""

import hashlib
import lzma
import os
import pathlib
import re
import select
import shutil
import struct
import subprocess
import sys
import time
import zlib

# What executes the guests of the tests: the engine that people get, unless told otherwise.
ENGINE = os.environ.get("DOPPEL_TEST_ENGINE", "auto")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DOPPEL = os.environ.get("DOPPEL", str(ROOT / "build/doppel"))
SLOWNESS = float(os.environ.get("DOPPEL_TEST_SLOWNESS", "1"))
LOGS = ROOT / "build/test-logs/boot"
WORK = ROOT / "build/tests/boot"

# A console with one of these is not clean, whatever else it says.
FORBIDDEN = re.compile(
    r"WARNING:|BUG:|Oops|Call Trace|[Uu]nstable|Kernel panic|rcu: INFO|rcu_sched|soft lockup|hard LOCKUP|blocked for more than"
    r"|segfault|general protection|traps:|ACPI Error|ACPI BIOS|ACPI Warning|Firmware Bug|MP-BIOS bug|nobody cared"
    r"|I/O error|EXT4-fs error|Unknown NMI|Spurious|lost interrupt|timed out"
)


class Failure(Exception):
    """What a test found wrong, in one line."""


def assets(*names):
    """Paths from tools/guest-assets."""
    result = subprocess.run([ROOT / "tools/guest-assets", *names], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        raise Failure(f"tools/guest-assets {' '.join(names)} failed")
    return result.stdout.split("\n")[:-1]


def initramfs(base, scripts, *options):
    """An initramfs with scripts of tests/boot/guest, made again when something that makes it changes."""
    paths = [ROOT / "tests/boot/guest" / script for script in scripts]
    digest = hashlib.sha256(repr((base, scripts, options)).encode())
    for path in [*paths, ROOT / "tools/make-initramfs", *sorted((ROOT / "tools/guest").iterdir())]:
        digest.update(path.read_bytes())
    WORK.mkdir(parents=True, exist_ok=True)
    image = WORK / f"{base}-{digest.hexdigest()[:16]}.cpio.gz"
    if not image.exists():
        command = [ROOT / "tools/make-initramfs", "--base", base, "--output", image, *options]
        for path in paths:
            command += ["--script", path]
        if subprocess.run(command).returncode != 0:
            raise Failure(f"tools/make-initramfs --base {base} failed")
    return str(image)


def extract_elf(bzimage):
    """The ELF kernel inside a bzImage (Linux, Documentation/arch/x86/boot.rst: payload_offset, payload_length)."""
    image = pathlib.Path(bzimage).read_bytes()
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (image[0x1F1] + 1) * 512 + offset
    payload = image[start : start + length]
    target = WORK / f"vmlinux-{hashlib.sha256(payload).hexdigest()[:16]}"
    if not target.exists():
        if payload.startswith(b"\xfd7zXZ"):
            elf = lzma.LZMADecompressor().decompress(payload)
        elif payload.startswith(b"\x1f\x8b"):
            elf = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(payload)
        else:
            raise Failure(f"{bzimage} is compressed in a way that this test does not know")
        WORK.mkdir(parents=True, exist_ok=True)
        target.with_suffix(".new").write_bytes(elf)
        target.with_suffix(".new").rename(target)
    return str(target)


class Machine:
    """A running `doppel run`, whose console is read line by line and kept in build/test-logs/boot/NAME.log."""

    def __init__(self, name, arguments, limit):
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log = LOGS / f"{name.replace('/', '-')}.log"
        self.lines = []
        self.started = time.monotonic()
        self.deadline = self.started + limit * SLOWNESS
        self.limit = limit * SLOWNESS
        self._rest = b""
        self._file = open(self.log, "wb")
        self.command = [DOPPEL, "run", *map(str, arguments)]
        self._file.write((" ".join(self.command) + "\n").encode())
        self._errors = open(self.log.with_suffix(".err"), "wb+")
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        self._file.close()
        self._errors.close()

    def read_line(self):
        """The next line of the console; None at its end. Failure when the time is over."""
        while b"\n" not in self._rest:
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                last = self.lines[-1] if self.lines else "nothing"
                raise Failure(f"no end after {self.limit:.0f} s; the last line is: {last}")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                if not self._rest:
                    return None
                chunk = b"\n"
            self._file.write(chunk)
            self._file.flush()
            self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        self.lines.append(line.decode(errors="replace").rstrip("\r"))
        return self.lines[-1]

    def wait_for(self, pattern):
        """The match of the first line from here on that contains the pattern."""
        while (line := self.read_line()) is not None:
            if match := re.search(pattern, line):
                return match
        raise Failure(f"the machine ended (status {self.process.wait()}) without the line: {pattern}{self.said()}")

    def finish(self):
        """Reads to the end; the exit status."""
        while self.read_line() is not None:
            pass
        try:
            return self.process.wait(max(1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure("the console ended, the machine did not") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.stdout.close()
        return self.process.wait()

    def errors(self):
        """What the machine wrote to standard error."""
        self._errors.flush()
        return self.log.with_suffix(".err").read_text(errors="replace")

    def said(self):
        text = self.errors().strip()
        return f"; it said: {text.splitlines()[-1]}" if text else ""

    def seconds(self):
        return time.monotonic() - self.started


def check_console(lines, expected=(), allowed=()):
    """Failure for a line that is not clean, or for an expected one that is missing. `allowed`: patterns with reasons."""
    for line in lines:
        if FORBIDDEN.search(line) and not any(re.search(pattern, line) for pattern in allowed):
            raise Failure(f"the console is not clean: {line}")
    for pattern in expected:
        if not any(re.search(pattern, line) for line in lines):
            raise Failure(f"missing on the console: {pattern}")


def run_tests(tests):
    """Runs (name, function) pairs; prints PASS or FAIL for each. The exit status."""
    if not pathlib.Path(DOPPEL).exists() and not shutil.which(DOPPEL):
        sys.exit(f"{DOPPEL} does not exist: build it first")
    failed = 0
    for name, function in tests:
        started = time.monotonic()
        try:
            function()
            print(f"PASS {name}", flush=True)
        except (Failure, OSError, subprocess.SubprocessError) as failure:
            failed += 1
            print(f"{name}: {failure}")
            print(f"FAIL {name}", flush=True)
        print(f"  {name}: {time.monotonic() - started:.1f} s", flush=True)
    if not tests:
        print("no case has that name")
    return 1 if failed or not tests else 0
