"""Units decide between answers, as texts and in a run, where both sides state one."""

import pickle

import pytest

from dupo.tasks import unit_table
from dupo.tasks.answer_quantities import unit_of
from dupo.tasks.final_answer import final_answer, gold_answer, normalise, same_answer

OTHER_UNITS = [
    ("5 dollars", "5 cents"),
    ("5 cents", "$5"),
    ("50 cents", r"\$50"),
    ("5 cents", r"$\$5$"),
    ("€5", "$5"),
    ("£5", "$5"),
    ("45 cents", "45 euros"),
    ("5 km", "5 m"),
    (r"3 \text{ hours}", "3 minutes"),
    ("2 weeks", "2 days"),
    ("2 kg", "2 grams"),
    ("5 inches", "5 feet"),
    ("5 ft", "5 in"),
    ("5 ounces", "5 pounds"),
    ("5 gallons", "5 liters"),
    ("5 cm^2", "5 m^2"),
    ("5 m^2", "5 m"),
    ("5 m^2", "5 m^3"),
    ("5 square meters", "5 meters"),
    ("5제곱미터", "5미터"),
    (r"2\pi \text{ cm}", r"2\pi \text{ m}"),
    ("60 km/h", "60 km per minute"),
    ("60 km/h", "60 km"),
    ("5 hours", "5 km"),
    ("7 am", "7 pm"),
    ("7 AM", "7 p.m."),
    (r"20^\circ C", r"20^\circ F"),
    (r"30^\circ", "30 radians"),
    ("5시간", "5분"),
    ("5원", "5달러"),
    ("5킬로미터", "5미터"),
    ("3 小时", "3 分钟"),
    ("三十五公里", "三十五米"),
    ("1 m^2", "100 cm^2"),
    ("1 year", "365 days"),
    ("1 ton", "1000 kg"),
    ("5 dollars", "500 euros"),
    # marks and rows
    ("8'", '8"'),
    ("8′", "8″"),
    ("8 ft", '8"'),
    ("¥80", "$80"),
    ("￥80", "80 euros"),
    ("80 won", "80 yen"),
    ("80 rupees", "80 yuan"),
    ("80 shillings", "80 pence"),
    ("80 rubles", "80 lira"),
    ("6角", "6元"),
    ("6分", "6元"),
    ("6斤", "6千克"),
    ("6尺", "6米"),
    ("6 furlongs", "6 miles"),
    ("6 fathoms", "6 feet"),
    ("6 stone", "6 pounds"),
    ("6 fortnights", "6 weeks"),
    ("6 knots", "6 mph"),
    ("6 light years", "6 years"),
    ("6 nautical miles", "6 miles"),
    ("6 fluid ounces", "6 ounces"),
    ("6 bits", "6 bytes"),
    ("6 kilobits", "6 kilobytes"),
    ("6 joules", "6 newtons"),
    ("6 more minutes", "6 hours"),
    # a sign alone is an angle
    (r"70^\circ F", r"70^\circ"),
    ("70°", "70 °C"),
    # per cent of what is not said, and a hundredth is no thing
    (r"35\%", "35 people"),
    ("35%", r"\$35"),
    ("35 percent", "35 kg"),
    ("35%", "0.35 liters"),
    ("35%", "35 minutes"),
    ("35%", "35명"),
    ("35%", "35 more chairs"),
    (r"35\%", r"35^\circ"),
]
SAME_UNITS = [
    ("5 in total", "5 feet"),
    ("12 inch pizzas", "12 feet"),
    ("60 miles per hour", "60 mph"),
    ("5 feet", "5 ft"),
    ("5 inches", "5 inch"),
    ("3 centuries", "3 century"),
    ("5 dollars", "5 dollars a day"),
    ("She won 5 dollars", "5 dollars"),
    (r"2\pi \text{ km}", r"2\pi"),
    (r"3 \text{ or } 8 \text{ feet}", "3, 8"),
    (r"abc \text{ cm}^3", "abc"),
    ("5 cm", "5"),
    ("$5", "5"),
    ("$5$", "5 cents"),
    ("£5", "5 pounds"),
    ("20 degrees", r"20^\circ C"),
    ("5cm", "5센티미터"),
    ("3:30 PM", "3:30 p.m."),
    ("2 weeks", "14 days"),
    ("90 minutes", "1.5 hours"),
    ("50 cents", "$0.50"),
    ("3 feet", "1 yard"),
    ("2 lb", "32 ounces"),
    ("2 gallons", "8 quarts"),
    ("1 m^2", "10000 square cm"),
    ("36 km/h", "10 m/s"),
    ("2 years", "24 months"),
    ("5 km", "5000미터"),
    ("2 hours and 30 minutes", "2시간 30분"),
    ("8'", "8 feet"),
    ("8″", "8 inches"),
    ("1'", '12"'),
    ("¥80", "80 yen"),
    ("¥80", "80元"),
    ("￥80", "80"),
    ("80 bucks", "$80"),
    ("80₩", "80 won"),
    ("16 furlongs", "2 miles"),
    ("2 stone", "28 pounds"),
    ("2 fortnights", "28 days"),
    ("10 knots", "18.52 km/h"),
    ("3 bytes", "24 bits"),
    ("8 fluid ounces", "1 cup"),
    ("6 light-years", "6 light years"),
    ("90 kmph", "90 km/h"),
    ("4斤", "2公斤"),
    ("30分", "3角"),
    ("6分", "6 minutes"),
    ("5 kilos", "5 kg"),
    ("70 degrees", "70°"),
    ("70 chairs", "70 tables"),
    ("70 chairs", "70 m"),
    (r"35\%", "35"),
    ("35% of the people", "0.35"),
    ("35 percentage points", "35%"),
]


def in_a_run(first: str, second: str) -> bool:
    """As a run compares: the answer from the box of a completion, the gold from a data set."""
    answer = final_answer(f"So it is \\boxed{{{first}}}.")
    return same_answer(answer, gold_answer(second), by_value=False)


# Counted nouns that say another value, and things.
FACTORS = (
    "twos sixes nines elevens twenties hundreds thousands dozens halves fifths doubles quadruples negatives"
    " roots squares cubes powers logs sines inverses reciprocals complements opposites scores grosses couples"
    " pairs trios"
)
THINGS = "clips ones boxes teens twins factors zeros digits buses bases ladies women sheep goldfish"


@pytest.mark.parametrize("noun", FACTORS.split())
def test_a_noun_that_multiplies_is_part_of_the_value(noun: str) -> None:
    assert (
        not same_answer(f"4 {noun}", "4")
        and not in_a_run(f"4 big {noun}", "4")
        and not in_a_run("4", f"4 {noun}")
    )


@pytest.mark.parametrize("noun", THINGS.split())
def test_a_counted_thing_is_not(noun: str) -> None:
    assert in_a_run(f"4 {noun}", "4") and in_a_run("4", f"4 big {noun}")


@pytest.mark.parametrize(("first", "second"), OTHER_UNITS)
def test_another_unit_is_another_answer(first: str, second: str) -> None:
    assert not same_answer(first, second) and not same_answer(second, first)
    assert not in_a_run(first, second) and not in_a_run(second, first)
    assert same_answer(first, normalise(first)) and same_answer(second, normalise(second))


@pytest.mark.parametrize(("first", "second"), SAME_UNITS)
def test_a_unit_does_not_count_where_no_other_is_stated(first: str, second: str) -> None:
    assert same_answer(first, second, by_value=False) and same_answer(second, first, by_value=False)
    assert in_a_run(first, second) and in_a_run(second, first)


@pytest.mark.parametrize(
    ("text", "same", "other"),
    [
        ("It costs $1,234.50.", "1234.5 dollars", "1234.5 cents"),
        ("He paid $5 and then $6.", "$6", "6 euros"),
        ("It takes 5 hours.", "5 h", "5 minutes"),
        ("Its volume is 980cm³", "980 cubic cm", "980 cm"),
        (r"It is $2\sqrt{3}$ cm.", r"2\sqrt3 \text{ cm}", r"2\sqrt3 \text{ m}"),
        ("The answer is $12$.", "12 cents", "13"),
        ("거리는 35킬로미터입니다.", "35 km", "35 m"),
    ],
)
def test_a_sentence_keeps_the_unit_of_its_number(text: str, same: str, other: str) -> None:
    assert same_answer(final_answer(text), gold_answer(same))
    assert not same_answer(final_answer(text), gold_answer(other))


def test_a_unit_is_no_other_vote_and_survives_a_copy() -> None:
    answer = final_answer(r"\boxed{45 \text{ cents}}")
    assert answer == "45" and hash(answer) == hash("45") and answer.unit == unit_of("45 cents")
    assert pickle.loads(pickle.dumps(answer)).unit == answer.unit is not None


def test_a_spelling_of_a_unit_has_one_row() -> None:
    spellings = [word for line in unit_table._ROWS.strip().splitlines() for word in line.split()[1:]]
    assert len(spellings) == len(set(spellings))
    assert unit_table.ROW_OF["feet"] == unit_table.ROW_OF["ft"] != unit_table.ROW_OF["inches"]
