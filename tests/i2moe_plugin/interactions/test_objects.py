"""Players, views and experts: what they are, and their names."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin import ConfigError, Expert, Player, View, expert_names
from i2moe_plugin.interactions.experts import interaction_experts
from i2moe_plugin.interactions.views import COMPLETE, MaskedViews, one_masked

places = st.integers(0, 30)
players = st.builds(
    Player, places, st.none() | st.sets(places, min_size=1).map(lambda some: tuple(some))
)
experts = st.one_of(
    st.builds(lambda player: Expert("uniqueness", player), players),
    st.builds(
        lambda kind, number: Expert(kind, number=number),
        st.sampled_from(["synergy", "redundancy", "member"]),
        st.none() | st.integers(1, 30),
    ),
)


@given(experts)
def test_an_experts_name_is_read_back(expert):
    assert Expert.parse(expert.name) == expert
    assert pickle.loads(pickle.dumps(expert)) == expert


@pytest.mark.parametrize(
    "name", ["", "unique", "uniqueness", "uniqueness_0", "uniqueness_1[]", "synergy[1]", "Synergy"]
)
def test_a_name_of_no_expert_is_refused(name):
    with pytest.raises(ConfigError, match="no expert is called"):
        Expert.parse(name)


def test_the_methods_experts_are_one_a_modality_and_two_joint_ones():
    assert expert_names(3) == [*(f"uniqueness_{i}" for i in (1, 2, 3)), "synergy", "redundancy"]
    assert [expert.player for expert in interaction_experts(2)] == [
        Player(0), Player(1), None, None,
    ]  # fmt: skip


def test_labels_name_modalities_as_people_do():
    names = ["audio", "video"]
    labels = [expert.label(names) for expert in interaction_experts(2)]
    assert labels == ["unique: audio", "unique: video", "synergy", "redundancy"]
    assert Expert("uniqueness", Player(1, range(2, 4))).label(names) == "unique: video[2,3]"
    assert Expert.parse("uniqueness_5").label(names) == "uniqueness_5"
    assert Expert("member", number=2).label(names) == "member_2"


@pytest.mark.parametrize(("kind", "player"), [("uniqueness", None), ("synergy", Player(0))])
def test_only_a_uniqueness_expert_has_a_player(kind, player):
    with pytest.raises(ConfigError, match="a uniqueness expert has a player"):
        Expert(kind, player)


@pytest.mark.parametrize("wrong", [(-1, None), (0, ()), (0, (-1, 2))])
def test_a_player_is_somewhere(wrong):
    with pytest.raises(ConfigError, match="masks nothing"):
        Player(*wrong)


@given(players)
def test_players_are_equal_by_what_they_mask(player):
    tokens = player.tokens and (*reversed(player.tokens), player.tokens[0])
    assert Player(player.modality, tokens) == player
    assert View([player, Player(player.modality, tokens)]).player == player


def test_a_player_is_replaced_and_nothing_else():
    latent, noise = torch.zeros(5, 4, 3), torch.ones(2, 5, 4, 3)
    assert Player(0).replace(latent, noise) is noise
    mixed = Player(0, (1, 3)).replace(latent, noise)
    assert mixed.shape == noise.shape
    assert (mixed[..., [1, 3], :] == 1).all()
    assert (mixed[..., [0, 2], :] == 0).all()
    assert not latent.any()


def test_views_are_sets_of_players():
    assert View() == COMPLETE
    assert COMPLETE.player is None
    assert View([Player(0), Player(1)]).player is None
    assert one_masked(2) == (View([Player(0)]), View([Player(1)]))


def test_views_of_a_step_are_drawn_in_order():
    every = MaskedViews(one_masked(4))
    assert every.draw() is every.views
    assert MaskedViews(one_masked(2), drawn=2).draw() == one_masked(2)
    some = MaskedViews(one_masked(4), drawn=2)
    seen = {some.draw() for _ in range(200)}
    assert len(seen) == 6
    for views in seen:
        first, second = (view.player.modality for view in views)
        assert first < second
    assert MaskedViews(()).draw() == ()


@pytest.mark.parametrize(
    "views",
    [
        (COMPLETE,),
        (View([Player(0), Player(1)]),),
        (View([Player(1)]), View([Player(0)])),
        (View([Player(0)]), View([Player(0, (1,))])),
    ],
)
def test_views_that_the_bank_does_not_take_are_refused(views):
    with pytest.raises(ConfigError, match="each view in training masks one player"):
        MaskedViews(views)
