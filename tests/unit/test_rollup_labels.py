from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector.rollup.labels import one_name, published_label, release_label
from collector.rollup.points import package_points, usage_points
from tests.days import One, day
from tests.fleets import UNTIDY

ANY = st.one_of(st.sampled_from(UNTIDY), st.text(max_size=70))
DISTROS = st.builds(published_label, ANY)


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        ("Debian", "Debian"),
        ("debian", "debian"),
        ("GNU/Linux rolling", "GNU/Linux rolling"),
        ("\uff24ebian", "Debian"),
        ("D\u0435bian", "D?bian"),
        ("D\u00e9bian", "D?bian"),
        ("Debian\u200b", "Debian"),
        ("Deb\u200bian", "Deb ian"),
        ("Debian\ufe0f", "Debian?"),
        ("\u3164", "?"),
        ("\u2800", "?"),
        ("20\u00a0\u00a07", "20 7"),
        ("a\\b\uff3cc", "a/b/c"),
        ("", "unknown"),
        (" \t\n", "unknown"),
        ("UNKNOWN", "unknown"),
        ("Unkn0wn", "unknown"),
        ("Other", "other"),
        ("0ther", "other"),
        ("ALL", "other"),
        ("a1l", "other"),
        ("None", "none"),
        ("x" * 80, "x" * 64),
    ],
)
def test_label_of_what_senders_say(sent: str, label: str) -> None:
    assert published_label(sent) == label


@given(st.text())
def test_every_text_has_a_label_that_shows_all_of_itself(text: str) -> None:
    label = published_label(text)
    assert label.isascii()
    assert label.isprintable()
    assert 1 <= len(label) <= 64
    assert label == " ".join(label.split())
    assert "\\" not in label
    assert label not in {"all", ""}
    assert published_label(label) == label


@given(st.dictionaries(ANY.map(published_label), st.integers(0, 3)))
def test_labels_that_look_alike_have_one_name_and_others_their_own(counts: dict[str, int]) -> None:
    def seen(text: str) -> str:
        return text.translate(str.maketrans("I1|O`", "lll0'"))

    names = one_name(counts)
    assert names.keys() == counts.keys()
    for label, name in names.items():
        assert seen(label) == seen(name)
        assert counts[name] >= counts[label]
    assert len(set(names.values())) == len({seen(label) for label in counts})


@given(DISTROS, DISTROS, DISTROS, DISTROS)
def test_no_two_distributions_have_a_release_of_the_same_label(
    one: str, release: str, other: str, another: str
) -> None:
    labels = release_label(one, release), release_label(other, another)
    if labels[0] == labels[1] and labels[0] != "other":
        assert one == other


def test_five_of_x_with_y_z_and_five_of_x_y_with_z_are_two_releases() -> None:
    facts = day(
        *(One((n,), server=n, distro="X", release="Y Z") for n in range(5)),
        *(One((n,), server=n, distro="X Y", release="Z") for n in range(5, 10)),
    )
    _, nodes, _ = usage_points(facts.tables, 0, k=5, final=True)
    found = {
        named["value"]: fields["nodes"]
        for (_, tags), fields in nodes.items()
        if (named := dict(tags))["dimension"] == "release" and named["within"] == "all"
    }
    assert found == {"X Y_Z": 5, "X Y Z": 5}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(ANY, ANY, ANY, ANY, ANY), min_size=1, max_size=12), st.integers(1, 5))
def test_tables_are_made_of_whatever_reports_say(
    said: list[tuple[str, str, str, str, str]], k: int
) -> None:
    clean = [tuple("".join(c for c in text if c not in "\r\n") for text in each) for each in said]
    facts = day(
        *(
            One((n,), server=n, distro=d, release=r, asl=a, channel=c, arch=h)
            for n, (d, r, a, c, h) in enumerate(clean)
        )
    )
    usage, nodes, _ = usage_points(facts.tables, 0, k=k, final=True)
    assert usage[0, ()]["nodes"] == len(said)
    whole = [
        int(fields["nodes"])
        for (_, tags), fields in nodes.items()
        if (named := dict(tags))["dimension"] == "release" and named["within"] == "all"
    ]
    assert sum(whole) == len(said)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", "null", '{"a":1,"b":null,"c":["d"]}', "[" * 200_000]
)
def test_packages_that_cannot_be_read_are_none(text: str) -> None:
    facts = day(One((1,), server=1, packages=text), One((2,), server=2, packages='{"asl3":"3.5"}'))
    points = package_points(facts.tables, 0, k=1, final=True)
    assert {dict(tags)["package"] for _, tags in points} == {"asl3"}
