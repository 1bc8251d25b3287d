"""What counting.py and the rules agree on: where in its arrays each figure stands, and what a short line, a block and a phrase are."""

from kmem.kbuild.rules.alphabet import CLASSES

# After the CLASSES counts of `counting.characters`: pieces between whitespace, those with a letter, runs of three dots.
TOKENS, LETTERED, DOTS = CLASSES, CLASSES + 1, CLASSES + 2
# The figures of `counting.prose`.
ENTROPY, DISTINCT, STOP_WORDS, LINES, SHORT, ENDED, BULLETED, TRAILING = range(8)
TWICE_LINES, TWICE_LINE_CHARACTERS, PARAGRAPHS, TWICE_PARAGRAPHS, TWICE_PARAGRAPH_CHARACTERS, LINE_CHARACTERS = range(8, 14)
FIGURES = 14

SHORT_LINE = 30
"""Columns of a short line, as in FineWeb; a character of a script without spaces takes two."""
BLOCK = 100
"""Units of the blocks whose distinct ones are counted: a share of a whole text would fall with its length."""
LONGEST_PHRASE = 10
