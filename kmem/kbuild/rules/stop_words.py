"""The words that every text in sentences has, by language: Gopher's eight for English, as frequent ones for others."""

STOP_WORDS = tuple(
    " ".join(
        (
            "the be to of and that have with",  # English (Gopher, A1.1)
            "的 一 是 不 了 在 有 和 为 与 及 之 以 于 应 并 或 这 我 他",  # Chinese, simplified
            "為 與 於 應 並 這",  # and traditional
            "の に は を た が で て と し れ さ",  # Japanese
            "der die das und ist nicht ein eine zu mit von den des für wird",  # German
            "le la les et est un une des que pour dans avec ne",  # French
            "el los las es y en del una por con para que se",  # Spanish
            "il lo gli è e di che per una con non del",  # Italian
            "o os as do da em um uma não que com para é",  # Portuguese
            "de het een en van is dat niet met voor op",  # Dutch
            "w i na z się nie do jest to że jak lub",  # Polish
            "и в не на с что для как или если это по",  # Russian
            "ve bir bu için ile de da olarak veya ne",  # Turkish
            "och att det som en är av för inte med",  # Swedish
        )
    ).split()
)
