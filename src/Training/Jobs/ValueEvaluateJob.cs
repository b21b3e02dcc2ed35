using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>Measures how good a value model is: on solutions with a verdict, or on steps with the first wrong one marked.</summary>
public sealed class ValueEvaluateJob : IDisposable
{
    private const int FewestOfAClass = 20;
    private static readonly (string Name, double Share)[] Places = [("0 %", 0), ("25 %", 0.25), ("50 %", 0.5), ("75 %", 0.75), ("100 %", 1)];

    private readonly ValueModel _value;
    private readonly Tokenizer _tokenizer;
    private readonly ValueEvaluateOptions _options;

    /// <summary>Loads a value model with its tokenizer.</summary>
    /// <param name="folder">Its folder.</param>
    /// <param name="options">What is measured.</param>
    /// <param name="device">Where to compute; the CPU by default.</param>
    /// <exception cref="BellmanException">The folder cannot be used.</exception>
    public ValueEvaluateJob(string folder, ValueEvaluateOptions options, Device? device = null)
    {
        _tokenizer = ModelFolder.LoadTokenizer(folder);
        _value = ValueModel.Load(folder, device, weights: options.Weights);
        _options = options;
    }

    /// <summary>Weights of the model.</summary>
    public long Parameters => _value.Parameters.Count;

    /// <summary>Measures V on solutions with a verdict.</summary>
    /// <param name="lines">Lines with question, response and reward, perhaps with a source.</param>
    /// <param name="source">Name of the file, for errors.</param>
    /// <param name="training">Lines to fit the trivial predictors on, of other questions; null fits them on parts of <paramref name="lines"/> in turn.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="BellmanException">A line is wrong, or a question is in both files.</exception>
    public ValueEvaluation Run(IEnumerable<JsonLine> lines, string source, IEnumerable<JsonLine>? training = null, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        (List<LabelledSolution> solutions, int dropped) = LabelledSolution.Read(lines, _tokenizer, _value.Config.MaxPositions, _options, source, cancellation);
        List<LabelledSolution>? fitted = training is null ? null : LabelledSolution.Read(training, _tokenizer, int.MaxValue, _options, "training file", cancellation).Solutions;
        float[][] values = Score([.. solutions.Select(x => x.Ids)], progress, cancellation);
        bool[] right = [.. solutions.Select(x => x.Right)];
        string[] questions = [.. solutions.Select(x => x.Question.Trim())];
        float[] AtShare(double share) => [.. solutions.Select((x, i) => values[i][x.PlaceOf(share)])];

        float[] atEnd = AtShare(1);
        var scores = new List<ScoreQuality> { Quality("V at the end", atEnd) };
        progress?.Invoke(new JobProgress("fitting the trivial predictors", 0, 0, "predictors"));
        foreach ((string name, float[] predicted) in TrivialPredictors.Score(solutions, fitted)) scores.Add(Quality(name, predicted));
        return new ValueEvaluation(solutions.Count, right.Count(x => x), questions.Distinct().Count(), dropped, scores,
            [.. Places.Select(x => new PlaceQuality(x.Name, AurocInterval.Of(AtShare(x.Share), right, questions)))],
            StepEnds(solutions, values, questions), Calibration.Of(atEnd, right));

        ScoreQuality Quality(string name, float[] predicted)
        {
            string[]? sources = solutions.TrueForAll(x => x.Source is not null) ? [.. solutions.Select(x => x.Source!)] : null;
            var bySource = new List<(string, AurocInterval)>();
            foreach (string one in sources?.Distinct().Order(StringComparer.Ordinal) ?? Enumerable.Empty<string>())
            {
                int[] members = [.. Enumerable.Range(0, predicted.Length).Where(i => sources![i] == one)];
                bySource.Add((one, AurocInterval.Of([.. members.Select(i => predicted[i])], [.. members.Select(i => right[i])], [.. members.Select(i => questions[i])])));
            }
            return new ScoreQuality(name, AurocInterval.Of(predicted, right, questions), AurocInterval.Within(predicted, right, questions),
                sources is null ? double.NaN : AurocInterval.Within(predicted, right, sources), bySource);
        }
    }

    /// <summary>Measures how well V finds the first wrong step (the form of ProcessBench: problem, steps, label).</summary>
    /// <param name="lines">The lines.</param>
    /// <param name="source">Name of the file, for errors.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="BellmanException">A line is wrong, or one of the two classes is missing.</exception>
    public StepEvaluation RunSteps(IEnumerable<JsonLine> lines, string source, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        var prompts = new PromptEncoder(_tokenizer, _options.PromptTemplate);
        var read = new List<(string Problem, int Label, int[] Ids, int[] Ends)>();
        int dropped = 0;
        foreach (JsonLine line in lines)
        {
            cancellation.ThrowIfCancellationRequested();
            (string problem, string[] steps, int label) = (line.Text("problem"), line.Texts("steps"), line.Whole("label"));
            if (steps.Length == 0) throw line.Error("field 'steps': expected at least one step, received an empty list.");
            if (label < -1 || label >= steps.Length) throw line.Error($"field 'label': expected the index of one of the {steps.Length} steps, or -1, received {label}.");
            (int[] ids, int[] ends) = Encode(prompts, problem, steps);
            if (ids.Length > _value.Config.MaxPositions) dropped++;
            else read.Add((problem, label, ids, ends));
        }
        if (!read.Exists(x => x.Label < 0) || !read.Exists(x => x.Label >= 0))
            throw new DataException($"{source}: expected solutions with and without a wrong step, received {read.Count(x => x.Label >= 0)} with and {read.Count(x => x.Label < 0)} without ({dropped} did not fit the model).");
        float[][] values = Score([.. read.Select(x => x.Ids)], progress, cancellation);
        StepScores[] Scores(Func<int, int, float> score) => [.. read.Select((x, i) => new StepScores(x.Problem, [.. Enumerable.Range(0, x.Ends.Length - 1).Select(k => score(i, k))], x.Label))];
        // Ends[0] is the prompt's end, Ends[k + 1] that of step k.
        StepScores[] absolute = Scores((i, k) => values[i][read[i].Ends[k + 1]]);
        bool[] clean = [.. read.Select(x => x.Label < 0)];
        string[] problems = [.. read.Select(x => x.Problem)];
        return new StepEvaluation(read.Count, dropped, FirstErrorRule.CrossTuned(absolute),
            FirstErrorRule.CrossTuned(Scores((i, k) => values[i][read[i].Ends[k + 1]] - values[i][read[i].Ends[k]])),
            FirstErrorRule.CrossTuned(Scores((_, k) => -k)),
            AurocInterval.Of([.. absolute.Select(x => x.Scores.Min())], clean, problems), AurocInterval.Of([.. absolute.Select(x => x.Scores[^1])], clean, problems));
    }

    /// <inheritdoc/>
    public void Dispose() => _value.Dispose();

    /// <summary>Prompt and steps one after the other, so that the end of every step is a token's end.</summary>
    private (int[] Ids, int[] Ends) Encode(PromptEncoder prompts, string problem, string[] steps)
    {
        List<int> ids = [.. prompts.Encode(problem)];
        List<int> ends = [ids.Count - 1];
        for (int i = 0; i < steps.Length; i++)
        {
            ids.AddRange(_tokenizer.EncodeContinuation(i + 1 < steps.Length ? steps[i] + _options.StepJoin : steps[i]));
            ends.Add(ids.Count - 1);
        }
        return ([.. ids], [.. ends]);
    }

    private float[][] Score(int[][] sequences, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        using var scorer = new ValueScorer(_value);
        float[][] values = scorer.Score(sequences, done => progress?.Invoke(new JobProgress("reading values", done, sequences.Length, "solutions")), cancellation);
        return Array.Exists(values, x => Array.Exists(x, y => !float.IsFinite(y)))
            ? throw new BellmanException("Value evaluation: the value model gives numbers that are not finite; check the checkpoint.") : values;
    }

    private static List<PlaceQuality> StepEnds(List<LabelledSolution> solutions, float[][] values, string[] questions)
    {
        var rows = new List<PlaceQuality>();
        for (int step = 0; ; step++)
        {
            int[] members = [.. Enumerable.Range(0, solutions.Count).Where(i => solutions[i].StepEnds.Length > step)];
            int right = members.Count(i => solutions[i].Right);
            if (right < FewestOfAClass || members.Length - right < FewestOfAClass) return rows;
            rows.Add(new PlaceQuality($"step {step + 1}", AurocInterval.Of([.. members.Select(i => values[i][solutions[i].StepEnds[step]])], [.. members.Select(i => solutions[i].Right)], [.. members.Select(i => questions[i])])));
        }
    }
}
