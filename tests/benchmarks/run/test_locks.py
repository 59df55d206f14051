import multiprocessing

import filelock
import pytest

from i2moe_plugin.benchmarks.run.locks import hold, is_held, lock_file


def held_elsewhere(aside, answer):
    answer.put((hold(aside) is None, is_held(aside)))


def test_one_process_holds_a_run(tmp_path):
    aside = tmp_path / ".unfinished" / "run"
    lock = hold(aside)
    context = multiprocessing.get_context("fork")
    for expected in ((True, True), (False, False)):
        answer = context.Queue()
        process = context.Process(target=held_elsewhere, args=(aside, answer))
        process.start()
        assert answer.get(timeout=60) == expected
        process.join(60)
        lock.release()


@pytest.mark.parametrize("times", [1, 3])
def test_a_folder_that_is_removed_and_made_again_is_not_held_by_anybody(
    tmp_path, monkeypatch, times
):
    """The last run of another process ends, and its next one begins, while this one asks."""
    aside = tmp_path / ".unfinished" / "run"
    acquire, missed = filelock.FileLock.acquire, []

    def miss(lock, *arguments, **options):
        if len(missed) < times:
            missed.append(lock_file(aside))
            raise filelock.Timeout(lock_file(aside))
        return acquire(lock, *arguments, **options)

    monkeypatch.setattr(filelock.FileLock, "acquire", miss)
    lock = hold(aside)
    assert lock is not None
    assert lock.is_locked
    assert len(missed) == times
    lock.release()
