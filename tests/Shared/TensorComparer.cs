using System.Text;
using Xunit;

namespace Bellman.Tests;

/// <summary>
/// The one comparison of numbers in all tests: |actual − expected| ≤ absolute + relative·|expected| per element. NaN and
/// infinity never pass unless both sides hold the same infinity. A failure lists the first bad places.
/// </summary>
public static class TensorComparer
{
    /// <summary>Asserts that two buffers agree.</summary>
    public static void Close(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double absolute, double relative, string what)
    {
        if (expected.Length != actual.Length)
            Assert.Fail($"{what}: expected {expected.Length} numbers, received {actual.Length}.");
        int bad = 0;
        double worst = 0;
        var places = new StringBuilder();
        for (int i = 0; i < expected.Length; i++)
        {
            double e = expected[i], a = actual[i], difference = Math.Abs(a - e);
            bool equal = float.IsInfinity(expected[i]) ? expected[i] == actual[i] : difference <= absolute + relative * Math.Abs(e);
            if (equal) continue;
            worst = Math.Max(worst, double.IsNaN(difference) ? double.PositiveInfinity : difference);
            if (bad++ < 5) places.Append($" [{i}] expected {e:G9} received {a:G9};");
        }
        if (bad > 0) Assert.Fail($"{what}: {bad} of {expected.Length} differ by more than {absolute:G3} + {relative:G3}·|x|, worst {worst:G3}:{places}");
    }

    /// <summary>Asserts agreement within <paramref name="share"/> of the largest expected magnitude (the rule for gradients).</summary>
    public static void CloseToScale(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double share, string what, double floor = 0)
    {
        double scale = floor;
        foreach (float value in expected) scale = Math.Max(scale, Math.Abs(value));
        Close(expected, actual, share * scale, 0, what);
    }

    /// <summary>Asserts that one number agrees.</summary>
    public static void Close(double expected, double actual, double absolute, double relative, string what)
    {
        if (!(Math.Abs(actual - expected) <= absolute + relative * Math.Abs(expected)))
            Assert.Fail($"{what}: expected {expected:G12}, received {actual:G12} (tolerance {absolute:G3} + {relative:G3}·|x|).");
    }
}
