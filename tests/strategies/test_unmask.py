"""Every unmasking rule on hand-made predictions: ties, one eligible position, none admitted, edges."""

import math

import numpy as np
import pytest
import torch

from strategies import SpecError
from strategies.filter import FilterNet, save_filter
from strategies.unmask import Confidence, Entropy, Factor, FixedSteps, LearnedFilter, Oracle, quota, rank
from strategies.values import Steps

SPREAD = [0.5, 0.9, 0.7, 0.3]
RULES = [
    FixedSteps(),
    FixedSteps(remasking="margin"),
    FixedSteps(remasking="entropy"),
    Confidence(threshold=0.999),
    Factor(factor=1e-9),
    Factor(factor=1e-9, variant="fast-dllm"),
    Entropy(threshold=0.0),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_best_position_is_committed_though_none_is_admitted(chosen, rule):
    assert chosen(rule, SPREAD) == [1]
    assert chosen(rule, [SPREAD, [0.8, 0.2, 0.2, 0.2]]) == [[1], [0]]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_single_eligible_position_is_committed_whatever_it_is(chosen, rule):
    only_last = [[False, False, False, True]]
    assert chosen(rule, SPREAD, eligible=only_last, masked=[[True] * 4]) == [3]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_of_equal_predictions_the_first_is_committed(chosen, rule):
    assert chosen(rule, [0.4, 0.6, 0.6, 0.6])[0] == 1


@pytest.mark.parametrize(
    "rule",
    [
        Confidence(threshold=0.01),
        Factor(factor=1e6),
        Entropy(threshold=99.0),
        FixedSteps(steps=Steps.parse("1")),
    ],
    ids=str,
)
def test_however_eager_a_rule_commits_no_position_that_is_not_eligible(chosen, rule):
    eligible = [[True, False, True, False], [False, False, False, True]]
    assert chosen(rule, [SPREAD, SPREAD], eligible=eligible, masked=[[True] * 4] * 2, entered=4) == [
        [0, 2],
        [3],
    ]
    assert chosen(rule, [SPREAD], eligible=[[False] * 4], masked=[[True] * 4]) == [[]]


def test_confidence_commits_from_its_threshold_on(chosen):
    # Powers of two make the probabilities, and so the comparison at the threshold, exact.
    eighth = (1 / 8,) * 8
    assert chosen(Confidence(threshold=0.69), SPREAD) == [1, 2]
    assert chosen(Confidence(threshold=0.125), [eighth, eighth, eighth]) == [0, 1, 2]
    assert chosen(Confidence(threshold=0.1251), [eighth, eighth, eighth]) == [0]


def test_entropy_commits_up_to_its_threshold(chosen):
    half, quarter = (0.5,) * 2 + (0.0,) * 6, (0.25,) * 4 + (0.0,) * 4
    rows = [quarter, half, half, quarter]
    assert chosen(Entropy(threshold=math.log(2) + 1e-9), rows) == [1, 2]
    assert chosen(Entropy(threshold=math.log(2) - 1e-9), rows) == [1]
    assert chosen(Entropy(threshold=math.log(4) + 1e-9), rows) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("confidences", "factor", "published", "upstream"),
    [
        ([0.99, 0.55], 1.0, 1, 2),  # thresholds -, 0.667: the last one fails
        ([0.99, 0.99, 0.55], 1.0, 2, 3),  # -, 0.667, 0.75
        ([0.99, 0.99], 1.0, 2, 2),
        ([0.99, 0.99, 0.99], 1.0, 3, 3),
        ([0.99, 0.6, 0.5], 1.0, 1, 1),  # the second fails and is not the last
        ([0.99, 0.6, 0.99], 1.0, 2, 3),  # sorted first: 0.99, 0.99, 0.6
        ([0.1], 1.0, 1, 1),
        ([0.2, 0.2, 0.2], 1.0, 1, 1),
        ([0.3, 0.2], 1.0, 1, 2),  # the first is free however low, and the last one fails
        ([0.9, 0.9, 0.9, 0.85], 0.5, 3, 4),  # -, 0.833, 0.875, 0.9
        ([0.9, 0.9, 0.87, 0.95], 0.5, 3, 4),
    ],
)
def test_factor_at_the_edge_where_the_last_one_fails(chosen, confidences, factor, published, upstream):
    def count(variant):
        return len(chosen(Factor(factor, variant), list(confidences)))

    assert (count("published"), count("fast-dllm")) == (published, upstream)


def test_factors_thresholds_are_float64():
    """Rounded to float32, 1 - 1 / 3 is greater than itself."""
    score = np.array([[0.99, 1 - 1 / 3]])
    assert Factor().admit(None, score).tolist() == [[True, True]]


def test_factor_counts_only_the_eligible(chosen):
    """A padded row's candidates end at its last eligible position, in both variants."""
    rows = [[0.99, 0.55, 0.3, 0.3], [0.99, 0.99, 0.99, 0.99]]
    eligible = [[True, True, False, False], [True] * 4]
    assert chosen(Factor(), rows, eligible=eligible) == [[0], [0, 1, 2, 3]]
    assert chosen(Factor(variant="fast-dllm"), rows, eligible=eligible) == [[0, 1], [0, 1, 2, 3]]


def schedule(propose, steps, masks, **facts):
    """The quotas of successive forwards over one block."""
    return [int(quota(propose([0.5] * masks, step=step, **facts), steps)[0, 0]) for step in range(steps + 1)]


def test_the_uniform_schedule_puts_the_remainder_first(propose):
    assert schedule(propose, 4, 4)[:4] == [1, 1, 1, 1]
    assert schedule(propose, 3, 7)[:3] == [3, 2, 2]
    assert schedule(propose, 4, 7)[:4] == [2, 2, 2, 1]
    assert schedule(propose, 1, 7)[:1] == [7]


def test_blocks_share_the_steps_in_proportion_to_their_widths(propose):
    """10 tokens in blocks of 4, 4 and 2, 5 forwards: 2, 2 and 1."""

    def forwards(offset, width):
        quotas = [
            int(quota(propose([0.5] * width, step=step, offset=offset, width=width, gen_length=10), 5)[0, 0])
            for step in range(3)
        ]
        return quotas

    assert forwards(0, 4) == [2, 2, 2]
    assert forwards(4, 4) == [2, 2, 2]
    assert forwards(8, 2) == [2, 2, 2]


def test_the_schedule_counts_the_masks_a_block_was_entered_with(propose):
    assert int(quota(propose([0.5] * 2, entered=8, step=3), 2)[0, 0]) == 4


def test_steps_may_be_a_fraction_of_the_length(chosen):
    rule = FixedSteps(steps=Steps.parse("1/4"))
    assert chosen(rule, [0.5, 0.9, 0.7, 0.3]) == [0, 1, 2, 3]
    assert len(chosen(rule, [0.5] * 8)) == 4
    assert Steps.parse("1/4").count(256) == 64
    assert Steps.parse("1/3").count(10) == 3
    assert Steps.parse("1/64").count(10) == 1


def test_fixed_ranks_by_what_its_remasking_says(chosen):
    rows = [
        (0.50, 0.10, 0.10, 0.10, 0.10, 0.10, 0.0, 0.0),  # clear by its margin
        (0.42, 0.41, 0.17, 0.0, 0.0, 0.0, 0.0, 0.0),
        (0.52, 0.48, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),  # most confident and sharpest, but torn between two
        (0.51, 0.09, 0.09, 0.09, 0.09, 0.09, 0.04, 0.0),
    ]
    for remasking, order in {
        "low-confidence": [2, 3, 0, 1],
        "margin": [3, 0, 2, 1],
        "entropy": [2, 1, 0, 3],
    }.items():
        rule = FixedSteps(steps=Steps.parse("1"), remasking=remasking)
        for count in range(1, 5):
            assert chosen(rule, rows, entered=count) == sorted(order[:count])


def test_random_remasking_ranks_by_its_own_numbers(chosen):
    noise = torch.tensor([[0.1], [0.7], [0.4]], dtype=torch.float64)
    rule = FixedSteps(remasking="random")
    assert rule.random
    assert chosen(rule, [0.9, 0.1, 0.8], noise=lambda kind, width: noise) == [1]


def test_dreams_grid_is_patient_and_ends_with_everything(propose):
    """int(masks * (1 - s / t)) over linspace(1, 1e-3), the first forward of as many steps as masks none."""
    rule = FixedSteps(schedule="dream")
    assert rule.patient
    assert rule.whole_region
    masks, counts = 8, []
    for step in range(8):
        eligible = [[i < masks for i in range(8)]]
        proposal = propose([0.5] * 8, rule=rule, step=step, eligible=eligible)
        counts.append(int(rule.transfer_index(proposal).sum()))
        masks -= counts[-1]
    assert counts == [0, 1, 1, 1, 1, 1, 1, 2]
    assert not FixedSteps(schedule="dream-block").whole_region


def test_oracle_commits_what_the_reference_has(chosen, propose):
    predicted = [(0.9, 1), (0.8, 2), (0.7, 3), (0.95, 4)]
    references = torch.tensor([1, 3, 3, 2])
    assert chosen(Oracle(), predicted, references=references) == [0, 2]
    nothing_right = torch.tensor([2, 3, 4, 1])
    found = chosen(Oracle(), predicted, references=nothing_right)
    assert len(found) == 1
    proposal = propose(predicted, rule=Oracle(), references=nothing_right)
    assert proposal.tokens[0].tolist() == nothing_right.tolist()
    # Of wrong predictions the one whose reference token is likeliest.
    assert found == [int(proposal.confidence.argmax())]


@pytest.fixture
def echo(tmp_path):
    """A filter for blocks of 4 that accepts exactly the confidences above 0.5."""
    network = FilterNet(4)
    for layer, gain in ((network.linear1, 1.0), (network.linear2, 100.0)):
        layer.weight.data = gain * torch.eye(4)
        layer.bias.data.zero_()
    network.linear2.bias.data.fill_(-50.0)
    save_filter(network, tmp_path / "filter.safetensors")
    return str(tmp_path / "filter.safetensors")


def test_learn2pd_commits_what_its_filter_accepts_and_the_quota(chosen, echo):
    rule = LearnedFilter(threshold=0.5, filter=echo)
    assert chosen(rule, [0.6, 0.9, 0.2, 0.4], gen_length=4) == [0, 1]
    assert chosen(rule, [0.3, 0.1, 0.2, 0.4], gen_length=4) == [3]
    generous = LearnedFilter(threshold=0.5, steps=Steps.parse("2"), filter=echo)
    assert chosen(generous, [0.6, 0.2, 0.3, 0.4], gen_length=4) == [0, 3]


def test_learn2pd_vouches_for_masked_positions_of_its_block_alone(propose, echo):
    rule = LearnedFilter(threshold=0.5, filter=echo)
    committed = propose([0.9, 0.9, 0.1, 0.9], rule=rule, masked=[[False, True, True, True]])
    assert rule.vouched(committed).tolist() == [[False, True, False, True]]
    tail = propose(
        [0.9, 0.1, 0.9, 0.1, 0.9, 0.9],
        rule=rule,
        eligible=[[True] * 4 + [False] * 2],
        masked=[[True] * 6],
        width=4,
    )
    assert rule.vouched(tail).tolist() == [[True, False, True, False, False, False]]
    narrow = propose([0.9, 0.1], rule=rule)
    assert rule.vouched(narrow).tolist() == [[True, False]]


def test_learn2pd_hides_the_tail_from_a_filter_that_is_wider_than_the_block(propose, tmp_path):
    """With EoTP the positions behind a block of 2 are read too, but a filter for 4 sees zeros there."""
    network = FilterNet(4)
    network.linear1.weight.data = torch.eye(4)
    network.linear1.bias.data.zero_()
    network.linear2.weight.data = -100.0 * torch.ones(4, 4) + 150.0 * torch.eye(4)  # accepts the lonely
    network.linear2.bias.data.fill_(0.0)
    save_filter(network, tmp_path / "wide.safetensors")
    rule = LearnedFilter(threshold=0.5, filter=str(tmp_path / "wide.safetensors"))
    p = propose(
        [0.9, 0.2, 0.9, 0.9], rule=rule, eligible=[[True, True, False, False]], masked=[[True] * 4], width=2
    )
    assert rule.vouched(p).tolist() == [[True, False, False, False]]


def test_what_the_rules_cannot_decode(echo):
    for rule, lengths, says in [
        (FixedSteps(Steps.parse("9")), (8, 4), "steps=9 gives 9 forwards"),
        (FixedSteps(Steps.parse("1")), (8, 4), "need between 2"),
        (FixedSteps(Steps.parse("1/8")), (8, 4), "steps=1/8 gives 1 forwards"),
        (LearnedFilter(), (8, 4), "needs a filter"),
        (LearnedFilter(filter=echo), (8, 8), "block length 4, not 8"),
        (LearnedFilter(filter=echo, steps=Steps.parse("9")), (8, 4), "steps=9"),
    ]:
        with pytest.raises(SpecError, match=says):
            rule.check(*lengths)
    FixedSteps(Steps.parse("1"), schedule="dream").check(8, 4)


def test_ranks_are_stable():
    assert rank(np.array([[0.5, 0.9, 0.5, -np.inf]])).tolist() == [[1, 0, 2, 3]]
