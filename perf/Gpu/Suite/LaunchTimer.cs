using Bellman.Kernels.Cuda.Driver;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>
/// Times every launch of a card by two events around it. The stream is kept busy while launches queue up, so that the time
/// the host takes for a launch is not counted; what the events themselves cost, one or two microseconds, is.
/// </summary>
internal sealed class LaunchTimer(CudaDevice device) : IDisposable
{
    private readonly List<(Kernel Kernel, CudaEvent Start, CudaEvent End)> _launches = [];

    /// <summary>Puts an event before a launch; what is returned puts one behind it.</summary>
    public Action Around(Kernel kernel)
    {
        CudaEvent start = new(device.Stream.Context), end = new(device.Stream.Context);
        start.Record(device.Stream);
        return () =>
        {
            end.Record(device.Stream);
            _launches.Add((kernel, start, end));
        };
    }

    /// <summary>Waits, and gives microseconds of each kernel, all its launches together; then forgets them.</summary>
    public Dictionary<Kernel, double> Take()
    {
        var times = new Dictionary<Kernel, double>(ReferenceEqualityComparer.Instance);
        foreach ((Kernel kernel, CudaEvent start, CudaEvent end) in _launches) times[kernel] = times.GetValueOrDefault(kernel) + 1000.0 * end.Since(start);
        Dispose();
        return times;
    }

    public void Dispose()
    {
        foreach ((_, CudaEvent start, CudaEvent end) in _launches)
        {
            start.Dispose();
            end.Dispose();
        }
        _launches.Clear();
    }
}
