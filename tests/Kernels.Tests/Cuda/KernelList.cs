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
using Bellman.Kernels.Ops.TreeExpansion;
using Bellman.Kernels.Ops.ValueHead;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>The list of kernels: every op called once, whatever it launches.</summary>
internal static class KernelList
{
    /// <summary>Every kernel that an op launches on small tensors, by name.</summary>
    public static SortedDictionary<string, Kernel> All()
    {
        const int T = 4, C = 16;
        SortedDictionary<string, Kernel> kernels = OfCards();
        // What float32 activations take, in the simulator only.
        var exact = new SimulatorDevice { Checks = false, Activations = DType.F32 };
        Tensor E(int rows, int columns) => exact.Create(DType.F32, rows, columns);
        using var weight = new PackedWeight(E(8, C));
        MatMul.Forward(E(T, C), weight, E(1, 8), E(T, 8));
        MatMul.BackwardInput(E(T, 8), weight, E(T, C), add: true);
        var exactHead = new LmHeadInput(E(T, C), weight, 1);
        var exactOutput = new LmHeadOutput(E(T, 1), E(T, 1), E(T, 1), E(T, 1), E(T, 1), E(T, 1));
        foreach (KlDirection direction in Enum.GetValues<KlDirection>())
        {
            Tensor ids = exact.Create(DType.I32, T, 1);
            LmHead.Forward(exactHead, direction == KlDirection.None ? default : exactHead, direction, ids, exactOutput, null!);
            LmHead.Backward(exactHead, exactHead, direction, ids, exactOutput, E(T, 1), direction == KlDirection.None ? default : E(T, 1), E(T, C), E(8, C), null!);
        }
        LmHead.Logits(exactHead, E(T, 8));
        foreach (LaunchReport launch in exact.Launches) kernels[launch.Kernel.Name] = launch.Kernel;
        return kernels;
    }

    /// <summary>Those of them that a card is given.</summary>
    public static SortedDictionary<string, Kernel> OfCards()
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
        RmsNorm.AddForward(x, y, 1, y, w, 1e-6f, H(T, C), rstd);
        RmsNorm.Backward(y, x, w, rstd, H(T, C), F(1, C));
        RmsNorm.Backward(y, x, w, rstd, H(T, C), default);
        // Enough rows for several blocks.
        ValueHead.Backward(F(2000, 1), H(2000, C), w, H(2000, C), F(1, C));
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
        PagedAttention.Forward(qkv.Slice(0, 1), heads, ids.Slice(0, 1), one.Slice(0, 1), device.Create(DType.I32, 1, 1), keyPages, valuePages, attended.Slice(0, 1));
        Results.AdamWStep([new(F(2, 2), F(2, 2), F(2, 2), F(2, 2), true)], new(1e-3, 0.9, 0.95, 1e-8, 0), 1, 1);
        Results.Norm(column);
        Tensor mask = device.Create<float>([1, 1, 1, 1], T, 1);
        var batch = new SoftBellmanBatch(column, column, column, mask, mask, F(1, 1), device.Create<int>([0, T], 2, 1));
        Results.KlMean(column, mask, batch.SequenceStarts, 1, 0, F(T, 1));
        Results.KlSampled(column, column, mask, batch.SequenceStarts, 1, 0, F(T, 1));
        Results.ValueLoss(batch, new() { Beta = 0.03 }, F(T, 1), F(T, 1));
        foreach (SoftBellmanForm form in Enum.GetValues<SoftBellmanForm>()) Results.PolicyLoss(batch, new() { Beta = 0.03, Form = form }, F(T, 1), F(T, 1));
        Rows.CopyFirst(x, y);
        SequenceSum.Forward(column, column, mask, batch.SequenceStarts, mean: true, F(1, 1));
        SequenceSum.Backward(F(1, 1), mask, batch.SequenceStarts, mean: true, column);
        foreach (PairLossForm form in Enum.GetValues<PairLossForm>()) Results.PairLoss(column, new() { Beta = 1, Form = form }, F(T, 1));
        foreach (KtoBaselineForm form in Enum.GetValues<KtoBaselineForm>()) Results.KtoLoss(column, mask, new() { Beta = 1, Form = form }, F(T, 1));
        var head = new LmHeadInput(x, weight, 2);
        var output = new LmHeadOutput(F(T, 1), F(T, 1), F(T, 1), F(T, 1), F(T, 1), F(T, 1));
        LmHead.Logits(head, F(T, 8));
        LmHead.Forward(head, default, KlDirection.None, ids, output with { Entropy = default }, null!);
        foreach (KlDirection direction in Enum.GetValues<KlDirection>())
        {
            LmHead.Forward(head, head, direction, ids, output, null!);
            LmHead.Backward(head, head, direction, ids, output, column, direction == KlDirection.None ? default : column, H(T, C), F(8, C), null!);
        }
        // More words than a panel has: the hidden states' gradient is rounded at the end.
        using var words = new PackedWeight(H(4097, 8));
        LmHead.Backward(new LmHeadInput(H(T, 8), words, 1), default, KlDirection.None, ids, output, column, default, H(T, 8), F(4097, 8), null!);
        Results.Sample(F(1, 8), [new(1, 0, 1, 1, 2, 3)]);
        TreeExpansion.Keep(column, batch.SequenceStarts, ids.Reshape(1, T));
        using var pages = new PageTensors([keyPages, valuePages]);
        TreeExpansion.Fork(device.Create(DType.I32, 1, TreeExpansion.ChangeWords), 1, device.Create(DType.I32, 1, 1), pages);
        TreeExpansion.Place(device.Create(DType.I32, T, TreeExpansion.TokenWords), default, device.Create(DType.I32, 1, 1), 16, new PlacedTokens(ids, ids, ids, ids, ids));
        var kernels = new SortedDictionary<string, Kernel>(StringComparer.Ordinal);
        var hopper = new SimulatorDevice { Checks = false, Hopper = true };
        Tensor G(int rows, int columns) => hopper.Create(DType.BF16, rows, columns);
        using var groupWeight = new PackedWeight(G(8, C));
        MatMul.Forward(G(T, C), groupWeight, G(1, 8), G(T, 8));
        MatMul.BackwardInput(G(T, 8), groupWeight, G(T, C), add: true);
        // Enough rows for wide tiles.
        MatMul.Forward(G(3 * 128, C), groupWeight, default, G(3 * 128, 8));
        MatMul.BackwardWeight(G(T, 8), G(T, C), hopper.Create(DType.F32, 8, C), default, null!);
        foreach (int dimension in (int[])[64, 128])
            Attention.Forward(
                G(T, 4 * dimension), new AttentionShape(2, 1, dimension), hopper.Create<int>([0, T], 2, 1), G(T, 2 * dimension), hopper.Create(DType.F32, T, 2), null!);
        var groupHead = new LmHeadInput(G(T, C), groupWeight, 2);
        Tensor Column() => hopper.Create(DType.F32, T, 1);
        var groupOutput = new LmHeadOutput(Column(), Column(), Column(), Column(), Column(), Column());
        Tensor groupIds = hopper.Create(DType.I32, T, 1);
        LmHead.Forward(groupHead, default, KlDirection.None, groupIds, groupOutput with { Entropy = default }, null!);
        foreach (KlDirection direction in Enum.GetValues<KlDirection>())
        {
            LmHead.Forward(groupHead, groupHead, direction, groupIds, groupOutput, null!);
            LmHead.Backward(groupHead, groupHead, direction, groupIds, groupOutput, Column(), direction == KlDirection.None ? default : Column(), G(T, C), hopper.Create(DType.F32, 8, C), null!);
        }
        foreach (LaunchReport launch in device.Launches.Concat(hopper.Launches)) kernels[launch.Kernel.Name] = launch.Kernel;
        return kernels;
    }
}
