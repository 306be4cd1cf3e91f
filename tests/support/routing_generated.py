"""Documents of rules with everything in them that there is, drawn at random."""

from draw_shared.routing.document import EQUALITY, OPERATORS, Operator, Trigger
from draw_shared.routing.subjects import ValueKind, subject_of
from draw_shared.routing.value_forms import misfit_of_number
from support import routing_reference as reference

WORDS = [
    "CT",
    "ct",
    "MR",
    "Topogram 0.6",
    "SCOUT",
    "Schädel",
    "STRASSE",
    "straße",
    "山田",
    "Ä",
    "İ",
]
EXPRESSIONS = ["^ct$", "topogram|scout", "[0-9]+", "t.*m", "", "(a|b)*c", "sch.del", "x{2,3}"]
NUMBERS = [
    "0",
    "3",
    "+3",
    "-1",
    "2.5",
    "2.50",
    ".5",
    "5.",
    "1e3",
    "1e999",
    "abc",
    "2,5",
    "1_0",
    "٣",
]
NUMBERS += ["9" * 60, "9" * 5000, "--1", "e5", "nan", "inf", "0x10", "3 3"]
DATES = ["20261130", "2026.11.30", "2026-11-30", "20260231", "2026", "20261130x", "00000000"]
TIMES = ["18", "1830", "183000", "183000.5", "18:30:00", "18:30", "2500", "183060", "18300", "x"]
MOMENTS = ["2026", "202611", "20261130183000", "20261130183000.5+0100", "202613", "2026113018300"]
MOMENTS += ["20261130183000.", "20261130-0500", "x"]
AGES = ["018Y", "030M", "002W", "5D", "18", "Y", "0180Y", "018y"]
SAMPLES = {
    ValueKind.TEXT: WORDS,
    ValueKind.NUMBER: NUMBERS,
    ValueKind.DATE: DATES,
    ValueKind.TIME: TIMES,
    ValueKind.MOMENT: MOMENTS,
    ValueKind.AGE: AGES,
    ValueKind.PRESENCE: ["2 items"],
}
BESIDE = ("calling_ae", "called_ae", "address", "reason", "instances", "size_bytes", "unreadable")


def wanted(pick, kind, operator, subject):
    if operator is Operator.IS_EMPTY:
        return pick.choice([None, True, False])
    if kind is ValueKind.FLAG:
        return pick.choice([True, False])
    if operator is Operator.IS_ONE_OF:
        return [wanted(pick, kind, Operator.EQUALS, subject) for _ in range(pick.randint(1, 3))]
    if operator is Operator.MATCHES:
        return pick.choice([e for e in EXPRESSIONS if e])
    if subject == "reason" and operator in (Operator.EQUALS, Operator.NOT_EQUALS):
        return pick.choice(["quiet", "proved"])
    about, whole = subject_of(subject), operator in EQUALITY
    numbers = [0, 3, 2.5, -1, 1000, 10**59]
    return pick.choice(
        {
            ValueKind.TEXT: WORDS,
            ValueKind.NUMBER: [
                one for one in numbers if misfit_of_number(one, about, whole=whole) is None
            ],
            ValueKind.DATE: ["20261130", "2026-11-30", "19000101"],
            ValueKind.TIME: ["18", "1830", "183000.5"],
            ValueKind.MOMENT: ["2026", "20261130183000", "20261130183000.5+0100"],
            ValueKind.AGE: ["018Y", "030M", "5D"],
        }[kind]
    )


def comparison(pick):
    subject = pick.choice([*reference.ELEMENTS, *BESIDE])
    kind = subject_of(subject).kind
    operator = pick.choice(sorted(OPERATORS[kind]))
    made = {"subject": subject, "operator": str(operator)}
    value = wanted(pick, kind, operator, subject)
    if value is not None:
        made["value"] = value
    if pick.random() < 0.3:
        made["of"] = pick.choice(["any", "all", None])
    if pick.random() < 0.3:
        made["case_sensitive"] = pick.choice([True, False])
    return made


def window(pick):
    begin, end = pick.sample(["00:00", "06:00", "12:30", "18:00", "23:59"], 2)
    zone = pick.choice(["UTC", "Europe/Vienna", "America/St_Johns"])
    made = {"from": begin, "to": end, "zone": zone}
    if pick.random() < 0.5:
        made["days"] = pick.sample(reference.DAYS, pick.randint(0, 3))
    return {"time_of_day": made}


def condition(pick, depth=1):
    roll = pick.random()
    if depth == 5 or roll < 0.5:
        return comparison(pick)
    if roll < 0.55:
        return window(pick)
    if roll < 0.7:
        return {"not": condition(pick, depth + 1)}
    word = pick.choice(["all", "any"])
    return {word: [condition(pick, depth + 1) for _ in range(pick.randint(1, 4))]}


def rules(pick):
    made = []
    for number in range(pick.randint(1, 6)):
        one = {"name": f"rule {number}", "stop": pick.random() < 0.2}
        one["destinations"] = [f"to {n}" for n in pick.sample(range(5), pick.randint(1, 2))]
        if pick.random() < 0.95:
            one["when"] = condition(pick)
        if pick.random() < 0.1:
            one["active"] = False
        if pick.random() < 0.2:
            one["trigger"] = pick.choice(list(map(str, Trigger)))
        made.append(one)
    return {"rules": made}
