"""The planner's question answered the slow way, minute by minute, from its words alone; shares no code with
it.

A minute is free if every dose of every drug is far enough away, counted round the week. A plan is found by
asking at every minute of the waking day: take magnesium now or not?
"""

from cds_service.planner.model import PlanRequest

DAY, WEEK = 1440, 10080


def doses_of_week(request: PlanRequest) -> list[tuple[int, int, int]]:
    """(minute of the week, then wait for magnesium, magnesium at least so long before) of every dose that
    counts."""
    return [
        (weekday * DAY + dose.minute, drug.interval.drug_then_magnesium, drug.interval.magnesium_then_drug)
        for drug in request.drugs
        if drug.interval is not None
        for weekday, day in enumerate(drug.week)
        for dose in day
    ]


def violations(request: PlanRequest, week: tuple[tuple[int, ...], ...]) -> list[str]:
    """Every broken rule of a plan: intervals, waking day, spacing."""
    found = []
    schedule = request.schedule
    taken = sorted(weekday * DAY + minute for weekday, day in enumerate(week) for minute in day)
    for minute in taken:
        for dose, wait, ahead in doses_of_week(request):
            since, until = (minute - dose) % WEEK, (dose - minute) % WEEK
            if since < wait or until < ahead:
                found.append(f"{minute}: {since} after, {until} before the dose at {dose}")
        if (minute - schedule.waking_starts) % DAY > schedule.waking_length:
            found.append(f"{minute}: asleep")
    for one, other in zip(taken, [*taken[1:], *(minute + WEEK for minute in taken[:1])], strict=True):
        if other - one < schedule.spacing:
            found.append(f"{one} and {other} are too close")
    return found


WITHOUT_FOOD = 10_000
"""A dose without food costs more than all new moments of a week; a new moment costs 1."""


def cost(request: PlanRequest, week: tuple[tuple[int, ...], ...]) -> int:
    """What a plan costs by the stated order, over the week."""
    hungry = sum(not _with_food(request, minute) for day in week for minute in day) if request.with_food else 0
    new = sum(minute not in _taken(request, weekday) for weekday, day in enumerate(week) for minute in day)
    return WITHOUT_FOOD * hungry + new


def _with_food(request: PlanRequest, minute: int) -> bool:
    return any((minute - meal) % DAY <= request.schedule.meal_length for meal in request.schedule.meals)


def _taken(request: PlanRequest, weekday: int) -> set[int]:
    return {dose.minute for drug in request.drugs for dose in drug.week[weekday]}


def forbidden_minutes(request: PlanRequest, step: int) -> bytearray:
    """1 at every looked-at minute of the week that breaks an interval."""
    forbidden = bytearray(WEEK)
    for dose, wait, ahead in doses_of_week(request):
        for minutes in range(0, wait, step):
            forbidden[(dose + minutes) % WEEK] = 1
        for minutes in range(0, ahead, step):
            forbidden[(dose - minutes) % WEEK] = 1
    return forbidden


def best_common(request: PlanRequest, step: int = 1) -> int | None:
    """The least cost of one set of times for all days, None if there is none.

    `step`: look only at every so many minutes, where every number of the regimen is a multiple of that.
    """
    return _best(request, range(7), forbidden_minutes(request, step), step)


def best_by_day(request: PlanRequest, step: int = 1) -> int | None:
    """The least cost where every day may have its own times, None if some day has none."""
    forbidden = forbidden_minutes(request, step)
    days = []
    for weekday in range(7):
        days.append(_best(request, [weekday], forbidden, step))
        if days[-1] is None:
            return None
    return sum(days)


def _best(request: PlanRequest, weekdays, forbidden: bytearray, step: int) -> int | None:
    schedule, length = request.schedule, request.schedule.waking_length
    taken = [_taken(request, weekday) for weekday in range(7)]
    meals = [request.with_food and _with_food(request, minute) for minute in range(0, DAY, step)]
    prices: list[int | None] = []
    for offset in range(0, length + 1, step):
        moments = [(weekday * DAY + schedule.waking_starts + offset) % WEEK for weekday in weekdays]
        if 1 in [forbidden[moment] for moment in moments]:
            prices.append(None)
            continue
        minute = moments[0] % DAY
        price = [minute in taken[moment // DAY] for moment in moments].count(False)
        if request.with_food and not meals[minute // step]:
            price += WITHOUT_FOOD * len(moments)
        prices.append(price)

    # fewer[i]: the least cost of one dose fewer in what is left of the day from step i on.
    steps, apart = len(prices), -(-schedule.spacing // step)
    fewer: list[int | None] = [0] * (steps + 1)
    for _ in range(request.doses_per_day):
        now: list[int | None] = [None] * (steps + 1)
        for place in range(steps - 1, -1, -1):
            now[place] = now[place + 1]
            price, rest = prices[place], fewer[min(place + apart, steps)]
            if price is not None and rest is not None and (now[place] is None or price + rest < now[place]):
                now[place] = price + rest
        fewer = now
    return fewer[0]
