"""The circuit breaker of one upstream, by a clock of the test's own."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from servers.execution.backends.mcp.breaker import FAULTS, FIRST_WAIT, LAST_WAIT, PROBE_SECONDS, Breaker
from servers.execution.backends.mcp.retries import FIRST_BACKOFF, LAST_BACKOFF, backoff


class Clock:
    """Time stands still unless it is moved."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock, chance=lambda: 1.0)
    for _ in range(FAULTS):
        breaker.went_wrong("It is down.")
    return breaker


def test_faults_in_a_row_open_it_and_an_answer_between_them_does_not() -> None:
    breaker = Breaker(Clock(), chance=lambda: 1.0)
    for _ in range(3):
        for _ in range(FAULTS - 1):
            breaker.went_wrong("It is down.")
        assert breaker.closed
        breaker.went_well()
    for _ in range(FAULTS):
        breaker.went_wrong("It is down.")
    seen = breaker.seen
    assert (seen.state, seen.reason, seen.faults) == ("open", "It is down.", FAULTS)
    assert seen.next_try == Clock.now + FIRST_WAIT


def test_one_probe_decides_and_each_that_fails_doubles_the_wait() -> None:
    clock = Clock()
    breaker = opened(clock)
    waits = []
    for _ in range(8):
        assert breaker.take_probe() is None
        next_try = breaker.seen.next_try
        assert next_try is not None
        waits.append(next_try - clock.now)
        clock.now = next_try
        number = breaker.take_probe()
        assert number is not None
        assert (breaker.seen.state, breaker.take_probe()) == ("half_open", None)
        # What others began before says nothing: the probe does.
        breaker.went_well()
        assert not breaker.closed
        breaker.end_probe(number, "Still down.")
    assert waits == [FIRST_WAIT * 2**tries for tries in range(5)] + [LAST_WAIT] * 3
    clock.now += LAST_WAIT
    number = breaker.take_probe()
    assert number is not None
    breaker.end_probe(number)
    assert (breaker.closed, breaker.seen.faults, breaker.seen.since) == (True, 0, clock.now)
    breaker.trip("Gone.")
    assert breaker.seen.next_try == clock.now + FIRST_WAIT


def test_a_probe_that_was_given_up_or_lost_makes_room_for_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += LAST_WAIT
    first = breaker.take_probe()
    assert first is not None
    breaker.drop_probe(first)
    second = breaker.take_probe()
    assert second is not None
    clock.now += PROBE_SECONDS
    third = breaker.take_probe()
    assert third is not None
    breaker.end_probe(second)
    assert not breaker.closed
    breaker.end_probe(third)
    assert breaker.closed


def test_waits_between_tries_grow_and_are_by_chance() -> None:
    assert [backoff(tried, lambda: 1.0) for tried in (1, 2, 3)] == [
        FIRST_BACKOFF,
        2 * FIRST_BACKOFF,
        4 * FIRST_BACKOFF,
    ]
    assert backoff(50, lambda: 1.0) == LAST_BACKOFF
    assert backoff(3, lambda: 0.0) == 0.0


class Anyhow(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.chance = 0.5
        self.states: list[str] = []
        self.breaker = Breaker(self.clock, chance=lambda: self.chance, changed=self._changed)
        self.probes: list[int] = []
        self.row = 0

    def _changed(self) -> None:
        self.states.append(self.breaker.seen.state)

    @rule(seconds=st.floats(0, 40), chance=st.floats(0, 1))
    def time_passes(self, seconds: float, chance: float) -> None:
        self.clock.now += seconds
        self.chance = chance

    @rule()
    def goes_well(self) -> None:
        closed = self.breaker.closed
        self.breaker.went_well()
        assert self.breaker.closed == closed

    @rule()
    def goes_wrong(self) -> None:
        self.breaker.went_wrong("It is down.")

    @rule()
    def trips(self) -> None:
        self.breaker.trip("It is gone.")
        assert not self.breaker.closed

    @rule()
    def is_probed(self) -> None:
        may = self.breaker.may_probe()
        number = self.breaker.take_probe()
        assert (number is not None) == may
        if number is not None:
            assert number not in self.probes
            self.probes.append(number)
            assert not self.breaker.may_probe()

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), reason=st.sampled_from(["", "Still down."]))
    def ends(self, data: st.DataObject, reason: str) -> None:
        number = data.draw(st.sampled_from(self.probes))
        current = number == self.probes[-1] and self.breaker.seen.state == "half_open"
        before = self.breaker.seen
        self.breaker.end_probe(number, reason)
        if not current:
            assert self.breaker.seen == before
        else:
            assert self.breaker.closed == (not reason)

    @precondition(lambda self: self.probes)
    @rule()
    def is_dropped(self) -> None:
        half_open = self.breaker.seen.state == "half_open"
        self.breaker.drop_probe(self.probes[-1])
        if half_open:
            assert self.breaker.may_probe()

    @invariant()
    def it_says_what_it_is(self) -> None:
        seen = self.breaker.seen
        assert self.breaker.closed == (seen.state == "closed") == (seen.next_try is None)
        assert self.breaker.closed == (seen.reason == "")
        assert seen.since <= self.clock.now
        assert seen.state == (self.states[-1] if self.states else "closed")
        if seen.state == "closed":
            assert seen.faults < FAULTS
        if seen.next_try is not None:
            # Nobody waits for ever.
            assert seen.next_try - self.clock.now <= max(LAST_WAIT, PROBE_SECONDS)


TestAnyhow = Anyhow.TestCase
TestAnyhow.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
