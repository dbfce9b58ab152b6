"""The two made-up languages of the task `conlang`: their words, and how each of them says a sentence.

    A   miran hulet bosil kavo ana                 subject verb object name; adjectives before nouns
    B   ana kesh lu bulk drevos sul ta mekor       name subject object markers verb; adjectives after nouns

Nouns of A show their number. In B two markers before the verb show the number of subject and object, as in
Swahili; two nouns of A share one noun of B, told apart by their class, which the adjective shows, or an
article where there is no adjective. Names are the same in both languages. B determines A.

B says nothing twice, on purpose: where B did, the policy found a code of its own that the dual could read,
and was rewarded for the code (dev/LOG.md).
"""

from typing import NamedTuple

# noun of B: the nouns of A that it stands for, in class 0 and in class 1
NOUNS = {
    "kesh": ("mira", "talo"),
    "dorv": ("sola", "nepu"),
    "bulk": ("rima", "kavo"),
    "zint": ("pelu", "jato"),
    "gresh": ("feno", "lisa"),
    "thok": ("bano", "duri"),
    "vulp": ("hako", "semi"),
    "prad": ("nilo", "goda"),
    "yelk": ("tuma", "keri"),
    "smorg": ("vado", "pisu"),
    "chet": ("luni", "robe"),
    "kront": ("sifa", "mopu"),
}
ADJECTIVES = {  # A: stem in B
    "bosil": "drev",
    "tamil": "shog",
    "ruvel": "klin",
    "pedal": "warb",
    "nakil": "twen",
    "solel": "grud",
    "vimul": "plex",
    "jotal": "hesk",
}
VERBS = {  # stem in A: stem in B
    "hul": "mek",
    "dan": "strof",
    "ser": "vlad",
    "kop": "jund",
    "lim": "brask",
    "fat": "gwil",
    "nor": "zeft",
    "pav": "chorm",
}
NAMES = ("ana", "boris", "kim", "olu")
ARTICLES, CLASS_ENDINGS = ("lu", "los"), ("u", "os")  # by class, in B
PLURAL = "n"  # of nouns, in A
TENSES_A = ("e", "et")  # present, past
TENSES_B = ("il", "or")
SUBJECT_MARKERS, OBJECT_MARKERS = ("sa", "sul"), ("ta", "tam")  # singular, plural, in B

WORDS_A = {
    *NAMES,
    *ADJECTIVES,
    *(noun + plural for pair in NOUNS.values() for noun in pair for plural in ("", PLURAL)),
    *(verb + tense for verb in VERBS for tense in TENSES_A),
}
WORDS_B = {
    *NAMES,
    *ARTICLES,
    *NOUNS,
    *(stem + ending for stem in ADJECTIVES.values() for ending in CLASS_ENDINGS),
    *(stem + tense for stem in VERBS.values() for tense in TENSES_B),
    *SUBJECT_MARKERS,
    *OBJECT_MARKERS,
}


class NounPhrase(NamedTuple):
    """A subject or an object.

    Attributes:
        noun: noun of B.
        noun_class: 0 or 1; chooses the noun of A.
        plural: more than one.
        adjective: adjective of A; empty: none.
    """

    noun: str
    noun_class: int
    plural: bool
    adjective: str = ""


class Sentence(NamedTuple):
    """What is said, in no language.

    Attributes:
        verb: stem of A.
        past: past tense, else present.
        name: who is spoken to; empty: nobody.
    """

    subject: NounPhrase
    verb: str
    past: bool
    object: NounPhrase
    name: str = ""


def in_language_a(sentence: Sentence) -> str:
    """Says the sentence in A."""
    verb = sentence.verb + TENSES_A[sentence.past]
    words = [*_phrase_in_a(sentence.subject), verb, *_phrase_in_a(sentence.object), sentence.name]
    return " ".join(filter(None, words))


def _phrase_in_a(phrase: NounPhrase) -> list[str]:
    return [phrase.adjective, NOUNS[phrase.noun][phrase.noun_class] + PLURAL * phrase.plural]


def in_language_b(sentence: Sentence) -> str:
    """Says the sentence in B."""
    markers = [SUBJECT_MARKERS[sentence.subject.plural], OBJECT_MARKERS[sentence.object.plural]]
    verb = VERBS[sentence.verb] + TENSES_B[sentence.past]
    phrases = [*_phrase_in_b(sentence.subject), *_phrase_in_b(sentence.object)]
    return " ".join(filter(None, [sentence.name, *phrases, *markers, verb]))


def _phrase_in_b(phrase: NounPhrase) -> list[str]:
    # The class is shown once: by the ending of the adjective, else by the article.
    if not phrase.adjective:
        return [phrase.noun, ARTICLES[phrase.noun_class]]
    return [phrase.noun, ADJECTIVES[phrase.adjective] + CLASS_ENDINGS[phrase.noun_class]]
