using Bellman.Kernels.Cuda.Driver;

namespace Bellman.Perf.Gpu.Suite;

/// <summary>What the card can do at best: its bandwidth, measured by copying, and its bf16 peak, computed from its clock.</summary>
internal sealed record CardPeaks(double CopyGbps, double Tflops)
{
    private const int Multiprocessors = 16, ClockKilohertz = 13, Repeats = 7;
    private const int CopyBytes = 1 << 30;

    public static CardPeaks Measure(CudaDevice device)
    {
        // Dense bf16 operations of one multiprocessor per clock, from the architectures' white papers.
        int perClock = device.Capability switch { 80 => 2048, >= 90 and < 100 => 4096, >= 100 and < 120 => 8192, _ => 1024 };
        double tflops = 1e-9 * device.Attribute(Multiprocessors) * device.Attribute(ClockKilohertz) * perClock;
        Tensor from = device.Create(DType.F32, CopyBytes / 4096, 1024), to = device.Create(DType.F32, CopyBytes / 4096, 1024);
        var seconds = new List<double>();
        for (int i = 0; i < Repeats; i++)
        {
            using CudaEvent start = new(device.Stream.Context), end = new(device.Stream.Context);
            start.Record(device.Stream);
            device.Copy(from, to);
            end.Record(device.Stream);
            seconds.Add(1e-3 * end.Since(start));
        }
        from.Free();
        to.Free();
        seconds.Sort();
        return new(2e-9 * CopyBytes / seconds[Repeats / 2], tflops);
    }
}
