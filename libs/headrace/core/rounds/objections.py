"""What is objected to in a text that a model wrote in place of another: a refusal, a loop, another language.

Cheap rules that look at the texts alone, made to miss rather than to wrong a good one. Refusals are not held against what takes
the place of a refusal: a dataset of refusals stays one.

- **Refusal**: within the first 300 characters somebody says in the first person that it cannot or will not help, answer, write,
  and so on, or speaks of itself as an AI or a language model. In English, German, French and Spanish; phrases of other
  languages, and refusals that come later or say so in other words, are not seen.
- **Loop**: the last 1,000 characters shrink by more than a given ratio when they are deflated. Prose and code shrink 2 to 3
  times, tables and lists of near-equal lines below 5; a sentence that goes round shrinks 7 times and more. Under 200 bytes
  nothing is said, nor of fewer repetitions than that takes, nor of what goes round in other words.
- **Language**: of English, German, French, Spanish, Italian, Portuguese and Dutch, whose commonest words tell them apart,
  another one than the parent's. Nothing is said where too few of these words stand, as in formulas, code, lists of names and
  short texts, nor of any other language (of another script: `rewritten_text`), nor where a prompt names that language, as in a
  translation. The check `constraints` of a policy knows 75 languages.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from headrace.core.chat_answers import Unreadable

LOOP_RATIO_MAX = 6.0
_LOOP_CHARS_READ = 1_000
_LOOP_BYTES_MIN = 200
_REFUSAL_CHARS_READ = 300
_LANGUAGE_CHARS_READ = 4_000
_STOP_WORDS_MIN = 3
_STOP_WORDS_SHARE_MIN = 0.15

_DOING = (
    r"(?:help(?! but)|assist|answer|comply|provide|fulfil|fulfill|respond|engage|write|rewrite|create|generate|produce|continue|"
    r"complete|discuss|share|support|do (?:that|this)|process)"
)
_CANNOT = (
    r"(?:can(?:no|['\u2019])?t|can not|won['\u2019]?t|will not|(?:won['\u2019]?t|will not) be able to|(?:am )?unable to|"
    r"(?:am )?not able to|must decline to)"
)
_REFUSAL = re.compile(
    rf"\bi(?:['\u2019]?m| am)? (?:(?:really |very |so |truly )?(?:sorry|afraid),? (?:but )?(?:that )?i )?{_CANNOT} "
    rf"(?:\w+ ){{0,2}}?{_DOING}\b"
    r"|\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bich kann (?:ihnen |dir )?(?:dabei|damit|hierbei|das) (?:leider )?nicht\b|\bals (?:eine? )?(?:ki|sprachmodell)\b"
    r"|\bje ne (?:peux|puis) pas (?:vous |t['\u2019])?(?:aider|r\u00e9pondre)"
    r"|\ben tant qu['\u2019](?:ia|intelligence artificielle)\b"
    r"|\bno puedo (?:ayudar|responder|proporcionar)|\bcomo (?:modelo de lenguaje|inteligencia artificial)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")

_STOP_WORDS: Mapping[str, frozenset[str]] = MappingProxyType({
    name: frozenset(words.split())
    for name, words in {
        "English": "the of and to is that it for was with are this be have from by what which how you not each they there if "
        "does did can at we he she has would will on many",
        "German": "der die das und ist nicht ein eine den dem mit sich auf f\u00fcr von zu wie wird sind auch eines einer im was",
        "French": "le les des est et une du dans pour que pas sur avec qui ce sont au vous nous cette quel quelle aux",
        "Spanish": "el los las y es del una por con para su lo como m\u00e1s pero este qu\u00e9 cu\u00e1l son esta al se",
        "Italian": "il gli che di \u00e8 della dei per non sono una con questo anche nel alla qual quanto come delle",
        "Portuguese": "os as do da em n\u00e3o \u00e9 com uma um dos das s\u00e3o para qual mais ao por como pelo isso",
        "Dutch": "het een van en dat niet zijn op voor met wat hoe deze worden aan ook bij wordt naar uit",
    }.items()
})  # fmt: skip
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "English": ("english", "englisch", "anglais", "ingl\u00e9s", "inglese", "ingl\u00eas", "engels"),
    "German": ("german", "deutsch", "allemand", "alem", "tedesc", "duits"),
    "French": ("french", "franz\u00f6sisch", "fran\u00e7ais", "franc\u00e9s", "frances", "franc\u00eas", "frans"),
    "Spanish": ("spanish", "spanisch", "espa\u00f1ol", "espagnol", "spagnol", "espanhol", "spaans"),
    "Italian": ("italian", "italien"),
    "Portuguese": ("portugu", "portoghese"),
    "Dutch": ("dutch", "niederl\u00e4nd", "n\u00e9erlandais", "neerland\u00e9s", "oland", "holand", "nederlands"),
})  # fmt: skip


@dataclass(frozen=True)
class Objections:
    """The rules for what is written in place of `parents`: a prompt and its answer, and what else stood beside them."""

    parents: tuple[str, ...]
    loop_ratio_max: float = LOOP_RATIO_MAX

    def require_none(self, text: str, prompt: str = "") -> None:
        """See that nothing is to be objected to; `prompt` is what the text answers.

        Raises:
            Unreadable: in words that the model is shown.
        """
        if refuses(text) and not any(map(refuses, self.parents)):
            raise Unreadable("it refuses, or speaks of who writes it. Write what was asked for.")
        ratio = loop_ratio(text)
        if ratio > self.loop_ratio_max:
            raise Unreadable(f"it repeats itself: its end shrinks {ratio:.0f} times when it is compressed. Say each thing once.")
        language = language_of(text)
        if not language or not self._languages or language in self._languages:
            return
        asked = "\n".join((prompt, *self.parents)).casefold()
        if not any(name in asked for name in _NAMES[language]):
            raise Unreadable(f"it is written in {language}, the material in {', '.join(self._languages)}. Keep the language.")

    @cached_property
    def _languages(self) -> tuple[str, ...]:
        texts = (*self.parents, "\n".join(self.parents))
        return tuple(sorted({language for text in texts if (language := language_of(text))}))


def refuses(text: str) -> bool:
    """Whether the text begins with a refusal, or with who writes it."""
    return _REFUSAL.search(" ".join(text[:_REFUSAL_CHARS_READ].split())) is not None


def loop_ratio(text: str) -> float:
    """How many times the end of the text shrinks when it is deflated; 1 where it is too short to tell."""
    end = text[-_LOOP_CHARS_READ:].encode("utf-8", "replace")
    return len(end) / len(zlib.compress(end)) if len(end) >= _LOOP_BYTES_MIN else 1.0


def language_of(text: str) -> str:
    """Which of the languages that are told apart it is in; empty where nothing is said."""
    words = _WORD.findall(text[:_LANGUAGE_CHARS_READ].casefold())
    found = sorted(((sum(word in known for word in words), name) for name, known in _STOP_WORDS.items()), reverse=True)
    (most, language), (second, _) = found[:2]
    is_told = most >= _STOP_WORDS_MIN and most >= _STOP_WORDS_SHARE_MIN * len(words) and most >= 2 * second
    return language if is_told else ""
