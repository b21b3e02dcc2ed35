using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;
using Bellman.Training.Jobs;
using Bellman.Training.Tasks;

namespace Bellman.Training.Experiments;

/// <summary>
/// The stages of an experiment on an embedded task, each callable alone: fresh models, demonstrations, sampling and grading,
/// training by any method, and answering by any search. Every result depends on the task, the options and the arguments only.
/// <code>
/// var experiment = new TaskExperiment(new Board(), new ExperimentOptions { Seed = 0 });
/// using LanguageModel policy = experiment.CreatePolicy();
/// experiment.FineTune(policy, experiment.Demonstrations(16_000), settings, run: null, stage);
/// using LanguageModel reference = policy.Clone();
/// AnswerSet samples = experiment.Sample(reference, experiment.Problems(TaskSplit.Rollout, 4_000), 4, stage);
/// using ValueModel value = ValueModel.FromLanguageModel(policy, trainable: true);
/// experiment.Train(policy, reference, value, samples.Samples, oreo, run: null, stage);
/// AnswerSet answers = experiment.Greedy(policy, experiment.Problems(TaskSplit.HeldOut, 1_000), stage);
/// </code>
/// </summary>
public sealed partial class TaskExperiment
{
    private readonly Dictionary<StateLevel, TrajectoryTokenizer> _trajectories = [];

    /// <summary>An experiment; nothing is computed yet.</summary>
    public TaskExperiment(IReasoningTask task, ExperimentOptions options)
    {
        Task = task;
        Options = options;
        Tokenizer = Tokenizer.CreateWordLevel(task.Vocabulary, task.SplitPattern, eosToken: ReasoningTasks.EndToken, padToken: ReasoningTasks.PadToken);
        foreach (StateLevel level in Enum.GetValues<StateLevel>())
            _trajectories[level] = new TrajectoryTokenizer(Tokenizer, new TrajectoryOptions { MaxLength = options.Model.Positions, StateLevel = level });
    }

    /// <summary>The task.</summary>
    public IReasoningTask Task { get; }

    /// <summary>Seed, sizes and limits.</summary>
    public ExperimentOptions Options { get; }

    /// <summary>One token for each symbol of the task.</summary>
    public Tokenizer Tokenizer { get; }

    /// <summary>A policy with fresh weights; the caller disposes it.</summary>
    /// <param name="size">Another size than the options'; for a larger value model, say.</param>
    public LanguageModel CreatePolicy(ExperimentModel? size = null) =>
        LanguageModel.Create((size ?? Options.Model).Config(Tokenizer.VocabularySize, Tokenizer.EosId!.Value), Options.Seed, trainable: true);

    /// <summary>Writes a model with the tokenizer as a Hugging Face folder.</summary>
    public void Save(DecoderModel model, string folder)
    {
        model.Save(folder);
        Tokenizer.Save(folder);
    }

    /// <summary>The first problems of a split, in the order that the seed gives.</summary>
    /// <exception cref="BellmanException">The task has too few.</exception>
    public ProblemSet Problems(TaskSplit split, int count)
    {
        IReadOnlyList<TaskProblem> problems = Task.Problems(split, count, Options.Seed);
        return new ProblemSet(problems, [.. problems.Select(x => _trajectories[StateLevel.Token].EncodePrompt(x.Prompt))]);
    }

    /// <summary>The demonstrator's solutions, right and wrong ones alike.</summary>
    public IReadOnlyList<Trajectory> Demonstrations(int count) =>
    [
        .. Task.Demonstrations(count, Options.Seed)
            .Select((x, i) => _trajectories[StateLevel.Token].Tokenize(new ResponseRecord(i + 1, x.Problem.Prompt, x.Problem.Prompt, x.Response, x.Grade.Correct ? 1 : 0, true))),
    ];

    /// <summary>The finished samples as trajectories with reward 1 or 0.</summary>
    /// <param name="samples">Graded samples.</param>
    /// <param name="level">Which positions are states.</param>
    public IReadOnlyList<Trajectory> Trajectories(IReadOnlyList<GradedSample> samples, StateLevel level = StateLevel.Token)
    {
        var trajectories = new List<Trajectory>(samples.Count);
        for (int i = 0; i < samples.Count; i++)
        {
            GradedSample x = samples[i];
            if (!x.IsFinished) continue;
            trajectories.Add(_trajectories[level].Tokenize(
                new ResponseRecord(i + 1, x.Problem.Prompt, x.Problem.Prompt, x.Response, x.IsRight ? 1 : 0, true) { PromptIds = x.PromptIds, ResponseIds = x.ResponseIds }));
        }
        return trajectories;
    }

    /// <summary>Draws answers and grades them.</summary>
    /// <param name="policy">Who answers.</param>
    /// <param name="set">The problems.</param>
    /// <param name="perProblem">Answers to each.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    /// <param name="temperature">Temperature of the draws.</param>
    /// <param name="round">Different rounds draw differently from the same problems.</param>
    public AnswerSet Sample(LanguageModel policy, ProblemSet set, int perProblem, ExperimentStage stage, float temperature = 1, int round = 0) =>
        Generate(policy, set, perProblem, new SamplingOptions { Temperature = temperature, MaxTokens = Options.MaxNewTokens, Seed = Options.Seed }, round, stage);

    /// <summary>The most likely token at every place.</summary>
    public AnswerSet Greedy(LanguageModel policy, ProblemSet set, ExperimentStage stage) =>
        Generate(policy, set, 1, SamplingOptions.Greedy with { MaxTokens = Options.MaxNewTokens }, 0, stage);

    /// <summary>Step beam search guided by a value model.</summary>
    /// <param name="policy">Draws the steps.</param>
    /// <param name="value">Scores them.</param>
    /// <param name="set">The problems.</param>
    /// <param name="width">B, partial solutions kept; B steps are drawn from each.</param>
    /// <param name="temperature">Temperature of the draws.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    /// <exception cref="BellmanException">The width is not from 1 to 4096.</exception>
    public AnswerSet Beam(LanguageModel policy, ValueModel value, ProblemSet set, int width, float temperature, ExperimentStage stage) =>
        Search(new SearchModels(policy, value), set, AnswerSearch.Beam, new AnswerSearchSizes { Width = width }, temperature, stage).Answers;

    /// <summary>Answers found by any search.</summary>
    /// <param name="models">Who draws the steps, and by what they are scored.</param>
    /// <param name="set">The problems.</param>
    /// <param name="search">The search.</param>
    /// <param name="sizes">Its sizes.</param>
    /// <param name="temperature">Temperature of the draws.</param>
    /// <param name="stage">Name, progress, cancellation.</param>
    /// <exception cref="BellmanException">A size is out of range, or the search reads scores and there is no model for them.</exception>
    public SearchedSet Search(SearchModels models, ProblemSet set, AnswerSearch search, AnswerSearchSizes sizes, float temperature, ExperimentStage stage)
    {
        var samples = new GradedSample[set.Count];
        int done = 0;
        long tokens = 0;
        var options = new SearchOptions
        {
            // A step has at least one token, so the limit on tokens is the only one.
            StepEnd = StopRule.Strings(Tokenizer, ["\n"]), MaxSteps = Options.MaxNewTokens,
            Sampling = new SamplingOptions { Temperature = temperature, MaxTokens = Options.MaxNewTokens, Seed = Options.Seed },
        };
        using var tree = new TreeSearch(models, options);
        tree.Run(sizes.Create(search, new AnswerReader(AnswerRule.Of(Task), Tokenizer)), set.Prompts, x =>
        {
            samples[x.Problem] = Grade(set, x.Problem, x.Best.Solution(), x.Best.IsFinished);
            tokens += x.Counts.DistinctTokens - set.Prompts[x.Problem].Length;
            stage.Tell(++done, samples.Length, "problems");
        }, stage.Cancellation);
        return new SearchedSet(new AnswerSet(samples, 1), (double)tokens / Math.Max(1, set.Count));
    }

    private AnswerSet Generate(LanguageModel policy, ProblemSet set, int perProblem, SamplingOptions sampling, int round, ExperimentStage stage)
    {
        GenerationRequest[] requests = [.. set.Prompts.Select((x, i) => new GenerationRequest(x, perProblem, ((ulong)round << 32) | (uint)i))];
        var samples = new GradedSample[set.Count * perProblem];
        int done = 0;
        using var generator = new Generator(policy, maxLive: 256);
        generator.Run(requests, sampling, null, x =>
        {
            samples[x.Request * perProblem + x.Sample] = Grade(set, x.Request, x.Ids, x.Finish == FinishReason.EndToken);
            stage.Tell(++done, samples.Length, "answers");
        }, stage.Cancellation);
        return new AnswerSet(samples, perProblem);
    }

    private GradedSample Grade(ProblemSet set, int index, int[] ids, bool finished)
    {
        string response = Tokenizer.Decode(ids, skipSpecialTokens: true);
        return new GradedSample(index, set.Problems[index], set.Prompts[index], ids, response, finished, Task.Grade(set.Problems[index], response));
    }
}

/// <summary>Answers found by a search.</summary>
/// <param name="Answers">One answer to each problem.</param>
/// <param name="TokensPerProblem">Distinct tokens drawn per problem, prompts not counted.</param>
public sealed record SearchedSet(AnswerSet Answers, double TokensPerProblem);
