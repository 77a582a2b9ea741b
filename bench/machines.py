"""Machines whose guests are measured: how to start each, and a console whose lines come with the time of their arrival."""

import dataclasses
import datetime
import os
import pathlib
import platform
import re
import select
import subprocess
import sys
import time

ROW = re.compile(r"^(\w+) (\d+) (\d+\.\d+) ([0-9a-f]{16})$")
MEMORY = "512M"


class Failure(Exception):
    """What went wrong, in one line."""


@dataclasses.dataclass
class Result:
    iterations: int
    seconds: float
    checksum: str


@dataclasses.dataclass
class Vmm:
    """A way to run a guest with `ram` bytes of memory."""

    name: str
    command: list
    ram: int
    virtual_time: bool = False  # the guest's seconds are then not the host's


def bytes_of(memory):
    return int(memory[:-1]) << {"M": 20, "G": 30}[memory[-1]]


def doppel(binary, engine, *options, memory=MEMORY):
    command = [binary, "run", "--engine", engine, "--memory", memory, "--cpus", "1", *options]
    return Vmm(engine, command, bytes_of(memory), virtual_time="instructions" in options)


def qemu(machine="microvm", memory=MEMORY):
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-m", memory, "-smp", "1"]
    # -no-reboot: a guest that fails ends.
    command += ["-M", machine, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    return Vmm("tcg", command, bytes_of(memory))


def option(vmm, name):
    return f"-{name}" if vmm.name == "tcg" else f"--{name}"


class Running:
    """A started machine, ended by leaving the `with` block."""

    def __init__(self, vmm, kernel, initrd=None, append="", limit=900):
        command = [*vmm.command, option(vmm, "kernel"), kernel]
        if initrd:
            command += [option(vmm, "initrd"), initrd, option(vmm, "append"), append]
        self.vmm = vmm
        self.limit = limit
        self.rest = b""
        self.last = "nothing"
        self.started = time.monotonic()
        # No input ever comes, and no end of input either.
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        """The next line and the seconds from the start to its arrival."""
        while b"\n" not in self.rest:
            left = self.started + self.limit - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failure(f"{self.vmm.name}: nothing new for long; the last line was: {self.last}")
            chunk = os.read(self.process.stdout.fileno(), 65536)
            if not chunk:
                said = self.process.stderr.read().decode(errors="replace").strip()
                raise Failure(f"{self.vmm.name}: the machine ended; the last line was: {self.last}; it said: {said}")
            self.rest += chunk
        arrived = time.monotonic() - self.started
        line, self.rest = self.rest.split(b"\n", 1)
        self.last = line.decode(errors="replace").strip("\r ")
        return self.last, arrived

    def wait_for(self, text):
        """The seconds from the start to the line that is `text`."""
        while True:
            line, arrived = self.line()
            if line == text:
                return arrived

    def rows(self):
        """The rows that the guest prints from here to its end, by name."""
        results = {}
        began = time.monotonic() - self.started
        while True:
            line, arrived = self.line()
            if line == "bench: done":
                return results
            if line.startswith("bench: start"):
                began = arrived
            elif match := ROW.match(line):
                result = Result(int(match[2]), float(match[3]), match[4])
                results[match[1]] = result
                self.check_clock(match[1], result, arrived - began)
            elif line.startswith("bench:"):
                raise Failure(f"{self.vmm.name}: {line}")

    def check_clock(self, name, result, elapsed):
        """A row's time by the guest's clock fits into what passed here, and preparation takes little of that."""
        if self.vmm.virtual_time:
            return
        if not elapsed / 1.5 - 1 < result.seconds < elapsed * 1.02 + 0.02:
            raise Failure(f"{self.vmm.name}: {name} says {result.seconds:.2f} s, but {elapsed:.2f} s passed on the host")


def working_qemu(kernel, initrd):
    """The leanest machine of QEMU that boots here. A microvm's only timer is an 8254, with which Linux fails to find the
    frequency of the TSC when the host is busy, and then stops; a PC has more of them."""
    for machine in ("microvm", "pc"):
        try:
            with Running(qemu(machine), kernel, initrd, boot_words([]), limit=20) as running:
                running.wait_for("bench: done")
            return machine
        except Failure:
            pass
    raise Failure("no machine of QEMU boots to init within 20 s")


def boot_rows(vmm, kernel, initrd, rows):
    """Boots the guest of programs/guest.c and runs rows, (name, iterations) pairs: seconds to init, results by name."""
    with start_rows(vmm, kernel, initrd, rows) as machine:
        init = machine.wait_for("bench: init")
        results = machine.rows()
    if missing := [name for name, _ in rows if name not in results]:
        raise Failure(f"{vmm.name}: no result for {', '.join(missing)}")
    return init, results


def boot_words(rows):
    """The kernel command line; what follows "--" are the arguments of init."""
    words = " ".join(f"{name} {iterations}" for name, iterations in rows)
    return f"console=ttyS0 quiet panic=-1 rdinit=/bench/guest -- {words}"


def start_rows(vmm, kernel, initrd, rows):
    return Running(vmm, kernel, initrd, boot_words(rows))


def merge_best(best, results):
    for name, result in results.items():
        if name in best and best[name].checksum != result.checksum:
            raise Failure(f"{name}: the checksum changed from {best[name].checksum} to {result.checksum}")
        if name not in best or result.seconds < best[name].seconds:
            best[name] = result


def measure_rows(native, vmms, kernel, initrd, work, repeat):
    """Best results by machine, and seconds to init by machine. Machines take turns, so that a slow minute hits all.
    `native` runs the rows on the host."""
    best = {"native": {}} | {vmm.name: {} for vmm in vmms}
    init = {}
    for turn in range(repeat):
        progress(f"run {turn + 1} of {repeat}: native")
        merge_best(best["native"], native(work))
        for vmm in vmms:
            progress(f"run {turn + 1} of {repeat}: {vmm.name}")
            seconds, results = boot_rows(vmm, kernel, initrd, work)
            init[vmm.name] = min(init.get(vmm.name, seconds), seconds)
            merge_best(best[vmm.name], results)
    for name, results in best.items():
        for row, result in results.items():
            if result.checksum != best["native"][row].checksum:
                raise Failure(f"{row}: {name} computed {result.checksum}, natively it is {best['native'][row].checksum}")
    return best, init


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def host():
    """What is measured on."""
    model = next(line for line in open("/proc/cpuinfo") if line.startswith("model name"))
    about = {
        "cpu": model.split(":")[1].strip(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    if about["load"] > 0.5:
        progress(f"the load of this host is {about['load']:.1f}: times will be wrong")
    return about


def run_native(folder, rows, enter=(), environment=None):
    """The same programs on the host, on one of its CPUs. `enter`: a command that runs what follows it in another root."""
    cpu = max(os.sched_getaffinity(0))
    results = {}
    for name, iterations in rows:
        command = [*enter, pathlib.Path(folder) / name, str(iterations)]
        output = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )  # fmt: skip
        match = ROW.match(output.stdout.strip().splitlines()[-1])
        results[name] = Result(int(match[2]), float(match[3]), match[4])
    return results
