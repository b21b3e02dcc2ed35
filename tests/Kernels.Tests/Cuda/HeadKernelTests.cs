using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Ops.Sample;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.Cuda.CudaOpTest;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The language-model head and sampling in the checked simulator against their references.</summary>
public sealed class HeadKernelTests
{
    public enum Units
    {
        Warps, Groups, Plain,
    }

    // Ragged ends of tiles, of 64 channels and of 8 words; several tiles a block, several panels; chunks of rows; few and many words; far apart logits.
    public static TheoryData<Units, int, int, int, KlDirection, float, bool, float> Heads => new()
    {
        { Units.Warps, 1, 8, 2, KlDirection.None, 1f, false, 1 },
        { Units.Warps, 5, 16, 33, KlDirection.Reverse, 1f, false, 1 },
        { Units.Warps, 9, 72, 300, KlDirection.Forward, 0.5f, false, 1 },
        { Units.Warps, 130, 8, 39, KlDirection.Reverse, 0.25f, true, 1 },
        { Units.Warps, 2, 8, 8201, KlDirection.Forward, 1f, false, 1 },
        { Units.Warps, 4, 8, 200, KlDirection.Reverse, 1f, false, 60 },
        { Units.Groups, 1, 8, 2, KlDirection.None, 1f, false, 1 },
        { Units.Groups, 70, 72, 300, KlDirection.None, 0.5f, false, 1 },
        { Units.Groups, 130, 8, 139, KlDirection.Reverse, 0.25f, true, 1 },
        { Units.Groups, 2, 8, 8201, KlDirection.Reverse, 1f, false, 1 },
        { Units.Groups, 4, 8, 200, KlDirection.Forward, 1f, false, 60 },
        { Units.Plain, 1, 3, 2, KlDirection.None, 1f, false, 1 },
        { Units.Plain, 17, 5, 37, KlDirection.Reverse, 0.5f, false, 1 },
        { Units.Plain, 3, 4, 4101, KlDirection.Forward, 1f, false, 1 },
        { Units.Plain, 4, 8, 70, KlDirection.Reverse, 1f, false, 60 },
    };

    [Theory]
    [MemberData(nameof(Heads))]
    public void LmHead_agrees_with_its_reference(Units units, int rows, int channels, int vocabulary, KlDirection direction, float scale, bool chunks, float spread)
    {
        CudaOpTest test = NewTest(units);
        if (chunks) test.Device.ChunkBytes = 1;
        float[] hidden = CudaOpTest.Normal(1, rows * channels, spread), weight = CudaOpTest.Normal(2, vocabulary * channels, spread);
        float[] otherHidden = CudaOpTest.Normal(3, rows * channels, spread), otherWeight = CudaOpTest.Normal(4, vocabulary * channels, spread);
        float[] dLogProb = OpTest.Normal(5, rows), dKl = OpTest.Normal(6, rows), dwSeed = OpTest.Normal(7, vocabulary * channels);
        // A row that is masked out of the loss.
        dLogProb[rows / 2] = dKl[rows / 2] = 0;
        int[] targets = [.. Enumerable.Range(0, rows).Select(i => (int)((vocabulary - 1 + i * 7L) % vocabulary))];
        bool withKl = direction != KlDirection.None;
        double[] logProb = new double[rows], lse = new double[rows], entropy = new double[rows], otherLogProb = new double[rows], otherLse = new double[rows], kl = new double[rows];
        double[] dHidden = new double[rows * channels], dWeight = Doubles(dwSeed);
        for (int i = 0; i < rows; i++)
        {
            double[] p = LmHeadReference.LogSoftmax(hidden.AsSpan(i * channels, channels), weight, vocabulary, scale, out lse[i]);
            double[] q = LmHeadReference.LogSoftmax(otherHidden.AsSpan(i * channels, channels), otherWeight, vocabulary, 2 * scale, out otherLse[i]);
            (logProb[i], otherLogProb[i], entropy[i]) = (p[targets[i]], q[targets[i]], -p.Sum(x => Math.Exp(x) * x));
            if (withKl) kl[i] = LmHeadReference.Kl(p, q, direction);
            double[] g = LmHeadReference.LogitGradient(p, q, direction, targets[i], dLogProb[i], withKl ? dKl[i] : 0);
            for (int v = 0; v < vocabulary; v++)
                for (int c = 0; c < channels; c++)
                {
                    dHidden[i * channels + c] += scale * g[v] * weight[v * channels + c];
                    dWeight[v * channels + c] += scale * g[v] * hidden[i * channels + c];
                }
        }
        Tensor Numbers(float[] values, int columns) => units == Units.Plain ? test.Single(values, values.Length / columns, columns) : test.Half(values, values.Length / columns, columns);
        using var packed = new PackedWeight(Numbers(weight, channels));
        using var otherPacked = new PackedWeight(Numbers(otherWeight, channels));
        var policy = new LmHeadInput(Numbers(hidden, channels), packed, scale);
        var reference = new LmHeadInput(Numbers(otherHidden, channels), otherPacked, 2 * scale);
        LmHeadOutput output = NewOutput(test, rows);
        Tensor ids = test.Integers(targets, rows, 1), dh = test.Output(test.Device.ActivationType, rows, channels), dw = test.Single(dwSeed, vocabulary, channels);
        LmHead.Forward(policy, reference, direction, ids, output, null!);
        // Logits of thousands have that many units in the last place.
        double absolute = spread == 1 ? 2e-5 : 1e-2;
        foreach ((double[] expected, Tensor actual, string what) in (ReadOnlySpan<(double[], Tensor, string)>)
            [
                (logProb, output.LogProb, "log-probs"), (lse, output.LogSumExp, "log-sum-exp"), (entropy, output.Entropy, "entropy"),
                (otherLogProb, output.ReferenceLogProb, "reference log-probs"), (otherLse, output.ReferenceLogSumExp, "reference log-sum-exp"),
            ]) TensorComparer.Close(Floats(expected), Read(actual), absolute, 3e-6, what);
        if (withKl) TensorComparer.Close(Floats(kl), Read(output.Kl), absolute, 3e-6, "KL");
        LmHead.Backward(policy, reference, direction, ids, output, test.Single(dLogProb, rows, 1), withKl ? test.Single(dKl, rows, 1) : default, dh, dw, null!);
        // The logits' gradients are rounded to bfloat16.
        TensorComparer.CloseToScale(Floats(dHidden), Read(dh), spread == 1 ? 6e-3 : 1e-2, "dHidden");
        TensorComparer.CloseToScale(Floats(dWeight), Read(dw), spread == 1 ? 6e-3 : 1e-2, "dWeight");
        string end = units == Units.Plain ? "_f32" : test.Device.HasWarpGroups ? "_hopper" : "";
        foreach (string kernel in (string[])["lm_head_forward", "lm_head_gradient"])
            Assert.Contains(test.KernelNames, x => x.StartsWith(kernel, StringComparison.Ordinal) && x.EndsWith(end, StringComparison.Ordinal));

        // Without a reference; and plain logits.
        LmHeadOutput alone = new(test.Output(DType.F32, rows, 1), default, default, default, default, default);
        LmHead.Forward(policy, default, KlDirection.None, ids, alone, null!);
        TensorComparer.Close(Floats(logProb), Read(alone.LogProb), absolute, 3e-6, "log-probs alone");
        Tensor logits = test.Output(DType.F32, rows, vocabulary);
        LmHead.Logits(policy, logits);
        float[] plain = Read(logits);
        TensorComparer.Close([.. targets.Select((target, i) => (float)(logProb[i] + lse[i]))], [.. targets.Select((target, i) => plain[i * vocabulary + target])], absolute, 3e-6, "logits");
    }

    [Theory]
    [InlineData(Units.Warps)]
    [InlineData(Units.Groups)]
    public void A_row_of_the_head_does_not_depend_on_others_and_equal_heads_do_not_differ(Units units)
    {
        const int Rows = 130, Channels = 16, Vocabulary = 300;
        CudaOpTest test = NewTest(units);
        float[] hidden = CudaOpTest.Normal(1, Rows * Channels);
        // One row of NaN spoils no other.
        hidden[5 * Channels] = float.NaN;
        using var weight = new PackedWeight(test.Half(CudaOpTest.Normal(2, Vocabulary * Channels), Vocabulary, Channels));
        LmHeadOutput Forward(int first)
        {
            var head = new LmHeadInput(test.Half(hidden[(first * Channels)..], Rows - first, Channels), weight, 0.7f);
            LmHeadOutput output = NewOutput(test, Rows - first);
            LmHead.Forward(head, head, KlDirection.Reverse, test.Integers([.. Enumerable.Range(first, Rows - first)], Rows - first, 1), output, null!);
            return output;
        }

        (LmHeadOutput all, LmHeadOutput last) = (Forward(0), Forward(Rows - 1));
        foreach ((Tensor many, Tensor one) in (ReadOnlySpan<(Tensor, Tensor)>)[(all.LogProb, last.LogProb), (all.LogSumExp, last.LogSumExp), (all.Entropy, last.Entropy)])
        {
            Assert.Equal(Read(many)[^1], Read(one)[0]);
            Assert.All(Read(many).Select((x, i) => (x, i)), x => Assert.Equal(x.i == 5, float.IsNaN(x.x)));
        }
        Assert.All(Read(all.Kl).Select((x, i) => (x, i)), x => Assert.True(x.i == 5 ? float.IsNaN(x.x) : x.x == 0, $"KL of equal heads in row {x.i} is {x.x}"));
    }

    [Theory]
    [InlineData(Units.Warps)]
    [InlineData(Units.Groups)]
    public void Memory_of_the_head_is_bounded_and_accesses_are_whole(Units units)
    {
        CudaOpTest test = NewTest(units);
        const int Rows = 128, Channels = 64, Vocabulary = 512;
        using var weight = new PackedWeight(test.Half(CudaOpTest.Normal(2, Vocabulary * Channels), Vocabulary, Channels));
        var head = new LmHeadInput(test.Half(CudaOpTest.Normal(1, Rows * Channels), Rows, Channels), weight, 1);
        LmHeadOutput output = NewOutput(test, Rows);
        Tensor ids = test.Integers([.. Enumerable.Range(0, Rows)], Rows, 1), slopes = test.Single(OpTest.Normal(3, Rows), Rows, 1);
        LmHead.Forward(head, head, KlDirection.Reverse, ids, output, null!);
        LmHead.Backward(head, head, KlDirection.Reverse, ids, output, slopes, slopes, test.Output(DType.BF16, Rows, Channels), test.Single(new float[Vocabulary * Channels], Vocabulary, Channels), null!);
        foreach (LaunchReport launch in test.Simulator.Launches.Where(x => x.Kernel.Name.StartsWith("lm_head", StringComparison.Ordinal)))
            foreach (AccessReport access in launch.Accesses)
                Assert.True(access.Excess <= 1, $"{launch.Kernel.Name} at {access.Line}: {access.Form} took {access.Counts.Units} for {access.Counts.Ideal} needed");
        // Whatever the vocabulary, once it is larger than a panel; and whatever the number of tokens, once they fill a chunk.
        Assert.Equal(LmHead.DeviceBytes(test.Device, 1024, 32000, 896, true), LmHead.DeviceBytes(test.Device, 1024, 152000, 896, true));
        Assert.Equal(LmHead.DeviceBytes(test.Device, 1 << 18, 152000, 896, true), LmHead.DeviceBytes(test.Device, 1 << 20, 152000, 896, true));
        Assert.InRange(LmHead.DeviceBytes(test.Device, 8192, 151936, 1536, true), 1, 160L << 20);
    }

    [Fact]
    public void What_a_card_cannot_refuse_becomes_NaN_and_shapes_are_refused()
    {
        var test = new CudaOpTest();
        using var weight = new PackedWeight(test.Half(CudaOpTest.Normal(1, 5 * 8), 5, 8));
        var head = new LmHeadInput(test.Half(CudaOpTest.Normal(2, 3 * 8), 3, 8), weight, 1);
        LmHeadOutput output = NewOutput(test, 3);
        LmHead.Forward(head, default, KlDirection.None, test.Integers([5, 0, -1], 3, 1), output, null!);
        Assert.Equal([true, false, true], Read(output.LogProb).Select(float.IsNaN));
        ShapeException error = Assert.Throws<ShapeException>(() =>
            LmHead.Forward(head, default, KlDirection.None, test.Integers([1, 2, 3], 3, 1), output with { LogSumExp = test.Output(DType.F32, 2, 1) }, null!));
        Assert.Contains("LmHead.Forward", error.Message);
    }

    [Fact]
    public void Sample_agrees_with_its_reference()
    {
        var test = new CudaOpTest();
        int compared = 0;
        foreach (int vocabulary in (int[])[1, 37, 1025])
        {
            SampleRow[] rows =
            [
                new(0, 0, 1, 11, 1, 2), new(1, 0, 1, 11, ulong.MaxValue, uint.MaxValue), new(0.3f, 0, 1, ulong.MaxValue, 3, 4), new(2.5f, 5, 1, 11, 5, 6),
                new(1, 0, 0.9f, 11, 7, 8), new(1, 20, 0.7f, 11, 9, 10), new(1.5f, 9999, 1e-6f, 11, 11, 12), new(1e-38f, 30, 1, 11, 13, 14),
            ];
            float[] logits = OpTest.Normal(vocabulary, rows.Length * vocabulary, 2);
            // Equal logits: ranked by id.
            for (int i = 0; i < logits.Length; i += 2) logits[i] = MathF.Round(logits[i]);
            (int[] ids, float[] logProbs) = Results.Sample(test.Single(logits, rows.Length, vocabulary), rows);
            for (int i = 0; i < rows.Length; i++)
            {
                (int id, double logProb, double margin) = SampleReference.Next(logits.AsSpan(i * vocabulary, vocabulary), rows[i]);
                if (margin < 1e-5) continue;
                compared++;
                Assert.True(id == ids[i], $"vocabulary {vocabulary}, {rows[i]}: expected {id}, received {ids[i]}");
                TensorComparer.Close(logProb, logProbs[i], 5e-6, 2e-6, $"{rows[i]} log-prob");
            }
        }
        Assert.True(compared >= 20, $"only {compared} rows were compared");
    }

    /// <summary>
    /// Rows of which few tokens are kept, of which thousands are, of which thousands are equal, of which one is far above the rest, and of
    /// which all but some are −∞: whether the kernel finds a bound or not, the choice is the reference's.
    /// </summary>
    [Fact]
    public void Sample_of_a_large_vocabulary_agrees_with_its_reference()
    {
        const int Vocabulary = 6000;
        var test = new CudaOpTest();
        float[] normal = OpTest.Normal(1, Vocabulary, 3), flat = [.. OpTest.Normal(2, Vocabulary, 0.01)], equal = new float[Vocabulary], peak = [.. OpTest.Normal(3, Vocabulary)];
        float[] masked = [.. Enumerable.Range(0, Vocabulary).Select(i => i % 1000 == 3 ? i / 1000f : float.NegativeInfinity)];
        peak[4321] = 500;
        float[][] logits = [normal, flat, equal, peak, masked];
        SampleRow[] settings =
        [
            new(0, 0, 1, 5, 1, 1), new(1, 0, 1, 5, 2, 2), new(0.8f, 50, 1, 5, 3, 3), new(0.8f, 0, 0.95f, 5, 4, 4), new(1.3f, 40, 0.9f, 5, 5, 5), new(0.05f, 300, 0.999f, 5, 6, 6),
            new(1, 5000, 1, 5, 7, 7), new(1, 5, 1e-3f, 5, 8, 8), new(30, 0, 0.5f, 5, 9, 9),
        ];
        SampleRow[] rows = [.. logits.SelectMany(_ => settings)];
        (int[] ids, float[] logProbs) = Results.Sample(test.Single([.. logits.SelectMany(x => x)], logits.Length, Vocabulary), rows, [.. rows.Select((_, i) => i / settings.Length)]);
        int compared = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            (int id, double logProb, double margin) = SampleReference.Next(logits[i / settings.Length], rows[i]);
            // Thousands of float32 terms: what lies nearer to a border than their rounding may fall to either side.
            if (margin < 2e-5) continue;
            compared++;
            Assert.True(id == ids[i], $"row {i / settings.Length}, {rows[i]}: expected {id}, received {ids[i]}");
            TensorComparer.Close(logProb, logProbs[i], 1e-5, 2e-6, $"{rows[i]} log-prob");
        }
        Assert.True(compared >= 30, $"only {compared} rows were compared");
    }

    [Fact]
    public void Sample_reads_a_row_a_few_times()
    {
        const int Vocabulary = 16384, Sectors = Vocabulary * sizeof(float) / 32;
        var test = new CudaOpTest();
        Tensor logits = test.Single(OpTest.Normal(1, Vocabulary, 2.5), 1, Vocabulary);
        // The largest, the bound (in few passes), copying, the choice; a warp's walk, and the searches among the few that are left.
        foreach ((SampleRow row, double most) in ((SampleRow, double)[])[(new(0, 0, 1, 5, 6, 7), 3), (new(1, 0, 1, 5, 6, 7), 3), (new(0.8f, 50, 1, 5, 6, 7), 12), (new(0.8f, 0, 0.7f, 5, 6, 7), 12), (new(0.8f, 50, 0.95f, 5, 6, 7), 12)])
        {
            Results.Sample(logits, [row]);
            double sectors = test.Simulator.Launches[^1].Accesses.Where(x => x.Form.Space == Bellman.Kernels.Cuda.Ptx.Space.Global).Sum(x => (double)x.Counts.Units) / Sectors;
            Assert.True(sectors <= most, $"{row}: {sectors} times the row's sectors");
        }
    }

    [Fact]
    public void Sample_takes_odds_apart_and_refuses_bad_rows()
    {
        // Probabilities (0.2, 0, 0.5, 0.3) in order of id; by rank, 0.5 of id 2, 0.3 of id 3, 0.2 of id 0.
        var test = new CudaOpTest();
        float[] one = [MathF.Log(2), float.NegativeInfinity, MathF.Log(5), MathF.Log(3)];
        SampleRow[] rows = [.. Enumerable.Range(0, 24).Select(i => new SampleRow(1, i % 3 == 1 ? 2 : 0, i % 3 == 2 ? 0.79f : 1, 7, 8, (uint)i / 3))];
        // Every setting's row is the second of two.
        int[] ids = Results.Sample(test.Single([9, 0, 0, 0, .. one], 2, 4), rows, [.. Enumerable.Repeat(1, 24)]).Ids;
        for (int i = 0; i < 24; i++)
        {
            float u = Bellman.Kernels.Random.Philox.Uniform(7, 8, rows[i].Position);
            Assert.Equal(i % 3 == 0 ? u < 0.2 ? 0 : u < 0.7 ? 2 : 3 : u < 0.625 ? 2 : 3, ids[i]);
        }
        foreach (float bad in (float[])[float.NaN, float.PositiveInfinity])
        {
            BellmanException error = Assert.Throws<BellmanException>(() =>
                Results.Sample(test.Single([1f, 2f, 1f, bad], 2, 2), [rows[0], rows[1]]));
            Assert.Contains("row 1", error.Message);
            Assert.Throws<BellmanException>(() => Results.Sample(test.Single([1f, 2f], 1, 2), [rows[0]], [1]));
        }
    }

    private static CudaOpTest NewTest(Units units)
    {
        Assert.SkipWhen(units == Units.Plain && CudaOpTest.NewDevice() is not SimulatorDevice, "float32 weights are for the simulator only");
        return new() { Device = units switch { Units.Plain => new SimulatorDevice { Activations = DType.F32 }, Units.Groups => NewHopper(), _ => CudaOpTest.NewDevice() } };
    }

    private static LmHeadOutput NewOutput(CudaOpTest test, int rows)
    {
        Tensor New() => test.Output(DType.F32, rows, 1);
        return new(New(), New(), New(), New(), New(), New());
    }
}
