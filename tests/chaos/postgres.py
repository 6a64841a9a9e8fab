# SPDX-License-Identifier: MIT
"""A PostgreSQL of Debian's for one experiment, in a namespace."""

import shutil
import subprocess
from pathlib import Path

from chaos.net import run, until

USER = "postgres"  # initdb refuses to run as root
CREATE = "CREATE TABLE ledger (key text NOT NULL, who text NOT NULL)"


def bin_folder():
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True)
    if not folders:
        raise RuntimeError("PostgreSQL is missing: apt-get install postgresql")
    return folders[0].parent


class Postgres:
    """`url` for applications in other namespaces."""

    def __init__(self, host):
        self.host, folder = host, host.network.folder / "postgres"
        folder.mkdir()
        shutil.chown(folder, USER, USER)
        user = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]
        initdb = [bin_folder() / "initdb", "-D", folder, "-A", "trust", "-N", "--no-locale"]
        run(*user, *initdb, cwd="/")
        with open(folder / "pg_hba.conf", "a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        options = {
            "listen_addresses": host.address,
            "unix_socket_directories": folder,
            "max_connections": 300,
            "fsync": "off",  # no experiment stops the database
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.process = host.start(*user, bin_folder() / "postgres", "-D", folder, *words)
        self.url = f"host={host.address} user={USER} dbname=postgres "
        self.url += "tcp_user_timeout=2000 gssencmode=disable"
        until(lambda: self.ask("SELECT 1", check=False) == "1", "a database")
        self.ask(CREATE)

    def ask(self, sql, check=True):
        words = [*self.host.prefix, "psql", self.url, "-qAtc", sql]
        done = subprocess.run([str(w) for w in words], text=True, capture_output=True)
        if check and done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def rows(self):
        """How often each key is there."""
        lines = self.ask("SELECT key, count(*) FROM ledger GROUP BY key").splitlines()
        return {key: int(count) for key, count in (line.split("|") for line in lines)}
