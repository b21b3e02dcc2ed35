using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Random;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class SampleTests
{
    private static readonly SampleRow Greedy = new(0, 0, 1, 1, 2, 3);

    private static (int[] Ids, float[] LogProbs) Next(Tensor logits, params SampleRow[] rows) => Results.Sample(logits, rows);

    [Fact]
    public void Greedy_takes_the_lowest_of_equal_ids() => AtEveryWidth(() =>
    {
        // Softmax of (0, ln 2, ln 2, −∞) = (1, 2, 2, 0)/5.
        float ln2 = MathF.Log(2);
        (int[] ids, float[] logProbs) = Next(Tensor([0f, ln2, ln2, float.NegativeInfinity]), Greedy);
        Assert.Equal([1], ids);
        TensorComparer.Close([MathF.Log(0.4f)], logProbs, 0, 1e-6, "log-prob");
        Assert.Equal([0], Next(Tensor([-0f, 0f]), Greedy).Ids);
    });

    [Fact]
    public void Inverse_transform_of_numbers_worked_by_hand() => AtEveryWidth(() =>
    {
        // Probabilities (0.2, 0, 0.5, 0.3) in order of id cut [0, 1) at 0.2 and 0.7; by rank, (0.5, 0.3, 0.2) at 0.5 and 0.8.
        Tensor logits = Tensor([MathF.Log(2), float.NegativeInfinity, MathF.Log(5), MathF.Log(3)]);
        for (uint position = 0; position < 200; position++)
        {
            float u = Philox.Uniform(7, 8, position);
            int plain = u < 0.2 ? 0 : u < 0.7 ? 2 : 3, ranked = u < 0.5 ? 2 : u < 0.8 ? 3 : 0;
            Assert.Equal([plain], Next(logits, new SampleRow(1, 0, 1, 7, 8, position)).Ids);
            Assert.Equal([ranked], Next(logits, new SampleRow(1, 4, 1, 7, 8, position)).Ids);
            // Top-2 leaves 5 : 3; top-p 0.79 leaves the same two, 0.49 the first alone, and 0.6 of top-2 (0.625, 0.375) again one.
            int two = u < 0.625 ? 2 : 3;
            Assert.Equal([two], Next(logits, new SampleRow(1, 2, 1, 7, 8, position)).Ids);
            Assert.Equal([two], Next(logits, new SampleRow(1, 0, 0.79f, 7, 8, position)).Ids);
            Assert.Equal([2], Next(logits, new SampleRow(1, 0, 0.49f, 7, 8, position)).Ids);
            Assert.Equal([2], Next(logits, new SampleRow(1, 2, 0.6f, 7, 8, position)).Ids);
            // At temperature 1/2 the odds are squared: 4 : 25 : 9.
            Assert.Equal([u < 4 / 38.0 ? 0 : u < 29 / 38.0 ? 2 : 3], Next(logits, new SampleRow(0.5f, 0, 1, 7, 8, position)).Ids);
        }
    });

    [Fact]
    public void Agrees_with_the_reference_at_odd_sizes() => AtEveryWidth(() =>
    {
        int compared = 0;
        foreach (int vocabulary in (int[])[1, 2, 15, 16, 17, 100, 1023, 1024, 1025, 5003])
        {
            SampleRow[] rows =
            [
                .. from temperature in (float[])[0, 0.3f, 1, 2.5f]
                   from topK in (int[])[0, 1, 5, 70, 9999]
                   from topP in (float[])[1, 0.9f, 0.3f, 1e-6f]
                   select new SampleRow(temperature, topK, topP, 11, (ulong)topK, (uint)(temperature * 10)),
            ];
            float[] logits = Normal(vocabulary, rows.Length * vocabulary, 2);
            // Equal logits: ranked by id.
            for (int i = 0; i < logits.Length; i += 3) logits[i] = MathF.Round(logits[i]);
            Guarded guarded = new(rows.Length, vocabulary, logits);
            (int[] ids, float[] logProbs) = Next(guarded.Tensor, rows);
            for (int i = 0; i < rows.Length; i++)
            {
                (int id, double logProb, double margin) = SampleReference.Next(guarded.Tensor.Row<float>(i), rows[i]);
                // Where the uniform number lies on the edge of two tokens to within rounding, either is right.
                if (margin < 1e-6) continue;
                compared++;
                Assert.True(id == ids[i], $"vocabulary {vocabulary}, {rows[i]}: expected {id}, received {ids[i]}");
                TensorComparer.Close(logProb, logProbs[i], 2e-6, 1e-6, $"{rows[i]} log-prob");
            }
            guarded.Verify("logits");
        }
        Assert.True(compared > 700);
    });

    [Fact]
    public void Frequencies_follow_the_distribution()
    {
        float[] one = Normal(3, 6);
        const int Draws = 20000;
        Tensor logits = Tensor([.. Enumerable.Repeat(one, Draws).SelectMany(x => x)], Draws, 6);
        SampleRow[] rows = [.. Enumerable.Range(0, Draws).Select(i => new SampleRow(0.8f, 0, 1, 5, (ulong)i, 0))];
        double[] expected = SampleReference.Distribution(one, rows[0]);
        int[] ids = Next(logits, rows).Ids;
        for (int j = 0; j < 6; j++)
        {
            // Five standard deviations of a binomial count.
            double deviation = Math.Sqrt(expected[j] * (1 - expected[j]) / Draws);
            TensorComparer.Close(expected[j], ids.Count(x => x == j) / (double)Draws, 5 * deviation, 0, $"frequency of {j}");
        }
    }

    [Fact]
    public void A_row_does_not_depend_on_the_batch() => AtEveryWidth(() =>
    {
        const int Rows = 40, Vocabulary = 777;
        Tensor logits = Tensor(Normal(1, Rows * Vocabulary), Rows, Vocabulary);
        SampleRow[] rows = [.. Enumerable.Range(0, Rows).Select(i => new SampleRow(1, i % 3 * 20, i % 2 == 0 ? 1 : 0.95f, 9, (ulong)i, 4))];
        (int[] ids, float[] logProbs) = Next(logits, rows);
        for (int i = 0; i < Rows; i++)
        {
            (int[] id, float[] logProb) = Next(logits.Slice(i, 1), rows[i]);
            Assert.Equal((id[0], logProb[0]), (ids[i], logProbs[i]));
        }
    });

    [Theory]
    [InlineData(1e30f)]
    [InlineData(1e-30f)]
    [InlineData(3e38f)]
    public void Extreme_logits_and_temperatures(float magnitude) => AtEveryWidth(() =>
    {
        float[] logits = Normal(1, 50);
        logits[17] = 9;
        float largest = logits.Max(MathF.Abs);
        for (int i = 0; i < 50; i++) logits[i] = logits[i] / largest * magnitude;
        foreach (float temperature in (float[])[1e-38f, 1f, 1e30f])
            foreach (int topK in (int[])[0, 10])
            {
                (int[] ids, float[] logProbs) = Next(Tensor(logits), new SampleRow(temperature, topK, 0.9f, 1, 2, 3));
                Assert.InRange(ids[0], 0, 49);
                Assert.False(float.IsNaN(logProbs[0]));
                if (temperature < magnitude / 100) Assert.Equal(17, ids[0]);
            }
    });

    [Fact]
    public void Refuses_damaged_logits_and_settings_out_of_range() => AtEveryWidth(() =>
    {
        float[] fine = Normal(1, 33);
        foreach (float bad in (float[])[float.NaN, float.PositiveInfinity])
            foreach (int place in (int[])[0, 16, 32])
            {
                float[] damaged = [.. fine];
                damaged[place] = bad;
                Tensor logits = Tensor([.. fine, .. damaged, .. damaged], 3, 33);
                foreach (float temperature in (float[])[0, 1])
                {
                    SampleRow row = Greedy with { Temperature = temperature };
                    BellmanException error = Assert.Throws<BellmanException>(() => Next(logits, row, row, row));
                    Assert.Contains("row 1", error.Message);
                }
            }
        Tensor nothing = Tensor([float.NegativeInfinity, float.NegativeInfinity]), two = Tensor([1f, 2f]);
        Assert.Throws<BellmanException>(() => Next(nothing, Greedy));
        foreach (SampleRow row in (SampleRow[])
            [Greedy with { Temperature = -1 }, Greedy with { Temperature = float.NaN }, Greedy with { TopK = -1 }, Greedy with { TopP = 0 }, Greedy with { TopP = 1.1f }])
            Assert.Throws<BellmanException>(() => Next(two, row));
        Assert.Throws<ShapeException>(() => Sample.Next(two, Results.Settings(Device.Cpu, [Greedy]), Device.Cpu.Create(DType.I32, 2, 1), Device.Cpu.Create(DType.F32, 1, 1)));
        Assert.Throws<BellmanException>(() => Next(two, Greedy, Greedy));
    });
}
