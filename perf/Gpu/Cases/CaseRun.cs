using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Random;
using Bellman.Perf.Gpu.Suite;

namespace Bellman.Perf.Gpu.Cases;

/// <summary>What the kernels of a call whose names begin so must move and compute, in all launches of the call together.</summary>
/// <param name="Kernel">Beginning of the name.</param>
/// <param name="Bytes">Bytes read and written, each once.</param>
/// <param name="Flops">Operations, for products; 0 for what memory bounds.</param>
internal readonly record struct Work(string Kernel, double Bytes, double Flops = 0);

/// <summary>
/// One op at the sizes of a model: its tensors are made by <paramref name="Prepare"/>, which returns the call. The same case
/// runs on a card, on the CPU (for comparison, with fewer tokens), in the simulator and on a recorder.
/// </summary>
/// <param name="Name">Op and what is special.</param>
/// <param name="Prepare">Makes the tensors and returns the call.</param>
/// <param name="Work">What the call's kernels do at the sizes of a run.</param>
internal sealed record OpCase(string Name, Func<CaseRun, Action> Prepare, Func<CaseRun, Work[]> Work);

/// <summary>A case on one device: makes tensors with the same numbers on each, and remembers the outputs.</summary>
internal sealed class CaseRun(Device device, ModelShape shape)
{
    private const int Period = 1_000_003;
    private static readonly Dictionary<int, float[]> Numbers = [];
    private readonly List<(string Name, Tensor Tensor, double Tolerance)> _outputs = [];

    public Device Device => device;

    public ModelShape Shape => shape;

    /// <summary>Tokens of the batch.</summary>
    public int T => shape.T;

    /// <summary>Tensors to compare, each with the share of its largest number by which it may differ.</summary>
    public IReadOnlyList<(string Name, Tensor Tensor, double Tolerance)> Outputs => _outputs;

    /// <summary>Numbers that bfloat16 holds, in the device's type of activations.</summary>
    public Tensor Half(int seed, int rows, int columns, float scale = 1) => Fill(seed, device.ActivationType, rows, columns, scale, rounded: true);

    /// <summary>Float32 numbers.</summary>
    public Tensor Single(int seed, int rows, int columns, float scale = 1) => Fill(seed, DType.F32, rows, columns, scale, rounded: false);

    public Tensor Integers(int[] values, int rows, int columns) => device.Create<int>(values, rows, columns);

    public Tensor Floats(float[] values, int rows, int columns) => device.Create<float>(values, rows, columns);

    /// <summary>An output in the device's type of activations.</summary>
    public Tensor HalfOutput(string name, int rows, int columns, double tolerance = 1.0 / 64) => Compare(name, device.Create(device.ActivationType, rows, columns), tolerance);

    /// <summary>A float32 output.</summary>
    public Tensor SingleOutput(string name, int rows, int columns, double tolerance = 1e-3) => Compare(name, device.Create(DType.F32, rows, columns), tolerance);

    /// <summary>An output of integers.</summary>
    public Tensor IntegerOutput(string name, int rows, int columns) => Compare(name, device.Create(DType.I32, rows, columns), 0);

    /// <summary>Doubles that a loss or norm leaves on the device.</summary>
    public Tensor Result(int numbers) => device.Create(DType.F64, 1, numbers);

    /// <summary>Compares a tensor that is updated in place.</summary>
    public Tensor Compare(string name, Tensor tensor, double tolerance)
    {
        _outputs.Add((name, tensor, tolerance));
        return tensor;
    }

    /// <summary>First tokens of the batch's sequences, then the number of tokens.</summary>
    public Tensor Starts() => Integers([.. Enumerable.Range(0, shape.B + 1).Select(s => s * shape.L)], shape.B + 1, 1);

    /// <summary>Scratch for ops that take an arena.</summary>
    public Arena Scratch(long bytes) => new(device, bytes);

    /// <summary>A tensor's numbers as float32.</summary>
    public static float[] Read(Tensor tensor) => tensor.Type == DType.I32 ? Array.ConvertAll(tensor.ToArray<int>(), x => (float)x) : tensor.ToFloats();

    private Tensor Fill(int seed, DType type, int rows, int columns, float scale, bool rounded)
    {
        Tensor tensor = device.Create(type, rows, columns);
        if (device is RecordingDevice || rows == 0) return tensor;
        float[] numbers = Of(seed % 4);
        // A prime period: no two rows are alike.
        int piece = Math.Max(1, Math.Min(rows, (4 << 20) / columns));
        var values = new float[piece * columns];
        var halves = new BFloat16[type == DType.BF16 ? values.Length : 0];
        long at = seed * 7919L;
        for (int row = 0; row < rows; row += piece)
        {
            int count = Math.Min(piece, rows - row), length = count * columns;
            for (int i = 0; i < length; i++)
            {
                float value = numbers[at++ % Period] * scale;
                values[i] = rounded ? (float)(BFloat16)value : value;
            }
            if (type == DType.BF16)
            {
                for (int i = 0; i < length; i++) halves[i] = (BFloat16)values[i];
                device.Upload<BFloat16>(halves.AsSpan(0, length), tensor.Slice(row, count));
            }
            else device.Upload<float>(values.AsSpan(0, length), tensor.Slice(row, count));
        }
        return tensor;
    }

    private static float[] Of(int seed)
    {
        if (Numbers.TryGetValue(seed, out float[]? numbers)) return numbers;
        var random = new PhiloxRandom((ulong)seed);
        numbers = new float[Period];
        for (int i = 0; i < Period; i++) numbers[i] = (float)random.NextNormal();
        return Numbers[seed] = numbers;
    }
}
