"""Whether the disk and the memory of a machine suffice, and what the refusal says."""

import shutil
from pathlib import Path

import pytest

from diptych.adapters.files.quota import Quota
from diptych.adapters.free_space import MachineFreeSpace, available_memory
from diptych.errors import Conflict, StoreFull

GB = 10**9


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 4000000 kB\n")
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def limit(folder: Path, maximum: str, current: int, inactive: int) -> None:
    """Make a control group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{maximum}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 7\n")


def test_disk_and_memory_that_suffice(tmp_path: Path, proc: Path, cgroups: Path) -> None:
    room = MachineFreeSpace(tmp_path, Quota(10 * GB), proc=proc, cgroups=cgroups)
    room.require(disk_bytes=1000, memory_bytes=4_000_000 * 1024)
    with pytest.raises(Conflict, match=r"^4\.20 GB of memory are needed, 4\.10 GB are free$"):
        room.require(disk_bytes=0, memory_bytes=4_200_000_000)


def test_full_disk_is_named_with_what_is_free(tmp_path: Path, proc: Path, cgroups: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(StoreFull, match=r"GB are needed on the disk of the data folder, .* GB are free"):
        MachineFreeSpace(tmp_path, Quota(), proc=proc, cgroups=cgroups).require(
            disk_bytes=free + 10 * GB, memory_bytes=0
        )


def test_limit_of_the_data_folder_counts_files_and_database(
    tmp_path: Path, proc: Path, cgroups: Path
) -> None:
    quota = Quota(1000)
    quota.take_file(200)
    quota.set_database(300, 0)
    room = MachineFreeSpace(tmp_path, quota, proc=proc, cgroups=cgroups)
    room.require(disk_bytes=500, memory_bytes=0)
    with pytest.raises(StoreFull, match="DIPTYCH_MAX_DATA_BYTES"):
        room.require(disk_bytes=501, memory_bytes=0)


@pytest.mark.parametrize("path", ["/", "/made/by/the/host"])
def test_limit_of_the_container_counts_cached_files_as_free(proc: Path, cgroups: Path, path: str) -> None:
    (proc / "self" / "cgroup").write_text(f"0::{path}\n")
    limit(cgroups, str(3 * GB), current=2 * GB, inactive=GB // 2)
    assert available_memory(proc, cgroups) == GB + GB // 2


def test_tightest_group_around_the_process_decides(proc: Path, cgroups: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/outer/inner\n")
    limit(cgroups / "outer" / "inner", "max", 0, 0)
    limit(cgroups / "outer", str(2 * GB), current=GB, inactive=0)
    assert available_memory(proc, cgroups) == GB
    limit(cgroups / "outer" / "inner", str(GB), current=2 * GB, inactive=0)
    assert available_memory(proc, cgroups) == 0


def test_limits_of_the_first_version_of_control_groups(proc: Path, cgroups: Path) -> None:
    (proc / "self" / "cgroup").write_text("7:cpu,cpuacct:/x\n5:memory:/docker/abc\n")
    folder = cgroups / "memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text(f"{2 * GB}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{GB}\n")
    (folder / "memory.stat").write_text(f"cache 1\ntotal_inactive_file {GB // 4}\n")
    assert available_memory(proc, cgroups) == GB + GB // 4


def test_machine_that_tells_nothing_refuses_nothing(tmp_path: Path, cgroups: Path) -> None:
    assert available_memory(tmp_path / "nowhere", cgroups) is None
    room = MachineFreeSpace(tmp_path, Quota(), proc=tmp_path / "nowhere", cgroups=cgroups)
    room.require(disk_bytes=0, memory_bytes=10**15)
