"""The duals of word problems: which number is hidden, and how the dual prompt asks for the hidden number."""

from functools import lru_cache

from dupo.data.splits import keyed_hash
from dupo.records import Dual
from dupo.tasks.answer_numbers import parse_number
from dupo.text import MOST_HIDDEN, find_numbers, hide_numbers

# Several templates, chosen by the problem: one wording could be learnt by heart.
DUAL_TEMPLATES = (
    """{known}

One number of this problem was replaced by {variable}. The final answer of the problem is \\boxed{{{answer}}}.
Work out, step by step, which number {variable} stands for, and write it inside \\boxed{{}}.""",
    """The problem below has the final answer \\boxed{{{answer}}}, but one of its numbers is unknown and is \
called {variable}.

{known}

What must {variable} be? Reason step by step and end with its value inside \\boxed{{}}.""",
    """Work backwards in this problem, where {variable} stands for an unknown number:

{known}

Its solution ends with the final answer \\boxed{{{answer}}}. Find the value of {variable}, step by step, and \
give it inside \\boxed{{}}.""",
    """{known}

Take it as given that the final answer here is \\boxed{{{answer}}}. Which value of {variable} leads to it? \
Show your steps, then put the value of {variable} inside \\boxed{{}}.""",
)


def hidden_number_duals(text: str, seed: int, max_duals: int = 0) -> list[Dual]:
    """Hides the numbers of a text in turn.

    Args:
        seed: chooses the numbers where not all are hidden, and the names of the variables.
        max_duals: most duals; 0: all.

    Returns:
        the duals in the order of the text.
    """
    # The text seeds the choice, so that the place of a problem in its file does not matter.
    most = min(max_duals or MOST_HIDDEN, MOST_HIDDEN)
    (hidden_numbers,) = hide_numbers([text], [keyed_hash(text, f"hide {seed}")], most=most)
    return [Dual(hidden.known, hidden.numbers[0].surface, hidden.variable) for hidden in hidden_numbers]


@lru_cache(maxsize=64)  # a dual is asked about one answer after another
def text_around_answer(dual: Dual, seed: int) -> tuple[str, str]:
    """Returns what stands before and after the answer in a dual prompt."""
    template = DUAL_TEMPLATES[keyed_hash(dual.known, f"template {seed}") % len(DUAL_TEMPLATES)]
    before, _, after = template.partition("{answer}")
    # The answer is no field of the template: braces of the answer would be read as fields.
    fields = {"known": dual.known, "variable": dual.variable}
    return before.format(**fields), after.format(**fields)


def without_unknown(answer: str, dual: Dual) -> str:
    """Replaces the hidden value by the variable in an answer that is more than one number.

    Otherwise "(72, 48)" would tell the dual what to say, and the policy would learn to write that.
    """
    if parse_number(answer) is not None:
        return answer
    hidden = parse_number(dual.unknown)
    (numbers,) = find_numbers([answer])
    for number in reversed(numbers):  # from the end, so that the places of the others stay right
        # An answer may write the hidden value as a percentage: 4800 % is 48.
        if hidden is not None and number.value in (hidden, 100 * hidden, hidden / 100):
            answer = answer[: number.start] + dual.variable + answer[number.end :]
    return answer
