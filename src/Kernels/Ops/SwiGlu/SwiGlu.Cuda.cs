using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Ops.SwiGlu;

/// <summary><see cref="SwiGlu"/> on a card: one vector a thread, a row along the grid's second axis in turns.</summary>
internal static class SwiGluCuda
{
    private const int Threads = 256, MostRows = 32768;
    private static readonly KernelTable<(int Columns, DType Type, bool Backward)> Kernels = new(x => Stage(x.Columns, x.Type, x.Backward));

    public static void Forward(KernelDevice device, Tensor gateUp, Tensor y) => Launch(device, y, [gateUp, y, y.Rows], backward: false);

    public static void Backward(KernelDevice device, Tensor dy, Tensor gateUp, Tensor dGateUp) => Launch(device, dy, [gateUp, dy, dy.Rows, dGateUp], backward: true);

    private static void Launch(KernelDevice device, Tensor y, ReadOnlySpan<KernelArgument> arguments, bool backward)
    {
        if (y.Length == 0) return;
        int vectors = y.Columns / RowTile.Width(y.Columns);
        device.Launch(Kernels[(y.Columns, y.Type, backward)], new((vectors + Threads - 1) / Threads, Math.Min(y.Rows, MostRows)), arguments);
    }

    private static Kernel Stage(int columns, DType type, bool backward)
    {
        int width = RowTile.Width(columns);
        var k = new KernelBuilder($"swiglu_{(backward ? "backward" : "forward")}_{type.ToString().ToLowerInvariant()}_f{columns}", Threads);
        Floats gateUp = k.ArgumentFloats("gateUp", type), y = k.ArgumentFloats("y", type);
        S32 rows = k.ArgumentS32("rows"), column = k.BlockX.MultiplyAdd(Threads, k.Thread) * width;
        Floats dGateUp = backward ? k.ArgumentFloats("dGateUp", type) : default;
        k.If(column < columns, () => k.For(k.BlockY, rows, MostRows, row =>
        {
            Floats gate = gateUp.Row(row, 2 * columns).Offset(column), up = gate.Offset(columns), result = y.Row(row, columns).Offset(column);
            F32[] g = gate.Load(0, width), u = up.Load(0, width), sigma = [.. g.Select(v => ((-v).Exp() + 1f).Reciprocal())];
            if (!backward)
            {
                result.Store(0, [.. g.Select((v, i) => v * sigma[i] * u[i])]);
                return;
            }
            F32[] dy = result.Load(0, width);
            Floats dGate = dGateUp.Row(row, 2 * columns).Offset(column), dUp = dGate.Offset(columns);
            // σ joins first: it is 0 where g is hugely negative, and g alone could take the product to infinity.
            dGate.Store(0, [.. dy.Select((v, i) => v * u[i] * (sigma[i] * g[i].Fma(1f - sigma[i], 1f)))]);
            dUp.Store(0, [.. dy.Select((v, i) => v * (g[i] * sigma[i]))]);
        }));
        return k.Build();
    }
}
