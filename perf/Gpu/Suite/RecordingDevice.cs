using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>
/// A device that runs nothing and holds nothing: it notes which kernels an op would launch at real sizes.
/// </summary>
internal sealed class RecordingDevice : KernelDevice
{
    private long _next = 1L << 32;

    public override string Name => "recorder";

    public override bool HasWarpGroups => Hopper;

    /// <summary>Whether kernels for Hopper are chosen.</summary>
    public bool Hopper { get; init; }

    // As on an H100.
    public override int Multiprocessors => 132;

    /// <summary>What was launched, in order.</summary>
    public List<(Kernel Kernel, Grid Grid)> Launches { get; } = [];

    public override Storage Allocate(long bytes)
    {
        var storage = new Nothing(this, bytes, (nint)_next);
        _next += (bytes + 511) / 256 * 256;
        return storage;
    }

    public override void Upload<T>(ReadOnlySpan<T> source, Tensor target) { }

    public override void Download<T>(Tensor source, Span<T> target) => target.Clear();

    public override void Clear(Tensor tensor) { }

    public override void Launch(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments)
    {
        if (grid.Blocks > 0) Launches.Add((kernel, grid));
    }

    private sealed class Nothing(Device device, long bytes, nint address) : Storage(device, bytes)
    {
        internal override nint Address => address;

        public override void Dispose() { }
    }
}
