using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Scoring;

public sealed class ValueScorerTests
{
    private static readonly int[][] Sequences = [[3, 1, 4, 1, 5], [9], [2, 6, 5, 3, 5, 8, 9, 7], [1, 2]];

    [Fact]
    public void ValuesAreThoseOfTheScorerWithAPolicy()
    {
        using LanguageModel policy = LanguageModel.Create(Config(), seed: 1);
        using ValueModel value = Value();
        using var both = new SequenceScorer(policy, null, value);
        using var alone = new ValueScorer(value, maxTokens: 6);
        IReadOnlyList<SequenceScore> expected = both.Score(Sequences);
        float[][] received = alone.Score(Sequences);
        for (int i = 0; i < Sequences.Length; i++)
        {
            Assert.Equal(Sequences[i].Length, received[i].Length);
            TensorComparer.Close(expected[i].Values!, received[i][..^1], 1e-5, 1e-5, "values");
            Assert.All(received[i], x => Assert.NotEqual(0, x));
        }
    }

    [Fact]
    public void WrongSequencesAreRefused()
    {
        using ValueModel value = Value();
        using var scorer = new ValueScorer(value);
        foreach ((int[] ids, string part) in (ReadOnlySpan<(int[], string)>)[([], "no tokens"), ([1, 99], "token 99"), (new int[65], "65 tokens")])
            Assert.Contains(part, Assert.Throws<BellmanException>(() => scorer.Score([ids])).Message, StringComparison.Ordinal);
    }

    private static ValueModel Value()
    {
        ValueModel value = ValueModel.Create(Config(), seed: 2);
        foreach (var parameter in value.Parameters.Items)
            if (parameter.Parts[0].Name == ValueModel.HeadName) parameter.Value.AsSpan<float>().Fill(0.3f);
        value.WeightsChanged();
        return value;
    }

    private static ModelConfig Config() => new()
    {
        ModelType = "llama", VocabularySize = 16, HiddenSize = 16, IntermediateSize = 32, Layers = 2, Heads = 2, KeyValueHeads = 1, HeadDimension = 8, MaxPositions = 64,
    };
}
