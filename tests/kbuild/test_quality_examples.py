"""Labelled excerpts out of packages' files, without fetching any."""

import gzip
import zipfile
from pathlib import Path
from random import Random

from kmem.kbuild.quality.examples import strip
from kmem.kbuild.quality.examples.config import ExamplesConfig
from kmem.kbuild.quality.examples.make import excerpts, laid_out
from kmem.kbuild.quality.examples.origins import CHINESE, ENGLISH, Origin

PROSE = Origin(source="x", label=1, language=ENGLISH, licence="MIT")
LIST = Origin(source="x", label=0, language=ENGLISH, licence="MIT")
PAGE = """<nav><a href="a">Next</a> <a href="b">Up</a><a href="c">Home &amp; away</a> <a href="d">Index</a></nav>
<script>var a = "<p>no</p>"</script><p>Iron <b>rusts</b>
in wet air.</p><pre><p>code</p></pre><dd>A term&#39;s meaning.</dd>"""


def test_paragraphs_and_links(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    assert list(strip.paragraphs(tmp_path)) == ["Iron rusts in wet air.", "A term's meaning."]
    assert list(strip.links(tmp_path)) == ["Next\nUp\nHome & away\nIndex"]


def test_manuals_and_messages(tmp_path: Path) -> None:
    folder = tmp_path / "zh_CN" / "man1"
    folder.mkdir(parents=True)
    (folder / "a.1.gz").write_bytes(gzip.compress(".TH A 1\n\\fBpg\\fR 是\\-一个工具。\n".encode()))
    assert list(strip.manual(tmp_path)) == ["pg 是-一个工具。"]
    file = tmp_path / "x.whl"
    with zipfile.ZipFile(file, "w") as archive:
        catalogue = 'msgid ""\nmsgstr ""\n"Head: x\\n"\n\nmsgid "Log in"\nmsgstr "登录"\n\nmsgid ""\n"Two "\n"parts"\nmsgstr "两段"\n'
        archive.writestr("x/locale/zh_Hans/LC_MESSAGES/x.po", catalogue)
    assert list(strip.messages(file, "zh_Hans", "msgid")) == ["Log in\nTwo parts"]
    assert list(strip.messages(file, "zh_Hans", "msgstr")) == ["登录\n两段"]


def test_excerpts_are_bounded_and_drawn_by_the_seed() -> None:
    config = ExamplesConfig(each=20, least=100, most=300)
    paragraphs = [f"Paragraph {row} says that iron rusts in wet air, and that zinc keeps the water away from it." for row in range(200)]
    found = excerpts([*paragraphs, "A heading"], PROSE, config, Random(0))
    assert found == excerpts([*paragraphs, "A heading"], PROSE, config, Random(0))
    assert len(set(found)) == len(found) == 20
    assert all(50 <= len(text) <= 300 for text in found)
    assert not any("heading" in text for text in found)
    assert all(text in "\n".join(paragraphs) for text in excerpts(["\n".join(paragraphs)], LIST, config, Random(0)))
    chinese = Origin(source="x", label=1, language=CHINESE, licence="MIT")
    assert excerpts(paragraphs, chinese, config, Random(0)) == []


def test_a_layout_keeps_every_word() -> None:
    text = "Iron rusts in wet air, and zinc keeps the water away from it.\nA second line."
    laid = {laid_out(text, PROSE, Random(seed)) for seed in range(20)}
    assert len(laid) > 3
    assert all(one.split() == text.split() for one in laid)
