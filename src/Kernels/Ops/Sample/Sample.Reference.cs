using Bellman.Kernels.Random;

namespace Bellman.Kernels.Ops.Sample;

/// <summary><see cref="Sample"/> written to be read, in double and with a full sort, for one row.</summary>
internal static class SampleReference
{
    /// <summary>The chosen id, its log-prob, and how far the uniform number lay from the nearest other choice.</summary>
    public static (int Id, double LogProb, double Margin) Next(ReadOnlySpan<float> logits, SampleRow row)
    {
        double[] plain = Distribution(logits, row with { Temperature = 1, TopK = 0, TopP = 1 });
        int best = 0;
        for (int j = 1; j < logits.Length; j++)
            if (logits[j] > logits[best]) best = j;
        if (row.Temperature == 0) return (best, Math.Log(plain[best]), double.PositiveInfinity);

        // Without truncation the choices lie in order of id, with it in order of falling probability.
        double[] p = Distribution(logits, row);
        int[] order = row.TopK == 0 && row.TopP == 1 ? [.. Enumerable.Range(0, p.Length)] : Ranked(logits);
        double u = Philox.Uniform(row.Seed, row.Stream, row.Position), cumulative = 0;
        foreach (int j in order)
        {
            double below = cumulative;
            cumulative += p[j];
            if (u < cumulative && p[j] > 0) return (j, Math.Log(plain[j]), Math.Min(u - below, cumulative - u));
        }
        int last = order.Last(j => p[j] > 0);
        return (last, Math.Log(plain[last]), 0);
    }

    /// <summary>The probabilities that a row samples from (temperature above 0).</summary>
    public static double[] Distribution(ReadOnlySpan<float> logits, SampleRow row)
    {
        int[] order = Ranked(logits);
        double max = logits[order[0]], total = 0, kept = 0;
        var p = new double[logits.Length];
        int count = row.TopK > 0 ? Math.Min(row.TopK, p.Length) : p.Length;
        for (int i = 0; i < count; i++) total += p[order[i]] = Math.Exp((logits[order[i]] - max) / row.Temperature);
        for (int i = 0; i < count; i++)
        {
            if (kept >= row.TopP * total && row.TopP < 1) p[order[i]] = 0;
            kept += p[order[i]];
        }
        for (int j = 0; j < p.Length; j++) p[j] /= kept;
        return p;
    }

    private static int[] Ranked(ReadOnlySpan<float> logits)
    {
        float[] values = logits.ToArray();
        return [.. Enumerable.Range(0, values.Length).OrderByDescending(j => values[j]).ThenBy(j => j)];
    }
}
