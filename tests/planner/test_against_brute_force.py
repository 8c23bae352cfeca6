"""Random regimens, each planned and each solved again minute by minute. No plan may be wrong, missed or
beaten."""

import os
import random
from collections import Counter
from itertools import combinations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds_service.planner.model import Dose, DrugTimes, Interval, Plan, PlanRequest
from cds_service.planner.plan import plan_day
from tests.planner import brute_force
from tests.planner.regimens import TODAY, usual_day

# As many as take 20 seconds of CPU; PLANNER_REGIMENS multiplies them for a longer search.
TIMES = int(os.environ.get("PLANNER_REGIMENS", "1"))
BY_THE_MINUTE, BY_THE_QUARTER = 300 * TIMES, 2300 * TIMES
DAY = 1440
seen: Counter[str] = Counter()

minutes = st.one_of(st.integers(0, 47).map(lambda half: half * 30), st.integers(0, DAY - 1))
lengths = st.sampled_from([0, 30, 60, 120, 120, 180, 240, 360, 480]) | st.integers(0, 300)
long_lengths = st.integers(300, 900)
some_days = st.frozensets(st.integers(0, 6), min_size=1, max_size=5)


@st.composite
def drug(draw, name: str) -> DrugTimes:
    """A medicine once to three times a day on every day, or one with a long reach on some days; one in eight
    without an interval."""
    daily = draw(st.booleans())
    times = draw(st.sets(minutes, min_size=1, max_size=3 if daily else 1))
    days = frozenset(range(7)) if daily else draw(some_days)
    reach = lengths if daily else st.one_of(lengths, long_lengths)
    interval = Interval(name, name, draw(reach), draw(reach)) if draw(st.integers(0, 7)) else None
    movable = draw(st.booleans())
    doses = tuple(Dose(minute, movable=movable) for minute in sorted(times))
    return DrugTimes(name, name, interval, tuple(doses if day in days else () for day in range(7)))


@st.composite
def regimens(draw) -> PlanRequest:
    """Up to five medicines, one to four doses of magnesium, with or without food, any waking day that is
    allowed."""
    schedule = usual_day(
        magnesium_spacing=draw(st.sampled_from([120, 180, 240, 245, 300, 360])),
        grid=draw(st.sampled_from([5, 15, 30])),
        meal_length=draw(st.sampled_from([0, 30, 45])),
    )
    if draw(st.booleans()):
        starts = draw(minutes)
        length = draw(st.integers(4 * 60, DAY - schedule.spacing))
        schedule = schedule.for_waking(starts, (starts + length) % DAY)
    count = draw(st.integers(0, 5))
    return PlanRequest(
        schedule,
        TODAY,
        doses_per_day=draw(st.sampled_from([1, 1, 2, 2, 3, 4])),
        with_food=draw(st.booleans()),
        drugs=tuple(draw(drug(f"drug{number}")) for number in range(count)),
    )


@st.composite
def rotas(draw) -> PlanRequest:
    """Drugs with a long reach, each on days of its own: what makes days differ."""
    reach = st.integers(4, 9).map(lambda hours: hours * 60)
    drugs = [
        DrugTimes(name, name, Interval(name, name, draw(reach), draw(reach)), rota(draw, draw(some_days)))
        for name in ("one", "two", "three")[: draw(st.integers(2, 3))]
    ]
    drugs += [draw(drug("daily"))] * draw(st.integers(0, 1))
    return PlanRequest(usual_day(), TODAY, 1, draw(st.booleans()), tuple(drugs))


def rota(draw, days: frozenset[int]):
    dose = (Dose(draw(minutes), movable=draw(st.booleans())),)
    return tuple(dose if day in days else () for day in range(7))


def quarter_hours(seed: int) -> PlanRequest:
    """A regimen in whole quarter hours: cheap to solve the slow way, so that many can be. Up to eight
    medicines."""
    roll = random.Random(seed)

    def quarters(low: int, high: int) -> int:
        return 15 * roll.randint(low, high)

    schedule = usual_day(magnesium_spacing=roll.choice([120, 180, 240, 300]))
    if roll.random() < 0.3:
        starts = quarters(0, 95)
        schedule = schedule.for_waking(starts, starts + quarters(24, (DAY - schedule.spacing) // 15))
    drugs = []
    for number in range(roll.randint(0, 8)):
        name, daily = f"drug{number}", roll.random() < 0.6
        often = roll.choice([1, 1, 1, 2, 2, 3]) if daily else 1
        movable = roll.random() < 0.4
        doses = tuple(Dose(minute, movable=movable) for minute in sorted({quarters(0, 95) for _ in range(often)}))
        days = range(7) if daily else roll.sample(range(7), roll.randint(1, 3))
        far = 14 if daily else 40
        interval = Interval(name, name, quarters(0, far), quarters(0, far)) if roll.random() < 0.7 else None
        drugs.append(DrugTimes(name, name, interval, tuple(doses if day in days else () for day in range(7))))
    return PlanRequest(schedule, TODAY, roll.choice([1, 1, 2, 2, 3]), roll.random() < 0.5, tuple(drugs))


slowly = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


@settings(slowly, max_examples=BY_THE_MINUTE)
@given(st.one_of(regimens(), regimens(), rotas()))
def by_the_minute(request_) -> None:
    check(request_, 1)


@settings(slowly, max_examples=BY_THE_QUARTER)
@given(st.integers(0, 2**32))
def by_the_quarter(seed) -> None:
    check(quarter_hours(seed), 15)


def check(request_: PlanRequest, step: int) -> None:
    """The plan against the slow answer: as possible, as cheap, and without a broken rule."""
    plan = plan_day(request_)
    common = brute_force.best_common(request_, step)
    seen["regimens"] += 1
    if common is not None:
        seen["same every day"] += 1
        assert plan.possible and len(plan.times) == request_.doses_per_day, "a set for all days is not found"
        assert brute_force.violations(request_, plan.week) == []
        assert brute_force.cost(request_, plan.week) == common
        return
    by_day = brute_force.best_by_day(request_, step)
    if by_day is not None:
        seen["differs by day"] += 1
        assert plan.possible, "a plan by day exists and is not found"
        assert sum(map(len, plan.week)) == 7 * request_.doses_per_day
        assert brute_force.violations(request_, plan.week) == []
        assert brute_force.cost(request_, plan.week) == by_day
        return
    seen["impossible"] += 1
    assert not plan.possible
    check_blockers(request_, plan, step)
    check_alternatives(request_, plan, step)


def replan(request_: PlanRequest, drugs: tuple[DrugTimes, ...], doses: int) -> PlanRequest:
    return PlanRequest(request_.schedule, TODAY, doses, request_.with_food, drugs)


def solvable(request_: PlanRequest, step: int) -> bool:
    found = (brute_force.best_common(request_, step), brute_force.best_by_day(request_, step))
    return found != (None, None)


def check_blockers(request_: PlanRequest, plan: Plan, step: int) -> None:
    """The named drugs alone leave no room, and any one fewer does."""
    named = [drug for drug in request_.drugs if drug.drug in plan.blocked_by]
    assert not solvable(replan(request_, tuple(named), request_.doses_per_day), step)
    for left_out in named:
        rest = tuple(drug for drug in named if drug is not left_out)
        assert solvable(replan(request_, rest, request_.doses_per_day), step), f"{left_out.drug} is named for nothing"


def check_alternatives(request_: PlanRequest, plan: Plan, step: int) -> None:
    """Every alternative keeps every interval, the count of fewer doses is the highest, the order is as said."""
    order = ["fewer_doses", "move_dose", "wait_until", "no_magnesium_now"]
    kinds = [alternative.kind for alternative in plan.alternatives]
    assert kinds == sorted(kinds, key=order.index) and kinds[-1] == "no_magnesium_now"
    for alternative in plan.alternatives:
        seen[alternative.kind] += 1
        drugs = request_.drugs
        if alternative.kind == "move_dose":
            moved = {move.drug: {m.from_minute: m.to_minute for m in alternative.moves} for move in alternative.moves}
            assert len(moved) == 1
            for drug in request_.drugs:
                if drug.drug in moved:
                    assert all(dose.movable for day in drug.week for dose in day), "a fixed dose was moved"
            drugs = tuple(
                DrugTimes(
                    drug.drug,
                    drug.label,
                    drug.interval,
                    tuple(
                        tuple(Dose(moved.get(drug.drug, {}).get(dose.minute, dose.minute)) for dose in day)
                        for day in drug.week
                    ),
                )
                for drug in drugs
            )
        if alternative.kind in ("fewer_doses", "move_dose"):
            asked = replan(request_, drugs, max(alternative.doses_per_day, 1))
            assert any(alternative.week)
            assert brute_force.violations(asked, alternative.week) == []
    if "fewer_doses" not in kinds:
        assert not any(
            solvable(replan(request_, request_.drugs, doses), step) for doses in range(1, request_.doses_per_day)
        )


def test_no_plan_is_wrong_missed_or_worse_than_the_best() -> None:
    by_the_minute()
    by_the_quarter()
    print("\nplanner regimens checked:", ", ".join(f"{count} {name}" for name, count in seen.items()))
    assert seen["regimens"] >= 0.9 * (BY_THE_MINUTE + BY_THE_QUARTER)
    kinds = ("same every day", "differs by day", "impossible", "fewer_doses", "move_dose")
    assert min(seen[kind] for kind in kinds) >= 20, seen


def test_ties_fall_as_documented_for_every_pair_of_times_on_the_grid() -> None:
    """All pairs of quarter hours are tried and sorted by the order in the solver's head, word for word."""
    schedule = usual_day()
    drugs = (
        DrugTimes("a", "a", Interval("a", "a", 120, 120), ((Dose(480), Dose(1200)),) * 7),
        DrugTimes("b", "b", None, ((Dose(765),),) * 7),
    )
    request_ = PlanRequest(schedule, TODAY, 2, False, drugs)
    meals, cues = set(schedule.meals), {*schedule.meals, schedule.at["bedtime"]}
    wide = PlanRequest(
        schedule,
        TODAY,
        2,
        False,
        (DrugTimes("a", "a", Interval("a", "a", 150, 150), drugs[0].week), drugs[1]),
    )

    def rank(pair: tuple[int, int]):
        return (
            sum(minute != 765 for minute in pair),
            sum(bool(brute_force.violations(wide, ((minute,),) * 7)) for minute in pair),
            sum(minute not in cues for minute in pair),
            sum(abs(minute - usual) for minute, usual in zip(pair, schedule.usual_times[2], strict=True)),
            pair,
        )

    assert meals < cues
    pairs = combinations(range(390, 1351, 15), 2)
    allowed = [pair for pair in pairs if not brute_force.violations(request_, (pair,) * 7)]
    assert len(allowed) > 100
    assert plan_day(request_).times == min(allowed, key=rank)
