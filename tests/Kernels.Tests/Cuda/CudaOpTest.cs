using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>
/// What tests of CUDA kernels share: a checked simulator, numbers as bfloat16 holds them, tolerances. The suite for cards
/// (perf/Gpu) compiles the same tests and puts a card in the simulator's place.
/// </summary>
internal sealed class CudaOpTest
{
    /// <summary>Half a unit in the last place of bfloat16, with room for a sum that lands on the other side of a tie.</summary>
    public const double Rounding = 1.0 / 256 + 1e-4;

    /// <summary>Rows and columns with ragged ends at every access width, some beyond one warp and one block's pieces.</summary>
    public static readonly (int Rows, int Columns)[] Sizes = [(0, 8), (1, 1), (1, 3), (2, 10), (3, 16), (2, 36), (5, 31), (3, 264), (37, 40), (2, 1001), (1, 2056)];

    /// <summary>What the tests run on.</summary>
    public static Func<KernelDevice> NewDevice { get; set; } = () => new SimulatorDevice();

    /// <summary>A simulated Hopper, or the card.</summary>
    public static KernelDevice NewHopper() => NewDevice() is SimulatorDevice ? new SimulatorDevice { Hopper = true } : NewDevice();

    public KernelDevice Device { get; init; } = NewDevice();

    /// <summary>The device, for what only the simulator can tell; on a card the test is skipped.</summary>
    public SimulatorDevice Simulator
    {
        get
        {
            Assert.SkipUnless(Device is SimulatorDevice, "accesses and launches are counted by the simulator only");
            return (SimulatorDevice)Device;
        }
    }

    /// <summary>Names of the kernels that have run.</summary>
    public IEnumerable<string> KernelNames => Device is SimulatorDevice simulator ? simulator.Launches.Select(x => x.Kernel.Name) : ((CudaDevice)Device).Loaded.Select(x => x.Name);

    /// <summary>The numbers that bfloat16 makes of these.</summary>
    public static float[] Rounded(float[] values) => [.. values.Select(x => (float)(BFloat16)x)];

    /// <summary>Normal numbers that bfloat16 holds exactly.</summary>
    public static float[] Normal(int seed, int count, double scale = 1) => Rounded(OpTest.Normal(seed, count, scale));

    /// <summary>A bfloat16 tensor.</summary>
    public Tensor Half(float[] values, int rows, int columns) => Device.Create<BFloat16>(values.Select(x => (BFloat16)x).ToArray(), rows, columns);

    /// <summary>A float32 tensor.</summary>
    public Tensor Single(float[] values, int rows, int columns) => Device.Create<float>(values, rows, columns);

    /// <summary>An integer tensor.</summary>
    public Tensor Integers(int[] values, int rows, int columns) => Device.Create<int>(values, rows, columns);

    /// <summary>A tensor that holds nothing: reading it before writing is a fault. On a card it holds NaN.</summary>
    public Tensor Output(DType type, int rows, int columns)
    {
        Tensor tensor = Device.Create(type, rows, columns);
        if (Device is SimulatorDevice simulator) simulator.Poison(tensor);
        else if (type == DType.BF16) Device.Upload<BFloat16>([.. Enumerable.Repeat((BFloat16)float.NaN, rows * columns)], tensor);
        else if (type == DType.F32) Device.Upload<float>([.. Enumerable.Repeat(float.NaN, rows * columns)], tensor);
        return tensor;
    }

    /// <summary>The elements as float32, whatever their type.</summary>
    public static float[] Read(Tensor tensor) => tensor.Type == DType.BF16 ? [.. tensor.ToArray<BFloat16>().Select(x => (float)x)] : tensor.ToArray<float>();

    /// <summary>Asserts that a bfloat16 result is the reference's, rounded; <paramref name="absolute"/> is for sums that cancel.</summary>
    public static void Close(double[] expected, Tensor actual, string what, double absolute = 1e-6, double relative = Rounding) =>
        TensorComparer.Close(OpTest.Floats(expected), Read(actual), absolute, relative, what);

    /// <summary>Asserts that the last launch's accesses took no more than this many sectors or waves per one needed.</summary>
    public void IsCoalesced(double excess, int launches = 1)
    {
        foreach (LaunchReport launch in Simulator.Launches.TakeLast(launches))
            foreach (AccessReport access in launch.Accesses)
                Assert.True(access.Excess <= excess, $"{launch.Kernel.Name} at {access.Line}: {access.Form} took {access.Counts.Units} for {access.Counts.Ideal} needed");
    }
}
