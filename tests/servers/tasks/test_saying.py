"""What a tool said: kept in order, within its bounds, whatever it was."""

from __future__ import annotations

from servers.services.tasks.saying import LINE_CHARACTERS, MAX_BYTES, MAX_LINES, Said


def test_it_comes_back_as_it_was_kept() -> None:
    said = Said()
    said.progressed(1, 3, "one of three")
    said.logged("warning", {"rows": 3}, "loader")
    said.logged("info", "done", "")
    again = Said.from_bytes(said.to_bytes())
    assert list(again.lines) == list(said.lines)
    assert [(each.level, each.text, each.progress) for each in again.lines] == [
        ("", "one of three", 1),
        ("warning", '{"rows":3}', None),
        ("info", "done", None),
    ]
    assert again.furthest is not None
    assert (again.furthest.progress, again.furthest.total) == (1, 3)
    assert Said.from_bytes(b"").furthest is None


def test_the_oldest_go_and_are_counted() -> None:
    said = Said()
    for number in range(MAX_LINES + 30):
        said.logged("info", f"line {number}", "")
    assert len(said.lines) == MAX_LINES
    assert (said.lines[0].text, said.dropped) == ("line 30", 30)
    again = Said.from_bytes(said.to_bytes())
    again.logged("info", "one more", "")
    assert (len(again.lines), again.dropped) == (MAX_LINES, 31)


def test_long_lines_take_no_more_bytes_than_all_may() -> None:
    said = Said()
    for _ in range(100):
        said.logged("info", "é" * 10_000, "x" * 1_000)
    assert all(len(each.text) <= LINE_CHARACTERS for each in said.lines)
    assert sum(each.size for each in said.lines) <= MAX_BYTES
    assert len(said.to_bytes()) < 2 * MAX_BYTES


def test_what_has_no_json_is_kept_as_words() -> None:
    said = Said()
    said.logged("info", "half a pair: \ud800", "")
    said.logged("info", {"\ud800": 1}, "")
    said.logged("info", 2**70, "")
    assert len(Said.from_bytes(said.to_bytes()).lines) == 3
