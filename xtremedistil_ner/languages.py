"""Language codes: the 41 of WikiANN's evaluation, and English names for tables.

A corpus may use other codes for its folders; these lists do not restrict it.
"""

from __future__ import annotations

# The languages of Rahimi et al. 2019 (https://aclanthology.org/P19-1015), on which the papers report.
WIKIANN_LANGUAGES = tuple(
    "af ar bg bn bs ca cs da de el en es et fa fi fr he hi hr hu id it lt lv mk ms nl no pl pt ro ru sk sl sq sv ta tl "
    "tr uk vi".split()
)

# Two-letter codes of the languages that mBERT or XLM-R were trained on, and Norwegian in its three codes.
_NAMES = dict(
    entry.strip().split(" ", 1)
    for entry in """
    af Afrikaans, am Amharic, an Aragonese, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian,
    bg Bulgarian, bn Bangla, br Breton, bs Bosnian, ca Catalan, ce Chechen, cs Czech, cv Chuvash, cy Welsh, da Danish,
    de German, el Greek, en English, eo Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish,
    fr French, fy Western Frisian, ga Irish, gd Scottish Gaelic, gl Galician, gu Gujarati, ha Hausa, he Hebrew,
    hi Hindi, hr Croatian, ht Haitian Creole, hu Hungarian, hy Armenian, id Indonesian, io Ido, is Icelandic,
    it Italian, ja Japanese, jv Javanese, ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean, ku Kurdish,
    ky Kyrgyz, la Latin, lb Luxembourgish, lo Lao, lt Lithuanian, lv Latvian, mg Malagasy, mk Macedonian,
    ml Malayalam, mn Mongolian, mr Marathi, ms Malay, my Burmese, nb Norwegian Bokmål, ne Nepali, nl Dutch,
    nn Norwegian Nynorsk, no Norwegian, oc Occitan, om Oromo, or Odia, pa Punjabi, pl Polish, ps Pashto,
    pt Portuguese, ro Romanian, ru Russian, sa Sanskrit, sd Sindhi, sh Serbo-Croatian, si Sinhala, sk Slovak,
    sl Slovenian, so Somali, sq Albanian, sr Serbian, su Sundanese, sv Swedish, sw Swahili, ta Tamil, te Telugu,
    tg Tajik, th Thai, tl Tagalog, tr Turkish, tt Tatar, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek, vi Vietnamese,
    vo Volapük, xh Xhosa, yi Yiddish, yo Yoruba, zh Chinese
    """.split(",")
)


def count_languages(number: int) -> str:
    """A number of languages as text."""
    return f"{number} language{'s' * (number != 1)}"


def language_name(code: str) -> str:
    """The English name of a language, or the code itself if it is not known."""
    return _NAMES.get(code, code)
