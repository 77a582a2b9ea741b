"""What a machine costs besides the work of its guest: memory, an idle CPU, the time to start."""

import pathlib
import re
import threading
import time

from machines import Running, start_rows

IDLE_SECONDS = 10
SETTLE_SECONDS = 3


def memory_kib(pid, ram):
    """Resident KiB of a process without guest RAM, which is what is mapped in a piece of `ram` bytes or more: (Rss, Pss)."""
    rss = pss = 0
    counts = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            counts = int(match[2], 16) - int(match[1], 16) < ram
        elif counts and line.startswith("Rss:"):
            rss += int(line.split()[1])
        elif counts and line.startswith("Pss:"):
            pss += int(line.split()[1])
    return rss, pss


class MemoryWatch(threading.Thread):
    """The largest values of memory_kib() while a machine runs."""

    def __init__(self, process, ram):
        super().__init__(daemon=True)
        self.process, self.ram = process, ram
        self.rss = self.pss = 0
        self.ended = threading.Event()

    def look(self):
        rss, pss = memory_kib(self.process.pid, self.ram)
        self.rss, self.pss = max(self.rss, rss), max(self.pss, pss)

    def run(self):
        while not self.ended.wait(0.1):
            self.look()

    def end(self):
        self.ended.set()
        self.join()
        self.look()


def cpu_seconds(pid):
    """CPU time of all threads so far."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total * 1e-9


def memory_and_idle(vmm, kernel, initrd, rows):
    """Boots, runs rows, then lets the guest sleep: memory beyond guest RAM at its peak, and the idle guest's CPU use."""
    with start_rows(vmm, kernel, initrd, rows) as machine:
        watch = MemoryWatch(machine.process, vmm.ram)
        watch.start()
        machine.wait_for("bench: init")
        machine.rows()
        watch.end()
        time.sleep(SETTLE_SECONDS)
        before, began = cpu_seconds(machine.process.pid), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used, passed = cpu_seconds(machine.process.pid) - before, time.monotonic() - began
    return {"beyond_rss_mib": watch.rss / 1024, "beyond_pss_mib": watch.pss / 1024, "idle_percent": 100 * used / passed}


def first_instruction_seconds(vmm, kernel, repeat):
    """From the start of the process to a byte that the first instructions of programs/first.S wrote; the best of several."""
    times = []
    for _ in range(repeat):
        with Running(vmm, kernel, limit=30) as machine:
            times.append(machine.wait_for("!"))
    return min(times)
