"""Hypothesis strategies for metadata: anything that JSON can say, near what SQLite reads in another way."""

from hypothesis import strategies as st

KEYS = st.sampled_from(
    ["a", "b", "0", "a b", "a.b", "é", 'q"', "back\\slash", "nul", "nul\0", "nul\0x", "\ud800", "$", "[0]"]
)
# Neighbours of each other, and of what a float of 64 bits or an integer of 64 bits can hold.
NUMBERS = (
    st.sampled_from(
        [0, 1, -1, 0.0, -0.0, 1.0, 0.1, 0.3, 0.1 + 0.2, 5e-324, 1e-300, 1e22, 1.7976931348623157e308, -1e308]
        + [n + d for n in (2**53, 2**63, -(2**63)) for d in (-1, 0, 1)]
        + [float(2**53), float(2**63), 123456.789, 123456.78900000002, 10**30, 10**400]
    )
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(alphabet='ab\0é\ud800\udfff\ue000😀"\\\x01', max_size=4)
FOLDED = st.text(alphabet="sSß\u212ak\u0130iσς\0é\ud800", max_size=4)
# Days, times and what looks like them, near each other.
DATES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(
            ["2024", "2024-01", "2024-02", "2024-02-29", "2024-02-30", "2024-01-01", "2024-13-01"]
        )
        | st.sampled_from(
            ["0001-01-01", "9999-12-31", "2023-12-31", "2024-03-01", "2024-01-02", "2023-12-30"]
        ),
        st.sampled_from(["", "T00:00", "T00:00:00", " 00:00:00", "T23:59:59", "T23:59", "T24:00:00", "T12"]),
        st.sampled_from(["", "", ".5", ".000000", ".1234567"]),
        st.sampled_from(["", "Z", "+00:00", "+02:00", "-23:59", "+2359", "-24:00", " "]),
    ),
)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS | DATES | FOLDED
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.lists(st.dictionaries(KEYS, VALUES, max_size=4), min_size=1, max_size=6)
PATHS = st.lists(KEYS, min_size=1, max_size=2).map(tuple)
