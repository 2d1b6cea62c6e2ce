import importlib
import os
import pkgutil

import click
import pytest

import deepfreak.cli
from deepfreak.cli import app
from deepfreak.cli.command import commands
from deepfreak.processors import MAX_WORKERS, usable_processors


def place(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 768)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(768)), raising=False)


def test_the_processors_that_the_process_may_run_on_count(many, monkeypatch, tmp_path):
    assert usable_processors(tmp_path) == MAX_WORKERS == 512
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_processors(tmp_path) == 2


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 512),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        # the quota is that of a parent group
        (
            "0::/job/step\n",
            {
                "sys/fs/cgroup/job/step/cpu.max": "max 100000",
                "sys/fs/cgroup/job/cpu.max": "400000 100000",
            },
            4,
        ),
        # a container that sees the group name of the host
        ("0::/docker/abc\n", {"sys/fs/cgroup/cpu.max": "200000 100000"}, 2),
        (
            "5:memory:/a\n4:cpu,cpuacct:/a\n0::/\n",
            {
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "600000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            },
            6,
        ),
        (
            "4:cpu:/a\n",
            {
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
            },
            512,
        ),
        ("nonsense", {"sys/fs/cgroup/cpu.max": "x y z"}, 512),
    ],
)
def test_the_quota_of_control_groups_counts(many, tmp_path, groups, files, expected):
    place(tmp_path, "proc/self/cgroup", groups)
    for path, text in files.items():
        place(tmp_path, path, text)
    assert usable_processors(tmp_path) == expected


def test_every_default_of_workers_is_what_may_be_used(many, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    found = {}
    for name, command in commands(app):
        for option in command.params:
            if option.name == "workers" and option.default != 1:
                found[name] = option.get_default(click.Context(command))
    assert len(found) >= 9  # the others use one process unless told otherwise
    assert set(found.values()) == {min(3, usable_processors())}


def test_no_module_asks_the_machine_itself():
    modules = [module.name for module in pkgutil.walk_packages(deepfreak.__path__, "deepfreak.")]
    asking = []
    for name in modules:
        if not name.endswith(("__main__", "processors")):
            source = importlib.util.find_spec(name).loader.get_source(name)
            asking += [name] * ("cpu_count" in source or "sched_getaffinity" in source)
    assert asking == []
