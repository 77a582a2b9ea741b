"""A command on a terminal of its own."""

import os
import pty
import re
import select
import subprocess
import termios
import time

import harness
from harness import Failure


class Terminal:
    """A command on a terminal of its own: what it says is waited for, and answered."""

    def __init__(self, log, prompt, command, env=None):
        log.parent.mkdir(parents=True, exist_ok=True)
        self.text = ""
        self._prompt = prompt
        self._log = open(log, "wb")
        self.ours, self.theirs = pty.openpty()
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            command, env=env, cwd=harness.ROOT, stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self._log.close()
        os.close(self.ours)
        os.close(self.theirs)

    def wait_for(self, pattern, seconds):
        """The match; what came before it is forgotten."""
        deadline = time.monotonic() + seconds * harness.SLOWNESS
        while not (match := re.search(pattern, self.text)):
            if time.monotonic() > deadline:
                raise Failure(f"not within {seconds} s: {pattern}; the end is: {self.text[-200:]!r}")
            if select.select([self.ours], [], [], 1)[0]:
                chunk = os.read(self.ours, 65536)
                self._log.write(chunk)
                self._log.flush()
                # Without the escape sequences of the shell.
                self.text += re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", chunk.decode(errors="replace")).replace("\r", "")
            elif self.process.poll() is not None:
                raise Failure(f"it ended (status {self.process.returncode}) without: {pattern}; the end is: {self.text[-200:]!r}")
        self.text = self.text[match.end() :]
        return match

    def run(self, command, seconds):
        """What a command of the guest's shell prints. It must succeed."""
        # Two pairs of quotes tell the echo of what we type from what is printed.
        os.write(self.ours, f'{command}; echo "test ""status $?"\n'.encode())
        self.wait_for(r'test ""status \$\?"\n', 60)
        start = time.monotonic()
        match = self.wait_for(r"(?s)(.*?)test status (\d+)\n", seconds)
        text, status = match[1], int(match[2])
        self.wait_for(self._prompt, 60)
        print(f"  {command}: {time.monotonic() - start:.1f} s", flush=True)
        if status != 0:
            raise Failure(f"'{command}' ended with status {status}: {text[-300:]!r}")
        return text
