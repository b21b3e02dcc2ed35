using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Training.Data;
using Bellman.Training.Experiments;
using Bellman.Training.Tasks;
using Xunit;

namespace Bellman.Training.Tests.Experiments;

/// <summary>Each stage alone, on models of a few hundred weights.</summary>
public sealed class TaskExperimentTests
{
    private static readonly ExperimentModel Tiny = new() { Hidden = 16, Layers = 1, Heads = 2, FeedForward = 32, Positions = 128 };
    private readonly TaskExperiment _experiment = new(new Board(), new ExperimentOptions { Seed = 3, Model = Tiny, MaxNewTokens = 24 });

    public static TheoryData<ExperimentMethod> Methods => [.. Enum.GetValues<ExperimentMethod>()];

    [Theory]
    [MemberData(nameof(Methods))]
    public void Every_method_changes_the_policy_and_is_deterministic(ExperimentMethod method)
    {
        using LanguageModel first = Trained(method), second = Trained(method), before = _experiment.CreatePolicy();
        Assert.Equal(Weights(first), Weights(second));
        Assert.NotEqual(Weights(before), Weights(first));
    }

    [Fact]
    public void Missing_models_and_samples_without_use_are_refused()
    {
        using LanguageModel policy = _experiment.CreatePolicy();
        IReadOnlyList<GradedSample> wrong = [.. Demonstrated().Where(x => !x.IsRight)];
        var oreo = new MethodSettings { Method = ExperimentMethod.OreoToken, PolicyRate = 1e-4 };
        Assert.Contains("reference", Assert.Throws<BellmanException>(() => _experiment.Train(policy, null, null, wrong, oreo, null, default)).Message);
        Assert.Contains("value", Assert.Throws<BellmanException>(() => _experiment.Train(policy, policy, null, wrong, oreo, null, default)).Message);
        Assert.Contains("right", Assert.Throws<DataException>(() => _experiment.Train(policy, null, null, wrong, oreo with { Method = ExperimentMethod.Rejection }, null, default)).Message);
    }

    [Fact]
    public void Samples_depend_on_the_round_and_stand_in_the_order_of_the_problems()
    {
        using LanguageModel policy = _experiment.CreatePolicy();
        ProblemSet set = _experiment.Problems(TaskSplit.Rollout, 3);
        AnswerSet first = _experiment.Sample(policy, set, 2, default), again = _experiment.Sample(policy, set, 2, default), next = _experiment.Sample(policy, set, 2, default, round: 1);
        Assert.Equal(first.Samples.Select(x => x.Response), again.Samples.Select(x => x.Response));
        Assert.NotEqual(first.Samples.Select(x => x.Response), next.Samples.Select(x => x.Response));
        Assert.Equal([0, 0, 1, 1, 2, 2], first.Samples.Select(x => x.Index));
    }

    [Fact]
    public void A_value_that_knows_the_outcome_has_full_area_and_two_full_bins()
    {
        bool[] right = [true, false, true, false];
        ValueCheck check = ValueCheck.Of([.. right.Select(x => new float[] { 0.5f, x ? 0.9f : 0.1f, x ? 1 : 0 })], right);
        Assert.Equal(1, check.AtEnd);
        Assert.Equal(1, check.Halfway);
        Assert.Equal(0.5, check.AtStart);
        Assert.Equal(12, check.Bins.Sum(x => x.Count));
        Assert.Equal((0.0, 1.0), (check.Bins[0].ShareRight, check.Bins[^1].ShareRight));
    }

    /// <summary>A policy after one pass over some demonstrations, which stand in for samples.</summary>
    private LanguageModel Trained(ExperimentMethod method)
    {
        LanguageModel policy = _experiment.CreatePolicy();
        using LanguageModel reference = policy.Clone();
        using ValueModel value = ValueModel.FromLanguageModel(policy, trainable: true);
        _experiment.Train(policy, reference, value, Demonstrated(), new MethodSettings { Method = method, PolicyRate = 1e-3, Epochs = 1, BatchSize = 8 }, null, default);
        return policy;
    }

    /// <summary>Two answers to each problem: the demonstrator's with its verdict, and a neighbour's, which is taken as wrong.</summary>
    private List<GradedSample> Demonstrated()
    {
        ProblemSet set = _experiment.Problems(TaskSplit.Demonstration, 12);
        IReadOnlyList<Trajectory> data = _experiment.Demonstrations(12);
        var samples = new List<GradedSample>();
        for (int i = 0; i < set.Count; i++)
        {
            Add(i, i, data[i].Reward > 0);
            Add(i, (i + 1) % set.Count, false);
        }
        return samples;

        void Add(int problem, int from, bool right)
        {
            int[] ids = data[from].Ids[set.Prompts[from].Length..];
            samples.Add(new GradedSample(problem, set.Problems[problem], set.Prompts[problem], ids, _experiment.Tokenizer.Decode(ids, skipSpecialTokens: true), true, new GradeResult(right, null, "")));
        }
    }

    private static float[] Weights(DecoderModel model) => [.. model.Parameters.Items.SelectMany(x => x.Value.ToArray<float>())];
}
