"""Rules that drop whole documents, each by one figure and one limit, and never change a character: offsets point into the source.

A new rule is an entry in its family's file, one line in RULES, one row in tests/kbuild/test_rules.py and one in the README's table.
"""

from kmem.kbuild.rules import characters, lines, phrases, repetition, unreadable, words
from kmem.kbuild.rules.rule import Rule

__all__ = ["RULES", "Rule"]

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (  # the cheap ones first, since the first that drops a document ends the search
        unreadable.EMPTY,
        unreadable.WORDLESS,
        unreadable.CONTROL_CHARACTERS,
        unreadable.REPLACEMENT_CHARACTERS,
        characters.NON_ALPHABETIC,
        words.ALPHABETIC_WORDS,
        words.MIN_WORDS,
        words.MAX_WORDS,
        words.MIN_WORD_LENGTH,
        words.MAX_WORD_LENGTH,
        characters.HASHES,
        characters.ELLIPSES,
        characters.CURLY_BRACKETS,
        lines.NEWLINES,
        words.MIN_STOP_WORDS,
        words.MIN_UNIQUE_WORDS,
        words.MAX_UNIQUE_WORDS,
        words.MIN_ENTROPY,
        lines.BULLET_LINES,
        lines.ELLIPSIS_LINES,
        lines.SHORT_LINES,
        lines.ENDED_LINES,
        repetition.DUPLICATE_LINES,
        repetition.DUPLICATE_LINE_CHARACTERS,
        repetition.DUPLICATE_PARAGRAPHS,
        repetition.DUPLICATE_PARAGRAPH_CHARACTERS,
        *repetition.TOP_GRAMS,
        *repetition.DUPLICATE_GRAMS,
        phrases.LOREM_IPSUM,
        phrases.JAVASCRIPT,
        phrases.POLICIES,
    )
}
