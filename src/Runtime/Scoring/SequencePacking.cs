using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Scoring;

/// <summary>Whole sequences laid end to end for common forwards.</summary>
internal static class SequencePacking
{
    /// <summary>Refuses a sequence that a model cannot take.</summary>
    /// <exception cref="BellmanException">The sequence is empty, too long, or holds an id outside the vocabulary.</exception>
    public static void Check(int[] ids, int index, ModelConfig config)
    {
        if (ids.Length == 0) throw new BellmanException($"Scoring: sequence {index} has no tokens; expected at least one.");
        if (ids.Length > config.MaxPositions) throw new BellmanException($"Scoring: sequence {index} has {ids.Length} tokens, the model takes at most {config.MaxPositions}; shorten it.");
        foreach (int id in ids)
            if ((uint)id >= (uint)config.VocabularySize) throw new BellmanException($"Scoring: sequence {index} holds token {id}, the vocabulary has {config.VocabularySize}; use the model's own tokenizer.");
    }

    /// <summary>Where the forward ends that begins with a sequence, and its tokens: as many sequences as fit, at least one.</summary>
    public static (int End, int Tokens) Cut(IReadOnlyList<int[]> sequences, int first, int maxTokens)
    {
        int end = first, tokens = 0;
        while (end < sequences.Count && (end == first || tokens + sequences[end].Length <= maxTokens)) tokens += sequences[end++].Length;
        return (end, tokens);
    }

    /// <summary>The tokens of sequences first..end−1 in one row, and where each begins. [tokens], [end − first + 1]</summary>
    public static (int[] Ids, int[] Starts) Lay(IReadOnlyList<int[]> sequences, int first, int end, int tokens)
    {
        var ids = new int[tokens];
        var starts = new int[end - first + 1];
        for (int s = 0; s < end - first; s++)
        {
            sequences[first + s].CopyTo(ids, starts[s]);
            starts[s + 1] = starts[s] + sequences[first + s].Length;
        }
        return (ids, starts);
    }
}
