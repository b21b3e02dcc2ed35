using System.Collections.Concurrent;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Kernels.Cuda;

/// <summary>Kernels by the shape they were staged for; each is staged once per process.</summary>
internal sealed class KernelTable<TShape>(Func<TShape, Kernel> stage) where TShape : struct, IEquatable<TShape>
{
    private readonly ConcurrentDictionary<TShape, Kernel> _kernels = new();

    /// <summary>The kernel for a shape.</summary>
    public Kernel this[TShape shape] => _kernels.TryGetValue(shape, out Kernel? kernel) ? kernel : _kernels.GetOrAdd(shape, stage);
}
