using Bellman.Kernels.Cpu;
using Bellman.Kernels.Cpu.Gemm;

namespace Bellman.Kernels.Ops.MatMul;

/// <summary>
/// A weight matrix W [N, K] that is not trained, held once: in the panels that y = x·Wᵀ reads, as float32, bfloat16 or signed bytes.
/// A token embedding can be looked up in it too. It is filled row by row and then only read. Host memory only.
/// </summary>
public sealed unsafe class FrozenWeight : IDisposable
{
    private const float LargestByte = 127;

    private readonly Storage _storage;
    private readonly Tensor _scales;

    /// <summary>A matrix of zeros.</summary>
    /// <param name="format">How weights are held.</param>
    /// <param name="outputs">N.</param>
    /// <param name="inputs">K.</param>
    /// <exception cref="DeviceException">The memory is not there.</exception>
    public FrozenWeight(WeightFormat format, int outputs, int inputs)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(outputs, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(inputs, 1);
        (Format, Outputs, Inputs) = (format, outputs, inputs);
        PanelBytes = format switch
        {
            WeightFormat.F32 => F32Panels.Bytes(inputs),
            WeightFormat.BF16 => BF16Panels.Bytes(inputs),
            WeightFormat.Int8 => Int8Panels.Bytes(inputs),
            _ => throw new ArgumentOutOfRangeException(nameof(format)),
        };
        _storage = Device.Cpu.Allocate(Panels.Count(outputs) * PanelBytes);
        // Padded to whole panels, so that vectors of scales can be read at the edge.
        if (format == WeightFormat.Int8) _scales = Device.Cpu.Create(DType.F32, 1, Panels.Count(outputs) * Panels.Width);
    }

    /// <summary>How weights are held.</summary>
    public WeightFormat Format { get; }

    /// <summary>Output width N.</summary>
    public int Outputs { get; }

    /// <summary>Input width K.</summary>
    public int Inputs { get; }

    /// <summary>Memory in bytes, scales included.</summary>
    public long Bytes => _storage.Bytes + (_scales.IsEmpty ? 0 : _scales.Bytes);

    internal nint PanelBytes { get; }

    internal byte* FirstPanel => (byte*)_storage.Address;

    /// <summary>The panels of format F32 as floats.</summary>
    internal Tensor FloatPanels => new(_storage, 0, DType.F32, 1, checked((int)(_storage.Bytes / sizeof(float))));

    /// <summary>Scale of each column, or null.</summary>
    internal float* Scales => _scales.Pointer<float>();

    /// <summary>Stores rows. A format narrower than theirs rounds to nearest.</summary>
    /// <param name="first">Number of the first row.</param>
    /// <param name="rows">n·K finite numbers.</param>
    /// <exception cref="ShapeException">The rows do not fit.</exception>
    public void SetRows(int first, ReadOnlySpan<float> rows)
    {
        int count = rows.Length / Inputs;
        if (rows.Length % Inputs != 0 || first < 0 || first > Outputs - count)
            throw new ShapeException($"FrozenWeight.SetRows: {rows.Length} numbers from row {first} on do not fit {Outputs}×{Inputs}.");
        if (count == 0) return;
        int panel = first / Panels.Width, end = (first + count - 1) / Panels.Width + 1;
        fixed (float* source = rows)
        {
            var work = new SetWork { Weight = this, FirstPanel = panel, First = first, Rows = count, Source = source };
            WorkerTeam.Run(ref work, end - panel);
        }
    }

    /// <summary>Reads a row back as floats.</summary>
    /// <param name="row">Number of the row.</param>
    /// <param name="target">K floats.</param>
    /// <exception cref="ShapeException">No such row, or the target has another length.</exception>
    public void GetRow(int row, Span<float> target)
    {
        if ((uint)row >= (uint)Outputs || target.Length != Inputs)
            throw new ShapeException($"FrozenWeight.GetRow: row {row} into {target.Length} floats asked of {Outputs}×{Inputs}.");
        fixed (float* values = target) ReadRow(row, 1, values);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _storage.Dispose();
        _scales.Free();
    }

    /// <summary>target[i] = factor · W(row, i).</summary>
    internal void ReadRow(int row, float factor, float* target)
    {
        byte* panel = FirstPanel + row / Panels.Width * PanelBytes;
        int n = row % Panels.Width;
        switch (Format)
        {
            case WeightFormat.F32: Read<F32Panels>(panel, n, factor, target); break;
            case WeightFormat.BF16: Read<BF16Panels>(panel, n, factor, target); break;
            default: Read<Int8Panels>(panel, n, factor * Scales[row], target); break;
        }
    }

    private void Read<TPanels>(byte* panel, int n, float factor, float* target) where TPanels : struct, IFrozenPanels
    {
        for (int i = 0; i < Inputs; i++) target[i] = factor * TPanels.Element(panel, i, n);
    }

    private void SetRow(int row, float* values)
    {
        byte* panel = FirstPanel + row / Panels.Width * PanelBytes;
        int n = row % Panels.Width;
        switch (Format)
        {
            case WeightFormat.F32: F32Panels.SetColumn(panel, Inputs, n, values, 1); break;
            case WeightFormat.BF16: BF16Panels.SetColumn(panel, Inputs, n, values, 1); break;
            default:
                float largest = 0;
                for (int i = 0; i < Inputs; i++) largest = MathF.Max(largest, MathF.Abs(values[i]));
                Scales[row] = largest / LargestByte;
                Int8Panels.SetColumn(panel, Inputs, n, values, Scales[row]);
                break;
        }
    }

    private struct SetWork : IParallelWork
    {
        public FrozenWeight Weight;
        public float* Source;
        public int FirstPanel, First, Rows;

        public readonly void Execute(int task)
        {
            int width = Panels.Width, start = (FirstPanel + task) * width;
            for (int row = Math.Max(First, start); row < Math.Min(First + Rows, start + width); row++)
                Weight.SetRow(row, Source + (nint)(row - First) * Weight.Inputs);
        }
    }
}
