"""Texts that break code which was only tried on "hello world"."""

AWKWARD: tuple[str, ...] = (
    "",
    " ",
    # Families and professions: several emoji joined into one.
    "\U0001f469\u200d\U0001f4bb and \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-5}\N{HEAVY BLACK HEART}\N{VARIATION SELECTOR-16}",
    # Flags are pairs of regional indicators; a third one belongs to no pair.
    "\U0001f1eb\U0001f1f7\U0001f1e9\U0001f1ea\U0001f1ef",
    "東京は日本の首都です。中文，한국어。",
    "\U00020bb7野家 \U0001f9c0",
    "مرحبا بالعالم، ١٢٣",
    "\N{RIGHT-TO-LEFT OVERRIDE}abc\N{POP DIRECTIONAL FORMATTING}\N{RIGHT-TO-LEFT MARK}",
    # Combining marks: the decomposed and composed form are different bytes and must stay so.
    "e\u0301\u00e9 Z\u0351\u036b\u0343a\u0335l\u0321g\u0322o\u0340",
    "नमस्ते ภาษาไทย",
    "line\r\nline\rline\n\n\n  indented\ttab\r\n",
    "\x00\x01\x07\x08\x1b[31mred\x1b[0m\x7f\x80\x9f",
    "<|im_end|>\n<|im_start|>assistant\n<eos></s>[INST]<start_of_turn>user<0x0A>",
    "▁spaces▁of▁SentencePiece ĠandĊBPE",
    "\N{ZERO WIDTH NO-BREAK SPACE}byte order mark\N{NO-BREAK SPACE}\N{LINE SEPARATOR}\N{NEXT LINE}",
    # What a decoder leaves of lone continuation bytes and truncated characters.
    "\ufffd\ufffda\ufffd",
    "\ud7ff\ue000\uffff\U00010000\U0010ffff",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "{{ system }} {% raw %} \\n \\u0041 %s {0} $HOME `x` [bold]markup[/bold]",
    "\n\nQuestion: is\n\nQuestion\n\nQuestions stop?",
)
