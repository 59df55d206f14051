"""A shell whose ``i2moe-bench`` starts at once.

The guides run dozens of commands, and most of a short one's time goes into importing torch. Here
one process imports what commands need, and nothing of a user's; each command is a fork of it, with
the arguments, folder, environment and files that the shell gave it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Takes one request after the other: the folder, arguments and environment of a command.
SERVER = """
import gc, json, os, socket, sys
import sklearn.ensemble, torch
import i2moe_plugin.benchmarks.experiments.experiment, i2moe_plugin.testing
from i2moe_plugin.benchmarks.cli import main

with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    server.settimeout(2)
    tests = os.getppid()
    gc.freeze()
    print("ready", flush=True)
    while True:
        try:
            shell, _ = server.accept()
        except TimeoutError:
            if os.getppid() != tests:
                sys.exit("the tests are gone")
            continue
        files = socket.recv_fds(shell, 1, 3)[1]
        request = json.load(shell.makefile(encoding='utf-8'))
        if child := os.fork():
            for file in files:
                os.close(file)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            shell.sendall(str(code).encode())
            shell.close()
            continue
        for place, file in enumerate(files):
            os.dup2(file, place)
            os.close(file)
        shell.close()
        break

os.chdir(request["folder"])
os.environ.clear()
os.environ.update(request["environment"])
sys.path[:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
sys.argv[:] = ["i2moe-bench", *request["arguments"]]
main()
"""

CLIENT = """
import json, os, socket, sys

with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    socket.send_fds(server, [b" "], [0, 1, 2])
    environment, folder = dict(os.environ), os.getcwd()
    request = {"folder": folder, "arguments": sys.argv[2:], "environment": environment}
    server.sendall(json.dumps(request).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16) or 1))
"""


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[Path]:
    """A folder with an ``i2moe-bench`` that starts at once, for the front of a shell's PATH."""
    folder = tmp_path_factory.mktemp("commands")
    place = tempfile.TemporaryDirectory()  # a socket's address is short
    address = shlex.join([str(folder / "client.py"), f"{place.name}/s"])
    (folder / "client.py").write_text(CLIENT)
    script = folder / "i2moe-bench"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {address} "$@"\n')
    script.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, f"{place.name}/s"], stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield folder
    server.kill()
    server.wait()
    server.stdout.close()
    place.cleanup()
