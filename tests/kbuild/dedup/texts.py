"""Texts of many words, drawn by seed, and the ways in which a copy differs from them."""

import random

CHINESE = "国家法律规定公民权利义务机关人民法院应当依照本条例处理经济社会发展教育科学文化卫生体育环境保护资源利用监督管理责任"


def english(seed: int, words: int = 120) -> str:
    """Lines of 20 words, every seed its own."""
    draw = random.Random(seed)
    drawn = ["".join(draw.choices("abcdefghijklmnopqrst", k=draw.randint(3, 9))) for _ in range(words)]
    return "\n\n".join(" ".join(drawn[start : start + 20]) + "." for start in range(0, words, 20))


def chinese(seed: int, characters: int = 160) -> str:
    """Sentences of 20 characters, every seed its own."""
    draw = random.Random(seed)
    drawn = draw.choices(CHINESE, k=characters)
    return "".join("".join(drawn[start : start + 20]) + "。" for start in range(0, characters, 20))


def edited(text: str, seed: int, share: float = 0.05) -> str:
    """That share of the words, or where none are spaced of the characters, each another one."""
    draw = random.Random(seed)
    parts = text.split(" ") if " " in text else list(text)
    for place in draw.sample(range(len(parts)), max(1, round(share * len(parts)))):
        parts[place] = "".join(draw.choices("uvwxyz", k=5)) if " " in text else draw.choice(CHINESE)
    return (" " if " " in text else "").join(parts)
