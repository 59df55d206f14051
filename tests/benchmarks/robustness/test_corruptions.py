"""Corruptions: restated in plain loops over the same draws, and what they never do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from i2moe_plugin.benchmarks.robustness import noise, pictures, words

ONE = np.ones(1, np.float32)
LEVELS = (0.1, 0.5, 1.0)


def sample(*shape, seed=0):
    return np.random.default_rng(seed).normal(3, 1, shape).astype(np.float32)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("width", [1, 2, 30])
def test_a_table_is_dropped_then_swapped(level, width):
    values = sample(width)
    random = np.random.default_rng(7)
    dropped, swapped = random.random(width), random.random(width - 1)
    expected = [0.0 if draw < level else float(x) for draw, x in zip(dropped, values, strict=True)]
    for place in range(1, width):
        if swapped[place - 1] < level:
            expected[place - 1], expected[place] = expected[place], expected[place - 1]
    made = noise.corrupt_table(values, level, np.random.default_rng(7), ONE)
    assert made.dtype == np.float32
    assert made.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("level", LEVELS)
def test_a_series_gets_one_noise_a_step_and_loses_entries_and_steps(level):
    values, deviation = sample(6, 3), np.array([1, 10, 100], np.float32)
    random = np.random.default_rng(7)
    added, entries, steps = random.standard_normal(6), random.random((6, 3)), random.random(6)
    expected = values.astype(float).copy()
    for t in range(6):
        for f in range(3):
            expected[t, f] += level * added[t] * deviation[f]
            if entries[t, f] < level or steps[t] < level:
                expected[t, f] = 0
    made = noise.corrupt_series(values, level, np.random.default_rng(7), deviation)
    np.testing.assert_allclose(made, expected, rtol=1e-5)
    assert level < 1 or not made.any()


def audio_ways(values, level, count=400):
    """What becomes of a signal, over many draws."""
    for seed in range(count):
        yield noise.corrupt_audio(values, level, np.random.default_rng(seed), ONE)


def test_audio_is_left_noisy_or_with_silence():
    values, level = sample(60, 1), 0.2
    found = list(audio_ways(values, level))
    left = sum(made is values for made in found)
    noisy = sum((made != 0).all() and made is not values for made in found)
    assert left / len(found) == pytest.approx(1 - level, abs=0.06)
    assert noisy / len(found) == pytest.approx(level / 3, abs=0.05)
    for made in found:
        if (made == 0).any():  # of what is not silent nothing changed
            assert (made[made != 0] == values[made != 0]).all()


def test_a_run_of_silence_is_ten_steps_and_none_goes_past_the_end():
    values, silent = sample(60, 1), []
    for made in audio_ways(values, 0.02, 4000):
        quiet = np.flatnonzero(made[:, 0] == 0)
        parts = np.split(quiet, np.flatnonzero(np.diff(quiet) > 1) + 1) if len(quiet) else []
        silent += [len(part) for part in parts]
    assert {1, 10} <= set(silent)
    assert min(length for length in silent if length > 3) >= 10


@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 4, 5, 6)])
def test_an_array_gets_noise_and_loses_entries(shape):
    values = sample(*shape)
    random = np.random.default_rng(7)
    expected = values + 0.5 * random.standard_normal(shape) * 2
    expected[random.random(shape) < 0.5] = 0
    made = noise.corrupt_array(values, 0.5, np.random.default_rng(7), np.full(1, 2, np.float32))
    np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "corrupt", [noise.corrupt_table, noise.corrupt_series, noise.corrupt_array]
)
def test_the_sample_itself_stays(corrupt):
    values = sample(8) if corrupt is noise.corrupt_table else sample(8, 2)
    before = values.copy()
    corrupt(values, 0.7, np.random.default_rng(0), ONE)
    np.testing.assert_array_equal(values, before)


# Pictures.


@pytest.mark.parametrize("shape", [(12, 9, 3), (12, 9)])
@pytest.mark.parametrize("level", LEVELS)
def test_a_picture_keeps_its_size_and_its_channels(shape, level):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    made = pictures.corrupt_picture(pixels, level, np.random.default_rng(1))
    assert (made.shape, made.dtype) == (shape, np.uint8)
    assert level < 1 or (made != pixels).any()


def changed(name, pixels, level=0.5):
    change = next(one for one in pictures.CHANGES if one.__name__ == f"_{name}")
    return np.asarray(change(Image.fromarray(pixels), level, np.random.default_rng(3))).astype(int)


def test_each_change_is_what_it_is_called():
    pixels = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    luma = pixels @ [0.299, 0.587, 0.114]
    gray = changed("gray", pixels)
    assert (gray == gray[..., :1]).all()
    assert np.abs(gray[..., 0] - luma).max() <= 1
    np.testing.assert_array_equal(changed("inverted", pixels), 255 - pixels.astype(int))
    np.testing.assert_array_equal(changed("flipped", pixels), pixels[:, ::-1])
    middle = int(luma.mean() + 0.5)
    assert np.abs(changed("low_contrast", pixels) - (pixels.astype(int) + middle) / 2).max() <= 2
    tinted = changed("tinted", pixels) - 0.7 * pixels
    added = [tinted[..., channel].mean() for channel in range(3)]
    assert sorted(added)[:2] == pytest.approx([0, 0], abs=1)
    assert max(added) in (pytest.approx(0.3 * 255, abs=1), pytest.approx(0.3 * 128, abs=1))
    warm = changed("white_balance", pixels)
    assert any(
        np.abs(warm - pixels * np.array(colour) / 255).max() <= 1 for colour in pictures.BLACK_BODY
    )


def test_salt_is_white_and_pepper_is_black_and_noise_has_the_levels_deviation():
    grey = np.full((100, 100, 3), 128, np.uint8)
    salted = changed("salt_and_pepper", grey, 0.2)[..., 0]
    shares = [(salted == colour).mean() for colour in (0, 255)]
    assert shares == pytest.approx([0.1, 0.09], abs=0.015)  # pepper falls on salt, and twice
    assert set(np.unique(salted)) == {0, 128, 255}
    assert changed("noisy", grey, 0.1)[..., 0].std() == pytest.approx(25.5, rel=0.05)


# Words.


@given(st.text(), st.floats(0, 1), st.integers(0, 2**31))
def test_a_text_keeps_its_number_of_words(text, level, seed):
    made = words.corrupt_text(text, level, np.random.default_rng(seed))
    assert len(made.split()) == len(text.split())
    assert made == " ".join(text.split()) or level > 0


@given(st.integers(0, 2**31))
def test_short_words_stay_and_slips_are_one_of_five(seed):
    made = words.corrupt_text("the four, keyboard!", 1.0, np.random.default_rng(seed)).split()
    assert made[:2] == ["the", "four,"]
    word, slip = "keyboard", made[2].removesuffix("!")
    swaps = {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, 6)}
    typos = {
        word[:i] + letter + word[i + 1 :]
        for i in range(8)
        for letter in words.BESIDE.get(word[i], "")
    }
    twice = {word[: i + 1] + word[i:] for i in range(8)}
    without = {word[:i] + word[i + 1 :] for i in range(1, 7)}
    shuffled = (slip[0], sorted(slip), slip[-1]) == (word[0], sorted(word), word[-1])
    assert slip in swaps | typos | twice | without or shuffled


def test_about_so_many_words_are_changed_as_the_level_says():
    text = " ".join(["multimodal"] * 2000)
    made = words.corrupt_text(text, 0.3, np.random.default_rng(0)).split()
    changed_words = sum(word != "multimodal" for word in made)
    assert changed_words / 2000 == pytest.approx(0.3, abs=0.04)


def test_neighbours_on_the_keyboard_are_other_letters():
    assert set(words.BESIDE) == set("abcdefghijklmnopqrstuvwxyz")
    assert set("".join(words.BESIDE.values())) <= set(words.BESIDE)
    assert all(letter not in beside for letter, beside in words.BESIDE.items())
