"""<Msg> elements found by their tags: any texts, any pieces, cut anywhere, nested in anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages_rig import Pieces, taken

SIZES = st.lists(st.integers(1, 600), min_size=1, max_size=5)
ESCAPES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;"}


def escaped(text):
    return "".join(ESCAPES.get(c, c) for c in text)


ELEMENTS = st.recursive(
    st.text("ab<>&/Msg \"'", max_size=20).map(escaped),
    lambda inner: st.one_of(
        st.builds("<Msg>{}</Msg>".format, inner),
        st.builds("<a b='>' c=\"'>\">{}</a>".format, inner),
        st.builds("{0}<!-- <Msg> -->{0}".format, inner),
        st.builds("<![CDATA[</Msg>]]>{}".format, inner),
        st.builds("{}<x/>".format, inner),
    ),
    max_leaves=5,
)


@given(st.lists(ELEMENTS, max_size=4), SIZES)
def test_any_elements_in_any_pieces(texts, sizes):
    batch = ["<Msg t='/>'>{}</Msg>".format(text).encode() for text in texts]
    document = b"<Document>" + b" ".join(batch) + b"</Document>"
    assert taken(Pieces(document, sizes)) == (batch, None)


@given(st.lists(ELEMENTS, min_size=1, max_size=3), st.data())
def test_a_cut_is_told_and_what_came_before_it_is_good(texts, data):
    batch = ["<Msg>{}</Msg>".format(text).encode() for text in texts]
    document = b"<Document>" + b"".join(batch) + b"</Document>"
    found, error = taken(document[: data.draw(st.integers(0, len(document) - 1))])
    assert error
    assert found == batch[: len(found)]


@given(st.text("<>/!?-[]Msgab\"' ", max_size=60))
def test_any_noise_ends(text):
    """With messages, or with an error."""
    taken(b"<Document>" + text.encode(), 1000)
    found, error = taken(b"<" + text.encode(), 1000)
    assert found or error


@pytest.mark.parametrize("size", [1, 7, 512])
def test_what_is_over_the_limit_is_not_kept(size):
    """Neither a long message nor a tag without end."""
    long = b"<Msg>" + b"<a>x</a>" * 500 + b"</Msg>"
    document = b"<Document><Msg>1</Msg>" + long + b"<Msg>2</Msg></Document>"
    found, error = taken(Pieces(document, [size]), 1000)
    assert found == [b"<Msg>1</Msg>", b"<Msg>2</Msg>"]
    assert "1000" in error
    found, error = taken(Pieces(b"<Document><Msg " + b"a" * 5000, [size]), 1000)
    assert found == [] and "1000" in error
