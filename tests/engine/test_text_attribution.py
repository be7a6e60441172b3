"""Which step each character of a reply belongs to."""

from __future__ import annotations

import codecs
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st
from support.chat_fakes import step

from blendin_local.engine.steps import Source
from blendin_local.engine.text_attribution import Attribution
from blendin_local.engine.text_stream import TextStream


@given(
    st.text(st.one_of(st.sampled_from("ab東\N{BAT}"), st.characters(codec="utf-8"))),
    st.lists(st.integers(1, 5), max_size=12),
    st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=3)),
)
def test_every_character_belongs_to_the_step_that_completed_it(
    text: str, sizes: list[int], stops: list[str]
) -> None:
    data = text.encode()
    ends = [*accumulate(sizes), len(data)]
    parts = [data[start:end] for start, end in pairwise([0, *ends])]
    stream, attribution = TextStream(stops), Attribution()
    sources = [Source.BASE, Source.GUIDE, Source.BLEND]
    pieces = []
    for i, part in enumerate(parts):
        pieces += attribution.take(step(i, stream.feed(part), sources[i % 3], data=part))
    pieces += attribution.release(stream.flush())
    assert "".join(text for text, _ in pieces) == stream.text

    decoder = codecs.getincrementaldecoder("utf-8")()
    owners = [sources[i % 3] for i, part in enumerate(parts) for _ in decoder.decode(part)]
    shown_as = [owner.source for text, owner in pieces for _ in text]
    assert shown_as == owners[: len(shown_as)]


def test_text_that_was_held_back_keeps_its_source() -> None:
    attribution = Attribution()
    first = step(0, "Yes", Source.BASE, data=b"Yes\nQue")
    second = step(1, "\nQuest", Source.GUIDE, data=b"st")
    assert attribution.take(first) == [("Yes", first)]
    later = attribution.take(second)
    assert later == [("\nQue", first), ("st", second)]
