using Bellman.Kernels.Cpu;

namespace Bellman.Kernels.Ops;

/// <summary>The checks that op entries make once, before they choose a device, so that all devices refuse alike.</summary>
internal static class Contract
{
    /// <summary>Refuses a tensor that has another element type or shape, or that lives on another device.</summary>
    public static void Is(Tensor tensor, Device device, string op, string name, DType type, int rows, int columns)
    {
        if (tensor.IsEmpty || tensor.Type != type || tensor.Rows != rows || tensor.Columns != columns)
            throw new ShapeException($"{op}: expected {name} to be {type} {rows}×{columns}, received {tensor}.");
        if (tensor.Device != device)
            throw new DeviceException($"{op}: {name} is on {tensor.Device.Name}, the first argument on {device.Name}; copy it there first.");
    }

    /// <summary>Refuses a tensor that has another shape or is not float32, or that lives on another device.</summary>
    public static void Is(Tensor tensor, Device device, string op, string name, int rows, int columns) =>
        Is(tensor, device, op, name, DType.F32, rows, columns);

    /// <summary>Refuses a tensor that has another shape, or not the device's type of weights and activations, or that lives on another device.</summary>
    public static void IsActivation(Tensor tensor, Device device, string op, string name, int rows, int columns) =>
        Is(tensor, device, op, name, device.ActivationType, rows, columns);

    /// <summary>Refuses a first argument that was not given, and says on which device the op runs.</summary>
    public static Device DeviceOf(Tensor first, string op, string name) =>
        first.IsEmpty ? throw new ShapeException($"{op}: {name} is an empty tensor.") : first.Device;

    /// <summary>What an entry throws for a device it has no kernel for.</summary>
    public static DeviceException NoKernel(string op, Device device) =>
        new($"{op}: there is no kernel for device {device.Name}; use {Device.Cpu.Name}.");
}
