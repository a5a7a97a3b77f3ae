"""No program of the demo suites' test sets was trained on, however it was described."""

import pytest

from harness.tasks.demo import COUNT, DIGITS, PROGRAMS, WITHHELD, generate, programs
from training.withheld import drafts, trained_on, withheld


@pytest.fixture(scope="module")
def seen():
    """Every program of the recipe's data. Its results, which take the time, draw no random numbers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "_outputs", lambda source, name, inputs: [("", "")] * len(inputs))
        yield trained_on()


def body(doc):
    code = doc.get("canonical_solution") or doc["code"].split("\n", 1)[1]
    argument = (doc.get("prompt") or doc["code"]).split("(", 1)[1].split(")", 1)[0]
    return programs.Program("", "", argument, code, [], "").anonymous


def test_the_default_test_sets_have_no_program_that_was_trained_on(seen):
    tested = [body(doc) for suite in PROGRAMS for doc in generate(suite)]
    assert len(tested) == 2 * COUNT
    assert len(set(tested)) == len(tested)
    assert seen.isdisjoint(tested)


def test_the_file_is_what_the_command_prints(seen):
    assert set(WITHHELD.read_text().split()) == withheld(seen)


def test_a_program_is_known_under_other_words_and_other_names():
    assert body({"prompt": 'def f(n):\n    """Add 3."""\n', "canonical_solution": "    n = n + 3\n"}) == body(
        {"text": "increase by 3", "code": "def g(x):\n    x = x + 3\n"}
    )


@pytest.mark.parametrize("suite", PROGRAMS)
def test_train_problems_of_any_seed_leave_the_tested_programs_out(suite):
    """Without the rule some of these draws would be problems of the test sets in other words."""
    tested = {body(doc) for name in PROGRAMS for doc in generate(name)}
    raw = drafts(suite, "train", 5)
    assert any(next(raw).program in tested for _ in range(6000))
    assert tested.isdisjoint(map(body, generate(suite, "train", 6000, seed=5)))


def test_fingerprints_of_the_file_are_of_the_written_length():
    assert {len(line) for line in WITHHELD.read_text().split()} == {DIGITS}
