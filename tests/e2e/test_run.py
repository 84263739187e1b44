"""`hearth run`: one prompt, standard input, and a conversation at a terminal."""

import json
import os
import pty
import signal
import subprocess
import unittest

from hearth_e2e import (BINARY, EXIT_FAILURE, EXIT_OK, EXIT_USAGE, GOLDEN, HearthTest, MODEL,
                        clean_environment, hearth)

GREEDY = json.loads((GOLDEN / "greedy_chat.json").read_text())["answers"]


class OnePrompt(HearthTest):
    def test_the_greedy_answer_is_the_golden_one(self):
        golden = GREEDY[0]
        text = self.succeed("run", MODEL, golden["prompt"], "--temperature=0", "--max-tokens=48")
        self.assertEqual(text, golden["text"] + "\n")

    def test_standard_input_is_the_prompt_when_there_is_no_terminal(self):
        golden = GREEDY[0]
        for arguments in [[], ["-"]]:
            text = self.succeed("run", MODEL, *arguments, "--temperature=0", "--max-tokens=48",
                                stdin=golden["prompt"])
            self.assertEqual(text, golden["text"] + "\n")

    def test_the_same_seed_gives_the_same_answer(self):
        def answer(seed):
            return self.succeed("run", MODEL, "Invent a name.", f"--seed={seed}", "--max-tokens=16",
                                "--temperature=1.5")

        self.assertEqual(answer(1), answer(1))
        self.assertNotEqual(answer(1), answer(2))

    def test_raw_continues_the_text_itself(self):
        text = self.succeed("run", MODEL, "1, 2, 3, 4, 5, 6,", "--raw", "--temperature=0",
                            "--max-tokens=6")
        self.assertEqual(text, " 7, 8,\n")

    def test_finds_a_needle_far_back_in_a_cache_of_either_type(self):
        filler = ("The history of the river valley is long and quiet. Farmers grew wheat and barley on "
                  "the slopes, and boats carried the harvest down to the sea. In winter the roads were "
                  "closed by snow, and people told stories beside the fire. ") * 17
        question = "The password of the old lighthouse keeper is"
        for dtype in ["f16", "q8_0"]:
            text = self.succeed("run", MODEL, f"{question} seven green elephants. {filler}{question}",
                                "--raw", "--temperature=0", "--max-tokens=4",
                                f"--kv-cache-dtype={dtype}", "--max-model-len=2048")
            self.assertTrue(text.startswith(" seven green elephants"), (dtype, text))

    def test_refuses_a_cache_type_it_does_not_know(self):
        text = self.refused(EXIT_USAGE, "run", MODEL, "Hi", "--kv-cache-dtype=q4_0")
        for fact in ["kv-cache-dtype", "q4_0", "f16", "q8_0"]:
            self.assertIn(fact, text)

    def test_stats_go_to_standard_error(self):
        done = hearth("run", MODEL, "Hi", "--max-tokens=4", "--stats")
        self.assertEqual(done.returncode, EXIT_OK)
        self.assertRegex(done.stderr.decode(), r"\A\[prompt \d+ tokens .* answer \d+ tokens, .*\]\n\Z")

    def test_contradictions_are_wrong_usage(self):
        self.assertIn("--raw", self.refused(EXIT_USAGE, "run", MODEL, "Hi", "--raw", "--system=x"))

    def test_a_prompt_longer_than_the_context_is_refused(self):
        text = self.refused(EXIT_FAILURE, "run", MODEL, "word " * 100, "--max-model-len=64")
        self.assertIn("64", text)


class Terminal:
    """`hearth run` on a pseudo-terminal."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen([BINARY, "run", MODEL, *arguments], stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True,
                                        env=clean_environment(TERM="dumb"))
        os.close(slave)
        self.shown = ""

    def read_until(self, text):
        """Everything shown up to and with the next `text`."""
        while text not in self.shown:
            self.shown += os.read(self.master, 65536).decode(errors="replace").replace("\r", "")
        end = self.shown.index(text) + len(text)
        taken, self.shown = self.shown[:end], self.shown[end:]
        return taken

    def type(self, line):
        os.write(self.master, line.encode() + b"\n")

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def end(self):
        """Exit code, after everything still shown."""
        try:
            while os.read(self.master, 65536):
                pass
        except OSError:  # The terminal's other side is closed.
            pass
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


class Conversation(HearthTest):
    def test_answers_remember_what_was_said_until_cleared(self):
        with Terminal("--temperature=0", "--max-tokens=48", "--stats") as terminal:
            terminal.read_until(">>> ")
            terminal.type(GREEDY[0]["prompt"])
            first = terminal.read_until(">>> ")
            self.assertIn(GREEDY[0]["text"], first)
            terminal.type("Go on.")
            second = terminal.read_until(">>> ")
            self.assertNotIn("(0 cached)", second)
            terminal.type("/clear")
            terminal.read_until(">>> ")
            terminal.type(GREEDY[0]["prompt"])
            self.assertIn(GREEDY[0]["text"], terminal.read_until(">>> "))
            terminal.type("/exit")
            self.assertEqual(terminal.end(), EXIT_OK)

    def test_commands_change_settings_and_explain_themselves(self):
        with Terminal() as terminal:
            terminal.read_until(">>> ")
            for line, expected in [("/help", "/system TEXT"), ("/set", "temperature 1,"),
                                   ("/set temperature 0", "temperature 0,"),
                                   ("/set temperature warm", "temperature"),
                                   ("/set max-tokens 4", "max-tokens 4"),
                                   ("/system Be brief.", "System message set."),
                                   ("/nonsense", "Unknown command /nonsense")]:
                terminal.type(line)
                self.assertIn(expected, terminal.read_until(">>> "))
            terminal.type("/exit")
            self.assertEqual(terminal.end(), EXIT_OK)

    def test_ctrl_c_stops_an_answer_and_twice_at_the_prompt_leaves(self):
        with Terminal("--temperature=0") as terminal:
            terminal.read_until(">>> ")
            terminal.type("Tell a long story.")
            terminal.read_until("story.\n")
            terminal.read_until(" ")
            terminal.interrupt()
            terminal.read_until("[stopped]")
            terminal.read_until(">>> ")
            terminal.interrupt()
            terminal.read_until("leaves.")
            terminal.read_until(">>> ")
            terminal.interrupt()
            self.assertEqual(terminal.end(), EXIT_OK)

    def test_ctrl_c_between_enter_and_the_answer_stops_it(self):
        with Terminal("--temperature=0") as terminal:
            terminal.read_until(">>> ")
            terminal.type("Tell a long story.")
            self.assertEqual(terminal.read_until("story.\n").count("Tell"), 1)
            terminal.interrupt()
            terminal.read_until("[stopped]")
            terminal.read_until(">>> ")
            terminal.type("/exit")
            self.assertEqual(terminal.end(), EXIT_OK)

    def test_several_lines_between_quotes_are_one_message(self):
        with Terminal("--temperature=0", "--max-tokens=1", "--stats") as terminal:
            terminal.read_until(">>> ")
            terminal.type('"""one')
            terminal.read_until("... ")
            terminal.type('two"""')
            self.assertIn("answer 1 tokens", terminal.read_until(">>> "))
            terminal.type("/exit")
            self.assertEqual(terminal.end(), EXIT_OK)


if __name__ == "__main__":
    unittest.main()
