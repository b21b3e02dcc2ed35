using System.CommandLine;
using Bellman.Cli.Output;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Commands;

/// <summary><c>bellman inspect</c>.</summary>
internal static class InspectCommand
{
    public static Command Create(Terminal terminal)
    {
        var recipes = new RecipeOpts(isRequired: false);
        Option<string?> model = Opt.Text("--model", "DIR", "Look at a model folder instead of a recipe.");
        Option<bool> json = Opt.Flag("--json", "Print the result as one JSON object.");
        var command = new CliCommand("inspect", "shows what a recipe would train, or what a model folder holds, without training")
        {
            Notes =
            [
                "In the examples of a recipe, [[text]] is what the policy is trained to write, and ^ stands behind each token at which the value model is trained (left out where that is before every action). "
                + "On a terminal, colours take the place of the brackets.",
            ],
            Examples =
            [
                ("bellman inspect recipes/oreo.yaml --set model.policy=models/base --set data.train=rollouts.jsonl", "tokens, masks, rewards, drops, memory"),
                ("bellman inspect --model models/base", "family, sizes, tokenizer, chat template"),
            ],
        };
        recipes.AddTo(command);
        command.Add(model, json);
        command.SetAction(parsed =>
        {
            string? path = parsed.GetValue(recipes.Path), folder = parsed.GetValue(model);
            if ((path is null) == (folder is null)) throw new UsageException($"expected either a recipe or --model DIR, received {(path is null ? "neither" : "both")}.");
            if (folder is not null)
            {
                if (recipes.Overrides(parsed).Length > 0) throw new UsageException($"{(parsed.GetValue(recipes.Set)!.Length > 0 ? "--set" : "--device")} belongs to a recipe, not to --model.");
                ModelInspection found = InspectJob.Model(folder);
                if (parsed.GetValue(json)) InspectionText.WriteJson(terminal.Output, found);
                else InspectionText.Write(terminal.Output, found, folder);
                return ExitCodes.Success;
            }
            RecipeInspection inspection = Progress.Run(terminal, progress => InspectJob.Recipe(recipes.Read(parsed), path!, progress, terminal.Cancellation));
            if (parsed.GetValue(json)) InspectionText.WriteJson(terminal.Output, inspection);
            else InspectionText.Write(terminal, inspection);
            return ExitCodes.Success;
        });
        return command;
    }
}
