"""A database that is locked for longer than anyone waits (SQLite), or is restarted in mid-work (PostgreSQL)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import TINY, Outcome, Site
from node.records.engine import SQLITE_BUSY_TIMEOUT_MS

_LONGEST_S = 5.0


class Server:
    """A PostgreSQL server (Debian package postgresql) of our own."""

    def __init__(self) -> None:
        """Make an empty cluster in a folder that the server's account may enter, and start it."""
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._folder = folder = Path(tempfile.mkdtemp(prefix="bmd-node-endurance-pg-"))
        self._user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        if self._user:
            shutil.chown(folder, self._user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [str(self._programs / "initdb"), "-D", str(folder / "data"), "-U", "test", "-A", "trust", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, user=self._user)
        self.start()

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-p", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "-k", str(self._folder), "-h", "127.0.0.1", "-c", "max_connections=300"],
            stderr=subprocess.DEVNULL, cwd=self._folder, user=self._user,
        )  # fmt: skip
        engine = self._admin()
        while True:
            with suppress(sa.exc.OperationalError), engine.connect():
                return
            time.sleep(0.1)

    def kill(self) -> None:
        """Immediate shutdown: no checkpoint, every connection is cut."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(60)

    def close(self) -> None:
        """Stop it, and remove everything."""
        self.kill()
        shutil.rmtree(self._folder)

    def new_database(self, name: str) -> str:
        """URL of an empty database."""
        with self._admin().connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return f"postgresql+psycopg://test@127.0.0.1:{self.port}/{name}"

    def _admin(self) -> sa.Engine:
        url = f"postgresql+psycopg://test@127.0.0.1:{self.port}/postgres"
        return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)


def restart(folder: Path, times: int, seed: int) -> Outcome:
    """Restart PostgreSQL so often, at random moments. It is a server of its own, since other attacks must not notice."""
    server = Server()
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder, server.new_database(f"away_{os.getpid()}"))
    site.receiver.be(Mood.GOOD)
    site.send(TINY, 2)
    pid = site.start()
    where: Counter[str] = Counter()
    restarts = 0
    for _ in range(times):
        if forks.ending.is_set():
            break
        if site.waiting() < 2:
            site.send(TINY, 2)
        time.sleep(drawn.uniform(0.0, _LONGEST_S))
        where[next(iter(site.steps()), None) or "between studies"] += 1
        server.kill()
        time.sleep(drawn.uniform(0.0, _LONGEST_S))
        server.start()
        if forks.ended(pid):
            pid = site.start()
            restarts += 1
    seconds = time.monotonic() - start_s
    if forks.ended(pid):
        pid = site.start()
    outcome = site.outcome("the database is restarted, without a checkpoint", seconds, site.settle(pid))
    outcome.attacks, outcome.where, outcome.notes = where.total(), dict(where), f"worker restarted {restarts} times"
    site.close()
    server.close()
    return outcome


def lock(folder: Path, times: int, seed: int) -> Outcome:
    """Hold the write lock of one of the two databases so often, for longer than SQLite waits."""
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder)
    site.receiver.be(Mood.GOOD)
    pid = site.start()
    where: Counter[str] = Counter()
    for n in range(times):
        if forks.ending.is_set():
            break
        site.send(TINY, 2)
        time.sleep(drawn.uniform(0.0, 3.0))
        name = ("bmd-node.sqlite", "workflows.sqlite")[n % 2]
        where[name] += 1
        with sqlite3.connect(site.settings.state_dir / name, timeout=60, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(SQLITE_BUSY_TIMEOUT_MS / 1000 + drawn.uniform(1.0, 5.0))
            connection.execute("ROLLBACK")
    seconds = time.monotonic() - start_s
    outcome = site.outcome("the database is locked for 31 to 35 s", seconds, site.settle(pid))
    outcome.attacks, outcome.where = where.total(), dict(where)
    site.close()
    return outcome
