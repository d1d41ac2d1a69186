"""The bytes of a simulated disk, sparse, for as long as the rack runs."""

import hashlib

from rackhand.sim.config import DiskConfig

PAGE = 4096
BLANK = bytes(PAGE)


class Medium:
    """The bytes of a disk. What was never written reads as left by whoever used the disk before, or as zeros."""

    def __init__(self, config: DiskConfig) -> None:
        self.config = config
        self.erased = 0  # how often everything was erased
        self._pages: dict[int, bytes] = {}
        self._is_blank = False

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset*, both multiples of 512."""
        first, last = offset // PAGE, -(-(offset + length) // PAGE)
        pages = b"".join(self._page(number) for number in range(first, last))
        return pages[offset - first * PAGE :][:length]

    def write(self, offset: int, data: bytes) -> None:
        """Keep *data*."""
        first, last = offset // PAGE, -(-(offset + len(data)) // PAGE)
        pages = bytearray(b"".join(self._page(number) for number in range(first, last)))
        start = offset - first * PAGE
        pages[start : start + len(data)] = data
        for number in range(first, last):
            page = bytes(pages[(number - first) * PAGE : (number - first + 1) * PAGE])
            self._pages[number] = BLANK if page == BLANK else page

    def erase(self) -> None:
        """Be blank."""
        self._pages.clear()
        self._is_blank = True
        self.erased += 1

    def _page(self, number: int) -> bytes:
        page = self._pages.get(number)
        if page is not None:
            return page
        if self._is_blank:
            return BLANK
        seed = f"{self.config.serial} {number}".encode()
        return hashlib.blake2b(seed, digest_size=64).digest() * (PAGE // 64)
