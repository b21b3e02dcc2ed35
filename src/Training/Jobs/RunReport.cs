using System.Globalization;
using Bellman.Kernels.Cpu;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Scoring;
using Bellman.Training.Data;
using Bellman.Training.Metrics;
using Bellman.Training.Recipes;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>Writes what a finished run shows to people: samples.jsonl and report.html.</summary>
internal sealed class RunReport(TrainingSetup setup, string folder)
{
    private const int Prompts = 8, LongestSample = 256, Pictures = 6;

    // One chart each: title, axis, names as the methods report them.
    private static readonly (string Title, string Axis, string[] Names)[] Charts =
    [
        ("Policy loss", "loss", ["policy/loss", "policy/bellman_loss", "policy/preference_loss", "policy/sft_loss", "validation/loss"]), ("Value loss", "loss", ["value/loss", "validation/value_error"]), ("KL to the reference", "nats", ["policy/kl", "rewards/kl_baseline"]),
        ("Implicit rewards", "β · log-ratio", ["rewards/chosen", "rewards/rejected", "rewards/margin"]), ("Accuracy of the implicit rewards", "share", ["rewards/accuracy"]),
        ("Values", "V", ["value/mean", "value/min", "value/max"]), ("Explained variance of the value model", "share", ["value/explained_variance"]),
        ("Gradient norms", "norm", ["policy/gradient_norm", "value/gradient_norm"]), ("Learning rates", "learning rate", ["policy/learning_rate", "value/learning_rate"]), ("Tokens per second", "tokens/s", ["run/tokens_per_second"]),
    ];

    public void Write(Action<JobProgress>? progress, CancellationToken cancellation)
    {
        WriteSamples(progress, cancellation);
        WritePage();
    }

    /// <summary>Greedy answers of the trained policy to the first prompts of the data.</summary>
    private void WriteSamples(Action<JobProgress>? progress, CancellationToken cancellation)
    {
        Trajectory[] chosen = [.. setup.Data.Read.Trajectories.DistinctBy(x => x.Group ?? $"line {x.Line}").Where(x => x.PromptLength > 0).Take(Prompts)];
        int[][] prompts = [.. chosen.Select(x => x.Ids[..x.PromptLength])];
        var results = new GenerationResult[prompts.Length];
        int done = 0;
        using var generator = new Generator(setup.Policy.Model);
        generator.Run([.. prompts.Select(x => new GenerationRequest(x))], SamplingOptions.Greedy with { MaxTokens = LongestSample }, null, result =>
        {
            results[result.Request] = result;
            progress?.Invoke(new JobProgress("writing samples", ++done, prompts.Length, "samples"));
        }, cancellation);
        JsonLines.Write(Path.Combine(folder, "samples.jsonl"), writer =>
        {
            for (int i = 0; i < prompts.Length; i++)
            {
                writer.Write(json =>
                {
                    json.WriteString("prompt", setup.Policy.Tokenizer.Decode(prompts[i], skipSpecialTokens: true));
                    json.WriteString("response", ResponseText.Of(setup.Policy.Tokenizer, prompts[i], results[i].Ids));
                    json.WriteBoolean("finished", results[i].Finish == FinishReason.EndToken);
                    json.WriteNumber("line", chosen[i].Line);
                });
            }
        });
    }

    private void WritePage()
    {
        Recipe recipe = setup.Recipe;
        DataReport data = setup.Data.Read.Report;
        var report = new HtmlReport($"{recipe.Objective.ToString().ToUpperInvariant()} run {Path.GetFileName(Path.TrimEndingDirectorySeparator(folder))}");
        report.AddFacts(
            ("objective", recipe.Objective.ToString().ToLowerInvariant()), ("started from", recipe.Model.Policy), ("parameters", Count(setup.Policy.Model.Parameters.Count)),
            ("updates", Count(setup.Updates)), ("trajectories", Count(data.Kept)), ("dropped", Count(data.DroppedTotal)), ("tokens", Count(data.Tokens)),
            ("mean reward", data.MeanReward.ToString("0.###", CultureInfo.InvariantCulture)), ("threads", Count(CpuFacts.Threads)));
        report.AddText(data.ToString());
        if (setup.Data.Pairs is { } pairs) report.AddText($"{Count(pairs.Count)} pairs of {Count(pairs.Questions)} questions; {Count(pairs.QuestionsWithoutPair)} questions have no pair.");
        IReadOnlyList<MetricSeries> history = MetricsHistory.Load(Path.Combine(folder, MetricsWriter.FileName));
        report.AddHeading("Course of the training");
        foreach ((string title, string axis, string[] names) in Charts)
        {
            ChartSeries[] lines = [.. history.Where(x => names.Contains(x.Name)).Select(x => new ChartSeries(x.Name, x.Steps, x.Values))];
            if (lines.Length > 0) report.AddChart(title, "update", axis, lines);
        }
        if (setup.Value is not null) AddValues(report);
        report.AddHeading("Recipe");
        report.AddFolded("All settings", recipe.ToYaml().TrimEnd('\n'));
        report.Save(Path.Combine(folder, "report.html"));
    }

    /// <summary>V over some right and some wrong trajectories: where does the model see it coming?</summary>
    private void AddValues(HtmlReport report)
    {
        IReadOnlyList<Trajectory> all = setup.Data.Read.Trajectories;
        float middle = (all.Min(x => x.Reward) + all.Max(x => x.Reward)) / 2;
        Trajectory[] shown = [.. all.Where(x => x.Reward > middle).Take(Pictures / 2), .. all.Where(x => x.Reward <= middle).Take(Pictures / 2)];
        using var scorer = new SequenceScorer(setup.Policy.Model, null, setup.Value);
        IReadOnlyList<SequenceScore> scores = scorer.Score([.. shown.Select(x => x.Ids)]);
        var pieces = new TokenPieces(setup.Policy.Tokenizer);
        report.AddHeading("Values of training trajectories");
        for (int i = 0; i < shown.Length; i++)
        {
            // The cell of token t shows V of the prefix that ends with it.
            TokenCell[] cells = [.. shown[i].Ids.Select((id, t) => new TokenCell(Text(pieces, id), t < shown[i].Length - 1 && t >= shown[i].PromptLength - 1 ? scores[i].Values![t] : null) { IsPrompt = t == 0 || !shown[i].ActionMask[t - 1] })];
            report.AddTokenValues($"line {shown[i].Line}, reward {shown[i].Reward.ToString(CultureInfo.InvariantCulture)}", cells, new TokenColoring { Center = middle, Correct = shown[i].Reward > middle });
        }
    }

    private string Text(TokenPieces pieces, int id) => pieces[id] is { Length: > 0 } piece ? piece : setup.Policy.Tokenizer.TokenOf(id);

    private static string Count(long count) => count.ToString("N0", CultureInfo.InvariantCulture);
}
