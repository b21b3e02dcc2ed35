using System.Diagnostics;
using System.Globalization;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;
using Bellman.Training.Evaluation;
using Bellman.Training.Metrics;
using Bellman.Training.Optimizers;
using Bellman.Training.Tasks;
using Bellman.Training.Trainers;

namespace Bellman.Training.Jobs;

/// <summary>
/// The whole method on an embedded task, from nothing: fine-tune a small model on an imperfect demonstrator, sample it, grade
/// the samples, train OREO on them, and answer held-out problems greedily and with value-guided search.
/// </summary>
public sealed class QuickstartJob
{
    private const int MaxTokens = 64, MaxPositions = 128, MicroBatchTokens = 4096, Warmup = 20;
    private const string ResultName = "quickstart.json";

    private readonly QuickstartOptions _options;
    private readonly IReasoningTask _task;
    private readonly Tokenizer _tokenizer;
    private readonly TrajectoryTokenizer _trajectories;
    private readonly TaskProblem[] _heldOut;
    private readonly int[][] _prompts;

    /// <summary>Prepares the task.</summary>
    /// <exception cref="BellmanException">The task is unknown, or the folder holds something else.</exception>
    public QuickstartJob(QuickstartOptions options)
    {
        _options = options;
        _task = ReasoningTasks.Create(options.Task);
        if (File.Exists(options.Out)) throw new CheckpointException($"{options.Out}: expected a folder to write to, but there is a file of this name; give another --out.");
        if (Directory.Exists(options.Out) && Directory.EnumerateFileSystemEntries(options.Out).Any() && !File.Exists(Path.Combine(options.Out, ResultName)))
            throw new CheckpointException($"{options.Out}: the folder is not empty and holds no earlier quickstart; give another --out.");
        _tokenizer = Tokenizer.CreateWordLevel(_task.Vocabulary, _task.SplitPattern, eosToken: ReasoningTasks.EndToken, padToken: ReasoningTasks.PadToken);
        _trajectories = new TrajectoryTokenizer(_tokenizer, new TrajectoryOptions { MaxLength = MaxPositions });
        _heldOut = [.. _task.Problems(TaskSplit.HeldOut, options.Evaluated, options.Seed)];
        _prompts = [.. _heldOut.Select(x => _trajectories.EncodePrompt(x.Prompt))];
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
        using LanguageModel policy = LanguageModel.Create(Config(), _options.Seed, trainable: true);
        string sftRun = Path.Combine(folder, "sft-run"), oreoRun = Path.Combine(folder, "oreo-run");
        FineTune(policy, sftRun, progress, cancellation);
        using LanguageModel reference = policy.Clone();
        SaveModel(reference, Path.Combine(folder, "sft"));

        List<Trajectory> samples = SampleAndGrade(reference, Path.Combine(folder, "rollouts.jsonl"), progress, cancellation);
        using ValueModel value = ValueModel.FromLanguageModel(policy, trainable: true);
        TrainOreo(policy, value, reference, samples, oreoRun, progress, cancellation);
        SaveModel(policy, Path.Combine(folder, "policy"));
        SaveModel(value, Path.Combine(folder, "value"));

        var rows = new List<QuickstartRow>();
        bool[] baseline = Greedy(reference, "SFT", progress, cancellation, out _);
        void Add(string name, string search, int width, bool[] verdicts) => rows.Add(new QuickstartRow(
            name, search, width, AccuracyInterval.Of(verdicts), ReferenceEquals(verdicts, baseline) ? null : PairedDifference.Of(baseline, verdicts)));
        Add("sft", "greedy", 0, baseline);
        Add("oreo", "greedy", 0, Greedy(policy, "OREO", progress, cancellation, out int[][] answers));
        foreach ((string name, LanguageModel model) in new[] { ("sft", reference), ("oreo", policy) })
            foreach (int width in _options.Widths) Add(name, "beam", width, Beam(model, value, name, width, progress, cancellation));
        double auroc = ValueAuroc(reference, value, progress, cancellation);

        // The folder gets its name at the end, so the result names the place where the report will be.
        string report = Path.Combine(_options.Out, QuickstartReport.FileName);
        var result = new QuickstartResult(rows, auroc, _heldOut.Length, clock.Elapsed.TotalSeconds, report);
        new QuickstartReport(_options, _task, _tokenizer, result).Write(folder, MetricsHistory.Load(Path.Combine(sftRun, MetricsWriter.FileName)),
            MetricsHistory.Load(Path.Combine(oreoRun, MetricsWriter.FileName)), Pictures(answers, reference, policy, value));
        AtomicFile.WriteText(Path.Combine(folder, ResultName), QuickstartReport.Json(_options, result) + "\n");
        return result;
    }

    /// <summary>A Llama of 155 thousand weights.</summary>
    private ModelConfig Config() => new()
    {
        ModelType = "llama", VocabularySize = _tokenizer.VocabularySize, HiddenSize = 64, IntermediateSize = 176, Layers = 3, Heads = 4, KeyValueHeads = 4,
        HeadDimension = 16, MaxPositions = MaxPositions, TieWordEmbeddings = true, EosIds = [_tokenizer.EosId!.Value],
    };

    private void FineTune(LanguageModel policy, string run, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        progress?.Invoke(new JobProgress("demonstrating", 0, _options.Demonstrations, "problems"));
        Trajectory[] data = [.. _task.Demonstrations(_options.Demonstrations, _options.Seed)
            .Select((x, i) => _trajectories.Tokenize(new ResponseRecord(i + 1, x.Problem.Prompt, x.Problem.Prompt, x.Response, 1, true)))];
        var plan = new BatchPlan(data, batchSize: 32, MicroBatchTokens, _options.Seed);
        int updates = _options.SftEpochs * plan.BatchesPerEpoch;
        using var method = new SftMethod(Learner("policy", policy, 2e-3, updates), plan.TokenCapacity, plan.SequenceCapacity);
        Train(method, plan, updates, run, "1/4 fine-tuning", progress, cancellation);
    }

    private List<Trajectory> SampleAndGrade(LanguageModel policy, string path, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        IReadOnlyList<TaskProblem> problems = _task.Problems(TaskSplit.Rollout, _options.RolloutProblems, _options.Seed);
        GenerationRequest[] requests = [.. problems.Select((x, i) => new GenerationRequest(_trajectories.EncodePrompt(x.Prompt), _options.Samples, (ulong)i))];
        var samples = new GenerationResult[problems.Count * _options.Samples];
        int done = 0;
        using (var generator = new Generator(policy, maxLive: 256))
        {
            generator.Run(requests, new SamplingOptions { Temperature = 1, MaxTokens = MaxTokens, Seed = _options.Seed }, null, x =>
            {
                samples[x.Request * _options.Samples + x.Sample] = x;
                progress?.Invoke(new JobProgress("2/4 sampling", ++done, samples.Length, "samples"));
            }, cancellation);
        }
        var trajectories = new List<Trajectory>();
        JsonLines.Write(path, writer =>
        {
            for (int i = 0; i < samples.Length; i++)
            {
                TaskProblem problem = problems[i / _options.Samples];
                string response = _tokenizer.Decode(samples[i].Ids, skipSpecialTokens: true);
                // What was cut by the limit did not end there: it is written down, never trained on.
                bool finished = samples[i].Finish == FinishReason.EndToken;
                GradeResult grade = _task.Grade(problem, response);
                bool right = finished && grade.Correct;
                writer.Write(json =>
                {
                    json.WriteString("prompt", problem.Prompt);
                    json.WriteString("response", response);
                    json.WriteNumber("reward", right ? 1 : 0);
                    json.WriteBoolean("finished", finished);
                    json.WriteString("verdict", grade.Reason);
                });
                if (finished)
                    trajectories.Add(_trajectories.Tokenize(new ResponseRecord(i + 1, problem.Prompt, problem.Prompt, response, right ? 1 : 0, true) { PromptIds = requests[i / _options.Samples].PromptIds, ResponseIds = samples[i].Ids }));
            }
        });
        return trajectories;
    }

    private void TrainOreo(LanguageModel policy, ValueModel value, LanguageModel reference, List<Trajectory> samples, string run, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        var plan = new BatchPlan(samples, batchSize: 64, MicroBatchTokens, _options.Seed);
        int updates = _options.OreoEpochs * plan.BatchesPerEpoch;
        using var method = new OreoMethod(Learner("policy", policy, 1.5e-4, updates), Learner("value", value, 2e-3, updates), reference, new OreoOptions(), plan.TokenCapacity, plan.SequenceCapacity);
        Train(method, plan, updates, run, "3/4 OREO", progress, cancellation);
    }

    private static TrainedModel Learner(string name, DecoderModel model, double rate, int updates) =>
        new(name, model, new AdamWOptimizer(model, new AdamWOptions()), new LearningRateSchedule(ScheduleShape.Cosine, rate, Math.Min(Warmup, updates / 2), updates, 0.1));

    private static void Train(TrainingMethod method, BatchPlan plan, int updates, string run, string stage, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        Directory.CreateDirectory(run);
        using MetricsWriter writer = MetricsWriter.Open(run, DateTimeOffset.UtcNow);
        new Trainer(method, plan, new TrainerOptions { Updates = updates, LogEvery = Math.Max(1, updates / 250) }, checkpoints: null, writer).Run(
            x => progress?.Invoke(new JobProgress(stage, x.Update, x.Updates, "updates",
                string.Create(CultureInfo.InvariantCulture, $"loss {x.Metrics.Get("policy/loss"):0.000}, {x.TokensPerSecond:N0} tokens/s"))), cancellation);
        cancellation.ThrowIfCancellationRequested();
    }

    private bool[] Greedy(LanguageModel model, string name, Action<JobProgress>? progress, CancellationToken cancellation, out int[][] answers)
    {
        var verdicts = new bool[_heldOut.Length];
        var ids = new int[_heldOut.Length][];
        int done = 0;
        using var generator = new Generator(model, maxLive: 256);
        generator.Run([.. _prompts.Select(x => new GenerationRequest(x))], SamplingOptions.Greedy with { MaxTokens = MaxTokens }, null, x =>
        {
            ids[x.Request] = x.Ids;
            verdicts[x.Request] = IsRight(x.Request, x.Ids, x.Finish == FinishReason.EndToken);
            progress?.Invoke(new JobProgress($"4/4 answering, {name} greedy", ++done, _heldOut.Length, "problems"));
        }, cancellation);
        answers = ids;
        return verdicts;
    }

    private bool[] Beam(LanguageModel model, ValueModel value, string name, int width, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        var verdicts = new bool[_heldOut.Length];
        int done = 0;
        var options = new StepBeamOptions { Width = width, ProblemsAtOnce = 64, Sampling = new SamplingOptions { Temperature = _options.BeamTemperature, MaxTokens = MaxTokens, Seed = _options.Seed } };
        using var search = new StepBeamSearch(model, value, StopRule.Strings(_tokenizer, ["\n"]), options);
        search.Run(_prompts, x =>
        {
            verdicts[x.Problem] = IsRight(x.Problem, x.Best.Ids, x.Best.IsFinished);
            progress?.Invoke(new JobProgress($"4/4 answering, {name} beam {width}", ++done, _heldOut.Length, "problems"));
        }, cancellation);
        return verdicts;
    }

    private bool IsRight(int problem, int[] ids, bool finished) => finished && _task.Grade(_heldOut[problem], _tokenizer.Decode(ids, skipSpecialTokens: true)).Correct;

    /// <summary>V just before the end token over one sample per held-out problem, against the grader.</summary>
    private double ValueAuroc(LanguageModel policy, ValueModel value, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        var sequences = new List<int[]>();
        var verdicts = new List<bool>();
        using (var generator = new Generator(policy, maxLive: 256))
        {
            generator.Run([.. _prompts.Select((x, i) => new GenerationRequest(x, 1, (ulong)i))], new SamplingOptions { MaxTokens = MaxTokens, Seed = _options.Seed }, null, x =>
            {
                if (x.Finish != FinishReason.EndToken) return;
                sequences.Add([.. _prompts[x.Request], .. x.Ids[..^1]]);
                verdicts.Add(IsRight(x.Request, x.Ids, true));
                progress?.Invoke(new JobProgress("4/4 checking the values", sequences.Count, _heldOut.Length, "problems"));
            }, cancellation);
        }
        using var reader = new ValueReader(value);
        return Auroc.Of(reader.Read([.. sequences]), [.. verdicts]);
    }

    /// <summary>Some right and some wrong answers with V and the log-ratio of every token.</summary>
    private List<QuickstartPicture> Pictures(int[][] answers, LanguageModel reference, LanguageModel policy, ValueModel value)
    {
        const int Each = 3;
        var pictures = new List<QuickstartPicture>();
        using var scorer = new SequenceScorer(policy, reference, value);
        for (int wanted = 1; wanted >= 0; wanted--)
            for (int i = 0, found = 0; i < answers.Length && found < Each; i++)
            {
                GradeResult grade = _task.Grade(_heldOut[i], _tokenizer.Decode(answers[i], skipSpecialTokens: true));
                if (grade.Correct != (wanted == 1)) continue;
                found++;
                int[] ids = [.. _prompts[i], .. answers[i]];
                pictures.Add(new QuickstartPicture(ids, _prompts[i].Length, scorer.Score([ids])[0], grade));
            }
        return pictures;
    }

    private void SaveModel(DecoderModel model, string folder)
    {
        model.Save(folder);
        _tokenizer.Save(folder);
    }
}

/// <summary>An answer to be shown.</summary>
/// <param name="Ids">Prompt and answer.</param>
/// <param name="PromptLength">Tokens of the prompt.</param>
/// <param name="Score">Values and log-probs.</param>
/// <param name="Grade">The verdict.</param>
internal sealed record QuickstartPicture(int[] Ids, int PromptLength, SequenceScore Score, GradeResult Grade);
