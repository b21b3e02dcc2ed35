using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Kernels;
using Bellman.Training.Jobs;
using Bellman.Training.Recipes;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman train</c>.</summary>
internal static class TrainCommand
{
    public static Command Create(Terminal terminal)
    {
        var recipes = new RecipeOpts(isRequired: true);
        Option<string?> output = Opt.Text("--out", "DIR", "Run folder; the same as --set out=DIR.");
        Option<bool> resume = Opt.Flag("--resume", "Continue the run in the run folder from its newest checkpoint.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("train", "trains what a recipe says")
        {
            Notes =
            [
                "The run folder gets recipe.yaml (every setting), metrics.jsonl and a TensorBoard event file, checkpoints/step-N, and at the end policy/ and value/ "
                + "(Hugging Face folders), samples.jsonl and report.html. Ctrl-C saves a checkpoint after the current update; --resume goes on from there, bit for bit.",
            ],
            Examples =
            [
                ("bellman train recipes/sft.yaml --set model.policy=models/base --set data.train=gsm8k/train.jsonl", "imitation of reference solutions"),
                ("bellman train recipes/oreo.yaml --set model.policy=runs/sft/policy --set data.train=rollouts.jsonl --out runs/oreo", "OREO: policy and value model"),
                ("bellman train recipes/oreo.yaml --set model.policy=runs/sft/policy --set data.train=rollouts.jsonl --out runs/oreo --resume", "goes on after Ctrl-C"),
            ],
        };
        recipes.AddTo(command);
        command.Add(output, resume, json);
        command.SetAction(parsed =>
        {
            Recipe recipe = parsed.GetValue(output) is { } folder ? recipes.Read(parsed, $"out={folder}") : recipes.Read(parsed);
            var job = new TrainJob(recipe, parsed.GetValue(recipes.Path)!);
            TrainResult result = Progress.Run(terminal, progress => job.Run(parsed.GetValue(resume), progress, terminal.Cancellation));
            if (!result.IsComplete) terminal.Error.WriteLine($"stopped after update {result.Update} of {result.Updates}, which is saved; the same command with --resume goes on from there");
            if (parsed.GetValue(json)) WriteJson(terminal.Output, result);
            else if (result.IsComplete) WriteText(terminal.Output, result);
            return result.IsComplete ? ExitCodes.Success : ExitCodes.Cancelled;
        });
        return command;
    }

    private static void WriteText(TextWriter output, TrainResult result)
    {
        output.WriteLine($"data: {result.Data}");
        output.WriteLine($"{result.Updates} updates: {string.Join(", ", Shown(result).Select(x => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{x.Name} {x.Value:0.####}")))}");
        if (result.Device != Device.Cpu) output.WriteLine($"computed on {result.Device.Description}");
        output.WriteLine($"models and report: {result.Folder}");
    }

    private static IEnumerable<(string Name, double Value)> Shown(TrainResult result)
    {
        foreach (string name in new[] { "policy/loss", "policy/kl", "value/loss", "value/mean", "value/explained_variance", "validation/loss" })
            if (result.Metrics.TryGetValue(name, out double value)) yield return (name, value);
    }

    private static void WriteJson(TextWriter output, TrainResult result) => output.WriteLine(JsonLineWriter.Format(json =>
    {
        json.WriteBoolean("complete", result.IsComplete);
        json.WriteNumber("update", result.Update);
        json.WriteNumber("updates", result.Updates);
        json.WriteString("folder", result.Folder);
        json.WriteString("device", result.Device.Name);
        json.WriteNumber("trajectories", result.Data.Kept);
        json.WriteNumber("dropped", result.Data.DroppedTotal);
        json.WriteStartObject("metrics");
        foreach ((string name, double value) in result.Metrics)
            if (double.IsFinite(value)) json.WriteNumber(name, value);
        json.WriteEndObject();
    }));
}
