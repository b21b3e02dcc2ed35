using Bellman.Training.Evaluation;
using Bellman.Training.Reports;
using Bellman.Training.Tasks;

namespace Bellman.Training.Tests.Reports;

/// <summary>A report with one of everything, from fixed numbers.</summary>
internal static class SampleReport
{
    internal static HtmlReport Build()
    {
        double[] steps = [.. Enumerable.Range(1, 1000).Select(i => (double)i)];
        double[] loss = [.. steps.Select(s => 2.2 * Math.Exp(-s / 160) + 0.05 + 0.02 * Math.Sin(s * 1.7) * Math.Exp(-s / 600))];
        double[] value = [.. steps.Select(s => s == 500 ? double.NaN : 0.25 * Math.Exp(-s / 300) + 0.12 + 0.01 * Math.Sin(s * 0.9))];
        double[] widths = [1, 2, 3, 5, 7];
        double[] accuracy = [0.772, 0.78, 0.788, 0.756, 0.79];
        AccuracyInterval sft = new(282, 500), oreo = new(403, 500), beam = new(394, 500);
        return new HtmlReport("Bellman quickstart <board>, seed 0")
            .AddFacts(("task", "board 6×6, 2 walls"), ("weights", "154,688"), ("seed", "0"), ("seconds", "131"), ("SFT → OREO", "56.4 % → 80.6 %"))
            .AddHeading("Accuracy on 500 held-out problems")
            .AddAccuracies("Greedy decoding and search", [
                new("SFT greedy", sft),
                new("OREO greedy", oreo, new PairedDifference(20, 141, 262, 77)),
                new("OREO policy, step beam search, width 3", beam, new PairedDifference(30, 21, 373, 76)),
            ], "Intervals cover the choice of problems, not the noise of training.")
            .AddBars("Accuracy by method", "accuracy %", [
                new("SFT greedy", 56.4, 52.0, 60.7, "SFT policy"), new("SFT beam 3", 70.2, 66.0, 74.0, "SFT policy"),
                new("OREO greedy", 80.6, 76.9, 83.8, "OREO policy"), new("OREO beam 3", 78.8, 75.0, 82.2, "OREO policy"),
            ])
            .AddChart("Accuracy by beam width", "beam width", "accuracy", [
                new("OREO policy", widths, accuracy) { Low = [.. accuracy.Select(a => a - 0.035)], High = [.. accuracy.Select(a => a + 0.033)] },
                new("SFT policy", widths, [.. accuracy.Select(a => a - 0.12)]) { Low = [.. accuracy.Select(a => a - 0.165)], High = [.. accuracy.Select(a => a - 0.08)] },
            ])
            .AddHeading("Training")
            .AddChart("Losses", "step", "loss", [new("policy", steps, loss), new("value", steps, value)], new ChartOptions { LogY = true })
            .AddChart("Value loss with interval", "step", "loss", [
                new("value", steps, value) { Low = [.. value.Select(v => v * 0.9)], High = [.. value.Select(v => v * 1.1)] },
                new("target", steps, [.. steps.Select(_ => 0.2)]),
                new("never measured", [], []),
            ], new ChartOptions { IncludeY = (0, 0.4) })
            .AddTable("Data", ["split", "problems", "right"], [["demonstrations", "16000", "63.4 %"], ["rollouts", "16000", "44.1 %"]])
            .AddHeading("What the value model sees")
            .AddText("Colour shows the value of the state after each token; a drop marks the step that spoils the walk.")
            .AddTokenValues("Problem 17", [.. Tokens(wrong: false)], new TokenColoring { ValueName = "V", Center = 0.5, Span = 0.5, Correct = true })
            .AddTokenValues("Problem 23", [.. Tokens(wrong: true)], new TokenColoring { ValueName = "advantage", Correct = false, Note = "The fourth step runs into a wall." });
    }

    private static IEnumerable<TokenCell> Tokens(bool wrong)
    {
        foreach (string symbol in new[] { "31", ">", "65", " ", "7", ":", "11", " ", "46", "\n" }) yield return new TokenCell(symbol, null) { IsPrompt = true };
        string[] steps = ["D 41", "R 42", "R 43", "R 44", wrong ? "R 46" : "R 45", "D 55", "D 65"];
        double value = 0.62;
        for (int i = 0; i < steps.Length; i++)
        {
            double next = wrong && i >= 3 ? 0.05 - 0.004 * i : Math.Min(0.98, value + 0.05);
            foreach ((string symbol, int place) in steps[i].Split(' ').Append("\n").Select((s, p) => (s, p)))
            {
                double shown = wrong ? (place == 1 ? next - value : 0.01 * (place - 1)) : next - 0.02 + 0.01 * place;
                yield return new TokenCell(symbol, shown) { StartsStep = place == 0, Numbers = [new("V", next), new("log-prob", -0.1 * place - 0.02), new("log-ratio", 0.03 * i)] };
            }
            value = next;
        }
        yield return new TokenCell("####", wrong ? -0.02 : 0.97) { StartsStep = true };
        yield return new TokenCell("65", wrong ? double.NaN : 0.98);
        yield return new TokenCell("<end>", null);
    }
}
