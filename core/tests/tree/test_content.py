from __future__ import annotations

from fledge.tree.content import MemorySource, Views


class Remembering(MemorySource):
    """Notes what is released."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.released: list[tuple[int, int]] = []

    def release(self, start: int, length: int) -> None:
        self.released.append((start, length))


def test_views_are_released_together_a_span_a_source() -> None:
    one, other = Remembering(b"0123456789"), Remembering(b"abcdefghij")
    views = Views()
    assert [bytes(views.view(*which)) for which in ((one, 6, 2), (other, 0, 1), (one, 2, 1), (one, 3, 1))] == [
        b"67", b"a", b"2", b"3",
    ]  # fmt: skip
    assert (one.released, other.released) == ([], [])
    views.release()
    views.release()
    assert (one.released, other.released) == ([(2, 6)], [(0, 1)])
