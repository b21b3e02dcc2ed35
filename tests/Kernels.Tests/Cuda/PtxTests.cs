using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.Attention;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.MatMul;
using Bellman.Kernels.Ops.PagedAttention;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.Rope;
using Bellman.Kernels.Ops.Rows;
using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Kernels.Ops.ValueHead;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The printed text: golden files for every kernel, and a lint that finds what is planted.</summary>
public sealed class PtxTests
{
    private static readonly string Folder = Path.Combine(TestData.Repository, "tests", "Kernels.Tests", "Cuda", "Ptx");

    /// <summary>Every kernel that an op launches on small tensors, by name.</summary>
    private static SortedDictionary<string, Kernel> Kernels()
    {
        const int T = 4, C = 16;
        var device = new SimulatorDevice { Checks = false };
        Tensor H(int rows, int columns) => device.Create(DType.BF16, rows, columns);
        Tensor F(int rows, int columns) => device.Create(DType.F32, rows, columns);
        Tensor x = H(T, C), y = H(T, C), w = H(1, C), rstd = F(T, 1), gate = H(T, 2 * C), ids = device.Create(DType.I32, T, 1), column = F(T, 1);
        Residual.Combine(x, y, 1, y);
        Residual.Combine(F(T, C), F(T, C), 1, F(T, C));
        Residual.Combine(F(T, C), F(T, C), 1, y);
        RmsNorm.Forward(x, w, 1e-6f, y, rstd);
        RmsNorm.Backward(y, x, w, rstd, H(T, C), F(1, C));
        SwiGlu.Forward(gate, y);
        SwiGlu.Backward(y, gate, gate);
        Rope.Forward(x, 1, 8, ids, F(2, 4), F(2, 4));
        Embedding.Forward(ids, H(3, C), 1, y);
        Embedding.Backward(y, ids, 1, F(3, C));
        using var weight = new PackedWeight(H(8, C));
        MatMul.Forward(x, weight, H(1, 8), H(T, 8));
        MatMul.BackwardInput(H(T, 8), weight, H(T, C), add: true);
        MatMul.BackwardWeight(H(T, 8), x, F(8, C), F(1, 8), null!);
        ValueHead.Forward(x, w, column);
        ValueHead.Backward(column, x, w, H(T, C), F(1, C));
        Rows.Gather(x, ids, y);
        Rows.Scatter(x, device.Create<int>([0, 1, 2, 3], T, 1), y);
        Tensor d = H(1, 4), headRstd = F(T, 3);
        HeadNorm.Forward(x, d, d, 2, 1, 1e-6f, y, headRstd);
        HeadNorm.Backward(y, x, d, d, 2, 1, headRstd, F(1, 4), F(1, 4));
        var heads = new AttentionShape(2, 1, 16);
        Tensor whole = device.Create<int>([0, T], 2, 1), qkv = H(T, 64), attended = H(T, 32), logSumExp = F(T, 2);
        Attention.Forward(qkv, heads, whole, attended, logSumExp, null!);
        using var scratch = new Arena(device, 4096);
        Attention.Backward(attended, qkv, heads, whole, attended, logSumExp, H(T, 64), scratch);
        Attention.Forward(F(T, 64), heads, whole, F(T, 32), logSumExp, scratch);
        Attention.Backward(F(T, 32), F(T, 64), heads, whole, F(T, 32), logSumExp, F(T, 64), scratch);
        Tensor keyPages = H(1, 256), valuePages = H(1, 256), one = device.Create<int>([1, 1, 1, 1], T, 1);
        PagedAttention.Append(qkv, heads, ids, keyPages, valuePages);
        PagedAttention.Forward(qkv, heads, ids, one, device.Create(DType.I32, 1, 1), keyPages, valuePages, attended);
        AdamW.Step([new(F(2, 2), F(2, 2), F(2, 2), F(2, 2), true)], new(1e-3, 0.9, 0.95, 1e-8, 0), 1, 1);
        GradientNorm.Norm([column]);
        Tensor mask = device.Create<float>([1, 1, 1, 1], T, 1);
        var batch = new SoftBellmanBatch(column, column, column, mask, mask, F(1, 1), device.Create<int>([0, T], 2, 1));
        KlPenalty.Mean(column, mask, batch.SequenceStarts, 1, 0, F(T, 1));
        KlPenalty.Sampled(column, column, mask, batch.SequenceStarts, 1, 0, F(T, 1));
        SoftBellman.ValueLoss(batch, new() { Beta = 0.03 }, F(T, 1), F(T, 1));
        foreach (SoftBellmanForm form in Enum.GetValues<SoftBellmanForm>()) SoftBellman.PolicyLoss(batch, new() { Beta = 0.03, Form = form }, F(T, 1), F(T, 1));
        Rows.CopyFirst(x, y);
        SequenceSum.Forward(column, column, mask, batch.SequenceStarts, mean: true, F(1, 1));
        SequenceSum.Backward(F(1, 1), mask, batch.SequenceStarts, mean: true, column);
        foreach (PairLossForm form in Enum.GetValues<PairLossForm>()) Preference.PairLoss(column, new() { Beta = 1, Form = form }, F(T, 1));
        foreach (KtoBaselineForm form in Enum.GetValues<KtoBaselineForm>()) Preference.KtoLoss(column, mask, new() { Beta = 1, Form = form }, F(T, 1));
        var head = new LmHeadInput(x, weight, 2);
        var output = new LmHeadOutput(F(T, 1), F(T, 1), F(T, 1), F(T, 1), F(T, 1), F(T, 1));
        LmHead.Logits(head, F(T, 8));
        LmHead.Forward(head, default, KlDirection.None, ids, output with { Entropy = default }, null!);
        foreach (KlDirection direction in Enum.GetValues<KlDirection>())
        {
            LmHead.Forward(head, head, direction, ids, output, null!);
            LmHead.Backward(head, head, direction, ids, output, column, direction == KlDirection.None ? default : column, H(T, C), F(8, C), null!);
        }
        var exact = new SimulatorDevice { Checks = false, Activations = DType.F32 };
        Tensor E(int rows, int columns) => exact.Create(DType.F32, rows, columns);
        using var exactWeight = new PackedWeight(E(8, C));
        MatMul.Forward(E(T, C), exactWeight, E(1, 8), E(T, 8));
        MatMul.BackwardInput(E(T, 8), exactWeight, E(T, C), add: true);
        LmHead.Backward(new LmHeadInput(E(T, C), exactWeight, 1), default, KlDirection.None, exact.Create(DType.I32, T, 1), new LmHeadOutput(E(T, 1), E(T, 1), default, default, default, default),
            E(T, 1), default, E(T, C), E(8, C), null!);
        Sample.Next(F(1, 8), [new(1, 0, 1, 1, 2, 3)], new int[1], new float[1]);
        var kernels = new SortedDictionary<string, Kernel>(StringComparer.Ordinal);
        foreach (LaunchReport launch in device.Launches.Concat(exact.Launches)) kernels[launch.Kernel.Name] = launch.Kernel;
        return kernels;
    }

    [Fact]
    public void Every_kernel_prints_the_text_that_was_reviewed()
    {
        SortedDictionary<string, Kernel> kernels = Kernels();
        Assert.True(kernels.Count >= 20, $"only {kernels.Count} kernels were launched");
        if (Environment.GetEnvironmentVariable("BELLMAN_WRITE_PTX") == "1")
        {
            Directory.CreateDirectory(Folder);
            foreach (string file in Directory.GetFiles(Folder, "*.ptx")) File.Delete(file);
            foreach ((string name, Kernel kernel) in kernels) File.WriteAllText(Path.Combine(Folder, name + ".ptx"), kernel.Ptx);
        }
        Assert.Equal(kernels.Keys, Directory.GetFiles(Folder, "*.ptx").Select(x => Path.GetFileNameWithoutExtension(x)!).Order(StringComparer.Ordinal));
        foreach ((string name, Kernel kernel) in kernels)
        {
            Assert.True(
                File.ReadAllText(Path.Combine(Folder, name + ".ptx")) == kernel.Ptx,
                $"the PTX of {name} has changed; if it is meant, run the tests once with BELLMAN_WRITE_PTX=1 and commit the files");
            Assert.Empty(PtxLint.Check(kernel.Ptx));
        }
    }

    [Fact]
    public void A_kernel_of_a_few_lines_prints_as_expected()
    {
        var k = new KernelBuilder("triple", 32);
        Floats x = k.ArgumentFloats("x", DType.F32);
        S32 n = k.ArgumentS32("n"), i = k.BlockX.MultiplyAdd(32, k.Thread);
        k.If(i < n, () => x[i] = x[i] * 3f);
        Assert.Equal(
            """
            .version 7.0
            .target sm_80
            .address_size 64

            .visible .entry triple(
                .param .u64 triple_x,
                .param .u32 triple_n
            )
            .maxntid 32, 1, 1
            {
                .reg .pred %p<1>;
                .reg .b32 %r<4>;
                .reg .f32 %f<2>;
                .reg .b64 %rd<3>;
                ld.param.u64 %rd0, [triple_x];
                ld.param.u32 %r0, [triple_n];
                mov.u32 %r1, %ctaid.x;
                mov.u32 %r2, %tid.x;
                mad.lo.s32 %r3, %r1, 32, %r2;
                setp.lt.s32 %p0, %r3, %r0;
                @!%p0 bra $L0;
                mad.wide.s32 %rd1, %r3, 4, %rd0;
                ld.global.f32 %f0, [%rd1];
                mul.rn.f32 %f1, %f0, 0f40400000;
                mad.wide.s32 %rd2, %r3, 4, %rd0;
                st.global.f32 [%rd2], %f1;
            $L0:
                ret;
            }

            """, k.Build().Ptx);
    }

    // Changes of that text, and what the lint says of each.
    public static TheoryData<string, string, string> Planted => new()
    {
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f9, 0f40400000;", "%f9 is not a declared .f32 register" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %r0, 0f40400000;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0, 3;", "mul.rn.f32 does not take" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.f32 %f1, %f0, 0f40400000;", "mul.f32 is not in the instruction table" },
        { "mul.rn.f32 %f1, %f0, 0f40400000;", "mul.rn.f32 %f1, %f0, 0f40400000", "does not end with a semicolon" },
        { "ld.global.f32 %f0, [%rd1];", "", "%f0 is read before it is set" },
        { "setp.lt.s32 %p0, %r3, %r0;", "", "%p0 is read before it is set" },
        { "$L0:", "$L1:", "jump to $L0, which is not there" },
        { "$L0:", "$L0:\n$L0:", "label $L0 stands twice" },
        { ".reg .f32 %f<2>;", ".reg .f32 %f<2>;\n.reg .f32 %f<2>;", ".f32 registers are declared twice" },
        { ".reg .f32 %f<2>;", ".reg .f32 %g<2>;", "declares no known class" },
        { "[triple_n]", "[triple_m]", "parameter triple_m is not there" },
        { ".param .u32 triple_n", ".param .f32 triple_n", "parameter triple_n is .f32, read by ld.param.u32" },
        { ".target sm_80", ".target sm_75", "needs sm_80" },
        { ".version 7.0", ".version 6.3", "needs PTX 7.0" },
        { "ret;\n}", "ret;", "the entry is not closed" },
    };

    [Theory]
    [MemberData(nameof(Planted))]
    public void The_lint_finds(string text, string changed, string problem)
    {
        var k = new KernelBuilder("triple", 32);
        Floats x = k.ArgumentFloats("x", DType.F32);
        S32 n = k.ArgumentS32("n"), i = k.BlockX.MultiplyAdd(32, k.Thread);
        k.If(i < n, () => x[i] = x[i] * 3f);
        string good = k.Build().Ptx;
        if (problem.StartsWith("needs", StringComparison.Ordinal)) good = good.Replace("mul.rn.f32 %f1, %f0, 0f40400000", "min.NaN.f32 %f1, %f0, 0f40400000");
        Assert.Empty(PtxLint.Check(good));
        Assert.Contains(text, good);
        Assert.Contains(PtxLint.Check(good.Replace(text, changed)), p => p.Contains(problem));
    }

    [Fact]
    public void Staging_refuses_what_cannot_be()
    {
        Assert.Contains("multiple of 32", Assert.Throws<StagingException>(() => new KernelBuilder("k", 33)).Message);
        Assert.Contains("letters, digits", Assert.Throws<StagingException>(() => new KernelBuilder("a-b", 32)).Message);
        KernelBuilder one = new("one", 32), two = new("two", 32);
        Assert.Contains("a value of kernel one", Assert.Throws<StagingException>(() => two.Variable(one.Lane)).Message);
        Assert.Contains("belongs to a kernel", Assert.Throws<StagingException>(() => (F32)1f + 2f).Message);
        Assert.Throws<ArgumentException>(() => one.ArgumentFloats("x", DType.F32).Load(0, 3));
    }
}
