using Bellman.Kernels.Cpu;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.Embedding;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.HeadNorm;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.Residual;
using Bellman.Kernels.Ops.RmsNorm;
using Bellman.Kernels.Ops.Rope;
using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Ops.SequenceSum;
using Bellman.Kernels.Ops.SoftBellman;
using Bellman.Kernels.Ops.SwiGlu;
using Bellman.Kernels.Ops.TreeExpansion;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests;

/// <summary>What holds for every op: no managed allocation once warm, and a clear refusal of foreign devices.</summary>
public sealed class OpContractTests
{
    private const int T = 40, C = 48, V = 100;

    /// <summary>Every op once, on tensors that a function makes: the name of each with its call.</summary>
    private static (string Name, Action Call)[] Calls(Func<DType, int, int, Tensor> make)
    {
        Tensor F(int rows, int columns) => make(DType.F32, rows, columns);
        Tensor x = F(T, C), y = F(T, C), w = F(1, C), rstd = F(T, 1), dx = F(T, C), dw = F(1, C), ids = make(DType.I32, T, 1);
        Tensor cos = F(8, 6), table = F(V, C), gate = F(T, 2 * C), dGate = F(T, 2 * C), d = F(1, 12), headRstd = F(T, 3), logits = F(3, V);
        Tensor column = F(T, 1), other = F(T, 1), reward = F(1, 1), gradient = F(T, 1), values = F(T, 1);
        Tensor starts = make(DType.I32, 2, 1), ones = F(T, 1);
        var adam = new AdamWTensors([new(x, y, dx, F(T, C), true)]);
        var gradients = new GradientTensors([x, y]);
        Tensor settings = make(DType.F64, 1, AdamWSettings.Numbers), norm = make(DType.F64, 1, 1), rows = make(DType.I32, 3, SampleRow.Words);
        Tensor result = make(DType.F64, 1, SoftBellmanResult.Numbers), pairResult = make(DType.F64, 1, PairLossResult.Numbers), ktoResult = make(DType.F64, 1, KtoLossResult.Numbers);
        Tensor chosen = make(DType.I32, 3, 1), logProbs = F(3, 1);
        if (x.Device is CpuDevice)
        {
            starts.AsSpan<int>()[1] = T;
            ones.AsSpan<float>().Fill(1);
            SampleRow[] samples = [new(0, 0, 1, 1, 1, 1), new(1, 0, 1, 1, 1, 1), new(1, 5, 0.9f, 1, 1, 1)];
            for (int i = 0; i < samples.Length; i++) samples[i].Write(i, rows.Row<int>(i));
        }
        var batch = new SoftBellmanBatch(column, other, values, ones, ones, reward, starts);
        Tensor kept = make(DType.I32, 1, 4), changes = make(DType.I32, T, TreeExpansion.ChangeWords), pageTable = make(DType.I32, 1, 1), tokens = make(DType.I32, T, TreeExpansion.TokenWords);
        var pages = new PageTensors([x, y]);
        var placed = new PlacedTokens(ids, make(DType.I32, T, 1), make(DType.I32, T, 1), make(DType.I32, T, 1), make(DType.I32, T, 1));
        var options = new SoftBellmanOptions { Beta = 0.03 };
        Tensor ratios = F(4, 1), slopes = F(4, 1), labels = F(4, 1);
        var pairs = new PairLossOptions { Beta = 0.1 };
        var kto = new KtoLossOptions { Beta = 0.1, DesirableWeight = 1, UndesirableWeight = 1, Form = KtoBaselineForm.OtherSide };
        return
        [
            ("RmsNorm.Forward", () => RmsNorm.Forward(x, w, 1e-6f, y, rstd)),
            ("RmsNorm.AddForward", () => RmsNorm.AddForward(x, y, 1, x, w, 1e-6f, y, rstd)),
            ("RmsNorm.Backward", () => RmsNorm.Backward(y, x, w, rstd, dx, dw)),
            ("HeadNorm.Forward", () => HeadNorm.Forward(x, d, d, 2, 1, 1e-6f, y, headRstd)),
            ("HeadNorm.Backward", () => HeadNorm.Backward(y, x, d, d, 2, 1, headRstd, d, d)),
            ("Rope.Forward", () => Rope.Forward(x, 3, 12, ids, cos, cos)),
            ("Rope.Backward", () => Rope.Backward(x, 3, 12, ids, cos, cos)),
            ("SwiGlu.Forward", () => SwiGlu.Forward(gate, y)),
            ("SwiGlu.Backward", () => SwiGlu.Backward(y, gate, dGate)),
            ("Embedding.Forward", () => Embedding.Forward(ids, table, 1, y)),
            ("Embedding.Backward", () => Embedding.Backward(y, ids, 1, table)),
            ("Residual.Combine", () => Residual.Combine(x, y, 1, x)),
            ("AdamW.Step", () => AdamW.Step(adam, settings, norm)),
            ("GradientNorm.Norm", () => GradientNorm.Norm(gradients, norm)),
            ("Sample.Next", () => Sample.Next(logits, rows, chosen, logProbs)),
            ("SoftBellman.ValueLoss", () => SoftBellman.ValueLoss(batch, options, result, gradient)),
            ("SoftBellman.PolicyLoss", () => SoftBellman.PolicyLoss(batch, options, result, gradient)),
            ("KlPenalty.Mean", () => KlPenalty.Mean(column, ones, starts, norm, 0, norm, gradient)),
            ("KlPenalty.Sampled", () => KlPenalty.Sampled(column, other, ones, starts, norm, 0, norm, gradient)),
            ("SequenceSum.Forward", () => SequenceSum.Forward(column, other, ones, starts, true, reward)),
            ("SequenceSum.Backward", () => SequenceSum.Backward(reward, ones, starts, true, gradient)),
            ("Preference.PairLoss", () => Preference.PairLoss(ratios, pairs, pairResult, slopes)),
            ("TreeExpansion.Keep", () => TreeExpansion.Keep(column, starts, kept)),
            ("TreeExpansion.Fork", () => TreeExpansion.Fork(changes, 1, pageTable, pages)),
            ("TreeExpansion.Place", () => TreeExpansion.Place(tokens, default, pageTable, 16, placed)),
            ("Preference.KtoLoss", () => Preference.KtoLoss(ratios, labels, kto, ktoResult, slopes)),
        ];
    }

    [Fact]
    public void No_op_allocates_once_warm() => AtEveryWidth(() =>
    {
        foreach ((string name, Action call) in Calls(Device.Cpu.Create))
        {
            for (int i = 0; i < 3; i++) call();
            // The runtime allocates when a thread first waits for another, whenever that may be: an op that allocates does so in each of three rounds.
            long allocated = long.MaxValue;
            for (int round = 0; round < 3 && allocated > 0; round++)
            {
                long before = GC.GetAllocatedBytesForCurrentThread();
                for (int i = 0; i < 10; i++) call();
                allocated = Math.Min(allocated, GC.GetAllocatedBytesForCurrentThread() - before);
            }
            Assert.True(allocated == 0, $"{name} allocated {allocated} bytes in ten calls");
        }
    });

    [Fact]
    public void Every_op_refuses_a_device_without_kernels()
    {
        var foreign = new ForeignDevice();
        foreach ((string name, Action call) in Calls(foreign.Create))
        {
            DeviceException error = Assert.Throws<DeviceException>(call);
            Assert.Equal($"{name}: there is no kernel for device elsewhere; use cpu.", error.Message);
        }
    }

    [Fact]
    public void Tensors_of_two_devices_do_not_mix()
    {
        DeviceException error = Assert.Throws<DeviceException>(
            () => Residual.Add(Device.Cpu.Create(DType.F32, 1, 1), new ForeignDevice().Create(DType.F32, 1, 1), 1));
        Assert.Equal("Residual.Combine: y is on elsewhere, the first argument on cpu; copy it there first.", error.Message);
    }

    private sealed class ForeignDevice : Device
    {
        public override string Name => "elsewhere";

        public override DType ActivationType => DType.F32;

        public override Storage Allocate(long bytes) => new ForeignStorage(this, bytes);

        public override void Upload<TElement>(ReadOnlySpan<TElement> source, Tensor target) => throw new NotSupportedException();

        public override void Download<TElement>(Tensor source, Span<TElement> target) => throw new NotSupportedException();

        public override void Clear(Tensor tensor) => throw new NotSupportedException();
    }

    private sealed class ForeignStorage(Device device, long bytes) : Storage(device, bytes)
    {
        internal override nint Address => 0;

        public override void Dispose() { }
    }
}
