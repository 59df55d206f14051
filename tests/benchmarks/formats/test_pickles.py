"""Pickles: data is read, whatever the protocol; nothing else in a stream is run."""

import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from i2moe_plugin.benchmarks.formats.pickle_scan import MOST_DEPTH
from i2moe_plugin.benchmarks.formats.pickles import flatten, read_pickle
from i2moe_plugin.errors import DatasetError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def put(tmp_path):
    """A file with this content: an object to be pickled, or the bytes of a stream."""

    def write(value, protocol=pickle.DEFAULT_PROTOCOL) -> Path:
        path = tmp_path / "data.pkl"
        path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
        return path

    return write


def same(one, two) -> bool:
    if isinstance(two, (np.ndarray, np.generic)):
        if np.asarray(two).dtype.kind == "O":
            pairs = zip(np.ravel(one), np.ravel(two), strict=True)
            return one.shape == two.shape and all(same(a, b) for a, b in pairs)
        native = [array.astype(array.dtype.newbyteorder("=")) for array in (one, two)]
        return len({(a.dtype, a.shape, a.tobytes()) for a in native}) == 1
    if isinstance(two, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in two)
    if isinstance(two, (list, tuple)):
        pairs = zip(one, two, strict=False)
        return type(one) is type(two) and len(one) == len(two) and all(same(a, b) for a, b in pairs)
    return type(one) is type(two) and (one == two or (one != one and two != two))


# Data


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_data_sets_hold_is_read_as_pickle_reads_it(put, protocol):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(3, 2))
    content = {
        "train": {
            "vision": rng.normal(size=(3, 4, 5)).astype("f4"),
            "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "big end first": np.arange(3, dtype=">i4"),
            "flags": np.array([True, False]),
            "none": np.zeros((0, 3)),
            "one": np.float64(3.0),
            "count": np.int32(7),
            "id": np.array([["a", "bcd"], ["é", ""]]),
            "bytes": np.array([b"x", b"yz"]),
            "objects": np.array(["x", 3, 2.5, None], dtype=object),
            "ragged": np.array([np.arange(2), np.arange(3)], dtype=object),
            "complex": np.array([1 + 2j]),
            "strided": np.arange(12).reshape(3, 4)[:, ::2],
        },
        "twice": [shared, shared],
        "plain": [1, 2.5, "text", None, True, (1, (2,)), 2**70, -1, 1 + 2j],
    }
    if protocol >= 3:  # before that, bytes and text are one
        content["bytes"] = [b"bytes", bytearray(b"more")]
    found = read_pickle(put(content, protocol))
    assert same(found, content)
    assert found["twice"][0] is found["twice"][1]


def test_ordered_dictionaries_and_sets(put):
    value = OrderedDict(b=1, a={2, 3}, c=frozenset(["x"]))
    assert read_pickle(put(value)) == {"b": 1, "a": {2, 3}, "c": {"x"}}
    assert list(read_pickle(put(value))) == ["b", "a", "c"]


def test_the_pickles_of_python_2(put):
    """Text and bytes are one there; arrays name numpy.core."""
    stream = (
        b"\x80\x02}q\x00U\x05labelq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray"
        b"\nq\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
        + struct.pack("<2f", 1.5, -2.0)
        + b"tbs."
    )
    found = read_pickle(put(stream))
    np.testing.assert_array_equal(found["label"], np.array([1.5, -2.0], dtype="f4"))


array_types = hnp.boolean_dtypes() | hnp.integer_dtypes() | hnp.floating_dtypes(sizes=(16, 32, 64))
arrays = hnp.arrays(
    array_types | hnp.unicode_string_dtypes(max_len=4) | hnp.byte_string_dtypes(max_len=4),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
leaves = arrays | st.integers() | st.floats() | st.text(max_size=5) | st.none() | st.booleans()
contents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@quick
@given(contents, st.sampled_from(PROTOCOLS))
def test_any_data_comes_back(put, value, protocol):
    stream = pickle.dumps(value, protocol)
    expected = pickle.loads(stream, encoding="latin-1")
    assert same(read_pickle(put(stream)), expected)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tables_of_pandas(put, protocol):
    names = pd.Index(["a", "b", "c"], dtype=object)
    table = pd.DataFrame(
        np.arange(6.0).reshape(2, 3), columns=names, index=np.array([7, 9])
    ).assign(c=np.array([1, 2]))
    found = read_pickle(put({"table": table, "series": table["a"]}, protocol))
    assert list(found["table"]) == [*"abc", "index"] or set(found["table"]) == {*"abc", "index"}
    for name in "abc":
        np.testing.assert_array_equal(found["table"][name], table[name].to_numpy())
        assert found["table"][name].dtype == table[name].dtype
    np.testing.assert_array_equal(found["table"]["index"], [7, 9])
    np.testing.assert_array_equal(found["series"], table["a"].to_numpy())


def test_a_table_with_a_plain_index_has_its_columns_alone(put):
    found = read_pickle(put(pd.DataFrame(np.eye(2))))
    assert list(found) == ["0", "1"]
    np.testing.assert_array_equal(found["1"], [0.0, 1.0])
    np.testing.assert_array_equal(read_pickle(put(pd.RangeIndex(2, 8, 3))), [2, 5])


# What is not data


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args, state=None) -> None:
        self.call = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.call


def refused(path: Path) -> str:
    """The reason; fails if the file is read."""
    with pytest.raises(DatasetError) as error:
        read_pickle(path)
    assert path.name in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("place", ["alone", "list", "mapping", "key", "array", "state"])
def test_calls_are_refused_by_name_and_not_made(put, tmp_path, protocol, place):
    made = tmp_path / "made"
    for call in (
        Calls(os.system, f"touch {made}"),
        Calls(eval, f"open({str(made)!r}, 'w')"),
        Calls(exec, f"open({str(made)!r}, 'w')"),
        Calls(open, str(made), "w"),
        Calls(getattr, Calls(__import__, "os"), "system"),
        Calls(subprocess.Popen, ["touch", str(made)]),
        Calls(np.save, str(made), 1),
        Calls(pd.read_pickle, str(made)),
    ):
        held = np.empty(1, dtype=object)
        held[0] = call
        value = {
            "alone": call,
            "list": [np.zeros(3), [call]],
            "mapping": {"train": {"x": call}},
            "key": {(1, call): 2},
            "array": {"x": held},
            "state": Calls(OrderedDict, state={"x": call}),
        }[place]
        reason = refused(put(value, protocol))
        if place == "key":
            assert "a mapping or set of something else than numbers and text" in reason
        else:
            assert "it asks for " in reason
            assert "which is not data; nothing of it was run" in reason
        assert not made.exists()


NAMES = [
    ("builtins", name) for name in ("eval", "exec", "getattr", "setattr", "type", "object", "map",
                                    "__import__", "open", "compile", "globals", "print", "range")
] + [
    ("os", "system"), ("posix", "system"), ("nt", "system"), ("subprocess", "run"),
    ("numpy", "load"), ("numpy", "fromfile"), ("numpy", "memmap"), ("numpy", "core"),
    ("numpy.core.multiarray", "fromfile"), ("numpy._core.multiarray", "concatenate"),
    ("numpy", "ndarray.tofile"), ("numpy", "dtype.newbyteorder"), ("_codecs", "decode"),
    ("codecs", "open"), ("operator", "attrgetter"), ("functools", "partial"),
    ("copyreg", "_reconstructor"), ("copyreg", "__newobj__"), ("pandas", "read_pickle"),
    ("pandas", "eval"), ("pandas.core.frame", "DataFrame.to_csv"), ("torch", "load"),
    ("torch.storage", "_load_from_bytes"), ("collections", "defaultdict"),
    ("i2moe_plugin.benchmarks.formats.pickles", "read_pickle"), ("builtins", "set.add"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), NAMES)
@pytest.mark.parametrize("opcode", ["global", "stack"])
def test_no_other_name_is_looked_up(put, module, name, opcode):
    """Not even imported."""
    before = set(sys.modules)
    if opcode == "global":
        stream = b"\x80\x04c" + f"{module}\n{name}\n.".encode()
    else:
        stream = b"\x80\x04" + short(module) + short(name) + b"\x93."
    assert "which is not data" in refused(put(stream))
    assert not {m for m in set(sys.modules) - before if m.split(".")[0] in ("torch", "codecs")}


def short(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


STRANGE = {
    "extension registry, 1 byte": b"\x80\x02\x82\x01.",
    "extension registry, 4 bytes": b"\x80\x02\x84\x01\x00\x00\x00.",
    "persistent id": b"Psomething\n.",
    "binary persistent id": b"\x80\x02U\x01xQ.",
    "instance of an old class": b"(ios\nsystem\n.",
    "object of an old class": b"(cos\nsystem\no.",
    "buffer outside of the file": b"\x80\x05\x97.",
    "state for a function": b"\x80\x02c_codecs\nencode\n}U\x09_functionU\x01xsb.",
    "state for a class": b"\x80\x02cpandas\nDataFrame\n}U\x04argsU\x01xsb.",
    "item of a function": b"\x80\x02cnumpy\ndtype\nK\x01K\x02s.",
    "appended to a function": b"\x80\x02cnumpy\ndtype\nK\x01a.",
    "bytes of a number": b"\x80\x02cbuiltins\nbytes\n\x8a\x06\x00\x10\xa5\xd4\xe8\x00\x85R.",
    "bytearray of a number": b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "encoded some other way": b"\x80\x02c_codecs\nencode\nU\x01xU\x03hex\x86R.",
    "a function as data": b"\x80\x02]c_codecs\nencode\na.",
    "a class as data": b"\x80\x02]cpandas\nDataFrame\na.",
    "an array never filled": b"\x80\x02cnumpy\nndarray\n)R.",
    "a type as data": b"\x80\x02cnumpy\ndtype\nU\x02f4\x85R.",
    "a new object of a function": b"\x80\x02cnumpy\ndtype\nU\x02f4\x85\x81.",
    "a table without values": b"\x80\x02cpandas\nDataFrame\n)\x81.",
    "a series without values": b"\x80\x02cpandas\nSeries\n)\x81}U\x04_mgrNsb.",
    "a slice as data": b"\x80\x02cbuiltins\nslice\nK\x01\x85R.",
    "nothing": b"",
    "no end": b"\x80\x04]",
    "no beginning": b".",
    "two ends": b"a.a.",
    "unknown instruction": b"\x80\x04\xff.",
    "a later protocol": b"\x80\x2a.",
    "empty stack": b"\x80\x02R.",
    "no mark": b"\x80\x02K\x01t.",
    "unknown place of the memo": b"\x80\x02h\x07.",
}


@pytest.mark.parametrize("what", STRANGE)
def test_strange_streams_are_refused(put, what):
    refused(put(STRANGE[what]))


# Arrays that lie


def array_stream(
    spec: bytes = b"f8", flags: int = 0, shape: bytes = b"K\x02\x85", content: bytes = b"\0" * 16,
    fields: bytes = b"NNN", order: bytes = b"<", fortran: bytes = b"\x89",
) -> bytes:  # fmt: skip
    """A pickle of one array, said as numpy says it."""
    kind = (
        b"cnumpy\ndtype\nU" + bytes([len(spec)]) + spec + b"K\x00K\x01\x87R(K\x03U\x01" + order
        + fields + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK" + bytes([flags]) + b"tb"
    )  # fmt: skip
    return (
        b"\x80\x04cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + shape + kind + fortran + b"B" + struct.pack("<I", len(content)) + content + b"tb."
    )  # fmt: skip


def test_the_stream_used_here_is_numpys(put):
    np.testing.assert_array_equal(read_pickle(put(array_stream())), np.zeros(2))


LIES = {
    "objects said to be plain bytes": {"spec": b"O8", "flags": 0},
    "plain bytes said to be objects": {"spec": b"f8", "flags": 63},
    "objects in text": {"spec": b"O", "content": b"\x41" * 16},
    "void": {"spec": b"V8"},
    "times": {"spec": b"M8"},
    "fields in the spec": {"spec": b"f4,f4"},
    "an array in the spec": {"spec": b"(2,)f4", "content": b"\0" * 16},
    "objects in a field": {"spec": b"f4,O"},
    "an unknown letter": {"spec": b"q7"},
    "a huge text": {"spec": b"S999999999"},
    "no width": {"spec": b"S0", "content": b""},
    "an order that is none": {"order": b"x"},
    "fields": {"fields": b"NU\x01a\x85}"},
    "an array of arrays": {"fields": b"U\x02f4K\x02\x85\x86NN"},
    "too little": {"content": b"\0" * 15},
    "too much": {"content": b"\0" * 17},
    "a huge shape": {"shape": b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x0f\x85"},
    "a shape that overflows": {"shape": b"\x8a\x08" + b"\xff" * 7 + b"\x0fK\x10\x86"},
    "a shape that wraps to its size": {"shape": b"\x8a\x09" + b"\0" * 8 + b"\x01K\x02\x86"},
    "a shape below zero": {"shape": b"J\xfe\xff\xff\xff\x85"},
    "a shape of text": {"shape": b"U\x012\x85"},
    "a shape of booleans": {"shape": b"\x88K\x02\x86"},
    "a shape that is no tuple": {"shape": b"K\x02"},
    "too many dimensions": {"shape": b"(" + b"K\x01" * 70 + b"K\x02t"},
}


@pytest.mark.parametrize("lie", LIES)
def test_arrays_that_lie_are_refused(put, lie):
    stream = array_stream(**LIES[lie])
    if lie == "plain bytes said to be objects":  # the flags are not believed
        np.testing.assert_array_equal(read_pickle(put(stream)), np.zeros(2))
        return
    refused(put(stream))


def test_an_array_is_filled_once(put):
    stream = array_stream()
    state = stream[stream.index(b"(K\x01") : -1]
    assert "twice" in refused(put(stream[:-1] + state + b"."))


# Streams that want too much: in a process of their own, with little memory


def linked_arrays(count: int) -> bytes:
    """Arrays of one object each: every one holds the next, which is filled later."""
    new = b"cnumpy\nndarray\n)R"
    kind = b"cnumpy\ndtype\nU\x01O\x85R"
    out = [b"\x80\x04", kind, b"r\xff\x00\x00\x00", b"0", new, b"q\x00"]
    for _ in range(count):  # inner, then outer = [inner], which is the next inner
        out += [b"0", new, b"q\x01", b"(K\x01K\x01\x85j\xff\x00\x00\x00\x89]h\x00atb", b"q\x00"]
    return b"".join(out) + b"."


def claims(code: int, size: int, form: str = "<Q") -> bytes:
    """An instruction that says it is followed by so many bytes."""
    return b"\x80\x05" + bytes([code]) + struct.pack(form, size) + b"x."


def wrapped(name: bytes, list_: bool, count: int) -> bytes:
    """The result of a call in a call in a call."""
    step = b"0h\x00" + (b"]h\x01a" if list_ else b"h\x01") + b"\x85Rq\x01"
    return b"\x80\x04Nq\x01cbuiltins\n" + name + b"\nq\x00" + step * count + b"."


def linked_tuples(count: int) -> bytes:
    """One in the other, each from the memo; the last is a key."""
    return b"\x80\x04)q\x00" + b"0h\x00\x85q\x00" * count + b"}h\x00Ns."


def lists_of_the_same(depth: int) -> bytes:
    """Each holds the one before 50 times."""
    steps = [b"](" + bytes([0x68, k]) * 50 + b"eq" + bytes([k + 1]) for k in range(depth)]
    return b"\x80\x04]q\x00" + b"".join(steps) + b"."


def one_text(times: int) -> bytes:
    text = b"X" + struct.pack("<I", 10**6) + b"x" * 10**6 + b"q\x00"
    return b"\x80\x04]" + text + b"0(" + b"h\x00" * times + b"e."


def numbers_of_one_hash(count: int) -> bytes:
    numbers = [pickle.dumps(k * (2**61 - 1), 2)[2:-1] for k in range(2, count)]
    return b"\x80\x02cbuiltins\nset\n](" + b"".join(numbers) + b"e\x85R."


def wide_table() -> bytes:
    stream = pickle.dumps(pd.DataFrame(np.zeros((2, 2))), 4)
    return stream.replace(b"stop\x94K\x02", b"stop\x94J\xff\xff\xff\x7f")


GB30 = 30 * 10**9
BOMBS: dict[str, Callable[[], bytes]] = {
    "nested tuples": lambda: b"\x80\x04)" + b"\x85" * 2_000_000 + b".",
    "nested tuples as a key": lambda: b"\x80\x04})" + b"\x85" * 2_000_000 + b"K\x01s.",
    "linked tuples": lambda: linked_tuples(500_000),
    "nested lists": lambda: b"\x80\x04" + b"]" * 1_000_000 + b"a" * 999_999 + b".",
    "nested frozen sets": lambda: wrapped(b"frozenset", True, 300_000),
    "nested slices": lambda: wrapped(b"slice", False, 300_000),
    "nested arrays": lambda: linked_arrays(200_000),
    "a list in itself": lambda: b"\x80\x04]q\x00(" + b"h\x00" * 10 + b"e.",
    "lists of lists of the same": lambda: lists_of_the_same(20),
    "one long text many times": lambda: one_text(300_000),
    "a place of the memo far away": lambda: b"\x80\x04Nr\xff\xff\xff\xff.",
    "a place of the memo far away, in text": lambda: b"Np4294967295\n.",
    "bytes of a claimed terabyte": lambda: claims(0x8E, 10**12),
    "bytes of a claimed size": lambda: claims(0x8E, GB30),
    "bytearray of a claimed size": lambda: claims(0x96, GB30),
    "text of a claimed size": lambda: claims(0x8D, GB30),
    "a frame of a claimed size": lambda: claims(0x95, GB30),
    "a whole number of a claimed size": lambda: claims(0x8B, 2**31 - 1, "<i"),
    "a whole number in text": lambda: b"I" + b"9" * 3_000_000 + b"\n.",
    "bytes of ten to the twelfth": lambda: pickle.dumps(Calls(bytes, 10**12)),
    "numbers of one hash": lambda: numbers_of_one_hash(100_000),
    "an index that is a huge range": lambda: pickle.dumps({"x": pd.RangeIndex(10**12)}),
    "a table with a huge range of columns": wide_table,
}

READ = """
import resource, sys
from pathlib import Path
from i2moe_plugin.benchmarks.formats.pickles import flatten, read_pickle
from i2moe_plugin.errors import DatasetError
import numpy, time
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
for name in sys.argv[1:]:
    start = time.process_time()
    try:
        flatten(read_pickle(Path(name)))
        print("READ", name)
    except DatasetError as error:
        print(f"REFUSED {Path(name).name} {time.process_time() - start:.1f} {error}")
# Not ru_maxrss: it starts from the parent's, which may be large.
peak = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
print("ALIVE", int(peak[0].split()[1]) // 1024)
"""


@pytest.mark.posix
def test_streams_that_want_too_much_are_refused_in_little_room_and_time(tmp_path):
    files = []
    for number, stream in enumerate(BOMBS.values()):
        files.append(tmp_path / f"{number}.pkl")
        files[-1].write_bytes(stream())
    done = subprocess.run(
        [sys.executable, "-c", READ, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    *lines, last = done.stdout.splitlines()
    assert last.startswith("ALIVE")
    for what, line in zip(BOMBS, lines, strict=True):
        assert line.startswith("REFUSED"), f"{what}: {line}"
        assert float(line.split()[2]) < 20, f"{what}: {line}"
    assert int(last.split()[1]) < 1500, "megabytes at most"


# Damage


@quick
@given(st.randoms(use_true_random=False), st.sampled_from(PROTOCOLS), st.integers(1, 6))
def test_flipped_bytes_are_refused_or_are_data(put, damage, dice, protocol, count):
    content = {"x": np.arange(6.0).reshape(2, 3), "id": ["a", "b"], "o": np.array(["u", 1], object)}
    path = put(content, protocol)
    damage.flip(path, *[dice.random() for _ in range(count)], mask=dice.randrange(1, 256))
    with suppress(DatasetError):
        flatten(read_pickle(path))


@quick
@given(st.floats(0, 0.999))
def test_half_a_pickle_is_refused(put, damage, fraction):
    path = put({"x": np.arange(60.0), "id": [str(i) for i in range(20)]})
    damage.truncate(path, fraction)
    refused(path)


@quick
@given(st.binary(max_size=200))
def test_noise_is_refused_or_is_data(put, noise):
    path = put(b"\x80\x04" + noise)
    start = time.process_time()
    with suppress(DatasetError):
        read_pickle(path)
    assert time.process_time() - start < 5


opcodes = [op.code.encode("latin-1") for op in pickletools.opcodes]
known = [b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"cpandas\nDataFrame\n", b"cbuiltins\nset\n",
         b"cpandas\nIndex\n", b"cpandas._libs.internals\n_unpickle_block\n", b"U\x02f4", b"K\x01",
         b"cnumpy.core.multiarray\n_frombuffer\n", b"U\x04_mgr", b"q\x00", b"h\x00", b"(", b"t",
         b"cpandas.core.internals.managers\nBlockManager\n", b"\x85", b"R", b"b", b"}", b"]", b")",
         b"C\x04abcd", b"s", b"a", b"\x81", b"N"]  # fmt: skip


@settings(quick, max_examples=300)
@given(st.lists(st.sampled_from(known * 3 + opcodes), max_size=25))
def test_any_program_of_known_words_is_refused_or_is_data(put, words):
    path = put(b"\x80\x04" + b"".join(words) + b".")
    with suppress(DatasetError):
        read_pickle(path)


# Names of arrays


def test_flatten_names_arrays_by_their_path():
    found = flatten({"train": {"x": np.zeros((2, 3)), 1: [1, 2]}, b"y": ["a", "bcd"], "s": {2, 1}})
    assert {name: array.shape for name, array in found.items()} == {
        "train/x": (2, 3),
        "train/1": (2,),
        "y": (2,),
        "s": (2,),
    }
    assert found["y"].dtype == object


def test_text_does_not_take_the_room_of_the_longest():
    assert flatten({"x": [[1], ["a" * 10**6], *[["b"]] * 10**5]})["x"].nbytes < 10**6


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a/b": 1}, "cannot be the name"),
        ({"": 1}, "cannot be the name"),
        ({"..": 1}, "cannot be the name"),
        ({"a\0b": 1}, "cannot be the name"),
        ({1: 2, "1": 3}, "twice"),
        ({"x": [[1, 2], [3]]}, "unequal length"),
    ],
)
def test_flatten_refuses(value, reason):
    with pytest.raises(DatasetError, match=reason):
        flatten(value)


def test_depth_is_said(put):
    assert f"deeper than {MOST_DEPTH}" in refused(put(b"\x80\x04)" + b"\x85" * 100 + b"."))
    inner: list[object] = []
    for _ in range(MOST_DEPTH - 10):
        inner = [inner]
    assert "deeper than" in refused(put(inner))
    assert pickle.load(io.BytesIO(pickle.dumps(inner))) == inner


# Streams of a few bytes that would take minutes, or gigabytes


def nested_tuple(levels: int) -> bytes:
    """((..., ...), (..., ...)): each level the one below, twice; by the memo a few bytes each."""
    return b")" + b"".join(b"q%ch%c\x86" % (level, level) for level in range(levels))


def nested_list(levels: int, width: int) -> bytes:
    stream = b"]"
    for level in range(levels):
        stream += b"q%c0](" % level + b"h%c" % level * width + b"e"
    return stream


STREAMS = {
    "tuple as a key": b"\x80\x04}" + nested_tuple(60) + b"K\x01s.",
    "tuple as a key of many": b"\x80\x04}(" + nested_tuple(60) + b"K\x01u.",
    "tuple in a set": b"\x80\x04\x8f(" + nested_tuple(60) + b"\x90.",
    "tuple in a frozen set": b"\x80\x04(" + nested_tuple(60) + b"\x91.",
    "tuple in a called set": b"\x80\x04cbuiltins\nset\n](" + nested_tuple(60) + b"e\x85R.",
    "tuple as an ordered key": (
        b"\x80\x04ccollections\nOrderedDict\n](" + nested_tuple(60) + b"K\x01\x86e\x85R."
    ),
    "tuple in an old mapping": b"\x80\x04(" + nested_tuple(60) + b"K\x01d.",
    "lists of lists": b"\x80\x04" + nested_list(12, 8) + b".",
    "one text copied": (
        b"\x80\x04X\x40\x0d\x03\x00" + b"a" * 200_000 + b"q\x00c_codecs\nencode\nq\x01](" +
        b"h\x01h\x00\x85R" * 20_000 + b"e."
    ),
    "numbers that share a hash": (
        b"\x80\x04cbuiltins\ncomplex\nq\x00}("
        + b"".join(
            b"h\x00G" + struct.pack(">d", -1000003.0 * n) + b"G" + struct.pack(">d", n) + b"\x86RN"
            for n in range(40_000)
        )
        + b"u."
    ),
    "a list made into many arrays": (
        b"\x80\x04](" + b"N" * 50_000 + b"eq\x00cnumpy\nndarray\nq\x01cnumpy\ndtype\n"
        b"X\x02\x00\x00\x00O8\x85Rq\x02]("
        + (b"h\x01)R(K\x01J\x50\xc3\x00\x00\x85h\x02\x89h\x00tb") * 3000
        + b"e."
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_no_small_stream_takes_long(put, name):
    path = put(STREAMS[name])
    start = time.process_time()
    assert "refused, or not a pickle" in refused(path)
    assert time.process_time() - start < 2


def test_sharing_that_data_has_is_read(put):
    label, row = "a label of some length, which a column holds again and again", [1.5, "x"]
    value = {"labels": [label] * 5000, "rows": [row] * 2000, "ids": {3: 1, "b": 2}}
    assert read_pickle(put(value)) == value
