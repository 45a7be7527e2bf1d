"""Languages of Universal Dependencies: name, genus and family, by code.

A genus is a group of languages whose kinship is plain without comparison of distant forms (Dryer's
sense, as in the World Atlas of Language Structures): Germanic, Romance, Slavic, Turkic, Finnic…
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LANGUAGES", "Language", "language_of"]


@dataclass(frozen=True)
class Language:
    """A language: its code, name, genus and family; genus and family empty where unknown."""

    code: str
    name: str
    genus: str
    family: str


_GROUPS: tuple[tuple[str, str, str], ...] = (
    (
        "Indo-European",
        "Germanic",
        "af Afrikaans, da Danish, de German, en English, fo Faroese, got Gothic, gsw Swiss German, "
        "is Icelandic, nds Low Saxon, nl Dutch, no Norwegian, nb Norwegian Bokmål, "
        "nn Norwegian Nynorsk, sv Swedish, yi Yiddish, fy Frisian, lb Luxembourgish, "
        "qfn Frisian-Dutch",
    ),
    (
        "Indo-European",
        "Romance",
        "ca Catalan, es Spanish, fr French, fro Old French, gl Galician, it Italian, lij Ligurian, "
        "nap Neapolitan, oc Occitan, pt Portuguese, ro Romanian, pms Piedmontese, "
        "scn Sicilian, lld Ladin",
    ),
    ("Indo-European", "Italic", "la Latin, xum Umbrian, osc Oscan"),
    (
        "Indo-European",
        "Slavic",
        "be Belarusian, bg Bulgarian, cs Czech, cu Old Church Slavonic, hr Croatian, "
        "hsb Upper Sorbian, mk Macedonian, orv Old East Slavic, pl Polish, qpm Pomak, ru Russian, "
        "sk Slovak, sl Slovenian, sr Serbian, uk Ukrainian, rue Rusyn",
    ),
    ("Indo-European", "Baltic", "lt Lithuanian, lv Latvian, ltg Latgalian"),
    (
        "Indo-European",
        "Celtic",
        "br Breton, cy Welsh, ga Irish, gd Scottish Gaelic, gv Manx, sga Old Irish",
    ),
    (
        "Indo-European",
        "Indic",
        "bho Bhojpuri, bn Bengali, gu Gujarati, hi Hindi, mr Marathi, sa Sanskrit, ur Urdu, "
        "qhe Hindi-English, si Sinhala, ne Nepali, pa Punjabi, awa Awadhi",
    ),
    (
        "Indo-European",
        "Iranian",
        "fa Persian, kmr Northern Kurdish, ckb Central Kurdish, kfm Khunsari, nyq Nayini, "
        "soj Soi, ae Avestan, os Ossetic, tg Tajik, ps Pashto",
    ),
    ("Indo-European", "Greek", "el Greek, grc Ancient Greek"),
    ("Indo-European", "Albanian", "sq Albanian, aln Gheg"),
    ("Indo-European", "Armenian", "hy Armenian, hyw Western Armenian, xcl Classical Armenian"),
    ("Indo-European", "Anatolian", "hit Hittite"),
    ("Uralic", "Finnic", "et Estonian, fi Finnish, krl Karelian, olo Livvi, vep Veps"),
    ("Uralic", "Ugric", "hu Hungarian"),
    ("Uralic", "Saami", "sme North Sámi, sms Skolt Sámi"),
    ("Uralic", "Mordvin", "myv Erzya, mdf Moksha"),
    ("Uralic", "Permic", "koi Komi Permyak, kpv Komi Zyrian"),
    (
        "Turkic",
        "Turkic",
        "az Azerbaijani, kk Kazakh, ky Kyrgyz, otk Old Turkish, qtd Turkish-German, tr Turkish, "
        "tt Tatar, ug Uyghur, uz Uzbek, sah Yakut, ota Ottoman Turkish, ba Bashkir",
    ),
    ("Mongolic", "Mongolic", "bxr Buryat, mn Mongolian, xal Kalmyk"),
    ("Tungusic", "Tungusic", "sjo Xibe"),
    (
        "Afro-Asiatic",
        "Semitic",
        "aii Assyrian, akk Akkadian, am Amharic, ar Arabic, ajp South Levantine Arabic, "
        "hbo Ancient Hebrew, he Hebrew, mt Maltese, qaf Maghrebi Arabic-French, uga Ugaritic",
    ),
    ("Afro-Asiatic", "Egyptian", "cop Coptic, egy Egyptian"),
    ("Afro-Asiatic", "Chadic", "ha Hausa, say Zaar"),
    ("Afro-Asiatic", "Cushitic", "bej Beja, so Somali"),
    ("Dravidian", "Dravidian", "ta Tamil, te Telugu, ml Malayalam, kn Kannada"),
    ("Sino-Tibetan", "Chinese", "zh Chinese, lzh Classical Chinese, yue Cantonese"),
    ("Japonic", "Japanese", "ja Japanese"),
    ("Koreanic", "Korean", "ko Korean"),
    ("Basque", "Basque", "eu Basque"),
    ("Kartvelian", "Kartvelian", "ka Georgian"),
    ("Northwest Caucasian", "Northwest Caucasian", "ab Abkhaz"),
    ("Austroasiatic", "Vietic", "vi Vietnamese"),
    ("Tai-Kadai", "Tai", "th Thai, lo Lao"),
    (
        "Austronesian",
        "Malayo-Sumbawan",
        "id Indonesian, ms Malay, jv Javanese, su Sundanese",
    ),
    ("Austronesian", "Philippine", "tl Tagalog, ceb Cebuano"),
    ("Niger-Congo", "Bantu", "sw Swahili, zu Zulu, xh Xhosa"),
    ("Niger-Congo", "Defoid", "yo Yoruba"),
    ("Niger-Congo", "Igboid", "ig Igbo"),
    ("Niger-Congo", "Wolof", "wo Wolof"),
    ("Mande", "Mande", "bm Bambara"),
    ("Chukotko-Kamchatkan", "Chukotian", "ckt Chukchi"),
    ("Eskimo-Aleut", "Eskimo", "ess Yupik, kl Greenlandic"),
    ("Mayan", "Mayan", "quc K'iche'"),
    ("Uto-Aztecan", "Aztecan", "nhi Western Sierra Puebla Nahuatl, azz Highland Puebla Nahuatl"),
    ("Pama-Nyungan", "Pama-Nyungan", "wbp Warlpiri"),
    (
        "Tupian",
        "Tupi-Guarani",
        "gn Guarani, gub Guajajara, gun Mbya Guarani, tpn Tupinambá, urb Kaapor, yrl Nheengatu",
    ),
    ("Quechuan", "Quechuan", "qu Quechua"),
    ("Sign language", "Swedish Sign", "swl Swedish Sign Language"),
    ("Creole", "Creole", "pcm Naija, ht Haitian Creole"),
)

LANGUAGES: dict[str, Language] = {
    code: Language(code, name, genus, family)
    for family, genus, members in _GROUPS
    for code, name in (each.strip().split(" ", 1) for each in members.split(","))
}
"""Code → language."""


def language_of(code: str) -> Language:
    """Return what is known of a language; of an unknown code, only the code."""
    return LANGUAGES.get(code, Language(code, code, "", ""))
