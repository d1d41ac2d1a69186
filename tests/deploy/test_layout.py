"""Where systems go: arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rackhand.deploy.layout import (
    GB,
    RULES,
    DiskFact,
    Impossible,
    PartitionWish,
    RaidLevel,
    check_partitions,
    choose_disks,
    plan_layout,
    plan_whole_disk,
)

ROOT = PartitionWish(mount="/")


def disks(*kinds: tuple[str, int, int]) -> list[DiskFact]:
    """Disks of a machine: kind, size in GB, how many."""
    return [
        DiskFact(f"{kind}-{size}-{n}", kind, size * GB, f"{kind}{size}{n}")
        for kind, size, count in kinds
        for n in range(count)
    ]


@pytest.mark.parametrize(
    ("level", "have", "chosen"),
    [
        (RaidLevel.NONE, [("HDD", 4000, 2), ("SSD", 480, 1)], ["SSD-480-0"]),
        (RaidLevel.NONE, [("NVMe", 1920, 2), ("NVMe", 480, 1)], ["NVMe-480-0"]),
        (RaidLevel.RAID1, [("SSD", 480, 1), ("HDD", 4000, 4)], ["HDD-4000-0", "HDD-4000-1"]),
        (RaidLevel.RAID1, [("SSD", 480, 2), ("NVMe", 960, 2)], ["NVMe-960-0", "NVMe-960-1"]),
        (RaidLevel.RAID5, [("SSD", 480, 4)], [f"SSD-480-{n}" for n in range(4)]),
        (RaidLevel.RAID10, [("HDD", 4000, 5)], [f"HDD-4000-{n}" for n in range(4)]),
    ],
)
def test_equal_disks_are_chosen_the_fastest_first(
    level: RaidLevel, have: list[tuple[str, int, int]], chosen: list[str]
) -> None:
    assert [disk.serial for disk in choose_disks(disks(*have), level)] == chosen


@pytest.mark.parametrize("level", RaidLevel)
def test_a_level_without_enough_equal_disks_is_impossible(level: RaidLevel) -> None:
    have = [("SSD", 100 * (number + 1), 1) for number in range(RULES[level].least - 1)]
    with pytest.raises(Impossible, match=f"{level} needs"):
        choose_disks(disks(*have), level)


def test_disks_of_one_label_that_differ_a_little_are_equal() -> None:
    have = [DiskFact("A", "SSD", 480_103_981_056, "sda"), DiskFact("B", "SSD", 480_000_000_000, "sdb")]
    assert len(choose_disks(have, RaidLevel.RAID1)) == 2


def test_every_member_starts_by_bios_and_by_uefi() -> None:
    layout = plan_layout(disks(("SSD", 480, 2)), level=RaidLevel.RAID1)
    assert [(part.name, part.role) for part in layout.slices][:2] == [("bios", "bios_boot"), ("efi", "efi")]


@pytest.mark.parametrize("level", [RaidLevel.RAID0, RaidLevel.RAID5, RaidLevel.RAID6, RaidLevel.RAID10])
def test_what_grub_loads_is_mirrored_over_all_members(level: RaidLevel) -> None:
    layout = plan_layout(disks(("SSD", 480, 4)), level=level)
    assert {array.name: array.level for array in layout.arrays} == {"boot": RaidLevel.RAID1, "root": level}


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ([], "exactly one"),
        ([PartitionWish(mount="/var")], "exactly one"),
        ([ROOT, PartitionWish(mount="/")], "exactly one"),
        ([ROOT, PartitionWish(mount="/var", size_mib=100), PartitionWish(mount="/var", size_mib=200)], "more than"),
        ([ROOT, PartitionWish(mount="/var")], "only one can take what is left, not / and /var"),
        ([ROOT, PartitionWish(mount="/root", size_mib=100)], "too much like"),
        ([ROOT, PartitionWish(mount="/efi", size_mib=100)], "too much like"),
        ([ROOT, *[PartitionWish(mount=f"/d{n}", size_mib=16) for n in range(16)]], "at most 16"),
    ],
)  # fmt: skip
def test_wishes_that_contradict_each_other_are_refused(wishes: list[PartitionWish], words: str) -> None:
    with pytest.raises(Impossible, match=words):
        check_partitions(wishes)


@pytest.mark.parametrize(
    "wish",
    [
        {"mount": "var"}, {"mount": "/../etc"}, {"mount": "/Var"}, {"mount": "/etc"}, {"mount": "swap"},
        {"mount": "/var", "fs": "swap"}, {"mount": "/var", "size_mib": 1}, {"mount": "/a b"}, {"mount": "/usr"},
        {"mount": "/boot/efi"}, {"mount": "/var", "fs": "ntfs"},
    ],
)  # fmt: skip
def test_a_wish_that_no_system_can_mount_is_refused(wish: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PartitionWish.model_validate(wish)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"min_disk_gb": 20}, "too small: 10 GB, needed are 20 GB"),
        ({"image_mib": 9000}, "needs 11250 MiB at /"),
        ({"wishes": [ROOT, PartitionWish(mount="/var", size_mib=20_000)]}, "MiB more than each disk has"),
        ({"wishes": [ROOT, PartitionWish(mount="/var", size_mib=20_000)], "lvm": True}, "MiB more than there are"),
        ({"wishes": [PartitionWish(mount="/", size_mib=512), PartitionWish(mount="/var")]}, "needs 1024 MiB at /"),
    ],
)  # fmt: skip
def test_a_disk_that_is_too_small_is_said_so(kwargs: dict[str, object], words: str) -> None:
    with pytest.raises(Impossible, match=words):
        plan_layout(disks(("SSD", 10, 1)), **kwargs)  # type: ignore[arg-type]  # a table of cases


def test_a_disk_image_needs_room_for_its_settings() -> None:
    assert plan_whole_disk(disks(("SSD", 10, 1)), image_mib=9000).whole_disk
    with pytest.raises(Impossible, match="needed are 11 GB"):
        plan_whole_disk(disks(("SSD", 10, 1)), image_mib=10_000)


SIZES = st.integers(16, 4000)


@given(
    level=st.sampled_from(list(RaidLevel)), count=st.integers(1, 8), size_gb=st.integers(10, 4000),
    lvm=st.booleans(), mounts=st.lists(SIZES, max_size=6), root=st.one_of(st.none(), SIZES),
)  # fmt: skip
def test_a_plan_fits_its_disks_and_mounts_everything_once(
    level: RaidLevel,
    count: int,
    size_gb: int,
    lvm: bool,  # noqa: FBT001
    mounts: list[int],
    root: int | None,
) -> None:
    wishes = [PartitionWish(mount="/", size_mib=root)]
    wishes += [PartitionWish(mount=f"/data{n}", size_mib=size) for n, size in enumerate(mounts)]
    have = disks(("SSD", size_gb, count))
    try:
        layout = plan_layout(have, level=level, wishes=wishes, lvm=lvm)
    except Impossible:
        return
    assert sum(part.size_mib or 0 for part in layout.slices) < size_gb * GB / (1 << 20)
    assert [part.size_mib is None for part in layout.slices].count(True) == 1
    assert layout.slices[-1].size_mib is None
    paths = [mount.mount for mount in layout.mounts]
    assert sorted(set(paths)) == sorted(paths)
    assert set(paths) - {"/boot"} == {wish.mount for wish in wishes}
    assert paths[0] == "/"
    names = {f"slice:{part.name}" for part in layout.slices} | {
        f"array:{array.name}" for array in layout.arrays
    }
    names |= {f"volume:{volume.name}" for volume in layout.volumes}
    assert {mount.on for mount in layout.mounts} <= names
    assert len(layout.disks) == RULES[level].members(count)
