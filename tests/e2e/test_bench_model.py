"""`hearth bench model` on the default model, with the smallest sizes that make sense."""

import json
import unittest

from hearth_e2e import EXIT_FAILURE, EXIT_USAGE, MODEL, HearthTest

SMALL = ["--prompt=16,4", "--context=8,64", "--batch=3", "--decode=2", "--repeat=2", "--threads=2"]


class BenchModel(HearthTest):
    def figures(self):
        return json.loads(self.succeed("bench", "model", MODEL, *SMALL, "--json=-"))

    def test_every_case_is_measured_and_counted(self):
        report = self.figures()
        cases = [(r["test"], r["sequences"], r["context"], r["tokens"]) for r in report["results"]]
        self.assertEqual(cases, [("prefill", 1, 0, 16), ("prefill", 1, 0, 4), ("decode", 1, 8, 2),
                                 ("decode", 1, 64, 2), ("decode", 3, 8, 2)])
        self.assertEqual(report["threads"], 2)
        for result in report["results"]:
            self.assertEqual(len(result["seconds"]), 2)
            self.assertTrue(all(seconds > 0 for seconds in result["seconds"]))
            # A step reads every matrix once, whatever it computes.
            steps = result["tokens"] if result["test"] == "decode" else 1
            self.assertLess(0.9 * report["file_bytes"] * steps, result["weight_bytes"])
            self.assertLess(result["weight_bytes"], report["file_bytes"] * steps)

    def test_rates_and_percentages_follow_from_their_parts(self):
        report = self.figures()
        peaks = report["peaks"]
        for result in report["results"]:
            seconds = sum(result["seconds"]) / 2  # The median of two.
            tokens = result["tokens"] * result["sequences"]
            num_bytes = result["weight_bytes"] + result["kv_bytes"]
            macs = result["quantized_macs"] + result["float_macs"]
            self.assertAlmostEqual(result["tokens_per_s"] * seconds / tokens, 1)
            self.assertAlmostEqual(result["bytes_per_s"] * seconds / num_bytes, 1)
            self.assertAlmostEqual(result["macs_per_s"] * seconds / macs, 1)
            self.assertAlmostEqual(
                result["bandwidth_percent"] / 100 * peaks["read_bytes_per_s"] / result["bytes_per_s"], 1)
            if peaks["sets"]:
                shortest = (result["quantized_macs"] / peaks["int8_macs_per_s"]
                            + result["float_macs"] / peaks["fp32_macs_per_s"])
                self.assertAlmostEqual(result["compute_percent"] / 100 * seconds / shortest, 1)
            else:
                self.assertIsNone(result["compute_percent"])

    def test_the_table_and_the_file_come_from_one_run(self):
        path = self.folder / "figures.json"
        text = self.succeed("bench", "model", MODEL, *SMALL, f"--json={path}")
        report = json.loads(path.read_text())
        for result in report["results"]:
            self.assertRegex(text, rf"(?m)^{result['test']} .* {result['tokens_per_s']:.1f} ")

    def test_what_cannot_be_measured_is_refused(self):
        self.assertIn("--prompt", self.refused(EXIT_USAGE, "bench", "model", MODEL, "--prompt=0",
                                               "--decode=0"))
        self.assertIn("8192", self.refused(EXIT_FAILURE, "bench", "model", MODEL, "--context=8192"))


if __name__ == "__main__":
    unittest.main()
