using System.Globalization;
using System.Text.Json;
using Bellman.Kernels;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Training.Data;
using Bellman.Training.Evaluation;
using Bellman.Training.Recipes;

namespace Bellman.Training.Jobs;

/// <summary>Verdicts of one evaluation.</summary>
/// <param name="Greedy">Of the greedy answers, in the order of the problems.</param>
/// <param name="Search">Of the searched ones; null without search.</param>
public sealed record IterateEvaluation(bool[] Greedy, bool[]? Search);

/// <summary>A round that is finished.</summary>
/// <param name="Round">From 1; 0 is the start.</param>
/// <param name="Samples">Right samples and all; none for the start.</param>
/// <param name="TrainedOn">Samples kept by the section data.</param>
/// <param name="Evaluation">Verdicts afterwards; null without problems to evaluate.</param>
public sealed record IterateRound(int Round, AccuracyInterval Samples, int TrainedOn, IterateEvaluation? Evaluation);

/// <summary>How the rounds ended.</summary>
/// <param name="IsComplete">False when it was stopped; it can be resumed.</param>
/// <param name="Folder">The run folder.</param>
/// <param name="Rounds">The start and all finished rounds.</param>
public sealed record IterateResult(bool IsComplete, string Folder, IReadOnlyList<IterateRound> Rounds);

/// <summary>
/// Rounds of sampling and grading with the current policy, training on what the recipe's section data chooses of it, and evaluating. Each stage leaves a
/// file or folder in the run folder, which a resumed run takes as it is:
/// <c>round-N/rollouts.jsonl</c>, <c>train/</c>, <c>evaluation.json</c>.
/// </summary>
public sealed class IterateJob
{
    private const string RecipeName = "recipe.yaml";

    // A recipe may name the fields of other files; those of the samples are what RolloutFile writes.
    private static readonly string[] RolloutFields = [.. new[] { "prompt", "response", "reward", "finished", "prompt_ids", "response_ids" }.Select(x => $"data.fields.{x}={x}")];

    private readonly Func<string[], Recipe> _recipe;
    private readonly Recipe _base;
    private readonly IterateRecipe _iterate;
    private readonly AnswerRule _rule;
    private Device? _device;

    /// <summary>A job for a recipe, which is read anew for every round.</summary>
    /// <param name="path">The recipe file.</param>
    /// <param name="overrides">Assignments of the form <c>section.key=value</c>.</param>
    /// <exception cref="RecipeException">The recipe is wrong, or not one for iterating.</exception>
    public IterateJob(string path, IReadOnlyList<string>? overrides = null)
    {
        _recipe = more => Recipe.Load(path, [.. overrides ?? [], .. more]);
        _base = _recipe(["data.train=rollouts.jsonl", "data.format=response"]);
        _iterate = _base.Iterate;
        var problems = new List<string>();
        if (_iterate.Problems is null) problems.Add("'iterate.problems' is missing: file of the problems that each round samples");
        if (_base.Objective == Objective.Sft) problems.Add("objective sft imitates wrong samples too; use rejection, or another objective that learns from rewards");
        if (_iterate.EvaluationWidth > 0 && _iterate.EvaluationProblems is null) problems.Add("iterate.eval_width has no effect without iterate.eval_problems");
        if (problems.Count > 0) throw new RecipeException(path, problems);
        TrainingSetup.CheckSupported(_base, path);
        _rule = AnswerRule.Find(_iterate.Format == "jsonl" ? _iterate.Grader : _iterate.Format);
    }

    /// <summary>Runs all stages that are not finished.</summary>
    /// <param name="resume">Whether to go on with what the run folder holds; without it the folder must be new or empty.</param>
    /// <param name="progress">Told how far each stage is.</param>
    /// <param name="cancellation">Stops at a point that can be resumed.</param>
    /// <exception cref="BellmanException">The folder is taken, or models or problems cannot be used.</exception>
    public IterateResult Run(bool resume = false, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        IReadOnlyList<Problem> problems = Read(_iterate.Problems!, _iterate.Limit);
        IReadOnlyList<Problem>? held = _iterate.EvaluationProblems is { } path ? Read(path, _iterate.EvaluationLimit) : null;
        if (held is not null) RefuseShared(problems, held);
        DeviceSelection selection = DeviceSelection.Of(_base.Device);
        _device = selection.Device;
        if (selection.Untried is { } untried) progress?.Invoke(JobProgress.Notice(untried));
        Prepare(resume);
        var rounds = new List<IterateRound> { new(0, default, 0, Evaluate(0, _base.Model.Policy, _base.Model.Value, held, progress, cancellation)) };
        string policy = _base.Model.Policy;
        string? value = _base.Model.Value;
        for (int round = 1; round <= _iterate.Rounds; round++)
        {
            AccuracyInterval samples = Collect(round, policy, problems, progress, cancellation);
            if (Train(round, policy, value, progress, cancellation) is not { } trained) return new IterateResult(false, _base.Out, rounds);
            policy = Path.Combine(Home(round), "train", "policy");
            string critic = Path.Combine(Home(round), "train", "value");
            value = Directory.Exists(critic) ? critic : null;
            rounds.Add(new IterateRound(round, samples, trained.On, Evaluate(round, policy, value, held, progress, cancellation)));
            new IterateReport(_base, rounds).Write(_base.Out);
        }
        return new IterateResult(true, _base.Out, rounds);
    }

    private string Home(int round) => Path.Combine(_base.Out, string.Create(CultureInfo.InvariantCulture, $"round-{round}"));

    private IReadOnlyList<Problem> Read(string path, int limit) => ProblemFile.Read(JsonLines.Read(path), _iterate.Format, path, limit);

    private void Prepare(bool resume)
    {
        string folder = _base.Out, path = Path.Combine(folder, RecipeName), text = _base.ToYaml();
        if (File.Exists(folder)) throw new CheckpointException($"{folder}: expected a run folder, but there is a file of this name; set another out.");
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
        {
            if (!File.Exists(path)) throw new CheckpointException($"{folder}: the folder is not empty and holds no rounds; set another out.");
            if (!resume && Directory.EnumerateDirectories(folder).Any()) throw new CheckpointException($"{folder}: the folder holds rounds already; add --resume to go on with them, or set another out.");
            if (resume && !Comparable(File.ReadAllText(path)).SequenceEqual(Comparable(text)))
                throw new CheckpointException($"{path}: the rounds were started with another recipe; resume them with the same one (only iterate.rounds may grow), or set another out.");
        }
        Directory.CreateDirectory(folder);
        AtomicFile.WriteText(path, text);
    }

    // More rounds go on where the earlier ones ended.
    private static IEnumerable<string> Comparable(string yaml) => yaml.Split('\n').Select(x => x.Trim()).Where(x => x.Length > 0 && !x.StartsWith("rounds:", StringComparison.Ordinal));

    private void RefuseShared(IReadOnlyList<Problem> sampled, IReadOnlyList<Problem> held)
    {
        var questions = new HeldOutQuestions();
        foreach (Problem problem in sampled) questions.Add(problem.Question, _iterate.Problems!, problem.Line);
        Problem[] shared = [.. held.Where(x => questions.Find(x.Question) is not null)];
        if (shared.Length > 0)
            throw new DataException($"iterate.eval_problems: {shared.Length} of {held.Count} questions (the first in line {shared[0].Line}: {questions.Find(shared[0].Question)}) are among iterate.problems too, so the policy would be trained on what it is judged by; take them out of one file.");
    }

    private AccuracyInterval Collect(int round, string policy, IReadOnlyList<Problem> problems, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        string path = Path.Combine(Home(round), "rollouts.jsonl");
        if (!File.Exists(path))
        {
            Directory.CreateDirectory(Home(round));
            using ModelFolder model = ModelFolder.Load(policy, device: _device);
            // Every round draws differently, also where the policy has hardly changed.
            var options = new RolloutOptions
            {
                Samples = _iterate.Samples,
                Sampling = new SamplingOptions { Temperature = _iterate.Temperature, MaxTokens = _iterate.MaxTokens, Seed = _base.Seed + (ulong)round },
            };
            var job = new RolloutJob(model, _rule, new PromptEncoder(model.Tokenizer, _base.Data.PromptTemplate), options);
            using RolloutFile file = RolloutFile.Open(path, $"policy of round {round - 1}", options, resume: true);
            job.Run(problems, file.Writer, file.Done.Contains, state =>
            {
                file.Flush();
                progress?.Invoke(state with { Stage = $"round {round}: sampling" });
            }, cancellation);
            file.Complete();
        }
        int right = 0, all = 0;
        foreach (JsonLine line in JsonLines.Read(path))
        {
            all++;
            if (line.Whole("reward") == 1) right++;
        }
        return new AccuracyInterval(right, all);
    }

    /// <summary>Trains on the round's samples, as the section data chooses them; null when it was stopped.</summary>
    private Trained? Train(int round, string policy, string? value, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        string folder = Path.Combine(Home(round), "train"), done = Path.Combine(Home(round), "training.json");
        if (File.Exists(done) && JsonSerializer.Deserialize<Trained>(File.ReadAllBytes(done)) is { } known) return known;
        List<string> overrides = [$"model.policy={policy}", $"data.train={Path.Combine(Home(round), "rollouts.jsonl")}", "data.format=response", $"out={folder}", .. RolloutFields];
        if (round > 1 && value is not null) overrides.Add(_iterate.KeepsValue ? $"model.value={value}" : "model.value=null");
        var job = new TrainJob(_recipe([.. overrides]), folder);
        bool started = Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any();
        TrainResult result = job.Run(resume: started, state => progress?.Invoke(state with { Stage = $"round {round}: {state.Stage}" }), cancellation);
        if (!result.IsComplete) return null;
        var trained = new Trained((int)result.Data.Kept);
        AtomicFile.WriteBytes(done, JsonSerializer.SerializeToUtf8Bytes(trained));
        return trained;
    }

    private IterateEvaluation? Evaluate(int round, string policy, string? value, IReadOnlyList<Problem>? problems, Action<JobProgress>? progress, CancellationToken cancellation)
    {
        if (problems is null) return null;
        string path = Path.Combine(Home(round), "evaluation.json");
        if (File.Exists(path) && JsonSerializer.Deserialize<IterateEvaluation>(File.ReadAllBytes(path)) is { } known) return known;
        using ModelFolder model = ModelFolder.Load(policy, device: _device);
        using ValueModel? critic = value is not null && _iterate.EvaluationWidth > 0 ? model.LoadValue(value) : null;
        bool[] Answer(AnswerSearch search)
        {
            var options = new EvaluateOptions { Search = search, Sizes = new AnswerSearchSizes { Width = Math.Max(1, _iterate.EvaluationWidth) }, Sampling = new SamplingOptions { Temperature = _iterate.EvaluationTemperature, MaxTokens = _iterate.MaxTokens, Seed = _base.Seed } };
            var job = new EvaluateJob(new SearchModels(model.Model, critic), model.Tokenizer, _rule, new PromptEncoder(model.Tokenizer, _base.Data.PromptTemplate), options);
            string stage = $"{(round == 0 ? "start" : $"round {round}")}: answering{(search == AnswerSearch.Beam ? " with search" : "")}";
            return [.. job.Run(problems, state => progress?.Invoke(state with { Stage = stage }), null, cancellation).Select(x => x.IsCorrect)];
        }
        var result = new IterateEvaluation(Answer(AnswerSearch.Greedy), critic is null ? null : Answer(AnswerSearch.Beam));
        Directory.CreateDirectory(Home(round));
        AtomicFile.WriteBytes(path, JsonSerializer.SerializeToUtf8Bytes(result));
        return result;
    }

    /// <summary>That a training is finished, and how many samples it was on.</summary>
    private sealed record Trained(int On);
}
