using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda;

/// <summary>A card that is not there: memory can be planned for it, see <see cref="Device.PaperCard"/>.</summary>
internal sealed class PaperDevice : KernelDevice
{
    public override string Name => "a card";

    public override Storage Allocate(long bytes) => bytes == 0 ? new NoStorage(this) : throw Refused();

    public override void Upload<T>(ReadOnlySpan<T> source, Tensor target) => throw Refused();

    public override void Download<T>(Tensor source, Span<T> target) => throw Refused();

    public override void Clear(Tensor tensor) => throw Refused();

    public override void Launch(Kernel kernel, Grid grid, ReadOnlySpan<KernelArgument> arguments) => throw Refused();

    private static DeviceException Refused() => new("Memory plan: a card on paper holds nothing and computes nothing; open a device.");

    private sealed class NoStorage(Device device) : Storage(device, 0)
    {
        internal override nint Address => 0;

        public override void Dispose() { }
    }
}
