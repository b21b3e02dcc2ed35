using Bellman.Kernels;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Area under the receiver operating characteristic: the chance that a right answer has a higher score than a wrong one, ties counting
/// half. 0.5 is blind, 1 perfect. Measures a value model.
/// </summary>
public static class Auroc
{
    /// <summary>The area; NaN where one of the classes is empty.</summary>
    /// <param name="scores">One score per answer; none may be NaN.</param>
    /// <param name="correct">Its verdict.</param>
    /// <exception cref="ShapeException">The lists have different lengths.</exception>
    /// <exception cref="BellmanException">A score is NaN.</exception>
    public static double Of(ReadOnlySpan<float> scores, ReadOnlySpan<bool> correct)
    {
        if (scores.Length != correct.Length)
            throw new ShapeException($"Auroc: expected one verdict per score, received {scores.Length} scores and {correct.Length} verdicts.");
        float[] keys = scores.ToArray();
        bool[] labels = correct.ToArray();
        if (Array.Exists(keys, float.IsNaN)) throw new BellmanException("Auroc: a score is NaN, which has no rank; check the value model for non-finite weights.");
        Array.Sort(keys, labels);
        // Sum of the mean ranks of the right answers (Mann–Whitney).
        double ranks = 0, right = 0;
        for (int start = 0; start < keys.Length;)
        {
            int end = start;
            while (end < keys.Length && keys[end] == keys[start]) end++;
            double rank = (start + 1 + end) / 2.0;
            for (int i = start; i < end; i++)
                if (labels[i]) (ranks, right) = (ranks + rank, right + 1);
            start = end;
        }
        double wrong = keys.Length - right;
        return right == 0 || wrong == 0 ? double.NaN : (ranks - right * (right + 1) / 2) / (right * wrong);
    }
}
