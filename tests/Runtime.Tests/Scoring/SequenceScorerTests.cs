using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tests.Models;
using Bellman.Tests;
using Xunit;

namespace Bellman.Runtime.Tests.Scoring;

public sealed class SequenceScorerTests : IDisposable
{
    private static readonly ModelConfig Config = new()
    {
        ModelType = "llama", VocabularySize = 37, HiddenSize = 16, IntermediateSize = 24, Layers = 2, Heads = 2, KeyValueHeads = 1, HeadDimension = 8, MaxPositions = 64, EosIds = [1],
    };

    private readonly LanguageModel _policy = Scaled(LanguageModel.Create(Config, 1)), _reference = Scaled(LanguageModel.Create(Config, 2));
    private readonly ValueModel _value = Scaled(ValueModel.Create(Config, 3));

    private static readonly int[][] Sequences = [[3, 4, 5, 6, 7, 8], [9], [10, 11], [.. Enumerable.Range(0, 37)]];

    [Fact]
    public void NumbersAreThoseOfAPlainForwardFromItsLogits()
    {
        using var scorer = new SequenceScorer(_policy, _reference, _value);
        IReadOnlyList<SequenceScore> scores = scorer.Score(Sequences);
        for (int s = 0; s < Sequences.Length; s++)
        {
            int[] ids = Sequences[s];
            using ForwardBackward policy = new(_policy, ids, 0, ids.Length), reference = new(_reference, ids, 0, ids.Length), value = new(_value, ids, 0, ids.Length);
            double[][] p = LogSoftmax(policy.Logits()), q = LogSoftmax(reference.Logits());
            int n = ids.Length - 1;
            float[] logProbs = new float[n], referenceLogProbs = new float[n], kl = new float[n];
            for (int t = 0; t < n; t++)
            {
                (logProbs[t], referenceLogProbs[t]) = ((float)p[t][ids[t + 1]], (float)q[t][ids[t + 1]]);
                kl[t] = (float)p[t].Zip(q[t], (a, b) => Math.Exp(a) * (a - b)).Sum();
            }
            TensorComparer.Close(logProbs, scores[s].LogProbs, 1e-5, 1e-5, "log-probs");
            TensorComparer.Close(referenceLogProbs, scores[s].ReferenceLogProbs, 1e-5, 1e-5, "reference log-probs");
            TensorComparer.Close(kl, scores[s].Kl, 1e-5, 1e-4, "KL");
            TensorComparer.Close(value.Values().AsSpan(0, n), scores[s].Values, 1e-5, 1e-5, "values");
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(1000)]
    public void PackingChangesNothing(int maxTokens)
    {
        using var packed = new SequenceScorer(_policy, _reference, _value, maxTokens);
        using var alone = new SequenceScorer(_policy, _reference, _value);
        // Twice, so that memory of the first call is used again.
        foreach (IReadOnlyList<SequenceScore> scores in new[] { packed.Score(Sequences), packed.Score(Sequences) })
            for (int s = 0; s < Sequences.Length; s++)
            {
                SequenceScore expected = alone.Score([Sequences[s]])[0];
                TensorComparer.Close(expected.LogProbs, scores[s].LogProbs, 1e-6, 1e-6, "log-probs");
                TensorComparer.Close(expected.Kl, scores[s].Kl, 1e-6, 1e-5, "KL");
                TensorComparer.Close(expected.Values, scores[s].Values, 1e-6, 1e-6, "values");
            }
    }

    [Fact]
    public void WhatWasNotAskedForIsAbsent()
    {
        using var scorer = new SequenceScorer(_policy);
        SequenceScore score = scorer.Score([[1, 2, 3]])[0];
        Assert.Equal(2, score.LogProbs.Length);
        Assert.Null(score.ReferenceLogProbs);
        Assert.Null(score.Kl);
        Assert.Null(score.Values);
        Assert.Empty(scorer.Score([]));
    }

    [Fact]
    public void WrongSequencesAreNamed()
    {
        using var scorer = new SequenceScorer(_policy);
        Assert.Contains("sequence 1 has no tokens", Assert.Throws<Kernels.BellmanException>(() => scorer.Score([[1], []])).Message, StringComparison.Ordinal);
        Assert.Contains("token 37", Assert.Throws<Kernels.BellmanException>(() => scorer.Score([[1, 37]])).Message, StringComparison.Ordinal);
        Assert.Contains("65 tokens", Assert.Throws<Kernels.BellmanException>(() => scorer.Score([new int[65]])).Message, StringComparison.Ordinal);
        using LanguageModel other = LanguageModel.Create(Config with { VocabularySize = 38 }, 1);
        Assert.Contains("37 tokens (policy) and 38 (reference)", Assert.Throws<Kernels.BellmanException>(() => new SequenceScorer(_policy, other)).Message, StringComparison.Ordinal);
    }

    public void Dispose()
    {
        _policy.Dispose();
        _reference.Dispose();
        _value.Dispose();
    }

    private static double[][] LogSoftmax(float[] logits) => [.. logits.Chunk(Config.VocabularySize).Select(row =>
    {
        double most = row.Max(), sum = Math.Log(row.Sum(x => Math.Exp(x - most))) + most;
        return row.Select(x => x - sum).ToArray();
    })];

    /// <summary>Weights large enough that tokens differ, and a value head that is not zero.</summary>
    private static TModel Scaled<TModel>(TModel model) where TModel : DecoderModel
    {
        foreach (var parameter in model.Parameters.Items)
            if (parameter.Decays) foreach (ref float weight in parameter.Value.AsSpan<float>()) weight = weight == 0 ? 0.2f : 10 * weight;
        model.WeightsChanged();
        return model;
    }
}
