# SPDX-License-Identifier: MIT
"""What the membership of a proxy has to be: proxy/README.md's rules of rank, without a proxy.
Every change gives the states that may be found when the proxy dies on the way, the last of
which holds once it was acknowledged."""

import copy
import dataclasses

WEIGHT = 100


@dataclasses.dataclass
class Member:
    source: str  # file, cli
    endpoint: str
    given: tuple  # weight, limit
    configured: bool = False
    decided: dict = dataclasses.field(default_factory=dict)

    def row(self):
        weight, limit = self.given
        return {
            "endpoint": self.endpoint,
            "source": self.source,
            "state": self.decided.get("state", "ready"),
            "weight": self.decided.get("weight", weight),
            "limit": self.decided.get("limit", limit),
            "forced": self.decided.get("health"),
        }


@dataclasses.dataclass
class Pool:
    here: dict = dataclasses.field(default_factory=dict)
    away: dict = dataclasses.field(default_factory=dict)  # removed by a person
    state: str = "serving"
    configured: bool = False

    def copy_from(self, other, name):
        for mine, theirs in ((self.here, other.here), (self.away, other.away)):
            mine.pop(name, None)
            if name in theirs:
                mine[name] = copy.deepcopy(theirs[name])


class Refused(Exception):
    pass


class Model:
    def __init__(self):
        self.pools, self.settings = {}, {}
        self.saved_pools, self.saved_settings = {}, {}

    # ---- the configuration ----

    def configure(self, pools, file):
        """`file`: {pool: {name: (endpoint, weight, limit)}}"""
        for pool in pools.values():
            pool.configured = False
            for m in [*pool.here.values(), *pool.away.values()]:
                m.configured = False
        for pool_name, backends in file.items():
            pool = pools.setdefault(pool_name, Pool())
            pool.configured = True
            for name, (endpoint, weight, limit) in backends.items():
                self.give(pool, name, endpoint, (weight, limit))
        for pool in pools.values():
            for name in [n for n, m in pool.here.items() if m.source == "file" and not m.configured]:
                del pool.here[name]
            for name in [n for n, m in pool.away.items() if not m.configured]:
                del pool.away[name]

    @staticmethod
    def give(pool, name, endpoint, given):
        fresh = Member("file", endpoint, given, configured=True)
        m = pool.away.get(name)
        if m and m.source == "file" and m.endpoint != endpoint:
            del pool.away[name]  # another entry
        elif m:
            pool.away[name] = fresh
            return
        m = pool.here.setdefault(name, fresh)
        m.configured = True
        if m.source == "file":
            m.endpoint, m.given = endpoint, given

    def start(self, file):
        """After a death, or the first time."""
        self.pools = copy.deepcopy(self.saved_pools)
        self.settings = dict(self.saved_settings)
        self.reload(file)

    def reload(self, file):
        """What was said --ephemeral stays so."""
        for pools in (self.pools, self.saved_pools):
            self.configure(pools, file)

    # ---- verbs ----

    def find(self, pool, name):
        m = self.pools[pool].here.get(name)
        if m is None:
            raise Refused("no backend is called")
        return m

    def keep(self, pool, name, ephemeral):
        if not ephemeral:
            self.saved_pools.setdefault(pool, Pool()).copy_from(self.pools[pool], name)

    def decide(self, pool, name, ephemeral, **what):
        m = self.find(pool, name)
        row = m.row()
        row["health"] = row.pop("forced") or "auto"
        for key, value in what.items():
            if row[key] == value:
                continue
            if (key, value) in (("state", "ready"), ("health", "auto")):
                m.decided.pop(key, None)
            else:
                m.decided[key] = value
        self.keep(pool, name, ephemeral)

    def undecide(self, pool, name, ephemeral, key):
        self.find(pool, name).decided.pop(key, None)
        self.keep(pool, name, ephemeral)

    def add(self, pool_name, name, endpoint, weight, limit, ephemeral, comes_up):
        """None: it is refused; False: it never came up."""
        pool = self.pools[pool_name]
        m, gone = pool.here.get(name), pool.away.get(name)
        is_its_own = gone is not None and gone.source == "file" and gone.endpoint == endpoint
        usual = gone.given if gone is not None and gone.endpoint == endpoint else (WEIGHT, None)
        wanted = (weight or usual[0], limit or usual[1])
        if m is not None:
            row = m.row()
            if (row["endpoint"], row["weight"], row["limit"]) == (endpoint, *wanted):
                self.keep(pool_name, name, ephemeral)
                return True
            raise Refused("other settings")
        if not comes_up:
            return False
        if gone is None:
            pool.here[name] = Member("cli", endpoint, wanted)
        else:
            del pool.away[name]
            m = gone
            m.decided = {}
            if is_its_own:
                for key, is_, given in zip(("weight", "limit"), wanted, m.given):
                    if is_ != given:
                        m.decided[key] = is_
            else:
                m.source, m.endpoint, m.given = "cli", endpoint, wanted
            pool.here[name] = m
        self.keep(pool_name, name, ephemeral)
        return True

    def remove(self, pool_name, name, ephemeral):
        pool = self.pools[pool_name]
        m = pool.here.pop(name, None)
        if m and m.configured:
            m.decided = {}
            pool.away[name] = m
        self.keep(pool_name, name, ephemeral)

    def set_pools(self, names, state, ephemeral):
        for name in names:
            self.pools[name].state = state
            if not ephemeral:
                self.saved_pools.setdefault(name, Pool()).state = state

    def set_option(self, key, value, ephemeral):
        for settings in (self.settings,) if ephemeral else (self.settings, self.saved_settings):
            settings.pop(key, None)
            if value:
                settings[key] = value

    def save(self):
        self.saved_pools = copy.deepcopy(self.pools)
        self.saved_settings = dict(self.settings)

    # ---- what is seen ----

    def rows(self):
        return {
            f"{pool_name}/{name}": m.row()
            for pool_name, pool in self.pools.items()
            if pool.configured
            for name, m in pool.here.items()
        }

    def states(self):
        return {n: p.state for n, p in self.pools.items() if p.configured}
