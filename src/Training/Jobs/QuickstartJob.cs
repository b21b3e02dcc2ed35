using System.Diagnostics;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Training.Evaluation;
using Bellman.Training.Experiments;
using Bellman.Training.Metrics;
using Bellman.Training.Tasks;

namespace Bellman.Training.Jobs;

/// <summary>
/// The whole method on an embedded task, from nothing: fine-tune a small model on an imperfect demonstrator, sample it, grade
/// the samples, train OREO on them, and answer held-out problems greedily and with value-guided search.
/// </summary>
public sealed class QuickstartJob
{
    private const string ResultName = "quickstart.json";

    private readonly QuickstartOptions _options;
    private readonly TaskExperiment _experiment;
    private readonly ProblemSet _heldOut;

    /// <summary>Prepares the task.</summary>
    /// <exception cref="BellmanException">The task is unknown, or the folder holds something else.</exception>
    public QuickstartJob(QuickstartOptions options)
    {
        _options = options;
        _experiment = new TaskExperiment(ReasoningTasks.Create(options.Task), new ExperimentOptions { Seed = options.Seed });
        if (File.Exists(options.Out)) throw new CheckpointException($"{options.Out}: expected a folder to write to, but there is a file of this name; give another --out.");
        if (Directory.Exists(options.Out) && Directory.EnumerateFileSystemEntries(options.Out).Any() && !File.Exists(Path.Combine(options.Out, ResultName)))
            throw new CheckpointException($"{options.Out}: the folder is not empty and holds no earlier quickstart; give another --out.");
        _heldOut = _experiment.Problems(TaskSplit.HeldOut, options.Evaluated);
    }

    /// <summary>Runs everything; a folder with an earlier result is replaced.</summary>
    public QuickstartResult Run(Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        var clock = Stopwatch.StartNew();
        QuickstartResult? result = null;
        AtomicFolder.Write(_options.Out, folder => result = Run(folder, clock, progress, cancellation), replace: true);
        return result!;
    }

    /// <summary>The result as one line of JSON.</summary>
    public static string Json(QuickstartOptions options, QuickstartResult result) => QuickstartReport.Json(options, result);

    private QuickstartResult Run(string folder, Stopwatch clock, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        ExperimentStage Stage(string name) => new(name, progress, cancellation);
        string sftRun = Path.Combine(folder, "sft-run"), oreoRun = Path.Combine(folder, "oreo-run");
        using LanguageModel policy = _experiment.CreatePolicy();
        Stage("demonstrating").Tell(0, _options.Demonstrations, "problems");
        var imitation = new MethodSettings { Method = ExperimentMethod.Sft, PolicyRate = 2e-3, Epochs = _options.SftEpochs, BatchSize = 32 };
        _experiment.FineTune(policy, _experiment.Demonstrations(_options.Demonstrations), imitation, sftRun, Stage("1/4 fine-tuning"));
        using LanguageModel reference = policy.Clone();
        _experiment.Save(reference, Path.Combine(folder, "sft"));

        AnswerSet samples = _experiment.Sample(reference, _experiment.Problems(TaskSplit.Rollout, _options.RolloutProblems), _options.Samples, Stage("2/4 sampling"));
        GradedSample.Save(Path.Combine(folder, "rollouts.jsonl"), samples.Samples);
        using ValueModel value = ValueModel.FromLanguageModel(policy, trainable: true);
        var oreo = new MethodSettings { Method = ExperimentMethod.OreoToken, PolicyRate = 1.5e-4, ValueRate = 2e-3, Epochs = _options.OreoEpochs };
        _experiment.Train(policy, reference, value, samples.Samples, oreo, oreoRun, Stage("3/4 OREO"));
        _experiment.Save(policy, Path.Combine(folder, "policy"));
        _experiment.Save(value, Path.Combine(folder, "value"));

        JsonLines.Write(Path.Combine(folder, "problems.jsonl"), writer =>
        {
            foreach (TaskProblem problem in _heldOut.Problems) writer.Write(json => json.WriteString("prompt", problem.Prompt));
        });

        var rows = new List<QuickstartRow>();
        bool[] baseline = _experiment.Greedy(reference, _heldOut, Stage("4/4 answering, SFT greedy")).Right;
        void Add(string name, string search, int width, bool[] verdicts) => rows.Add(new QuickstartRow(
            name, search, width, AccuracyInterval.Of(verdicts), ReferenceEquals(verdicts, baseline) ? null : PairedDifference.Of(baseline, verdicts)));
        Add("sft", "greedy", 0, baseline);
        AnswerSet answers = _experiment.Greedy(policy, _heldOut, Stage("4/4 answering, OREO greedy"));
        Add("oreo", "greedy", 0, answers.Right);
        foreach ((string name, LanguageModel model) in new[] { ("sft", reference), ("oreo", policy) })
        {
            foreach (int width in _options.Widths)
                Add(name, "beam", width, _experiment.Beam(model, value, _heldOut, width, _options.BeamTemperature, Stage($"4/4 answering, {name} beam {width}")).Right);
        }
        AnswerSet judged = _experiment.Sample(reference, _heldOut, 1, Stage("4/4 checking the values"));
        double auroc = _experiment.CheckValue(reference, value, judged, Stage("4/4 checking the values")).AtEnd;

        // The folder gets its name at the end, so the result names the place where the report will be.
        string report = Path.Combine(_options.Out, QuickstartReport.FileName);
        var result = new QuickstartResult(rows, auroc, _heldOut.Count, clock.Elapsed.TotalSeconds, report);
        new QuickstartReport(_options, _experiment, result).Write(folder, MetricsHistory.Load(Path.Combine(sftRun, MetricsWriter.FileName)),
            MetricsHistory.Load(Path.Combine(oreoRun, MetricsWriter.FileName)), _experiment.Pictures(policy, reference, value, answers));
        AtomicFile.WriteText(Path.Combine(folder, ResultName), QuickstartReport.Json(_options, result) + "\n");
        return result;
    }
}
