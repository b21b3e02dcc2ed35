using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Evaluation;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman iterate</c>.</summary>
internal static class IterateCommand
{
    public static Command Create(Terminal terminal)
    {
        var recipes = new RecipeOpts(isRequired: true);
        Option<string?> output = Opt.Text("--out", "DIR", "Run folder; the same as --set out=DIR.");
        Option<bool> resume = Opt.Flag("--resume", "Go on with the rounds in the run folder; finished stages are kept.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("iterate", "rounds of sampling, grading, training and evaluating by one recipe")
        {
            Notes =
            [
                "The recipe's section iterate names problems and rounds; data.train is each round's own samples. A round samples with the policy of the round before, grades, "
                + "trains the recipe's objective on what data.samples_per_question and its like choose, and answers iterate.eval_problems. The run folder gets round-N/ (rollouts.jsonl, train/, evaluation.json) and report.html.",
            ],
            Examples =
            [
                ("bellman iterate recipes/oreo.yaml --set model.policy=runs/sft/policy --set iterate.problems=gsm8k/train.jsonl --set iterate.eval_problems=gsm8k/test.jsonl --out runs/rounds", "three rounds of OREO"),
                ("bellman iterate recipes/oreo.yaml --set model.policy=runs/sft/policy --set iterate.problems=gsm8k/train.jsonl --set iterate.eval_problems=gsm8k/test.jsonl --out runs/rounds --resume", "goes on after Ctrl-C"),
            ],
        };
        recipes.AddTo(command);
        command.Add(output, resume, json);
        command.SetAction(parsed =>
        {
            string[] overrides = parsed.GetValue(output) is { } folder ? recipes.Overrides(parsed, $"out={folder}") : recipes.Overrides(parsed);
            var job = new IterateJob(parsed.GetValue(recipes.Path)!, overrides);
            IterateResult result = Progress.Run(terminal, progress => job.Run(parsed.GetValue(resume), progress, terminal.Cancellation));
            if (!result.IsComplete) terminal.Error.WriteLine("stopped at a point that is saved; the same command with --resume goes on from there");
            foreach (IterateRound round in result.Rounds) terminal.Output.WriteLine(Text(round));
            terminal.Output.WriteLine($"report: {Path.Combine(result.Folder, "report.html")}");
            if (parsed.GetValue(json)) WriteJson(terminal.Output, result);
            return result.IsComplete ? ExitCodes.Success : ExitCodes.Cancelled;
        });
        return command;
    }

    private static string Text(IterateRound round)
    {
        string samples = round.Round == 0 ? "start" : $"round {round.Round}: samples {round.Samples} right, {round.TrainedOn} trained on";
        string greedy = round.Evaluation is { } evaluation ? $"; greedy {AccuracyInterval.Of(evaluation.Greedy)}" : "";
        return samples + greedy + (round.Evaluation?.Search is { } search ? $"; search {AccuracyInterval.Of(search)}" : "");
    }

    private static void WriteJson(TextWriter output, IterateResult result) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        json.WriteBoolean("complete", result.IsComplete);
        json.WriteString("folder", result.Folder);
        json.WriteStartArray("rounds");
        foreach (IterateRound round in result.Rounds)
        {
            json.WriteStartObject();
            json.WriteNumber("round", round.Round);
            if (round.Round > 0)
            {
                json.WriteNumber("samples", round.Samples.Total);
                json.WriteNumber("samples_right", round.Samples.Correct);
                json.WriteNumber("trained_on", round.TrainedOn);
            }
            Accuracy("greedy", round.Evaluation?.Greedy);
            Accuracy("search", round.Evaluation?.Search);
            json.WriteEndObject();
        }
        json.WriteEndArray();

        void Accuracy(string name, bool[]? verdicts)
        {
            if (verdicts is null) return;
            json.WriteStartObject(name);
            json.WriteAccuracy(AccuracyInterval.Of(verdicts));
            json.WriteEndObject();
        }
    }));
}
