"""How much likelier another language must be before a text is refused: nats of py3langid 0.4.0.

Written by `python -m bench.text.language_margins shared/data/flores_dev`, from the lines 1, 3, 5, ... of
FLORES-200 dev. A margin is the largest log-odds of these references against their own language, but at
least a floor: 20.0, or 7.0 for a related language. Most margins are the floor: all but those of Danish and
English, and all related ones but those between Indonesian and Malay.
"""

MARGINS: dict[str, float] = {
    "ar": 20.0,
    "cs": 20.0,
    "da": 24.1,
    "de": 20.0,
    "en": 20.2,
    "es": 20.0,
    "fi": 20.0,
    "fr": 20.0,
    "hr": 20.0,
    "hu": 20.0,
    "id": 20.0,
    "it": 20.0,
    "ja": 20.0,
    "ko": 20.0,
    "ms": 20.0,
    "nb": 20.0,
    "nl": 20.0,
    "no": 20.0,
    "pl": 20.0,
    "pt": 20.0,
    "ro": 20.0,
    "ru": 20.0,
    "sv": 20.0,
    "th": 20.0,
    "tr": 20.0,
    "uk": 20.0,
    "vi": 20.0,
    "zh": 20.0,
}
RELATED_MARGINS: dict[str, dict[str, float]] = {
    "cs": {"sk": 7.0},
    "da": {"no": 7.0, "nn": 7.0, "sv": 7.0},
    "es": {"ca": 7.0, "gl": 7.0, "pt": 7.0},
    "hr": {"sl": 7.0, "sr": 7.0},
    "id": {"ms": 9.9},
    "ms": {"id": 21.5},
    "nb": {"da": 7.0, "sv": 7.0},
    "no": {"da": 7.0, "sv": 7.0},
    "pt": {"es": 7.0, "gl": 7.0},
    "ru": {"be": 7.0, "bg": 7.0, "uk": 7.0},
    "sv": {"da": 7.0, "no": 7.0, "nn": 7.0},
    "uk": {"be": 7.0, "bg": 7.0, "ru": 7.0},
}
# For languages without references to fit on: the largest margin of the table.
UNFITTED_MARGIN = max(MARGINS.values())
